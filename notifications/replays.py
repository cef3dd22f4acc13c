"""What came after a position: the rows that a page has missed, each once in its last state, or word that a fresh page is better.

The inbox row is read first, rows up to its `top` second, and what was pruned meanwhile last.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from django.db.models import Q
from django.utils import timezone

from notifications.inbox import State, inbox_alias, states, with_events
from notifications.logs import is_due
from notifications.models import Event, Inbox, Notification, new_epoch
from notifications.protocol import DELTA_ROWS, RESET_ROWS, EventCopy, Row
from notifications.visibility import is_restricted

__all__ = ["Cursor", "Replay", "replay"]

logger = logging.getLogger(__name__)

LED_ROWS: Final = DELTA_ROWS  # of a live page that has missed more than `RESET_ROWS`: what its window takes at once
RESTRICTED: Final = 50  # events with `visible_to`, each a query, beyond which a fresh page is cheaper than a replay
BATCH_ROWS: Final = 2000  # rows that one query reads for several users; past it they are read one by one


class Cursor(NamedTuple):
    """How far a page has been brought: rows up to `(stamp, event)` are delivered; `event` None: all of that stamp."""

    epoch: str
    stamp: int
    event: int | None = None
    is_live: bool = False
    """It has been brought up to date on its connection: it is led through whatever has arrived since, however much that is."""

    @property
    def complete(self) -> int:
        """Up to this stamp every row is delivered, so that none of what was pruned up to it is missed."""
        return self.stamp if self.event is None else self.stamp - 1


class Replay(NamedTuple):
    """What leads from a cursor to `state`, each row with its event, or None where the user may not see it.

    `rows` None: nothing leads there, only a fresh page. `is_partial`: they lead a part of the way.
    """

    state: State
    rows: list[tuple[Row, EventCopy | None]] | None
    is_partial: bool = False


def replay(cursors: Mapping[Any, Cursor]) -> dict[Any, Replay]:
    """What each user's page, standing at a cursor, has missed. Two queries for some 2,000 rows, whoever's they are, and one
    for each event whose kind has `visible_to`.

    At most `RESET_ROWS` rows a user. Where more have arrived, a live page gets the first of them; any other page, and whoever's
    cursor means nothing in the inbox (another epoch, below `pruned`, above `top`), is better off with a fresh page.
    """
    found = states(cursors)
    answers: dict[Any, Replay] = {}
    behind: dict[Any, Cursor] = {}
    for user_id, cursor in cursors.items():
        state = found.get(str(user_id), State())
        if not _leads_to(cursor, state):
            _check_epoch(user_id, cursor, state)
            answers[user_id] = Replay(state, None)
        elif cursor.stamp == state.position.top and cursor.event is None:
            answers[user_id] = Replay(state, [])
        else:
            behind[user_id] = cursor
    missed = {user_id: rows for batch in _batches(behind, found) for user_id, rows in _rows_after(batch, found).items()}
    again = states(behind) if behind else {}  # a prune between the two reads took rows that the cursor still needed
    partial = {user_id for user_id, cursor in behind.items() if _is_led(cursor, missed[user_id])}
    missed |= {user_id: missed[user_id][:LED_ROWS] for user_id in partial}
    for user_id, cursor in behind.items():
        state = found[str(user_id)]
        is_long = len(missed[user_id]) > RESET_ROWS or sum(is_restricted(row.event) for row in missed[user_id]) > RESTRICTED
        if is_long or cursor.complete < again.get(str(user_id), state).pruned:
            answers[user_id] = Replay(state, None)
            del missed[user_id]
    rows = with_events(missed)
    return answers | {user_id: Replay(found[str(user_id)], rows[user_id], user_id in partial) for user_id in missed}


def _leads_to(cursor: Cursor, state: State) -> bool:
    if not cursor.epoch:  # a page of a user who had no inbox: everything is news
        return state.pruned == 0
    is_within = state.pruned <= cursor.complete and cursor.stamp <= state.position.top
    return cursor.epoch == state.position.epoch and is_within


def _check_epoch(user_id: Any, cursor: Cursor, state: State) -> None:
    """A position that the inbox has not reached yet: the database was restored. From now on old positions mean nothing in it."""
    if cursor.epoch and cursor.epoch == state.position.epoch and cursor.stamp > state.position.top:
        inboxes = Inbox.objects.using(inbox_alias()).filter(pk=user_id, epoch=cursor.epoch, top__lt=cursor.stamp)
        if inboxes.update(epoch=new_epoch()) and is_due("epoch_changed"):
            logger.warning("epoch_changed user=%s position=%s top=%s", user_id, cursor.stamp, state.position.top)


def _rows_after(cursors: Mapping[Any, Cursor], found: Mapping[str, State]) -> dict[Any, list[Notification]]:
    wanted = Q()
    # Up to the number, not to the stamp: a row that was marked since the state was read is in no step before that mark, and in
    # that one as a number alone. In its newer state it comes early, which that step does not change.
    for user_id, cursor in cursors.items():
        later = Q(stamp__gt=cursor.stamp)
        if cursor.event is not None:
            later |= Q(stamp=cursor.stamp, event_id__gt=cursor.event)
        wanted |= Q(later, recipient_id=user_id, number__lte=found[str(user_id)].position.top)
    rows = Notification.objects.using(inbox_alias()).filter(wanted).order_by("recipient_id", "stamp", "event_id")
    most = RESET_ROWS + 1 if len(cursors) == 1 else BATCH_ROWS
    read = list(rows[:most])
    if len(cursors) > 1 and len(read) == most:
        return {user_id: _rows_after({user_id: cursor}, found)[user_id] for user_id, cursor in cursors.items()}
    events = Event.objects.using(inbox_alias()).in_bulk({row.event_id for row in read})  # each once, however many have it
    by_user: dict[Any, list[Notification]] = {user_id: [] for user_id in cursors}
    keys = {str(user_id): user_id for user_id in cursors}
    for row in read:
        row.event = events.get(row.event_id) or Event(pk=row.event_id)
        if row.event_id not in events:  # somebody's SQL took it: told as deleted, and counted, so that no row hides behind it
            row.deleted_at = timezone.now()
        by_user[keys[str(row.recipient_id)]].append(row)
    return by_user


def _is_led(cursor: Cursor, missed: Sequence[Notification]) -> bool:
    """Not where old rows were touched again, as by an undone "mark all": its reader knows them, and a fresh page is shorter."""
    return cursor.is_live and len(missed) > RESET_ROWS and sum(row.number > cursor.stamp for row in missed) > RESET_ROWS / 2


def _batches(cursors: Mapping[Any, Cursor], found: Mapping[str, State]) -> Iterator[dict[Any, Cursor]]:
    """Users whose rows fit one query, as far as the steps that they missed tell."""
    batch: dict[Any, Cursor] = {}
    rows = 0
    for user_id, cursor in cursors.items():
        missed = min(found[str(user_id)].position.top - cursor.stamp, RESET_ROWS) + 1
        if batch and rows + missed >= BATCH_ROWS:
            yield batch
            batch, rows = {}, 0
        batch[user_id] = cursor
        rows += missed
    if batch:
        yield batch
