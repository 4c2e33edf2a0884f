"""Uploads on S3-compatible storage where {{switch}} is on, on the local disk where it is off.

Written by `rehome s3 settings`. At the end of the settings module, which this file and
s3_storages.py lie beside (Django 4.2 or later):

    from .s3_settings import *

MEDIA_URL and MEDIA_ROOT stay as they are. Nothing secret belongs in here: all of it comes
from the environment.
"""

import os

from django.core.exceptions import ImproperlyConfigured


def _said(name):
    return os.environ.get(name, "").strip() or None


def _yes(name):
    return (_said(name) or "").lower() in {"1", "true", "yes", "on"}


def _endpoint(bucket, region):
    """Where the storage answers; None for AWS itself."""
    endpoint = _said("AWS_S3_ENDPOINT_URL")
    if _yes("USE_MINIO"):
        minio = _said("MINIO_ENDPOINT_URL")
        if minio and "://" not in minio:
            minio = ("https://" if _yes("MINIO_USE_SSL") else "http://") + minio
        endpoint = minio or endpoint
    # The names of AWS's own programs, which boto3 knows too.
    endpoint = endpoint or _said("AWS_ENDPOINT_URL_S3") or _said("AWS_ENDPOINT_URL")
    if endpoint is None and _yes("USE_DO_SPACES"):
        if region is None:
            raise ImproperlyConfigured("USE_DO_SPACES is on: AWS_S3_REGION_NAME says which Spaces, as fra1")
        endpoint = f"https://{region}.digitaloceanspaces.com"
    if endpoint is None:
        return None
    # Some consoles show the address with the bucket in front of it.
    return endpoint.rstrip("/").replace(f"://{bucket}.", "://", 1)


# The static files stay with WhiteNoise, inside the image.
_STATIC = {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
_DISK = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
_HERE = __name__.rpartition(".")[0]
_STORAGES = f"{_HERE}.s3_storages" if _HERE else "s3_storages"

{{switch}} = _yes("{{switch}}")

if {{switch}}:
    AWS_STORAGE_BUCKET_NAME = _said("AWS_STORAGE_BUCKET_NAME")
    if AWS_STORAGE_BUCKET_NAME is None:
        raise ImproperlyConfigured("{{switch}} is on, and AWS_STORAGE_BUCKET_NAME names no bucket")
    # Without keys boto3 looks for a profile, or for the role of the machine.
    AWS_ACCESS_KEY_ID = _said("AWS_ACCESS_KEY_ID")
    AWS_SECRET_ACCESS_KEY = _said("AWS_SECRET_ACCESS_KEY")
    AWS_SESSION_TOKEN = _said("AWS_SESSION_TOKEN")
    AWS_S3_REGION_NAME = (
        _said("AWS_S3_REGION_NAME") or _said("AWS_REGION") or _said("AWS_DEFAULT_REGION")
    )
    AWS_S3_ENDPOINT_URL = _endpoint(AWS_STORAGE_BUCKET_NAME, AWS_S3_REGION_NAME)
    AWS_S3_CUSTOM_DOMAIN = _said("AWS_S3_CUSTOM_DOMAIN")
    AWS_S3_SIGNATURE_VERSION = "s3v4"
    if AWS_S3_ENDPOINT_URL is not None:
        # The bucket in the path: its name as a part of the host's wants certificates and
        # names that only large providers have.
        AWS_S3_ADDRESSING_STYLE = "path"
        # What boto3 adds by default since 1.36, not every other storage understands.
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")

    STORAGES = {
        "default": {"BACKEND": f"{_STORAGES}.{{default}}"},
        "public": {"BACKEND": f"{_STORAGES}.PublicMediaStorage"},
        "staticfiles": _STATIC,
    }
else:
    STORAGES = {"default": _DISK, "public": _DISK, "staticfiles": _STATIC}
