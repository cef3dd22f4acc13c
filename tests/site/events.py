"""A page without WebSocket: the client of the event stream, which resumes and comes back as `docs/protocol.md` prescribes."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from notifications.event_stream import event_stream
from tests.site.client import Page

__all__ = ["EVENTS", "Event", "EventPage", "LocalEventPage", "Refused"]

EVENTS = "/notifications/events/"


class Refused(Exception):
    """Any answer but 200."""

    def __init__(self, status: int, headers: dict[str, str], body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.headers, self.body = status, headers, body


class Event(NamedTuple):
    data: str
    id: str | None
    retry: int | None


class Parser:
    """The format of `text/event-stream`, as much of it as servers may use here."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, chunk: bytes) -> Iterator[Event]:
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
            assert fields.keys() <= {"id", "data", "retry"}, fields
            retry = int(fields["retry"]) if "retry" in fields else None
            yield Event(fields.get("data", ""), fields.get("id"), retry)


class Stream:
    """What a page takes for its socket: one answer of the server. `send` leads nowhere."""

    close_code: int | None = None

    def __init__(self, page: "EventPage") -> None:
        self.page = page

    async def open(self, target: str, headers: dict[str, str]) -> dict[str, str]:
        """The headers of the answer. Raises `Refused`."""
        raise NotImplementedError

    async def chunks(self) -> AsyncIterator[bytes]:
        """What comes, until the answer ends."""
        raise NotImplementedError
        yield b""

    async def close(self) -> None:
        raise NotImplementedError

    async def send(self, frame: str | bytes) -> None:
        """An event stream has no way up."""

    async def __aiter__(self) -> AsyncIterator[str]:
        parser = Parser()
        async for chunk in self.chunks():
            for event in parser.take(chunk):
                self.page.retry = self.page.retry if event.retry is None else event.retry
                self.page.last_event_id = event.id or self.page.last_event_id
                self.page.came_with = event.id
                if event.data:
                    yield event.data
        self.close_code = self.page.bye["code"] if self.page.bye else 1006


class HttpStream(Stream):
    """Over TCP, by HTTP/1.1."""

    limit = 1 << 20
    receive_buffer: int | None = None
    """In bytes; a small one makes the server feel at once that the peer does not read."""

    async def open(self, target: str, headers: dict[str, str]) -> dict[str, str]:
        address = urlsplit(self.page.url)
        plain = socket.socket()
        if self.receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (str(address.hostname), address.port or 80))
        self.reader, self.writer = await asyncio.open_connection(sock=plain, limit=self.limit)
        lines = [f"GET {target} HTTP/1.1", f"Host: {address.netloc}", *(f"{name}: {value}" for name, value in headers.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        status = int((await self.reader.readline()).split()[1])
        answer = {}
        while line := (await self.reader.readline()).decode().strip():
            name, _, value = line.partition(": ")
            answer[name.lower()] = value
        self.is_chunked = answer.get("transfer-encoding") == "chunked"
        if status != 200:
            length = int(answer.get("content-length", 0))
            body = await self.reader.readexactly(length) if length else b"".join([chunk async for chunk in self.chunks()])
            await self.close()
            raise Refused(status, answer, body.decode())
        return answer

    async def chunks(self) -> AsyncIterator[bytes]:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
            while self.is_chunked and (size := int(await self.reader.readline(), 16)):
                yield (await self.reader.readexactly(size + 2))[:-2]

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class LocalStream(Stream):
    """Within this process: the application at the other end of two queues. `gate.clear()`: the peer reads no more."""

    def __init__(self, page: "EventPage") -> None:
        super().__init__(page)
        self.gate = asyncio.Event()
        self.gate.set()
        self._up: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._down: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def open(self, target: str, headers: dict[str, str]) -> dict[str, str]:
        path, _, query = target.partition("?")
        lines = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": lines}
        self._up.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self.task = asyncio.ensure_future(event_stream(scope, self._up.get, self._take))
        self.task.add_done_callback(lambda _: self._down.put_nowait(None))
        head = await self._down.get()
        assert head is not None, self.task.exception()
        answer = {name.decode(): value.decode() for name, value in head["headers"]}
        if head["status"] != 200:
            body = await self._down.get()
            assert body is not None
            raise Refused(head["status"], answer, body["body"].decode())
        return answer

    async def chunks(self) -> AsyncIterator[bytes]:
        while (message := await self._down.get()) is not None:
            yield message["body"]
            if not message["more_body"]:
                return

    async def close(self) -> None:
        self._up.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(self.task, 5)

    async def _take(self, message: dict[str, Any]) -> None:
        await self.gate.wait()
        self._down.put_nowait(message)


class EventPage(Page):
    """`async with EventPage(site, session) as page`. It returns when its stream has ended, unless `returns` is False."""

    stream_class: type[Stream] = HttpStream

    def __init__(self, site: Any, session: str | None, *, returns: bool = True, **options: Any) -> None:
        super().__init__(site, session, **options)
        self.url = self.url.replace("ws", "http", 1)
        self.path = EVENTS
        self.returns = returns
        self.printed_at = self.position
        """Stays in the address, as a browser's `EventSource` keeps it."""
        self.last_event_id: str | None = None
        self.came_with: str | None = None
        """The id of the last event, if it had one."""
        self.retry: int | None = None
        self.streams = 0
        """How many answers it has read."""
        self.headers: dict[str, str] = {}

    async def connect(self, *, greets: bool = True, **headers: str) -> None:
        """Raises `Refused`."""
        await self._open(headers)
        self._reader = asyncio.create_task(self._read_on())

    async def disconnect(self) -> None:
        """Leave, and do not come back before the next `connect`."""
        returns, self.returns = self.returns, False
        await self.socket.close()
        await self._reader
        self.returns = returns

    async def _open(self, headers: dict[str, str]) -> None:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if self.last_event_id is not None:
            headers["Last-Event-ID"] = self.last_event_id
        query = urlencode({"position": self.printed_at, "language": self.language}, quote_via=quote)
        stream = self.stream_class(self)
        self.bye = self.close_code = None
        self.headers = await stream.open(f"{self.path}?{query}", headers)
        self.streams += 1
        self.socket = stream  # type: ignore[assignment]
        self._is_waiting_for_welcome = True

    async def _read_on(self) -> None:
        await self._read()
        while self.returns and self.close_code in (1006, 4012, 4013, 4008, 4029):
            assert self.bye is not None, "ended without a goodbye"
            await asyncio.sleep(self.bye["retry_after"])
            if self.returns:
                await self.socket.close()
                await self._open({})
                if not self.returns:  # it left meanwhile
                    await self.socket.close()
                await self._read()

    async def _take(self, message: dict[str, Any]) -> None:
        assert "ack" not in message
        await super()._take(message)
        moves = message["type"] == "reset" or (message["type"] == "delta" and not message["more"])
        assert self.came_with == (self.position if moves else None), message

    async def hello(self) -> None:
        raise AssertionError(f"a gap, at {self.position}: {json.dumps(self.frames[-1])[:300]}")


class LocalEventPage(EventPage):
    """A page whose server is this process's hub."""

    stream_class = LocalStream

    def __init__(self, session: str | None, **options: Any) -> None:
        super().__init__(type("Here", (), {"websocket_url": "ws://testserver"}), session, **options)
