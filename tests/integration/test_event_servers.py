"""Server-sent events from real servers: Daphne and uvicorn, each with what it does to a connection."""

import asyncio
import re
import time
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from tests.integration.test_sessions import TOLD_SECONDS, change_password, deactivate, log_out
from tests.servers import AsgiProcess, daphne_process, uvicorn_process
from tests.site.client import Page
from tests.site.events import EventPage, HttpStream, Refused
from tests.site.people import tell
from tests.site.sockets import whatever_the_database

pytestmark = [pytest.mark.django_db(transaction=True), whatever_the_database]

SERVERS = pytest.mark.parametrize("server", ["live_site", "uvicorn_site"])
STOP_SECONDS = 6.0
GROWTH = 4.0  # MB


@pytest.fixture
def site(request: pytest.FixtureRequest, server: str) -> AsgiProcess:
    found: AsgiProcess = request.getfixturevalue(server)
    return found


def names(start: int, end: int) -> list[str]:
    return [f"n{number}" for number in range(start, end)]


@SERVERS
async def test_news_come_at_once_beside_a_socket_and_are_the_same(site, mina, mina_session):
    async with EventPage(site, mina_session) as page, Page(site, mina_session) as socket:
        for each in (page, socket):
            await each.until(lambda page: page.position)
        started = time.monotonic()
        await tell(mina, "one")
        for each in (page, socket):
            await each.until(lambda page: page.titles == ["one"], 2)
        assert time.monotonic() - started < 2
        (row,) = page.items.values()
        await socket.send(type="read", ids=[row["id"]], ref="r")
        for each in (page, socket):
            await each.until(lambda page: page.unread == 0)
        assert page.items == socket.items
        assert page.headers["content-type"] == "text/event-stream"
        assert page.headers["cache-control"] == "private, no-store, no-transform"
        assert page.headers["x-accel-buffering"] == "no"
        assert "set-cookie" not in page.headers
    assert "Traceback" not in site.log


@SERVERS
async def test_a_page_that_was_cut_off_resumes_with_nothing_lost_or_doubled(site, mina, mina_session):
    page = EventPage(site, mina_session)
    for round_ in range(5):
        await page.connect()
        await page.until(lambda page: page.position)
        await tell(mina, *names(round_ * 10, round_ * 10 + 5))
        await page.until(lambda page, round_=round_: len(page.items) == round_ * 10 + 5)
        await page.disconnect()
        await tell(mina, *names(round_ * 10 + 5, round_ * 10 + 10))
    await page.connect()
    await page.until(lambda page: len(page.items) == 50)
    await page.disconnect()
    assert page.arrived == names(0, 50)
    assert page.kinds("reset")[1:] == []


@SERVERS
async def test_2000_notifications_to_one_stream_are_shown_whole_and_in_order(site, mina, mina_session):
    """It ends at its size, over and over."""
    async with EventPage(site, mina_session) as page:
        await page.until(lambda page: page.position)
        for start in range(0, 2000, 5):
            await tell(mina, *names(start, start + 5))
        await page.until(lambda page: len(page.items) == 2000 and page.unread == 2000, 60)
    assert page.arrived == names(0, 2000)
    assert page.streams > 5
    assert page.kinds("reset")[1:] == []
    assert {bye["code"] for bye in page.kinds("bye")} == {4012}
    assert "Traceback" not in site.log


@SERVERS
@pytest.mark.parametrize("end", [log_out, change_password, deactivate])
async def test_the_end_of_the_session_is_the_end_of_the_stream(site, mina, teo, mina_session, teo_session, end):
    async with EventPage(site, mina_session) as page, EventPage(site, teo_session) as neighbour:
        for each in (page, neighbour):
            await each.until(lambda page: page.position)
        await sync_to_async(end)(mina, mina_session)
        assert await page.until_closed(TOLD_SECONDS) == 4401
        assert page.bye["retry_after"] is None
        await tell(mina, "after")
        await tell(teo, "for the neighbour")
        await neighbour.until(lambda page: page.titles == ["for the neighbour"])
        assert page.titles == []
        with pytest.raises(Refused) as refused:
            await page.connect()
        assert refused.value.status == 401


async def test_what_nobody_tells_ends_the_stream_at_the_next_watermark(watchful_site, mina, mina_session):
    async with EventPage(watchful_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await User.objects.filter(pk=mina.pk).aupdate(is_active=False)
        assert await page.until_closed(3) == 4401


@pytest.mark.parametrize("kind", [daphne_process, uvicorn_process])
@pytest.mark.parametrize("meanwhile", ["nothing for a while", "a request ended"])
async def test_a_server_that_stops_says_so_and_the_next_one_goes_on(
    start_site, mina, teo, mina_session, teo_session, kind, meanwhile
):
    with start_site(server=kind) as site:
        pages = [EventPage(site, session, returns=False) for session in (mina_session, teo_session)]
        for page in pages:
            await page.connect()
            await page.until(lambda page: page.position)
        if meanwhile == "nothing for a while":
            await asyncio.sleep(1.5)  # Daphne forgets what ended a second ago
        else:
            with pytest.raises(Refused):
                await EventPage(site, None).connect()
        started = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(site.stop))
        for page in pages:
            assert await page.until_closed() == 4012
            assert page.bye is not None
            assert page.bye["reason"] == "restart"
            assert 0 < page.bye["retry_after"] <= 30
        await stopping
        assert time.monotonic() - started < STOP_SECONDS
        for page in pages:
            await page.disconnect()
        site.start()
        await tell(mina, "from the next one")
        await pages[0].connect()
        await pages[0].until(lambda page: page.titles == ["from the next one"])
        await pages[0].disconnect()


@SERVERS
async def test_who_vanishes_is_freed(site, mina, mina_session):
    """20 of a user's are all that a process takes: there is room for the next ones only if the first are gone."""
    for _ in range(2):
        pages = [EventPage(site, mina_session, returns=False) for _ in range(20)]
        for page in pages:
            await opened(page)
        for page in pages:
            page.socket.writer.transport.abort()
            await page._reader
    assert "Traceback" not in site.log


async def opened(page: EventPage, seconds: float = 5.0) -> None:
    """The server hears of the others' leaving a moment later."""
    async with asyncio.timeout(seconds):
        while True:
            await page.connect()
            await page.until(lambda page: page.position or page.close_code)
            if page.close_code is None:
                return
            assert page.close_code == 4029
            await asyncio.sleep(0.05)


class DeafStream(HttpStream):
    """It asks, and reads nothing of the answer."""

    limit = 1 << 10
    receive_buffer = 4096

    async def open(self, target: str, headers: dict[str, str]) -> dict[str, str]:
        answer = await super().open(target, headers)
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]
        return answer


class DeafPage(EventPage):
    stream_class = DeafStream


@SERVERS
async def test_pages_that_do_not_read_cost_little_and_keep_nobody_waiting(site, mina, teo, mina_session, teo_session):
    """7 MB are to be said to each of 20."""
    from tests.faults.test_readers import tell_at_length

    honest = EventPage(site, mina_session)
    await honest.connect()
    await honest.until(lambda page: page.position)
    await honest.disconnect()
    await sync_to_async(tell_at_length)(mina, 0, 100)
    before = largest = megabytes(site)
    async with EventPage(site, teo_session) as other:
        await other.until(lambda page: page.position)
        deaf = [DeafPage(site, mina_session, returns=False, position="0") for _ in range(20)]
        for page in deaf:
            await page.connect()
        for start in range(100, 1000, 100):
            await sync_to_async(tell_at_length)(mina, start, start + 100)
            largest = max(largest, megabytes(site))
        await tell(teo, "for Teo")
        await other.until(lambda page: page.titles == ["for Teo"])
        assert largest - before < 20 * GROWTH
        for page in deaf:
            page._reader.cancel()
            page.socket.writer.transport.abort()
    await honest.connect()
    await honest.until(lambda page: page.unread == 1000, 30)
    await honest.disconnect()


def megabytes(site: AsgiProcess) -> float:
    held = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{site.pid}/status").read_text())
    assert held is not None
    return int(held[1]) / 1024
