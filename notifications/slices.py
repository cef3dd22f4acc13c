"""A slice of the relay's work: one transaction that makes at most 500 (event, recipient) pairs notifications, and then rings.

Numbers are given under the inboxes' locks, held to commit: number order is visibility order, and a rollback or crash leaves no
hole. `express.py` does it in one round trip where it can; the SQL of the other way stands in `statements.py`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.db import connections, transaction

from notifications import express, turn
from notifications.logs import is_due
from notifications.models import Event, Inbox
from notifications.protocol import Row, Step, WakeUp
from notifications.ringer import ring
from notifications.signals import inbox_changed, notification_created
from notifications.statements import Advanced, Due, deliver, due_events_query, events_from, existing_users
from notifications.visibility import may_see, users

__all__ = ["PAIRS", "Slice", "at_once", "events_at_most", "fitting", "slice_of", "take_turn", "tell"]

logger = logging.getLogger(__name__)

PAIRS: Final = 500


@dataclass
class Slice:
    """One transaction's work. `is_mine` False: another relay has the turn."""

    is_mine: bool = True
    events: list[Event] = field(default_factory=list)
    recipients: dict[int, list[Any]] = field(default_factory=dict)  # event id: user ids that it reaches
    failures: dict[int, Exception] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)


def at_once(alias: str) -> Slice | None:
    """A slice of narrow events by the short way, for the caller to `tell()`. None: there is none for it."""
    if not express.is_able(alias):
        return None
    delivered = express.deliver_at_once(alias, PAIRS)
    if delivered is None:
        return Slice(is_mine=False) if turn.exists(alias) else None
    if not delivered.events:
        return None
    done = Slice(events=delivered.events, recipients={event.pk: [] for event in delivered.events})
    for inbox, events in delivered.inboxes:
        done.steps.append(_step(inbox, events))
        for event_id in events:
            done.recipients[event_id].append(inbox.user_id)
    for event in done.events:
        event.pending = None
    wanted = {str(id) for event in done.events for id in event.audience["users"]}
    _note_missing(len(wanted) - len(delivered.inboxes), done.events)
    return done


def slice_of(alias: str, due: Due, most: int) -> Slice:
    """A slice of what is due, of at most so many events. What the site's code raises about one is among its failures."""
    done = Slice()
    with transaction.atomic(using=alias):
        candidates = take_turn(alias, due, most)
        if candidates is None:
            return Slice(is_mine=False)
        for event, user_ids in _recipients(alias, fitting(candidates), done):
            done.events.append(event)
            done.recipients[event.pk] = user_ids
        done.steps = _fan_out(alias, done)
    return done


def events_at_most(*, wide: bool) -> int:
    """How many events one slice looks at: a wide one fills it by itself."""
    return 1 if wide else PAIRS


def take_turn(alias: str, due: Due, most: int) -> list[Event] | None:
    """Take the turn and read what is due. None: another relay has the turn."""
    rows = turn.take_and_read(alias, *due_events_query(alias, due, most))
    return None if rows is None else events_from(alias, rows)


def fitting(candidates: Sequence[Event]) -> list[Event]:
    """The first events that make at most `PAIRS` pairs together."""
    chosen: list[Event] = []
    pairs = 0
    for event in candidates:
        pairs += len(event.audience["users"])
        if chosen and pairs > PAIRS:
            break
        chosen.append(event)
    return chosen


def tell(done: Slice) -> None:
    """After commit: ring the pages and send the site's signals."""
    if not done.steps:
        return
    ring(WakeUp(steps=done.steps, events={event.pk: event.copy() for event in done.events}))
    for event in done.events:
        notification_created.send_robust(sender=Event, event=event, recipient_ids=done.recipients[event.pk])
    if inbox_changed.receivers:
        key = get_user_model()._meta.pk
        for step in done.steps:
            inbox_changed.send_robust(sender=Inbox, user_id=key.to_python(step.user), unread=step.unread, unseen=step.unseen)


def _recipients(alias: str, events: Sequence[Event], done: Slice) -> list[tuple[Event, list[Any]]]:
    """Who of each event's next recipients exists and may see it: the site's word, asked before any inbox is locked."""
    key = get_user_model()._meta.pk
    named = {event.pk: [key.to_python(id) for id in _next_users(event)] for event in events}
    wanted = {id for ids in named.values() for id in ids}
    existing = existing_users(users().db, wanted) if wanted else set()
    _note_missing(len(wanted) - len(existing), events)
    result = []
    for event in events:
        ids = [id for id in named[event.pk] if id in existing]
        if event.audience["groups"]:
            ids += _next_members(event, PAIRS - len(named[event.pk]))
        elif event.wide:
            event.pending = True if event.users_done < len(event.audience["users"]) else None
        else:
            event.pending = None
        try:
            allowed = may_see(event, ids)
        except Exception as error:
            if not connections[alias].is_usable():
                raise
            done.failures[event.pk] = error
            continue
        ids = [id for id in ids if id in allowed]
        result.append((event, ids))
    return result


def _note_missing(count: int, events: Sequence[Event]) -> None:
    if count and is_due("recipients_missing"):
        logger.error("recipients_missing count=%s events=%s", count, [event.pk for event in events][:10])


def _next_users(event: Event) -> list[Any]:
    """The next slice of the recipients named one by one; moves `users_done`."""
    start = event.users_done
    ids: list[Any] = event.audience["users"][start : start + PAIRS]
    event.users_done = start + len(ids)
    return ids


def _next_members(event: Event, room: int) -> list[Any]:
    """The next members of the event's groups in order of their ids, without those named one by one; moves `groups_after`."""
    if event.users_done < len(event.audience["users"]) or room <= 0:
        return []
    members = users().filter(groups__in=event.audience["groups"]).order_by("pk").distinct()
    if event.groups_after:
        members = members.filter(pk__gt=members.model._meta.pk.to_python(event.groups_after))
    ids = list(members.values_list("pk", flat=True)[:room])
    if len(ids) < room:
        event.pending = None
    if ids:
        event.groups_after = str(ids[-1])
    named = {str(id) for id in event.audience["users"]}
    return [id for id in ids if str(id) not in named]


def _fan_out(alias: str, done: Slice) -> list[Step]:
    """Deliver the events to the inboxes, say what each inbox went through, and how far the events are done."""
    per_user: dict[Any, list[int]] = {}
    for event in done.events:
        for user_id in done.recipients[event.pk]:
            per_user.setdefault(user_id, []).append(event.pk)
    arrivals = [(user_id, per_user[user_id]) for user_id in sorted(per_user)]
    finished = [event.pk for event in done.events if event.pending is None]
    steps = [_step(inbox, per_user[inbox.user_id]) for inbox in deliver(alias, arrivals, finished)]
    for event in done.events:  # at most one: a wide event has its slice to itself
        if event.pending:
            progress = {"users_done": event.users_done, "groups_after": event.groups_after, "tries": 0}
            Event.objects.using(alias).filter(pk=event.pk).update(**progress)
    return steps


def _step(inbox: Advanced, events: Sequence[int]) -> Step:
    """What the inbox went through when these events arrived."""
    base = inbox.top - len(events)
    rows = tuple(Row(event, number, number) for number, event in enumerate(events, base + 1))
    return Step(str(inbox.user_id), inbox.epoch, base, inbox.top, inbox.unread, inbox.unseen, inbox.seen_upto, rows)
