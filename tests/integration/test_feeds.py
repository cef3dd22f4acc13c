"""Asking now and then, by plain HTTP: a page without WebSocket is led on by the socket's own frames."""

import asyncio
import io
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.signing import TimestampSigner, b62_encode
from django.core.wsgi import get_wsgi_application
from django.db import connection, connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from notifications import Text, feeds, notify
from notifications.hub import LONGEST_SPREAD_SECONDS
from notifications.inbox import read_page
from notifications.models import Inbox
from notifications.protocol import DELTA_BYTES, DELTA_ROWS, RESET_ROWS
from notifications.steps import forget, mark, mark_seen, renew_epochs
from notifications.stream import CATCH_UP_BYTES
from tests.site.client import Page, new_session
from tests.site.people import tell, tell_all
from tests.site.wire import LocalPage

pytestmark = pytest.mark.django_db(transaction=True)

CHANGES, EVENTS = (reverse(f"live_notifications:{name}") for name in ("changes", "events"))


class Asking(Page):
    """A page that asks: what `ask` brings is applied as frames of a socket are, and checked in the same way."""

    def __init__(self, client: Client, **options: Any) -> None:
        super().__init__(type("Here", (), {"websocket_url": ""}), None, **options)
        self.client = client

    def answer_to(self, query: dict[str, str]) -> dict[str, Any]:
        answer = self.client.get(CHANGES, query)
        assert answer.status_code == 200, answer.content
        assert answer["Cache-Control"] == "private, no-store"
        found: dict[str, Any] = json.loads(answer.content)
        return found

    def ask(self) -> dict[str, Any]:
        answer = self.answer_to({"position": self.position, "language": self.language})
        for message in answer["messages"]:
            assert "ack" not in message
            asyncio.run(self._take(message))
        assert self.gaps == 0
        assert answer["position"] == self.position
        return answer


@pytest.fixture
def asking(client: Client, mina: User) -> Asking:
    """Mina's, standing where her inbox is."""
    client.force_login(mina)
    page = Asking(client)
    page.ask()
    return page


def shown(page: Page) -> list[Any]:
    items = sorted(page.items.values(), key=lambda item: -item["number"])
    return [(item["title"], item["read"]) for item in items if not item["archived"]]


def inbox(user: User) -> list[Any]:
    return [(item.title, item.read) for item in read_page(user.pk, limit=10_000).items]


# What it brings


def test_a_page_without_a_position_gets_its_newest_page(client, mina):
    tell_all(mina, [f"n{number}" for number in range(30)])
    client.force_login(mina)
    page = Asking(client)
    (reset,) = page.ask()["messages"]
    assert (reset["type"], reset["more"], reset["unread"]) == ("reset", True, 30)
    assert shown(page) == inbox(mina)[:20]


def test_a_page_that_missed_nothing_gets_no_message(asking, mina):
    assert asking.ask()["messages"] == []
    assert asking.position == "0", "who was never notified has a position too"
    tell_all(mina, ["one"])
    asking.ask()
    assert asking.ask()["messages"] == []


def test_asking_is_cheap_where_nothing_has_happened(asking, mina, django_assert_num_queries):
    tell_all(mina, ["one"])
    asking.ask()
    with django_assert_num_queries(3):  # session, user, inbox
        asking.ask()


def test_a_page_is_led_on_by_steps_of_every_kind(asking, mina):
    tell_all(mina, ["one", "two", "three", "four"])
    asking.ask()
    ids = {item["title"]: item["id"] for item in asking.items.values()}
    mark(mina.pk, "read", ids=[ids["one"]])
    mark(mina.pk, "delete", ids=[ids["two"]])
    mark(mina.pk, "archive", ids=[ids["three"]])
    mark_seen(mina.pk, 4)
    tell_all(mina, ["five"])
    messages = asking.ask()["messages"]
    assert {message["type"] for message in messages} == {"delta"}
    assert shown(asking) == inbox(mina) == [("five", False), ("four", False), ("one", True)]
    state = Inbox.objects.get()
    assert (asking.position, asking.unread, asking.unseen, asking.seen_upto) == (str(state.position), 2, 1, 4)


def test_a_page_sees_its_own_inbox_alone(asking, mina, teo):
    tell_all(teo, ["for Teo"])
    assert asking.ask()["messages"] == []
    his = str(Inbox.objects.get(pk=teo.pk).position)
    (reset,) = asking.answer_to({"position": his})["messages"]
    assert (reset["type"], reset["items"]) == ("reset", [])


def test_what_its_user_may_no_longer_see_comes_as_hidden(asking, mina):
    User.objects.filter(pk=mina.pk).update(is_staff=True)
    notify("staff.only", to=mina, title="secret")
    asking.ask()
    assert asking.titles == ["secret"]
    User.objects.filter(pk=mina.pk).update(is_staff=False)
    (row,) = asking.items.values()
    mark(mina.pk, "read", ids=[row["id"]])
    (delta,) = asking.ask()["messages"]
    assert [item.keys() for item in delta["items"]] == [{"id", "stamp", "hidden"}]
    assert "secret" not in json.dumps(asking.answer_to({"position": "0"}))


GERMAN, ENGLISH = "Bestellung 7 ist da", "Order 7 is da"


@pytest.mark.parametrize(
    ("language", "text"), [("de", GERMAN), ("de-at", GERMAN), ("ko", ENGLISH), ("", ENGLISH), ("?", ENGLISH)]
)
def test_texts_are_in_the_pages_language_as_far_as_the_site_has_it(asking, mina, language, text):
    """Whatever the browser prefers: a page is in one language."""
    notify("plain", to=mina, title=Text("Order %(number)s is %(status)s", number="7", status="da"))
    asking.language = language
    asking.client.defaults["HTTP_ACCEPT_LANGUAGE"] = "de" if text == ENGLISH else "en"
    asking.ask()
    assert asking.titles == [text]


def test_300_missed_rows_come_in_parts_as_the_socket_sends_them(asking, mina):
    tell_all(mina, [f"n{number}" for number in range(300)])
    messages = asking.ask()["messages"]
    assert [message["more"] for message in messages] == [True] * (len(messages) - 1) + [False]
    assert len(messages) > 1
    assert all(len(message["items"]) <= DELTA_ROWS for message in messages)
    assert all(len(json.dumps(message)) <= 2 * DELTA_BYTES for message in messages)
    assert asking.arrived == [f"n{number}" for number in range(300)]


def test_past_1000_missed_rows_comes_a_fresh_page(asking, mina):
    tell_all(mina, [f"n{number}" for number in range(RESET_ROWS)])
    assert "reset" not in [message["type"] for message in asking.answer_to({"position": asking.position})["messages"]]
    tell_all(mina, ["one more"])
    (reset,) = asking.ask()["messages"]
    assert (reset["type"], len(reset["items"]), reset["more"]) == ("reset", 20, True)


def test_past_1_mib_of_missed_rows_comes_a_fresh_page(asking, mina):
    """1,000 of the longest notifications would be 8 MiB, made and kept for whoever asks and does not read."""
    for number in range(160):
        notify("plain", to=mina, title=f"n{number}", body="x" * 7000)
    assert CATCH_UP_BYTES < 160 * 7000
    (reset,) = asking.ask()["messages"]
    assert (reset["type"], len(reset["items"]), reset["unread"]) == ("reset", 20, 160)
    tell_all(mina, ["and on"])
    assert [message["type"] for message in asking.ask()["messages"]] == ["delta"]


@pytest.mark.parametrize("position", ["", "nonsense", "?", "elsewhere.1", ".1", "0.0", "\x00.1", "\N{GRINNING FACE}", "1" * 64])
def test_a_position_that_means_nothing_is_answered_by_a_fresh_page(asking, mina, position):
    tell_all(mina, ["one"])
    answer = asking.answer_to({"position": position})
    assert [message["type"] for message in answer["messages"]] == ["reset"]
    assert answer["position"] == str(Inbox.objects.get().position)


def test_a_position_of_another_life_of_the_inbox_is_answered_by_a_fresh_page(asking, mina):
    tell_all(mina, ["one"])
    asking.ask()
    renew_epochs([mina.pk])
    assert [message["type"] for message in asking.ask()["messages"]] == ["reset"]
    assert asking.ask()["messages"] == []
    forget(mina.pk)
    assert [message["type"] for message in asking.ask()["messages"]] == ["reset"]
    assert asking.position == "0"


def test_a_position_above_the_inbox_gives_the_inbox_a_new_life(asking, mina):
    """The database was restored. Asked as the socket asks."""
    tell_all(mina, ["one"])
    before = Inbox.objects.get()
    assert [m["type"] for m in asking.answer_to({"position": f"{before.epoch}.{before.top + 5}"})["messages"]] == ["reset"]
    assert Inbox.objects.get().epoch != before.epoch


async def test_it_is_word_for_word_what_the_socket_says(mina, mina_session):
    from asgiref.sync import sync_to_async

    from notifications.hub import Hub

    hub = Hub.running()
    try:
        await tell(mina, "one", "two", "three")
        state = await Inbox.objects.aget()
        for position in ("", "0", f"{state.epoch}.1", f"{state.epoch}.2"):
            async with LocalPage(mina_session, position=position) as socket:
                await socket.until(lambda page: page.position == str(state.position))
                said = socket.kinds("delta", "reset")
            client = Client()
            client.cookies["sessionid"] = mina_session
            answer = await sync_to_async(client.get)(CHANGES, {"position": position, "language": "en"})
            assert json.loads(answer.content)["messages"] == said, position
            assert json.loads(answer.content)["spread_seconds"] == hub.spread
    finally:
        await hub.stop()


def test_where_no_hub_counts_its_pages_they_are_told_to_spread_widely(asking):
    assert asking.ask()["spread_seconds"] == LONGEST_SPREAD_SECONDS


def test_a_page_that_asks_at_random_moments_shows_the_inbox(asking, mina):
    """Whatever happened between two questions. The seed is in the failure."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    for number in range(60):
        notify("plain", to=mina, title=f"n{number}")
        ids = [item["id"] for item in asking.items.values()]
        if ids and chance.random() < 0.6:
            action: Any = chance.choice(["read", "unread", "archive", "unarchive", "delete"])
            mark(mina.pk, action, ids=chance.sample(ids, min(len(ids), chance.choice([1, 3]))))
        if chance.random() < 0.1:
            sweeping: Any = chance.choice(["read", "archive"])
            mark(mina.pk, sweeping, upto=chance.randrange(1, number + 2))
        if chance.random() < 0.4:
            asking.ask()
            assert shown(asking) == inbox(mina), seed
            assert asking.unread == Inbox.objects.get().unread, seed
    assert len(asking.arrived) == len(set(asking.arrived)), seed


# Whom it answers


@pytest.mark.parametrize("path", [CHANGES, EVENTS])
def test_strangers_are_never_sent_to_log_in(client, settings, path):
    """Not even by the middleware that demands a login for every page."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    for method in (client.get, client.head):
        answer = method(path)
        assert answer.status_code == (401 if path == CHANGES else 501)
        assert (answer.content, answer["Cache-Control"]) in (
            (b"", "private, no-store"),
            (b"Events stream only under ASGI, with live_application.\n", "private, no-store"),
        )


def test_who_may_no_longer_sign_in_is_a_stranger(asking, mina):
    User.objects.filter(pk=mina.pk).update(is_active=False)
    assert asking.client.get(CHANGES).status_code == 401


@pytest.mark.parametrize(
    "query",
    [
        {"position": "x" * 65},
        {"language": "x" * 36},
        {f"x{number}": "" for number in range(1500)},
    ],
    ids=["a long position", "a long language", "1,500 fields"],
)
def test_nonsense_is_400_and_kept_by_no_cache(asking, query):
    answer = asking.client.get(f"{CHANGES}?{urlencode(query)}")
    assert (answer.status_code, answer["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert answer["Cache-Control"] == "private, no-store"


def test_asking_for_the_head_brings_no_body(asking):
    answer = asking.client.head(CHANGES)
    assert (answer.status_code, answer.content) == (200, b"")


def test_what_is_read_is_what_is_committed_now(asking, monkeypatch):
    inside = []
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    way = feeds._way
    monkeypatch.setattr(feeds, "_way", lambda *given: (inside.append(connection.in_atomic_block), way(*given))[1])
    asking.ask()
    assert inside == [False]


@pytest.mark.parametrize("engine", ["db", "cached_db", "signed_cookies"])
def test_asking_keeps_no_session_alive(client, mina, settings, monkeypatch, engine):
    """At a site that ends sessions by idleness, where every request prolongs one: a page that nobody looks at asks too."""
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_SAVE_EVERY_REQUEST = True
    with monkeypatch.context() as earlier:
        earlier.setattr(TimestampSigner, "timestamp", lambda self: b62_encode(int(time.time()) - 60))
        client.force_login(mina)
    key = client.cookies["sessionid"].value
    early = timezone.now() + timedelta(minutes=1)
    Session.objects.update(expire_date=early)
    assert client.get(CHANGES).status_code == 200
    assert client.cookies["sessionid"].value == key
    assert [session.expire_date for session in Session.objects.all()] == [early] * (engine != "signed_cookies")
    client.get(reverse("live_notifications:inbox"))
    if engine == "signed_cookies":
        assert client.cookies["sessionid"].value != key, "the premise"
    else:
        assert Session.objects.get().expire_date > early, "the premise"


def test_a_session_that_has_to_change_does(client, mina, settings):
    """After a rotation of keys Django gives the session a new one: the browser must hear of it."""
    client.force_login(mina)
    settings.SESSION_SAVE_EVERY_REQUEST = True
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the next key", [settings.SECRET_KEY]
    before = client.cookies["sessionid"].value
    assert client.get(CHANGES).status_code == 200
    after = client.cookies["sessionid"].value
    assert after != before
    assert client.get(CHANGES).status_code == 200
    assert client.cookies["sessionid"].value == after, "it was written"


def test_that_events_do_not_stream_here_is_no_alarm(client, mailoutbox, settings, caplog):
    """Each page of a WSGI site asks once: Django would mail each 501 to the admins."""
    settings.ADMINS = [("Ann", "ann@example.org")]
    assert client.get(EVENTS).status_code == 501
    assert caplog.records == []


# Under a real WSGI server


class Quiet(WSGIRequestHandler):
    def log_message(self, *words: Any) -> None:
        """Not into the tests' output."""


@pytest.fixture
def wsgi_url(transactional_db: None) -> Iterator[str]:
    """The site under Python's own WSGI server, in a thread. No hub, no loop, no layer that reaches anybody."""

    class Server(WSGIServer):
        def shutdown_request(self, request: Any) -> None:
            super().shutdown_request(request)
            connections.close_all()

    with make_server("127.0.0.1", 0, get_wsgi_application(), server_class=Server, handler_class=Quiet) as server:
        server.base_environ["wsgi.errors"] = io.StringIO()  # type: ignore[assignment]
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Far:
    """As much of a test client as `Asking` needs, over TCP."""

    def __init__(self, url: str, session: str) -> None:
        self.url, self.session = url, session

    def get(self, path: str, query: dict[str, str] | None = None) -> Any:
        wanted = urllib.request.Request(
            f"{self.url}{path}?{urlencode(query or {})}", headers={"Cookie": f"sessionid={self.session}"}
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(wanted, timeout=10) as answer:
                return Answer(answer.status, answer.read(), answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), error.headers)


class Answer:
    def __init__(self, status_code: int, content: bytes, headers: Any) -> None:
        self.status_code, self.content, self.headers = status_code, content, headers

    def __getitem__(self, name: str) -> str:
        return str(self.headers[name])


def test_under_plain_wsgi_a_page_is_led_on_by_asking(wsgi_url, mina):
    session = new_session(mina)
    page = Asking(Far(wsgi_url, session))  # type: ignore[arg-type]
    page.ask()
    tell_all(mina, ["one"])
    page.ask()
    tell_all(mina, ["two", "three"])
    mark(mina.pk, "read", upto=1)
    page.ask()
    assert shown(page) == [("three", False), ("two", False), ("one", True)]
    assert page.arrived == ["one", "two", "three"]
    Session.objects.all().delete()
    assert Far(wsgi_url, session).get(CHANGES).status_code == 401


def test_under_plain_wsgi_a_page_learns_that_events_do_not_stream(wsgi_url, mina):
    answer = Far(wsgi_url, new_session(mina)).get(EVENTS)
    assert (answer.status_code, answer["Cache-Control"]) == (501, "private, no-store")
