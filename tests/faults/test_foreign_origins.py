"""Every foreign page is refused its socket, on both servers, however the consumer is mounted and though every host is allowed.

The site of the tests has `ALLOWED_HOSTS = ["*"]`. Handshakes are written byte by byte: no client sends what is sent here.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import AsgiProcess, daphne_process, uvicorn_process
from tests.site.client import Page
from tests.site.settings import ALLOWED_HOSTS
from tests.site.sockets import whatever_the_database

pytestmark = [pytest.mark.django_db(transaction=True), whatever_the_database]

AT_ONCE = 8
MOUNTED = {
    "live_application": "tests.site.asgi:application",
    "bare": "tests.site.bare_asgi:bare",
    "AuthMiddlewareStack": "tests.site.bare_asgi:with_auth",
}
SERVERS = {"daphne": daphne_process, "uvicorn": uvicorn_process}
QUICK = {("daphne", "bare"), ("uvicorn", "live_application")}
EVERY = [
    pytest.param((server, way), id=f"{server}, {way}", marks=[] if (server, way) in QUICK else [pytest.mark.long])
    for server in SERVERS
    for way in MOUNTED
]


def foreign(host: str, port: int) -> dict[str, list[bytes]]:
    """The lines that tell an origin, by what is wrong with it."""
    own = f"http://{host}:{port}"
    single = {
        "another scheme": f"ftp://{host}:{port}",
        "a socket's scheme": f"ws://{host}:{port}",
        "a file": "file://",
        "an extension": f"chrome-extension://{host}:{port}",
        "a script": "javascript:alert(1)",
        "another host": f"http://evil.example:{port}",
        "another name of the host": f"http://localhost:{port}",
        "a subdomain": f"http://a.{host}:{port}",
        "a longer name": f"http://{host}.evil.example:{port}",
        "a name that ends alike": f"http://evil{host}:{port}",
        "a trailing dot": f"http://{host}.:{port}",
        "the address as a number": f"http://2130706433:{port}",
        "the address in short": f"http://127.1:{port}",
        "another port": f"http://{host}:{port + 1}",
        "no port": f"http://{host}",
        "an empty port": f"http://{host}:",
        "a port beyond": f"http://{host}:{port}0000",
        "a port that is no number": f"{own}x",
        "a port with a sign": f"http://{host}:+{port}",
        "null": "null",
        "empty": "",
        "a star": "*",
        "a path": f"{own}/",
        "a query": f"{own}?",
        "a fragment": f"{own}#",
        "a user": f"http://user@{host}:{port}",
        "the own one as a user": f"{own}@evil.example",
        "a backslash": f"http://evil.example\\@{host}:{port}",
        "no scheme": f"{host}:{port}",
        "no scheme, slashes": f"//{host}:{port}",
        "half an IPv6 address": "http://[::1",
        "two in one": f"{own}, http://evil.example",
        "two, spaced": f"{own} http://evil.example",
    }
    lines = {name: [b"Origin: " + value.encode()] for name, value in single.items()}
    mine = b"Origin: " + own.encode()
    return lines | {
        "missing": [],
        "doubled": [mine, mine],
        "doubled, the other first": [b"Origin: http://evil.example", mine],
        "doubled, the other last": [mine, b"Origin: http://evil.example"],
        "doubled in two cases": [mine, mine.replace(b"Origin", b"oRIGIN")],
        "another header's": [b"Sec-WebSocket-Origin: " + own.encode()],
        "with an underscore": [b"X_Origin: " + own.encode()],
        "no ASCII": [b"Origin: http://\xc3\xb6" + host.encode()],
        "no text": [b"Origin: \xff\xfe"],
        "forwarded as the host's": [b"Origin: http://evil.example", b"X-Forwarded-Host: evil.example"],
        "forwarded as of TLS": [b"Origin: http://evil.example", b"X-Forwarded-Proto: https"],
        "endless": [b"Origin: http://" + b"a" * 6000],
    }


@pytest.fixture(params=EVERY)
def site(request: Any, database_url: str, shared_layer: str) -> Iterator[AsgiProcess]:
    server, way = request.param
    with SERVERS[server]({"DATABASE_URL": database_url, "REDIS_URL": shared_layer}, application=MOUNTED[way]) as process:
        yield process


async def status(site: AsgiProcess, session: str, lines: list[bytes]) -> int:
    """What the server answers to a handshake with these lines; 0 where it hangs up without a word."""
    head = [
        b"GET /notifications/socket/ HTTP/1.1",
        f"Host: 127.0.0.1:{site.port}".encode(),
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Cookie: sessionid={session}".encode(),
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    try:
        writer.write(b"\r\n".join([*head, *lines, b"", b""]))
        async with asyncio.timeout(10):
            answer = await reader.readline()
    finally:
        writer.transport.abort()
    return int(answer.split()[1]) if answer else 0


async def test_a_foreign_page_is_refused_its_socket(site, mina_session, figures):
    assert ALLOWED_HOSTS == ["*"]
    own = [f"Origin: http://127.0.0.1:{site.port}".encode()]
    assert await status(site, mina_session, own) == 101  # the premise
    turns = asyncio.Semaphore(AT_ONCE)

    async def refused(lines: list[bytes]) -> int:
        async with turns:
            return await status(site, mina_session, lines)

    attacks = foreign("127.0.0.1", site.port)
    answers = dict(zip(attacks, await asyncio.gather(*(refused(lines) for lines in attacks.values())), strict=True))
    figures.record("attacks", len(answers))
    figures.none("let in", [name for name, answer in answers.items() if answer == 101])
    others = {name: answer for name, answer in answers.items() if answer not in (400, 403)}  # 400: the server itself refuses it
    figures.none("answered otherwise than by 400 or 403", others)
    async with Page(site, mina_session) as page:  # and the site is as it was
        await page.until(lambda page: page.position)
    assert "Traceback" not in site.log
