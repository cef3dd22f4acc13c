"""Direct writes in real servers: the same bytes in the same order as without, whatever the peer does; elsewhere all goes as ever.

Daphne and uvicorn import this module too, for the applications at its beginning.
"""

import asyncio
import contextlib
import datetime as dt
import json
import logging
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from asgiref.sync import sync_to_async
from daphne.ws_protocol import WebSocketProtocol
from django.apps import apps

if not apps.ready:
    django.setup()

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from notifications import direct, stream
from notifications.models import Event
from notifications.relay import relay
from notifications.session import Identity
from notifications.signals import socket_closed
from notifications.sockets import Socket
from notifications.transports import Transport
from tests.servers import AsgiProcess, daphne_process, free_port, uvicorn_process
from tests.site.asgi import application as site_application
from tests.site.client import Page
from tests.site.people import eventually, tell, users_with_sessions
from tests.site.raw import CLOSE, PING, PONG, TEXT, RawSocket, frame
from tests.site.sockets import whatever_the_database

pytestmark = whatever_the_database

HERE = "tests.integration.test_direct"
logger = logging.getLogger(__name__)
ON = {"DIRECT_WRITES": "1"}
OFF = {"DIRECT_WRITES": None}

# --- applications for the server processes ---


def text(number: int, size: int) -> str:
    """A text of that many bytes, many of which are no ASCII, and which says its number where there is room for that."""
    head = f"{number}:"[:size]
    left = size - len(head)
    return head + "ß" * (left // 2) + "." * (left % 2)


async def pushing(scope: Any, receive: Any, send: Any) -> None:
    """Takes the steps that the first message asks for, `{"direct": true, "steps": [["push", 125], ["ping"]]}`."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    wanted = json.loads((await receive())["text"])
    pusher = Pusher(send, directly=wanted["direct"])
    for number, (name, *values) in enumerate(wanted["steps"]):
        await getattr(pusher, name)(number, *values)
    while (await receive())["type"] != "websocket.disconnect":
        pass


class Pusher:
    """Sends through a `Socket` as the hub does, and beside it as a consumer and Daphne do."""

    def __init__(self, asgi: Any, *, directly: bool) -> None:
        self.asgi = asgi
        self.transport = Transport(asgi)
        write = direct.writer(asgi)
        assert write is not None
        write = write if directly else None
        self.socket = Socket(Identity(1, "1", ""), "", send=self._say, end=self._end, transport=self.transport, write=write)

    async def push(self, number: int, size: int) -> None:
        self.socket.push(text(number, size))

    async def send(self, number: int, size: int) -> None:
        await self._say(text(number, size))

    async def ping(self, number: int) -> None:
        self.asgi.args[0].sendPing(str(number).encode())

    async def turn(self, number: int, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def block(self, number: int, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - the reactor shall hear of nothing meanwhile
        logger.warning("unheard")

    async def note(self, number: int) -> None:
        logger.warning("got through")

    async def unsent(self, number: int) -> None:
        self.socket.push(f"unsent {self.transport.unsent()}")

    async def check(self, number: int) -> None:
        self.socket.check_line(time.monotonic())

    async def close(self, number: int) -> None:
        await self.asgi({"type": "websocket.close", "code": 4012})

    async def _say(self, frame: str) -> None:
        await self.asgi({"type": "websocket.send", "text": frame})

    def _end(self, code: int, reason: str, after: float | None) -> None:
        logger.warning("ended by %s at %s", code, self.transport.unsent())


async def witnessed(scope: Any, receive: Any, send: Any) -> None:
    """The test site, whose log says which way each frame went and why a socket was closed, and which waits less for acks."""
    if not witnesses:
        witnesses.extend((WebSocketProtocol.serverSend, direct._framed))
        WebSocketProtocol.serverSend, direct._framed = _serve, _frame
        socket_closed.connect(_tell_code)
        stream.WINDOW_SECONDS = 3.0  # type: ignore[misc]  # the tests cannot wait for 30
    await site_application(scope, receive, send)


witnesses: list[Any] = []
"""What is called in the end."""


def _serve(self: Any, content: str, binary: bool = False) -> None:
    logger.warning("ordinary: %s", content[:20])
    witnesses[0](self, content, binary)


def _frame(payload: bytes) -> Any:
    logger.warning("direct: %s", payload[:20].decode(errors="replace"))
    return witnesses[1](payload)


def _tell_code(code: int, **_: Any) -> None:
    logger.warning("closed with %s", code)


async def wrapped(scope: Any, receive: Any, send: Any) -> None:
    async def forward(message: Any) -> None:
        await send(message)

    await site_application(scope, receive, forward)


# --- the same bytes ---


@pytest.fixture(scope="module")
def pusher() -> Iterator[AsgiProcess]:
    with daphne_process(ON, application=f"{HERE}:pushing") as site:
        yield site
        assert "Traceback" not in site.log, site.log[-3000:]


class Peer(RawSocket):
    """Reads bytes, not frames."""

    def __init__(self, site: AsgiProcess, **options: Any) -> None:
        super().__init__(site, None, **options)

    async def ask(self, steps: list[Any], *, directly: bool = True) -> None:
        await self.send(frame(json.dumps({"direct": directly, "steps": steps})))

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(20):
            return await self.reader.readexactly(size)


def wire(steps: list[Any]) -> bytes:
    """What a server has to write for these steps."""
    pieces = []
    for number, (name, *values) in enumerate(steps):
        if name in ("push", "send"):
            pieces.append(frame(text(number, *values), masked=False))
        elif name == "ping":
            pieces.append(frame(f"{number}", PING, masked=False))
        elif name == "close":
            pieces.append(frame(struct.pack("!H", 4012), CLOSE, masked=False))
    return b"".join(pieces)


SIZES = [1, 125, 126, 127, 255, 65535, 65536, 60 * 1024, 2, 70000]
MIXED = [step for size in SIZES for step in (["push", size], ["send", size], ["push", 9], ["ping"], ["push", size], ["turn", 0])]


@pytest.mark.parametrize("steps", [[["push", size] for size in SIZES], MIXED], ids=["pushed", "mixed with others"])
async def test_the_bytes_are_those_that_daphne_would_have_sent(pusher, steps):
    expected = wire(steps)
    for directly in (True, False):
        async with Peer(pusher) as peer:
            await peer.ask(steps, directly=directly)
            assert await peer.read(len(expected)) == expected


async def early_in_a_second() -> None:
    """autobahn gives a peer until the end of the clock's second to answer its close frame, then it resets the line."""
    await asyncio.sleep(-time.monotonic() % 1)


@pytest.mark.parametrize("directly", [True, False])
async def test_the_close_frame_is_the_last(pusher, directly):
    steps = [["push", 9], ["send", 9], ["push", 60000], ["close"]]
    async with Peer(pusher) as peer:
        await early_in_a_second()
        await peer.ask([*steps, ["push", 9], ["turn", 0], ["push", 9]], directly=directly)
        expected = wire(steps)
        assert await peer.read(len(expected)) == expected
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 0.2)


async def test_a_peer_that_reads_late_has_everything_once_and_in_order(pusher):
    """Megabytes, of which the kernel takes a part; and the answers to its pings come between whole frames."""
    burst = [["push", 60 * 1024], ["push", 20], ["send", 5000], ["ping"], ["push", 126], ["turn", 0]]
    flood = [["push", 60 * 1024]] * 80  # until the kernel takes a part of one; before any pong
    steps = [*flood, ["turn", 0.3], *burst * 10, ["turn", 0.1], ["unsent"], *burst * 10, ["turn", 0.3], *burst * 10]
    async with Peer(pusher, receive_buffer=4096) as peer:
        peer.writer.transport.pause_reading()
        await peer.ask(steps)
        pongs = 30
        for number in range(pongs):
            await peer.send(frame(f"mine {number}", PING))
            await asyncio.sleep(0.02)
        peer.writer.transport.resume_reading()
        expected = [
            (TEXT, text(number, *rest).encode()) for number, (name, *rest) in enumerate(steps) if name in ("push", "send")
        ]
        own = [(PING, str(number).encode()) for number, (name, *_) in enumerate(steps) if name == "ping"]
        heard: list[tuple[int, bytes]] = []
        async with asyncio.timeout(30):
            while len(heard) < len(expected) + len(own) + pongs + 1:
                received = await peer.receive()
                assert received is not None
                heard.append(tuple(received))
    unsent = next(payload for _, payload in heard if payload.startswith(b"unsent"))
    assert int(unsent.split()[1]) > 1024 * 1024  # the premise: it waited in the server
    assert [each for each in heard if each[0] == TEXT and each[1] != unsent] == expected
    assert [each for each in heard if each[0] == PING] == own
    assert [each for each in heard if each[0] == PONG] == [(PONG, f"mine {number}".encode()) for number in range(pongs)]


async def test_what_waits_for_a_peer_is_seen_and_ends_it(pusher):
    async with Peer(pusher, receive_buffer=4096) as peer:
        peer.writer.transport.pause_reading()
        await peer.ask([*[["push", 60 * 1024]] * 100, ["check"]])
        await eventually(lambda: "ended by" in pusher.log)
    ((code, unsent),) = re.findall(r"ended by (\d+) at (\d+)", pusher.log)
    assert int(code) == 4008
    assert int(unsent) > 1024 * 1024


async def test_a_peer_that_resets_amid_frames_harms_nobody(pusher):
    many = [step for _ in range(200) for step in (["push", 5000], ["send", 50], ["turn", 0])]
    async with Peer(pusher) as other:
        await other.ask([["turn", 0.01] if name == "turn" else [name, *values] for name, *values in many])
        for size in (1, 5000, 50000, 400_000):
            peer = Peer(pusher, receive_buffer=4096)
            await peer.connect()
            await peer.ask(many)
            await peer.read(size)
            peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await peer.disconnect()
        expected = wire(many)
        assert await other.read(len(expected)) == expected
    assert "Traceback" not in pusher.log


async def test_a_reset_that_the_reactor_has_not_heard_of_raises_nothing(pusher):
    async with Peer(pusher) as peer:
        await peer.ask([["push", 9], ["block", 0.2], ["push", 9], ["push", 60000], ["note"]])
        await peer.read(len(wire([["push", 9]])))
        assert "unheard" not in pusher.log  # the premise: the reset comes before
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await eventually(lambda: "unheard" in pusher.log)
    await eventually(lambda: "got through" in pusher.log, 2)


async def test_two_hundred_sockets_at_once_each_have_their_own(pusher):
    async def one(number: int) -> None:
        sizes = [1 + number * 37 % 3000, 126, 65536, 3]
        steps = [["turn", 0.2], *[step for size in sizes * 3 for step in (["push", size], ["send", 9], ["turn", 0])]]
        expected = wire(steps)
        async with gate:
            await peers[number].connect()
        await peers[number].ask(steps)
        assert await peers[number].read(len(expected)) == expected

    gate = asyncio.Semaphore(50)
    peers = [Peer(pusher) for _ in range(200)]
    await asyncio.gather(*(one(number) for number in range(200)))
    for peer in peers:
        await peer.disconnect()


# --- the site ---


@pytest.fixture(scope="module")
def direct_site(database_url: str, shared_layer: str) -> Iterator[AsgiProcess]:
    env = {"DATABASE_URL": database_url, "REDIS_URL": shared_layer, **ON}
    with daphne_process(env, application=f"{HERE}:witnessed") as site:
        yield site
        assert "Traceback" not in site.log
        assert "direct_writes_unavailable" not in site.log


def ways(site: AsgiProcess, since: int = 0) -> set[tuple[str, str]]:
    """Which kinds of frames went which way."""
    return set(re.findall(r'(direct|ordinary): \{"type":"(\w+)"', site.log[since:]))


@pytest.mark.django_db(transaction=True)
async def test_a_page_gets_everything_and_all_of_it_directly(direct_site, mina, mina_session):
    titles = [f"n{number} ß→😀" for number in range(60)]
    async with Page(direct_site, mina_session) as page:
        await page.until(lambda page: page.position)
        for start in range(0, 60, 6):
            await tell(mina, *titles[start : start + 6])
            await page.send(type="seen", upto=start, ref=f"seen {start}")
            await page.send_frame('{"type": "read"}') if start == 30 else None
            await page.answer(f"seen {start}")
        await page.until(lambda page: len(page.arrived) == 60)
        assert page.arrived == titles
        assert page.unread == 60
        assert page.kinds("error")
    assert ways(direct_site) == {("direct", kind) for kind in ("welcome", "reset", "delta", "done", "error")}


@pytest.mark.django_db(transaction=True)
async def test_a_bye_and_the_close_frame_come_last(direct_site, mina, mina_session):
    async with RawSocket(direct_site, mina_session) as peer:
        await early_in_a_second()
        await peer.send(frame('{"type": "hello"}'), *[frame("nonsense")] * 3)
        heard = []
        async with asyncio.timeout(10):
            while not heard or heard[-1].opcode != CLOSE:
                heard.append(received := await peer.receive())
                assert received is not None
    kinds = [json.loads(each.payload)["type"] for each in heard if each.opcode == TEXT]
    assert [kind for kind in kinds if kind != "reset"] == ["welcome", "error", "error", "error", "bye"]
    assert kinds[-1] == "bye"
    assert heard[-1].code == json.loads(heard[-2].payload)["code"] == 4400


@pytest.mark.django_db(transaction=True)
async def test_pages_of_many_users_get_their_own(direct_site, transactional_db):
    users = await sync_to_async(users_with_sessions)(20)
    pages = [Page(direct_site, session) for _, session in users for _ in range(3)]
    await asyncio.gather(*(page.connect() for page in pages))
    await asyncio.gather(*(page.until(lambda page: page.position) for page in pages))
    for number in range(5):
        for user, _ in users:
            await tell(user, f"{user.username} {number}")
    expected = [[f"{user.username} {number}" for number in range(5)] for user, _ in users for _ in range(3)]
    await asyncio.gather(*(page.until(lambda page: len(page.arrived) == 5) for page in pages))
    assert [page.arrived for page in pages] == expected
    await asyncio.gather(*(page.disconnect() for page in pages))


@pytest.mark.django_db(transaction=True)
async def test_a_page_that_acknowledges_nothing_gets_a_window(direct_site, mina, mina_session):
    since = len(direct_site.log)
    async with Page(direct_site, mina_session) as page:
        await page.until(lambda page: page.position)
        page.acks = False
        for start in range(0, 200, 20):
            await tell(mina, *[f"n{number}" for number in range(start, start + 20)])
            await page.send(type="seen", upto=0, ref=f"{start}")
            await page.answer(f"{start}")
        assert stream.WINDOW_STEPS <= sum(len(delta["items"]) for delta in page.kinds("delta")) < 2 * stream.WINDOW_STEPS
        await page.acknowledge()
        await page.until(lambda page: len(page.arrived) == 200)
        assert page.arrived == [f"n{number}" for number in range(200)]
    assert {way for way, _ in ways(direct_site, since)} == {"direct"}


def megabytes(site: AsgiProcess) -> float:
    """What the server process holds in memory."""
    held = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{site.pid}/status").read_text())
    assert held is not None
    return int(held[1]) / 1024


def tell_at_length(user: Any, count: int) -> None:
    audience = {"users": [user.pk], "groups": []}
    contents = [{"severity": "info", "title": f"n{number}", "body": "x" * 7000} for number in range(count)]
    Event.objects.bulk_create(Event(kind="plain", content=content, audience=audience) for content in contents)
    relay()


@pytest.mark.django_db(transaction=True)
async def test_a_page_that_asks_and_does_not_read_is_closed_and_the_server_does_not_grow(direct_site, mina, mina_session):
    await sync_to_async(tell_at_length)(mina, 60)
    before = largest = megabytes(direct_site)
    since = len(direct_site.log)
    async with RawSocket(direct_site, mina_session, receive_buffer=4096) as peer:
        peer.writer.transport.pause_reading()
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while "closed with 4008" not in direct_site.log[since:] and time.monotonic() - started < 15:
                await peer.send(frame('{"type": "hello"}'))
                await asyncio.sleep(0.14)  # seven commands a second; ten are allowed
                largest = max(largest, megabytes(direct_site))
    assert "closed with 4008" in direct_site.log[since:]
    assert ways(direct_site, since) >= {("direct", "welcome"), ("direct", "reset")}
    assert largest - before < 40


# --- where it is off, or cannot be ---


async def all_arrives(site: Any, user: Any, session: str, **options: Any) -> None:
    """To two pages at once, in order; one of them is closed with a bye."""
    pages = [Page(site, session), Page(site, session)]
    for page in pages:
        await page.connect(**options)
        await page.until(lambda page: page.position)
    for number in range(8):
        await tell(user, f"n{number} ß→😀")
    for page in pages:
        await page.until(lambda page: len(page.arrived) == 8)
        assert page.arrived == [f"n{number} ß→😀" for number in range(8)]
    await pages[0].send_frame(*["nonsense"] * 3)
    assert await pages[0].until_closed() == 4400
    assert pages[0].bye is not None
    for page in pages:
        await page.disconnect()


@pytest.mark.django_db(transaction=True)
async def test_off_by_default_nothing_of_it_is_used(start_site, mina, mina_session):
    with start_site(OFF, application=f"{HERE}:witnessed") as site:
        await all_arrives(site, mina, mina_session)
        assert ways(site) == {("ordinary", kind) for kind in ("welcome", "reset", "delta", "error", "bye")}
        assert "direct_writes_unavailable" not in site.log


@pytest.mark.parametrize(
    ("server", "application"),
    [
        pytest.param(uvicorn_process, "tests.site.asgi:application", id="uvicorn"),
        pytest.param(daphne_process, f"{HERE}:wrapped", id="a wrapped send"),
    ],
)
@pytest.mark.django_db(transaction=True)
async def test_elsewhere_all_arrives_and_it_is_told_once(start_site, mina, mina_session, server, application):
    with start_site(ON, server=server, application=application) as site:
        await all_arrives(site, mina, mina_session)
        assert site.log.count("direct_writes_unavailable") == 1
        assert "Traceback" not in site.log


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed one and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(*plain))
    return paths


class Encrypted:
    """A site's address over TLS."""

    def __init__(self, port: int) -> None:
        self.websocket_url = f"wss://127.0.0.1:{port}"


@pytest.mark.django_db(transaction=True)
async def test_over_tls_all_arrives_and_it_is_told_once(start_site, mina, mina_session, certificate):
    port, trusting = free_port(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    endpoint = f"ssl:{port}:certKey={certificate[0]}:privateKey={certificate[1]}:interface=127.0.0.1"
    with start_site(ON, options=("-e", endpoint), application=f"{HERE}:witnessed") as site:
        await all_arrives(Encrypted(port), mina, mina_session, ssl=trusting)
        assert len(re.findall(r"direct_writes_unavailable transport=\w*TLS", site.log)) == 1
        assert {way for way, _ in ways(site)} == {"ordinary"}
        since = len(site.log)
        async with Page(site, mina_session) as page:  # beside it in the clear
            await page.until(lambda page: page.position)
        assert {way for way, _ in ways(site, since)} == {"direct"}
