"""Whether each open socket's session still stands: at once where somebody tells of an end, else by looking at all of them.

`session.py` says who a cookie is and rings when a session ends; here the answer is carried to the sockets of a hub.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, NamedTuple

from notifications.logs import is_due
from notifications.protocol import CloseCode, SessionCheck
from notifications.session import Identity, authenticate
from notifications.sockets import Socket
from notifications.workers import Gathered, Worker

__all__ = ["BUSY", "SIGNED_OUT", "Authority", "Refusal"]

logger = logging.getLogger(__name__)

HANDSHAKE_SECONDS: Final = 3.0
HANDSHAKES_AT_ONCE: Final = 2000  # that wait for their user: a crowd is asked for together, and who is refused comes again
CHECK_SECONDS: Final = 10.0  # for which a session check is remembered: longer than any handshake
SESSIONS_PER_QUERY: Final = 50  # a few milliseconds, and then a pause: all of them at once would hold Python's lock far longer
PAUSE_SECONDS: Final = 0.02
PAUSES: Final = 0.1  # at most, of the time from one look to the next


class Refusal(NamedTuple):
    """Why a connection ends before it has begun, as its `end` is told."""

    code: int
    reason: str
    retry_after: float | None


BUSY: Final = Refusal(CloseCode.LATER, "busy", 2.0)
SIGNED_OUT: Final = Refusal(CloseCode.SIGNED_OUT, "signed out", None)


class Authority:
    """`sockets` by user, a live view. `spawn` runs a coroutine as the hub's own. For the hub's loop only."""

    def __init__(
        self, sockets: Mapping[str, set[Socket]], worker: Worker, spawn: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self._sockets = sockets
        self._worker = worker
        self._spawn = spawn
        self._identities = Gathered(worker, authenticate)
        self._heard: deque[tuple[float, SessionCheck]] = deque()
        self._is_in_doubt = asyncio.Event()
        self._handshakes = 0
        """Under way."""

    async def admit(self, session_key: str) -> Identity | Refusal:
        """Who opens a connection with this session cookie (empty: without one), or why it could not be found out."""
        if not session_key:
            return SIGNED_OUT
        if self._handshakes >= HANDSHAKES_AT_ONCE:
            return BUSY
        self._handshakes += 1
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                return await self.identify(session_key) or SIGNED_OUT
        except TimeoutError:
            return BUSY
        except Exception as error:  # noqa: BLE001 - a database that is away, or a back end's error, is not "signed out"
            if is_due("handshake_failed", type(error).__name__):
                logger.warning("handshake_failed error=%r", error)
            return Refusal(CloseCode.LATER, "try later", 5.0)
        finally:
            self._handshakes -= 1

    async def identify(self, session_key: str) -> Identity | None:
        """Who is behind a session cookie. Handshakes of the same moment share their queries."""
        identity: Identity | None = await self._identities.ask(session_key)
        return identity

    def hear(self, checks: Iterable[SessionCheck]) -> None:
        """Close, or ask about, the sockets that the checks name."""
        now = time.monotonic()
        for check in checks:
            self._heard.append((now, check))
            self._check(check)
        while self._heard and now - self._heard[0][0] > CHECK_SECONDS:
            self._heard.popleft()

    def add(self, socket: Socket) -> None:
        """A new socket: what was heard while its handshake was under way is asked about."""
        user = socket.identity.user
        for _, check in tuple(self._heard):
            if check.user in ("", user):
                self._check(check if check.session else SessionCheck(user, ask=True))

    def doubt(self) -> None:
        """Something may have ended a session and nobody heard it: look now."""
        self._is_in_doubt.set()

    async def watch(self, seconds: float) -> None:
        """Look at all sessions, a few at a time, then wait until so long after the look began, or until there is doubt.

        A store so slow that a look takes more than half of that is left alone for as long as it took. Apart from the look at the
        inboxes: a session store that is slow or away holds up nobody's news.
        """
        self._is_in_doubt.clear()
        started = time.monotonic()
        sockets = [socket for each in self._sockets.values() for socket in each]
        starts = range(0, len(sockets), SESSIONS_PER_QUERY)
        for start in starts:
            await self._end_signed_out(sockets[start : start + SESSIONS_PER_QUERY])
            await asyncio.sleep(min(PAUSE_SECONDS, PAUSES * seconds / len(starts)))
        took = time.monotonic() - started
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds - took, took)):
                await self._is_in_doubt.wait()

    def _check(self, check: SessionCheck) -> None:
        users = [check.user] if check.user else list(self._sockets)
        for user in users:
            for socket in tuple(self._sockets.get(user, ())):
                if check.session not in ("", socket.identity.session):
                    continue
                if check.ask:
                    self._spawn(self._ask(socket))
                else:
                    _end(socket)

    async def _ask(self, socket: Socket) -> None:
        try:
            found = await self._identities.ask(socket.session_key)
        except Exception:  # noqa: BLE001 - the store is away: the look at all sessions goes on asking, and says so
            self.doubt()
            return
        if found != socket.identity:
            _end(socket)

    async def _end_signed_out(self, sockets: Iterable[Socket]) -> None:
        valid = await self._worker.run(authenticate, [socket.session_key for socket in sockets])
        for socket in sockets:
            if valid.get(socket.session_key) != socket.identity:
                _end(socket)


def _end(socket: Socket) -> None:
    socket.end(*SIGNED_OUT)
