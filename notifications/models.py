"""The rows: `Event` (the outbox entry), `Notification` (one recipient's), `Inbox` (one a user), `RelayTurn` (one).

Only `outbox`, `relay` and `inbox` write notification rows. Foreign keys to users and events carry no database constraint and
do nothing on delete: a recipient who vanishes is dropped by the relay, and deleting a user never fails because of us.
"""

import secrets
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from notifications.protocol import EventCopy, Position, Row
from notifications.querysets import EventQuerySet, NotificationQuerySet

__all__ = ["Event", "Inbox", "Notification", "RelayTurn", "new_epoch"]


def new_epoch() -> str:
    """A name for one life of an inbox: positions of another epoch mean nothing in it."""
    return secrets.token_hex(6)


class Event(models.Model):
    """What happened, once: the content and who shall hear of it. Written inside the business transaction."""

    kind = models.CharField(_("kind"), max_length=100)
    content = models.JSONField(_("content"))
    audience = models.JSONField(_("audience"))
    """`{"users": [id, ...], "groups": [id, ...]}`, ids as JSON values; a group is expanded by the relay."""
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    pending = models.BooleanField(_("pending"), null=True, default=True)
    """True while it waits, then NULL."""
    wide = models.BooleanField(_("wide"), default=False)
    """Many recipients or a group: relayed in slices that alternate with narrow events, so that nobody waits behind it."""
    users_done = models.PositiveIntegerField(_("users done"), default=0)
    groups_after = models.CharField(_("groups after"), max_length=255, blank=True, default="")
    """Progress: how many of `users` are fanned out; then the last user id, in order, of the `groups`."""
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)
    retry_at = models.DateTimeField(_("retry at"), null=True, blank=True)
    set_aside_at = models.DateTimeField(_("set aside at"), null=True, blank=True)
    """Set after the last try failed: the event blocks nobody and waits in the admin for a person."""
    error = models.TextField(_("error"), blank=True, default="")

    objects = EventQuerySet.as_manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        # Whole, since MariaDB has no partial ones; in the order in which they are relayed, or a planner whose statistics are of a
        # busy moment reads all events ever made to find the first ones that wait.
        indexes: ClassVar = [models.Index(fields=["pending", "id"], name="live_notif_pending")]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    def copy(self) -> EventCopy:
        return EventCopy(self.kind, self.content, self.created_at)


class Notification(models.Model):
    """One recipient's row. `number` is its step of arrival and never changes; `stamp` the step that last touched it."""

    recipient = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        verbose_name=_("recipient"),
    )
    event = models.ForeignKey(
        Event, on_delete=models.DO_NOTHING, db_constraint=False, related_name="notifications", verbose_name=_("event")
    )
    number = models.BigIntegerField(_("number"))
    stamp = models.BigIntegerField(_("stamp"))
    read_at = models.DateTimeField(_("read at"), null=True, blank=True)
    archived_at = models.DateTimeField(_("archived at"), null=True, blank=True)
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True)
    answer = models.JSONField(_("answer"), null=True, blank=True)
    """What came of an action, a text; shown instead of the buttons."""

    objects = NotificationQuerySet.as_manager()

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["recipient", "event"], name="live_notif_once"),
            models.UniqueConstraint(fields=["recipient", "number"], name="live_notif_number"),
        ]
        indexes: ClassVar = [models.Index(fields=["recipient", "stamp", "event"], name="live_notif_stamp")]

    def __str__(self) -> str:
        return f"{self.recipient_id} #{self.number}"

    def row(self) -> Row:
        return Row(
            event=self.event_id,
            number=self.number,
            stamp=self.stamp,
            read=self.read_at is not None,
            archived=self.archived_at is not None,
            deleted=self.deleted_at is not None,
            answer=self.answer,
        )


class Inbox(models.Model):
    """A user's inbox: its one order and its counts. Every change to it is a step and takes the next number, `top + 1`."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="+",
        verbose_name=_("user"),
    )
    epoch = models.CharField(_("epoch"), max_length=16, default=new_epoch)
    top = models.BigIntegerField(_("top"), default=0)
    pruned = models.BigIntegerField(_("pruned"), default=0)
    """The highest stamp whose trace has been removed: a page that stands below it needs a reset."""
    seen_upto = models.BigIntegerField(_("seen up to"), default=0)
    unread = models.PositiveIntegerField(_("unread"), default=0)
    unseen = models.PositiveIntegerField(_("unseen"), default=0)

    class Meta:
        verbose_name = _("inbox")
        verbose_name_plural = _("inboxes")

    def __str__(self) -> str:
        return f"{self.user_id} at {self.position}"

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.top)


class RelayTurn(models.Model):
    """The one row that the relay at work holds locked, so that one relay at a time works on a database."""

    taken = models.BigIntegerField(default=0)
    attended_at = models.DateTimeField(null=True)
    """When a hub last said that it hears "pending": while that is fresh, processes without a hub relay nothing themselves."""

    def __str__(self) -> str:
        return f"turn {self.taken}"
