"""A notebook: notes in a SQLite database in DATA_DIR.

Without DATA_DIR it has no place for what shall stay, and takes no notes. One process at a time has the directory: a
second one that finds it taken ends.
"""

import fcntl
import os
import signal
import sqlite3
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATA = os.environ.get("DATA_DIR")
LONGEST = 64 * 1024


def database():
    connection = sqlite3.connect(os.path.join(DATA, "notes.db"), timeout=10)
    # What was answered with 201 is on the disk.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


class Handler(BaseHTTPRequestHandler):
    # A request that comes with others over one connection would wait for the end of the process.
    protocol_version = "HTTP/1.0"

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, "well\n")
        if self.path != "/":
            return self.answer(404, "no such page\n")
        if DATA is None:
            return self.answer(200, "no notes: nothing here would stay\n")
        connection = database()
        with connection:
            notes = connection.execute("SELECT id, text FROM notes ORDER BY id").fetchall()
        connection.close()
        return self.answer(200, "".join(f"{number} {text}\n" for number, text in notes))

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        if DATA is None:
            return self.answer(503, "nothing here would stay: DATA_DIR is not set\n")
        if length > LONGEST:
            return self.answer(413, "too long\n")
        text = self.rfile.read(length).decode("utf-8", "replace")
        connection = database()
        with connection:
            number = connection.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid
        connection.close()
        return self.answer(201, f"{number}\n")

    def log_message(self, *_):
        pass


def main():
    if DATA is not None:
        taken = open(os.path.join(DATA, "one-at-a-time"), "w")
        try:
            fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit("another process has DATA_DIR")
        connection = database()
        with connection:
            connection.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        connection.close()
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "3000"))), Handler)
    # Requests that are under way are answered.
    server.daemon_threads = False
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    server.server_close()


main()
