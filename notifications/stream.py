"""One socket's delivery state: where its page stands, whether it has missed something, how much it has not acknowledged.

Pure: the caller brings the clock and sends the bytes. Consumer, SSE view and simulator use this one class. The rule that makes
loss impossible: a step is sent live only onto the position it starts from; whatever does not fit makes the stream *behind*, and
being behind ends only by a look at the database.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

__all__ = ["ASK_AT", "CATCH_UP_BYTES", "WINDOW_BYTES", "WINDOW_SECONDS", "WINDOW_STEPS", "Stream", "Verdict"]

WINDOW_STEPS: Final = 64
WINDOW_BYTES: Final = 256 * 1024
WINDOW_SECONDS: Final = 30.0  # a page that owes an acknowledgement for so long is closed
CATCH_UP_BYTES: Final = 1024 * 1024  # without acknowledgements; past it a fresh page is shorter
ASK_AT: Final = 0.5  # of the window, at least: when so much was sent since a message asked for an acknowledgement, one asks


class Verdict(Enum):
    SEND = auto()
    DROP = auto()
    BEHIND = auto()


@dataclass(slots=True)
class Asked:
    """An acknowledgement that the page owes: for all that was sent since the one before."""

    steps: int
    size: int
    since: float


@dataclass(slots=True)
class Stream:
    """State of one delivery. `epoch` and `top`: the position that the page reaches with what has been sent to it."""

    epoch: str = ""
    top: int = 0
    ask_at: float = ASK_AT
    """Of the window. Streams that differ in it do not all ask by the same broadcast."""
    is_one_way: bool = False
    """The page can acknowledge nothing (server-sent events): where it would be asked to, the stream ends, and it returns."""
    cursor_event: int | None = None
    """In the middle of a catch-up: of the rows stamped `cursor_stamp`, those up to this event are sent. None: all of them."""
    cursor_stamp: int = 0
    is_behind: bool = False
    is_sending: bool = False
    """A send did not finish at once: nothing else may be sent until it has."""
    has_news: bool = False
    """A step was heard since the last look at the database began, so that look may have missed it."""
    owes_answer: bool = False
    """The page said hello and has not been told all yet: even "nothing new" is told."""
    _asked: dict[str, Asked] = field(default_factory=dict)
    _steps: int = 0
    _size: int = 0
    """Not acknowledged: what was asked for, and what came after it."""
    _unasked_steps: int = 0
    _unasked_size: int = 0

    def stand_at(self, epoch: str, top: int) -> None:
        """The page says, or a fresh page makes, that it stands there; a look at the database must follow."""
        self.epoch, self.top = epoch, top
        self.cursor_event, self.cursor_stamp = None, top
        self.owes_answer = True
        self.miss()

    def offer(self, epoch: str, base: int, top: int) -> Verdict:
        """What to do with a step just heard of. A stream that cannot take it now is behind from here on."""
        if not self.is_behind:
            if epoch == self.epoch and top <= self.top:
                return Verdict.DROP
            is_next = base == self.top and (epoch == self.epoch or (not self.epoch and base == 0))
            if is_next and self.is_open:
                return Verdict.SEND
        self.miss()
        return Verdict.BEHIND

    def miss(self) -> None:
        """Something may have been missed: behind until a look at the database that begins after now."""
        self.is_behind = True
        self.has_news = True

    def look(self) -> None:
        """A look at the database begins: news from now on may not be in it."""
        self.has_news = False

    def sent(self, *, epoch: str, top: int, steps: int, size: int) -> None:
        """A whole step or catch-up has been given to the socket: the page will stand at `top`."""
        self.epoch, self.top = epoch, top
        self.cursor_event, self.cursor_stamp = None, top
        self.owes_answer = False
        self._count(steps, size)

    def sent_part(self, stamp: int, event: int | None, *, steps: int, size: int) -> None:
        """A part of a catch-up has been given to the socket: the page's position does not move yet."""
        self.cursor_stamp, self.cursor_event = stamp, event
        self._count(steps, size)

    @property
    def must_ask(self) -> bool:
        """What was sent last shall ask for an acknowledgement."""
        return not self.is_one_way and self._is_ample

    @property
    def must_end(self) -> bool:
        """A one-way stream has carried enough. Not amid a catch-up, which would begin anew."""
        return self.is_one_way and self._is_ample and not self._is_amid

    @property
    def must_start_over(self) -> bool:
        """A one-way stream's catch-up has become longer than a fresh page is."""
        return self.is_one_way and self._size > CATCH_UP_BYTES and self._is_amid

    def asked(self, ack: str, *, now: float) -> None:
        """What was sent last carries this `ack`, unlike any other. The clock is monotonic, in seconds."""
        self._asked[ack] = Asked(self._unasked_steps, self._unasked_size, now)
        self._unasked_steps = self._unasked_size = 0

    def caught_up(self) -> bool:
        """The look found nothing more. True if nothing was heard meanwhile, so that live steps may be sent again."""
        self.is_behind = self.has_news
        return not self.is_behind

    def acknowledged(self, ack: str) -> bool:
        """The page has read up to there. False for an `ack` that is not owed."""
        if ack not in self._asked:
            return False
        for earlier in list(self._asked):
            asked = self._asked.pop(earlier)
            self._steps -= asked.steps
            self._size -= asked.size
            if earlier == ack:
                break
        return True

    @property
    def is_open(self) -> bool:
        return not self.is_sending and (self.is_one_way or (self._steps < WINDOW_STEPS and self._size < WINDOW_BYTES))

    def is_overdue(self, now: float) -> bool:
        """An acknowledgement has been owed for more than `WINDOW_SECONDS`."""
        oldest = next(iter(self._asked.values()), None)
        return oldest is not None and now - oldest.since > WINDOW_SECONDS

    @property
    def _is_ample(self) -> bool:
        return self._unasked_steps >= WINDOW_STEPS * self.ask_at or self._unasked_size >= WINDOW_BYTES * self.ask_at

    @property
    def _is_amid(self) -> bool:
        """Of a catch-up: the page's position has yet to move."""
        return (self.cursor_stamp, self.cursor_event) != (self.top, None)

    def _count(self, steps: int, size: int) -> None:
        self._steps += steps
        self._size += size
        self._unasked_steps += steps
        self._unasked_size += size
