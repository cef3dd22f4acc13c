"""A WebSocket written byte by byte, for what no client library sends: half frames, broken masks, reserved bits, floods, and a
peer that does not read."""

import asyncio
import base64
import contextlib
import os
import select
import socket
import struct
import time
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from django.conf import settings

from tests.site.client import PATH, SUBPROTOCOL

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT", "RawFrame", "RawSocket", "frame"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x01\x02\x03\x04"


class RawFrame(NamedTuple):
    opcode: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """Of a close frame."""
        return struct.unpack("!H", self.payload[:2])[0] if self.opcode == CLOSE and len(self.payload) > 1 else None


def frame(
    payload: bytes | str = b"",
    opcode: int = TEXT,
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: int | None = None,
) -> bytes:
    """One frame as bytes. `length`: what its header claims, if not the truth."""
    payload = payload.encode() if isinstance(payload, str) else payload
    size = len(payload) if length is None else length
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    key = (MASK * (len(payload) // 4 + 1))[: len(payload)]
    mixed = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")
    return head + MASK + mixed


class RawSocket:
    """`async with RawSocket(site, session) as peer`: connected, accepted, and nothing said."""

    def __init__(self, site: Any, session: str | None, *, receive_buffer: int | None = None) -> None:
        address = urlsplit(site.url)
        self.host, self.port, self.origin = str(address.hostname), address.port or 80, site.url
        self.session = session
        self.receive_buffer = receive_buffer
        """In bytes; a small one makes the server feel at once that the peer does not read."""

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.disconnect()

    async def connect(self, behind: bytes = b"") -> None:
        """Shake hands. `behind`: bytes that follow the request without waiting for its answer."""
        plain = socket.socket()
        if self.receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (self.host, self.port))
        # The small limit makes this side read no more than it is asked for.
        self.reader, self.writer = await asyncio.open_connection(sock=plain, limit=self.receive_buffer or 2**16)
        lines = [
            f"GET {PATH} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
            f"Origin: {self.origin}",
            f"Cookie: {settings.SESSION_COOKIE_NAME}={self.session}",
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + behind)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in answer.split(b"\r\n")[0]:
            raise ConnectionError(answer.decode(errors="replace"))

    async def disconnect(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def send(self, *pieces: bytes) -> None:
        """Raises `ConnectionError` once the server has closed."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def receive(self) -> RawFrame | None:
        """The next frame; None if the line has been cut."""
        try:
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return RawFrame(first & 0x0F, await self.reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def until(self, part: bytes, seconds: float = 15) -> None:
        """Read on to the frame that has this in it. Raises `ConnectionError` or `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while (received := await self.receive()) is not None:
                if part in received.payload:
                    return
        raise ConnectionError("the line was cut")

    async def flood(self, blob: bytes, seconds: float) -> tuple[float | None, bytes]:
        """Send `blob` again and again, as fast as the server takes it: after how many seconds it cut the line (None: it has not),
        and what it had said. From then on the socket is good for nothing else."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]
        return await asyncio.to_thread(self._flood, blob, seconds)

    def _flood(self, blob: bytes, seconds: float) -> tuple[float | None, bytes]:
        plain = socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno()))
        view, at, heard = memoryview(blob), 0, b""
        started = time.monotonic()
        with plain:
            try:
                while time.monotonic() - started < seconds:
                    readable, writable, _ = select.select([plain], [plain], [], 0.2)
                    if readable:
                        piece = plain.recv(2**16)
                        if not piece:
                            return time.monotonic() - started, heard
                        heard = (heard + piece)[-4096:]
                    if writable:
                        at = (at + plain.send(view[at:])) % len(view)
            except OSError:
                return time.monotonic() - started, heard
        return None, heard
