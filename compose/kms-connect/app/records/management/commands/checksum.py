import hashlib
import sys

from django.core.management.base import BaseCommand
from django.db import transaction

from records.models import Applicant, Document


class Command(BaseCommand):
    help = "One checksum over all rows, and each document's file against its own; exit 1 if a file is missing or differs."

    def add_arguments(self, parser):
        parser.add_argument("--no-files", action="store_true", help="rows only")

    def handle(self, no_files, **_):
        rows = hashlib.sha256()
        counts = {}
        files = []
        with transaction.atomic():
            with transaction.get_connection().cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for model in (Applicant, Document):
                fields = [f.attname for f in model._meta.concrete_fields]
                counts[model] = 0
                for row in model.objects.order_by("id").values_list(*fields).iterator():
                    rows.update(repr([str(v) for v in row]).encode() + b"\n")
                    counts[model] += 1
            for document in Document.objects.order_by("id").iterator():
                files.append((document.id, document.file, document.sha256))

        good = 0
        for pk, file, expected in [] if no_files else files:
            digest = hashlib.sha256()
            try:
                with open(file.path, "rb") as opened:
                    for block in iter(lambda: opened.read(1 << 20), b""):
                        digest.update(block)
            except OSError as error:
                self.stderr.write(f"document {pk}: {file.name}: {error.strerror}")
                continue
            if digest.hexdigest() != expected:
                self.stderr.write(f"document {pk}: {file.name}: content differs")
                continue
            good += 1

        self.stdout.write(
            f"applicants={counts[Applicant]} documents={counts[Document]} "
            f"rows_sha256={rows.hexdigest()} files_ok={good}"
        )
        if not no_files and good != len(files):
            sys.exit(1)
