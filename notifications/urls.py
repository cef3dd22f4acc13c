"""`path("notifications/", include("notifications.urls"))`: the inbox page, its buttons, its rows, the socket's address."""

from django.urls import path

from notifications import views

__all__ = ["app_name", "urlpatterns"]

app_name = "live_notifications"

urlpatterns = [
    path("", views.inbox, name="inbox"),
    path("items/", views.items, name="items"),
    path("mark/", views.mark, name="mark"),
    path("socket/", views.socket, name="socket"),
]
