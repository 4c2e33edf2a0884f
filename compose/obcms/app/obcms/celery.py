import os
import pathlib

from celery import Celery
from celery.signals import heartbeat_sent, worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "obcms.settings")

app = Celery("obcms")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
@heartbeat_sent.connect
def touch_heartbeat(**_):
    """What the health check of the worker looks at."""
    pathlib.Path("/tmp/celery-heartbeat").touch()
