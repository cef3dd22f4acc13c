"""The inbox page and its buttons: everything a reader can do without JavaScript, and nothing that they may not."""

import io
import json
from wsgiref.handlers import SimpleHandler
from wsgiref.util import setup_testing_defaults

import pytest
from django.contrib.auth.models import User
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.test import Client
from django.urls import reverse

from notifications import notify, views
from notifications.inbox import states
from notifications.models import Inbox, Notification
from notifications.steps import mark
from tests.integration.page_reader import press, read, rows, titles

pytestmark = pytest.mark.django_db(transaction=True)

INBOX, MARK, ITEMS, SOCKET = (reverse(f"live_notifications:{name}") for name in ("inbox", "mark", "items", "socket"))


@pytest.fixture
def mina() -> User:
    return User.objects.create_user("mina")


@pytest.fixture
def teo() -> User:
    return User.objects.create_user("teo")


@pytest.fixture
def reader(mina) -> Client:
    """Mina's, and as strict about CSRF as a real site."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(mina)
    return client


def tell(user: User, *names: str) -> None:
    for name in names:
        notify("plain", to=user, title=name)


def row_of(user: User, title: str) -> Notification:
    return Notification.objects.get(recipient=user, event__content__title=title)


def state_of(user: User) -> list[tuple[bool, bool, bool]]:
    mine = Notification.objects.filter(recipient=user).order_by("number")
    return [(row.read_at is not None, row.archived_at is not None, row.deleted_at is not None) for row in mine]


def button(page, title: str, name: str):
    """The named button in the menu of the row with that title."""
    (row,) = [row for row in rows(page) if row.one(data_part="title").text == title]
    return row.one("details").one("button", name=name)


def test_the_page_shows_ones_own_newest_first(reader, mina, teo):
    tell(mina, "first", "second")
    tell(teo, "for teo")
    assert titles(read(reader.get(INBOX))) == ["second", "first"]


def test_each_button_works_without_javascript(reader, mina):
    tell(mina, "a", "b")
    page = read(reader.get(INBOX))
    page = read(press(reader, button(page, "a", "read")))
    assert state_of(mina) == [(True, False, False), (False, False, False)]
    page = read(press(reader, button(page, "a", "unread")))
    assert state_of(mina)[0] == (False, False, False)
    page = read(press(reader, button(page, "a", "archive")))
    assert titles(page) == ["b"]
    archive = read(reader.get(INBOX, {"show": "archived"}))
    assert titles(archive) == ["a"]
    page = read(press(reader, button(archive, "a", "unarchive")))
    assert titles(page) == [], "one is still on the tab where the button was"
    page = read(press(reader, button(read(reader.get(INBOX)), "b", "delete")))
    assert titles(page) == ["a"]
    assert state_of(mina) == [(False, False, False), (False, False, True)]


def test_mark_all_reads_what_the_page_showed_and_nothing_later(reader, mina):
    tell(mina, "shown")
    page = read(reader.get(INBOX))
    tell(mina, "arrived since")
    press(reader, page.one("button", data_part="mark-all"))
    assert state_of(mina) == [(True, False, False), (False, False, False)]


def test_a_button_needs_its_token(reader, mina):
    tell(mina, "a")
    assert reader.post(MARK, {"read": row_of(mina, "a").event_id}).status_code == 403
    assert state_of(mina) == [(False, False, False)]


def test_the_tabs_are_links_and_the_unread_one_shows_the_unread(reader, mina):
    tell(mina, "a", "b")
    mark(mina.pk, "read", ids=[row_of(mina, "a").event_id])
    tabs = read(reader.get(INBOX)).one("nav", class_="notifications-tabs").all("a")
    assert [tab.attributes["href"] for tab in tabs] == [INBOX, f"{INBOX}?show=unread", f"{INBOX}?show=archived"]
    assert [tab.attributes.get("aria-current") for tab in tabs] == ["page", None, None]
    assert titles(read(reader.get(str(tabs[1].attributes["href"])))) == ["b"]


def test_older_pages_continue_where_the_last_ended_whatever_arrives_meanwhile(reader, mina):
    tell(mina, *(f"n{number:02}" for number in range(1, 46)))
    seen: list[str] = []
    address = INBOX
    for _ in range(3):
        page = read(reader.get(address))
        seen += titles(page)
        tell(mina, "late")
        older = page.all("a", rel="next")
        address = INBOX + str(older[0].attributes["href"]).removeprefix(INBOX) if older else ""
    assert seen == [f"n{number:02}" for number in range(45, 0, -1)]
    assert address == ""


@pytest.mark.parametrize("path", [INBOX, ITEMS])
def test_strangers_are_sent_to_log_in_and_come_back(client, path):
    answer = client.get(f"{path}?show=unread")
    assert answer.status_code == 302
    assert answer["Location"] == f"/admin/login/?next={path}%3Fshow%3Dunread"


def test_strangers_change_nothing_and_scripts_are_told_so(client, mina):
    tell(mina, "a")
    event = row_of(mina, "a").event_id
    assert client.post(MARK, {"read": event})["Location"] == f"/admin/login/?next={INBOX}"
    assert client.post(MARK, {"read": event}, headers={"accept": "application/json"}).status_code == 401
    assert client.get(ITEMS, headers={"accept": "application/json"}).status_code == 401
    assert state_of(mina) == [(False, False, False)]


def test_anothers_id_and_a_missing_one_answer_alike(client, mina, teo):
    tell(mina, "mine")
    tell(teo, "his")
    client.force_login(mina)
    answers = [client.post(MARK, {name: event}) for name in ("read", "delete") for event in (row_of(teo, "his").event_id, 987654)]
    assert len({(answer.status_code, answer["Location"], answer.content) for answer in answers}) == 1
    assert state_of(teo) == [(False, False, False)]
    assert row_of(mina, "mine").stamp == 1


def test_seen_moves_the_count_of_unseen_only(client, mina):
    tell(mina, "a", "b")
    client.force_login(mina)
    client.post(MARK, {"seen_upto": row_of(mina, "a").number})
    assert states([mina.pk])[str(mina.pk)][3:] == (2, 1)


NONSENSE = [
    {},
    {"read": "x"},
    {"read": "-1"},
    {"read": "1.5"},
    {"read": ""},
    {"read": "٣"},
    {"read": "9" * 17},
    {"read": "9007199254740992"},
    {"read": "9" * 5000},
    {"read": "1", "archive": "1"},
    {"read": "1", "read_upto": "1"},
    {"read_upto": ["1", "2"]},
    {"read_stamp": ["1", "2"]},
    {"read_stamp": "x"},
    {"read_stamp": "1", "read_upto": "1"},
    {"undelete_upto": "1"},
    {"seen_stamp": "1"},
    {"seen": "1"},
    {"fly": "1"},
    {"read": [str(number) for number in range(201)]},
]


@pytest.mark.parametrize("form", NONSENSE, ids=lambda form: str(form)[:40])
def test_a_nonsense_form_is_400_and_changes_nothing(client, mina, form):
    tell(mina, "a")
    client.force_login(mina)
    assert client.post(MARK, form).status_code == 400
    assert state_of(mina) == [(False, False, False)]


@pytest.mark.parametrize(
    "query", ["before=x", "before=", "before=-3", "before=1e3", "show=all", "show=", "before=99999999999999999999"]
)
@pytest.mark.parametrize("path", [INBOX, ITEMS])
def test_a_nonsense_query_is_400(client, mina, path, query):
    client.force_login(mina)
    assert client.get(f"{path}?{query}").status_code == 400


def test_nothing_changes_by_get(client, mina):
    tell(mina, "a")
    client.force_login(mina)
    assert client.get(MARK, {"read": row_of(mina, "a").event_id}).status_code == 405
    assert client.post(INBOX).status_code == 405
    assert client.post(ITEMS).status_code == 405
    for path in (INBOX, ITEMS):
        client.get(path)
    assert row_of(mina, "a").stamp == 1


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("/orders/?page=2", "/orders/?page=2"),
        ("http://testserver/orders/", "http://testserver/orders/"),
        ("https://evil.example/", INBOX),
        ("//evil.example/", INBOX),
        ("/\\evil.example", INBOX),
        ("javascript:alert(1)", INBOX),
        ("", INBOX),
    ],
)
def test_the_way_back_stays_on_this_host(client, mina, target, leads_to):
    client.force_login(mina)
    assert client.post(MARK, {"read": 1, "next": target})["Location"] == leads_to


def test_no_answer_may_be_kept_by_a_cache(client, mina):
    strangers = [client.get(INBOX), client.post(MARK)]
    client.force_login(mina)
    answers = [client.get(INBOX), client.get(ITEMS), client.post(MARK, {"read": 1}), client.post(MARK), client.get(SOCKET)]
    for answer in strangers + answers:
        assert answer["Cache-Control"] == "private, no-store", answer


def test_the_json_is_the_page_and_a_button_answers_with_it(client, mina):
    tell(mina, "a", "b")
    client.force_login(mina)
    page = json.loads(client.get(ITEMS).content)
    assert [item["title"] for item in page["items"]] == ["b", "a"]
    assert (page["position"], page["unread"], page["more"]) == (str(Inbox.objects.get().position), 2, False)
    form = {"archive": row_of(mina, "a").event_id}
    after = json.loads(client.post(MARK, form, headers={"accept": "application/json"}).content)
    assert [item["title"] for item in after["items"]] == ["b"]
    assert after["position"] == str(Inbox.objects.get().position) != page["position"]


@pytest.mark.parametrize(
    ("did", "undoes"), [("read_upto", "unread_stamp"), ("archive_upto", "unarchive_stamp"), ("delete_upto", "undelete_stamp")]
)
def test_the_answer_names_the_step_by_which_a_form_undoes_it(client, mina, did, undoes):
    tell(mina, "a", "b")
    client.force_login(mina)
    before = state_of(mina)

    def post(form: dict[str, int]) -> int:
        return int(json.loads(client.post(MARK, form, headers={"accept": "application/json"}).content)["stamp"])

    stamp = post({did: 2})
    assert stamp == Inbox.objects.get().top == 3
    assert state_of(mina) != before
    assert post({undoes: stamp}) == 4
    assert state_of(mina) == before
    assert post({undoes: stamp}) == 0
    assert post({"undelete": row_of(mina, "a").event_id}) == 0
    assert [post({"seen_upto": 2}), post({"seen_upto": 2})] == [5, 0]


def test_a_requests_transaction_never_holds_the_inbox(client, mina, monkeypatch):
    inside = []
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    monkeypatch.setattr(views, "mark_rows", lambda *_, **__: inside.append(connection.in_atomic_block))
    client.force_login(mina)
    client.post(MARK, {"read": 1})
    assert inside == [False]


def through_wsgiref(path: str) -> bytes:
    """The bytes that Python's own WSGI server, the strictest about headers, sends for a GET."""
    environ: dict[str, object] = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    environ["HTTP_HOST"] = "testserver"
    out, errors = io.BytesIO(), io.StringIO()
    handler = SimpleHandler(io.BytesIO(), out, errors, environ)  # type: ignore[arg-type]
    handler.run(get_wsgi_application())
    assert errors.getvalue() == ""
    return out.getvalue()


def test_under_plain_wsgi_the_sockets_address_says_what_it_speaks():
    assert through_wsgiref(SOCKET).startswith(b"HTTP/1.0 426 ")


def test_under_plain_wsgi_the_page_answers():
    assert b"302 Found" in through_wsgiref(INBOX)
