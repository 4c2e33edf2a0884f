"""What scripts/downtime does not do in shell: data, a visitor, figures.

    fill DIR GB            files of 16 MB and of 1 MB, half and half
    watch URL FILE         asks for a page all the time; a line for each: when it began, when it ended, whether it came
    stamp                  the lines of stdin, each with the time in front
    down FILE FROM TO      seconds between two answers, at most
    p99 FILE FROM TO       milliseconds that all but one in a hundred of the answers took at most
    table FILE             tab-separated measurements as a markdown table
"""

import os
import random
import statistics
import sys
import time
import urllib.error
import urllib.request

# Between two requests.
PAUSE = 0.005
# Longer than this nobody waits for a page.
PATIENCE = 5


def fill(top, gigabytes):
    rng = random.Random(1)
    pool = rng.randbytes(16_000_000 + 4096)
    number = 0
    for size, part in ((16_000_000, 0.5), (1_000_000, 0.5)):
        for _ in range(round(float(gigabytes) * 1e9 * part / size)):
            place = os.path.join(top, f"{number // 200:04}")
            os.makedirs(place, exist_ok=True)
            start = rng.randrange(4096)
            with open(os.path.join(place, f"{number:06}"), "wb") as out:
                out.write(number.to_bytes(8, "big") + pool[start : start + size - 8])
            number += 1


def watch(url, path):
    with open(path, "w", encoding="ascii", buffering=1) as out:
        while True:
            began = time.time()
            try:
                with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                    answer.read()
                well = 1
            except (urllib.error.URLError, OSError):
                well = 0
            out.write(f"{began:.6f} {time.time():.6f} {well}\n")
            time.sleep(PAUSE)


def stamp():
    for line in sys.stdin:
        print(f"{time.time():.6f} {line}", end="", flush=True)


def answers(path, start, end):
    with open(path, encoding="ascii") as lines:
        for line in lines:
            words = line.split()
            if len(words) == 3 and words[2] == "1" and float(start) <= float(words[1]) <= float(end):
                yield float(words[0]), float(words[1])


def down(path, start, end):
    came = [ended for _, ended in answers(path, start, end)]
    gaps = [after - before for before, after in zip([float(start), *came], [*came, float(end)])]
    print(f"{max(gaps):.2f}")


def p99(path, start, end):
    took = sorted((ended - began) * 1000 for began, ended in answers(path, start, end))
    print(f"{took[min(len(took) - 1, len(took) * 99 // 100)]:.1f}")


def table(path):
    rows = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            gb, what, kind, value = line.rstrip("\n").split("\t")
            rows.setdefault(gb, {}).setdefault((what, kind), []).append(float(value))
    columns = [
        ("restart", "down", "down for a restart, s"),
        ("move", "down", "down for a move, s"),
        ("move", "total", "the whole move, s"),
        ("at rest", "p99", "p99 at rest, ms"),
        ("while it copies", "p99", "p99 while it copies, ms"),
    ]
    print("| data, GB | " + " | ".join(title for *_, title in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for gb, row in rows.items():
        cells = []
        for what, kind, _ in columns:
            values = row.get((what, kind), [])
            cells.append(
                f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})" if values else ""
            )
        print(f"| {gb} | " + " | ".join(cells) + " |")


WAYS = {"fill": fill, "watch": watch, "stamp": stamp, "down": down, "p99": p99, "table": table}

if __name__ == "__main__":
    WAYS[sys.argv[1]](*sys.argv[2:])
