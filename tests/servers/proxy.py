"""A TCP proxy between a program and its server, whose line a test delays, stops, resets or takes away.

    with redis_server() as redis, tcp_proxy(redis.port) as proxy:
        a program connects to proxy.through(redis.url); proxy.swallow(), proxy.reset(), proxy.refuse(), proxy.mend()

It lives on a thread of its own, so sync and async tests use it alike; every method may be called from any thread.
"""

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Self, TypeAlias

from tests.servers.process import HOST, free_port

__all__ = ["TcpProxy", "tcp_proxy"]

CALL_SECONDS = 10
STOP_SECONDS = 2
CHUNK_BYTES = 65536
CHUNKS_WAITING = 16  # beyond them the sender feels that nobody reads
RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST and throws away what was not sent

Late: TypeAlias = "asyncio.Queue[tuple[float, bytes | None]]"


class TcpProxy:
    """Passes on everything, until told otherwise. With several servers each connection goes to the next that takes it."""

    def __init__(self, *servers: int, port: int | None = None) -> None:
        self.port = port or free_port()
        self.accepted = 0
        """Connections since the start."""
        self._servers = itertools.cycle(servers)
        self._count = len(servers)
        self._known = servers
        self._delay = 0.0
        self._lines: set[Line] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._listener: asyncio.Server | None = None
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

    # --- on the proxy's thread ---

    async def _mend(self) -> None:
        self._delay = 0.0
        if self._resetting is not None:
            self._resetting.cancel()
            self._resetting = None
        self._opened.set()
        await self._listen()

    async def _swallow(self) -> None:
        self._opened.clear()

    async def _reset(self) -> None:
        for line in tuple(self._lines):
            line.reset()

    async def _reset_every(self, seconds: float) -> None:
        async def again() -> None:
            while True:
                await self._reset()
                await asyncio.sleep(seconds)

        self._resetting = asyncio.create_task(again())

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._reset()

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, HOST, self.port, limit=CHUNK_BYTES)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        line = Line(writer)
        self._lines.add(line)
        try:
            there = await self._connected()
            if there is None:
                line.reset()
                return
            line.add(there[1])
            ways = []
            for source, target in ((reader, there[1]), (there[0], writer)):
                late: Late = asyncio.Queue(CHUNKS_WAITING)
                ways += [self._take(source, late), self._pass_on(late, target, line)]
            await asyncio.gather(*ways)
        finally:
            line.close()
            self._lines.discard(line)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        await self._opened.wait()
        for server in itertools.islice(self._servers, self._count):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(HOST, server, limit=CHUNK_BYTES)
        return None

    async def _take(self, reader: asyncio.StreamReader, late: "Late") -> None:
        """Late chunks queue up behind each other: a long line is not a thin one. An end that breaks comes last, as None."""
        data: bytes | None = b"-"
        while data:
            try:
                data = await reader.read(CHUNK_BYTES)
            except OSError:
                data = None
            await late.put((self._loop.time() + self._delay, data))

    async def _pass_on(self, late: "Late", writer: asyncio.StreamWriter, line: "Line") -> None:
        """What cannot be written is dropped, and the other way goes on: there, what the end still said may be on its way."""
        while True:
            due, data = await late.get()
            if due > self._loop.time():
                await asyncio.sleep(due - self._loop.time())
            await self._opened.wait()
            if data is None:
                line.reset()
                return
            with contextlib.suppress(OSError, RuntimeError):
                if data:
                    writer.write(data)
                    await writer.drain()
                else:
                    writer.write_eof()
            if not data:
                return

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
    """The two sockets of one connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writers = [writer]
        self._is_reset = False

    def add(self, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if self._is_reset:
            self.reset()

    def reset(self) -> None:
        self._is_reset = True
        for writer in self._writers:
            transport: Any = writer.transport
            if not transport.is_closing():
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
            transport.abort()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@contextlib.contextmanager
def tcp_proxy(*servers: int, port: int | None = None) -> Iterator[TcpProxy]:
    """A proxy on a free port in front of the servers that listen on these ports of this machine."""
    with TcpProxy(*servers, port=port) as proxy:
        yield proxy
