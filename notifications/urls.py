"""`path("notifications/", include("notifications.urls"))`: the inbox page, its buttons, its rows, how news come to a page."""

from django.urls import path

from notifications import feeds, views

__all__ = ["app_name", "urlpatterns"]

app_name = "live_notifications"

urlpatterns = [
    path("", views.inbox, name="inbox"),
    path("items/", views.items, name="items"),
    path("mark/", views.mark, name="mark"),
    path("socket/", views.socket, name="socket"),
    path("events/", feeds.events, name="events"),
    path("changes/", feeds.changes, name="changes"),
]
