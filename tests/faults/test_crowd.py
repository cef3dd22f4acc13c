"""Everybody is cut off at once, by a killed server or a reset of all lines: they come back soon, spread, and cost little."""

import asyncio
import contextlib
import http.client
import json
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from notifications import notify
from notifications.models import Inbox
from tests.faults.checker import percentile
from tests.servers import AsgiProcess
from tests.site.crowd import Crowd
from tests.site.people import Browser, eventually, users_with_sessions
from tests.site.sockets import whatever_the_database

pytestmark = pytest.mark.django_db(transaction=True)

BACK_SECONDS = 90.0
QUERIES_EACH = 0.5
BUSIEST_SECOND = 0.5  # the share of all that may come back in it
CROWD = 1000
PAGE_SECONDS = 10.0  # the slowest page meanwhile: as long as people wait
PROBE_SECONDS = 0.25
FULL_SIZE = (pytest.mark.long, pytest.mark.alone)


def tell_everybody(title: str) -> None:
    notify("plain", to=User.objects.all(), title=title)


def positions() -> list[str]:
    """Where everybody's inbox stands, in the order of their ids."""
    return [str(inbox.position) for inbox in Inbox.objects.order_by("pk")]


def is_told(steps: int, count: int) -> bool:
    return Inbox.objects.filter(top=steps).count() == count


def restart(site: AsgiProcess) -> None:
    site.kill()
    site.start()


def statements(site: AsgiProcess) -> int:
    """What the app's own threads have sent to the database, in the life of this process."""
    counts: dict[str, int] = json.loads(Browser(site).get("/statements/"))
    return counts.get("app", 0)


def get_page(site: AsgiProcess, session: str) -> float:
    """Seconds that a signed-in person waits for a page with a bell. Raises if it is refused, or takes 30."""
    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    try:
        connection.request("GET", "/", headers={"Cookie": f"sessionid={session}"})
        answer = connection.getresponse()
        assert b"notification-bell" in answer.read()
        assert answer.status == 200
    finally:
        connection.close()
    return time.monotonic() - started


@contextlib.asynccontextmanager
async def pages_meanwhile(site: AsgiProcess, session: str) -> AsyncIterator[list[float]]:
    """How long each took of the pages that were asked for, several a second, while the block ran."""
    took: list[float] = []

    async def ask() -> None:
        while True:
            took.append(await asyncio.to_thread(get_page, site, session))
            await asyncio.sleep(PROBE_SECONDS)  # a person reads, too

    asking = asyncio.create_task(ask())
    try:
        yield took
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("count", "way"),
    [
        (60, "reset"),
        pytest.param(1500, "reset", marks=FULL_SIZE),
        pytest.param(1500, "killed", marks=(*FULL_SIZE, whatever_the_database)),
    ],
)
async def test_a_crowd_that_is_cut_off_at_once_comes_back_cheaply(start_site, figures, count, way):
    people = await sync_to_async(users_with_sessions)(count)
    sessions = [session for _, session in people]
    await sync_to_async(tell_everybody)("before")
    with start_site({"COUNT_STATEMENTS": "1"}) as site:
        await eventually(lambda: is_told(1, count), 30)
        async with Crowd(site, sessions) as crowd:
            before = await asyncio.to_thread(statements, site) if way == "reset" else 0
            cut_at = time.time()
            if way == "reset":
                await crowd.cut()
            else:
                await asyncio.to_thread(restart, site)
            await sync_to_async(tell_everybody)("meanwhile")
            async with pages_meanwhile(site, sessions[0]) as took:
                report = await crowd.report()
                while report["positions"] != await sync_to_async(positions)() or not all(report["answered"]):
                    missing = sum(not at for at in report["answered"])
                    assert time.time() - cut_at < BACK_SECONDS, f"{missing} are still away"
                    await asyncio.sleep(PROBE_SECONDS)  # the crowd tells when it is asked
                    report = await crowd.report()
                after = await asyncio.to_thread(statements, site)
            back = [at - cut_at for at in report["answered"]]
            busiest = max(Counter(int(at) for at in back).values())
            tries = sum(at >= cut_at for at in report["tries"])
    figures.at_most("all back", max(back), BACK_SECONDS)
    figures.record("median back", f"{percentile(back, 0.5):.3g} s")
    figures.record("tries each", round(tries / count, 2))
    if count >= CROWD:  # a few come back within a second, and share little
        figures.at_most("share of all in the busiest second", busiest / count, BUSIEST_SECOND, "")
        figures.at_most("statements each", (after - before) / count, QUERIES_EACH, "")
    else:
        figures.record("statements each", round((after - before) / count, 2))
    figures.record("pages meanwhile", len(took))
    figures.at_most("slowest page meanwhile", max(took), PAGE_SECONDS)
