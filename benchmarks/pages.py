"""The client's end of a socket, a way each: when it is ready, what in a frame is a notification, what it has to answer.

Written for speed: a page looks for numbers in bytes and decodes no more than its protocol demands of it.
"""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Final, Protocol
from urllib.parse import urlsplit

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

__all__ = ["PAGES", "Inbound", "Page"]

NUMBER: Final = re.compile(rb'"n": ?(\d+)')
HANDSHAKE_SECONDS: Final = 30.0


class Inbound(Protocol):
    """Who is told what came."""

    def arrived(self, page: "Page", numbers: list[bytes]) -> None: ...

    def left(self, page: "Page") -> None: ...


class Page(ABC):
    """One open page. `open()` returns once it is ready to be told something."""

    def __init__(self, url: str, user: int, session: str, inbound: Inbound) -> None:
        self.url = url
        self.user = user
        self.session = session
        self.inbound = inbound
        self.position = "0"  # as the page of somebody without an inbox is printed
        self.spread = 0.0  # seconds over which the server has its pages return
        self.gaps = 0
        self.bytes = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    def cut(self) -> None: ...

    def is_ready(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)

    def has_ended(self) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("closed before it was ready"))
            self.ready.exception()  # who waited may have given up
        self.inbound.left(self)


class Listener(WSListener):  # type: ignore[misc]
    def __init__(self, page: "SocketPage") -> None:
        self.page = page

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.page.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.TEXT:
            self.page.take(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.page.has_ended()


class SocketPage(Page):
    """Plain Channels: ready when accepted, a frame a notification."""

    path: ClassVar = "/ws/"
    headers: ClassVar[list[tuple[str, str]]] = []
    transport: WSTransport

    async def open(self) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        headers = [("Cookie", f"sessionid={self.session}"), ("Origin", self.url), *self.headers]
        address = self.url.replace("http", "ws", 1) + self.path
        await ws_connect(lambda: Listener(self), address, extra_headers=headers, websocket_handshake_timeout=HANDSHAKE_SECONDS)
        self.accepted()
        await self.ready

    def accepted(self) -> None:
        self.is_ready()

    def take(self, frame: bytes) -> None:
        self.bytes = len(frame)
        self.inbound.arrived(self, NUMBER.findall(frame))

    def say(self, frame: bytes) -> None:
        self.transport.send(WSMsgType.TEXT, frame)

    def cut(self) -> None:
        self.transport.underlying_transport.abort()


class BarePage(SocketPage):
    """Whose it is, the address says."""

    @property
    def path(self) -> str:  # type: ignore[override]
        return f"/{self.user}"


class SocketIOPage(SocketPage):
    """Engine.IO's packets: `0` open, `2` ping, `3` pong, `40` connected, `42` event."""

    path: ClassVar = "/socket.io/?EIO=4&transport=websocket"

    def accepted(self) -> None:
        """Ready it is when its namespace is."""

    def take(self, frame: bytes) -> None:
        match frame[:2]:
            case b"42":
                super().take(frame)
            case b"40":
                self.is_ready()
            case _ if frame[:1] == b"0":
                self.say(b"40")
            case _ if frame[:1] == b"2":
                self.say(b"3")


class Told(msgspec.Struct):
    """As much of a message as the protocol asks a page to look at."""

    type: str
    base: str = ""
    position: str = ""
    ack: str = ""
    spread_seconds: float = 0.0


class LivePage(SocketPage):
    """Protocol v1: hello, then apply what starts where the page stands, drop what it has, ask anew at a gap; acknowledge."""

    path: ClassVar = "/notifications/socket/"
    headers: ClassVar[list[tuple[str, str]]] = [("Sec-WebSocket-Protocol", "notifications.v1.json")]
    decode: ClassVar[Callable[[bytes], Told]] = msgspec.json.Decoder(Told).decode

    def accepted(self) -> None:
        self.hello()

    def hello(self) -> None:
        self.say(b'{"type":"hello","position":"' + self.position.encode() + b'","language":"en"}')

    def take(self, frame: bytes) -> None:
        told = type(self).decode(frame)
        if told.type == "delta" and told.base != self.position:
            if told.position != self.position:
                self.gaps += 1
                self.hello()
        elif told.type in {"delta", "reset"}:
            self.position = told.position
            super().take(frame)
            self.is_ready()
        elif told.type == "welcome":
            self.spread = told.spread_seconds
        elif told.type == "heartbeat":
            self.say(b'{"type":"heartbeat"}')
        if told.ack:
            self.say(b'{"type":"ack","ack":"' + told.ack.encode() + b'"}')


class StreamPage(Page, asyncio.Protocol):
    """Server-sent events over a plain HTTP connection: ready when the stream says that it is open."""

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready = loop.create_future()
        self.rest = b""
        address = urlsplit(self.url)
        self.transport: Any
        self.transport, _ = await loop.create_connection(lambda: self, str(address.hostname), int(address.port or 80))
        request = [
            f"GET /events/?channel=user-{self.user}&channel=everybody HTTP/1.1",
            f"Host: {address.netloc}",
            "Accept: text/event-stream",
            f"Cookie: sessionid={self.session}",
        ]
        self.transport.write("\r\n".join([*request, "", ""]).encode())
        await asyncio.wait_for(self.ready, HANDSHAKE_SECONDS)

    def data_received(self, data: bytes) -> None:
        whole, end, self.rest = (self.rest + data).rpartition(b"\n\n")
        if not end:
            return
        numbers = NUMBER.findall(whole)
        if numbers:
            self.bytes = len(whole) // len(numbers)
            self.inbound.arrived(self, numbers)
        elif b"stream-open" in whole:
            self.is_ready()

    def connection_lost(self, exc: Exception | None) -> None:
        self.has_ended()

    def cut(self) -> None:
        self.transport.abort()


PAGES: Final[dict[str, type[Page]]] = {
    "bare": BarePage,
    "channels": SocketPage,
    "tuned": SocketPage,
    "socketio": SocketIOPage,
    "eventstream": StreamPage,
    "live": LivePage,
}
