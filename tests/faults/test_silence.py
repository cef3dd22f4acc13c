"""Silence ends nobody who is there; who has gone without a word is noticed, by the server and by the page."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from notifications import hub as hub_module
from notifications.hub import Hub
from notifications.ringer import user_group
from tests.servers import AsgiProcess, RedisServer, daphne_process, programs, redis_server, tcp_proxy, uvicorn_process
from tests.site.client import PATH, Page
from tests.site.people import Browser, eventually, tell
from tests.site.sockets import whatever_the_database
from tests.site.wire import LocalPage

pytestmark = [pytest.mark.django_db(transaction=True), whatever_the_database]

IDLE_SECONDS = 180.0
NOTICED_SECONDS = 75.0
AT_ONCE_SECONDS = 2.0
EXPIRY_SECONDS = 10
ROOT = Path(__file__).parents[2]
DEAF = {daphne_process: ("--ping-interval", "3600"), uvicorn_process: ("--ws-ping-interval", "3600")}
"""Servers that send no pings of their own: what notices then is ours alone."""


class Frozen(Page):
    """A page whose browser keeps the connection, and whose script does nothing any more once it `is_frozen`."""

    is_frozen = False

    async def send(self, **command: Any) -> None:
        if not self.is_frozen:
            await super().send(**command)


def held(site: AsgiProcess) -> int:
    """How many connections the server holds, as the kernel sees it."""
    here, established = f":{site.port:04X}", "01"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(here) and line[3] == established for line in lines)


# --- three minutes, all at once: they only wait ---


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_three_quiet_minutes(database_url, shared_layer, mina, teo, mina_session, teo_session, figures):
    env = {"DATABASE_URL": database_url, "REDIS_URL": shared_layer}
    async with asyncio.TaskGroup() as stories:
        for server in (daphne_process, uvicorn_process):
            stories.create_task(an_idle_socket_stays_open(server, env, mina, mina_session, figures))
            for options in ((), DEAF[server]):
                stories.create_task(who_vanished_is_freed(server, env, options, teo_session, figures))
            stories.create_task(whose_script_hangs_is_closed(server, env, teo_session, figures))
        stories.create_task(memberships_outlive_their_expiry(env, mina, mina_session, figures))
        stories.create_task(the_page_notices(env, teo_session, figures))


async def an_idle_socket_stays_open(server: Any, env: dict[str, str], user: User, session: str, figures: Any) -> None:
    async with running(server(env)) as site, Page(site, session) as page:
        await page.until(lambda page: page.position)
        with contextlib.suppress(AssertionError):
            await page.until(lambda page: page.close_code is not None, IDLE_SECONDS)
        figures.none(f"idle sockets closed, {name(site)}", [page.close_code] if page.close_code else [])
        figures.at_least(f"beats in {IDLE_SECONDS:g} s, {name(site)}", len(page.kinds("heartbeat")), IDLE_SECONDS // 26)
        started = time.monotonic()
        await tell(user, f"after all, {name(site)}")
        await page.until(lambda page: f"after all, {name(site)}" in page.titles, AT_ONCE_SECONDS)
        figures.at_most(f"news to an idle socket, {name(site)}", time.monotonic() - started, AT_ONCE_SECONDS)
        figures.none(f"layer errors, {name(site)}", [line for line in site.log.splitlines() if "layer_" in line])


async def who_vanished_is_freed(server: Any, env: dict[str, str], options: tuple[str, ...], session: str, figures: Any) -> None:
    async with running(server(env, options=options)) as site:
        with tcp_proxy(site.port) as proxy:
            page = Page(proxy, session)
            await page.connect()
            await page.until(lambda page: page.position)
            await page.send(type="heartbeat")
            assert held(site) == 1
            await asyncio.to_thread(proxy.swallow)
            freed = await eventually(lambda: held(site) == 0, 2 * NOTICED_SECONDS)
            figures.at_most(f"freed, {name(site)}{', its pings off' if options else ''}", freed, NOTICED_SECONDS)
            proxy.mend()
            await page.disconnect()


async def whose_script_hangs_is_closed(server: Any, env: dict[str, str], session: str, figures: Any) -> None:
    async with running(server(env)) as site:
        page = Frozen(site, session)
        await page.connect()
        await page.until(lambda page: page.position)
        page.is_frozen, started = True, time.monotonic()
        assert await page.until_closed(2 * NOTICED_SECONDS) == 4012
        figures.at_most(f"silent page closed, {name(site)}", time.monotonic() - started, NOTICED_SECONDS)
        assert page.bye is not None
        assert page.bye["reason"] == "no answer"
        await page.disconnect()


async def memberships_outlive_their_expiry(env: dict[str, str], user: User, session: str, figures: Any) -> None:
    """News must come by the layer for as long as many expiries, and not by the watermark."""
    with redis_server() as redis:
        hosts = [{"address": redis.url, "socket_timeout": 15}]
        layer = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": hosts, "group_expiry": EXPIRY_SECONDS}}
        env = {**env, "SITE_SETTINGS": json.dumps({"CHANNEL_LAYERS": {"default": layer}})}
        one, two = (daphne_process(env, settings="tests.site.varied") for _ in range(2))
        async with running(one) as here, running(two) as there, Page(here, session) as page:
            await page.until(lambda page: page.position)
            await eventually(lambda: is_member(redis, user))
            delays: list[float] = []
            titles: list[str] = []
            end = time.monotonic() + 6 * EXPIRY_SECONDS
            while time.monotonic() < end:
                await asyncio.sleep(1.7)  # at ever other moments of the renewal
                titles.append(f"expiring {len(titles)}")
                await asyncio.to_thread(Browser(there).get, f"/tell/{user.pk}/{quote(titles[-1])}/")
                told = time.monotonic()
                await page.until(lambda page: titles[-1] in page.titles)
                delays.append(time.monotonic() - told)
            figures.none("missed by the layer, group_expiry 10 s", [delay for delay in delays if delay > AT_ONCE_SECONDS])
            figures.none("missed at all, group_expiry 10 s", set(titles) - set(page.arrived))


def is_member(redis: RedisServer, user: User) -> bool:
    with redis.client() as client:
        return client.zcard(f"asgi:group:{user_group(str(user.pk))}") == 1


async def the_page_notices(env: dict[str, str], session: str, figures: Any) -> None:
    """The client's own script, on a real clock and a real socket."""
    async with running(daphne_process(env)) as site:
        with tcp_proxy(site.port) as proxy:
            command = [str(programs.node()), "--experimental-websocket", str(ROOT / "tests/js/real_page.js")]
            arguments = [proxy.url + PATH, f"{settings.SESSION_COOKIE_NAME}={session}"]
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(*command, *arguments, stdout=pipe, stderr=asyncio.subprocess.DEVNULL)
            try:
                assert process.stdout is not None
                await said(process.stdout, "open", 20)
                await asyncio.to_thread(proxy.swallow)
                started = time.monotonic()
                await said(process.stdout, "reconnecting", 2 * NOTICED_SECONDS)
                figures.at_most("the page notices", time.monotonic() - started, NOTICED_SECONDS)
                await asyncio.to_thread(proxy.mend)
                await said(process.stdout, "open", NOTICED_SECONDS)
            finally:
                process.kill()
                await process.wait()


async def said(lines: asyncio.StreamReader, state: str, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while line := await lines.readline():
            if json.loads(line).get("state") == state:
                return
    raise AssertionError(f"the page ended before it said {state}")


@contextlib.asynccontextmanager
async def running(server: AbstractContextManager[AsgiProcess]) -> AsyncIterator[AsgiProcess]:
    """Servers start beside each other: none of the stories waits for another's."""
    site = await asyncio.to_thread(server.__enter__)
    try:
        yield site
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)


def name(site: AsgiProcess) -> str:
    return type(site).__name__.removesuffix("Process")


# --- the same rules in a few seconds ---


@pytest.fixture
async def impatient_hub(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    monkeypatch.setattr(hub_module, "HEARTBEAT_SECONDS", 0.5)
    monkeypatch.setattr(hub_module, "SILENCE_SECONDS", 2.0)
    monkeypatch.setattr(hub_module, "BEAT_SECONDS", 0.5)
    hub = Hub.running()
    yield hub
    await hub.stop()


class FrozenHere(LocalPage):
    async def send(self, **command: Any) -> None:
        if command["type"] == "hello":
            await super().send(**command)


async def test_who_answers_the_beat_stays_and_who_does_not_is_closed(impatient_hub, mina, mina_session):
    awake, frozen = LocalPage(mina_session, acks=False), FrozenHere(mina_session, acks=False)
    for page in (awake, frozen):
        await page.connect()
        await page.until(lambda page: page.position)
    started = time.monotonic()
    assert await frozen.until_closed(10) == 4012
    assert 1.5 < time.monotonic() - started < 5
    assert frozen.bye is not None
    assert frozen.bye["reason"] == "no answer"
    assert len(frozen.kinds("heartbeat")) >= 1
    assert [str(frame["position"]) for frame in awake.kinds("heartbeat")] == [awake.position] * len(awake.kinds("heartbeat"))
    await awake.until(lambda page: len(page.kinds("heartbeat")) >= 4)
    assert awake.close_code is None
    assert [socket.identity.user for socket in impatient_hub._everyone()] == [str(mina.pk)]
    await awake.disconnect()
