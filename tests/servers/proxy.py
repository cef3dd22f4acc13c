"""A TCP proxy between a program and its server, whose line a test delays, stops, resets or takes away.

    with redis_server() as redis, tcp_proxy(redis.port) as proxy:
        a program connects to proxy.through(redis.url); proxy.swallow(), proxy.reset(), proxy.refuse(), proxy.mend()

In front of a site it can be one of those that know HTTP but not what came after it: proxy.eat_upgrades(), proxy.eat_events().

It lives on a thread of its own, so sync and async tests use it alike; every method may be called from any thread.
"""

import asyncio
import contextlib
import itertools
import re
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Literal, Self, TypeAlias

from tests.servers.process import HOST, free_port

__all__ = ["TcpProxy", "tcp_proxy"]

CALL_SECONDS = 10
STOP_SECONDS = 2
BACKLOG = 2000
CHUNK_BYTES = 65536
CHUNKS_WAITING = 16  # beyond them the sender feels that nobody reads
RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST and throws away what was not sent

UPGRADE = re.compile(rb"\r\nupgrade:\s*websocket\r\n", re.IGNORECASE)
EVENTS = re.compile(rb"\r\ncontent-type:\s*text/event-stream", re.IGNORECASE)
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

Late: TypeAlias = "asyncio.Queue[tuple[float, bytes]]"
Fate: TypeAlias = Literal["refused", "cut", "kept waiting"]


class TcpProxy:
    """Passes on everything, until told otherwise. With several servers each connection goes to the next that takes it."""

    def __init__(self, *servers: int, port: int | None = None) -> None:
        self.port = port or free_port()
        self.accepted = 0
        """Connections since the start."""
        self.upgrades = 0
        """Requests for a WebSocket since then."""
        self._servers = itertools.cycle(servers)
        self._count = len(servers)
        self._known = servers
        self._delay = 0.0
        self._eaten: Fate | None = None
        self._eats_events = False
        self._lines: set[Line] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._listener: socket.socket | None = None
        self._resetting: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()

    @property
    def websocket_url(self) -> str:
        return f"ws://{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._lines)

    def through(self, url: str) -> str:
        """The URL of a server, by way of this proxy."""
        for server in self._known:
            url = url.replace(f":{server}", f":{self.port}")
        return url

    # --- what befalls the line ---

    def mend(self) -> None:
        """All is well again. What was swallowed goes on its way, as a network repeats what got lost."""
        self._call(self._mend)

    def delay(self, seconds: float) -> None:
        """What comes from now on arrives so much later, each way."""
        self._delay = seconds

    def swallow(self) -> None:
        """A black hole: connections stay open and can still be opened; no byte, no end of one comes out at the other side."""
        self._call(self._swallow)

    def reset(self) -> None:
        """Both ends of every connection get an RST."""
        self._call(self._reset)

    def reset_every(self, seconds: float) -> None:
        """The same again and again, until mended."""
        self._call(self._reset_every, seconds)

    def refuse(self) -> None:
        """As where nobody listens: every connection is reset and none can be opened."""
        self._call(self._refuse)

    def eat_upgrades(self, fate: Fate) -> None:
        """From now on no WebSocket can be opened: who asks for one is told 400, cut off, or never answered."""
        self._eaten = fate

    def eat_events(self) -> None:
        """From now on event streams begin, and nothing of them comes through: a proxy that waits for their end."""
        self._eats_events = True

    # --- on the proxy's thread ---

    async def _mend(self) -> None:
        self._delay, self._eaten, self._eats_events = 0.0, None, False
        if self._resetting is not None:
            self._resetting.cancel()
            self._resetting = None
        self._opened.set()
        await self._listen()

    async def _swallow(self) -> None:
        self._opened.clear()

    async def _reset(self) -> None:
        ended = [line.reset() for line in self._lines]
        if ended:
            await asyncio.wait(ended)

    async def _reset_every(self, seconds: float) -> None:
        async def again() -> None:
            while True:
                await self._reset()
                await asyncio.sleep(seconds)

        self._resetting = asyncio.create_task(again())

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self._reset()

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server((HOST, self.port), backlog=BACKLOG)
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        """Not as a task: one that is cancelled can drop what it has just accepted."""
        try:
            here, _ = listener.accept()
        except OSError:  # it has left again
            return
        self.accepted += 1
        line = Line(here)
        self._lines.add(line)
        line.task = self._loop.create_task(self._serve(line))
        line.task.add_done_callback(partial(self._ended, line))

    def _ended(self, line: "Line", task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before it had begun
            line.linger_no_more()
        line.close()
        self._lines.discard(line)

    async def _serve(self, line: "Line") -> None:
        """Sockets, not asyncio's streams: those forget what has arrived once something cannot be written."""
        try:
            await self._opened.wait()
            there = await self._connected()
            if there is None:
                line.linger_no_more()
                return
            line.sockets.append(there)
            for each in line.sockets:
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ways = []
            for sift, (source, target) in ((self._asked, line.sockets), (self._told, line.sockets[::-1])):
                late: Late = asyncio.Queue(CHUNKS_WAITING)
                ways += [self._take(source, late, partial(sift, line)), self._pass_on(late, target)]
            await asyncio.gather(*ways)
        except asyncio.CancelledError:
            line.linger_no_more()  # Line.reset()

    async def _connected(self) -> socket.socket | None:
        for server in itertools.islice(self._servers, self._count):
            there = socket.socket()
            there.setblocking(False)
            try:
                await self._loop.sock_connect(there, (HOST, server))
            except OSError:
                there.close()
            except asyncio.CancelledError:  # Line.reset(), while the server has not answered
                there.close()
                raise
            else:
                return there
        return None

    async def _take(self, source: socket.socket, late: Late, sift: Callable[[bytes], bytes]) -> None:
        """Late chunks queue up behind each other: a long line is not a thin one."""
        data = b"-"
        while data:
            try:
                data = await self._loop.sock_recv(source, CHUNK_BYTES)
            except OSError:
                data = b""  # to the other side it has ended, as behind nginx
            passed = sift(data)
            if passed or not data:
                await late.put((self._loop.time() + self._delay, passed))

    def _asked(self, line: "Line", data: bytes) -> bytes:
        """What of it goes on to the server. A browser's request comes in one piece, an upgrade on a connection of its own."""
        is_upgrade = bool(UPGRADE.search(data))
        self.upgrades += is_upgrade
        line.is_eaten = line.is_eaten or (is_upgrade and self._eaten is not None)
        if is_upgrade and self._eaten == "refused":
            line.sockets[0].send(BAD_REQUEST)
        if is_upgrade and self._eaten == "cut":
            line.reset()
        return b"" if line.is_eaten else data

    def _told(self, line: "Line", data: bytes) -> bytes:
        """What of it goes on to the browser: of an event stream the head, and then no more."""
        if line.is_eaten:
            return b""
        line.is_eaten = self._eats_events and bool(EVENTS.search(data))
        return data[: data.index(b"\r\n\r\n") + 4] if line.is_eaten else data

    async def _pass_on(self, late: Late, target: socket.socket) -> None:
        """What cannot be written is dropped, and the other way goes on: there, what the end still said may be on its way."""
        data = b"-"
        while data:
            due, data = await late.get()
            if due > self._loop.time():
                await asyncio.sleep(due - self._loop.time())
            await self._opened.wait()
            with contextlib.suppress(OSError):
                if data:
                    await self._loop.sock_sendall(target, data)
                else:
                    target.shutdown(socket.SHUT_WR)

    # --- life ---

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._mend)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._call(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)
        self._loop.close()

    async def _stop(self) -> None:
        if self._resetting is not None:
            self._resetting.cancel()
        self._delay = 0.0
        self._opened.set()
        await self._refuse()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=STOP_SECONDS)

    def _call(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        asyncio.run_coroutine_threadsafe(function(*arguments), self._loop).result(CALL_SECONDS)


class Line:
    """The two sockets of one connection; the second comes when the server has been reached."""

    def __init__(self, here: socket.socket) -> None:
        here.setblocking(False)
        self.sockets = [here]
        self.task: asyncio.Task[None]
        self.is_eaten = False
        """What comes from now on goes nowhere."""

    def reset(self) -> asyncio.Task[None]:
        """What it returns ends when both ends have been reset."""
        self.task.cancel()
        return self.task

    def linger_no_more(self) -> None:
        for each in self.sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)

    def close(self) -> None:
        for each in self.sockets:
            each.close()


@contextlib.contextmanager
def tcp_proxy(*servers: int, port: int | None = None) -> Iterator[TcpProxy]:
    """A proxy on a free port in front of the servers that listen on these ports of this machine."""
    with TcpProxy(*servers, port=port) as proxy:
        yield proxy
