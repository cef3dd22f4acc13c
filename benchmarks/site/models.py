"""What the site stores: one model with a rule, its twin without, and a row as an event is, written by the ORM."""

from django.conf import settings
from django.db import models
from django.utils import timezone

__all__ = ["Entry", "PlainOrder", "WatchedOrder"]


class Order(models.Model):
    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    number = models.CharField(max_length=20, default="1")
    status = models.CharField(max_length=20, default="new")
    state = models.IntegerField(default=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"Order {self.number}"


class WatchedOrder(Order):
    """A rule watches its `state`."""


class PlainOrder(Order):
    """The same, and nobody looks."""


class Entry(models.Model):
    """As many columns and bytes as an event has: the plain INSERT that `notify()` is held against."""

    kind = models.CharField(max_length=100)
    content = models.JSONField()
    audience = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)
    pending = models.BooleanField(null=True, default=True, db_index=True)
    wide = models.BooleanField(default=False)
    users_done = models.PositiveIntegerField(default=0)
    groups_after = models.CharField(max_length=255, blank=True, default="")
    tries = models.PositiveSmallIntegerField(default=0)
    retry_at = models.DateTimeField(null=True, blank=True)
    set_aside_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"
