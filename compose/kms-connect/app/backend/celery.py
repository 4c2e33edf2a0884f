import os
import pathlib

from celery import Celery
from celery.signals import after_task_publish, beat_init, heartbeat_sent, worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")

app = Celery("backend")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
@heartbeat_sent.connect
@beat_init.connect
@after_task_publish.connect
def touch_heartbeat(**_):
    """What the health checks of the worker and of the scheduler look at."""
    pathlib.Path("/tmp/celery-heartbeat").touch()
