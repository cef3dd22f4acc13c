"""A layer that drops, doubles, delays and reorders: the pages show everything, in order, once, in two processes."""

import asyncio
import json
import os
import random
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.consumer import AsyncConsumer
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.test import override_settings

from notifications.inbox import read_page
from notifications.models import Notification
from notifications.ringer import ringer
from tests.site.client import Page
from tests.site.people import eventually, tell
from tests.site.settings import layers_at
from tests.site.sockets import whatever_the_database

pytestmark = [pytest.mark.django_db(transaction=True), whatever_the_database]

WATERMARK_SECONDS = 1.0
LATEST_SECONDS = 6.0  # a watermark, on a slow machine


def chaos(redis_url: str, **chances: Any) -> dict[str, dict[str, Any]]:
    """`CHANNEL_LAYERS` with the core layer of this Redis behind a `ChaosLayer`."""
    wrapped = layers_at(redis_url, "core")["default"]
    return {"default": {"BACKEND": "notifications.testing.ChaosLayer", "CONFIG": {**chances, "layer": wrapped}}}


def shown_by(page: Page) -> list[tuple[str, bool]]:
    items = sorted(page.items.values(), key=lambda item: -item["number"])
    return [(item["title"], item["read"]) for item in items if not item["archived"]]


@pytest.mark.parametrize(
    "chances",
    [
        pytest.param({"drop": 1.0}, id="drops all", marks=pytest.mark.long),
        pytest.param({"drop": 0.3}, id="drops a third", marks=pytest.mark.long),
        pytest.param(
            {"drop": 0.2, "double": 0.2, "delay": 0.2, "reorder": 0.2, "longest_delay": 0.3}, id="does everything wrong"
        ),
    ],
)
async def test_whatever_the_layer_does_the_pages_of_two_servers_show_everything(
    start_site, redis_url, mina: User, mina_session, figures, chances
):
    seed = int(os.environ.get("FAULT_SEED", random.randrange(10**6)))
    figures.record("seed", seed)
    layers = chaos(redis_url, seed=seed, **chances)
    own = {"CHANNEL_LAYERS": layers, "NOTIFICATIONS_WATERMARK_SECONDS": WATERMARK_SECONDS}
    options: Any = {"settings": "tests.site.varied"}
    titles = [f"n{number}" for number in range(60)]
    with override_settings(CHANNEL_LAYERS=layers):
        with start_site({"SITE_SETTINGS": json.dumps(own)}, **options) as here, start_site(own_site(own), **options) as there:
            async with Page(here, mina_session) as one, Page(there, mina_session) as two:
                for page in (one, two):
                    await page.until(lambda page: page.position)
                for number, title in enumerate(titles):
                    await tell(mina, title)
                    await asyncio.to_thread(ringer.flush)  # a ring for each commit: the more can go wrong
                    if number % 10 == 5:
                        marking = (one, two)[number % 20 // 10]
                        shown = max((item["number"] for item in marking.items.values()), default=0)
                        await marking.send(type="read", upto=shown, ref=title)
                        assert (await marking.answer(title))["type"] == "done"
                last = time.monotonic()
                await eventually(lambda: Notification.objects.count() == len(titles), LATEST_SECONDS)
                fresh = await sync_to_async(read_page)(mina.pk, limit=100)
                for page in (one, two):
                    await page.until(lambda page: page.position == fresh.position, LATEST_SECONDS)
                figures.at_most("last commit to shown", time.monotonic() - last, LATEST_SECONDS)
                for page in (one, two):
                    figures.none("lost", set(titles) - set(page.titles))
                    assert len(page.arrived) == len(set(page.arrived))  # announced once, unless read in the other page before
                    assert shown_by(page) == [(item.title, item.read) for item in fresh.items]
                    assert (page.unread, page.close_code, page.gaps) == (fresh.unread, None, 0)
        counts = get_channel_layer().counts
    figures.record("fates of the wake-ups", dict(counts))
    for fate in set(chances) - {"longest_delay"}:
        assert counts[fate] > 0, f"the premise: the layer did {fate}"


def own_site(own: dict[str, Any]) -> dict[str, str]:
    """The same with another seed: what one server hears is not what the other does."""
    config = own["CHANNEL_LAYERS"]["default"]["CONFIG"]
    layers = {"default": {**own["CHANNEL_LAYERS"]["default"], "CONFIG": {**config, "seed": config["seed"] + 1}}}
    return {"SITE_SETTINGS": json.dumps({**own, "CHANNEL_LAYERS": layers})}


class Listener(AsyncConsumer):  # type: ignore[misc]
    """What a site without this product writes: a consumer in a group, which shows what it is sent."""

    shown: list[int] = []  # noqa: RUF012 - the test empties it

    async def news(self, message: dict[str, Any]) -> None:
        self.shown.append(message["number"])


async def test_a_plain_consumer_loses_what_the_layer_drops(settings):
    """The premise of all tests in which notifications lose nothing on this layer."""
    chances = {"seed": 1, "drop": 0.3, "reorder": 0.3, "longest_delay": 0.05}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "notifications.testing.ChaosLayer", "CONFIG": chances}}
    layer = get_channel_layer()
    Listener.shown = []
    consumer = Listener()
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    task = asyncio.ensure_future(consumer({"type": "websocket"}, incoming.get, lambda message: asyncio.sleep(0)))
    while not hasattr(consumer, "channel_name"):  # noqa: ASYNC110 - Channels tells nobody
        await asyncio.sleep(0)
    await layer.group_add("all", consumer.channel_name)
    for number in range(100):
        await layer.group_send("all", {"type": "news", "number": number})
        await asyncio.sleep(0)  # it has a capacity too
    assert 15 < layer.counts["drop"] < 45
    async with asyncio.timeout(10):
        while len(Listener.shown) < 100 - layer.counts["drop"]:  # noqa: ASYNC110 - nor does the consumer
            await asyncio.sleep(0.01)
    task.cancel()
    assert len(set(Listener.shown)) == len(Listener.shown) == 100 - layer.counts["drop"]
    assert Listener.shown != sorted(Listener.shown)
