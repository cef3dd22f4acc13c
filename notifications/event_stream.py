"""Without WebSocket: server-sent events. To the hub a stream is a socket whose page can send nothing, acknowledgements included.

So where a socket would ask for one the stream ends, and the page returns from where it stands. Like the socket it is taken by
`live_application` before Django's handler, which would hold a thread for as long as the response streams, and with it whatever
database connection the site's middleware has opened.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from django.core.exceptions import SuspiciousOperation
from django.http import QueryDict

from notifications.authority import SIGNED_OUT, Refusal
from notifications.hub import HEARTBEAT_SECONDS, Hub
from notifications.items import site_language
from notifications.protocol import Bye, CloseCode, Hello, Position, Welcome, encode, hello
from notifications.session import Identity, session_key
from notifications.signals import socket_closed, socket_opened
from notifications.sockets import Socket
from notifications.transports import Transport

__all__ = ["EventStream", "event_stream"]

STREAM_SECONDS: Final = 600.0  # at most: a peer that has vanished without a word is not written to for ever
GOODBYE_SECONDS: Final = 1.0  # for a peer that does not read
LINGER_SECONDS: Final = 1.0
CUT: Final = 1006  # what a page calls it that was left without a goodbye
HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"private, no-store, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would gather the events
)
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]


async def event_stream(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """The ASGI application: `?position=`, which a `Last-Event-ID` outdoes, and `?language=`."""
    headers = dict(scope["headers"])
    if scope["method"] != "GET":
        await _refuse(send, 405, "GET only", (b"allow", b"GET"))
        return
    if headers.get(b"sec-fetch-site") == b"cross-site":  # it could not be read there, but held open
        await _refuse(send, 403, "not from another site")
        return
    try:
        query = QueryDict(scope["query_string"])
        last = headers.get(b"last-event-id", query.get("position", "").encode())
        asked = hello(position=last.decode(errors="replace"), language=query.get("language", ""))
    except (msgspec.ValidationError, SuspiciousOperation) as error:
        await _refuse(send, 400, str(error))
        return
    key = session_key(scope["headers"])
    found = await Hub.running().admit(key)
    if found == SIGNED_OUT:
        await _refuse(send, 401, "signed out")
        return
    await EventStream(receive, send).run(found, key, asked)


class EventStream:
    """One page's stream, from its head to its goodbye."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.hub = Hub.running()
        self.peer = asyncio.ensure_future(_departure(receive))  # when it is done, so is the stream
        self.base_send = send
        self.transport = Transport(send)
        self.socket: Socket | None = None
        self.close_code = 0  # once it is set the stream has ended
        self.goodbye: asyncio.Task[None] | None = None

    async def run(self, found: Identity | Refusal, key: str, asked: Hello) -> None:
        """Until one side ends it."""
        age = asyncio.get_running_loop().call_later(STREAM_SECONDS * random.uniform(0.8, 1.0), self._go_on)
        try:
            await self.base_send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await self._write(b"retry: %d\n\n" % (1000 * random.uniform(1.0, 1.0 + self.hub.spread)))
            self._open(found, key, asked)
            await asyncio.wait({self.peer})
        finally:
            age.cancel()
            self.peer.cancel()
            self._leave()
        if self.goodbye is not None:
            await asyncio.wait({self.goodbye})

    def end(self, code: int, reason: str, retry_after: float | None) -> None:
        """Say goodbye and end. Does not wait; the first call decides."""
        if not self.close_code:
            self.close_code = code
            socket = self.socket
            self._leave()
            self.goodbye = asyncio.ensure_future(self._say_goodbye(Bye(code, reason, retry_after), socket))

    def _open(self, found: Identity | Refusal, key: str, asked: Hello) -> None:
        found = self.hub.seated(found)
        if isinstance(found, Refusal):
            self.end(*found)
            return
        self.socket = Socket(found, key, send=self._send, end=self.end, transport=self.transport, is_one_way=True)
        self.hub.add(self.socket)
        socket_opened.send_robust(sender=type(self), user_id=found.user_id)
        self.socket.push(encode(Welcome(heartbeat_seconds=HEARTBEAT_SECONDS, spread_seconds=self.hub.spread)))
        self.hub.delivery.hello(self.socket, Position.parse(asked.position), site_language(asked.language))

    def _go_on(self) -> None:
        self.end(CloseCode.RESTART, "go on from here", 0.0)

    async def _send(self, frame: str) -> None:
        await self._write(_event(frame))

    async def _say_goodbye(self, bye: Bye, socket: Socket | None) -> None:
        retry = b"retry: %d\n" % (1000 * bye.retry_after) if bye.retry_after else b""
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                if socket is not None:
                    await socket.sent()
                await self._write(retry + _event(encode(bye)), more_body=False)
        except Exception:  # noqa: BLE001 - the peer has gone first, or does not read
            self.transport.cut()
        finally:
            if bye.code == CloseCode.SLOW:
                asyncio.get_running_loop().call_later(LINGER_SECONDS, self.transport.cut)
            if socket is not None:
                socket.is_open = False
            self.peer.cancel()

    async def _write(self, body: bytes, *, more_body: bool = True) -> None:
        await self.base_send({"type": "http.response.body", "body": body, "more_body": more_body})

    def _leave(self) -> None:
        if self.socket is not None:
            self.hub.remove(self.socket)
            socket_closed.send_robust(sender=type(self), user_id=self.socket.identity.user_id, code=self.close_code or CUT)
            self.socket = None


class Place(msgspec.Struct):
    """As much of a message as says whether a page that has it stands elsewhere."""

    type: str
    position: str = ""
    more: bool = False


_place = msgspec.json.Decoder(Place)


def _event(frame: str) -> bytes:
    message = _place.decode(frame)
    moves = message.type == "reset" or (message.type == "delta" and not message.more)
    head = f"id: {message.position}\n" if moves else ""
    return f"{head}data: {frame}\n\n".encode()


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    plain = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [plain, HEADERS[1], *headers]})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})
