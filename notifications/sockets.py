"""One open page as the hub sees it: who reads, in which language, how far its stream is, and how frames leave without waiting."""

import asyncio
import random
import time
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final

from notifications.protocol import CloseCode, Position
from notifications.replays import Cursor
from notifications.session import Identity
from notifications.stream import ASK_AT, Stream
from notifications.transports import Transport

__all__ = ["Socket"]

CONTROL_FRAMES: Final = 64  # that wait behind an unfinished send before the page counts as too slow
UNSENT_BYTES: Final = 1024 * 1024  # in the server, for a peer that does not read: more than any window lets through
UNHEARD_PER_SECOND: Final = 8 * 1024  # bytes from the page that are no command: frame headers, pongs, the beginning of a frame
UNHEARD_AT_ONCE: Final = 64 * 1024


class Socket:
    """The hub's end of a connection, which itself belongs to a consumer: `send` and `end` are the consumer's.

    `is_one_way`: the page can send nothing, so that neither acknowledgements nor answers are waited for.
    """

    def __init__(
        self,
        identity: Identity,
        session_key: str,
        *,
        send: Callable[[str], Coroutine[Any, Any, None]],
        end: Callable[[int, str, float | None], None],
        transport: Transport | None = None,
        write: Callable[[str], bool] | None = None,
        is_one_way: bool = False,
    ) -> None:
        self.identity = identity
        self.session_key = session_key
        """Asked again by the watermark; never logged."""
        self.language = ""
        self.stream = Stream(ask_at=random.uniform(ASK_AT, 1.5 * ASK_AT), is_one_way=is_one_way)
        self.is_listening = False
        """The page has said hello."""
        self.is_open = True
        """Until its last frame has been sent."""
        self.last_heard = self.last_beat = time.monotonic()
        self.end = end
        self.on_sent: Callable[[], None] = lambda: None
        """Called when a send that did not finish at once has finished."""
        self._send = send
        self._write = write
        """The fast path: true if it has taken the frame."""
        self._transport = transport or Transport(None)
        self.heard = 0
        """Bytes of whole frames that came to the consumer, which has its own limits for them."""
        self._unheard, self._checked = self._transport.received(), self.last_heard
        self._allowance = float(UNHEARD_AT_ONCE)
        self._waiting: deque[str] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def cursor(self) -> Cursor:
        stream = self.stream
        return Cursor(stream.epoch, stream.cursor_stamp, stream.cursor_event, is_live=not stream.owes_answer)

    @property
    def position(self) -> Position:
        return Position(self.stream.epoch, self.stream.top)

    def push(self, frame: str) -> None:
        """Give a frame to the connection. What does not finish at once goes on in a task of its own, and shuts the window."""
        if self._task is not None:
            self._waiting.append(frame)
            if len(self._waiting) > CONTROL_FRAMES:
                self.end(CloseCode.SLOW, "too slow", 1.0)
            return
        if self._write is not None and self._write(frame):
            return
        sending = self._send(frame)
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return
        except Exception:  # noqa: BLE001 - the connection is gone; its disconnect is on the way
            return
        self.stream.is_sending = True
        self._task = asyncio.get_running_loop().create_task(self._finish(sending, waits_for))

    async def sent(self) -> None:
        """Wait until the connection has taken what was pushed."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def check_line(self, now: float) -> None:
        """End what no command tells of: a peer that makes the server write and does not read, or sends frames that only the
        server sees (pings, endless fragments). Asked every few seconds."""
        unheard = self._transport.received() - self.heard
        self._allowance = min(UNHEARD_AT_ONCE, self._allowance + (now - self._checked) * UNHEARD_PER_SECOND)
        self._allowance -= unheard - self._unheard
        self._unheard, self._checked = unheard, now
        if self._transport.unsent() > UNSENT_BYTES:
            self.end(CloseCode.SLOW, "too slow", 1.0)
        elif self._allowance < 0:
            self.end(CloseCode.TOO_MANY_COMMANDS, "too much at once", 5.0)

    async def _finish(self, sending: Coroutine[Any, Any, None], waits_for: Any) -> None:
        try:
            await _resumed(sending, waits_for)
            while self._waiting:
                await self._send(self._waiting.popleft())
        except Exception:  # noqa: BLE001 - as in push()
            self._waiting.clear()
        finally:
            self._task = None
            self.stream.is_sending = False
        self.on_sent()


@types.coroutine
def _resumed(started: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Go on with a coroutine that was begun by hand and yielded `waits_for`."""
    while True:
        raised: BaseException | None
        try:
            value = yield waits_for
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - handed to the coroutine that waits
            raised, value = error, None
        else:
            raised = None
        try:
            waits_for = started.send(value) if raised is None else started.throw(raised)
        except StopIteration:
            return
