import hashlib
import time

from django.core.files.base import ContentFile
from django.core.management.base import BaseCommand
from django.db import transaction

from records import make
from records.models import Applicant, Document


class Command(BaseCommand):
    help = "A steady writer: commits an applicant with an upload, then prints its number."

    def add_arguments(self, parser):
        parser.add_argument("--seconds", type=float, default=10)
        parser.add_argument("--size-kb", type=int, default=64)
        parser.add_argument("--pause", type=float, default=0.02, help="seconds between two")

    def handle(self, seconds, size_kb, pause, **_):
        end = time.monotonic() + seconds
        i = 0
        while time.monotonic() < end:
            data = make.content(size_kb * 1024)
            with transaction.atomic():
                person = Applicant.objects.create(name=make.name(i), nik=make.nik())
                paper = Document(applicant=person, kind=make.kind(i), sha256=hashlib.sha256(data).hexdigest())
                paper.file.save(f"load-{person.id:08}.bin", ContentFile(data))
            # Printed only after the commit: what is printed must be there afterwards.
            self.stdout.write(str(person.id))
            self.stdout.flush()
            i += 1
            time.sleep(pause)
