"""A process that dies between the commit and the ring leaves rows, and whoever lives on finds them."""

import asyncio
import os
import subprocess
import sys
import textwrap

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.management import call_command

from notifications import notify
from notifications.models import Event, Notification
from notifications.signals import event_committed
from tests.site.client import Page

pytestmark = pytest.mark.django_db(transaction=True)

SUICIDE = """
    import os, signal, sys
    import django
    django.setup()
    from notifications import notify, relay, signals

    def die(*args, **named):
        os.kill(os.getpid(), signal.SIGKILL)

    if sys.argv[1] == "before the relay":
        signals.event_committed.disconnect(dispatch_uid="notifications.relay")
        signals.event_committed.connect(die)
    else:
        relay.ring = die
    notify("plain", to=int(sys.argv[2]), title=sys.argv[1])
"""


async def die(when: str, user_id: int, database_url: str, redis_url: str) -> None:
    env = {"DJANGO_SETTINGS_MODULE": "tests.site.settings", "DATABASE_URL": database_url, "REDIS_URL": redis_url}
    command = [sys.executable, "-c", textwrap.dedent(SUICIDE), when, str(user_id)]
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == -9, output.decode()


async def test_what_a_killed_process_had_committed_is_shown(live_site, database_url, redis_url, mina, mina_session):
    """Before the relay: the sweep finds the event, within 5 s. Before the ring, the page's hello finds the rows."""
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await die("before the relay", mina.pk, database_url, redis_url)
        await page.until(lambda page: page.titles == ["before the relay"], 10)
        await die("before the ring", mina.pk, database_url, redis_url)
        assert await Notification.objects.acount() == 2
        await page.hello()
        await page.until(lambda page: page.titles == ["before the ring", "before the relay"])


async def test_what_was_never_rung_is_shown_by_the_watermark(watchful_site, database_url, redis_url, mina, mina_session):
    async with Page(watchful_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await die("before the ring", mina.pk, database_url, redis_url)
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
