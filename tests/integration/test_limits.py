"""Bounds: past one a documented error or close, never growth; and nothing is lost, since the position heals it."""

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from notifications import notify
from notifications.models import Event
from notifications.protocol import DELTA_BYTES, DELTA_ROWS, RESET_ROWS
from notifications.steps import mark
from notifications.stream import WINDOW_BYTES, WINDOW_STEPS
from tests.site.client import Page
from tests.site.people import eventually, tell
from tests.site.sockets import whatever_the_database

pytestmark = pytest.mark.django_db(transaction=True)


def names(start: int, end: int) -> list[str]:
    return [f"n{number}" for number in range(start, end)]


def newest_first(count: int) -> list[str]:
    return names(0, count)[::-1]


def sent_rows(page: Page) -> int:
    return sum(len(frame["items"]) for frame in page.kinds("delta", "reset"))


def shown(page: Page) -> dict[int, dict[str, Any]]:
    """What operations did to a row moves no stamp in the page."""
    return {id: {**item, "stamp": 0} for id, item in page.items.items()}


async def settled(page: Page, ref: str) -> None:
    """What the server sent before the answer to a command has arrived."""
    await page.send(type="seen", upto=0, ref=ref)
    await page.answer(ref)


@whatever_the_database
async def test_a_users_twenty_first_socket_is_told_to_come_later(live_site, mina, teo, mina_session, teo_session):
    pages = [Page(live_site, mina_session) for _ in range(20)]
    await asyncio.gather(*(page.connect() for page in pages))
    for page in pages:
        await page.until(lambda page: page.position)
    further = Page(live_site, mina_session)
    await further.connect()
    assert await further.until_closed() == 4029
    assert further.bye is not None
    assert further.bye["retry_after"] > 0
    await further.disconnect()

    async with Page(live_site, teo_session) as his:  # another user's bound is another
        await his.until(lambda page: page.position)
    await pages[0].disconnect()
    await asyncio.gather(*(page.until(lambda page: page.close_code is None) for page in pages[1:]))
    for _ in range(50):  # the server hears of the leaving a moment later
        await further.connect()
        await further.until(lambda page: page.position or page.close_code)
        if further.close_code is None:
            break
        await further.disconnect()
    assert further.position
    await asyncio.gather(*(page.disconnect() for page in [*pages[1:], further]))


@pytest.mark.parametrize("server", ["live_site", "uvicorn_site"])
@whatever_the_database
async def test_a_flood_of_commands_closes_the_socket_and_harms_no_other(request, mina, teo, mina_session, teo_session, server):
    site = request.getfixturevalue(server)
    async with Page(site, mina_session) as page, Page(site, teo_session) as other:
        for each in (page, other):
            await each.until(lambda page: page.position)
        await page.send_frame(*([json.dumps({"type": "heartbeat"})] * 200))
        assert await page.until_closed() == 4429
        assert page.bye is not None
        assert page.bye["retry_after"] > 0
        await tell(teo, "for Teo")
        await other.until(lambda page: page.titles == ["for Teo"])
        assert other.close_code is None
        await page.connect()
        await tell(mina, "for Mina")
        await page.until(lambda page: page.titles == ["for Mina"])
    assert "Traceback" not in site.log


@whatever_the_database
async def test_honest_acknowledgements_are_no_commands(live_site, mina, mina_session):
    """A page that acknowledges a burst frame by frame stays within its rate."""
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        for number in range(80):
            await tell(mina, f"n{number}")
            await page.until(lambda page, number=number: f"n{number}" in page.arrived)
        assert page.close_code is None
        assert page.arrived == names(0, 80)


@whatever_the_database
async def test_a_page_that_acknowledges_nothing_gets_a_window_and_after_its_return_all(live_site, mina, mina_session):
    count = 400
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        page.acks = False
        for start in range(0, count, 10):
            await tell(mina, *names(start, start + 10))
        await page.until(lambda page: sent_rows(page) >= WINDOW_STEPS)
        await settled(page, "one")
        await tell(mina, "one more")
        await settled(page, "two")
        assert sent_rows(page) < WINDOW_STEPS + DELTA_ROWS
        assert page.close_code is None
        await page.acknowledge()
        await page.until(lambda page: page.titles == ["one more", *newest_first(count)])
        assert page.arrived == [*names(0, count), "one more"]
        assert page.unread == count + 1


@whatever_the_database
async def test_the_window_counts_bytes_as_well(live_site, mina, mina_session):
    body = "x" * 7000

    def tell_at_length(start: int, end: int) -> None:
        for number in range(start, end):
            notify("plain", to=mina, title=f"n{number}", body=body)

    count = 60  # 420 kB
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        page.acks = False
        await sync_to_async(tell_at_length)(0, count)
        await page.until(lambda page: sent_rows(page) * len(body) >= WINDOW_BYTES - 2 * DELTA_BYTES)
        await settled(page, "one")
        assert sum(len(json.dumps(frame)) for frame in page.kinds("delta", "reset")) < WINDOW_BYTES + 2 * DELTA_BYTES
        assert sent_rows(page) < count
        await page.acknowledge()
        await page.until(lambda page: page.titles == newest_first(count))
        assert page.arrived == names(0, count)


@whatever_the_database
async def test_an_invented_acknowledgement_opens_nothing(live_site, mina, mina_session):
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        page.acks = False
        await tell(mina, *names(0, 300))
        await page.until(lambda page: sent_rows(page) >= WINDOW_STEPS)
        for number in range(10):
            await page.send(type="ack", ack=f"guess{number}")
        await settled(page, "one")
        assert sent_rows(page) <= WINDOW_STEPS + DELTA_ROWS
        await page.acknowledge()
        await page.until(lambda page: len(page.items) == 300)


async def been_away(page: Page, user: Any, count: int) -> None:
    """The page stood somewhere, left, and `count` notifications later comes back."""
    await page.connect()
    await tell(user, "before")
    await page.until(lambda page: page.titles == ["before"])
    await page.disconnect()
    await tell(user, *names(0, count))
    await eventually(lambda: not Event.objects.filter(pending=True).exists())  # the server's relay may have taken it up
    page.frames.clear()
    page.arrived.clear()
    await page.connect()


async def test_300_missed_rows_come_in_parts_from_where_the_page_stood(live_site, mina, mina_session):
    page = Page(live_site, mina_session)
    await been_away(page, mina, 300)
    await page.until(lambda page: page.unread == 301 and len(page.items) == 301)
    await page.disconnect()
    assert page.arrived == names(0, 300)
    deltas = page.kinds("delta")
    assert page.kinds("reset") == []
    assert [frame["more"] for frame in deltas] == [True] * (len(deltas) - 1) + [False]
    assert len(deltas) > 1
    assert all(len(frame["items"]) <= DELTA_ROWS for frame in deltas)


async def test_300_rows_that_one_step_touched_while_the_page_was_away_come_all(live_site, mina, mina_session):
    """They share a stamp, and the window shuts between two of them."""
    page = Page(live_site, mina_session)
    await been_away(page, mina, 300)
    await page.until(lambda page: len(page.items) == 301)
    await page.disconnect()
    await sync_to_async(mark)(mina.pk, "read", upto=301)
    page.frames.clear()
    await page.connect()
    await page.until(lambda page: page.unread == 0 and page.kinds("delta") and not page.kinds("delta")[-1]["more"])
    await page.disconnect()
    assert page.kinds("reset") == []
    assert len({item["stamp"] for frame in page.kinds("delta") for item in frame["items"]}) == 1  # the premise
    assert [item["title"] for item in page.items.values() if not item["read"]] == []


async def test_more_than_1000_missed_rows_come_as_a_fresh_page(live_site, mina, mina_session):
    page = Page(live_site, mina_session)
    await been_away(page, mina, RESET_ROWS + 200)
    await page.until(lambda page: page.unread == RESET_ROWS + 201)
    (reset,) = page.kinds("reset")
    assert page.kinds("delta") == []
    assert page.titles == newest_first(RESET_ROWS + 200)[:20]
    assert reset["more"]
    await tell(mina, "and now live")
    await page.until(lambda page: page.titles[0] == "and now live")
    await page.disconnect()


async def test_a_page_that_stays_is_led_through_more_than_1000_rows_once_it_reads(live_site, mina, mina_session):
    """Only a page that comes from elsewhere is better off with a fresh one: this one tells its reader of each."""
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        page.acks = False
        await tell(mina, *names(0, RESET_ROWS + 400))
        await eventually(lambda: not Event.objects.filter(pending=True).exists())
        assert len(page.items) < 400
        await page.acknowledge()
        await page.until(lambda page: len(page.items) == RESET_ROWS + 400 and page.unread == RESET_ROWS + 400, 30)
        assert page.arrived == names(0, RESET_ROWS + 400)
        assert page.kinds("reset")[1:] == []
        await tell(mina, "and now live")
        await page.until(lambda page: page.titles[0] == "and now live")


async def test_what_changes_during_a_long_catch_up_is_right_at_its_end(live_site, mina, mina_session):
    """The window shuts in the middle; rows that were sent and rows still to come change; then the page goes on."""
    async with Page(live_site, mina_session) as page, Page(live_site, mina_session) as twin:
        for each in (page, twin):
            await each.until(lambda page: page.position)
        page.acks = False
        await tell(mina, *names(0, 500))
        await page.until(lambda page: len(page.items) >= WINDOW_STEPS)
        await twin.until(lambda page: len(page.items) == 500)
        assert len(page.items) < 500
        ids = {item["title"]: item["id"] for item in twin.items.values()}
        await twin.send(type="delete", ids=[ids["n0"], ids["n499"]], ref="1")
        await twin.send(type="read", ids=[ids["n1"], ids["n498"]], ref="2")
        await twin.send(type="archive", upto=10, ref="3")
        await twin.answer("3")
        await tell(mina, "last")
        await twin.until(lambda page: page.titles[0] == "last" and len(page.titles) == 490 and page.unread == 489)
        await page.acknowledge()
        await page.until(lambda page: page.titles == twin.titles and page.unread == twin.unread)
        assert shown(page) == shown(twin)


@whatever_the_database
async def test_a_burst_of_2000_from_another_process_is_shown_whole_and_in_order(live_site, mina, teo, mina_session, teo_session):
    """The core layer holds 100 messages a process; this test's process is the other one."""
    async with Page(live_site, mina_session) as page, Page(live_site, teo_session) as other:
        for each in (page, other):
            await each.until(lambda page: page.position)
        for start in range(0, 2000, 20):
            await tell(mina, *names(start, start + 20))
        await tell(teo, "for Teo")
        await other.until(lambda page: page.titles == ["for Teo"])
        await page.until(lambda page: len(page.items) == 2000 and page.unread == 2000, 30)
        assert page.titles == newest_first(2000)
        assert page.arrived == names(0, 2000)
        assert page.kinds("reset")[1:] == []
