"""A server that stops says so; a page that comes back to the next one has missed nothing."""

import asyncio
import time

import pytest
from websockets.exceptions import WebSocketException

from tests.servers import uvicorn_process
from tests.site.client import Page
from tests.site.people import Browser, tell
from tests.site.sockets import whatever_the_database

pytestmark = pytest.mark.django_db(transaction=True)

STOP_SECONDS = 6.0


@whatever_the_database
@pytest.mark.parametrize("meanwhile", ["nothing for a while", "a socket closed"])
async def test_daphne_says_goodbye_with_a_time_to_come_back(start_site, mina, teo, mina_session, teo_session, meanwhile):
    with start_site() as site:
        async with Page(site, mina_session) as page, Page(site, teo_session) as other:
            for each in (page, other):
                await each.until(lambda page: page.position)
            if meanwhile == "nothing for a while":
                await asyncio.sleep(1.5)  # Daphne forgets what ended a second ago
            if meanwhile == "a socket closed":  # leaving its group is under way when the hub ends its tasks
                await asyncio.to_thread(Browser(site).get, "/admin/login/")
                passer_by = Page(site, mina_session)
                await passer_by.connect()
                await passer_by.disconnect()
            started = time.monotonic()
            stopping = asyncio.create_task(asyncio.to_thread(site.stop))
            for each in (page, other):
                assert await each.until_closed() == 4012
                assert each.bye is not None
                assert each.bye["reason"] == "restart"
                assert 0 < each.bye["retry_after"] <= 30
            assert await stopping == 0
            assert time.monotonic() - started < STOP_SECONDS
            site.start()
            await tell(mina, "from the next one")
            await page.connect()
            await page.until(lambda page: page.titles == ["from the next one"])


@whatever_the_database
async def test_uvicorn_closes_with_its_own_code_and_ends(start_site, mina, mina_session):
    with start_site(server=uvicorn_process) as site:
        async with Page(site, mina_session) as page:
            await page.until(lambda page: page.position)
            started = time.monotonic()
            await asyncio.to_thread(site.stop)
            assert await page.until_closed() in (1012, 4012)
            assert time.monotonic() - started < STOP_SECONDS
            assert "Traceback" not in site.log


@whatever_the_database
async def test_a_page_that_comes_back_to_the_next_server_has_missed_nothing(start_site, mina, mina_session):
    with start_site() as site:
        page = Page(site, mina_session)
        await page.connect()
        await page.until(lambda page: page.position)
        count = 0

        async def tell_more(seconds: float) -> None:
            nonlocal count
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                await tell(mina, f"n{count}")
                count += 1
                await asyncio.sleep(0.02)

        await tell_more(0.5)
        starting = asyncio.create_task(asyncio.to_thread(site.restart))
        while not starting.done():
            await tell_more(0.1)
        await starting
        assert await page.until_closed() == 4012
        for _ in range(100):
            try:
                await page.connect()
                break
            except (OSError, WebSocketException):
                await asyncio.sleep(0.1)
        await tell_more(0.3)
        await page.until(lambda page: len(page.items) == count and page.unread == count)
        assert page.arrived == [f"n{number}" for number in range(count)]
        await page.disconnect()
