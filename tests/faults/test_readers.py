"""Pages that do not read what they are sent, and too many of them: the server holds or closes them, and does not grow."""

import asyncio
import contextlib
import itertools
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from notifications.models import Event
from notifications.relay import relay
from tests.faults.conftest import Figures
from tests.servers import AsgiProcess
from tests.site.client import Page
from tests.site.people import eventually
from tests.site.raw import CLOSE, PING, TEXT, RawSocket, frame
from tests.site.sockets import whatever_the_database

pytestmark = [pytest.mark.django_db(transaction=True), whatever_the_database]

BODY = "x" * 7000
SMALL_WINDOW = 4096  # bytes that the kernel takes for a peer that does not read
GROWTH = 40.0


def megabytes(site: AsgiProcess) -> float:
    """What the server process holds in memory."""
    held = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{site.pid}/status").read_text())
    assert held is not None
    return int(held[1]) / 1024


def tell_at_length(user: User, start: int, end: int) -> None:
    audience = {"users": [user.pk], "groups": []}
    contents = [{"severity": "info", "title": f"n{number}", "body": BODY} for number in range(start, end)]
    Event.objects.bulk_create(Event(kind="plain", content=content, audience=audience) for content in contents)
    relay()


async def silent(peer: RawSocket) -> None:
    """Say hello and nothing more."""
    await peer.send(frame('{"type": "hello"}'))


async def chatty(peer: RawSocket) -> None:
    """Say hello, again and again, commands and heartbeats: as much as the limits let through."""
    for number in itertools.count():
        await peer.send(frame('{"type": "hello"}'), frame('{"type": "heartbeat"}'))
        await peer.send(frame(json.dumps({"type": "seen", "upto": 0, "ref": f"{number:064}"})))
        await asyncio.sleep(0.5)  # six commands a second; ten are allowed


async def pinging(peer: RawSocket) -> None:
    """Ask for pongs at half the rate that ends a socket."""
    await peer.send(frame('{"type": "hello"}'))
    while True:
        await peer.send(*[frame(b"?" * 120, PING)] * 30)
        await asyncio.sleep(1)


FULL = [pytest.mark.long, pytest.mark.timeout(240)]
CASES = [
    pytest.param("live_site", chatty, 5, 100, 2, id="a few chatty, Daphne"),
    pytest.param("uvicorn_site", silent, 5, 100, 2, id="a few silent, uvicorn"),
    pytest.param("live_site", silent, 20, 600, 34, id="silent, Daphne", marks=FULL),  # until 4008 has ended them
    pytest.param("live_site", chatty, 20, 600, 20, id="chatty, Daphne", marks=FULL),
    pytest.param("live_site", pinging, 20, 600, 20, id="pinging, Daphne", marks=FULL),
    pytest.param("uvicorn_site", chatty, 20, 600, 20, id="chatty, uvicorn", marks=FULL),
    pytest.param("uvicorn_site", pinging, 20, 600, 20, id="pinging, uvicorn", marks=FULL),
]


@contextlib.asynccontextmanager
async def behaving(
    site: AsgiProcess, session: str, count: int, manner: Callable[[RawSocket], Awaitable[None]]
) -> AsyncIterator[list[RawSocket]]:
    peers = [RawSocket(site, session, receive_buffer=SMALL_WINDOW) for _ in range(count)]
    await asyncio.gather(*(peer.connect() for peer in peers))
    for peer in peers:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def behave(peer: RawSocket) -> None:
        with contextlib.suppress(ConnectionError):  # the server has had enough
            await manner(peer)

    tasks = [asyncio.create_task(behave(peer)) for peer in peers]
    try:
        yield peers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in peers:
            await peer.disconnect()


@pytest.mark.parametrize(("server", "manner", "count", "news", "seconds"), CASES)
async def test_pages_that_do_not_read_make_the_server_no_larger(
    request, mina, mina_session, teo, teo_session, server, manner, count, news, seconds, figures: Figures
):
    site: AsgiProcess = request.getfixturevalue(server)
    honest = Page(site, mina_session)
    await honest.connect()
    await honest.until(lambda page: page.position)
    await honest.disconnect()
    before = largest = megabytes(site)
    async with Page(site, teo_session) as other, behaving(site, mina_session, count, manner):
        await other.until(lambda page: page.position)
        started = time.monotonic()
        for start in range(0, news, 50):
            await sync_to_async(tell_at_length)(mina, start, start + 50)
            largest = max(largest, megabytes(site))
        while time.monotonic() - started < seconds:
            largest = max(largest, megabytes(site))
            await asyncio.sleep(0.2)  # between two looks at its size
        assert other.close_code is None
        figures.at_most("growth", largest - before, GROWTH, "MB")
    await eventually(lambda: not Event.objects.filter(pending=True).exists())
    for _ in range(50):  # the server hears of their leaving a moment later
        await honest.connect()
        await honest.until(lambda page: page.position or page.close_code)
        if honest.close_code is None:
            break
        await honest.disconnect()
    await honest.until(lambda page: len(page.items) == news, 30)
    lost = {f"n{number}" for number in range(news)} - set(honest.titles)
    figures.none("not shown after an honest return", lost)
    await honest.disconnect()
    assert "Traceback" not in site.log


@pytest.mark.timeout(60)
@pytest.mark.parametrize("server", ["live_site", "uvicorn_site"])
@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.long)])
async def test_hundreds_of_sockets_of_one_user_leave_room_for_others(
    request, mina, mina_session, teo, teo_session, server, count, figures: Figures
):
    site: AsgiProcess = request.getfixturevalue(server)
    gate = asyncio.Semaphore(50)  # handshakes under way; RFC 6455 lets a client have one
    open_peers: list[RawSocket] = []
    codes: list[Any] = []

    async def one() -> None:
        async with gate:
            peer = RawSocket(site, mina_session)
            await peer.connect()
            open_peers.append(peer)
            await peer.send(frame('{"type": "hello"}'))
            while (received := await peer.receive()) is not None and received.opcode != CLOSE:
                if received.opcode == TEXT and b'"welcome"' in received.payload:
                    return
            codes.append(None if received is None else received.code)

    async def others() -> list[float]:
        waits: list[float] = []
        while not storm.done() or not waits:
            started = time.monotonic()
            async with Page(site, teo_session) as page:
                await page.until(lambda page: page.position)
                waits.append(time.monotonic() - started)
        return waits

    storm = asyncio.gather(*(one() for _ in range(count)))
    waits = await others()
    await storm
    for peer in open_peers:
        await peer.disconnect()
    figures.at_most("sockets of one user", count - len(codes), 20, "")
    figures.at_least("sockets of one user", count - len(codes), 20)
    assert set(codes) == {4029}
    figures.at_most("another user connects", max(waits), 1)
    assert "Traceback" not in site.log
