"""One hub a running event loop: the only member of channel-layer groups, holder of the local sockets.

The layer is a doorbell: a lost, doubled or late ring costs time, never a row. Nothing here waits for a socket. `delivery.py`
brings each page forward, `authority.py` ends what its session no longer allows, `consumers.py` owns the connections.
"""

import asyncio
import functools
import logging
import math
import os
import platform
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from django.db import DatabaseError

from notifications.authority import BUSY, Authority, Refusal
from notifications.conf import app_settings
from notifications.delivery import USERS_PER_QUERY, Delivery
from notifications.frames import Letters
from notifications.inbox import State, states
from notifications.membership import Membership
from notifications.outbox import event_alias
from notifications.protocol import CloseCode, Heartbeat, Presence, WakeUp, encode
from notifications.relay import Relayed, relay_due, sweep
from notifications.ringer import ring, ringer
from notifications.servers import before_stop, is_stopping
from notifications.session import Identity
from notifications.sockets import Socket
from notifications.statements import checkpoint
from notifications.workers import Worker

__all__ = ["HEARTBEAT_SECONDS", "LONGEST_SPREAD_SECONDS", "Hub"]

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 25
RETURNS_PER_SECOND: Final = 150  # of handshakes and hellos, that leave a process time for its pages
LONGEST_SPREAD_SECONDS: Final = 15.0
BEAT_SECONDS: Final = 2.0  # between two looks at every socket
SOCKETS_PER_LOOK: Final = 25  # at once
SILENCE_SECONDS: Final = 70.0  # a peer that sends nothing for so long is gone: noticed, told and freed within 75 s
SWEEP_SECONDS: Final = 5.0
FIRST_SWEEP_SECONDS: Final = 0.5  # after the start: the process before this one may have been killed
UNSHARED_WATERMARK_SECONDS: Final = 2.0  # where no layer tells of other processes
RELAYS_PER_CHECKPOINT: Final = 32  # on SQLite; at 1,000 pages, after some 70 relays, a commit would do it before its news are out
DRAIN_SECONDS: Final = 5.0  # for all goodbyes, on a machine that is busy starting the next server
STOP_SECONDS: Final = 2.0
LONGEST_BACKOFF_SECONDS: Final = 5.0
LOG_SECONDS: Final = 60.0  # between two lines about the same routine


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
        self.delivery = Delivery(self.sockets, self.reader)
        self.authority = Authority(self.sockets, self.authenticator, self._spawn)
        self.membership = Membership(
            self.id,
            users=self.sockets.keys(),
            hear=self.hear,
            joined=self.delivery.look_again,
            entered=self.authority.doubt,
        )
        self._drained: asyncio.Future[None] | None = None
        self._is_stopped = False
        self._steps: WeakValueDictionary[Any, asyncio.Lock] = WeakValueDictionary()
        self._until_sweep = FIRST_SWEEP_SECONDS
        self._is_relay_queued = False
        self._relay_rests_until = 0.0
        """By the monotonic clock."""
        self._relays = 0
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
        routines = [self.delivery.heal, self._watermark, self._watch_sessions, self._sweep, self._beat]
        if self.membership.layer is not None:
            routines += [self.membership.listen, self.membership.keep, self.membership.renew]
        for routine in routines:
            self._spawn(self._forever(routine))
        before_stop(self.drain)

    @property
    def is_draining(self) -> bool:
        """It goes on refusing sockets until the process ends."""
        return self._drained is not None

    def drain(self) -> asyncio.Future[None]:
        """Say goodbye to every socket, with a time to come back that is spread over the fleet: the server is about to stop.

        The goodbyes are under way when this returns, whatever cancels the consumers then; what it returns ends with the hub.
        """
        if self._drained is None:
            leaving = self._everyone()
            self._drained = asyncio.ensure_future(self._finish(leaving))
            spread = min(30.0, 1.0 + len(leaving) / 100)
            for socket in leaving:
                socket.end(CloseCode.RESTART, "restart", round(random.uniform(0.5, spread), 1))
        return self._drained

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

    async def admit(self, session_key: str) -> Identity | Refusal:
        """Who opens a connection with this session cookie, or what they are told instead."""
        return BUSY if session_key and self.is_draining else await self.authority.admit(session_key)

    def seated(self, found: Identity | Refusal) -> Identity | Refusal:
        """Who was admitted, or what they are told if there is no room for them. Asked at the last moment before `add()`."""
        if isinstance(found, Identity) and self.is_draining:
            return BUSY
        if isinstance(found, Identity) and len(self.sockets.get(found.user, ())) >= app_settings.SOCKETS_PER_USER:
            return Refusal(CloseCode.TOO_MANY_SOCKETS, "too many sockets", 30.0)
        return found

    def add(self, socket: Socket) -> None:
        """The socket's page has been authenticated. It gets nothing before its hello."""
        socket.on_sent = lambda: self.delivery.reopened(socket)
        user = socket.identity.user
        if user not in self.sockets:
            self.sockets[user] = set()
            self.membership.change(user)
        self.sockets[user].add(socket)
        self.authority.add(socket)

    def remove(self, socket: Socket) -> None:
        user = socket.identity.user
        self.delivery.remove(socket)
        sockets = self.sockets.get(user, set())
        sockets.discard(socket)
        if not sockets and self.sockets.pop(user, None) is not None:
            self.membership.change(user)

    def step_of(self, user_id: Any) -> asyncio.Lock:
        """Held while the user takes a step: however many sockets one has, others wait for one command of theirs at most."""
        return self._steps.setdefault(user_id, asyncio.Lock())

    def _everyone(self) -> list[Socket]:
        return [socket for sockets in self.sockets.values() for socket in sockets]

    @property
    def spread(self) -> float:
        """Seconds over which this hub's sockets should come back if all of them are cut at once: one page need hardly wait."""
        return round(min(LONGEST_SPREAD_SECONDS, 1.0 + len(self.sockets) / RETURNS_PER_SECOND), 1)

    # --- wake-ups ---

    def hear(self, wake_up: WakeUp) -> None:
        """Deliver a wake-up to the local sockets."""
        self.delivery.hear(wake_up.steps, Letters(wake_up.events))
        self.authority.hear(wake_up.sessions)
        if wake_up.pending:
            self.relay_soon()
        if wake_up.roll_call:
            ring(WakeUp(present=[self._presence()]))

    def _presence(self) -> Presence:
        process = f"{platform.node()}:{os.getpid()}"
        return Presence(hub=self.id, process=process, sockets=len(self._everyone()), behind=self.delivery.behind)

    def relay_soon(self) -> None:
        """Relay what is pending, on the hub's own thread. From any thread."""
        if not self._is_relay_queued and not self._is_stopped:
            self._is_relay_queued = True
            self.relayer.submit(self._relay)

    def _relay(self) -> None:
        time.sleep(max(0.0, self._relay_rests_until - time.monotonic()))  # the rest itself, on the relay's own thread
        self._is_relay_queued = False
        try:
            self._after_relay(relay_due())
            self._relays += 1
            if self._relays % RELAYS_PER_CHECKPOINT == 0:
                checkpoint(event_alias())
        except Exception as error:  # noqa: BLE001 - the sweep comes back to it
            logger.error("relay_stopped error=%r", error)

    def _after_relay(self, relayed: Relayed) -> None:
        self._relay_rests_until = time.monotonic() + relayed.rest
        if relayed.is_more_due:
            self.relay_soon()

    # --- what happens by itself ---

    async def _watermark(self) -> None:
        """Compare every connected user's inbox with the database; ask the layer for an echo."""
        await asyncio.sleep(self._interval(sweep=SWEEP_SECONDS))
        if self.membership.is_shared:
            self._spawn(self.membership.ask_for_echo())
        everyone = self._everyone()
        for start in range(0, len(everyone), USERS_PER_QUERY):
            sockets = everyone[start : start + USERS_PER_QUERY]
            found = await self.reader.run(states, {socket.identity.user_id for socket in sockets})
            for socket in sockets:
                if socket.is_listening and socket.position != found.get(socket.identity.user, State()).position:
                    self.delivery.lost_track(socket)
                    self.membership.doubt(socket.identity.user)

    async def _watch_sessions(self) -> None:
        await self.authority.watch(self._interval())

    def _interval(self, *, sweep: float = 0.0) -> float:
        """`sweep`: where a layer that loses rings has lost "pending" too, the bound holds a sweep and then this look."""
        interval = app_settings.WATERMARK_SECONDS
        seconds = max(interval - sweep, interval / 2) if self.membership.is_shared else min(interval, UNSHARED_WATERMARK_SECONDS)
        return float(seconds * random.uniform(0.8, 1.0))

    async def _sweep(self) -> None:
        await asyncio.sleep(self._until_sweep)
        self._until_sweep = SWEEP_SECONDS * random.uniform(0.6, 1.0)
        self._after_relay(await self.relayer.run(functools.partial(sweep, is_hearing=self.membership.is_hearing)))

    async def _beat(self) -> None:
        """Look at every socket once: a part of them at a time, so that nobody's news wait for a look at a thousand."""
        if is_stopping():
            self.drain()
        everyone = self._everyone()
        parts = max(1, math.ceil(len(everyone) / SOCKETS_PER_LOOK))
        for part in range(parts):
            await asyncio.sleep(BEAT_SECONDS / parts)
            for socket in everyone[part::parts]:
                if socket.is_open:
                    self._look_at(socket, time.monotonic())

    @staticmethod
    def _look_at(socket: Socket, now: float) -> None:
        socket.check_line(now)
        if now - socket.last_heard > SILENCE_SECONDS and not socket.stream.is_one_way:
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
