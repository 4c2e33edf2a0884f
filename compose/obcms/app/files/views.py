import hashlib
import logging
import uuid

from django.core.files.storage import default_storage
from django.db import DatabaseError, IntegrityError, connection
from django.http import FileResponse, Http404, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_POST

from .models import Upload
from .tasks import derive

log = logging.getLogger(__name__)


def health(request):
    """Answers 200 only while the database answers. Says where this replica keeps its files."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except DatabaseError as error:
        return JsonResponse({"status": "error", "database": str(error).strip()}, status=503)
    return JsonResponse({"status": "ok", "database": "ok", "storage": default_storage.__class__.__name__})


def described(upload):
    return {"id": upload.id, "name": upload.name, "sha256": upload.sha256}


@require_POST
def upload(request):
    """Answers once the file is in the storage and its row is committed."""
    given = request.FILES.get("file")
    if given is None:
        return JsonResponse({"error": "no file"}, status=400)
    try:
        number = uuid.UUID(request.headers.get("X-Request-ID", ""))
    except ValueError:
        number = uuid.uuid4()

    # nginx asks again if a replica goes away before it answers.
    made = Upload.objects.filter(request=number).first()
    if made is None:
        digest = hashlib.sha256()
        for block in given.chunks():
            digest.update(block)
        made = Upload(request=number, name=given.name, size=given.size, sha256=digest.hexdigest())
        made.file.save(given.name, given, save=False)
        try:
            made.save()
        except IntegrityError:
            # The first asking was slower, not lost: its row counts.
            made = Upload.objects.get(request=number)
        try:
            derive.delay(made.pk)
        except derive.OperationalError:
            log.exception("upload %s: no derived file, the broker does not answer", made.pk)
    return JsonResponse(described(made), status=201)


@require_GET
def files(request):
    rows = Upload.objects.order_by("id")
    return JsonResponse(
        {
            "files": [
                described(u) | {"size": u.size, "file": u.file.name, "derived": u.derived.name} for u in rows.iterator()
            ]
        }
    )


@require_GET
def file(request, number):
    found = get_object_or_404(Upload, pk=number)
    try:
        opened = found.file.open()
    except FileNotFoundError as error:
        raise Http404(f"{found.file.name} is not in the storage") from error
    return FileResponse(opened, filename=found.name, headers={"X-Content-SHA256": found.sha256})


@require_GET
def url(request, number):
    return JsonResponse({"url": get_object_or_404(Upload, pk=number).file.url})
