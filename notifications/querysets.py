"""Questions about rows that more than one module asks."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

if TYPE_CHECKING:
    from notifications.models import Event, Notification  # noqa: F401

__all__ = ["EventQuerySet", "NotificationQuerySet"]


class EventQuerySet(models.QuerySet["Event"]):
    def due(self) -> "EventQuerySet":
        """Events that wait for the relay and are not waiting for a later try."""
        return self.filter(Q(retry_at=None) | Q(retry_at__lte=timezone.now()), pending=True)

    def set_aside(self) -> "EventQuerySet":
        return self.filter(set_aside_at__isnull=False)


class NotificationQuerySet(models.QuerySet["Notification"]):
    def of(self, user_id: Any) -> "NotificationQuerySet":
        """The user's notifications that are not deleted, with their events, newest first."""
        return self.filter(recipient_id=user_id, deleted_at=None).select_related("event").order_by("-number")

    def active(self) -> "NotificationQuerySet":
        """Neither archived nor deleted: what the list shows first."""
        return self.filter(archived_at=None, deleted_at=None)

    def unread(self) -> "NotificationQuerySet":
        return self.filter(read_at=None)
