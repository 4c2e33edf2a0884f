import uuid

from django.db import models


def place(upload, name):
    """A directory for each upload: two people may give the same name at the same moment, and a bucket has no lock."""
    return f"uploads/{upload.request.hex}/{name}"


class Upload(models.Model):
    # The request's number: one that comes twice is one upload.
    request = models.UUIDField(unique=True, default=uuid.uuid4)
    name = models.CharField(max_length=255)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    file = models.FileField(upload_to=place, max_length=400)
    derived = models.FileField(upload_to="derived", max_length=400, blank=True)
    created = models.DateTimeField(auto_now_add=True)
