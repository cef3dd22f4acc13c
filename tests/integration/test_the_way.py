"""The whole way, over real processes: a row saved here, a socket of a server over there."""

import asyncio
import json
import time

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from websockets.asyncio.client import connect

from notifications import notify
from notifications.models import Notification
from notifications.outbox import NARROW
from tests.site.client import Page, new_session
from tests.site.models import Order

pytest_plugins = "tests.site.sockets"
pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE_SECONDS = 5.0  # far below the watermark of 15, far above what a slow machine takes


async def test_a_changed_status_reaches_the_customers_open_page(live_site, mina):
    order = await Order.objects.acreate(number="7", customer=mina)
    async with Page(live_site, await sync_to_async(new_session)(mina)) as page:
        await page.until(lambda page: page.position)
        assert page.titles == []
        order.status = "shipped"
        await order.asave()
        await page.until(lambda page: page.titles == ["Order 7 is shipped"])
        (item,) = page.items.values()
        assert item["url"] == f"/orders/{order.pk}/"
        assert (page.unread, page.unseen) == (1, 1)


async def test_what_was_committed_while_the_page_was_away_comes_by_its_position(live_site, mina):
    session = await sync_to_async(new_session)(mina)
    page = Page(live_site, session)
    await page.connect()
    await sync_to_async(notify)("plain", to=mina, title="first")
    await page.until(lambda page: page.titles == ["first"])
    await page.disconnect()
    for title in ("second", "third"):
        await sync_to_async(notify)("plain", to=mina, title=title)
    await page.connect()
    await page.until(lambda page: page.titles == ["third", "second", "first"])
    assert page.arrived[-2:] == ["second", "third"]
    assert not any(frame["type"] == "reset" for frame in page.frames[2:])
    await page.disconnect()


async def test_two_pages_of_one_user_agree_on_every_state(live_site, mina):
    session = await sync_to_async(new_session)(mina)
    async with Page(live_site, session) as one, Page(live_site, session) as two:
        for title in ("a", "b", "c"):
            await sync_to_async(notify)("plain", to=mina, title=title)
        for page in (one, two):
            await page.until(lambda page: len(page.items) == 3)
        ids = {item["title"]: item["id"] for item in one.items.values()}
        top = max(item["number"] for item in one.items.values())
        await one.send(type="read", ids=[ids["a"]], ref="1")
        for page in (one, two):
            await page.until(lambda page: page.items[ids["a"]]["read"] and page.unread == 2)
        await two.send(type="archive", ids=[ids["b"]], ref="2")
        for page in (one, two):
            await page.until(lambda page: page.titles == ["c", "a"])
        await one.send(type="unarchive", ids=[ids["b"]], ref="3")
        for page in (one, two):
            await page.until(lambda page: page.titles == ["c", "b", "a"])
        await two.send(type="seen", upto=top, ref="4")
        for page in (one, two):
            await page.until(lambda page: page.unseen == 0 and page.seen_upto == top)
        await one.send(type="delete", ids=[ids["c"]], ref="5")
        await one.send(type="read", upto=top, ref="6")
        for page in (one, two):
            await page.until(lambda page: page.titles == ["b", "a"] and page.unread == 0)
            assert all(item["read"] for item in page.items.values())
        await one.until(
            lambda page: {frame.get("ref") for frame in page.frames if frame["type"] == "done"} == {"1", "3", "5", "6"}
        )


async def test_what_a_command_tells_very_many_is_relayed_by_a_server_at_once(live_site, mina):
    """Each after the other has come: by the servers' sweeps alone, one in three seconds at most, it would take three of them."""
    crowd = await User.objects.abulk_create([User(username=f"user{number}") for number in range(NARROW)])
    async with Page(live_site, await sync_to_async(new_session)(mina)) as page:
        await page.until(lambda page: page.position)
        started = time.monotonic()
        for title in ("first", "second", "third"):
            event = await sync_to_async(notify)("plain", to=[mina, *crowd], title=title)
            assert event is not None
            assert event.wide
            await page.until(lambda page, title=title: page.titles[:1] == [title], AT_ONCE_SECONDS)
        assert time.monotonic() - started < AT_ONCE_SECONDS


async def test_every_calling_context_of_a_server_reaches_the_page(live_site, mina):
    from urllib.request import urlopen

    async with Page(live_site, await sync_to_async(new_session)(mina)) as page:
        for path in ("tell", "atell"):
            await asyncio.to_thread(lambda path=path: urlopen(f"{live_site.url}/{path}/{mina.pk}/{path}/").read())
        await page.until(lambda page: page.titles == ["atell", "tell"])
    assert await Notification.objects.acount() == 2


@pytest.mark.parametrize("server", ["live_site", "uvicorn_site"])
async def test_a_consumer_of_the_sites_own_reaches_the_page(request, mina, server):
    site = request.getfixturevalue(server)
    ways = [("/async-teller/", way) for way in ("anotify", "sync_to_async", "database_sync_to_async")]
    ways.append(("/teller/", "notify"))
    async with Page(site, await sync_to_async(new_session)(mina)) as page:
        await page.until(lambda page: page.position)
        for path, way in ways:
            async with connect(site.websocket_url + path, proxy=None) as socket:
                await socket.send(json.dumps({"way": way, "to": mina.pk}))
                told = json.loads(await asyncio.wait_for(socket.recv(), 10))["told"]
            await page.until(lambda page, told=told: told in page.items, AT_ONCE_SECONDS)
        assert page.arrived == [way for _, way in ways]
    assert "Traceback" not in site.log
