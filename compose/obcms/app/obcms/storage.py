"""Where files are: on the local disk, or in a bucket. settings.py chooses."""
from django.core.files.storage import FileSystemStorage
from storages.backends.s3 import S3Storage


class KeepName:
    """A file keeps the name that its owner gave it: spaces, signs and umlauts."""

    def get_valid_name(self, name):
        return name


class LocalStorage(KeepName, FileSystemStorage):
    """Below MEDIA_ROOT."""


class MediaStorage(KeepName, S3Storage):
    """Uploads: private, read by signed URLs."""

    location = "media"
    default_acl = "private"
    file_overwrite = False
    # A URL of a custom domain would not be signed.
    custom_domain = None


class PublicMediaStorage(KeepName, S3Storage):
    """What everybody may read, from AWS_S3_CUSTOM_DOMAIN if there is one."""

    location = "public"
    default_acl = "public-read"
    file_overwrite = False
    querystring_auth = False
