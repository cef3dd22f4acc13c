"""Server-sent events: a page without WebSocket gets the socket's frames, resumes by itself, and holds no more than it reads."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from notifications import event_stream as module
from notifications import hub as hub_module
from notifications import notify, socket_closed, socket_opened
from notifications.event_stream import event_stream
from notifications.hub import HEARTBEAT_SECONDS, SILENCE_SECONDS, Hub
from notifications.inbox import read_page
from notifications.models import Event, Inbox, Notification
from notifications.protocol import DELTA_ROWS, RESET_ROWS, SessionCheck, WakeUp
from notifications.sockets import Socket
from notifications.steps import mark
from notifications.stream import CATCH_UP_BYTES, WINDOW_STEPS
from tests.integration.test_hub import Carrier
from tests.site.events import LocalEventPage, Refused
from tests.site.people import eventually, tell
from tests.site.wire import LocalPage

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def hub(transactional_db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> AsyncIterator[Hub]:
    """This loop's hub. No layer and no watermark mend what a test breaks."""
    settings.NOTIFICATIONS_CHANNEL_LAYER = "none"
    settings.NOTIFICATIONS_WATERMARK_SECONDS = 60.0
    monkeypatch.setattr(hub_module, "UNSHARED_WATERMARK_SECONDS", 60)
    hub = Hub.running()
    yield hub
    await (hub.drain() if hub.is_draining else hub.stop())
    Hub._all.pop(asyncio.get_running_loop(), None)


async def until(is_so: Callable[[], Any], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def only_socket(hub: Hub) -> Socket:
    ((socket,),) = hub.sockets.values()
    return socket


def names(count: int) -> list[str]:
    return [f"n{number}" for number in range(count)]


async def told(user: User, *titles: str) -> str:
    """It has arrived; the position that the inbox has come to."""
    await tell(user, *titles)
    await eventually(lambda: not Event.objects.filter(pending=True).exists())
    return str((await Inbox.objects.aget(pk=user.pk)).position)


async def asked(session: str | None = None, **scope: Any) -> tuple[int, dict[bytes, bytes], bytes]:
    """The whole answer to a request that is refused."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [*scope.pop("headers", []), *([(b"cookie", f"sessionid={session}".encode())] if session else [])]
    await event_stream(
        {"type": "http", "method": "GET", "query_string": b"", **scope, "headers": headers}, asyncio.Event().wait, send
    )
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


# What it brings


async def test_a_page_is_welcomed_brought_on_and_kept_current(hub, mina, mina_session):
    await tell(mina, "before")
    await hub.relayer.run(lambda: None)  # behind the relay: the first page holds it
    async with LocalEventPage(mina_session) as page:
        await page.until(lambda page: page.titles == ["before"])
        await tell(mina, "live")
        await page.until(lambda page: page.titles == ["live", "before"])
        welcome, reset, delta = page.frames
        assert welcome == {"type": "welcome", "version": 1, "heartbeat_seconds": HEARTBEAT_SECONDS, "spread_seconds": hub.spread}
        assert (reset["type"], delta["type"], delta["base"]) == ("reset", "delta", reset["position"])
        assert page.last_event_id == delta["position"] == str((await Inbox.objects.aget()).position)
        assert 1000 <= page.retry <= 1000 * (1 + hub.spread)
        assert page.headers == {
            "content-type": "text/event-stream",
            "cache-control": "private, no-store, no-transform",
            "x-accel-buffering": "no",
        }


async def test_a_page_resumes_by_its_last_event_whatever_its_address_says(hub, mina, mina_session):
    await tell(mina, "one")
    page = LocalEventPage(mina_session, position="0")
    await page.connect()
    await page.until(lambda page: page.titles == ["one"])
    await page.disconnect()
    await tell(mina, "two")
    page.frames.clear()
    await page.connect()
    await page.until(lambda page: page.titles == ["two", "one"])
    assert page.printed_at == "0"
    assert [len(frame["items"]) for frame in page.kinds("delta")] == [1]
    await page.disconnect()


async def test_a_page_that_missed_nothing_is_told_so(hub, mina, mina_session):
    """An empty delta: what the page shows is right, since at least this was said."""
    position = await told(mina, "one")
    async with LocalEventPage(mina_session, position=position) as page:
        await page.until(lambda page: page.kinds("delta"))
        (delta,) = page.kinds("delta", "reset")
        assert (delta["base"], delta["position"], delta["items"]) == (position, position, [])


async def test_texts_are_in_the_pages_language(hub, mina, mina_session):
    from notifications import Text

    await sync_to_async(notify)("plain", to=mina, title=Text("Order %(number)s is %(status)s", number="7", status="da"))
    for language, title in (("de-at", "Bestellung 7 ist da"), ("ko", "Order 7 is da")):
        async with LocalEventPage(mina_session, language=language) as page:
            await page.until(lambda page, title=title: page.titles == [title])


async def test_what_its_user_may_no_longer_see_comes_as_hidden(hub, mina, mina_session):
    await User.objects.filter(pk=mina.pk).aupdate(is_staff=True)
    event = await sync_to_async(notify)("staff.only", to=mina, title="secret")
    async with LocalEventPage(mina_session, position="0") as page:
        await page.until(lambda page: page.titles == ["secret"])
        await User.objects.filter(pk=mina.pk).aupdate(is_staff=False)
        await sync_to_async(mark)(mina.pk, "read", ids=[event.pk])
        await page.until(lambda page: not page.items)
    async with LocalEventPage(mina_session, position="0") as page:
        await page.until(lambda page: page.position)
        assert "secret" not in json.dumps(page.frames)


async def test_a_beat_names_the_position_and_silence_ends_nothing(hub, mina, mina_session):
    async with LocalEventPage(mina_session) as page:
        await page.until(lambda page: page.position)
        hub._look_at(only_socket(hub), time.monotonic() + SILENCE_SECONDS + 10)
        await page.until(lambda page: page.kinds("heartbeat"))
        assert page.kinds("heartbeat") == [{"type": "heartbeat", "position": page.position}]
        await tell(mina, "still here")
        await page.until(lambda page: page.titles == ["still here"])
        assert page.streams == 1


async def test_a_socket_that_is_silent_still_ends(hub, mina_session):
    """The premise of the test above."""
    async with LocalPage(mina_session) as page:
        await page.until(lambda page: page.position)
        hub._look_at(only_socket(hub), time.monotonic() + SILENCE_SECONDS + 10)
        assert await page.until_closed() == 4012


# Where it ends, and how it goes on


async def test_a_stream_ends_at_its_size_and_goes_on(hub, mina, mina_session):
    page = LocalEventPage(mina_session)
    await page.connect()
    await page.until(lambda page: page.position)
    for name in names(150):
        await tell(mina, name)
    await page.until(lambda page: len(page.items) == 150)
    await page.disconnect()
    assert page.arrived == names(150)
    byes = page.kinds("bye")
    assert {(bye["code"], bye["retry_after"]) for bye in byes} == {(4012, 0.0)}
    assert 1 <= len(byes) <= 150 // (WINDOW_STEPS // 2)
    assert page.kinds("reset")[1:] == []


async def test_a_long_catch_up_is_not_ended_before_its_end(hub, mina, mina_session):
    """A page's position moves by whole catch-ups: one that ends in the middle would begin again for ever."""
    position = await told(mina, "first")
    await told(mina, *names(RESET_ROWS))
    page = LocalEventPage(mina_session, position=position, returns=False)
    await page.connect()
    assert await page.until_closed() == 4012
    assert page.arrived == names(RESET_ROWS)
    assert len(page.kinds("delta")) >= RESET_ROWS / DELTA_ROWS
    assert [frame["type"] for frame in page.frames] == ["welcome", *["delta"] * len(page.kinds("delta")), "bye"]


async def test_a_catch_up_past_1_mib_becomes_a_fresh_page(hub, mina, mina_session):
    def tell_at_length() -> None:
        for number in range(160):
            notify("plain", to=mina, title=f"n{number}", body="x" * 7000)

    await sync_to_async(tell_at_length)()
    await told(mina, "the last")
    page = LocalEventPage(mina_session, position="0", returns=False)
    await page.connect()
    assert await page.until_closed() == 4012
    (reset,) = page.kinds("reset")
    assert (len(reset["items"]), reset["unread"]) == (20, 161)
    sent = sum(len(json.dumps(frame)) for frame in page.frames)
    assert CATCH_UP_BYTES < sent < 1.5 * CATCH_UP_BYTES
    page.returns = True
    await page.connect()
    await tell(mina, "and on")
    await page.until(lambda page: page.titles[0] == "and on")
    assert page.kinds("reset") == [reset]
    await page.disconnect()


async def test_a_stream_ends_at_its_age_and_goes_on(hub, mina, mina_session, monkeypatch):
    monkeypatch.setattr(module, "STREAM_SECONDS", 0.3)
    page = LocalEventPage(mina_session)
    await page.connect()
    await page.until(lambda page: page.streams == 3)
    await tell(mina, "one")
    await page.until(lambda page: page.titles == ["one"])
    await page.disconnect()
    assert {(bye["code"], bye["reason"], bye["retry_after"]) for bye in page.kinds("bye")} == {(4012, "go on from here", 0.0)}


async def test_the_end_of_the_session_is_the_end_of_the_stream(hub, mina, mina_session):
    async with LocalEventPage(mina_session) as page:
        await page.until(lambda page: page.position)
        await sync_to_async(User.objects.filter(pk=mina.pk).update)(is_active=False)
        hub.hear(WakeUp(sessions=[SessionCheck(str(mina.pk), ask=True)]))
        assert await page.until_closed() == 4401
        assert page.bye == {"type": "bye", "code": 4401, "reason": "signed out", "retry_after": None}
        assert not hub.sockets
        with pytest.raises(Refused) as refused:
            await page.connect()
        assert refused.value.status == 401


async def test_a_hub_that_drains_says_goodbye_and_lets_nobody_in(hub, mina, mina_session):
    page, further = LocalEventPage(mina_session, returns=False), LocalEventPage(mina_session, returns=False)
    await page.connect()
    await page.until(lambda page: page.position)
    await asyncio.wait_for(hub.drain(), 4)
    assert await page.until_closed() == 4012
    assert page.bye["reason"] == "restart"
    assert 0 < page.bye["retry_after"] <= 30
    assert page.retry == int(1000 * page.bye["retry_after"]), "for a browser that comes back by itself"
    await further.connect()
    assert await further.until_closed() == 4013
    assert [frame["type"] for frame in further.frames] == ["bye"]
    for each in (page, further):
        await each.disconnect()


async def test_a_drain_that_is_asked_for_twice_is_one(hub, mina, mina_session):
    """uvicorn's end is noticed, and said later once more by `lifespan`: the hub may not end before the goodbyes are said."""
    page = LocalEventPage(mina_session, returns=False)
    await page.connect()
    await page.until(lambda page: page.position)
    socket = only_socket(hub)
    page.socket.gate.clear()
    hub.drain()
    await asyncio.wait_for(hub.drain(), 4)
    assert not socket.is_open
    page.socket.gate.set()
    page._reader.cancel()


async def test_a_drain_that_begins_during_the_asking_is_told(hub, mina_session, monkeypatch):
    """Whoever got in after it would hold the server up."""
    identify = hub.authority.identify

    async def identified(key: str) -> Any:
        identity = await identify(key)
        hub.drain()
        return identity

    monkeypatch.setattr(hub.authority, "identify", identified)
    for page in (LocalEventPage(mina_session, returns=False), LocalPage(mina_session)):
        await page.connect()
        assert await page.until_closed() == 4013
    assert not hub.sockets


async def test_a_server_that_means_to_stop_is_noticed(hub, mina, mina_session, monkeypatch):
    """uvicorn waits for the last response before it says so."""
    page = LocalEventPage(mina_session, returns=False)
    await page.connect()
    await page.until(lambda page: page.position)
    monkeypatch.setattr(hub_module, "is_stopping", lambda: True)
    assert await page.until_closed(5) == 4012
    assert page.bye["reason"] == "restart"
    await page.disconnect()


# Who gets one


STRANGERS: dict[str, Callable[[str], str | None]] = {
    "nobody": lambda session: None,
    "an unknown session": lambda session: "a" * 32,
    "half a session": lambda session: session[:16],
}


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_a_stranger_gets_401_at_once(hub, mina_session, stranger):
    status, headers, body = await asked(STRANGERS[stranger](mina_session))
    assert (status, body) == (401, b"signed out\n")
    assert b"no-store" in headers[b"cache-control"]


REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "by POST": (405, {"method": "POST"}),
    "the head": (405, {"method": "HEAD"}),
    "from another site": (403, {"headers": [(b"sec-fetch-site", b"cross-site")]}),
    "a long position": (400, {"query_string": b"position=" + b"x" * 65}),
    "a long last event": (400, {"headers": [(b"last-event-id", b"x" * 65)]}),
    "a long language": (400, {"query_string": b"language=" + b"x" * 36}),
    "1,500 fields": (400, {"query_string": b"&".join([b"x=1"] * 1500)}),
}


@pytest.mark.parametrize("question", REFUSED)
async def test_what_is_no_question_is_refused(hub, mina_session, question):
    status, scope = REFUSED[question]
    assert (await asked(mina_session, **scope))[0] == status
    assert not hub.sockets


@pytest.mark.parametrize("last", [b"nonsense", b"\xff\xfe", b"elsewhere.7", b"", "\N{GRINNING FACE}".encode()])
async def test_a_last_event_that_means_nothing_is_answered_by_a_fresh_page(hub, mina, mina_session, last):
    await tell(mina, "one")
    page = LocalEventPage(mina_session)
    page.last_event_id = last.decode("latin-1")
    await page.connect()
    await page.until(lambda page: page.titles == ["one"])
    assert len(page.kinds("reset")) == 1
    await page.disconnect()


async def test_streams_and_sockets_of_a_user_are_counted_together(hub, mina, teo, mina_session, teo_session, settings):
    settings.NOTIFICATIONS_SOCKETS_PER_USER = 2
    socket, stream = LocalPage(mina_session), LocalEventPage(mina_session)
    for page in (socket, stream):
        await page.connect()
        await page.until(lambda page: page.position)
    for further in (LocalPage(mina_session), LocalEventPage(mina_session, returns=False)):
        await further.connect()
        assert await further.until_closed() == 4029
        assert further.bye["retry_after"] > 0
        assert [frame["type"] for frame in further.frames] == ["bye"]
    async with LocalEventPage(teo_session) as his:
        await his.until(lambda page: page.position)
    for page in (socket, stream):
        await page.disconnect()
    async with LocalEventPage(mina_session) as later:
        await later.until(lambda page: page.position)


async def test_where_too_many_knock_a_page_is_told_to_come_again(hub, mina_session, monkeypatch):
    monkeypatch.setattr("notifications.authority.HANDSHAKES_AT_ONCE", 0)
    page = LocalEventPage(mina_session, returns=False)
    await page.connect()
    assert await page.until_closed() == 4013
    assert page.bye["retry_after"] > 0
    await page.disconnect()


async def test_a_session_that_ends_during_the_asking_streams_nothing_for_long(hub, mina, mina_session, monkeypatch):
    identify = hub.authority.identify

    async def identified(key: str) -> Any:
        identity = await identify(key)
        await sync_to_async(mina.delete)()
        hub.hear(WakeUp(sessions=[SessionCheck(identity.user)]))
        return identity

    monkeypatch.setattr(hub.authority, "identify", identified)
    page = LocalEventPage(mina_session)
    await page.connect()
    assert await page.until_closed(2) == 4401
    await page.disconnect()


# What it holds


@pytest.fixture
def heard() -> Any:
    """The public signals about sockets, in order."""
    told: list[tuple[str, Any]] = []

    def opened(user_id: Any, **_: Any) -> None:
        told.append(("opened", user_id))

    def closed(user_id: Any, code: int, **_: Any) -> None:
        told.append((f"closed with {code}", user_id))

    socket_opened.connect(opened)
    socket_closed.connect(closed)
    yield told
    socket_opened.disconnect(opened)
    socket_closed.disconnect(closed)


def tasks_of_streams() -> list[Any]:
    return [task for task in asyncio.all_tasks() if "notifications/event_stream.py" in repr(task)]


async def test_who_leaves_is_freed_and_the_site_hears_of_both(hub, mina, mina_session, heard):
    pages = [LocalEventPage(mina_session) for _ in range(5)]
    for page in pages:
        await page.connect()
        await page.until(lambda page: page.position)
    assert len(hub.sockets[str(mina.pk)]) == 5
    for page in pages:
        await page.disconnect()
    assert not hub.sockets
    assert hub.delivery.behind == 0
    assert tasks_of_streams() == []
    assert sorted(heard) == [("closed with 1006", mina.pk)] * 5 + [("opened", mina.pk)] * 5


async def test_who_leaves_while_being_written_to_is_freed(hub, mina, mina_session):
    page = LocalEventPage(mina_session)
    await page.connect()
    await page.until(lambda page: page.position)
    page.socket.gate.clear()
    await tell(mina, "one")
    await until(lambda: only_socket(hub).stream.is_sending)
    page.socket._up.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(page.socket.task, 3)
    assert not hub.sockets
    page.socket.gate.set()  # as a server that gives the line up
    await until(lambda: not tasks_of_streams())
    page._reader.cancel()


async def test_a_killed_request_is_freed(hub, mina, mina_session, heard):
    """A server that stops, or has lost its patience, cancels the application."""
    page = LocalEventPage(mina_session, returns=False)
    await page.connect()
    await page.until(lambda page: page.position)
    page.socket.task.cancel()
    await asyncio.wait({page.socket.task}, timeout=3)
    assert page.socket.task.cancelled()
    assert not hub.sockets
    assert heard == [("opened", mina.pk), ("closed with 1006", mina.pk)]
    page._reader.cancel()


async def test_a_goodbye_that_has_begun_survives_the_servers_kill(hub, mina, mina_session):
    """Daphne cancels its applications in the same turn in which it lets the hub drain."""
    page = LocalEventPage(mina_session, returns=False)
    await page.connect()
    await page.until(lambda page: page.position)
    drained = hub.drain()
    page.socket.task.cancel()
    assert await page.until_closed() == 4012
    assert (await asyncio.wait({page.socket.task}, timeout=3))[0]
    assert page.bye is not None
    await drained
    await page._reader


async def test_a_peer_that_does_not_read_is_held_by_one_frame_and_loses_nothing(hub, mina, mina_session):
    slow = LocalEventPage(mina_session)
    await slow.connect()
    await slow.until(lambda page: page.position)
    slow.socket.gate.clear()
    socket = only_socket(hub)
    first, *others, last = names(300)
    await tell(mina, first)
    await until(lambda: socket.stream.is_sending)
    under_way = socket.stream._size
    for name in others:
        await tell(mina, name)
    await told(mina, last)
    await until(lambda: hub.delivery.behind == 0)
    assert len(socket._waiting) == 0
    assert socket.stream._size == under_way, "more was sent to a peer that does not read"
    slow.socket.gate.set()
    await slow.until(lambda page: len(page.items) == 300)
    assert slow.arrived == names(300)
    await slow.disconnect()


async def test_a_stream_that_ends_while_its_peer_does_not_read_is_freed(hub, mina, mina_session):
    page = LocalEventPage(mina_session, returns=False)
    await page.connect()
    await page.until(lambda page: page.position)
    page.socket.gate.clear()
    await tell(mina, "one")
    await until(lambda: only_socket(hub).stream.is_sending)
    socket = only_socket(hub)
    socket.end(4401, "signed out", None)
    assert not hub.sockets
    done, _ = await asyncio.wait({page.socket.task}, timeout=4)
    assert done, "the stream waits for a peer that does not read"
    assert not socket.is_open
    page.socket.gate.set()
    page._reader.cancel()


async def test_a_frame_under_way_is_not_overtaken_by_the_goodbye(hub, mina, mina_session):
    page = LocalEventPage(mina_session, returns=False)
    await page.connect()
    await page.until(lambda page: page.position)
    page.socket.gate.clear()
    await tell(mina, "one")
    await until(lambda: only_socket(hub).stream.is_sending)
    only_socket(hub).end(4012, "restart", 1.0)
    page.socket.gate.set()
    assert await page.until_closed() == 4012
    assert page.titles == ["one"]
    await page.disconnect()


# All together


async def test_pages_agree_with_the_inbox_whatever_becomes_of_wake_ups_and_streams(hub, mina, mina_session, monkeypatch):
    """Wake-ups are dropped, doubled, delayed, reordered; streams are cut at any moment. The seed is in the failure."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    carrier = Carrier(hub, chance)
    monkeypatch.setattr(hub, "hear", carrier)
    pages = [LocalEventPage(mina_session) for _ in range(4)]
    for page in pages:
        await page.connect()
        await page.until(lambda page: page.position)
    for number in range(60):
        await tell(mina, *(f"n{number}.{each}" for each in range(chance.choice((1, 1, 3, 40)))))
        ids = [row async for row in Notification.objects.filter(recipient=mina).values_list("event_id", flat=True)]
        if ids and number % 3 == 0:
            action: Any = chance.choice(("read", "unread", "archive", "unarchive", "delete"))
            await sync_to_async(mark)(mina.pk, action, ids=chance.sample(ids, k=1))
        if number % 7 == 0:
            sweeping: Any = chance.choice(("read", "archive"))
            await sync_to_async(mark)(mina.pk, sweeping, upto=chance.randrange(1, number + 2))
        page = chance.choice(pages)
        if number % 4 == 0 and page.close_code is None:
            await page.disconnect()
            await page.connect()
    for wake_up in carrier.late:
        carrier.hear(wake_up)
    monkeypatch.setattr(hub, "hear", carrier.hear)
    await told(mina, "last")  # who is behind learns of it now
    fresh = await sync_to_async(read_page)(mina.pk, limit=10_000)
    expected = [(item.title, item.read) for item in fresh.items]
    for page in pages:
        await page.until(lambda page: page.titles[:1] == ["last"] and shown(page) == expected)
        assert page.unread == fresh.unread, seed
        assert page.position == fresh.position, seed
        assert len(page.arrived) == len(set(page.arrived)), seed
        await page.disconnect()
    assert not hub.sockets


def shown(page: Any) -> list[tuple[str, bool]]:
    items = sorted(page.items.values(), key=lambda item: -item["number"])
    return [(item["title"], item["read"]) for item in items if not item["archived"]]
