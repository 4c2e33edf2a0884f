import hashlib
import secrets

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction

from records import make
from records.models import Applicant, Document
from records.tasks import derive

BATCH = 500


class Command(BaseCommand):
    help = "Adds N applicants, each with one document of random content."

    def add_arguments(self, parser):
        parser.add_argument("count", type=int)
        parser.add_argument("--size-kb", type=int, default=64)
        parser.add_argument("--derive", type=int, default=5, help="for how many a worker makes a derived file")

    def handle(self, count, size_kb, derive: int = 5, **_):
        folder = settings.MEDIA_ROOT / "documents"
        folder.mkdir(parents=True, exist_ok=True)
        run = secrets.token_hex(4)
        ids = []
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            with transaction.atomic():
                people = Applicant.objects.bulk_create(
                    Applicant(name=make.name(i), nik=make.nik()) for i in numbers
                )
                papers = []
                for i, person in zip(numbers, people):
                    data = make.content(size_kb * 1024)
                    relative = f"documents/{run}-{i:06}.bin"
                    (settings.MEDIA_ROOT / relative).write_bytes(data)
                    papers.append(
                        Document(
                            applicant=person,
                            kind=make.kind(i),
                            file=relative,
                            sha256=hashlib.sha256(data).hexdigest(),
                        )
                    )
                ids += [d.id for d in Document.objects.bulk_create(papers)]
        self.derive_some(ids[:derive])
        self.stdout.write(f"seeded={count} size_kb={size_kb}")

    def derive_some(self, ids):
        for pk in ids:
            derive.delay(pk)
