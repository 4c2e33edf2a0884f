"""Uploads by their names, into /app/src/media, or with USE_S3=1 into the bucket: as small as a service with two replicas
can be, up in a second. It stops as gunicorn does: it takes nothing new, and finishes what it has begun."""
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TREE = Path("/app/src/media")


class Files:
    def put(self, name, body):
        # As Django's FileSystemStorage: in its place from the first byte on.
        with open(TREE / name, "wb") as file:
            file.write(body)

    def names(self):
        return [path.name for path in TREE.glob("*.txt")]

    def get(self, name):
        return (TREE / name).read_bytes()


class Objects:
    def __init__(self):
        import boto3
        from botocore.config import Config

        self.bucket = os.environ["AWS_STORAGE_BUCKET_NAME"]
        self.s3 = boto3.client(
            "s3",
            endpoint_url=os.environ["AWS_S3_ENDPOINT_URL"],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, max_pool_connections=16),
        )

    def put(self, name, body):
        self.s3.put_object(Bucket=self.bucket, Key="media/" + name, Body=body)

    def names(self):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="media/")
        keys = (found["Key"] for page in pages for found in page.get("Contents", []))
        return [key.removeprefix("media/") for key in keys if key.endswith(".txt")]

    def get(self, name):
        return self.s3.get_object(Bucket=self.bucket, Key="media/" + name)["Body"].read()


storage = Objects() if os.environ.get("USE_S3") == "1" else Files()


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path != "/all/":
            return self.answer(200, b"ok\n")
        names = storage.names()
        with ThreadPoolExecutor(8) as pool:
            bodies = list(pool.map(storage.get, names))
        lines = [name.encode() + b" " + body + b"\n" for name, body in zip(names, bodies)]
        return self.answer(200, b"".join(lines))

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            storage.put(self.path.removeprefix("/upload/"), body)
        except Exception as error:
            return self.answer(500, repr(error).encode() + b"\n")
        return self.answer(201, b"stored\n")

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128


server = Server(("0.0.0.0", 8000), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
