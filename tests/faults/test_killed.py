"""A process that dies between the commit and the ring leaves rows, and whoever lives on finds them."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.management import call_command

from notifications import notify
from notifications.models import Event, Notification
from notifications.signals import event_committed
from tests.site.client import Page
from tests.site.writer import ROOT

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE_THE_RELAY, BEFORE_THE_RING = "before the relay", "before the ring"
COMMAND = """
    import json, os, pathlib, sys
    import tests.site.dying
    from notifications import notify

    for point, user_id, title in json.loads(sys.argv[1]):
        pathlib.Path(os.environ["DIE_AT"]).write_text(point)
        child = os.fork()
        if not child:
            notify("plain", to=user_id, title=title)
            sys.exit("still alive")
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == 9
"""  # a child each: starting Python takes longer than dying


async def die(env: dict[str, str], will: Path, *deaths: tuple[str, int, str]) -> None:
    """Commands notify, one after the other: each of a user, by a title, and is killed at its point of the way."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.site.settings", "DIE_AT": str(will), **env}
    command = [sys.executable, "-c", textwrap.dedent(COMMAND), json.dumps(deaths)]
    process = await asyncio.create_subprocess_exec(*command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def die_before_the_ring(site: Any, env: dict[str, str], directory: Path, user: Any) -> None:
    """While the site stands still: its hub may else relay first, and the command has nothing left to ring."""
    site.suspend()
    try:
        await die(env, directory / "will", (BEFORE_THE_RING, user.pk, "before the ring"))
    finally:
        site.resume()


@pytest.fixture
def site_env(database_url, redis_url) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url}


async def test_what_a_killed_process_had_committed_is_shown(live_site, site_env, tmp_path, mina, mina_session):
    """Before the relay: the sweep finds the event, within 5 s. Before the ring, the page's hello finds the rows."""
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await die(site_env, tmp_path / "will", (BEFORE_THE_RELAY, mina.pk, "before the relay"))
        await page.until(lambda page: page.titles == ["before the relay"], 10)
        await die_before_the_ring(live_site, site_env, tmp_path, mina)
        assert await Notification.objects.acount() == 2
        await page.hello()
        await page.until(lambda page: page.titles == ["before the ring", "before the relay"])


async def test_what_was_never_rung_is_shown_by_the_watermark(watchful_site, site_env, tmp_path, mina, mina_session):
    async with Page(watchful_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await die_before_the_ring(watchful_site, site_env, tmp_path, mina)
        await page.until(lambda page: page.titles == ["before the ring"], 5)


async def test_a_restarted_server_relays_what_its_killed_self_left(start_site, mina, mina_session, unrelayed):
    with start_site() as site:
        page = Page(site, mina_session)
        await page.connect()
        await page.until(lambda page: page.position)
        await asyncio.to_thread(site.kill)
        await page.until_closed()
        await unrelayed(mina, "left")
        assert await Notification.objects.acount() == 0
        await asyncio.to_thread(site.start)
        await page.connect()
        await page.until(lambda page: page.titles == ["left"], 10)
        await page.disconnect()


@pytest.fixture
def unrelayed():
    """Commits an event that this process neither relays nor rings."""

    def tell(user, title):
        receivers, event_committed.receivers = event_committed.receivers, []
        event_committed.sender_receivers_cache.clear()
        try:
            notify("plain", to=user, title=title)
        finally:
            event_committed.receivers = receivers
            event_committed.sender_receivers_cache.clear()

    return sync_to_async(tell)


def test_the_command_relays_what_is_pending_and_ends(mina, unrelayed, shared_layer):
    async_to_sync(unrelayed)(mina, "pending")
    assert Event.objects.filter(pending=True).count() == 1
    assert Notification.objects.count() == 0
    call_command("relay_notifications", "--once")
    assert Event.objects.filter(pending=True).count() == 0
    assert Notification.objects.get().event.content["title"] == "pending"


async def test_the_command_reaches_the_open_page_at_once(live_site, mina, mina_session, unrelayed):
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await unrelayed(mina, "pending")
        await sync_to_async(call_command)("relay_notifications", "--once")
        await page.until(lambda page: page.titles == ["pending"], 5)
