"""One hub a running event loop: the only member of channel-layer groups, holder of the local sockets, deliverer.

A wake-up is sent on to every socket whose page stands exactly where it starts; every other socket is *behind*, and one routine brings
whatever is behind forward by a look at the database. The layer is a doorbell: a lost, doubled or late ring costs time, never a row.
Nothing here waits for a socket. `stream.py` decides, `inbox.py` reads, `consumers.py` owns the connections.
"""

import asyncio
import logging
import random
import secrets
import sys
import time
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.db import DatabaseError
from django.utils.translation import override

from notifications.conf import app_settings
from notifications.inbox import Cursor, Page, State, read_page, replay, states
from notifications.items import item, rendered
from notifications.protocol import (
    DELTA_BYTES,
    DELTA_ROWS,
    CloseCode,
    Delta,
    EventCopy,
    Heartbeat,
    Position,
    Reset,
    Row,
    SessionCheck,
    Step,
    WakeUp,
    encode,
)
from notifications.relay import relay, sweep
from notifications.ringer import HUBS, group, opened, ring, ringer, user_group
from notifications.session import Identity, authenticate
from notifications.stream import Stream, Verdict
from notifications.workers import Gathered, Worker

__all__ = ["HEARTBEAT_SECONDS", "Hub", "Socket"]

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 25
SILENCE_SECONDS: Final = 75.0  # a peer that sends nothing for so long is gone
GATHER_SECONDS: Final = 0.003  # what falls behind within it shares one look at the database
SWEEP_SECONDS: Final = 5.0
LAYER_SECONDS: Final = 5.0  # the longest wait for one call of the layer, and for the hub's own echo
UNSHARED_WATERMARK_SECONDS: Final = 2.0
USERS_PER_QUERY: Final = 500
DRAIN_SECONDS: Final = 2.0
CONTROL_FRAMES: Final = 64  # that wait behind an unfinished send before the socket counts as too slow


class Socket:
    """One open page, as the hub sees it: who, in which language, and how far its stream is. The connection belongs to `owner`."""

    def __init__(
        self,
        identity: Identity,
        session_key: str,
        *,
        send: Callable[[str], Coroutine[Any, Any, None]],
        end: Callable[[int, str, float | None], None],
    ) -> None:
        self.identity = identity
        self.session_key = session_key  # asked again by the watermark; never logged
        self.language = ""
        self.stream = Stream()
        self.is_listening = False  # the page has said hello
        self.is_open = True  # until the owner has sent its last frame
        self.last_heard = self.last_beat = time.monotonic()
        self.end = end
        self._send = send
        self._queue: deque[str] = deque()
        self._task: asyncio.Task[None] | None = None
        self.on_sent: Callable[[], None] = lambda: None

    def push(self, frame: str) -> None:
        """Give a frame to the connection without waiting. What does not finish at once goes on in a task of its own."""
        if self._task is not None:
            self._queue.append(frame)
            if len(self._queue) > CONTROL_FRAMES:
                self.end(CloseCode.SLOW, "too slow", 1.0)
            return
        sending = self._send(frame)
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return
        except Exception:  # the connection is gone; its disconnect is on the way
            return
        self.stream.is_sending = True
        self._task = asyncio.get_running_loop().create_task(self._finish(sending, waits_for))

    async def _finish(self, sending: Coroutine[Any, Any, None], waits_for: Any) -> None:
        try:
            await _resumed(sending, waits_for)
            while self._queue:
                await self._send(self._queue.popleft())
        except Exception:  # as in push()
            self._queue.clear()
        finally:
            self._task = None
            self.stream.is_sending = False
        self.on_sent()


@types.coroutine
def _resumed(started: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Go on with a coroutine that was begun by hand and yielded `waits_for`."""
    while True:
        try:
            value = yield waits_for
        except (Exception, asyncio.CancelledError) as error:
            step: Callable[[], Any] = lambda error=error: started.throw(error)  # type: ignore[misc]
        else:
            step = lambda value=value: started.send(value)  # type: ignore[misc]
        try:
            waits_for = step()
        except StopIteration:
            return


class Hub:
    """The sockets of one event loop and everything that keeps them current. Everything but `relay_soon()` is for that loop only."""

    _all: WeakKeyDictionary[asyncio.AbstractEventLoop, "Hub"] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.id = secrets.token_hex(8)
        self.sockets: dict[str, set[Socket]] = {}
        self.reader = Worker("read")
        self.authenticator = Worker("auth")
        self.relayer = Worker("relay")
        self._identities = Gathered(self.authenticator, authenticate)
        self.is_draining = False
        self._behind: set[Socket] = set()
        self._is_behind = asyncio.Event()
        self._memberships: dict[str, None] = {}  # users whose group is to be joined or left, in order
        self._joined: set[str] = set()
        self._membership = asyncio.Event()
        self._channel = ""
        self._echo = asyncio.Event()
        self._is_relay_queued = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listener: asyncio.Task[None] | None = None

    @classmethod
    def running(cls) -> "Hub":
        """The hub of the running loop, started if it is the first call there."""
        loop = asyncio.get_running_loop()
        hub = cls._all.get(loop)
        if hub is None:
            hub = cls._all[loop] = cls(loop)
            hub.start()
        return hub

    # --- life ---

    def start(self) -> None:
        ringer.hub = self
        self.layer = get_channel_layer(app_settings.CHANNEL_LAYER)
        self._spawn(self._forever(self._heal_behind))
        self._spawn(self._forever(self._watermark))
        self._spawn(self._forever(self._sweep))
        self._spawn(self._forever(self._beat))
        if self.layer is not None:
            self._listener = self._spawn(self._listen())
            self._spawn(self._forever(self._keep_memberships))
            self._spawn(self._forever(self._renew_memberships))
        _drain_with_twisted(self)

    async def drain(self) -> None:
        """Say goodbye to every socket, with a time to come back that is spread over the fleet. The server is about to stop."""
        if self.is_draining:
            return
        self.is_draining = True
        everyone = [socket for sockets in self.sockets.values() for socket in sockets]
        spread = min(30.0, 1.0 + len(everyone) / 100)
        for socket in everyone:
            socket.end(CloseCode.RESTART, "restart", round(random.uniform(0.5, spread), 1))
        end = time.monotonic() + DRAIN_SECONDS
        while any(socket.is_open for socket in everyone) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        await self.stop()

    async def stop(self) -> None:
        """End the tasks, leave the groups, join the threads and close their connections."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.layer is not None and self._channel:
            names = [group(HUBS), *(user_group(user) for user in self._joined)]
            await _within(1.0, self._leave(names))
        if ringer.hub is self:
            ringer.hub = None
        self._all.pop(self.loop, None)
        for worker in (self.reader, self.authenticator, self.relayer):
            await worker.stop()

    async def _leave(self, names: Iterable[str]) -> None:
        for name in names:
            await self.layer.group_discard(name, self._channel)

    # --- sockets ---

    def add(self, socket: Socket) -> None:
        """The socket's page has been authenticated. It gets nothing before its hello."""
        socket.on_sent = lambda: self.reopened(socket)
        user = socket.identity.user
        self.sockets.setdefault(user, set()).add(socket)
        self._change_membership(user)

    def remove(self, socket: Socket) -> None:
        user = socket.identity.user
        sockets = self.sockets.get(user, set())
        sockets.discard(socket)
        self._behind.discard(socket)
        if not sockets:
            self.sockets.pop(user, None)
            self._change_membership(user)

    def hello(self, socket: Socket, position: Position | None, language: str) -> None:
        """The page says where it stands (None: nowhere that we know) and in which language it reads."""
        socket.language = language
        socket.is_listening = True
        epoch, top = position if position is not None else ("?", 0)  # an epoch that no inbox has
        socket.stream.stand_at(epoch, top)
        self._fell_behind(socket)

    def reopened(self, socket: Socket) -> None:
        """The socket can take more: an acknowledgement came, or a slow send has finished."""
        if socket.stream.is_behind and socket.stream.is_open:
            self._fell_behind(socket)

    async def identify(self, session_key: str) -> Identity | None:
        """Who is behind a session cookie. Handshakes of the same moment share their queries."""
        identity: Identity | None = await self._identities.ask(session_key)
        return identity

    # --- wake-ups ---

    def hear(self, wake_up: WakeUp) -> None:
        """Deliver a wake-up to the local sockets."""
        letters = _Letters(wake_up.events)
        for step in wake_up.steps:
            for socket in tuple(self.sockets.get(step.user, ())):
                if socket.is_listening:
                    self._offer(socket, step, letters)
        for check in wake_up.sessions:
            self._check_sessions(check)
        if wake_up.pending:
            self.relay_soon()

    def relay_soon(self) -> None:
        if not self._is_relay_queued:
            self._is_relay_queued = True
            self.relayer.submit(self._relay)

    def _relay(self) -> None:
        self._is_relay_queued = False
        try:
            relay()
        except Exception as error:  # the sweep comes back to it; this thread lives on
            logger.error("relay_stopped error=%r", error)

    def _offer(self, socket: Socket, step: Step, letters: "_Letters") -> None:
        stream = socket.stream
        verdict = stream.offer(step.epoch, step.base, step.top)
        if verdict is Verdict.DROP:
            return
        letter = letters.frame(step, socket.language, from_nowhere=not stream.epoch) if verdict is Verdict.SEND else None
        if letter is None:
            stream.is_behind = stream.has_news = True
            self._fell_behind(socket)
            return
        frame, ack = letter
        stream.sent(ack, epoch=step.epoch, top=step.top, steps=step.top - step.base, size=len(frame), now=time.monotonic())
        socket.push(frame)

    def _check_sessions(self, check: SessionCheck) -> None:
        sockets = [
            socket for socket in self.sockets.get(check.user, ()) if not check.session or socket.identity.session == check.session
        ]
        if check.ask:
            if sockets:
                self._spawn(self._end_signed_out(sockets))
            return
        for socket in sockets:
            socket.end(CloseCode.SIGNED_OUT, "signed out", None)

    async def _end_signed_out(self, sockets: list[Socket]) -> None:
        valid = await self.authenticator.run(authenticate, [socket.session_key for socket in sockets])
        for socket in sockets:
            if valid.get(socket.session_key) != socket.identity:
                socket.end(CloseCode.SIGNED_OUT, "signed out", None)

    # --- behind ---

    def _fell_behind(self, socket: Socket) -> None:
        self._behind.add(socket)
        self._is_behind.set()

    async def _heal_behind(self) -> None:
        await self._is_behind.wait()
        await asyncio.sleep(GATHER_SECONDS)
        self._is_behind.clear()
        looking: dict[str, Socket] = {}
        twins: list[Socket] = []  # other sockets of the same users: they share the look if they stand at the same place
        for socket in list(self._behind):
            if not socket.stream.is_open:
                self._behind.discard(socket)  # reopened() brings it back
            elif socket.identity.user not in looking and len(looking) < USERS_PER_QUERY:
                looking[socket.identity.user] = socket
                self._behind.discard(socket)
            elif socket.identity.user in looking and _cursor(looking[socket.identity.user]) == _cursor(socket):
                twins.append(socket)
                self._behind.discard(socket)
        if self._behind:
            self._is_behind.set()
        sockets = [*looking.values(), *twins]
        try:
            await self._look(looking, sockets)
        except Exception:
            for socket in sockets:
                self._fell_behind(socket)
            raise

    async def _look(self, looking: Mapping[str, Socket], sockets: list[Socket]) -> None:
        before = {socket: _cursor(socket) for socket in sockets}
        for socket in sockets:
            socket.stream.look()
        cursors = {socket.identity.user_id: before[socket] for socket in looking.values()}
        answers = await self.reader.run(replay, cursors)
        torn = {(socket.identity.user_id, socket.language) for socket in sockets if answers[socket.identity.user_id].rows is None}
        pages = await self.reader.run(_read_pages, torn) if torn else {}
        # No `await` from here on: what a socket's position was a moment ago, it still is.
        letters: dict[tuple[Any, str], list[tuple[Row, bytes]]] = {}
        for socket in sockets:
            user_id, language = socket.identity.user_id, socket.language
            if socket not in self.sockets.get(socket.identity.user, ()):
                continue
            answer, page = answers[user_id], pages.get((user_id, language))
            if before[socket] != _cursor(socket) or (answer.rows is None and page is None):
                self._fell_behind(socket)  # it said hello again meanwhile
            elif answer.rows is None and page is not None:
                self._send_reset(socket, page)
            elif answer.rows is not None:
                key = (user_id, language)
                if key not in letters:
                    letters[key] = _encoded(answer.rows, language)
                self._send_replay(socket, answer.state, letters[key])

    def _send_reset(self, socket: Socket, page: Page) -> None:
        position = Position.parse(page.position) or Position("", 0)
        ack = _new_ack()
        frame = encode(
            Reset(
                position=page.position,
                items=page.items,
                unread=page.unread,
                unseen=page.unseen,
                seen_upto=page.seen_upto,
                ack=ack,
                more=page.more,
            )
        )
        now = time.monotonic()
        socket.stream.sent(ack, epoch=position.epoch, top=position.top, steps=len(page.items), size=len(frame), now=now)
        socket.push(frame)
        self._end_look(socket)

    def _send_replay(self, socket: Socket, state: State, rows: list[tuple[Row, bytes]]) -> None:
        stream = socket.stream
        base = str(Position(stream.epoch, stream.top))
        if (stream.epoch, stream.top) == state.position:
            self._end_look(socket)
            return
        for part, is_last in _parts(rows):
            if not stream.is_open:
                return  # still behind; reopened() goes on from the cursor
            ack = _new_ack()
            delta = Delta(
                base=base,
                position=str(state.position) if is_last else base,
                items=[msgspec.Raw(encoded) for _, encoded in part],  # type: ignore[misc]
                ops=[],
                unread=state.unread,
                unseen=state.unseen,
                seen_upto=state.seen_upto,
                ack=ack,
                more=not is_last,
            )
            frame = encode(delta)
            counted = {"steps": max(1, len(part)), "size": len(frame), "now": time.monotonic()}
            if is_last:
                stream.sent(ack, epoch=state.position.epoch, top=state.position.top, **counted)  # type: ignore[arg-type]
            else:
                row = part[-1][0]
                stream.sent_part(ack, stamp=row.stamp, event=row.event, **counted)  # type: ignore[arg-type]
            socket.push(frame)
        self._end_look(socket)

    def _end_look(self, socket: Socket) -> None:
        if not socket.stream.caught_up():
            self._fell_behind(socket)

    # --- what happens by itself ---

    async def _watermark(self) -> None:
        """Compare every connected user's inbox and session with the database; ask the layer for an echo."""
        is_shared = self.layer is not None and not isinstance(self.layer, InMemoryChannelLayer)
        interval = app_settings.WATERMARK_SECONDS
        await asyncio.sleep((interval if is_shared else min(interval, UNSHARED_WATERMARK_SECONDS)) * random.uniform(0.8, 1.0))
        everyone = [socket for sockets in self.sockets.values() for socket in sockets]
        for start in range(0, len(everyone), USERS_PER_QUERY):
            sockets = everyone[start : start + USERS_PER_QUERY]
            found = await self.reader.run(states, {socket.identity.user_id for socket in sockets})
            for socket in sockets:
                position = found.get(socket.identity.user, State()).position
                if socket.is_listening and (socket.stream.epoch, socket.stream.top) != position:
                    socket.stream.is_behind = socket.stream.has_news = True
                    self._fell_behind(socket)
            await self._end_signed_out(sockets)
        if is_shared:
            self._spawn(self._ask_for_echo())

    async def _sweep(self) -> None:
        await asyncio.sleep(SWEEP_SECONDS * random.uniform(0.6, 1.0))
        await self.relayer.run(sweep)

    async def _beat(self) -> None:
        await asyncio.sleep(1)
        now = time.monotonic()
        for sockets in list(self.sockets.values()):
            for socket in list(sockets):
                if now - socket.last_heard > SILENCE_SECONDS:
                    socket.end(CloseCode.RESTART, "no answer", 1.0)
                elif socket.stream.is_overdue(now):
                    socket.end(CloseCode.SLOW, "too slow", 1.0)
                elif socket.is_listening and now - socket.last_beat >= HEARTBEAT_SECONDS:
                    socket.last_beat = now
                    socket.push(encode(Heartbeat(position=str(Position(socket.stream.epoch, socket.stream.top)))))

    # --- the layer ---

    async def _listen(self) -> None:
        """Receive for ever on one channel of the layer. Whatever the layer raises is waited out."""
        pause = 0.5
        while True:
            try:
                if not self._channel:
                    self._channel = await asyncio.wait_for(self.layer.new_channel("notifications"), LAYER_SECONDS)
                    await asyncio.wait_for(self.layer.group_add(group(HUBS), self._channel), LAYER_SECONDS)
                    self._rejoin()
                message = await self.layer.receive(self._channel)
                pause = 0.5
                self._received(message)
            except Exception as error:  # whatever a layer raises when its server is away
                logger.warning("layer_unheard error=%r", error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 15.0)

    def _received(self, message: Mapping[str, Any]) -> None:
        wake_up = opened(message.get("body"))
        if wake_up is None:
            logger.warning("wake_up_refused type=%s", str(message.get("type"))[:50])
            return
        if wake_up.echo == self.id:
            self._echo.set()
        self.hear(wake_up)

    async def _ask_for_echo(self) -> None:
        """Ring oneself. No echo: the layer forgot this hub, so it gets a new channel and joins all groups again."""
        self._echo.clear()
        ring(WakeUp(echo=self.id))
        if not await _within(LAYER_SECONDS, self._echo.wait()):
            logger.warning("layer_echo_missing sockets=%s", sum(map(len, self.sockets.values())))
            if self._listener is not None:
                self._listener.cancel()
            self._channel = ""
            self._listener = self._spawn(self._listen())

    def _change_membership(self, user: str) -> None:
        if self.layer is not None:
            self._memberships[user] = None
            self._membership.set()

    def _rejoin(self) -> None:
        self._joined.clear()
        self._memberships.update(dict.fromkeys(self.sockets))
        self._membership.set()

    async def _keep_memberships(self) -> None:
        """Join and leave groups one at a time: hundreds at once exhaust the layer's connections."""
        await self._membership.wait()
        if not self._channel:
            await asyncio.sleep(0.05)
            return
        if not self._memberships:
            self._membership.clear()
            return
        user = next(iter(self._memberships))
        is_wanted = user in self.sockets
        if is_wanted and user not in self._joined:
            await asyncio.wait_for(self.layer.group_add(user_group(user), self._channel), LAYER_SECONDS)
            self._joined.add(user)
            for socket in self.sockets.get(user, ()):  # what was rung before the group was joined
                if socket.is_listening and not socket.stream.is_behind:
                    socket.stream.is_behind = socket.stream.has_news = True
                    self._fell_behind(socket)
        elif not is_wanted and user in self._joined:
            await asyncio.wait_for(self.layer.group_discard(user_group(user), self._channel), LAYER_SECONDS)
            self._joined.discard(user)
        if (user in self.sockets) == (user in self._joined):
            self._memberships.pop(user, None)

    async def _renew_memberships(self) -> None:
        """A layer forgets members after `group_expiry`, whoever still listens."""
        await asyncio.sleep(getattr(self.layer, "group_expiry", 86400) / 3)
        if self._channel:
            await asyncio.wait_for(self.layer.group_add(group(HUBS), self._channel), LAYER_SECONDS)
        self._rejoin()

    # --- tasks ---

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("hub_task_failed error=%r", task.exception())

    async def _forever(self, routine: Callable[[], Awaitable[None]]) -> None:
        """Repeat a routine; log an error at most once a minute, back off, live on."""
        failures, last_log = 0, float("-inf")
        while True:
            try:
                await routine()
                failures = 0
            except Exception as error:  # the database or the layer is away, or a defect: either way the hub lives on
                failures += 1
                if time.monotonic() - last_log >= 60:
                    last_log = time.monotonic()
                    expected = isinstance(error, DatabaseError | OSError | TimeoutError)
                    logger.error("hub_failed routine=%s error=%r", routine.__name__, error, exc_info=not expected)
                await asyncio.sleep(min(0.1 * 2**failures, 5.0) * random.uniform(0.5, 1.0))


class _Letters:
    """The frames of one wake-up: each step rendered once a language, encoded once for all the user's sockets."""

    def __init__(self, events: Mapping[int, EventCopy]) -> None:
        self._events = events
        self._parts: dict[tuple[int, str], Any] = {}
        self._frames: dict[tuple[str, int, str, bool], tuple[str, str] | None] = {}

    def frame(self, step: Step, language: str, *, from_nowhere: bool) -> tuple[str, str] | None:
        """The frame and its `ack`; None if the step does not carry all of its letters or they are too long for one."""
        key = (step.user, step.base, language, from_nowhere)
        if key not in self._frames:
            self._frames[key] = self._made(step, language, from_nowhere=from_nowhere)
        return self._frames[key]

    def _made(self, step: Step, language: str, *, from_nowhere: bool) -> tuple[str, str] | None:
        if step.rows is None or len(step.rows) > DELTA_ROWS:
            return None
        if any(row.event not in self._events and not row.deleted for row in step.rows):
            return None
        ack = _new_ack()
        delta = Delta(
            base="0" if from_nowhere else str(Position(step.epoch, step.base)),
            position=str(Position(step.epoch, step.top)),
            items=[item(row, None if row.deleted else self._rendered(row.event, language)) for row in step.rows],
            ops=step.ops,
            unread=step.unread,
            unseen=step.unseen,
            seen_upto=step.seen_upto,
            ack=ack,
        )
        frame = encode(delta)
        return (frame, ack) if len(frame) <= DELTA_BYTES or len(step.rows) == 1 else None

    def _rendered(self, event_id: int, language: str) -> Any:
        key = (event_id, language)
        if key not in self._parts:
            with override(language):
                self._parts[key] = rendered(self._events[event_id])
        return self._parts[key]


def _cursor(socket: Socket) -> Cursor:
    stream = socket.stream
    return Cursor(stream.epoch, stream.cursor_stamp, stream.cursor_event)


def _read_pages(wanted: Iterable[tuple[Any, str]]) -> dict[tuple[Any, str], Page]:
    return {(user_id, language): read_page(user_id, language=language) for user_id, language in wanted}


def _encoded(rows: Iterable[tuple[Row, EventCopy | None]], language: str) -> list[tuple[Row, bytes]]:
    with override(language):
        return [(row, msgspec.json.encode(item(row, None if event is None else rendered(event)))) for row, event in rows]


def _parts(rows: list[tuple[Row, bytes]]) -> list[tuple[list[tuple[Row, bytes]], bool]]:
    """The rows in parts of at most `DELTA_ROWS` and `DELTA_BYTES`, each with whether it is the last; at least one part."""
    parts: list[list[tuple[Row, bytes]]] = [[]]
    size = 0
    for row in rows:
        if parts[-1] and (len(parts[-1]) >= DELTA_ROWS or size + len(row[1]) > DELTA_BYTES):
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += len(row[1])
    return [(part, part is parts[-1]) for part in parts]


def _new_ack() -> str:
    return secrets.token_urlsafe(6)


async def _within(seconds: float, awaitable: Awaitable[Any]) -> bool:
    """Wait at most so long; whether it came to its end."""
    try:
        await asyncio.wait_for(awaitable, seconds)
    except Exception:  # TimeoutError, or whatever the layer raises: either way it did not
        return False
    return True


def _drain_with_twisted(hub: Hub) -> None:
    """Daphne knows no `lifespan`: drain before its reactor shuts down."""
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is not None and reactor.running:
        from twisted.internet.defer import Deferred  # only there when Daphne serves

        reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromFuture(asyncio.ensure_future(hub.drain())))
