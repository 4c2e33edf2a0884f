import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

BASE_DIR = Path(__file__).resolve().parent.parent


def flag(name, default=False):
    return os.environ.get(name, str(default)).strip().lower() in ("1", "true", "yes", "on")


SECRET_KEY = os.environ.get("SECRET_KEY", "not-configured")
DEBUG = flag("DEBUG")
ALLOWED_HOSTS = [h for h in os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1").split(",") if h]

INSTALLED_APPS = ["django.contrib.staticfiles", "files"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "obcms.urls"
WSGI_APPLICATION = "obcms.wsgi.application"

# postgres://USER:PASSWORD@HOST:PORT/NAME
_db = urlsplit(os.environ.get("DATABASE_URL", "postgres://obcms:password@db:5432/obcms"))
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _db.path.lstrip("/"),
        "USER": unquote(_db.username or ""),
        "PASSWORD": unquote(_db.password or ""),
        "HOST": _db.hostname,
        "PORT": _db.port or 5432,
        "OPTIONS": {"connect_timeout": 3},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_TZ = True
TIME_ZONE = "UTC"

CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "redis://redis:6379/0")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TIMEZONE = "UTC"

# ============================================================================
# Files
# ============================================================================
MEDIA_URL = "/media/"
MEDIA_ROOT = BASE_DIR / "media"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
FILE_UPLOAD_PERMISSIONS = 0o644

USE_S3 = flag("USE_S3")

# Static files stay with the site, whichever it is; nginx serves what WhiteNoise compressed and numbered.
STORAGES = {
    "default": {"BACKEND": "obcms.storage.LocalStorage"},
    "public": {"BACKEND": "obcms.storage.LocalStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

if USE_S3:
    # A missing one stops the site at its start, not the first user at his upload.
    AWS_ACCESS_KEY_ID = os.environ["AWS_ACCESS_KEY_ID"]
    AWS_SECRET_ACCESS_KEY = os.environ["AWS_SECRET_ACCESS_KEY"]
    AWS_STORAGE_BUCKET_NAME = os.environ["AWS_STORAGE_BUCKET_NAME"]
    AWS_S3_REGION_NAME = os.environ.get("AWS_S3_REGION_NAME") or "us-east-1"
    AWS_S3_CUSTOM_DOMAIN = os.environ.get("AWS_S3_CUSTOM_DOMAIN") or None

    # None is AWS itself.
    AWS_S3_ENDPOINT_URL = os.environ.get("AWS_S3_ENDPOINT_URL") or None
    if flag("USE_DO_SPACES"):
        AWS_S3_ENDPOINT_URL = f"https://{AWS_S3_REGION_NAME}.digitaloceanspaces.com"
    if flag("USE_MINIO"):
        AWS_S3_ENDPOINT_URL = os.environ["MINIO_ENDPOINT_URL"]
        if "://" not in AWS_S3_ENDPOINT_URL:
            scheme = "https" if flag("MINIO_USE_SSL", True) else "http"
            AWS_S3_ENDPOINT_URL = f"{scheme}://{AWS_S3_ENDPOINT_URL}"

    AWS_S3_SIGNATURE_VERSION = "s3v4"
    # The bucket in the path: every server knows it, and no DNS name is needed for each bucket.
    AWS_S3_ADDRESSING_STYLE = "path"
    AWS_S3_OBJECT_PARAMETERS = {"CacheControl": "max-age=86400"}
    AWS_QUERYSTRING_AUTH = True
    AWS_QUERYSTRING_EXPIRE = 3600
    # What is read is kept in memory up to this size, beyond it on disk.
    AWS_S3_MAX_MEMORY_SIZE = 5 * 1024 * 1024

    STORAGES["default"] = {"BACKEND": "obcms.storage.MediaStorage"}
    STORAGES["public"] = {"BACKEND": "obcms.storage.PublicMediaStorage"}
