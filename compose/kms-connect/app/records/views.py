from django.db import DatabaseError, connection
from django.http import JsonResponse

from .models import Applicant, Document


def health(request):
    """Answers 200 only while the database answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except DatabaseError as error:
        return JsonResponse({"status": "error", "database": str(error).strip()}, status=503)
    return JsonResponse({"status": "ok", "database": "ok"})


def applicants(request):
    latest = Document.objects.select_related("applicant").order_by("-id")[:20]
    return JsonResponse(
        {
            "count": Applicant.objects.count(),
            "latest": [
                {"id": d.applicant_id, "name": d.applicant.name, "kind": d.kind, "file": d.file.url}
                for d in latest
            ],
        }
    )
