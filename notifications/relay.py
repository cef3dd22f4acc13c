"""Fans committed events out to notifications and numbers them; sweeps what a crash left; then rings.

One relay at a time a database, by a turn row. It works in short transactions of at most 500 (event, recipient) pairs and a number
of statements that does not grow with them. Numbers are given under the inboxes' locks, held to commit: number order is visibility
order, and a rollback or crash leaves no hole. Its SQL stands in `statements.py`.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NamedTuple

from django.contrib.auth import get_user_model
from django.db import InterfaceError, InternalError, OperationalError, ProgrammingError, connections, transaction
from django.db.models import F
from django.utils import timezone

from notifications import express, turn
from notifications.logs import is_due
from notifications.models import Event, Inbox
from notifications.outbox import event_alias
from notifications.protocol import Row, Step, WakeUp
from notifications.ringer import ring, ringer
from notifications.signals import inbox_changed, notification_created
from notifications.statements import Advanced, Due, deliver, due_events, due_events_query, due_spans, events_from, existing_users
from notifications.visibility import may_see, users

__all__ = ["TRIES", "Relayed", "after_commit", "disturbs_writers", "relay", "relay_due", "sweep"]

logger = logging.getLogger(__name__)

PAIRS: Final = 500
TRIES: Final = 5
GUEST_SLICES: Final = 2
REPEATS: Final = 5  # of a transaction that lost a deadlock or serialization failure
RETRY_SECONDS: Final = 5  # doubled with every try
RESTS: Final = 10
"""Times as long as a relay worked, after it. What comes meanwhile is relayed together, beside busy writers instead of in their
way. A relay of a single event needs no rest."""
MANY: Final = 8  # events of one relay after which it rests in full
LONGEST_REST_SECONDS: Final = 0.25
NOT_ITS_FAULT: Final = (OperationalError, ProgrammingError, InterfaceError, InternalError)
"""The database is away, or its tables are not what this code expects (a deploy under way): no event is to blame."""


@dataclass
class Slice:
    """One transaction's work. `is_mine` False: another relay has the turn."""

    is_mine: bool = True
    events: list[Event] = field(default_factory=list)
    recipients: dict[int, list[Any]] = field(default_factory=dict)  # event id: user ids that it reaches
    failures: dict[int, Exception] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)


class Relayed(NamedTuple):
    """What came of one relay: the seconds to rest before the next one, and whether more became due meanwhile."""

    rest: float = 0.0
    is_more_due: bool = False


def after_commit(*, using: str, wide: bool, **_: Any) -> None:
    """An event has been committed: relay it where that disturbs nobody. Receiver of `event_committed`."""
    hub = ringer.running_hub()
    if hub is not None and not disturbs_writers(using):
        hub.relay_soon()
    elif hub is not None:
        relay(using)
    elif wide or (ringer.reaches_others() and turn.is_attended(using)) or not _relay_as_guest(using):
        ring(WakeUp(pending=True))


def relay(using: str | None = None) -> None:
    """Fan out every due event, in id order, wide ones in turn with narrow ones, until none is left or another relay is at it.

    Raises `DatabaseError` when the database or its tables are away: the events stay pending.
    """
    while relay_due(using).is_more_due:
        pass


def relay_due(using: str | None = None, *, is_sweep: bool = False) -> Relayed:
    """Fan out what is due by now as `relay()` does. Where more became due meanwhile, the caller shall come again.

    `is_sweep`: the events may have killed an earlier relay, so their tries are counted before the attempt.
    """
    alias = using or event_alias()
    started, count, last = time.monotonic(), 0, None
    # Each look follows on letting the turn go: who came meanwhile has left, because of it.
    while spans := due_spans(alias):
        last = max(span.last for span in spans) if last is None else last
        if all(span.first > last for span in spans):
            return Relayed(_rest(started, count), is_more_due=True)
        for span in spans:
            done = _attempt(alias, wide=span.wide, is_sweep=is_sweep)
            count += len(done.events)
            if not done.is_mine:
                return Relayed(_rest(started, count))
    return Relayed(_rest(started, count))


def _rest(started: float, events: int) -> float:
    """Seconds. A wide event counts once a slice."""
    in_full = min(RESTS * (time.monotonic() - started), LONGEST_REST_SECONDS)
    return in_full * min(1.0, max(0, events - 1) / MANY)


def _relay_as_guest(alias: str) -> bool:
    """Relay in somebody else's request or command: narrow events only, and not for long. False: more is left for the hubs."""
    for _ in range(GUEST_SLICES):
        if not _attempt(alias, wide=False).is_mine:
            return False  # who has the turn may be a guest too, and leave without another look
        if all(span.wide for span in due_spans(alias)):
            return True
    return False


def sweep(*, is_hearing: bool = False) -> Relayed:
    """Relay what a crash or a lost ring left. Called every few seconds by hubs and by `manage.py relay_notifications`.

    `is_hearing`: the caller would hear another process ring, so that one need not relay by itself.
    """
    alias = event_alias()
    if is_hearing and not disturbs_writers(alias):
        turn.attend(alias)
    return relay_due(alias, is_sweep=True)


def _at_once(alias: str) -> Slice | None:
    """A slice of narrow events by the short way, told. None: there is none for it."""
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
    _tell(done)
    return done


def _attempt(alias: str, *, wide: bool, is_sweep: bool = False) -> Slice:
    if not wide and not is_sweep and (done := _at_once(alias)) is not None:
        return done
    due, counted = Due(wide=wide), []
    if is_sweep:
        with transaction.atomic(using=alias):
            candidates = _take(alias, due, _most(wide=wide))
            if candidates is None:
                return Slice(is_mine=False)
            counted = _count_tries(alias, candidates)
        due = Due(only=counted)
    try:
        done = _together_or_each(alias, due, _most(wide=wide))
    except Exception:
        _give_back(alias, counted)
        raise
    if not done.is_mine:
        _give_back(alias, counted)
    for event_id, failure in done.failures.items():
        _put_off(alias, event_id, failure, is_counted=event_id in counted)
    _tell(done)
    return done


def _take(alias: str, due: Due, most: int) -> list[Event] | None:
    """Take the turn and read what is due. None: another relay has the turn."""
    rows = turn.take_and_read(alias, *due_events_query(alias, due, most))
    return None if rows is None else events_from(alias, rows)


def _count_tries(alias: str, candidates: Sequence[Event]) -> list[int]:
    """Choose what to attempt and count the try, in a commit before it: an event that kills its relay is set aside in the end.

    What has been tried before is a suspect and attempted alone, so that the innocent are not counted with it.
    """
    suspects = [event for event in candidates if event.tries]
    chosen = suspects[:1] or _fitting(candidates)
    Event.objects.using(alias).filter(pk__in=[event.pk for event in chosen]).update(tries=F("tries") + 1)
    for event in chosen:
        if event.tries >= TRIES:
            _set_aside(alias, event.pk, "its relay ended without a word")
    return [event.pk for event in chosen if event.tries < TRIES]


def _give_back(alias: str, counted: list[int]) -> None:
    """These were not tried after all, or failed through no fault of theirs."""
    if counted:
        Event.objects.using(alias).filter(pk__in=counted, tries__gt=0).update(tries=F("tries") - 1)


def _together_or_each(alias: str, due: Due, most: int) -> Slice:
    """A slice; if it fails through one of its events, each of them on its own, to find out through which."""
    try:
        return _repeated(alias, due, most)
    except NOT_ITS_FAULT:
        raise
    except Exception as error:
        whole = Slice()
        for event_id in [event.pk for event in due_events(alias, due, most)]:
            try:
                one = _repeated(alias, Due(only=[event_id]), 1)
            except NOT_ITS_FAULT:
                raise
            except Exception as each:  # noqa: BLE001 - whatever this event's data or the site's code raises
                whole.failures[event_id] = each
                continue
            if not one.is_mine:
                whole.is_mine = False
                break
            _tell(one)
            whole.failures.update(one.failures)
        if whole.is_mine and not whole.failures:
            raise RuntimeError("events that fail together, each alone does not") from error
        return whole


def _repeated(alias: str, due: Due, most: int) -> Slice:
    for repeat in range(REPEATS):
        try:
            return _slice(alias, due, most)
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) not in ("40001", "40P01") or repeat == REPEATS - 1:
                raise
            time.sleep(0.01 * 2**repeat)  # the other transaction needs a moment to finish
    raise AssertionError("unreachable")


def _slice(alias: str, due: Due, most: int) -> Slice:
    done = Slice()
    with transaction.atomic(using=alias):
        candidates = _take(alias, due, most)
        if candidates is None:
            return Slice(is_mine=False)
        for event, user_ids in _recipients(alias, _fitting(candidates), done):
            done.events.append(event)
            done.recipients[event.pk] = user_ids
        done.steps = _fan_out(alias, done)
    return done


def _most(*, wide: bool) -> int:
    """How many events one slice looks at: a wide one fills it by itself."""
    return 1 if wide else PAIRS


def _fitting(candidates: Sequence[Event]) -> list[Event]:
    """The first events that make at most `PAIRS` pairs together."""
    chosen: list[Event] = []
    pairs = 0
    for event in candidates:
        pairs += len(event.audience["users"])
        if chosen and pairs > PAIRS:
            break
        chosen.append(event)
    return chosen


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


def _put_off(alias: str, event_id: int, error: Exception, *, is_counted: bool) -> None:
    events = Event.objects.using(alias).filter(pk=event_id)
    if not is_counted:
        events.update(tries=F("tries") + 1)
    tries = events.values_list("tries", flat=True).first() or 0
    if tries >= TRIES:
        _set_aside(alias, event_id, repr(error))
    else:
        events.update(retry_at=timezone.now() + timedelta(seconds=RETRY_SECONDS * 2 ** (tries - 1)), error=repr(error)[:2000])
        if is_due("relay_failed", type(error).__name__):
            logger.warning("relay_failed event=%s try=%s error=%r", event_id, tries, error)


def _set_aside(alias: str, event_id: int, reason: str) -> None:
    Event.objects.using(alias).filter(pk=event_id).update(pending=None, set_aside_at=timezone.now(), error=reason[:2000])
    logger.error("event_set_aside event=%s tries=%s reason=%s; see the admin", event_id, TRIES, reason[:200])


def _tell(done: Slice) -> None:
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


def disturbs_writers(alias: str) -> bool:
    """Whether a second writer breaks the site's requests: on SQLite, unless its transactions lock when they begin."""
    connection = connections[alias]
    return connection.vendor == "sqlite" and connection.settings_dict["OPTIONS"].get("transaction_mode") != "IMMEDIATE"
