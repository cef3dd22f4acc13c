"""Fans committed events out to notifications, slice after slice (`slices.py`); sweeps what a crash left; sets aside what fails.

One relay at a time a database, by a turn row, in short transactions and a number of statements that does not grow with events.
"""

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

from django.db import InterfaceError, InternalError, OperationalError, ProgrammingError, connections, transaction
from django.db.models import F
from django.utils import timezone

from notifications import turn
from notifications.logs import is_due
from notifications.models import Event
from notifications.outbox import event_alias
from notifications.protocol import WakeUp
from notifications.ringer import ring, ringer
from notifications.slices import Slice, at_once, events_at_most, fitting, slice_of, take_turn, tell
from notifications.statements import Due, due_events, due_spans

__all__ = ["TRIES", "Relayed", "after_commit", "disturbs_writers", "relay", "relay_due", "sweep"]

logger = logging.getLogger(__name__)

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


def _attempt(alias: str, *, wide: bool, is_sweep: bool = False) -> Slice:
    if not wide and not is_sweep and (done := at_once(alias)) is not None:
        tell(done)
        return done
    due, counted = Due(wide=wide), []
    if is_sweep:
        with transaction.atomic(using=alias):
            candidates = take_turn(alias, due, events_at_most(wide=wide))
            if candidates is None:
                return Slice(is_mine=False)
            counted = _count_tries(alias, candidates)
        due = Due(only=counted)
    try:
        done = _together_or_each(alias, due, events_at_most(wide=wide))
    except Exception:
        _give_back(alias, counted)
        raise
    if not done.is_mine:
        _give_back(alias, counted)
    for event_id, failure in done.failures.items():
        _put_off(alias, event_id, failure, is_counted=event_id in counted)
    tell(done)
    return done


def _count_tries(alias: str, candidates: Sequence[Event]) -> list[int]:
    """Choose what to attempt and count the try, in a commit before it: an event that kills its relay is set aside in the end.

    What has been tried before is a suspect and attempted alone, so that the innocent are not counted with it.
    """
    suspects = [event for event in candidates if event.tries]
    chosen = suspects[:1] or fitting(candidates)
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
            tell(one)
            whole.failures.update(one.failures)
        if whole.is_mine and not whole.failures:
            raise RuntimeError("events that fail together, each alone does not") from error
        return whole


def _repeated(alias: str, due: Due, most: int) -> Slice:
    for repeat in range(REPEATS):
        try:
            return slice_of(alias, due, most)
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) not in ("40001", "40P01") or repeat == REPEATS - 1:
                raise
            time.sleep(0.01 * 2**repeat)  # the other transaction needs a moment to finish
    raise AssertionError("unreachable")


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


def disturbs_writers(alias: str) -> bool:
    """Whether a second writer breaks the site's requests: on SQLite, unless its transactions lock when they begin."""
    connection = connections[alias]
    return connection.vendor == "sqlite" and connection.settings_dict["OPTIONS"].get("transaction_mode") != "IMMEDIATE"
