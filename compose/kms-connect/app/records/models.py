from django.db import models


class Applicant(models.Model):
    name = models.CharField(max_length=200)
    nik = models.CharField(max_length=16, unique=True)
    photo = models.FileField(upload_to="photos", blank=True)
    created = models.DateTimeField(auto_now_add=True)


class Document(models.Model):
    applicant = models.ForeignKey(Applicant, on_delete=models.CASCADE, related_name="documents")
    kind = models.CharField(max_length=40)
    file = models.FileField(upload_to="documents")
    sha256 = models.CharField(max_length=64)


class Tick(models.Model):
    """One row for each beat of the scheduler."""

    at = models.DateTimeField(auto_now_add=True)
