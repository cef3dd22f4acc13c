"""The frames that carry steps: a wake-up's deltas, a replay's deltas, a reset. Each event is rendered once a language."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from msgspec import Struct

from notifications.inbox import Page, State
from notifications.items import encoded, shared
from notifications.protocol import DELTA_BYTES, DELTA_ROWS, EventCopy, Position, Reset, Row, Step, delta, encode, printed
from notifications.replays import Replay

__all__ = ["Frame", "Letters", "Shared", "answered", "replayed", "reset"]


Shared: TypeAlias = dict[tuple[int, str], bytes]
"""By event and language, what `items.shared()` makes of it."""


class Frame(Struct, frozen=True, gc=False):
    """`upto`: while more follow, stamp and event of the last row that it brings; event None: all of that stamp."""

    text: str
    steps: int
    upto: tuple[int, int | None] | None = None


class Letters:
    """The frames of one wake-up, asked for step by step. What stands in a thousand of them is encoded once."""

    def __init__(self, events: Mapping[int, EventCopy]) -> None:
        self._events = events
        self._parts: Shared = {}
        self._asked: tuple[Step, str, bool] | None = None
        self._frame: Frame | None = None
        """The last one: the next socket of the same user asks for the same again."""

    def frame(self, step: Step, language: str, *, from_nowhere: bool) -> Frame | None:
        """The step's frame; None if the wake-up does not carry all of its letters, or they are too long for one.

        `from_nowhere`: the page was printed before its user had an inbox.
        """
        asked = self._asked
        if asked is None or step is not asked[0] or language != asked[1] or from_nowhere != asked[2]:
            self._frame = self._made(step, language, from_nowhere=from_nowhere)
            self._asked = (step, language, from_nowhere)
        return self._frame

    def _made(self, step: Step, language: str, *, from_nowhere: bool) -> Frame | None:
        if step.rows is None or len(step.rows) > DELTA_ROWS:
            return None
        items = []
        for row in step.rows:
            part = None
            if not row.deleted and (part := self._parts.get((row.event, language))) is None:
                if row.event not in self._events:
                    return None
                part = _shared(self._parts, row.event, self._events[row.event], language)
            items.append(encoded(row, part, language))
        text = delta(
            base="0" if from_nowhere else printed(step.epoch, step.base),
            position=printed(step.epoch, step.top),
            items=items,
            ops=step.ops,
            unread=step.unread,
            unseen=step.unseen,
            seen_upto=step.seen_upto,
        )
        is_short = len(text) <= DELTA_BYTES or len(step.rows) == 1
        return Frame(text, step.top - step.base) if is_short else None


def answered(base: Position, answer: Replay, page: Page | None, language: str, known: Shared) -> list[Frame]:
    """The frames that bring a page from `base` to where its inbox stood, or to the fresh `page` that is called for instead."""
    return [reset(page)] if page is not None else list(replayed(base, answer, language, known))


def replayed(base: Position, answer: Replay, language: str, known: Shared) -> Iterator[Frame]:
    """The deltas that lead a page from `base` towards the answer's state, each of at most `DELTA_ROWS` rows and `DELTA_BYTES`.

    All but the last of the whole way say `more` and leave the page's position where it is. `known`: what others who come forward
    at this moment have had rendered.
    """
    state = answer.state
    for part, ends in _parts(_encoded(answer.rows or (), language, known)):
        is_last = ends and not answer.is_partial
        text = delta(
            base=str(base),
            position=str(state.position if is_last else base),
            items=(ready for _, ready in part),
            ops=(),
            unread=state.unread,
            unseen=state.unseen,
            seen_upto=state.seen_upto,
            more=not is_last,
        )
        yield Frame(text, max(1, len(part)), None if is_last else _upto(part[-1][0], state))


def _upto(row: Row, state: State) -> tuple[int, int | None]:
    """Not beyond the state: a row that was marked since it was read has a later stamp, below which more may have arrived."""
    top = state.position.top
    return (row.stamp, row.event) if row.stamp <= top else (top, None)


def reset(page: Page) -> Frame:
    message = Reset(
        position=page.position,
        items=page.items,
        unread=page.unread,
        unseen=page.unseen,
        seen_upto=page.seen_upto,
        more=page.more,
    )
    return Frame(encode(message), max(1, len(page.items)))


def _encoded(rows: Iterable[tuple[Row, EventCopy | None]], language: str, known: Shared) -> list[tuple[Row, bytes]]:
    return [
        (row, encoded(row, None if event is None else _shared(known, row.event, event, language), language))
        for row, event in rows
    ]


def _shared(known: Shared, event_id: int, event: EventCopy, language: str) -> bytes:
    key = (event_id, language)
    if key not in known:
        known[key] = shared(event, language)
    return known[key]


def _parts(rows: list[tuple[Row, bytes]]) -> list[tuple[list[tuple[Row, bytes]], bool]]:
    """The rows in parts that fit a delta, each with whether it is the last; at least one part."""
    parts: list[list[tuple[Row, bytes]]] = [[]]
    size = 0
    for row in rows:
        if parts[-1] and (len(parts[-1]) >= DELTA_ROWS or size + len(row[1]) > DELTA_BYTES):
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += len(row[1])
    return [(part, part is parts[-1]) for part in parts]
