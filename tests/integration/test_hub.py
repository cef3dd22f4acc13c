"""One process's hub: whatever is lost, doubled or late, whatever fails or hangs, its pages show the inbox as it is."""

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection, connections
from django.test.utils import CaptureQueriesContext

from notifications import Kind, notify
from notifications import hub as hub_module
from notifications.delivery import _read_pages
from notifications.hub import Hub
from notifications.inbox import read_page
from notifications.membership import Membership
from notifications.models import Notification
from notifications.protocol import Presence, WakeUp
from notifications.session import Identity, authenticate
from notifications.sockets import Socket
from notifications.statements import checkpoint
from notifications.steps import mark
from notifications.stream import WINDOW_STEPS
from tests.site.people import tell, users_with_sessions
from tests.site.wire import LocalPage

pytestmark = pytest.mark.django_db(transaction=True)

is_away = False
fickle = Kind("fickle", visible_to=lambda users, event: broken() if is_away else users)


def broken() -> Any:
    raise LookupError("the site's code fails")


@pytest.fixture
async def hub(transactional_db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> AsyncIterator[Hub]:
    """This loop's hub; its threads end with the test. No layer brings what a test drops, no watermark mends what it breaks."""
    settings.NOTIFICATIONS_CHANNEL_LAYER = "none"
    settings.NOTIFICATIONS_WATERMARK_SECONDS = 60.0
    monkeypatch.setattr(hub_module, "UNSHARED_WATERMARK_SECONDS", 60)
    hub = Hub.running()
    yield hub
    if not hub.is_draining:
        await hub.stop()


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    return random.randrange(10**6)


async def until(is_so: Callable[[], Any], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def inbox(user: User) -> list[tuple[str, bool]]:
    page = await sync_to_async(read_page)(user.pk, limit=1000)
    return [(item.title, item.read) for item in page.items]


def shown(page: LocalPage) -> list[tuple[str, bool]]:
    items = sorted(page.items.values(), key=lambda item: -item["number"])
    return [(item["title"], item["read"]) for item in items if not item["archived"]]


class Carrier:
    """Between the ring and the hub: drops, doubles, delays and reorders wake-ups."""

    def __init__(self, hub: Hub, chance: random.Random) -> None:
        self.hear, self.chance, self.late = hub.hear, chance, list[WakeUp]()

    def __call__(self, wake_up: WakeUp) -> None:
        fate = self.chance.random()
        if 0.2 <= fate < 0.4:
            self.late.append(wake_up)
            self.chance.shuffle(self.late)
        elif fate >= 0.4:
            for _ in range(1 if fate < 0.8 else 2):
                self.hear(wake_up)
            if self.late and fate > 0.7:
                self.hear(self.late.pop())


async def live_a_little(user: User, number: int, chance: random.Random) -> None:
    """Something arrives, and the user does something about what is there."""
    await tell(user, *(f"n{number}.{each}" for each in range(chance.choice((1, 1, 3)))))
    ids = [row async for row in Notification.objects.filter(recipient=user).values_list("event_id", flat=True)]
    if ids and number % 3 == 0:
        action: Any = chance.choice(("read", "unread", "archive", "unarchive", "delete"))
        await sync_to_async(mark)(user.pk, action, ids=chance.sample(ids, k=1))
    if number % 7 == 0:
        sweeping: Any = chance.choice(("read", "archive"))
        await sync_to_async(mark)(user.pk, sweeping, upto=chance.randrange(1, number + 2))


async def opened(page: LocalPage) -> None:
    """Connected, and on its first page: a page that gets it later gets the newest 20 rows only. Told to come back, it does, as
    a machine under load tells the handshakes that it could not decide in time.
    """
    while True:
        page.frames.clear()
        await page.connect()
        await page.until(lambda page: (page.position and page.kinds("welcome")) or page.close_code is not None)
        if page.close_code is None:
            return
        assert page.close_code == 4013


async def test_beyond_what_a_process_takes_a_handshake_is_told_to_come_again(hub, mina, mina_session, monkeypatch):
    monkeypatch.setattr("notifications.authority.HANDSHAKES_AT_ONCE", 0)
    page = LocalPage(mina_session)
    await page.connect()
    assert await page.until_closed() == 4013
    assert page.bye is not None
    assert page.bye["retry_after"] > 0


async def test_pages_agree_with_the_inbox_whatever_becomes_of_the_wake_ups(hub, mina, mina_session, monkeypatch, seed):
    """Dropped, doubled, delayed, reordered; pages come and go. The seed is in the failure."""
    chance = random.Random(seed)
    carrier = Carrier(hub, chance)
    monkeypatch.setattr(hub, "hear", carrier)
    pages = [LocalPage(mina_session) for _ in range(4)]
    for page in pages:
        await opened(page)
    for number in range(40):
        await live_a_little(mina, number, chance)
        page = chance.choice(pages)
        if number % 4 == 0:
            await page.disconnect()
            await opened(page)
        elif number % 4 == 2:
            await page.hello()
    for wake_up in carrier.late:
        carrier.hear(wake_up)
    monkeypatch.setattr(hub, "hear", carrier.hear)
    await tell(mina, "last")  # who is behind learns of it now
    for page in pages:
        await page.until(lambda page: "last" in page.titles)
    expected = await inbox(mina)
    for page in pages:
        await page.until(lambda page: shown(page) == expected)
        assert page.unread == sum(not is_read for _, is_read in expected), seed
        assert len(page.arrived) == len(set(page.arrived)), seed
        assert page.gaps == 0, seed
        await page.disconnect()


async def test_news_that_come_while_the_database_answers_are_not_forgotten(hub, mina, mina_session, monkeypatch):
    """The answer is older than the news, and nothing else comes to tell."""
    page = LocalPage(mina_session)
    await page.connect()
    await tell(mina, "before")
    await page.until(lambda page: page.titles == ["before"])
    run, hear, heard = hub.reader.run, hub.hear, asyncio.Event()

    def hear_and_tell(wake_up: WakeUp) -> None:
        hear(wake_up)
        heard.set()

    async def run_and_tell(job: Any, *arguments: Any) -> Any:
        result = await run(job, *arguments)
        if not heard.is_set():
            monkeypatch.setattr(hub, "hear", hear_and_tell)
            await tell(mina, "meanwhile")
            await heard.wait()
        return result

    monkeypatch.setattr(hub.reader, "run", run_and_tell)
    await page.hello()
    await page.until(lambda page: page.titles == ["meanwhile", "before"], 5)
    await page.disconnect()


async def test_a_page_that_does_not_read_harms_nobody_and_loses_nothing(hub, mina, mina_session):
    slow, quick = LocalPage(mina_session), LocalPage(mina_session)
    for page in (slow, quick):
        await page.connect()
        await page.until(lambda page: page.position)
    slow.wire.gate.clear()
    for number in range(100):
        await tell(mina, f"n{number}")
    await quick.until(lambda page: len(page.items) == 100)
    assert len(slow.items) == 0
    assert slow.wire._down.qsize() == 0
    await until(lambda: hub.delivery.behind == 0)  # nothing but the end of the send brings it back
    slow.wire.gate.set()
    await slow.until(lambda page: len(page.items) == 100)
    assert slow.arrived == [f"n{number}" for number in range(100)]
    for page in (slow, quick):
        await page.disconnect()


async def test_an_acknowledgement_brings_at_once_what_a_shut_window_held_back(hub, mina, mina_session):
    page = LocalPage(mina_session)
    await page.connect()
    await page.until(lambda page: page.position)
    page.acks = False
    await tell(mina, *(f"n{number}" for number in range(WINDOW_STEPS)))
    await page.until(lambda page: len(page.items) == WINDOW_STEPS)
    await tell(mina, "held")
    await until(lambda: hub.sockets[str(mina.pk)].copy().pop().stream.is_behind)
    await page.send(type="seen", upto=0, ref="r")
    await page.answer("r")
    assert "held" not in page.titles
    await page.acknowledge()
    await page.until(lambda page: page.titles[0] == "held", 5)
    await page.disconnect()


async def test_a_page_that_only_asks_and_never_reads_is_closed_as_too_slow(hub, mina_session, monkeypatch):
    """Answers pile up behind an unfinished send: at most so many."""
    monkeypatch.setattr("notifications.consumers.COMMANDS_PER_SECOND", 1e6)
    page = LocalPage(mina_session)
    await page.connect()
    await page.until(lambda page: page.position)
    (socket,) = hub.sockets[next(iter(hub.sockets))]
    page.wire.gate.clear()
    for number in range(200):
        await page.send(type="seen", upto=0, ref=f"r{number}")
        await asyncio.sleep(0)
    await until(lambda: not hub.sockets)
    assert len(socket._waiting) <= 66
    page.wire.gate.set()
    assert await page.until_closed() == 4008
    await asyncio.wait_for(page.wire.task, 5)


async def test_a_socket_that_is_ended_while_its_peer_does_not_read_is_freed(hub, mina, mina_session, monkeypatch):
    page = LocalPage(mina_session)
    await page.connect()
    await page.until(lambda page: page.position)
    (socket,) = hub.sockets[str(mina.pk)]
    page.wire.gate.clear()
    socket.end(4401, "signed out", None)
    done, _ = await asyncio.wait({page.wire.task}, timeout=4)
    page.wire.gate.set()
    page._reader.cancel()
    assert done, "the consumer waits for a peer that does not read"


async def test_hello_again_while_the_database_is_being_asked(hub, mina, mina_session, monkeypatch):
    """Each look takes a while; the page says where it stands, elsewhere and in another language, in the middle of one."""
    run = hub.reader.run

    async def slow(job: Any, *arguments: Any) -> Any:
        result = await run(job, *arguments)
        await asyncio.sleep(0.05)
        return result

    monkeypatch.setattr(hub.reader, "run", slow)
    await tell(mina, "one", "two", "three")
    page = LocalPage(mina_session)
    await page.connect()
    for position, language in (("", "de"), ("0", "en"), ("elsewhere.4", "de"), ("", "en"), ("", "de")):
        page.position, page.language = position, language
        await page.hello()
        await asyncio.sleep(0.02)
        await tell(mina, f"from {position or 'nowhere'}")
    await page.until(lambda page: len(page.titles) == 8 and page.unread == 8)
    assert await inbox(mina) == shown(page)
    await page.disconnect()


async def test_hello_in_another_language_while_its_page_is_being_read(hub, mina, mina_session, monkeypatch, caplog):
    """From the very same position, so that only the language tells the two apart."""
    run, jobs = hub.reader.run, []

    async def interrupted(job: Any, *arguments: Any) -> Any:
        jobs.append(job)
        if jobs.count(_read_pages) == 1 and job is _read_pages:
            page.language = "de"
            await page.hello()
            await asyncio.sleep(0.05)
        return await run(job, *arguments)

    monkeypatch.setattr(hub.reader, "run", interrupted)
    await tell(mina, "one")
    page = LocalPage(mina_session)
    await page.connect()
    await page.until(lambda page: page.titles == ["one"])
    assert jobs.count(_read_pages) == 2
    assert "hub_failed" not in caplog.text
    await page.disconnect()


async def test_a_database_that_fails_for_a_while_delays_and_loses_nothing(hub, mina, mina_session, monkeypatch):
    page = LocalPage(mina_session)
    await page.connect()
    await page.until(lambda page: page.position)
    run, failures = hub.reader.run, [OperationalError("away")] * 3

    async def failing(job: Any, *arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await run(job, *arguments)

    monkeypatch.setattr(hub.reader, "run", failing)
    await page.hello()
    await tell(mina, "one")
    await page.until(lambda page: page.titles == ["one"])
    assert not failures
    assert page.close_code is None
    await page.disconnect()


async def test_one_readers_failing_rule_of_visibility_stops_no_other_page(hub, mina, teo, mina_session, teo_session, monkeypatch):
    await sync_to_async(notify)("fickle", to=mina, title="restricted")
    await tell(mina, "plain")
    await tell(teo, "for Teo")
    monkeypatch.setattr(f"{__name__}.is_away", True)
    hers, his = LocalPage(mina_session), LocalPage(teo_session)
    await asyncio.gather(hers.connect(), his.connect())  # so that one look serves both
    await his.until(lambda page: page.titles == ["for Teo"], 5)
    assert "restricted" not in hers.titles
    monkeypatch.setattr(f"{__name__}.is_away", False)
    await hers.until(lambda page: page.position)
    for page in (hers, his):
        await page.disconnect()


@pytest.mark.parametrize("action", ["read", "unread", "archive", "unarchive", "delete"])
async def test_a_command_over_what_may_no_longer_be_seen_takes_it_off_every_page(hub, mina, mina_session, action):
    mina.is_staff = True
    await mina.asave()
    event = await sync_to_async(notify)("staff.only", to=mina, title="secret")
    while not await Notification.objects.filter(event=event).aexists():  # noqa: ASYNC110 - the relay's commit has no event
        await asyncio.sleep(0.01)
    if action.startswith("un"):
        for done_before in ("read", "archive"):
            await sync_to_async(mark)(mina.pk, done_before, ids=[event.pk])
    one, two = LocalPage(mina_session, position="0"), LocalPage(mina_session, position="0")
    for page in (one, two):
        await page.connect()
        await page.until(lambda page: event.pk in page.items or page.position != "0")
        page.frames.clear()
    await User.objects.filter(pk=mina.pk).aupdate(is_staff=False)  # in SQL: nobody is told
    await one.send(type=action, ids=[event.pk], ref="r")
    for page in (one, two):
        await page.until(lambda page: page.kinds("delta"))
        ((told,),) = [frame["items"] for frame in page.kinds("delta")]
        assert told == {"id": event.pk, "stamp": told["stamp"], "hidden": True}
        assert event.pk not in page.items
    assert (await one.answer("r"))["type"] == "done"
    for page in (one, two):
        await page.disconnect()


async def test_a_session_that_ends_during_its_handshake_opens_nothing_for_long(hub, mina, mina_session, monkeypatch):
    """The look-up found it valid; the logout is rung before the socket is there."""
    from notifications.protocol import SessionCheck

    identify = hub.authority.identify

    async def identified(key: str) -> Identity | None:
        identity = await identify(key)
        monkeypatch.setattr(hub.authority, "identify", identify)  # once
        await sync_to_async(mina.delete)()
        hub.hear(WakeUp(sessions=[SessionCheck(identity.user)]))
        return identity

    monkeypatch.setattr(hub.authority, "identify", identified)
    page = LocalPage(mina_session)
    await page.connect(greets=False)
    assert await page.until_closed(2) == 4401
    await asyncio.wait_for(page.wire.task, 5)


async def test_a_hub_spreads_its_pages_return_the_more_it_holds(hub):
    spreads = {}
    for count in (0, 150, 1500, 9000):
        hub.sockets.clear()
        hub.sockets.update({str(user): set() for user in range(count)})
        spreads[count] = hub.spread
    assert spreads == {0: 1.0, 150: 2.0, 1500: 11.0, 9000: hub_module.LONGEST_SPREAD_SECONDS}
    hub.sockets.clear()


async def test_the_hub_starts_no_second_time_after_its_drain(hub, mina_session):
    """The server is ending: a late handshake is told to come back, not taken in by a new hub with new threads."""
    await hub.drain()
    page = LocalPage(mina_session)
    try:
        await page.connect()
        assert await page.until_closed() in (4012, 4013)
        await asyncio.wait_for(page.wire.task, 5)
        assert Hub.running() is hub
    finally:
        Hub._all.pop(asyncio.get_running_loop(), None)


async def test_stopping_joins_the_threads_and_closes_their_connections(mina, mina_session):
    hub = Hub.running()
    page = LocalPage(mina_session)
    await page.connect()
    await tell(mina, "one")
    await page.until(lambda page: page.titles == ["one"])
    workers = (hub.reader, hub.authenticator, hub.relayer)
    held = [await worker.run(connection_of_this_thread) for worker in workers]
    threads = [await worker.run(threading.current_thread) for worker in workers]
    assert all(each.connection is not None for each in held)
    await page.disconnect()
    await hub.stop()
    assert not any(thread.is_alive() for thread in threads)
    assert all(each.connection is None for each in held)
    assert not [task for task in asyncio.all_tasks() if "Hub." in repr(task) or "Membership." in repr(task)]


def connection_of_this_thread() -> Any:
    connection.ensure_connection()
    return connections["default"]


async def test_sockets_of_two_loops_do_not_meet(mina, mina_session):
    """Tests and `asyncio.run` in one process: each loop has its own hub, and a closed loop's is nobody's."""
    first = Hub.running()
    await first.stop()

    def elsewhere() -> bool:
        async def run() -> bool:
            other = Hub.running()
            await other.stop()
            return other is not first

        return asyncio.run(run())

    assert await asyncio.to_thread(elsewhere)
    second = Hub.running()
    page = LocalPage(mina_session)
    await page.connect()
    await tell(mina, "one")
    await page.until(lambda page: page.titles == ["one"])
    await page.disconnect()
    await second.stop()


class RecoveringLayer:
    """A layer whose answers wait until `answers` is set, as those of a Redis that hangs."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.answers.set()
        self.members: set[tuple[str, str]] = set()
        self.channels = 0
        self.never = asyncio.Event()

    async def new_channel(self, prefix: str) -> str:
        self.channels += 1
        return f"{prefix}.{self.channels}"

    async def group_add(self, group: str, channel: str) -> None:
        await self.answers.wait()
        self.members.add((group, channel))

    async def group_discard(self, group: str, channel: str) -> None:
        await self.answers.wait()
        self.members.discard((group, channel))

    async def receive(self, channel: str) -> dict[str, Any]:
        await self.never.wait()
        return {}


async def test_a_group_joined_on_the_old_channel_is_joined_on_the_new_one_too(monkeypatch):
    """The layer hangs while a group is being joined and is renewed before that ends."""
    layer = RecoveringLayer()
    monkeypatch.setattr("notifications.membership.site_layer", lambda: layer)
    users = ["1"]
    membership = Membership("hub", users=users, hear=lambda wake_up: None, joined=lambda user: None)

    async def keep() -> None:
        while True:
            await membership.keep()

    tasks = [asyncio.ensure_future(membership.listen()), asyncio.ensure_future(keep())]
    try:
        membership.change("1")
        await until(lambda: len(layer.members) == 2)
        for _ in range(3):
            layer.answers.clear()
            users.append(str(len(users) + 1))
            membership.change(users[-1])
            await asyncio.sleep(0.02)  # keep() is at it
            membership._must_renew.set()
            await asyncio.sleep(0.02)  # listen() as well
            layer.answers.set()
            await asyncio.sleep(0.1)
            now = f"notifications.{layer.channels}"
            await until(lambda now=now: len([1 for _, channel in layer.members if channel == now]) == len(users) + 1, 3)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_frame_whose_send_fails_ends_quietly(hub, caplog):
    async def send(frame: str) -> None:
        await asyncio.sleep(0)
        raise ConnectionError("gone")

    socket = Socket(Identity(1, "1", ""), "key", send=send, end=lambda *args: None)
    for number in range(5):
        socket.push(f"{number}")
    await until(lambda: not socket.stream.is_sending)
    assert caplog.records == []


async def test_frames_leave_in_the_order_of_their_pushing(hub):
    sent: list[str] = []
    chance = random.Random(1)

    async def send(frame: str) -> None:
        for _ in range(chance.choice((0, 0, 1, 3))):
            await asyncio.sleep(0)
        sent.append(frame)

    socket = Socket(Identity(1, "1", ""), "key", send=send, end=lambda *args: None)
    for number in range(300):
        socket.push(str(number))
        if chance.random() < 0.3:
            await asyncio.sleep(0)
    await until(lambda: len(sent) == 300)
    assert sent == [str(number) for number in range(300)]


async def test_a_hub_that_is_asked_who_is_there_says_so(hub, mina, mina_session, monkeypatch):
    said: list[WakeUp] = []
    monkeypatch.setattr(hub_module, "ring", said.append)
    async with LocalPage(mina_session) as page:
        await page.until(lambda page: page.position)
        hub.hear(WakeUp(roll_call=True))
        hub.hear(WakeUp(present=[Presence(hub="another", process="web:1")]))
    ((presence,),) = [wake_up.present for wake_up in said]
    assert (presence.hub, presence.process.rpartition(":")[2]) == (hub.id, str(os.getpid()))
    assert (presence.sockets, presence.behind) == (1, 0)


async def test_sessions_are_looked_at_a_few_at_a_time_and_all_of_them(hub, monkeypatch):
    asked: list[int] = []

    def authenticated(keys: Sequence[str]) -> Any:
        asked.append(len(keys))
        return authenticate(keys)

    monkeypatch.setattr("notifications.authority.authenticate", authenticated)
    monkeypatch.setattr("notifications.authority.SESSIONS_PER_QUERY", 2)
    pages = [LocalPage(key) for _, key in await sync_to_async(users_with_sessions)(5)]
    for page in pages:
        await opened(page)
    asked.clear()
    await Session.objects.filter(session_key__in=[page.session for page in pages[::2]]).adelete()
    hub.authority.doubt()
    for page in pages[::2]:
        assert await page.until_closed() == 4401
    assert [page.close_code for page in pages[1::2]] == [None, None]
    assert asked[:3] == [2, 2, 1]


async def test_sqlites_log_is_emptied_beside_the_news_not_by_the_commit_that_brings_them(hub, mina, mina_session):
    """A log of 1,000 pages is moved into the database by the commit that fills it, some milliseconds before its news."""
    page = LocalPage(mina_session)
    await opened(page)
    if connection.vendor == "sqlite":
        await sync_to_async(empty_the_log)()
    titles = [f"n{number}" for number in range(100)]
    for count, title in enumerate(titles, start=1):
        await sync_to_async(notify)("plain", to=mina, title=title)
        await page.until(lambda page, count=count: len(page.items) == count)
        await hub.relayer.run(lambda: None)  # behind the checkpoint: one that meets a writer cannot start the log anew
    assert page.titles == titles[::-1]
    if connection.vendor == "sqlite":
        assert await sync_to_async(log_pages)() < 700


def test_a_site_that_leaves_its_log_to_another_program_is_left_alone(transactional_db):
    asked = ["PRAGMA wal_autocheckpoint", "PRAGMA wal_checkpoint(PASSIVE)"] if connection.vendor == "sqlite" else []
    with CaptureQueriesContext(connection) as queries:
        checkpoint("default")
    assert [query["sql"] for query in queries] == asked
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_autocheckpoint=0")
            try:
                with CaptureQueriesContext(connection) as queries:
                    checkpoint("default")
            finally:
                cursor.execute("PRAGMA wal_autocheckpoint=1000")
        assert [query["sql"] for query in queries] == asked[:1]


def test_a_log_that_cannot_be_moved_is_told_and_stops_nothing(transactional_db, monkeypatch, caplog):
    monkeypatch.setattr(connection, "vendor", "sqlite")
    monkeypatch.setattr(connection, "cursor", broken_database)
    checkpoint("default")
    assert [record.getMessage().partition(" ")[0] for record in caplog.records] == ["checkpoint_failed"]


def broken_database() -> Any:
    raise OperationalError("the disk is full")


def empty_the_log() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def log_pages() -> float:
    return Path(f"{connection.settings_dict['NAME']}-wal").stat().st_size / 4096
