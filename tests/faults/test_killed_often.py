"""The same deaths twenty times, each time with a restart, and with no other server that would sweep beside it."""

import asyncio
import contextlib
import http.client
import time

import pytest
from asgiref.sync import sync_to_async

from notifications.models import Event, Notification
from tests.faults.test_killed import BEFORE_THE_RELAY, BEFORE_THE_RING, die, site_env
from tests.site.client import Page
from tests.site.people import Browser, users_with_sessions

__all__ = ["site_env"]

pytestmark = pytest.mark.django_db(transaction=True)

RESTART_SECONDS = 10.0
KILLS = 10  # of a server in a request, and as many of commands


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_what_a_server_killed_in_a_request_had_committed_is_shown_after_its_restart(
    start_site, tmp_path, figures, mina, mina_session
):
    """With no new traffic: the page comes back, and nobody notifies anybody."""
    will = tmp_path / "will"
    took = []
    with start_site({"DIE_AT": str(will)}, application="tests.site.dying:application") as site:
        page = Page(site, mina_session)
        for number in range(KILLS):
            await page.connect()
            await page.until(lambda page: page.kinds("delta", "reset"))
            point = (BEFORE_THE_RELAY, BEFORE_THE_RING)[number % 2]
            await asyncio.to_thread(will.write_text, point)
            with contextlib.suppress(OSError, http.client.HTTPException):  # the relay may die after the answer
                await asyncio.to_thread(Browser(site).get, f"/tell/{mina.pk}/n{number}/")
            await page.until_closed()
            assert not page.titles or page.titles[0] != f"n{number}"
            assert await Notification.objects.acount() == number + (point == BEFORE_THE_RING)  # the premise
            started = time.monotonic()
            await asyncio.to_thread(site.restart)
            await page.connect()
            await page.until(lambda page, wanted=f"n{number}": page.titles[:1] == [wanted], RESTART_SECONDS)
            took.append(time.monotonic() - started)
            await page.disconnect()
    assert page.arrived == [f"n{number}" for number in range(KILLS)]
    figures.record("shown after SIGKILL in a view", f"{len(took)} of {KILLS}")
    figures.at_most("slowest from restart to shown (view)", max(took), RESTART_SECONDS)


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_what_killed_commands_had_committed_is_shown_after_the_restart_of_all(start_site, site_env, tmp_path, figures):
    """As after a power cut: the commands and the server die, only the server comes back."""
    people = await sync_to_async(users_with_sessions)(KILLS)
    with start_site() as site:
        pages = [Page(site, session) for _, session in people]
        await asyncio.gather(*(page.connect() for page in pages))
        await asyncio.gather(*(page.until(lambda page: page.position) for page in pages))
        await asyncio.to_thread(site.kill)
        await asyncio.gather(*(page.until_closed() for page in pages))
        points = [BEFORE_THE_RING] * (KILLS // 2) + [BEFORE_THE_RELAY] * (KILLS // 2)  # a relay would take others' events along
        deaths = [(point, user.pk, f"n{number}") for number, (point, (user, _)) in enumerate(zip(points, people, strict=True))]
        await die(site_env, tmp_path / "will", *deaths)
        assert await Notification.objects.acount() == await Event.objects.filter(pending=True).acount() == KILLS // 2
        started = time.monotonic()
        await asyncio.to_thread(site.start)
        await asyncio.gather(*(page.connect() for page in pages))
        left = RESTART_SECONDS - (time.monotonic() - started)
        for number, page in enumerate(pages):
            await page.until(lambda page, wanted=f"n{number}": page.titles == [wanted], left)
        figures.record("shown after SIGKILL of a command", f"{len(pages)} of {KILLS}")
        figures.at_most("from restart to all shown (commands)", time.monotonic() - started, RESTART_SECONDS)
        await asyncio.gather(*(page.disconnect() for page in pages))
