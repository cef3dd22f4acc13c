"""Direct writes beside Daphne's own, over TCP, by the real classes of Daphne, autobahn and Twisted; the test is the reactor."""

import asyncio
import contextlib
import logging
import random
import select
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from autobahn.websocket.compress import PerMessageDeflateOfferAccept
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.internet import main, ssl, tcp, unix
from twisted.internet.address import IPv4Address
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from notifications import direct, logs
from notifications.session import Identity
from notifications.sockets import Socket
from notifications.transports import Transport
from tests.site.raw import CLOSE, PING, PONG, TEXT, frame

LARGE = "ö" * 600 * 1024  # more than the kernel takes for the peer of `lines`
SMALL_BUFFER = 64 * 1024


def plain(text: str | bytes, opcode: int = TEXT) -> bytes:
    """A frame as a server has to write it."""
    return frame(text, opcode, masked=False)


class Reactor:
    """Knows who wants to write, and writes when it is told to."""

    def __init__(self) -> None:
        self.writers: set[Any] = set()
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard  # Twisted's names

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **named: None


class Line:
    """One connection of a Daphne, its `send` as an application has it, and the peer's end."""

    def __init__(self, listener: socket.socket, protocol: type[WebSocketProtocol], offers: str, options: dict[str, Any]) -> None:
        self.peer = socket.create_connection(listener.getsockname())
        ours, address = listener.accept()
        for each in (self.peer, ours):
            each.setblocking(False)
        self.server = Server(self._application, endpoints=["tcp:0"])
        self.server.connections = {}
        factory = WebSocketFactory(self.server)
        factory.protocol = protocol
        factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0, **options)
        self.protocol = factory.buildProtocol(IPv4Address("TCP", *address))
        self.protocol._raw_query_string = b""
        self.reactor = Reactor()
        self.transport = tcp.Server(ours, self.protocol, address, None, 1, self.reactor)  # type: ignore[arg-type]
        self.protocol.makeConnection(self.transport)
        self.offers = offers

    async def open(self) -> None:
        extensions = [f"Sec-WebSocket-Extensions: {self.offers}"] if self.offers else []
        lines = ["GET / HTTP/1.1", "Host: test", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        self.protocol.dataReceived("\r\n".join([*lines, key, *extensions, "", ""]).encode())
        self.is_accepted = asyncio.Event()
        await self.is_accepted.wait()
        self.answer = self.read()
        self.write = direct.writer(self.send)
        self.ended: list[int] = []
        self.socket = Socket(
            Identity(1, "1", ""),
            "key",
            send=lambda text: self.send({"type": "websocket.send", "text": text}),
            end=lambda code, reason, after: self.ended.append(code),
            transport=Transport(self.send),
            write=self.write,
        )

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        self.send = send
        await send({"type": "websocket.accept"})
        self.is_accepted.set()
        await asyncio.Event().wait()

    def turn(self) -> None:
        """Let the reactor write once."""
        for writer in list(self.reactor.writers):
            result = writer.doWrite()
            if isinstance(result, Exception):
                writer.connectionLost(Failure(result))

    def read(self) -> bytes:
        """What the server writes until it has nothing left, as the peer gets it."""
        pieces: list[bytes] = []
        with contextlib.suppress(ConnectionError):
            while True:
                self.turn()
                has_news, _, _ = select.select([self.peer], [], [], 1 if self.reactor.writers else 0.01)
                if not has_news or not (piece := self.peer.recv(2**20)):
                    break
                pieces.append(piece)
        return b"".join(pieces)

    def fill(self) -> int:
        """Stuff the kernel's buffers as full as they get. How much it took."""
        size = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                size += self.transport.socket.send(b"\0" * 4096)
        return size

    async def close(self) -> None:
        task = self.server.connections[self.protocol]["application_instance"]
        task.cancel()
        await asyncio.wait({task})
        if self.transport.connected:
            self.transport.connectionLost(Failure(main.CONNECTION_DONE))
        self.peer.close()


Open = Callable[..., Any]


@pytest.fixture
async def lines(settings) -> AsyncIterator[Open]:
    """`await lines()`: an open connection, where the site asks for direct writes."""
    settings.NOTIFICATIONS_DIRECT_WRITES = True
    opened: list[Line] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            listener.setsockopt(socket.SOL_SOCKET, buffer, SMALL_BUFFER)

        async def open_one(protocol: type[WebSocketProtocol] = WebSocketProtocol, *, offers: str = "", **options: Any) -> Line:
            opened.append(Line(listener, protocol, offers, options))
            await opened[-1].open()
            return opened[-1]

        yield open_one
        for line in opened:
            await line.close()


@pytest.mark.parametrize("size", [1, 2, 125, 126, 127, 255, 256, 65535, 65536, 70000])
def test_a_frame_has_the_header_of_its_length(size):
    assert direct._framed(b"x" * size) == plain(b"x" * size)


@pytest.mark.parametrize("text", ["x", "x" * 125, "x" * 126, "x" * 65535, "x" * 65536, "ß→😀" * 7000, "é" * 63, '"\u2028"'])
async def test_what_is_written_directly_is_what_daphne_would_have_written(lines, text):
    line = await lines()
    await line.send({"type": "websocket.send", "text": text})
    daphnes = line.read()
    assert line.write(text)
    assert line.read() == daphnes == plain(text)


async def test_a_frame_is_with_the_kernel_before_the_reactor_has_its_turn(lines):
    line = await lines()
    line.socket.push("at once")
    assert not line.reactor.writers
    assert line.peer.recv(100) == plain("at once")


async def test_frames_of_both_ways_and_pings_and_pongs_keep_their_order(lines):
    line = await lines()
    expected = b""
    for number in range(40):
        line.socket.push(f"direct {number}")
        await line.send({"type": "websocket.send", "text": f"ordinary {number}"})
        line.protocol.sendPing(b"daphne's")
        line.socket.push(f"behind them {number}")
        line.protocol.dataReceived(frame(b"peer's", PING))
        expected += plain(f"direct {number}") + plain(f"ordinary {number}") + plain("daphne's", PING)
        expected += plain(f"behind them {number}") + plain("peer's", PONG)
        if number % 3 == 0:
            line.turn()
    assert line.read() == expected


async def test_of_what_the_kernel_does_not_take_nothing_is_lost_or_doubled(lines):
    line = await lines()
    line.socket.push(LARGE)
    assert 0 < line.socket._transport.unsent() < len(plain(LARGE))  # the premise: a part of it is out
    line.socket.push("behind it")
    line.protocol.dataReceived(frame(b"peer's", PING))
    begun = line.peer.recv(2**16)
    line.socket.push("while there is room again, and much waits")
    await line.send({"type": "websocket.send", "text": "ordinary"})
    line.turn()
    line.socket.push(LARGE)
    first = plain(LARGE) + plain("behind it") + plain("peer's", PONG)
    second = plain("while there is room again, and much waits") + plain("ordinary") + plain(LARGE)
    assert begun + line.read() == first + second


async def test_a_frame_does_not_overtake_what_the_reactor_is_half_through_with(lines):
    line = await lines()
    line.socket.push(LARGE)
    line.turn()
    assert not line.transport._tempDataLen  # the premise: all that waits is in Twisted's other buffer
    begun = b""
    while not select.select([], [line.transport], [], 0.01)[1]:
        begun += line.peer.recv(2**16)
    line.socket.push("behind it")
    assert begun + line.read() == plain(LARGE) + plain("behind it")


async def test_a_frame_waits_where_the_kernel_takes_nothing(lines):
    line = await lines()
    filled = line.fill()
    line.socket.push("later")
    assert line.socket._transport.unsent() == len(plain("later"))
    assert line.read() == b"\0" * filled + plain("later")


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_meanwhile_the_peer_gets_every_byte_once_and_in_order(lines, seed):
    line, chance = await lines(), random.Random(seed)
    expected = heard = b""
    for number in range(300):
        text = f"{number}" + "ß" * chance.choice([0, 60, 62, 63, 3000, 32767, 32768, 60000])
        match chance.choice(["push", "push", "push", "send", "ping", "pong", "turn", "turn", "read", "read"]):
            case "push":
                line.socket.push(text)
                expected += plain(text)
            case "send":
                await line.send({"type": "websocket.send", "text": text})
                expected += plain(text)
            case "ping":
                line.protocol.sendPing(b"daphne's")
                expected += plain("daphne's", PING)
            case "pong":
                line.protocol.dataReceived(frame(b"peer's", PING))
                expected += plain("peer's", PONG)
            case "turn":
                line.turn()
            case "read":
                with contextlib.suppress(BlockingIOError):
                    heard += line.peer.recv(chance.choice([1, 100, 70000, 300_000]))
    await line.send({"type": "websocket.close", "code": 4012})
    line.socket.push("after")
    assert heard + line.read() == expected + plain(struct.pack("!H", 4012), CLOSE)


async def test_what_waits_for_a_peer_that_does_not_read_ends_it(lines):
    line = await lines()
    line.socket.push(LARGE)
    line.socket.check_line(line.socket.last_heard + 1)
    assert line.ended == [4008]


async def test_a_frame_does_not_overtake_what_autobahn_holds_back(lines):
    line = await lines()
    first, second = plain("chopped up"), plain("synchronous")
    line.protocol.sendData(first, chopsize=3)
    line.protocol.sendData(second, sync=True)
    line.read()  # the first piece of it
    assert line.protocol.send_queue  # the premise
    assert not line.write("behind it")
    line.socket.push("behind it")
    while line.protocol.send_queue:
        line.protocol._send()
    assert line.read() == (first + second + plain("behind it"))[3:]


async def test_nothing_comes_behind_the_close_frame(lines):
    line = await lines()
    line.socket.push("before")
    await line.send({"type": "websocket.close", "code": 4012})
    line.socket.push("after")
    assert not line.write("after")
    assert line.read() == plain("before") + plain(struct.pack("!H", 4012), CLOSE)


async def test_nothing_comes_behind_the_answer_to_the_peers_close_frame(lines):
    line = await lines()
    line.protocol.dataReceived(frame(struct.pack("!H", 1000), CLOSE))
    line.socket.push("after")
    assert line.read() == plain(struct.pack("!H", 1000), CLOSE)


async def test_a_line_that_is_being_dropped_is_left_to_twisted(lines):
    line = await lines()
    line.transport.loseConnection()
    assert not line.write("too late")
    line.transport.disconnecting, line.transport.connected = 0, 0
    assert not line.write("too late")
    line.transport.connected = 1


async def test_a_lost_line_takes_nothing_and_raises_nothing(lines):
    line = await lines()
    line.transport.connectionLost(Failure(main.CONNECTION_LOST))
    assert not line.write("too late")
    line.socket.push("too late")


async def test_a_reset_line_raises_nothing_and_the_reactor_finds_out(lines):
    line = await lines()
    line.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.peer.close()
    assert not line.write("to nobody")
    line.socket.push("to nobody")
    line.turn()
    assert line.protocol.state == line.protocol.STATE_CLOSED
    line.socket.push("to nobody")


# --- what goes the ordinary way ---


async def test_off_by_default(lines, settings):
    del settings.NOTIFICATIONS_DIRECT_WRITES
    line = await lines()
    assert line.write is None
    line.socket.push("ordinary")
    assert line.reactor.writers
    assert line.read() == plain("ordinary")


async def test_daphne_agrees_to_no_compression(lines):
    line = await lines(offers="permessage-deflate")
    assert b"sec-websocket-extensions" not in line.answer.lower()
    assert line.write("as it is")
    assert line.read() == plain("as it is")


async def test_a_compressed_line_goes_the_ordinary_way(lines):
    line = await lines(
        offers="permessage-deflate", perMessageCompressionAccept=lambda offers: PerMessageDeflateOfferAccept(offers[0])
    )
    assert b"permessage-deflate" in line.answer
    line.socket.push("repeated " * 10)
    first, _, *payload = line.read()
    assert first == 0xC1  # RSV1: compressed
    assert zlib.decompressobj(-15).decompress(bytes(payload) + b"\0\0\xff\xff").decode() == "repeated " * 10


async def test_a_line_that_has_turned_to_tls_carries_nothing_in_the_clear(lines):
    line = await lines()
    line.transport.startTLS(ssl.CertificateOptions(), normal=True)  # type: ignore[no-untyped-call]
    assert not line.write("secret")
    assert line.read() == b""


class Derived(WebSocketProtocol):  # type: ignore[misc]
    pass


class DerivedTransport(tcp.Server):
    pass


@pytest.fixture
def told(caplog, monkeypatch) -> Callable[[], list[int]]:
    """The levels at which it was told that direct writes are not to be had."""
    monkeypatch.setattr(logs, "_last", {})
    return lambda: [each.levelno for each in caplog.records if each.getMessage().startswith("direct_writes_unavailable")]


@pytest.mark.parametrize("options", [{"protocol": Derived}, {"autoFragmentSize": 8}, {"maskServerFrames": True}])
async def test_any_other_protocol_goes_the_ordinary_way_and_is_told_once(lines, told, options):
    line, other = await lines(**options), await lines(**options)
    assert line.write is other.write is None
    assert told() == [logging.WARNING]
    line.socket.push("a longer text")
    await other.send({"type": "websocket.send", "text": "a longer text"})
    assert len(line.read()) == len(other.read()) > len("a longer text")


@pytest.mark.parametrize("kind", [TLSMemoryBIOProtocol, unix.Server, DerivedTransport])
async def test_any_other_transport_goes_the_ordinary_way_and_is_told_once(lines, told, kind):
    line = await lines()
    line.protocol.transport = kind.__new__(kind)
    assert direct.writer(line.send) is direct.writer(line.send) is None
    assert told() == [logging.WARNING]


async def test_a_fragmented_message_stays_whole(lines):
    line = await lines(autoFragmentSize=8)
    line.socket.push("a longer text")
    assert line.read() == frame("a longer", masked=False, fin=False) + frame(" text", 0, masked=False)


@pytest.fixture
def other_releases(monkeypatch) -> Iterator[Callable[[str], None]]:
    """`other_releases(package)`: what was tested were others of it."""

    def change(name: str) -> None:
        monkeypatch.setitem(direct.TESTED, name, ("0.",))
        direct._is_tested.cache_clear()

    yield change
    direct._is_tested.cache_clear()


@pytest.mark.parametrize("name", [*direct.TESTED, "not-installed"])
async def test_an_untested_release_goes_the_ordinary_way(lines, told, other_releases, name):
    assert (await lines()).write is not None
    other_releases(name)
    line = await lines()
    assert line.write is None
    assert told() == [logging.WARNING]
    line.socket.push("ordinary")
    assert line.read() == plain("ordinary")


@pytest.mark.parametrize("loaded", ["daphne.ws_protocol", "twisted.internet.tcp"])
async def test_where_no_daphne_serves_nothing_of_it_is_loaded_for_this(lines, monkeypatch, loaded):
    line = await lines()
    monkeypatch.delitem(direct.sys.modules, loaded)  # type: ignore[attr-defined]
    assert direct.writer(line.send) is None


@pytest.mark.parametrize(
    "wrap",
    [lambda send: partial(asyncio.wait_for, send), lambda send: send.func, lambda send: partial(send.func), lambda send: None],
)
async def test_behind_a_wrapped_send_is_nothing_to_write_to(lines, wrap):
    line = await lines()
    assert direct.writer(wrap(line.send)) is None
