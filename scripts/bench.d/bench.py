"""What scripts/bench does not do in shell: data, memory, and the table.

    files DIR COUNT PER_DIR LOW HIGH   COUNT files of LOW to HIGH bytes, PER_DIR in a directory
    change DIR PART SEED               rewrites one file in PART, at the same length
    touch PERCENT                      touches so much of the free memory once
    fio FILE                           MB/s of each job in fio's JSON
    table FILE                         tab-separated measurements as a markdown table
"""

import json
import mmap
import os
import random
import statistics
import sys


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


def table(path):
    """Columns of a line: row, tool, seconds or a word, peak KiB or nothing, bytes written or nothing."""
    rows = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            row, tool, seconds, peak, written = line.rstrip("\n").split("\t")
            rows.setdefault(row, {}).setdefault(tool, []).append((seconds, peak, written))
    print("| row | tool | seconds: median (min-max) | to rehome | written, MB | peak memory, MB |")
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


WAYS = {"files": files, "change": change, "touch": touch, "fio": fio, "table": table}

if __name__ == "__main__":
    WAYS[sys.argv[1]](*(int(word) if word.isdigit() else word for word in sys.argv[2:]))
