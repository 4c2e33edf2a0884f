import json
import os

from celery import shared_task
from django.conf import settings

from .models import Document, Tick


@shared_task
def tick():
    Tick.objects.create()


@shared_task
def derive(document_id):
    """Makes a file out of an upload, as a thumbnailer or a text recogniser would."""
    document = Document.objects.get(pk=document_id)
    folder = settings.MEDIA_ROOT / "derived"
    folder.mkdir(exist_ok=True)
    target = folder / f"{document_id}.json"
    part = target.with_suffix(".part")
    with open(part, "w") as out:
        json.dump({"document": document_id, "bytes": document.file.size, "sha256": document.sha256}, out)
        out.flush()
        os.fsync(out.fileno())
    part.rename(target)
