from django.conf import settings
from django.urls import include, path

from benchmarks.site import views

urlpatterns = [
    path("do/", views.do),
    path("notifications/", include("notifications.urls")),
]
if settings.SUBJECT.way == "eventstream":
    urlpatterns.append(path("events/", include("django_eventstream.urls")))
