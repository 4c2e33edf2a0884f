"""The client of scripts/ledger: writes all the time, keeps a ledger of what was acknowledged, and compares.

    write URL STATE LEDGER SEED       until SIGTERM, which lets each write under way come to its end
    check STATE LEDGER FOUND [NEXT]   compares; says how many writes were acknowledged, how many were under way,
                                      how many rows and files there are; writes the state that the next ledger begins with
    outcome EVENTS                    of a move: its outcome, and its downtime in seconds
    flags SEED MOVES                  the options of each move, a line each
    flip FILE OFFSET                  turns a byte over, and back the next time; FILE's times stay
    table RESULTS                     tab-separated results of moves as a markdown table

A state and what was found have a line for each row, file and directory: its name, a blank, and its SHA-256 (`dir` for
a directory). A ledger has, for each write, a line with what it wants, written before it is sent, and a line with what
became of it:

    17 wants row/5=5be1... row/9=-    (the hash of the content; - for what goes)
    17 done                           the site said 200
    17 refused                        nobody listened: it was not sent
    17 failed ...                     sent, and no answer, or a bad one: it may have been done or not

A write is done as a whole or not at all: a transaction, one call to write, one rename.
"""

import base64
import hashlib
import http.client
import json
import os
import random
import signal
import statistics
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROWS = 1500
DIRECTORIES = 10
PER_DIRECTORY = 12
# Longer than the site takes to stop, with something in hand: what was given up is never done later.
PATIENCE = 100
# Between two writes of one client.
PAUSE = 0.04
CLIENTS = {"rows": 2, "files": 2}
# What is shown of what differs.
SHOWN = 20


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def read_state(path):
    with open(path, encoding="utf-8") as lines:
        return dict(line.rstrip("\n").rsplit(" ", 1) for line in lines)


# --- the writers ------------------------------------------------------------


class Client:
    """What all threads share: the state as it was acknowledged, and the ledger."""

    def __init__(self, url, state, ledger, seed):
        self.url = url
        self.now = read_state(state)
        self.ledger = open(ledger, "a", encoding="utf-8", buffering=1)
        self.rng = random.Random(seed)
        self.lock = threading.Lock()
        self.written = 0
        # Rows and directories that somebody writes to, or that may be as before or as wanted: nobody touches them.
        self.taken = set()
        self.next_row = 1 + max((int(key[4:]) for key in self.now if key.startswith("row/")), default=0)
        self.stopping = threading.Event()
        self.failure = None

    def content(self, *sizes):
        with self.lock:
            low, high = self.rng.choice(sizes)
            return self.rng.randbytes(self.rng.randrange(low, high))

    def send(self, wants, way, body, held):
        """One write with its lines in the ledger. What it held is free again only if its end is known."""
        with self.lock:
            self.written += 1
            number = self.written
            pairs = " ".join(f"{key}={value or '-'}" for key, value in wants.items())
            self.ledger.write(f"{number} wants {pairs}\n")
        try:
            with urllib.request.urlopen(self.url + way, data=body, timeout=PATIENCE) as answer:
                answer.read()
            end = "done"
        except (OSError, http.client.HTTPException) as error:
            refused = isinstance(getattr(error, "reason", error), ConnectionRefusedError)
            end = "refused" if refused else f"failed {type(error).__name__} {error}"
        with self.lock:
            self.ledger.write(f"{number} {end}\n")
            if end == "done":
                for key, value in wants.items():
                    self.now.pop(key, None) if value is None else self.now.update({key: value})
            if end in ("done", "refused"):
                self.taken -= held
        if end != "done":
            self.wait_for_site()

    def wait_for_site(self):
        while not self.stopping.is_set():
            try:
                with urllib.request.urlopen(self.url + "/health/", timeout=5) as answer:
                    answer.read()
                return
            except (OSError, http.client.HTTPException):
                self.stopping.wait(0.3)

    def run(self, one):
        try:
            while not self.stopping.wait(PAUSE):
                one(self)
        except Exception as error:
            self.failure = error
            self.stopping.set()
            raise


def write_rows(client):
    rng = client.rng
    with client.lock:
        there = [key for key in client.now if key.startswith("row/") and key not in client.taken]
        dice = rng.random()
        if not there or (len(there) < ROWS and dice < 0.4):
            new, changed, gone = 1, 0, 0
        elif dice < 0.75:
            new, changed, gone = 0, 1, 0
        elif dice < 0.85 and len(there) > 20:
            new, changed, gone = 0, 0, 1
        else:
            new, changed, gone = 1, min(3, len(there) - 1), 1
        keys = rng.sample(there, changed + gone) if changed + gone else []
        for _ in range(new):
            keys.append(f"row/{client.next_row}")
            client.next_row += 1
        client.taken |= set(keys)
    contents = {}
    for at, key in enumerate(keys):
        # Long ones go into PostgreSQL's second file of the table.
        contents[key] = None if at < gone else client.content((1, 400), (400, 1900), (1900, 1901), (3000, 20000))
    # In one order always: two transactions do not wait for each other in a ring.
    contents = dict(sorted(contents.items(), key=lambda item: int(item[0][4:])))
    body = []
    for key, data in contents.items():
        way = "delete" if data is None else "update" if key in client.now else "insert"
        body.append([way, int(key[4:]), *([] if data is None else [base64.b64encode(data).decode()])])
    wants = {key: None if data is None else sha256(data) for key, data in contents.items()}
    client.send(wants, "/rows/", json.dumps(body).encode(), set(keys))


def write_files(client):
    rng = client.rng
    top = "media/ledger/"
    with client.lock:
        fresh = f"{rng.getrandbits(40):010x}"
        inside = {}
        for key, value in client.now.items():
            if key.startswith(top):
                name = key[len(top):]
                inside.setdefault(name.split("/")[0], [])
                if "/" in name:
                    inside[name.split("/")[0]].append(name.split("/")[1])
        free = [name for name in inside if top + name not in client.taken]
        if not free or len(inside) < DIRECTORIES:
            way, name = "mkdir", fresh
        else:
            name = rng.choice(free)
            large = "large" in inside[name]
            few = len(inside[name]) < PER_DIRECTORY // 2
            full = len(inside[name]) >= PER_DIRECTORY
            ways = ["patch"] * 8 if large else ["write", "replace", "rename"]
            ways += [] if full or large else ["new"] * (6 if few else 2)
            ways += [] if few or large else ["delete"]
            way = rng.choice([*ways, "rename directory"] if inside[name] else ["new"])
        directory = top + name
        file = f"{directory}/{rng.choice(inside[name])}" if inside.get(name) else None
        held = {directory}
        client.taken |= held

    def ask(way, name, **more):
        names = {key: value.removeprefix("media/") for key, value in {"name": name, **more}.items() if key != "at"}
        more = {"at": more["at"]} if "at" in more else {}
        return "/files/?" + urllib.parse.urlencode({"do": way, **names, **more})

    small = ((1, 4096), (4096, 100_000), (100_000, 1_000_000))
    if way == "mkdir":
        client.send({directory: "dir"}, ask("mkdir", directory), b"", held)
    elif way in ("new", "write", "replace"):
        file = f"{directory}/{fresh}" if way == "new" else file
        data = client.content(*small)
        client.send({file: sha256(data)}, ask(way, file), data, held)
    elif way == "delete":
        client.send({file: None}, ask("delete", file), b"", held)
    elif way == "rename":
        to = f"{directory}/{fresh}"
        client.send({file: None, to: client.now[file]}, ask("rename", file, to=to), b"", held)
    elif way == "rename directory":
        to = top + fresh
        wants = {directory: None, to: "dir"}
        for file in inside[name]:
            wants |= {f"{directory}/{file}": None, f"{to}/{file}": client.now[f"{directory}/{file}"]}
        held.add(to)
        with client.lock:
            client.taken.add(to)
        client.send(wants, ask("rename", directory, to=to), b"", held)
    else:
        patch(client, file, ask, held)


def patch(client, file, ask, held):
    """A page here and there, of what was read through the site: that too must be what was acknowledged."""
    try:
        with urllib.request.urlopen(f"{client.url}/{file}", timeout=PATIENCE) as answer:
            whole = bytearray(answer.read())
    except (OSError, http.client.HTTPException):
        whole = None
    if whole is None:
        with client.lock:
            client.taken -= held
        client.wait_for_site()
        return
    if sha256(whole) != client.now[file]:
        raise RuntimeError(f"the site gave another {file} than was acknowledged")
    data = client.content((1, 4096), (4096, 50_000))
    with client.lock:
        at = client.rng.randrange(len(whole) - len(data))
    whole[at : at + len(data)] = data
    client.send({file: sha256(whole)}, ask("write", file, at=at), bytes(data), held)


def write(url, state, ledger, seed):
    client = Client(url, state, ledger, seed)
    signal.signal(signal.SIGTERM, lambda *_: client.stopping.set())
    ones = {"rows": write_rows, "files": write_files}
    threads = [
        threading.Thread(target=client.run, args=[ones[kind]]) for kind, count in CLIENTS.items() for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if client.failure:
        sys.exit(f"a client failed: {client.failure}")


# --- the comparison ---------------------------------------------------------


def read_ledger(path):
    """The writes in their order: number -> (what it wants, how it ended)."""
    writes = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            number, word, rest = (line.rstrip("\n") + "  ").split(" ", 2)
            if word == "wants":
                pairs = (pair.rsplit("=", 1) for pair in rest.split())
                writes[number] = ({key: None if value == "-" else value for key, value in pairs}, "failed")
            else:
                writes[number] = (writes[number][0], word)
    return writes


def check(state, ledger, found, following=None):
    expected = read_state(state)
    actual = read_state(found)
    wrong = []
    done = old = new = 0
    last = {}

    def apply(number, wants):
        for key, value in wants.items():
            last[key] = number
            expected.pop(key, None) if value is None else expected.update({key: value})

    # What was under way on something is the last that was done to it.
    writes = read_ledger(ledger)
    for number, (wants, end) in writes.items():
        if end == "done":
            done += 1
            apply(number, wants)
    for number, (wants, end) in writes.items():
        if end != "failed":
            continue
        is_now = {key: actual.get(key) for key in wants}
        if is_now == wants:
            new += 1
            apply(number, wants)
        elif is_now == {key: expected.get(key) for key in wants}:
            old += 1
        else:
            wrong.append(f"{' '.join(wants)}: neither as before nor as the write {number} under way wanted")
    for key in sorted(expected.keys() | actual.keys()):
        want, have = expected.get(key), actual.get(key)
        if want == have:
            continue
        since = f"write {last[key]}" if key in last else "an earlier move"
        if have is None:
            wrong.append(f"{key}: lost (acknowledged by {since})")
        elif want is None:
            wrong.append(f"{key}: unknown, or came back")
        else:
            wrong.append(f"{key}: another content (acknowledged by {since})")
    for line in wrong[:SHOWN]:
        print(f"differs: {line}")
    if wrong:
        sys.exit(f"{len(wrong)} of {len(expected)} rows, files and directories differ")
    if following:
        with open(following, "w", encoding="utf-8") as out:
            out.writelines(f"{key} {value}\n" for key, value in expected.items())
    files = sum(value != "dir" and key.startswith(("media/", "staticfiles/")) for key, value in expected.items())
    print(done, old + new, sum(value != "dir" for value in expected.values()) - files, files)


# --- the rest ---------------------------------------------------------------


def outcome(events):
    down, end = 0, "no outcome"
    with open(events, encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            if event["event"] == "downtime_ended":
                down = event["millis"] / 1000
            if event["event"] == "finished":
                end = event["outcome"]
                if "failure" in event:
                    print(json.dumps(event["failure"], indent=1), file=sys.stderr)
    print(f"{end} {down:.1f}")


def flags(seed, moves):
    rng = random.Random(seed)
    kinds = ["", "--verify stream", "--verify full", "--offline", "--block-delta off"]
    kinds += ["", "--offline --verify full", "--verify stream --block-delta off", "--jobs 3"]
    deck = []
    for _ in range(int(moves)):
        # All of them before one comes again.
        deck = deck or rng.sample(kinds, len(kinds))
        print(deck.pop())


def flip(path, offset):
    times = os.stat(path)
    with open(path, "r+b") as opened:
        opened.seek(int(offset))
        byte = opened.read(1)[0]
        opened.seek(int(offset))
        opened.write(bytes([byte ^ 0xFF]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def table(results):
    ways = {}
    with open(results, encoding="utf-8") as lines:
        for line in lines:
            _, to, kind, *values = line.rstrip("\n").split("\t")
            for group in (f"to {to}", f"with {kind}" if kind else "with no option", "all"):
                ways.setdefault(group, []).append([float(value) for value in values])
    print("| moves | how many | seconds | down, s | writes | under way | rows | files | blocks |")
    print("|---|---|---|---|---|---|---|---|---|")
    for group in sorted(ways, key=lambda group: (group == "all", group)):
        columns = list(zip(*ways[group]))

        def spread(values):
            return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"

        sums = " | ".join(f"{sum(column):.0f}" for column in columns[2:])
        print(f"| {group} | {len(columns[0])} | {spread(columns[0])} | {spread(columns[1])} | {sums} |")


WAYS = {"write": write, "check": check, "outcome": outcome, "flags": flags, "flip": flip, "table": table}

if __name__ == "__main__":
    WAYS[sys.argv[1]](*sys.argv[2:])
