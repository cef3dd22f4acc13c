"""The reader's side: where an inbox stands, and a page of it. `replays.py` says what came after a position, `steps.py` takes the
steps of its user.

The inbox row is read first and rows up to its `top` second, so that a later number cannot slip in.
"""

import logging
from bisect import bisect
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from django.db import router, transaction
from django.utils.translation import get_language, override

from notifications.filters import EVERYTHING, Filter
from notifications.items import item, rendered
from notifications.logs import is_due
from notifications.models import Event, Inbox, Notification
from notifications.protocol import NO_POSITION, EventCopy, Item, Position, Row
from notifications.querysets import NotificationQuerySet
from notifications.visibility import is_restricted, may_see

__all__ = ["COUNTED", "PAGE_ROWS", "Page", "Show", "State", "counts", "inbox_alias", "read_page", "states", "with_events"]

logger = logging.getLogger(__name__)

PAGE_ROWS: Final = 20
ROUNDS: Final = 3  # pages of rows looked at, and asked about, to fill one where much may not be seen
SEARCHED_ROWS: Final = 2000  # read and rendered to find words: 60 ms; then the reader is asked whether to go on
NARROWED_ROWS: Final = 20_000  # in which the database looks for a kind or severity: 50 ms, whatever else its tables hold
COUNTED: Final = 100  # as far as tabs count: beyond, they say "99+"
Show: TypeAlias = Literal["active", "unread", "archived"]


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


def states(user_ids: Iterable[Any]) -> dict[str, State]:
    """The state of each user's inbox by `str(user id)`; users without one are absent. One query."""
    found = Inbox.objects.using(inbox_alias()).filter(pk__in=list(user_ids))
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
    rows = Notification.objects.using(inbox_alias()).of(user_id).filter(number__lte=state.position.top)
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
    rows = Notification.objects.using(inbox_alias()).filter(recipient_id=user_id, deleted_at=None, number__lte=page.top)
    return {
        "active": rows.active()[:COUNTED].count(),
        "unread": min(page.unread, COUNTED),
        "archived": rows.filter(archived_at__isnull=False)[:COUNTED].count(),
    }


def inbox_alias() -> str:
    """The database of the inboxes and their rows."""
    return router.db_for_write(Notification)


def with_events(rows: Mapping[Any, Sequence[Notification]]) -> dict[Any, list[tuple[Row, EventCopy | None]]]:
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


def _state(inbox: Inbox) -> State:
    return State(inbox.position, inbox.pruned, inbox.seen_upto, inbox.unread, inbox.unseen)


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
        made = (item(row, rendered(event)) for row, event in with_events({user_id: batch})[user_id] if event is not None)
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


def _may_see(event: Event, user_ids: Collection[Any]) -> set[Any]:
    try:
        return may_see(event, user_ids)
    except Exception as error:
        if not transaction.get_connection(inbox_alias()).is_usable():
            raise
        # The site's code failed: what it does not allow is not shown, and the page goes on.
        if is_due("visible_to_failed", event.kind):
            logger.error("visible_to_failed kind=%s event=%s error=%r", event.kind, event.pk, error)
        return set()
