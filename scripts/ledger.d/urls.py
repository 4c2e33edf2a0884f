"""What scripts/ledger puts in the place of the example's urls.py: the site takes writes as well.

An answer with 200 says that the write is committed, or on the disk.
"""

import base64
import json
import os

from django.conf import settings
from django.db import connection, transaction
from django.http import HttpResponse
from django.urls import path
from records import views


ROWS = {
    "insert": "INSERT INTO ledger (content, number) VALUES (%s, %s)",
    "update": "UPDATE ledger SET content = %s, version = version + 1 WHERE number = %s",
    "delete": "DELETE FROM ledger WHERE number = %s",
}


def rows(request):
    """One transaction: a list of `[way, number, content if there is one]`. A row that was lost is not made anew."""
    with transaction.atomic(), connection.cursor() as cursor:
        for way, number, *content in json.loads(request.body):
            cursor.execute(ROWS[way], [*map(base64.b64decode, content), number])
            if cursor.rowcount != 1:
                raise LookupError(f"row {number} is not there")
    return HttpResponse("committed\n")


def sync(path):
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write(path, content, at=None, new=False):
    """In place. One call, so that a process that ends has written all of it or nothing."""
    opened = os.open(path, os.O_WRONLY | (os.O_CREAT | os.O_EXCL if new else 0), 0o644)
    try:
        if os.pwrite(opened, content, int(at or 0)) != len(content):
            raise OSError("a short write")
        if at is None:
            os.ftruncate(opened, len(content))
        os.fsync(opened)
    finally:
        os.close(opened)
    sync(os.path.dirname(path))


def files(request):
    way = request.GET["do"]
    name = os.path.join(settings.MEDIA_ROOT, request.GET["name"])
    if way in ("new", "write"):
        write(name, request.read(), request.GET.get("at"), way == "new")
    elif way == "replace":
        os.stat(name)
        write(name + ".part", request.read(), new=True)
        os.rename(name + ".part", name)
    elif way == "rename":
        os.rename(name, os.path.join(settings.MEDIA_ROOT, request.GET["to"]))
    elif way == "delete":
        os.unlink(name)
    elif way == "mkdir":
        os.mkdir(name)
    sync(os.path.dirname(name))
    return HttpResponse("on the disk\n")


urlpatterns = [
    path("health/", views.health),
    path("applicants/", views.applicants),
    path("rows/", rows),
    path("files/", files),
]
