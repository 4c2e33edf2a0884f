import hashlib
import json

from celery import shared_task
from django.core.files.base import ContentFile

from .models import Upload


# The storage may be out of reach for a while, or the file be in the other one: it is changed under a running site.
@shared_task(acks_late=True, autoretry_for=(Exception,), retry_backoff=1, retry_backoff_max=30, max_retries=20)
def derive(number):
    """Makes a file out of an upload, as a thumbnailer or a text recogniser would: all of it through the storage."""
    upload = Upload.objects.get(pk=number)
    if upload.derived:
        return
    digest = hashlib.sha256()
    with upload.file.open() as opened:
        for block in opened.chunks():
            digest.update(block)
    text = json.dumps({"upload": number, "bytes": upload.size, "sha256": digest.hexdigest()})
    upload.derived.save(f"{number}.json", ContentFile(text.encode()), save=False)
    upload.save(update_fields=["derived"])
