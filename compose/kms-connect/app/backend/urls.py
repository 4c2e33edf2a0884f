from django.urls import path

from records import views

urlpatterns = [
    path("health/", views.health),
    path("applicants/", views.applicants),
]
