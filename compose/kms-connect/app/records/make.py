"""Made-up people and papers."""
import os
import secrets

FIRST = "Adi Budi Citra Dewi Eka Fitri Gita Hadi Indah Joko Kartika Lestari Made Nur Putri Rina Sari Tono Wati Yuni".split()
LAST = "Hidayat Kusuma Lubis Nasution Pratama Rahayu Santoso Setiawan Siregar Suryadi Utami Wibowo Wijaya Yulianto".split()
KINDS = ["ktp", "ijazah", "kk", "paspor"]


def nik():
    return f"{secrets.randbelow(9 * 10**15) + 10**15}"


def name(i):
    return f"{FIRST[i % len(FIRST)]} {LAST[i // len(FIRST) % len(LAST)]}"


def kind(i):
    return KINDS[i % len(KINDS)]


def content(size):
    return os.urandom(size)
