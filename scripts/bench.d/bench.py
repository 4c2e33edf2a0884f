"""What scripts/bench does not do in shell: data, memory, and the table.

    files DIR COUNT PER_DIR LOW HIGH   COUNT files of LOW to HIGH bytes, PER_DIR in a directory
    change DIR PART SEED               rewrites one file in PART, at the same length
    uploads DIR MEGABYTES              half of it small files, every second of them text, half of it large ones
    peak FILE REHOME COMMAND...        runs it, and writes the KiB of memory of its processes into FILE
    touch PERCENT                      touches so much of the free memory once
    fio FILE                           MB/s of each job in fio's JSON
    table FILE [WORD]                  tab-separated measurements as a markdown table; what the bytes are
"""

import json
import mmap
import os
import random
import statistics
import subprocess
import sys
import time


def files(top, count, per_dir, low, high):
    """The same bytes on every machine: what was measured can be measured again."""
    rng = random.Random(1)
    # A slice of random bytes from another offset each time: no two files are equal, none compresses,
    # and it is far faster than new random bytes for each.
    pool = rng.randbytes(high * 2 + 1)
    for number in range(count):
        place = os.path.join(top, f"{number // per_dir:05}")
        if number % per_dir == 0:
            os.makedirs(place, exist_ok=True)
        size = rng.randint(low, high)
        if size < 8:
            os.mknod(os.path.join(place, f"{number:07}"))
            continue
        start = rng.randrange(len(pool) - size)
        with open(os.path.join(place, f"{number:07}"), "wb") as out:
            out.write(number.to_bytes(8, "big") + pool[start : start + size - 8])


def change(top, part, seed):
    rng = random.Random(seed)
    names = sorted(os.path.join(place, name) for place, _, names in os.walk(top) for name in names)
    for name in rng.sample(names, max(1, len(names) // part)):
        size = os.path.getsize(name)
        with open(name, "wb") as out:
            out.write(rng.randbytes(size))


def uploads(top, megabytes):
    rng = random.Random(1)
    words = [rng.randbytes(rng.randint(1, 6)).hex() for _ in range(2000)]
    number, left = 0, megabytes * 500_000
    while left > 0:
        size = rng.randint(1024, 65536)
        place = os.path.join(top, f"{number // 100:05}")
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, f"{number:07}"), "wb") as out:
            text = number % 2 == 0
            out.write(" ".join(rng.choices(words, k=size // 8)).encode()[:size] if text else rng.randbytes(size))
        number, left = number + 1, left - size
    for number in range(megabytes * 500_000 // 64_000_000):
        with open(os.path.join(top, f"large-{number}"), "wb") as out:
            out.write(rng.randbytes(64_000_000))


def peak(path, rehome, *command):
    """The most memory that the processes of the command and of its containers have together, seen every 10 ms."""
    before = {name for name in os.listdir("/proc") if name.isdigit()}
    size = os.path.getsize(rehome)
    child = subprocess.Popen(command)
    known = {str(child.pid)}
    highest = 0
    while child.poll() is None:
        new = (name for name in os.listdir("/proc") if name.isdigit() and name not in before)
        highest = max(highest, sum(memory(name, known, size) for name in new))
        time.sleep(0.01)
    with open(path, "w", encoding="ascii") as out:
        out.write(str(highest))
    sys.exit(child.returncode)


def memory(name, known, size):
    """The KiB of a process, if it is a child of one of ours, or a tool in a container: another stack may run."""
    try:
        with open(f"/proc/{name}/status", encoding="ascii", errors="replace") as text:
            said = {key: value.strip() for key, _, value in (line.partition(":") for line in text)}
        if name not in known and said["PPid"] not in known:
            ours = said["Name"] in ("tar", "gzip") or os.stat(f"/proc/{name}/exe").st_size == size
            with open(f"/proc/{name}/cgroup", encoding="ascii") as text:
                if not ours or "docker" not in text.read():
                    return 0
        known.add(name)
        return int(said.get("VmRSS", "0").split()[0])
    except (OSError, KeyError):
        # It ended meanwhile.
        return 0


def touch(percent):
    """A virtual machine gets its memory when it first touches it, and pays for that only once."""
    with open("/proc/meminfo", encoding="ascii") as info:
        free = next(int(line.split()[1]) for line in info if line.startswith("MemFree:")) * 1024
    length = free * percent // 100 // mmap.PAGESIZE * mmap.PAGESIZE
    with mmap.mmap(-1, length) as memory:
        for page in range(0, length, mmap.PAGESIZE):
            memory[page] = 1


def fio(path):
    with open(path, encoding="utf-8") as text:
        # fio writes its warnings into the same file.
        told = text.read()
    for job in json.loads(told[told.index("{") :])["jobs"]:
        way = max(("read", "write"), key=lambda way: job[way]["io_bytes"])
        print(f"{job['jobname']}: {job[way]['bw_bytes'] / 1e6:,.0f} MB/s")


def table(path, what="written"):
    """Columns of a line: row, tool, seconds or a word, peak KiB or nothing, bytes written or nothing."""
    rows = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            row, tool, seconds, peak, written = line.rstrip("\n").split("\t")
            rows.setdefault(row, {}).setdefault(tool, []).append((seconds, peak, written))
    print(f"| row | tool | seconds: median (min-max) | to rehome | {what}, MB | peak memory, MB |")
    print("|---|---|---|---|---|---|")
    for row, tools in rows.items():
        ours = [float(run[0]) for run in tools.get("rehome", [])]
        for tool, runs in tools.items():
            words = [run[0] for run in runs if not is_number(run[0])]
            if words:
                print(f"| {row} | {tool} | {words[0]} | | | |")
                continue
            seconds = [float(run[0]) for run in runs]
            middle = statistics.median(seconds)
            ratio = f"{middle / statistics.median(ours):.2f}" if ours else ""
            time = f"{middle:.2f} ({min(seconds):.2f}-{max(seconds):.2f})"
            # The highest peak is what a small server has to have.
            peak = max((int(run[1]) for run in runs if run[1]), default=None)
            peak = f"{peak * 1024 / 1e6:,.0f}" if peak is not None else ""
            written = [int(run[2]) for run in runs if run[2]]
            written = f"{statistics.median(written) / 1e6:,.1f}" if written else ""
            print(f"| {row} | {tool} | {time} | {ratio} | {written} | {peak} |")


def is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True


WAYS = {"files": files, "change": change, "touch": touch, "fio": fio, "table": table, "uploads": uploads, "peak": peak}

if __name__ == "__main__":
    WAYS[sys.argv[1]](*(int(word) if word.isdigit() else word for word in sys.argv[2:]))
