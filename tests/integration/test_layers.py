"""The whole way over every layer and server: the layer carries the ring, and what it carries is only believed if it is sealed."""

import asyncio
import time
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.test import override_settings

from notifications.protocol import SessionCheck, WakeUp
from notifications.ringer import HUBS, MESSAGE_TYPE, group, sealed, user_group
from tests.servers import daphne_process, uvicorn_process
from tests.site.client import Page
from tests.site.people import Browser, tell
from tests.site.sockets import whatever_the_database

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE_SECONDS = 5.0  # far below the watermark of 15, far above what a slow machine takes


async def tell_at(site: Any, user: Any, title: str) -> None:
    await asyncio.to_thread(Browser(site).get, f"/tell/{user.pk}/{title}/")


@pytest.mark.parametrize("server", ["live_site", "uvicorn_site"])
@whatever_the_database
async def test_the_core_layer_brings_news_from_this_process_and_others_at_once(request, mina, mina_session, server):
    site = request.getfixturevalue(server)
    async with Page(site, mina_session) as page:
        await page.until(lambda page: page.position)
        await tell_at(site, mina, "own")
        await page.until(lambda page: page.titles == ["own"], AT_ONCE_SECONDS)
        await tell(mina, "others")
        await page.until(lambda page: page.titles == ["others", "own"], AT_ONCE_SECONDS)
    assert "Traceback" not in site.log


async def test_two_servers_of_different_kinds_bring_each_others_news_at_once(
    live_site, uvicorn_site, mina, teo, mina_session, teo_session
):
    async with (
        Page(live_site, mina_session) as one,
        Page(uvicorn_site, mina_session) as two,
        Page(uvicorn_site, teo_session) as his,
    ):
        for page in (one, two, his):
            await page.until(lambda page: page.position)
        for number, (site, expected) in enumerate([(live_site, ["n0"]), (uvicorn_site, ["n1", "n0"])]):
            await tell_at(site, mina, f"n{number}")
            for page in (one, two):
                await page.until(lambda page, expected=expected: page.titles == expected, AT_ONCE_SECONDS)
        await one.send(type="read", upto=2, ref="r")
        await two.until(lambda page: page.unread == 0, AT_ONCE_SECONDS)
        assert his.titles == []


@whatever_the_database
@pytest.mark.parametrize("server", [daphne_process, uvicorn_process])
async def test_the_pubsub_layer_does_as_well(start_site, redis_url, mina, mina_session, server):
    from tests.site.settings import layers_at

    with start_site({"LAYER": "pubsub"}, server=server) as site, override_settings(CHANNEL_LAYERS=layers_at(redis_url, "pubsub")):
        async with Page(site, mina_session) as page:
            await page.until(lambda page: page.position)
            await tell_at(site, mina, "own")
            await page.until(lambda page: page.titles == ["own"], AT_ONCE_SECONDS)
            deadline = time.monotonic() + AT_ONCE_SECONDS
            await joined(page)
            await tell(mina, "others")
            await page.until(lambda page: page.titles == ["others", "own"], deadline - time.monotonic())
        assert "Traceback" not in site.log


async def joined(page: Page) -> None:
    """The hub looks once more when it has joined the user's group, and answers hellos with what it found."""
    await page.hello()
    await page.until(lambda page: page.kinds("welcome", "delta", "reset")[-1]["type"] != "welcome")


@whatever_the_database
async def test_in_memory_the_own_process_is_heard_at_once_and_others_by_the_watermark(start_site, mina, mina_session):
    with start_site({"REDIS_URL": ""}) as site:
        async with Page(site, mina_session) as page:
            await page.until(lambda page: page.position)
            started = time.monotonic()
            await tell_at(site, mina, "own")
            await page.until(lambda page: page.titles == ["own"], AT_ONCE_SECONDS)
            assert time.monotonic() - started < AT_ONCE_SECONDS
            await tell(mina, "others")
            await page.until(
                lambda page: page.titles == ["others", "own"], AT_ONCE_SECONDS
            )  # two seconds where nothing is shared
        assert "Traceback" not in site.log


@whatever_the_database
async def test_without_any_layer_the_watermark_does_it_all(start_site, mina, mina_session):
    chosen = {"SITE_SETTINGS": '{"CHANNEL_LAYERS": {}}'}
    with start_site(chosen, settings="tests.site.varied") as site:
        async with Page(site, mina_session) as page:
            await page.until(lambda page: page.position)
            await tell_at(site, mina, "own")
            await page.until(lambda page: page.titles == ["own"], AT_ONCE_SECONDS)
            await tell(mina, "others")
            await page.until(lambda page: page.titles == ["others", "own"], AT_ONCE_SECONDS)
        assert "Traceback" not in site.log


@whatever_the_database
async def test_what_is_not_sealed_by_the_site_is_ignored_and_ends_no_socket(live_site, mina, mina_session):
    """Somebody else writes to the site's Redis: a foreign program, or a later version of this one."""
    from django.conf import settings

    layer = get_channel_layer()
    close_all = WakeUp(sessions=[SessionCheck(str(mina.pk))])
    genuine = sealed(close_all)
    with override_settings(SECRET_KEY="another"):
        forged = sealed(close_all)
    assert settings.SECRET_KEY != "another"
    bodies: list[Any] = [forged, genuine[:-1], genuine[1:], b"", b"x" * 100, "text", None, 4, {"a": 1}, [genuine]]
    messages: list[dict[str, Any]] = [{"type": MESSAGE_TYPE, "body": body} for body in bodies]
    messages += [{"type": MESSAGE_TYPE}, {"type": "websocket.disconnect"}, {"type": "notifications.v9", "body": b"later"}, {}]
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        for name in (user_group(str(mina.pk)), group(HUBS)):
            for message in messages:
                await layer.group_send(name, message)
        await tell(mina, "still here")
        await page.until(lambda page: page.titles == ["still here"], AT_ONCE_SECONDS)
        assert page.close_code is None
        await layer.group_send(user_group(str(mina.pk)), {"type": MESSAGE_TYPE, "body": genuine})  # the premise
        assert await page.until_closed(AT_ONCE_SECONDS) == 4401


async def test_no_group_is_named_by_outside_text():
    names = [user_group(text) for text in ("1", "1\n", "ü", "x" * 5000, "../*", "")]
    assert len(set(names)) == len(names)
    for name in [*names, group(HUBS)]:
        assert len(name) < 100
        assert name.isascii()
        assert name.replace(".", "").replace("-", "").replace("_", "").isalnum()


@whatever_the_database
async def test_a_missing_ring_is_made_up_for_by_the_watermark(watchful_site, mina, mina_session, monkeypatch):
    async with Page(watchful_site, mina_session) as page:
        await page.until(lambda page: page.position)
        for module in ("relay", "slices"):
            monkeypatch.setattr(f"notifications.{module}.ring", lambda wake_up: None)
        await tell(mina, "unrung")
        await page.until(lambda page: page.titles == ["unrung"], AT_ONCE_SECONDS)
