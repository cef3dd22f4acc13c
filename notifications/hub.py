"""One hub a running event loop: the only member of channel-layer groups, holder of the local sockets, deliverer.

A wake-up is sent on to every socket whose page stands exactly where it starts; every other socket is *behind*, and one routine
brings whatever is behind forward by a look at the database. The layer is a doorbell: a lost, doubled or late ring costs time,
never a row. Nothing here waits for a socket. `stream.py` decides, `inbox.py` reads, `consumers.py` owns the connections.
"""

import asyncio
import contextlib
import logging
import os
import platform
import random
import secrets
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from django.db import DatabaseError

from notifications.conf import app_settings
from notifications.frames import Frame, Letters, replayed, reset
from notifications.inbox import Page, Replay, State, read_page, replay, states
from notifications.membership import Membership
from notifications.protocol import CloseCode, Heartbeat, Position, Presence, SessionCheck, Step, WakeUp, encode
from notifications.relay import relay, sweep
from notifications.ringer import ring, ringer
from notifications.session import Identity, authenticate
from notifications.sockets import Socket
from notifications.stream import Verdict
from notifications.workers import Gathered, Worker

__all__ = ["HEARTBEAT_SECONDS", "Hub"]

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 25
SILENCE_SECONDS: Final = 70.0  # a peer that sends nothing for so long is gone: noticed, told and freed within 75 s
GATHER_SECONDS: Final = 0.003  # what falls behind within it shares one look at the database
SWEEP_SECONDS: Final = 5.0
UNSHARED_WATERMARK_SECONDS: Final = 2.0  # where no layer tells of other processes
USERS_PER_QUERY: Final = 500
DRAIN_SECONDS: Final = 2.0
STOP_SECONDS: Final = 2.0
CHECK_SECONDS: Final = 10.0  # for which a session check is remembered: longer than any handshake
LONGEST_BACKOFF_SECONDS: Final = 5.0
LOG_SECONDS: Final = 60.0  # between two lines about the same routine
NOWHERE: Final = Position("?", 0)  # where a page stands that says nothing we know: in an epoch that no inbox has


class Hub:
    """The sockets of one event loop and everything that keeps them current. All but `relay_soon()` is for that loop only."""

    _all: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "Hub"]] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.id = secrets.token_hex(8)
        self.sockets: dict[str, set[Socket]] = {}
        self.reader = Worker("read")
        self.authenticator = Worker("auth")
        self.relayer = Worker("relay")
        self._are_sessions_doubtful = asyncio.Event()
        """Something may have ended one and nobody heard it: look now."""
        self.membership = Membership(
            self.id,
            users=self.sockets.keys(),
            hear=self.hear,
            joined=self._look_again,
            entered=self._are_sessions_doubtful.set,
        )
        self.is_draining = False
        """It goes on refusing sockets until the process ends."""
        self._is_stopped = False
        self._identities = Gathered(self.authenticator, authenticate)
        self._behind: set[Socket] = set()
        self._is_behind = asyncio.Event()
        self._steps: WeakValueDictionary[Any, asyncio.Lock] = WeakValueDictionary()
        self._checks: deque[tuple[float, SessionCheck]] = deque()
        self._is_relay_queued = False
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def running(cls) -> "Hub":
        """The hub of the running loop, started if it is the first call there."""
        loop = asyncio.get_running_loop()
        hub = cls._all.get(loop)
        if hub is None:
            hub = cls._all[loop] = cls(loop)
            hub._start()
        return hub

    # --- life ---

    def _start(self) -> None:
        ringer.hub = self
        routines = [self._heal, self._watermark, self._watch_sessions, self._sweep, self._beat]
        if self.membership.layer is not None:
            routines += [self.membership.listen, self.membership.keep, self.membership.renew]
        for routine in routines:
            self._spawn(self._forever(routine))
        _drain_with_twisted(self)

    def drain(self) -> asyncio.Future[None]:
        """Say goodbye to every socket, with a time to come back that is spread over the fleet: the server is about to stop.

        The goodbyes are under way when this returns, whatever cancels the consumers then; what it returns ends with the hub.
        """
        leaving = [] if self.is_draining else self._everyone()
        self.is_draining = True
        spread = min(30.0, 1.0 + len(leaving) / 100)
        for socket in leaving:
            socket.end(CloseCode.RESTART, "restart", round(random.uniform(0.5, spread), 1))
        return asyncio.ensure_future(self._finish(leaving))

    async def _finish(self, leaving: Iterable[Socket]) -> None:
        end = time.monotonic() + DRAIN_SECONDS
        while any(socket.is_open for socket in leaving) and time.monotonic() < end:  # noqa: ASYNC110 - once in a hub's life
            await asyncio.sleep(0.01)
        await self._stop()

    async def stop(self) -> None:
        """End the tasks, leave the groups, join the threads and close their connections; the loop may get a new hub."""
        self._all.pop(self.loop, None)
        await self._stop()

    async def _stop(self) -> None:
        if self._is_stopped:
            return
        self._is_stopped = True
        end = time.monotonic() + STOP_SECONDS
        while self._tasks and time.monotonic() < end:  # more than once: a library may swallow a cancellation
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=0.2)
        await self.membership.leave()
        if ringer.hub is self:
            ringer.hub = None
        await asyncio.gather(*(worker.stop() for worker in (self.reader, self.authenticator, self.relayer)))

    # --- sockets ---

    def add(self, socket: Socket) -> None:
        """The socket's page has been authenticated. It gets nothing before its hello."""
        socket.on_sent = lambda: self.reopened(socket)
        user = socket.identity.user
        if user not in self.sockets:
            self.sockets[user] = set()
            self.membership.change(user)
        self.sockets[user].add(socket)
        for _, check in tuple(self._checks):
            if check.user in ("", user):  # heard while this socket's handshake was under way
                self._check_sessions(check if check.session else SessionCheck(user, ask=True))

    def remove(self, socket: Socket) -> None:
        user = socket.identity.user
        self._behind.discard(socket)
        sockets = self.sockets.get(user, set())
        sockets.discard(socket)
        if not sockets and self.sockets.pop(user, None) is not None:
            self.membership.change(user)

    def hello(self, socket: Socket, position: Position | None, language: str) -> None:
        """The page says where it stands (None: nowhere that we know) and in which language it reads."""
        socket.language = language
        socket.is_listening = True
        socket.stream.stand_at(*(position or NOWHERE))
        self._fell_behind(socket)

    def reopened(self, socket: Socket) -> None:
        """The socket can take more: an acknowledgement came, or a slow send has finished."""
        if socket.stream.is_behind and socket.stream.is_open:
            self._fell_behind(socket)

    async def identify(self, session_key: str) -> Identity | None:
        """Who is behind a session cookie. Handshakes of the same moment share their queries."""
        identity: Identity | None = await self._identities.ask(session_key)
        return identity

    def step_of(self, user_id: Any) -> asyncio.Lock:
        """Held while the user takes a step: however many sockets one has, others wait for one command of theirs at most."""
        return self._steps.setdefault(user_id, asyncio.Lock())

    def _everyone(self) -> list[Socket]:
        return [socket for sockets in self.sockets.values() for socket in sockets]

    # --- wake-ups ---

    def hear(self, wake_up: WakeUp) -> None:
        """Deliver a wake-up to the local sockets."""
        letters = Letters(wake_up.events)
        for step in wake_up.steps:
            for socket in tuple(self.sockets.get(step.user, ())):
                if socket.is_listening:
                    self._offer(socket, step, letters)
        for check in wake_up.sessions:
            self._checks.append((time.monotonic(), check))
            self._check_sessions(check)
        while self._checks and time.monotonic() - self._checks[0][0] > CHECK_SECONDS:
            self._checks.popleft()
        if wake_up.pending:
            self.relay_soon()
        if wake_up.roll_call:
            ring(WakeUp(present=[self._presence()]))

    def _presence(self) -> Presence:
        process = f"{platform.node()}:{os.getpid()}"
        return Presence(hub=self.id, process=process, sockets=len(self._everyone()), behind=len(self._behind))

    def relay_soon(self) -> None:
        """Relay what is pending, on the hub's own thread. From any thread."""
        if not self._is_relay_queued:
            self._is_relay_queued = True
            self.relayer.submit(self._relay)

    def _relay(self) -> None:
        self._is_relay_queued = False
        try:
            relay()
        except Exception as error:  # noqa: BLE001 - the sweep comes back to it
            logger.error("relay_stopped error=%r", error)

    def _offer(self, socket: Socket, step: Step, letters: Letters) -> None:
        stream = socket.stream
        verdict = stream.offer(step.epoch, step.base, step.top)
        if verdict is Verdict.DROP:
            return
        frame = letters.frame(step, socket.language, from_nowhere=not stream.epoch) if verdict is Verdict.SEND else None
        if frame is None:
            self._lost_track(socket)
        else:
            self._push(socket, frame, Position(step.epoch, step.top))

    def _push(self, socket: Socket, frame: Frame, position: Position) -> None:
        counted: dict[str, Any] = {"steps": frame.steps, "size": len(frame.text), "now": time.monotonic()}
        if frame.last is not None:
            socket.stream.sent_part(frame.ack, stamp=frame.last.stamp, event=frame.last.event, **counted)
        else:
            socket.stream.sent(frame.ack, epoch=position.epoch, top=position.top, **counted)
        socket.push(frame.text)

    def _check_sessions(self, check: SessionCheck) -> None:
        sockets = self.sockets.get(check.user, ()) if check.user else self._everyone()
        concerned = [socket for socket in sockets if check.session in ("", socket.identity.session)]
        if check.ask:
            for socket in concerned:
                self._spawn(self._ask(socket))
        else:
            for socket in concerned:
                socket.end(CloseCode.SIGNED_OUT, "signed out", None)

    async def _ask(self, socket: Socket) -> None:
        try:
            found = await self._identities.ask(socket.session_key)
        except Exception:  # noqa: BLE001 - the store is away: the look at all sessions goes on asking, and says so
            self._are_sessions_doubtful.set()
            return
        if found != socket.identity:
            socket.end(CloseCode.SIGNED_OUT, "signed out", None)

    async def _end_signed_out(self, sockets: Iterable[Socket]) -> None:
        valid = await self.authenticator.run(authenticate, [socket.session_key for socket in sockets])
        for socket in sockets:
            if valid.get(socket.session_key) != socket.identity:
                socket.end(CloseCode.SIGNED_OUT, "signed out", None)

    # --- behind ---

    def _lost_track(self, socket: Socket) -> None:
        """What the page has may not be all: look."""
        socket.stream.miss()
        self._fell_behind(socket)

    def _look_again(self, user: str) -> None:
        """The user's group has been joined: something may have been rung before."""
        for socket in self.sockets.get(user, ()):
            if socket.is_listening:
                self._lost_track(socket)

    def _fell_behind(self, socket: Socket) -> None:
        self._behind.add(socket)
        self._is_behind.set()

    async def _heal(self) -> None:
        """Bring forward whatever is behind, all of the same few milliseconds in one look."""
        await self._is_behind.wait()
        await asyncio.sleep(GATHER_SECONDS)
        self._is_behind.clear()
        sockets = self._chosen()
        if self._behind:
            self._is_behind.set()  # the rest is for the next look
        try:
            await self._look(sockets)
        except Exception:
            for socket in sockets:
                self._fell_behind(socket)
            raise

    def _chosen(self) -> list[Socket]:
        """Take out of those behind the ones that one look serves: one cursor a user. Those with a shut window are not behind:
        `reopened()` brings them back."""
        cursors: dict[str, Any] = {}
        chosen = []
        for socket in tuple(self._behind):
            user = socket.identity.user
            if not socket.stream.is_open:
                self._behind.discard(socket)
            elif cursors.get(user) == socket.cursor or (user not in cursors and len(cursors) < USERS_PER_QUERY):
                cursors[user] = socket.cursor
                chosen.append(socket)
                self._behind.discard(socket)
        return chosen

    async def _look(self, sockets: list[Socket]) -> None:
        before = {socket: socket.cursor for socket in sockets}
        for socket in sockets:
            socket.stream.look()
        answers = await self.reader.run(replay, {socket.identity.user_id: before[socket] for socket in sockets})
        torn = {(each.identity.user_id, each.language) for each in sockets if answers[each.identity.user_id].rows is None}
        pages = await self.reader.run(_read_pages, torn) if torn else {}
        # No `await` from here on: what a socket's position was a moment ago, it still is.
        frames: dict[Any, list[Frame]] = {}
        for socket in sockets:
            if socket not in self.sockets.get(socket.identity.user, ()):
                continue
            if before[socket] != socket.cursor:
                self._fell_behind(socket)  # it said hello again meanwhile
                continue
            key = (socket.identity.user_id, socket.language, socket.position, socket.stream.owes_answer)
            answer = answers[socket.identity.user_id]
            if key not in frames:
                frames[key] = _frames(socket, answer, pages)
            position = Position.parse(pages[key[:2]].position) if answer.rows is None else answer.state.position
            self._bring_forward(socket, frames[key], position or NOWHERE)

    def _bring_forward(self, socket: Socket, frames: Iterable[Frame], position: Position) -> None:
        for frame in frames:
            if not socket.stream.is_open:
                return  # still behind; reopened() goes on from the cursor
            self._push(socket, frame, position)
        if not socket.stream.caught_up():
            self._fell_behind(socket)

    # --- what happens by itself ---

    async def _watermark(self) -> None:
        """Compare every connected user's inbox with the database; ask the layer for an echo."""
        await asyncio.sleep(self._interval())
        if self.membership.is_shared:
            self._spawn(self.membership.ask_for_echo())
        everyone = self._everyone()
        for start in range(0, len(everyone), USERS_PER_QUERY):
            sockets = everyone[start : start + USERS_PER_QUERY]
            found = await self.reader.run(states, {socket.identity.user_id for socket in sockets})
            for socket in sockets:
                if socket.is_listening and socket.position != found.get(socket.identity.user, State()).position:
                    self._lost_track(socket)
                    self.membership.doubt(socket.identity.user)

    async def _watch_sessions(self) -> None:
        """The same for sessions. Apart from the inboxes: a session store that is slow or away holds up nobody's news."""
        self._are_sessions_doubtful.clear()
        everyone = self._everyone()
        for start in range(0, len(everyone), USERS_PER_QUERY):
            await self._end_signed_out(everyone[start : start + USERS_PER_QUERY])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._interval()):
                await self._are_sessions_doubtful.wait()

    def _interval(self) -> float:
        interval = app_settings.WATERMARK_SECONDS
        interval = interval if self.membership.is_shared else min(interval, UNSHARED_WATERMARK_SECONDS)
        return float(interval * random.uniform(0.8, 1.0))

    async def _sweep(self) -> None:
        await asyncio.sleep(SWEEP_SECONDS * random.uniform(0.6, 1.0))
        await self.relayer.run(sweep)

    async def _beat(self) -> None:
        await asyncio.sleep(1)
        now = time.monotonic()
        for socket in self._everyone():
            socket.check_line(now)
            if now - socket.last_heard > SILENCE_SECONDS:
                socket.end(CloseCode.RESTART, "no answer", 1.0)
            elif socket.stream.is_overdue(now):
                socket.end(CloseCode.SLOW, "too slow", 1.0)
            elif socket.is_listening and now - socket.last_beat >= HEARTBEAT_SECONDS:
                socket.last_beat = now
                socket.push(encode(Heartbeat(position=str(socket.position))))

    # --- tasks ---

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.warning("hub_task_failed error=%r; the watermark comes back to it", task.exception())

    async def _forever(self, routine: Callable[[], Awaitable[None]]) -> None:
        """Repeat a routine; log an error at most once a minute, back off, live on."""
        failures, last_log = 0, float("-inf")
        while True:
            try:
                await routine()
                failures = 0
            except Exception as error:
                failures += 1
                if time.monotonic() - last_log >= LOG_SECONDS:
                    last_log = time.monotonic()
                    is_away = isinstance(error, DatabaseError | OSError | TimeoutError)
                    logger.error("hub_failed routine=%s error=%r", routine.__name__, error, exc_info=not is_away)
                await asyncio.sleep(min(0.1 * 2**failures, LONGEST_BACKOFF_SECONDS) * random.uniform(0.5, 1.0))


def _read_pages(wanted: Iterable[tuple[Any, str]]) -> dict[tuple[Any, str], Page]:
    return {(user_id, language): read_page(user_id, language=language) for user_id, language in wanted}


def _frames(socket: Socket, answer: Replay, pages: Mapping[tuple[Any, str], Page]) -> list[Frame]:
    if answer.rows is None:
        return [reset(pages[socket.identity.user_id, socket.language])]
    if answer.state.position == socket.position and not socket.stream.owes_answer:
        return []
    return list(replayed(socket.position, answer.state, answer.rows, socket.language))


def _drain_with_twisted(hub: Hub) -> None:
    """Daphne knows no `lifespan`: drain when its reactor is about to stop, in the same turn in which it cancels consumers."""
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is not None and reactor.running:
        from twisted.internet.defer import Deferred  # only there when Daphne serves

        wait_for: Any = Deferred.fromFuture
        reactor.addSystemEventTrigger("before", "shutdown", lambda: wait_for(hub.drain()))
