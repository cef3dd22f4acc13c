"""Redis forgets, restarts, hangs, resets, is told a wrong time: no socket closes, nothing is lost, no request notices, and
soon the layer carries the news again.

On each of the two Redis layers there are two servers: pages are open at one, the news comes from both.
"""

import asyncio
import functools
import itertools
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from notifications.ringer import HUBS, group, user_group
from tests.faults.checker import Commit, judge, percentile, settle
from tests.servers import AsgiProcess, RedisServer, TcpProxy, daphne_process, redis_server, tcp_proxy
from tests.site.client import Page
from tests.site.people import Browser, eventually
from tests.site.sockets import whatever_the_database

LAYERS_OWN = re.compile(
    r"Task exception was never retrieved\nfuture: <Task [^\n]*RedisChannelLayer\._clean_receive_backup\(\).*?(?=\n\d|\Z)",
    re.DOTALL,
)
"""The core layer forgets what has been received in a task that nobody awaits, so of one whose line was reset asyncio tells: up to
the next line of the log, which begins with a date or an address."""

pytestmark = [pytest.mark.django_db(transaction=True), whatever_the_database]

LAYERS = ("core", "pubsub")
FAULT_SECONDS = 7.0  # beyond the 5 s for which a hub waits for its echo, and three resets
CALM_REQUESTS = 15
REPAIR_SECONDS = 30.0
SLOWER_SECONDS = 0.1
RUNG_SECONDS = 0.5  # news that is shown within it has come by the layer: three times running no watermark is so lucky
PAUSE_SECONDS = 0.2  # between two requests of one server
AHEAD_SECONDS = 25 * 3600
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

AHEAD = """
    import sys, time
    if sys.argv[2]:  # no libfaketime: the clocks that the layer and the app ask are ahead all the same
        real = time.time
        time.time = lambda: real() + float(sys.argv[2])
        from datetime import timedelta
        from django.utils import timezone
        now = timezone.now
        timezone.now = lambda: now() + timedelta(seconds=float(sys.argv[2]))
    import django
    django.setup()
    from notifications import notify
    for title in sys.argv[3:]:
        notify("plain", to=int(sys.argv[1]), title=title)
        time.sleep(0.3)  # so that each is a ring of its own
"""


class Fleet:
    """Two servers on one layer, and what was told there."""

    def __init__(self, layer: str, here: AsgiProcess, there: AsgiProcess, redis: RedisServer) -> None:
        self.layer, self.here, self.there, self.redis = layer, here, there, redis

    def is_member(self, user: User) -> bool:
        """Whether the layer knows both hubs, and of the user's group the one hub that has the page."""
        wanted = {group(HUBS): 2, user_group(str(user.pk)): 1}
        with self.redis.client() as client:
            if self.layer == "core":
                return all(client.zcard(f"asgi:group:{name}") == count for name, count in wanted.items())
            counts: Any = client.pubsub_numsub(*(f"asgi__group__{name}" for name in wanted))
            return [count for _, count in counts] == list(wanted.values())


class Setting:
    def __init__(self, redis: RedisServer, proxy: TcpProxy, fleets: list[Fleet], env: dict[str, str]) -> None:
        self.redis, self.proxy, self.fleets, self.env = redis, proxy, fleets, env


@pytest.fixture(scope="module")
def setting(request, database_url: str) -> Iterator[Setting]:
    """Four servers on one Redis behind a proxy; the parameter is their watermark."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        proxy = stack.enter_context(tcp_proxy(redis.port))
        env = {"DATABASE_URL": database_url, "REDIS_URL": proxy.through(redis.url), "WATERMARK_SECONDS": request.param}
        fleets = []
        for layer in LAYERS:
            here, there = (stack.enter_context(daphne_process({**env, "LAYER": layer})) for _ in range(2))
            fleets.append(Fleet(layer, here, there, redis))
        yield Setting(redis, proxy, fleets, env)


class Story:
    """One user's pages, one a layer, and what is told to them meanwhile."""

    def __init__(self, setting: Setting, user: User, pages: dict[str, Page]) -> None:
        self.setting, self.user, self.pages = setting, user, pages
        self.commits: list[Commit] = []
        self.count = 0
        self.took: list[float] = []
        """Seconds, a request."""

    async def told(self, site: AsgiProcess) -> str:
        """A request that tells the user something, of this title. It must succeed."""
        self.count += 1
        title = f"n{self.count}"
        started = time.monotonic()
        await asyncio.to_thread(Browser(site).get, f"/tell/{self.user.pk}/{title}/")
        self.commits.append(Commit(title, (self.user.pk,), writer=str(site.port)))
        self.took.append(time.monotonic() - started)
        return title

    async def requests(self, *, until: Callable[[int], bool]) -> None:
        """Requests at all servers, one after the other at each."""

        async def at(site: AsgiProcess) -> None:
            for count in itertools.count():
                if until(count):
                    return
                await self.told(site)
                await asyncio.sleep(PAUSE_SECONDS)

        await asyncio.gather(*(at(site) for fleet in self.setting.fleets for site in (fleet.here, fleet.there)))

    async def check_repair(self, figures: Any) -> None:
        """From now on: until the layers know their hubs and each carries three rings running from one server to the other."""
        since = time.monotonic()

        async def repair(fleet: Fleet) -> float:
            rung = 0
            while rung < 3 and time.monotonic() - since < 2 * REPAIR_SECONDS:
                title = await self.told(fleet.there)
                try:
                    await self.pages[fleet.layer].until(functools.partial(shows, title), RUNG_SECONDS)
                except AssertionError:
                    rung = 0
                else:
                    rung += 1
                await asyncio.sleep(PAUSE_SECONDS)
            await eventually(lambda: fleet.is_member(self.user), REPAIR_SECONDS)
            return time.monotonic() - since

        for fleet, seconds in zip(self.setting.fleets, await asyncio.gather(*map(repair, self.setting.fleets)), strict=True):
            figures.at_most(f"repaired, {fleet.layer}", seconds, REPAIR_SECONDS)

    async def check_pages(self, figures: Any) -> None:
        await settle(self.pages.values(), self.commits)
        judge(self.commits, self.pages.values()).check(figures)
        figures.none("sockets closed", [page for page in self.pages.values() if page.close_code is not None])


def shows(title: str, page: Page) -> bool:
    return title in page.arrived


@asynccontextmanager
async def pages_open(setting: Setting, user: User, session: str) -> AsyncIterator[Story]:
    async with AsyncExitStack() as stack:
        pages = {}
        for fleet in setting.fleets:
            page = pages[fleet.layer] = await stack.enter_async_context(Page(fleet.here, session))
            page.user_id = user.pk  # type: ignore[attr-defined]  # the checker asks for it
            await page.until(lambda page: page.position)
        for fleet in setting.fleets:
            await eventually(functools.partial(fleet.is_member, user), REPAIR_SECONDS)
        yield Story(setting, user, pages)


# --- the faults: each is called to begin, and what it returns to end ---


def forgets(setting: Setting) -> Callable[[], None]:
    setting.redis.flush()
    return lambda: None


def restarts(setting: Setting) -> Callable[[], None]:
    setting.redis.restart()
    return lambda: None


def is_refused(setting: Setting) -> Callable[[], None]:
    setting.proxy.refuse()
    return setting.proxy.mend


def is_stopped(setting: Setting) -> Callable[[], None]:
    setting.redis.suspend()
    return setting.redis.resume


def is_a_black_hole(setting: Setting) -> Callable[[], None]:
    setting.proxy.swallow()
    return setting.proxy.mend


def resets(setting: Setting) -> Callable[[], None]:
    setting.proxy.reset_every(2)
    return setting.proxy.mend


LASTING = [restarts, is_refused, is_stopped, is_a_black_hole, resets]


@pytest.mark.parametrize("setting", ["1"], indirect=True)
@pytest.mark.parametrize("fault", [forgets, is_stopped])
async def test_by_a_watermark_of_one_second(setting, fault, mina, mina_session, figures):
    async with pages_open(setting, mina, mina_session) as story:
        await survives(fault, story, figures)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("setting", ["15"], indirect=True)
@pytest.mark.parametrize("fault", [forgets, *LASTING])
async def test_redis(setting, fault, mina, mina_session, figures):
    async with pages_open(setting, mina, mina_session) as story:
        await survives(fault, story, figures)


async def survives(fault: Callable[[Setting], Callable[[], None]], story: Story, figures: Any) -> None:
    setting = story.setting
    await story.requests(until=lambda count: count == 2)  # the first ones import and connect
    story.took.clear()
    await story.requests(until=lambda count: count == CALM_REQUESTS)
    calm = percentile(story.took, 0.95)
    story.took.clear()
    mend = await asyncio.to_thread(fault, setting)
    if fault in LASTING:
        started = time.monotonic()
        try:
            await story.requests(until=lambda count: time.monotonic() - started > FAULT_SECONDS)
        finally:
            mend()
    await story.check_repair(figures)
    if fault not in LASTING:  # else there have been as many: of a few the slowest alone would decide
        await story.requests(until=lambda count: count == CALM_REQUESTS)
    await story.check_pages(figures)
    figures.record("p95 of a request, calm", f"{calm:.3f} s")
    figures.at_most("p95 slower", percentile(story.took, 0.95) - calm, SLOWER_SECONDS)
    figures.none("tracebacks", [text for fleet in setting.fleets for text in tracebacks(fleet)])


def tracebacks(fleet: Fleet) -> list[str]:
    """Of the core layer, but for one of its own; the other layer logs its own."""
    logs = [LAYERS_OWN.sub("", log) for log in (fleet.here.log, fleet.there.log)] if fleet.layer == "core" else []
    return [log[log.index("Traceback") - 500 :][:4000] for log in logs if "Traceback" in log]


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("setting", ["15"], indirect=True)
async def test_a_publisher_whose_clock_is_ahead_silences_nobody_for_long(setting, mina, mina_session, figures):
    async with pages_open(setting, mina, mina_session) as story:
        for fleet in setting.fleets:
            titles = [f"{fleet.layer} {number}" for number in range(3)]
            publishing = asyncio.to_thread(publish_ahead, {**setting.env, "LAYER": fleet.layer}, mina, titles)
            was_silenced = await watched(asyncio.create_task(publishing), setting.redis, mina)
            story.commits += [Commit(title, (mina.pk,), writer=fleet.layer) for title in titles]
            if fleet.layer == "core":
                assert was_silenced  # the premise; a watermark at that moment heals it at once
        await story.check_repair(figures)
        await story.check_pages(figures)


async def watched(publishing: asyncio.Task[None], redis: RedisServer, user: User) -> bool:
    """Whether the user was silenced at any time while it ran."""
    was_silenced = False
    while not publishing.done():
        was_silenced = was_silenced or await asyncio.to_thread(is_silenced, redis, user)
        await asyncio.sleep(0.02)  # it works meanwhile
    await publishing
    return was_silenced


def is_silenced(redis: RedisServer, user: User) -> bool:
    with redis.client() as client:
        return client.zcard(f"asgi:group:{user_group(str(user.pk))}") == 0


def publish_ahead(env: dict[str, str], user: User, titles: list[str]) -> None:
    faked = (
        {"LD_PRELOAD": str(FAKETIME[0]), "FAKETIME": f"+{AHEAD_SECONDS}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        if FAKETIME
        else {}
    )
    command = [sys.executable, "-c", textwrap.dedent(AHEAD), str(user.pk), "" if FAKETIME else str(AHEAD_SECONDS), *titles]
    settings = {"DJANGO_SETTINGS_MODULE": "tests.site.settings"}
    subprocess.run(command, check=True, env={**os.environ, **env, **settings, **faked}, capture_output=True, timeout=60)
