"""The session rules the socket: every end of a session, over every session engine of Django's, at real servers.

Within 2 s where a signal tells, else within one watermark interval; what is committed after that bound reaches no page.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from tests.site.client import Page
from tests.site.people import tell_all
from tests.site.session_ends import END_ALL, ENGINES, FOUND, TOLD, WITH_BROWSER, Signed, engine_settings, signed_in

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

TOLD_SECONDS = 2.0
WATERMARK_SECONDS = 2.0
LOOK_SECONDS = 1.0  # what a look takes at most, and a busy machine
LONG = {"cached_db", "signed_cookies", "db"}  # in `make test` one of them stands for all; tests/integration has the rest
each_engine = pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in ENGINES]
)


@pytest.fixture
def site_on(start_site, redis_url: str, settings: Any) -> Callable[..., Any]:
    """A site, and this process, on the sessions of that engine."""

    def start(engine: str, watermark: float, **options: Any) -> Any:
        own = engine_settings(engine, redis_url.removesuffix("/0") + "/1")
        for name, value in own.items():
            setattr(settings, name, value)
        env = {"SITE_SETTINGS": json.dumps(own), "WATERMARK_SECONDS": str(watermark)}
        return start_site(env, settings="tests.site.varied", **options)

    return start


class Watched:
    """Somebody with a page here and one elsewhere, and when each of them was closed."""

    def __init__(self, site: Any, who: Signed) -> None:
        self.who = who
        self.here, self.elsewhere = Page(site, who.here), Page(site, who.elsewhere)
        self.ended = float("inf")
        self.closed: dict[Page, float] = {}
        self.closing: dict[Page, asyncio.Task[None]] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        for page in (self.here, self.elsewhere):
            await stack.enter_async_context(page)
            self.closing[page] = asyncio.create_task(self._until_closed(page))
        for page in (self.here, self.elsewhere):
            await page.until(lambda page: page.position)

    async def _until_closed(self, page: Page) -> None:
        await page.until_closed(120)
        self.closed[page] = time.monotonic()

    def forget(self) -> None:
        for task in self.closing.values():
            task.cancel()

    def late(self, page: Page) -> float:
        """Seconds from the session's end to the socket's, which may come before the end has returned."""
        return max(0.0, self.closed.get(page, float("inf")) - self.ended)


@asynccontextmanager
async def people_of(site: Any, names: Any) -> AsyncIterator[dict[str, Watched]]:
    """One of them for each end, their pages open and shown something."""
    await sync_to_async(User.objects.create_superuser)("admin", password="the first password")
    async with AsyncExitStack() as stack:
        watched = {}
        for name in names:
            options = {"with_browser": name in WITH_BROWSER, "expires": name == "session_expires"}
            watched[name] = Watched(site, await sync_to_async(signed_in)(site, name, **options))
            stack.callback(watched[name].forget)
        await asyncio.gather(*(each.open(stack) for each in watched.values()))
        yield watched


def tell_everybody(watched: dict[str, Watched]) -> None:
    """Each gets a notification that names the moment of its commit."""
    for each in watched.values():
        if User.objects.filter(pk=each.who.user_id).exists():
            tell_all(each.who.user_id, [str(time.monotonic())])


async def telling(watched: dict[str, Watched]) -> None:
    while True:
        await sync_to_async(tell_everybody)(watched)
        await asyncio.sleep(0.2)  # the pace of the news


@each_engine
async def test_what_a_signal_tells_closes_the_sockets_at_once(site_on, engine, figures):
    """The site would look by itself only after a minute."""
    with site_on(engine, 60) as site:
        async with people_of(site, TOLD) as watched:
            await ended(watched, lambda name: end_one(site, name, watched[name]), TOLD_SECONDS, engine, figures)
            for name, each in watched.items():
                await comes_back(site, name, each, engine)


@pytest.mark.long
@each_engine
async def test_what_nobody_tells_closes_the_sockets_within_a_watermark(site_on, engine, figures):
    names = [name for name in FOUND if engine != "signed_cookies" or name != "session_deleted"]  # nothing there to delete
    with site_on(engine, WATERMARK_SECONDS) as site:
        async with people_of(site, names) as watched:
            bound = WATERMARK_SECONDS + LOOK_SECONDS
            await ended(watched, lambda name: end_one(site, name, watched[name]), bound, engine, figures)
            for name, each in watched.items():
                await comes_back(site, name, each, engine)


async def end_one(site: Any, name: str, watched: Watched) -> None:
    end = {**TOLD, **FOUND}[name]
    await sync_to_async(end)(site, watched.who)
    watched.ended = watched.who.expires_at or time.monotonic()


async def ended(
    watched: dict[str, Watched], end: Callable[[str], Awaitable[None]], bound: float, engine: str, figures: Any
) -> None:
    """End everybody's session while news flows, and judge."""
    news = asyncio.create_task(telling(watched))
    try:
        for name in watched:
            await end(name)
        concerned = {name: concerned_by(name, each, engine) for name, each in watched.items()}
        closing = [watched[name].closing[page] for name, pages in concerned.items() for page in pages]
        latest = max(each.ended for each in watched.values()) + bound + 5
        await asyncio.wait(closing, timeout=latest - time.monotonic())
    finally:
        news.cancel()
    last = time.monotonic()
    await sync_to_async(tell_everybody)(watched)
    late = {name: max(watched[name].late(page) for page in pages) for name, pages in concerned.items()}
    for name, seconds in late.items():
        figures.record(f"{engine}: {name}", f"{seconds:.2f} s")
    figures.at_most(f"{engine}: session's end to socket's end", max(late.values()), bound)
    leaked = [
        (name, title)
        for name, pages in concerned.items()
        for page in pages
        for title in page.titles
        if float(title) > watched[name].ended + bound
    ]
    figures.none(f"{engine}: shown though committed after the bound", leaked)
    assert all(page.close_code == 4401 for name in watched for page in concerned[name])
    for name, each in watched.items():
        if each.elsewhere not in concerned[name]:
            assert each.elsewhere.close_code is None, name
            await each.elsewhere.until(lambda page: float(page.titles[0]) > last)


def concerned_by(name: str, watched: Watched, engine: str) -> list[Page]:
    ends_all = name in END_ALL or (engine == "signed_cookies" and name in {*TOLD})
    return [watched.here, watched.elsewhere] if ends_all else [watched.here]


async def comes_back(site: Any, name: str, each: Watched, engine: str) -> None:
    """Once and silently, with the cookie that the browser has now; never as the one that was signed in."""
    page, browser = each.here, each.who.browser
    if name in ("password_changed_by_the_user", "another_user_signs_in"):
        assert browser is not None
        page.cookies["sessionid"] = browser.cookies["sessionid"]
        assert browser.cookies["sessionid"] != each.who.here
        page.frames.clear()
        await page.connect()
        await page.until(lambda page: page.kinds("delta", "reset"))
        admin = await User.objects.aget(username="admin")
        await sync_to_async(tell_all)(each.who.user_id, ["hers alone"])
        await sync_to_async(tell_all)(admin, [f"the admin's, {name}"])
        if name == "another_user_signs_in":
            await page.until(lambda page: page.titles[:1] == [f"the admin's, {name}"])
            assert "hers alone" not in str(page.frames)
        else:
            await page.until(lambda page: page.titles[0] == "hers alone")
            assert "the admin's" not in str(page.frames)
    is_still_good = engine == "signed_cookies" and name.startswith(("logout", "another"))  # nobody could take that cookie back
    if not is_still_good:
        gone = Page(site, each.who.here)
        await gone.connect()
        assert await gone.until_closed() == 4401
        assert gone.kinds("welcome", "delta", "reset") == []
        await gone.disconnect()
