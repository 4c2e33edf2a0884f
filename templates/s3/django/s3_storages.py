"""Where uploads are stored: https://django-storages.readthedocs.io/en/latest/backends/amazon-S3.html

Written by `rehome s3 settings`. Keep it beside s3_settings.py.
"""

from django.core.files.storage import storages
from storages.backends.s3 import S3Storage


class MediaStorage(S3Storage):
    """What all uploads have in common.

    `location` is `s3.prefix` of rehome.yml: what was synchronised from the volume is found
    there. A class with another location finds none of it.
    """

    location = "{{prefix}}"
    # Two uploads of one name are two files, as on a disk.
    file_overwrite = False
    default_acl = {{acl}}
    object_parameters = {{parameters}}


class PrivateMediaStorage(MediaStorage):
    """Only whoever gets a signed URL from the application can read it, and not for long."""

    querystring_auth = True
    querystring_expire = 3600
    # A domain of its own gets URLs without a signature.
    custom_domain = None


class PublicMediaStorage(MediaStorage):
    """Whoever knows the URL can read it, if the bucket lets everybody (an ACL), or a CDN does
    (AWS_S3_CUSTOM_DOMAIN)."""

    querystring_auth = False


def public_media():
    """For a field whose files are public: `FileField(storage=public_media)`.

    Asked anew in each process, so that it is the local disk where {{switch}} is off.
    """
    return storages["public"]
