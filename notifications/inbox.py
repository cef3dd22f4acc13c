"""The reader's side: a page of the inbox, what came after a position, and the steps that a user takes.

Reading: the inbox row first and rows up to its `top` second, so that a later number cannot slip in. Writing: the first statement
takes the inbox's lock, every step gets the next number, and on commit `ringer.py` is told.
"""

import logging
from bisect import bisect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, islice
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from django.db import router, transaction
from django.db.models import Count, Exists, F, Max, OuterRef, Q
from django.utils import timezone
from django.utils.translation import get_language, override

from notifications.filters import EVERYTHING, Filter
from notifications.items import item, rendered
from notifications.logs import is_due
from notifications.models import Event, Inbox, Notification, new_epoch
from notifications.protocol import DELTA_ROWS, NO_POSITION, RESET_ROWS, EventCopy, Item, Position, Row, Step, WakeUp
from notifications.querysets import NotificationQuerySet
from notifications.signals import inbox_changed, inbox_stepped
from notifications.visibility import is_restricted, may_see

__all__ = [
    "ACTIONS",
    "COUNTED",
    "PAGE_ROWS",
    "MarkAction",
    "Page",
    "Replay",
    "State",
    "counts",
    "forget",
    "mark",
    "mark_seen",
    "read_page",
    "recount",
    "renew_epochs",
    "replay",
    "set_answer",
    "states",
]

logger = logging.getLogger(__name__)

PAGE_ROWS: Final = 20
ROUNDS: Final = 3  # pages of rows looked at, and asked about, to fill one where much may not be seen
SEARCHED_ROWS: Final = 2000  # read and rendered to find words: 60 ms; then the reader is asked whether to go on
NARROWED_ROWS: Final = 20_000  # in which the database looks for a kind or severity: 50 ms, whatever else its tables hold
COUNTED: Final = 100  # as far as tabs count: beyond, they say "99+"
LED_ROWS: Final = DELTA_ROWS  # of a live page that has missed more than `RESET_ROWS`: what its window takes at once
RESTRICTED: Final = 50  # events with `visible_to`, each a query, beyond which a fresh page is cheaper than a replay
BATCH_ROWS: Final = 2000  # rows that one query reads for several users; past it they are read one by one
Show: TypeAlias = Literal["active", "unread", "archived"]
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


class State(NamedTuple):
    """Where an inbox stands; of a user without one: all empty."""

    position: Position = NO_POSITION
    pruned: int = 0
    seen_upto: int = 0
    unread: int = 0
    unseen: int = 0


@dataclass(frozen=True)
class Page:
    """Notifications as their reader sees them, newest first, and the position that they were read at."""

    position: str
    top: int
    items: list[Item]
    unread: int
    unseen: int
    seen_upto: int
    more: bool
    before: int | None
    """Older ones have numbers below it: that of the last row looked at, whether or not it may be seen. None: there are none."""


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


def states(user_ids: Iterable[Any]) -> dict[str, State]:
    """The state of each user's inbox by `str(user id)`; users without one are absent. One query."""
    found = Inbox.objects.using(_alias()).filter(pk__in=list(user_ids))
    return {str(inbox.pk): _state(inbox) for inbox in found}


def read_page(
    user_id: Any,
    *,
    before: int | None = None,
    limit: int = PAGE_ROWS,
    show: Show = "active",
    language: str | None = None,
    wanted: Filter = EVERYTHING,
) -> Page:
    """At most `limit` notifications with numbers below `before`, in `language` (else the active one), that fit the filter.

    Two queries, and one for each event whose kind has `visible_to`; a page of which much may not be seen is shorter. With a
    filter a few queries more; what little fits it fills no page either, as `SEARCHED_ROWS` and `NARROWED_ROWS` say.
    """
    state = states([user_id]).get(str(user_id), State())
    rows = Notification.objects.using(_alias()).of(user_id).filter(number__lte=state.position.top)
    rows = rows.filter(archived_at__isnull=False) if show == "archived" else rows.active()
    if show == "unread":
        rows = rows.unread()
    if before is not None:
        rows = rows.filter(number__lt=before)
    narrowed, end = _narrowed(rows, wanted, state.position.top if before is None else before)
    with override(language or get_language()):
        items, below = _visible(narrowed, user_id, limit, wanted) if state.position.top else ([], None)
    before = end if below is None else below
    return Page(
        position=str(state.position),
        top=state.position.top,
        items=items,
        unread=state.unread,
        unseen=state.unseen,
        seen_upto=state.seen_upto,
        more=before is not None,
        before=before,
    )


def counts(user_id: Any, page: Page) -> dict[Show, int]:
    """How many notifications each tab has, at the page's position; `COUNTED` stands for that many or more. Two queries."""
    rows = Notification.objects.using(_alias()).filter(recipient_id=user_id, deleted_at=None, number__lte=page.top)
    return {
        "active": rows.active()[:COUNTED].count(),
        "unread": min(page.unread, COUNTED),
        "archived": rows.filter(archived_at__isnull=False)[:COUNTED].count(),
    }


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
    rows = _with_events(missed)
    return answers | {user_id: Replay(found[str(user_id)], rows[user_id], user_id in partial) for user_id in missed}


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
        rows = Notification.objects.using(_alias()).filter(event_id=event_id, recipient_id__in=list(user_ids))
        users = list(rows.order_by("recipient_id").values_list("recipient_id", flat=True))
        return max((_answer(user_id, event_id, answer) for user_id in users), default=0)

    _outside_transaction(take_steps)


def forget(user_id: Any) -> None:
    """Remove a user's inbox and notifications, on commit: the user is gone."""

    def remove() -> int:
        with transaction.atomic(using=_alias()):
            Inbox.objects.using(_alias()).filter(pk=user_id).delete()
            Notification.objects.using(_alias()).filter(recipient_id=user_id).delete()
        return 0

    _outside_transaction(remove)


def recount(user_id: Any) -> bool:
    """Set the user's counts, and the inbox itself if there is none, by the rows that are there. Whether anything was wrong.

    Under the inbox's lock, as an ordinary step, so that open pages hear of it. Where rows stand above its top: a new epoch.
    """
    alias = _alias()
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
    alias = _alias()
    with transaction.atomic(using=alias):
        inboxes = Inbox.objects.using(alias).filter(pk__in=list(user_ids))
        locked = [inbox.pk for inbox in inboxes.select_for_update().order_by("pk")]  # in the relay's order: no deadlock
        inboxes.update(epoch=new_epoch())
        steps = [_step(inbox, base=inbox.top, rows=None) for inbox in inboxes]
        wake_up = WakeUp(steps=steps)
        transaction.on_commit(lambda: inbox_stepped.send(sender=Inbox, wake_up=wake_up), using=alias, robust=True)
    return len(locked)


def _alias() -> str:
    return router.db_for_write(Notification)


def _state(inbox: Inbox) -> State:
    return State(inbox.position, inbox.pruned, inbox.seen_upto, inbox.unread, inbox.unseen)


def _leads_to(cursor: Cursor, state: State) -> bool:
    if not cursor.epoch:  # a page of a user who had no inbox: everything is news
        return state.pruned == 0
    is_within = state.pruned <= cursor.complete and cursor.stamp <= state.position.top
    return cursor.epoch == state.position.epoch and is_within


def _check_epoch(user_id: Any, cursor: Cursor, state: State) -> None:
    """A position that the inbox has not reached yet: the database was restored. From now on old positions mean nothing in it."""
    if cursor.epoch and cursor.epoch == state.position.epoch and cursor.stamp > state.position.top:
        inboxes = Inbox.objects.using(_alias()).filter(pk=user_id, epoch=cursor.epoch, top__lt=cursor.stamp)
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
    rows = Notification.objects.using(_alias()).filter(wanted).order_by("recipient_id", "stamp", "event_id")
    most = RESET_ROWS + 1 if len(cursors) == 1 else BATCH_ROWS
    read = list(rows[:most])
    if len(cursors) > 1 and len(read) == most:
        return {user_id: _rows_after({user_id: cursor}, found)[user_id] for user_id, cursor in cursors.items()}
    events = Event.objects.using(_alias()).in_bulk({row.event_id for row in read})  # each once, however many have it
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


def _narrowed(rows: NotificationQuerySet, wanted: Filter, upto: int) -> tuple[NotificationQuerySet, int | None]:
    """Of the newest `NARROWED_ROWS` those of the wanted kind and severity, and the number from which down none was looked at.

    Without that bound a database reads the user's whole inbox to find that it holds no such kind, or even all events of it.
    """
    narrowed = wanted.narrowed(rows)
    if narrowed is rows or upto <= NARROWED_ROWS:
        return narrowed, None
    for beyond in rows.values_list("number", flat=True)[NARROWED_ROWS : NARROWED_ROWS + 1]:
        return narrowed.filter(number__gt=beyond), beyond + 1
    return narrowed, None


def _visible(rows: NotificationQuerySet, user_id: Any, limit: int, wanted: Filter) -> tuple[list[Item], int | None]:
    """At most `limit` of the rows, those that the user may see and wants, and the number below which there are more (None: none).

    What they may not see is not even compared with their words, so where a search stops tells nothing of it.
    """
    items: list[Item] = []
    before = None
    for batch, before in _looked_at(rows, limit, SEARCHED_ROWS if wanted.words else ROUNDS * limit):  # noqa: B007
        made = (item(row, rendered(event)) for row, event in _with_events({user_id: batch})[user_id] if event is not None)
        fitting = (each for each in made if isinstance(each, Item) and wanted.fits(each))
        items += islice(fitting, limit + 1 - len(items))
        if len(items) >= limit:
            break
    return items[:limit], items[limit - 1].number if len(items) > limit else before


def _looked_at(rows: NotificationQuerySet, limit: int, most: int) -> Iterator[tuple[list[Notification], int | None]]:
    """The rows in batches that grow, each with the number below which there are more (None: none).

    At most `most` rows, and as many of kinds with `visible_to`, each a query, as a page without words may ask about.
    """
    before, size, questions = None, limit, ROUNDS * limit
    while most:
        size = min(size, most)
        found = list((rows if before is None else rows.filter(number__lt=before))[: size + 1])
        asked = list(accumulate(is_restricted(row.event) for row in found[:size]))
        batch = found[: bisect(asked, questions)]
        if len(batch) == len(found):
            yield batch, None
            return
        if batch:
            before = batch[-1].number
            yield batch, before
        if len(batch) < size:
            return
        most, questions, size = most - size, questions - asked[-1], size * 4


def _with_events(rows: Mapping[Any, Sequence[Notification]]) -> dict[Any, list[tuple[Row, EventCopy | None]]]:
    """Each user's rows with their events, or None where the user may not see it. One query an event whose kind restricts it."""
    readers: dict[int, set[Any]] = {}
    restricted: dict[int, Event] = {}
    for user_id, mine in rows.items():
        for row in mine:
            if row.deleted_at is None and is_restricted(row.event):
                restricted[row.event_id] = row.event
                readers.setdefault(row.event_id, set()).add(user_id)
    allowed = {event_id: _may_see(event, readers[event_id]) for event_id, event in restricted.items()}

    def shown(row: Notification, user_id: Any) -> bool:
        return row.deleted_at is None and (row.event_id not in allowed or user_id in allowed[row.event_id])

    return {
        user_id: [(row.row(), row.event.copy() if shown(row, user_id) else None) for row in mine]
        for user_id, mine in rows.items()
    }


def _may_see(event: Event, user_ids: Collection[Any]) -> set[Any]:
    try:
        return may_see(event, user_ids)
    except Exception as error:
        if not transaction.get_connection(_alias()).is_usable():
            raise
        # The site's code failed: what it does not allow is not shown, and the page goes on.
        if is_due("visible_to_failed", event.kind):
            logger.error("visible_to_failed kind=%s event=%s error=%r", event.kind, event.pk, error)
        return set()


def _outside_transaction(step: Callable[[], int]) -> int:
    if not transaction.get_connection(_alias()).in_atomic_block:
        return step()
    # Not the partial itself: when it fails Django logs the name of the function, and a partial has none.
    transaction.on_commit(lambda: step(), using=_alias(), robust=True)  # noqa: PLW0108
    return 0


def _mark(user_id: Any, action: MarkAction, chosen: Mapping[str, Any], upto: int | None) -> int:
    column, sets, op = ACTIONS[action]
    alias = _alias()
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
    alias = _alias()
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
    alias = _alias()
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
