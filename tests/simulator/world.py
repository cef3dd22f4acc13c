"""Two server processes in one loop without a clock: their real hubs, consumers, relay and ringer, between them the `Post`.

What runs on threads in a server runs here in turn, on the test's own connection, after a moment of simulated time; what another
process does in the middle of a look at the database happens between two of its queries.
"""

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

import pytest
from django.core.management.color import no_style
from django.db import connection

from notifications import (
    authority,
    delivery,
    frames,
    hub,
    inbox,
    membership,
    outbox,
    relay,
    replays,
    ringer,
    slices,
    sockets,
    stream,
    workers,
)
from notifications.hub import Hub
from notifications.models import Event, Inbox, Notification
from notifications.session import Identity
from notifications.sockets import Socket
from tests.simulator.clock import Clock, StillLoop
from tests.simulator.post import Post
from tests.simulator.tabs import Tab
from tests.site.wire import Wire

__all__ = ["SERVERS", "World"]

SERVERS = 2
LAG_SECONDS = 0.004  # before and after each job on a thread: longer than what is gathered
_server: ContextVar[int] = ContextVar("server")
_clock = Clock()
_acting: list[Hub | None] = []
_world: "World"


class Thread:
    """Stands for `workers.Worker`."""

    def __init__(self, name: str) -> None:
        self.hub: Hub | None = None
        self._turn = asyncio.Lock()

    def submit(self, job: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        _world.spawn(self.run(job, *arguments))
        return Future()

    async def run(self, job: Callable[..., Any], *arguments: Any) -> Any:
        async with self._turn:
            await asyncio.sleep(LAG_SECONDS)
            with outside_the_loop(), _world.acting(self.hub), _world.disturbed(job):
                result = job(*arguments)
            await asyncio.sleep(LAG_SECONDS)
            return result

    async def stop(self) -> None:
        return


@contextlib.contextmanager
def outside_the_loop() -> Iterator[None]:
    """As on a thread: Django gives the one connection of this thread, and what is rung comes when the loop gets to it."""
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(running)


class Watched(Wire):
    """A wire that shows each frame to the simulation as it leaves the server."""

    def __init__(self, session: str, sees: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(session)
        self._sees = sees

    async def _take(self, message: dict[str, Any]) -> None:
        if "text" in message:
            self._sees(json.loads(message["text"]))
        await super()._take(message)


class World:
    """One example's: `start()`, and `end()` whatever has happened."""

    def __init__(self, identities: dict[str, Identity]) -> None:
        self.identities = identities
        self.post = Post()
        self.hubs: list[Hub] = []
        self.meanwhile: tuple[int, Callable[[], None]] | None = None
        """What another process does before so-and-so-many queries of the next look at the database."""
        self._tasks: set[asyncio.Task[Any]] = set()

    @staticmethod
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        """For the whole test. Bounds become small, so that few steps reach them."""
        for module in (authority, delivery, hub, sockets, membership, relay, ringer, workers):
            monkeypatch.setattr(module, "time", _clock, raising=False)
        monkeypatch.setattr("notifications.consumers.time", _clock)
        monkeypatch.setattr("notifications.consumers.COMMANDS_PER_SECOND", 1e9)
        monkeypatch.setattr(hub, "Worker", Thread)
        monkeypatch.setattr(authority, "authenticate", lambda keys: {key: _world.identities[key] for key in keys})
        monkeypatch.setattr(membership, "random", random.Random(1))
        monkeypatch.setattr(Hub, "running", staticmethod(lambda: _world.hubs[_server.get()]))
        monkeypatch.setattr(ringer, "get_channel_layer", lambda alias: _world.post)
        # A set of sockets is walked in the same order each time.
        monkeypatch.setattr(Socket, "__hash__", lambda socket: socket.__dict__.setdefault("serial", next(_world.serials)))
        for module, name, value in (
            (frames, "DELTA_ROWS", 3),
            (frames, "DELTA_BYTES", 1200),
            (replays, "RESET_ROWS", 9),
            (replays, "LED_ROWS", 4),
            (outbox, "NARROW", outbox.NARROW),
            (ringer, "FEW", ringer.FEW),
            (ringer, "MESSAGE_BYTES", ringer.MESSAGE_BYTES),
            (hub, "random", random.Random(1)),
            (replays, "BATCH_ROWS", 8),
            (replays, "RESTRICTED", 3),
            (slices, "PAIRS", 3),
            (stream, "WINDOW_STEPS", 6),
            (stream, "WINDOW_BYTES", 4000),
        ):
            monkeypatch.setattr(module, name, value)
        monkeypatch.setitem(inbox.read_page.__kwdefaults__ or {}, "limit", 5)

    def start(self, *, narrow: int, few: int, letter_bytes: int) -> None:
        global _world  # noqa: PLW0603 - what is patched is patched once, and asks the example of the moment
        _world = self
        outbox.NARROW, ringer.FEW, ringer.MESSAGE_BYTES = narrow, few, letter_bytes  # type: ignore[misc]  # taken back by patch()
        _empty_the_tables()
        for module in (hub, membership):
            vars(module)["random"] = random.Random(1)
        self.serials = itertools.count()
        self.loop = _clock.loop = StillLoop()
        asyncio.set_event_loop(self.loop)
        ringer.ringer.reset()
        ringer.ringer._background = self.loop
        for _ in range(SERVERS):
            made = Hub(self.loop)
            for worker in (made.reader, made.authenticator, made.relayer):
                worker.hub = made  # type: ignore[attr-defined]
            made._start()
            self.hubs.append(made)
        ringer.ringer.hub = None
        self.wait(1)

    def end(self) -> None:
        self.loop.end()
        asyncio.set_event_loop(None)
        _clock.loop = None
        ringer.ringer.reset()

    def run(self, coroutine: Any) -> Any:
        return self.loop.run(coroutine)

    def wait(self, seconds: float) -> None:
        self.loop.wait(seconds)

    def spawn(self, coroutine: Any) -> None:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    @contextlib.contextmanager
    def acting(self, acting: Hub | None) -> Iterator[None]:
        """What happens inside happens in that hub's process, or in one without a hub."""
        before, ringer.ringer.hub = ringer.ringer.hub, acting
        try:
            yield
        finally:
            ringer.ringer.hub = before

    @contextlib.contextmanager
    def dying(self) -> Iterator[None]:
        """What is committed inside is rung by nobody."""
        rings = [(module, vars(module)["ring"]) for module in (relay, ringer, slices)]
        for module, _ in rings:
            vars(module)["ring"] = lambda wake_up: None
        self.post.lost |= {self.channel(server) for server in range(SERVERS)}
        try:
            with self.acting(None):
                yield
        finally:
            for module, ring in rings:
                vars(module)["ring"] = ring

    @contextlib.contextmanager
    def disturbed(self, job: Callable[..., Any]) -> Iterator[None]:
        """If the job is a look at the database and something is to happen meanwhile, it does."""
        if self.meanwhile is None or job not in (replays.replay, delivery._read_pages):
            yield
            return
        (queries, action), self.meanwhile = self.meanwhile, None
        left = iter(range(queries, -1, -1))

        def before(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
            if next(left, None) == 0 and not connection.in_atomic_block:
                with self.acting(None):
                    action()
            return execute(sql, params, many, context)

        with connection.execute_wrapper(before):
            yield

    def wire_of(self, tab: Tab, sees: Callable[[Tab, dict[str, Any]], None]) -> Watched:
        wire = Watched(tab.user, lambda frame: sees(tab, frame))
        opening = wire.open

        async def open_at_its_server() -> None:
            token = _server.set(tab.server)
            try:
                await opening()
            finally:
                _server.reset(token)
            # A server whose application has ended cuts the line, whether or not the peer has read the goodbye.
            wire.task.add_done_callback(lambda _: wire._down.put_nowait({"type": "websocket.close", "code": 1006}))

        wire.open = open_at_its_server  # type: ignore[method-assign]
        return wire

    def channel(self, server: int) -> str:
        return self.hubs[server].membership._channel


def _empty_the_tables() -> None:
    """Ids begin anew too: what frames and letters fit into is counted in bytes, and is to be the same each time."""
    for model in (Notification, Inbox, Event):
        model.objects.all().delete()
    with connection.cursor() as cursor:
        for sql in connection.ops.sequence_reset_sql(no_style(), [Event, Notification]):
            cursor.execute(sql)
        if connection.vendor == "sqlite":
            cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [Event._meta.db_table])
