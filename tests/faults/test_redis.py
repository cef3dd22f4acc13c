"""Redis forgets, restarts, hangs: no socket closes, nothing is lost, and the site's requests do not notice."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import override_settings

from notifications.ringer import HUBS, group, user_group
from tests.servers import AsgiProcess, RedisServer, daphne_process, redis_server
from tests.site.client import Page
from tests.site.people import Browser, eventually, tell
from tests.site.settings import layers_at
from tests.site.sockets import whatever_the_database

pytestmark = [pytest.mark.django_db(transaction=True), whatever_the_database]

REPAIR_SECONDS = 20.0
NEWS_SECONDS = 6.0  # by a watermark of one second, on a slow machine


@asynccontextmanager
async def two_layers(
    redis: RedisServer, database_url: str, session: str
) -> AsyncIterator[tuple[dict[str, AsgiProcess], dict[str, Page]]]:
    """One server on the core layer, one on pub/sub, both on this Redis and with a page open; this process rings as core does."""
    async with AsyncExitStack() as stack:
        sites, pages = {}, {}
        for layer in ("core", "pubsub"):
            env = {"DATABASE_URL": database_url, "REDIS_URL": redis.url, "LAYER": layer, "WATERMARK_SECONDS": "1"}
            sites[layer] = stack.enter_context(daphne_process(env))
            pages[layer] = await stack.enter_async_context(Page(sites[layer], session))
            await pages[layer].until(lambda page: page.position)
        stack.enter_context(override_settings(CHANNEL_LAYERS=layers_at(redis.url, "core")))
        yield sites, pages


def members(redis: RedisServer, name: str) -> int:
    """How many channels the core layer's group has."""
    with redis.client() as client:
        return int(client.zcard(f"asgi:group:{name}"))  # type: ignore[arg-type]


async def test_after_flushall_and_after_a_restart_pages_stay_open_and_the_hub_joins_again(
    database_url, mina: User, mina_session, record_property
):
    own, hubs = user_group(str(mina.pk)), group(HUBS)
    with redis_server() as redis:
        async with two_layers(redis, database_url, mina_session) as (sites, pages):
            await eventually(lambda: members(redis, own) == members(redis, hubs) == 1, 5)
            for forget in (redis.flush, redis.restart):
                await asyncio.to_thread(forget)
                started = time.monotonic()
                assert members(redis, own) == 0  # the premise
                await sync_to_async(tell_all_at)(sites["core"], mina.pk, f"after {forget.__name__}")
                for page in pages.values():
                    await shows(page, f"after {forget.__name__}")
                record_property(f"news after {forget.__name__}", round(time.monotonic() - started, 2))
                repaired = await eventually(lambda: members(redis, own) >= 1 and members(redis, hubs) >= 1, REPAIR_SECONDS)
                record_property(f"repaired after {forget.__name__}", round(repaired, 2))
            for layer, page in pages.items():
                assert page.close_code is None
                assert "Traceback" not in sites[layer].log or layer == "pubsub"  # that layer logs its own


async def shows(page: Page, title: str) -> None:
    await page.until(lambda page: page.titles[:1] == [title], NEWS_SECONDS)


def tell_all_at(site: AsgiProcess, user_id: int, title: str) -> None:
    Browser(site).get(f"/tell/{user_id}/{title.replace(' ', '%20')}/")


async def test_a_redis_that_hangs_slows_no_request_and_loses_nothing(database_url, mina, mina_session, record_property):
    with redis_server() as redis:
        async with two_layers(redis, database_url, mina_session) as (sites, pages):
            own, hubs = user_group(str(mina.pk)), group(HUBS)
            await eventually(lambda: members(redis, own) == members(redis, hubs) == 1, 5)
            titles: list[str] = []
            calm: list[float] = []
            hung: list[float] = []

            async def request(site: AsgiProcess, took: list[float]) -> None:
                titles.append(f"n{len(titles)}")
                started = time.monotonic()
                await asyncio.to_thread(tell_all_at, site, mina.pk, titles[-1])
                took.append(time.monotonic() - started)

            for took in ([], calm):  # the first ones import and connect
                for site in [*sites.values()] * 5:
                    await request(site, took)
            redis.suspend()
            try:
                end = time.monotonic() + 6.5  # beyond the echo's time
                while time.monotonic() < end:
                    for site in sites.values():
                        await request(site, hung)
                    await asyncio.sleep(0.2)
                for page in pages.values():
                    await page.until(lambda page: page.arrived == titles, NEWS_SECONDS)
            finally:
                redis.resume()
            p95_calm, p95_hung = (sorted(took)[int(len(took) * 0.95)] for took in (calm, hung))
            record_property("p95 calm", round(p95_calm, 3))
            record_property("p95 hung", round(p95_hung, 3))
            assert p95_hung < p95_calm + 0.25
            await tell(mina, "again")
            for page in pages.values():
                await page.until(lambda page: page.titles[0] == "again", NEWS_SECONDS)
                assert page.close_code is None
            await eventually(lambda: members(redis, own) >= 1 and members(redis, hubs) >= 1, REPAIR_SECONDS)
            await eventually(lambda: members(redis, own) == members(redis, hubs) == 1, 5)  # the dead channel has left
