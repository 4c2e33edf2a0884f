from django.urls import path

from files import views

urlpatterns = [
    path("health/", views.health),
    path("upload/", views.upload),
    path("files/", views.files),
    path("files/<int:number>/", views.file),
    path("files/<int:number>/url/", views.url),
]
