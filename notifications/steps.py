"""The steps that a user takes, and what else changes an inbox by hand: marked, seen, answered, counted anew, forgotten.

The first statement takes the inbox's lock, every step gets the next number, and on commit `ringer.py` is told.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from django.db import transaction
from django.db.models import Count, Exists, F, Max, OuterRef, Q
from django.utils import timezone

from notifications.inbox import inbox_alias
from notifications.models import Event, Inbox, Notification, new_epoch
from notifications.protocol import DELTA_ROWS, EventCopy, Row, Step, WakeUp
from notifications.querysets import NotificationQuerySet
from notifications.signals import inbox_changed, inbox_stepped
from notifications.visibility import is_restricted

__all__ = ["ACTIONS", "MarkAction", "forget", "mark", "mark_seen", "recount", "renew_epochs", "set_answer"]

MarkAction: TypeAlias = Literal["read", "unread", "archive", "unarchive", "delete", "undelete"]


class ActionRule(NamedTuple):
    """`column` is set to now (`sets`) or to NULL; `op` is what a page can do by itself when all up to a number are meant."""

    column: str
    sets: bool
    op: str | None


ACTIONS: Final[Mapping[MarkAction, ActionRule]] = {
    "read": ActionRule("read_at", True, "read_upto"),
    "unread": ActionRule("read_at", False, None),
    "archive": ActionRule("archived_at", True, "archived_upto"),
    "unarchive": ActionRule("archived_at", False, None),
    "delete": ActionRule("deleted_at", True, "deleted_upto"),
    "undelete": ActionRule("deleted_at", False, None),
}


def mark(
    user_id: Any,
    action: MarkAction,
    *,
    ids: Collection[int] | None = None,
    upto: int | None = None,
    stamp: int | None = None,
) -> int:
    """Take one step: `action` on the user's notifications of these event `ids`, or on all with numbers up to `upto`, or on those
    that the step `stamp` touched and nothing has touched since. Returns the stamp of the step taken, 0 if nothing changed.

    So what came of a step is undone: `mark(user, "unarchive", stamp=mark(user, "archive", upto=40))`. Idempotent; ids of others
    and missing ids are passed over alike. Inside an open transaction it happens on commit, so that the inbox is not locked for a
    request's length, and 0 is returned. Raises `ValueError` for an unknown action, unless one of the three is given, and for
    `undelete` by `upto`.
    """
    if action not in ACTIONS:
        raise ValueError(f"unknown action {action!r}")
    by = {"event_id__in": None if ids is None else list(ids), "number__lte": upto, "stamp": stamp}
    chosen = {lookup: value for lookup, value in by.items() if value is not None}
    if len(chosen) != 1:
        raise ValueError("give one of ids, upto and stamp")
    if action == "undelete" and upto is not None:
        raise ValueError("give ids or stamp: what was deleted in many steps does not come back in one")
    return _outside_transaction(partial(_mark, user_id, action, chosen, upto))


def mark_seen(user_id: Any, upto: int) -> int:
    """Everything that arrived up to number `upto` has been seen; never moves backwards. Stamp and commit as with `mark()`."""
    return _outside_transaction(partial(_mark_seen, user_id, upto))


def set_answer(user_ids: Collection[Any], event_id: int, answer: Any) -> None:
    """Show `answer`, a stored text, to those of the users who have this notification; it is read then. On commit, as `mark()`.

    One step and one transaction a user, in user order; who has deleted it finds the answer there if they take that back.
    """

    def take_steps() -> int:
        rows = Notification.objects.using(inbox_alias()).filter(event_id=event_id, recipient_id__in=list(user_ids))
        users = list(rows.order_by("recipient_id").values_list("recipient_id", flat=True))
        return max((_answer(user_id, event_id, answer) for user_id in users), default=0)

    _outside_transaction(take_steps)


def forget(user_id: Any) -> None:
    """Remove a user's inbox and notifications, on commit: the user is gone."""

    def remove() -> int:
        with transaction.atomic(using=inbox_alias()):
            Inbox.objects.using(inbox_alias()).filter(pk=user_id).delete()
            Notification.objects.using(inbox_alias()).filter(recipient_id=user_id).delete()
        return 0

    _outside_transaction(remove)


def recount(user_id: Any) -> bool:
    """Set the user's counts, and the inbox itself if there is none, by the rows that are there. Whether anything was wrong.

    Under the inbox's lock, as an ordinary step, so that open pages hear of it. Where rows stand above its top: a new epoch.
    """
    alias = inbox_alias()
    rows = Notification.objects.using(alias).filter(recipient_id=user_id)
    with transaction.atomic(using=alias):
        inbox = _next_step(user_id, alias)
        if inbox is None:
            Inbox.objects.using(alias).bulk_create([Inbox(pk=user_id)], ignore_conflicts=True)
            inbox = _next_step(user_id, alias)
        if inbox is None:
            raise RuntimeError(f"the inbox of user {user_id} can neither be found nor made")
        before = (inbox.unread, inbox.unseen, inbox.seen_upto)
        highest = rows.aggregate(highest=Max("stamp"))["highest"] or 0
        is_above = highest >= inbox.top
        if is_above:
            inbox.top, inbox.epoch = highest + 1, new_epoch()
            inbox.save(using=alias, update_fields=["top", "epoch"])
        inbox.seen_upto = min(inbox.seen_upto, inbox.top - 1)
        _recount(inbox, alias)
        if before == (inbox.unread, inbox.unseen, inbox.seen_upto) and not is_above:
            transaction.set_rollback(True, using=alias)
            return False
        _say_on_commit(inbox, [], (), alias)
    return True


def renew_epochs(user_ids: Iterable[Any]) -> int:
    """Make every position in these inboxes mean nothing, since the database was restored: open pages get a reset. How many."""
    alias = inbox_alias()
    with transaction.atomic(using=alias):
        inboxes = Inbox.objects.using(alias).filter(pk__in=list(user_ids))
        locked = [inbox.pk for inbox in inboxes.select_for_update().order_by("pk")]  # in the relay's order: no deadlock
        inboxes.update(epoch=new_epoch())
        steps = [_step(inbox, base=inbox.top, rows=None) for inbox in inboxes]
        wake_up = WakeUp(steps=steps)
        transaction.on_commit(lambda: inbox_stepped.send(sender=Inbox, wake_up=wake_up), using=alias, robust=True)
    return len(locked)


def _outside_transaction(step: Callable[[], int]) -> int:
    if not transaction.get_connection(inbox_alias()).in_atomic_block:
        return step()
    # Not the partial itself: when it fails Django logs the name of the function, and a partial has none.
    transaction.on_commit(lambda: step(), using=inbox_alias(), robust=True)  # noqa: PLW0108
    return 0


def _mark(user_id: Any, action: MarkAction, chosen: Mapping[str, Any], upto: int | None) -> int:
    column, sets, op = ACTIONS[action]
    alias = inbox_alias()
    with transaction.atomic(using=alias):
        inbox = _next_step(user_id, alias)
        if inbox is None:
            return 0
        mine = Notification.objects.using(alias).filter(**chosen, recipient_id=user_id)
        mine = mine.filter(_has_content(alias)) if action == "undelete" else mine.filter(deleted_at=None)
        touched = mine.filter(**{f"{column}__isnull": sets})
        rows = list(touched.select_related("event")[:DELTA_ROWS]) if upto is None else []
        change = {column: timezone.now() if sets else None, "stamp": inbox.top}
        count = touched.update(**change)
        if not count:
            transaction.set_rollback(True, using=alias)
            return 0
        if count == len(rows):
            _change(rows, change, inbox)
            inbox.save(using=alias, update_fields=["unread", "unseen"])
        else:
            _recount(inbox, alias)
        ops = ({op: upto},) if op and upto is not None else ()
        # Else read back by the hub: many rows, and what the user may no longer see, though they can name it.
        is_told = count == len(rows) and not any(is_restricted(row.event) for row in rows)
        _say_on_commit(inbox, rows if is_told or ops else None, ops, alias)
        return inbox.top


def _answer(user_id: Any, event_id: int, answer: Any) -> int:
    alias = inbox_alias()
    with transaction.atomic(using=alias):
        inbox = _next_step(user_id, alias)
        mine = Notification.objects.using(alias).filter(recipient_id=user_id, event_id=event_id).select_related("event")
        row = None if inbox is None else mine.first()
        if inbox is None or row is None or (row.answer == answer and row.read_at is not None):
            transaction.set_rollback(True, using=alias)
            return 0
        change: dict[str, Any] = {"answer": answer, "read_at": row.read_at or timezone.now()}
        if row.deleted_at is None:
            change["stamp"] = inbox.top
        else:  # nobody is shown it, so it is no step; and its own last step can still be undone
            inbox.top -= 1
        _change([row], change, inbox)
        row.save(using=alias, update_fields=list(change))
        inbox.save(using=alias, update_fields=["top", "unread", "unseen"])
        if row.deleted_at is not None:
            return 0
        _say_on_commit(inbox, None if is_restricted(row.event) else [row], (), alias)
        return inbox.top


def _has_content(alias: str) -> Exists:
    """There is something to show of the row's event. Asked row by row: as a list, SQLite would read all events there are."""
    return Exists(Event.objects.using(alias).filter(pk=OuterRef("event_id")).exclude(content={}))


def _change(rows: Sequence[Notification], change: Mapping[str, Any], inbox: Inbox) -> None:
    """Set the rows' attributes, and the inbox's counts accordingly."""
    for row in rows:
        before = _counts(row, inbox)
        for name, value in change.items():
            setattr(row, name, value)
        after = _counts(row, inbox)
        inbox.unread += after[0] - before[0]
        inbox.unseen += after[1] - before[1]


def _mark_seen(user_id: Any, upto: int) -> int:
    alias = inbox_alias()
    with transaction.atomic(using=alias):
        inbox = _next_step(user_id, alias)
        if inbox is None:
            return 0
        seen_upto = min(upto, inbox.top - 1)
        if seen_upto <= inbox.seen_upto:
            transaction.set_rollback(True, using=alias)
            return 0
        inbox.seen_upto, unseen_before = seen_upto, inbox.unseen
        _recount(inbox, alias)
        if inbox.unseen == unseen_before:  # a page that was opened again: nothing that others need to hear of, so no step
            inbox.top -= 1
            inbox.save(using=alias, update_fields=["top"])
            return 0
        _say_on_commit(inbox, [], (), alias)
        return inbox.top


def _next_step(user_id: Any, alias: str) -> Inbox | None:
    """Lock the inbox and advance it: a write as the first statement, so that SQLite too waits instead of failing later."""
    inboxes = Inbox.objects.using(alias).filter(pk=user_id)
    return inboxes.get() if inboxes.update(top=F("top") + 1) else None


def _counts(row: Notification, inbox: Inbox) -> tuple[bool, bool]:
    """Whether the row counts as unread, and as unseen."""
    is_unread = row.read_at is None and row.archived_at is None and row.deleted_at is None
    return is_unread, is_unread and row.number > inbox.seen_upto


def _recount(inbox: Inbox, alias: str) -> None:
    rows: NotificationQuerySet = Notification.objects.using(alias).filter(recipient_id=inbox.pk).active().unread()
    counts = rows.aggregate(unread=Count("pk"), unseen=Count("pk", filter=Q(number__gt=inbox.seen_upto)))
    inbox.unread, inbox.unseen = counts["unread"], counts["unseen"]
    inbox.save(using=alias, update_fields=["seen_upto", "unread", "unseen"])


def _say_on_commit(inbox: Inbox, rows: Sequence[Notification] | None, ops: tuple[dict[str, int], ...], alias: str) -> None:
    step = _step(inbox, base=inbox.top - 1, rows=None if rows is None else tuple(row.row() for row in rows), ops=ops)
    events: dict[int, EventCopy] = {row.event_id: row.event.copy() for row in rows or ()}
    user_id = inbox.pk

    def say() -> None:
        inbox_stepped.send(sender=Inbox, wake_up=WakeUp(steps=[step], events=events))
        inbox_changed.send_robust(sender=Inbox, user_id=user_id, unread=step.unread, unseen=step.unseen)

    transaction.on_commit(say, using=alias, robust=True)


def _step(inbox: Inbox, *, base: int, rows: tuple[Row, ...] | None, ops: tuple[dict[str, int], ...] = ()) -> Step:
    return Step(
        user=str(inbox.pk),
        epoch=inbox.epoch,
        base=base,
        top=inbox.top,
        unread=inbox.unread,
        unseen=inbox.unseen,
        seen_upto=inbox.seen_upto,
        rows=rows,
        ops=ops,
    )
