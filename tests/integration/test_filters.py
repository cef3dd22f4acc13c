"""What a reader looks for they find: by kind, by severity, by words of their own language; at a bounded cost."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.translation import gettext_noop, override
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifications import Kind, Text, filters, inbox, notify
from notifications.filters import Filter
from notifications.inbox import read_page
from notifications.items import rendered
from notifications.models import Event, Inbox, Notification
from notifications.protocol import EventCopy
from notifications.steps import mark
from tests.integration.page_reader import Element, press, read, rows, titles
from tests.integration.test_page_tags import FRAME, PAYLOADS, with_templates

pytestmark = pytest.mark.django_db(transaction=True)

INBOX, ITEMS = (reverse(f"live_notifications:{name}") for name in ("inbox", "items"))


@pytest.fixture
def reader(mina) -> Client:
    client = Client(enforce_csrf_checks=True)
    client.force_login(mina)
    return client


def tell(user: User, *names: str, kind: str = "plain", **more: Any) -> list[int]:
    """One notification of each title; their events' ids."""
    events = [notify(kind, to=user, title=name, **more) for name in names]
    return [event.pk for event in events if event is not None]


def found(user: User, show: Any = "active", **wanted: str) -> list[str]:
    return [item.title for item in read_page(user.pk, show=show, wanted=Filter(**wanted)).items]


def walk(user: User, wanted: Filter, show: Any = "active", limit: int = 20) -> list[list[str]]:
    """The titles on each page, from the newest to the oldest."""
    pages, before = [], None
    while True:
        page = read_page(user.pk, before=before, limit=limit, show=show, wanted=wanted)
        pages.append([item.title for item in page.items])
        assert before is None or page.before is None or page.before < before, "each page leads on"
        before = page.before
        if before is None:
            return pages


# what fits


def test_a_list_shows_the_kind_that_is_wanted(mina):
    tell(mina, "order", kind="order.status")
    tell(mina, "other")
    assert found(mina, kind="order.status") == ["order"]
    assert found(mina, kind="plain") == ["other"]
    assert found(mina, kind="nobody.declared.it") == []


def test_a_list_shows_the_severity_that_is_wanted(mina):
    for severity in ("info", "success", "warning", "error"):
        tell(mina, severity, severity=severity)
    for severity in ("info", "success", "warning", "error"):
        assert found(mina, severity=severity) == [severity]
    assert found(mina) == ["error", "warning", "success", "info"]


def test_all_that_is_wanted_must_hold_on_every_tab(mina):
    ids = tell(mina, "a b", "a b c", kind="order.status", severity="error")
    tell(mina, "a b", kind="order.status")
    tell(mina, "a b", severity="error")
    wanted = {"kind": "order.status", "severity": "error", "search": "b a"}
    assert found(mina, **wanted) == ["a b c", "a b"]
    mark(mina.pk, "read", ids=ids[:1])
    assert found(mina, "unread", **wanted) == ["a b c"]
    mark(mina.pk, "archive", ids=ids[:1])
    assert found(mina, "archived", **wanted) == ["a b"]
    mark(mina.pk, "delete", ids=ids[:1])
    assert found(mina, "archived", **wanted) == []


def test_words_are_looked_for_in_all_that_is_seen_and_nowhere_else(mina):
    tell(
        mina,
        "title one",
        body="the body",
        actor="Ann",
        target="Order 7",
        url="/secret/path/",
        data={"key": "hidden"},
        icon="truck",
    )
    for words in ("title", "body", "ann", "order 7", "7 title ann BODY", "itl"):
        assert found(mina, search=words) == ["title one"], words
    for words in ("path", "hidden", "truck", "severity", "info", "title two", "%", "{"):
        assert found(mina, search=words) == [], words


@pytest.mark.parametrize(
    ("shown", "typed"),
    [
        ("Straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("caf\u00e9", "cafe\u0301"),
        ("cafe\u0301", "CAF\u00c9"),
        ("한국어", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
        ("\uff11\uff12", "12"),
        ("ten\u00a0euros", "ten\u3000euros"),
        ("طلب", "طلب"),
    ],
)
def test_capitals_and_ways_to_write_a_letter_do_not_matter(mina, shown, typed):
    tell(mina, shown)
    tell(mina, "something else")
    assert found(mina, search=typed) == [shown]


# the reader's language


@pytest.fixture
def translated(mina) -> User:
    notify("plain", to=mina, title=Text(gettext_noop("%(count)d comment"), plural="%(count)d comments", count=3))
    notify("plain", to=mina, title=Text(gettext_noop("Order %(number)s is %(status)s"), number=7, status=Text("shipped")))
    notify("plain", to=mina, title=Text("Lead", context="metal"))
    return mina


@pytest.mark.parametrize(
    ("language", "typed", "seen"),
    [
        ("de", "kommentare", "3 Kommentare"),
        ("de", "3 kommentar", "3 Kommentare"),
        ("de", "bestellung versandt", "Bestellung 7 ist versandt"),
        ("de", "blei", "Blei"),
        ("en", "comments", "3 comments"),
        ("en", "order shipped", "Order 7 is shipped"),
        ("en", "lead", "Lead"),
    ],
)
def test_words_are_those_of_the_readers_language(translated, language, typed, seen):
    with override(language):
        assert found(translated, search=typed) == [seen]


@pytest.mark.parametrize(
    ("language", "typed"), [("de", "comments"), ("de", "shipped"), ("de", "leine"), ("en", "kommentare"), ("en", "%(count)d")]
)
def test_what_is_stored_is_not_what_is_seen(translated, language, typed):
    with override(language):
        assert found(translated, search=typed) == []


def test_a_page_in_german_is_searched_in_german(reader, translated):
    page = read(reader.get(INBOX, {"q": "KOMMENTARE"}, headers={"accept-language": "de"}))
    assert titles(page) == ["3 Kommentare"]
    answer = reader.get(ITEMS, {"q": "kommentare"}, headers={"accept-language": "de"})
    assert [item["title"] for item in json.loads(answer.content)["items"]] == ["3 Kommentare"]


# bounded


def test_a_search_looks_at_so_many_rows_and_then_lets_the_reader_decide(mina, reader, monkeypatch):
    monkeypatch.setattr(inbox, "SEARCHED_ROWS", 30)
    tell(mina, "needle", *(f"hay {number}" for number in range(50)))
    first = read_page(mina.pk, wanted=Filter(search="needle"))
    assert (first.items, first.more, first.before) == ([], True, 22)
    page = read(reader.get(INBOX, {"q": "needle"}))
    assert page.one(data_part="empty").text == "Nothing found so far"
    (older,) = page.all("a", rel="next")
    assert older.text == "Search older"
    page = read(reader.get(str(older.attributes["href"])))
    assert titles(page) == ["needle"]
    assert page.all("a", rel="next") == []


def test_a_search_reads_no_more_rows_than_it_looks_at(mina, monkeypatch):
    looked_at: list[str] = []

    def note(event: EventCopy) -> dict[str, Any]:
        looked_at.append(event.content["title"])
        return rendered(event)

    monkeypatch.setattr(inbox, "SEARCHED_ROWS", 100)
    monkeypatch.setattr(inbox, "rendered", note)
    tell(mina, *(f"hay {number}" for number in range(150)))
    with CaptureQueriesContext(connection) as queries:
        read_page(mina.pk, wanted=Filter(search="needle"))
    assert looked_at == [f"hay {number}" for number in range(149, 49, -1)]
    assert len(queries) == 3  # the inbox; 20 rows; the other 80


def test_a_kind_is_looked_for_in_so_many_rows_and_then_lets_the_reader_decide(mina, reader, monkeypatch):
    monkeypatch.setattr(inbox, "NARROWED_ROWS", 10)
    tell(mina, "needle", kind="order.status", severity="error")
    tell(mina, *(f"hay {number}" for number in range(25)))
    for wanted in ({"kind": "order.status"}, {"severity": "error"}, {"kind": "order.status", "q": "needle"}):
        address, seen = f"{INBOX}?{'&'.join(f'{name}={value}' for name, value in wanted.items())}", []
        while address:
            page = read(reader.get(address))
            (older,) = page.all("a", rel="next") or [None]
            address = str(older.attributes["href"]) if older else ""
            seen.append((titles(page), older and older.text))
        assert seen == [([], "Search older"), ([], "Search older"), (["needle"], None)]


def test_nothing_is_skipped_between_the_stretches_that_are_looked_at(mina, monkeypatch):
    monkeypatch.setattr(inbox, "NARROWED_ROWS", 10)
    monkeypatch.setattr(inbox, "SEARCHED_ROWS", 10)
    names = [f"a {number}" for number in range(24, -1, -1)]
    tell(mina, *reversed(names), kind="order.status")
    for wanted in (Filter(kind="order.status"), Filter(kind="order.status", search="a")):
        assert walk(mina, wanted) == [names[:10], names[10:20], names[20:]]


def test_the_bound_of_a_kind_lies_in_the_database(mina, monkeypatch):
    monkeypatch.setattr(inbox, "NARROWED_ROWS", 10)
    tell(mina, *(f"hay {number}" for number in range(25)))
    with CaptureQueriesContext(connection) as queries:
        read_page(mina.pk, wanted=Filter(kind="order.status"))
    *_, last = [query["sql"] for query in queries]
    assert "> 15" in last.replace('"', "")


@given(
    told=st.lists(
        st.tuples(
            st.sampled_from(["plain", "order.life", "staff.only"]),
            st.sampled_from(["info", "error"]),
            st.sampled_from(["a", "b", "a b"]),
            st.booleans(),
        ),
        max_size=40,
    ),
    wanted=st.builds(
        Filter, st.sampled_from(["", "plain", "staff.only"]), st.sampled_from(["", "error"]), st.sampled_from(["", "a", "b a"])
    ),
    show=st.sampled_from(["active", "archived"]),
    limit=st.integers(1, 5),
    searched=st.integers(1, 12),
    narrowed=st.integers(1, 12),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_page_by_page_a_reader_comes_past_all_that_fits_once_and_nothing_else(
    mina, monkeypatch, told, wanted, show, limit, searched, narrowed
):
    monkeypatch.setattr(inbox, "SEARCHED_ROWS", searched)
    monkeypatch.setattr(inbox, "NARROWED_ROWS", narrowed)
    for model in (Notification, Event, Inbox):
        model.objects.all().delete()
    User.objects.filter(pk=mina.pk).update(is_staff=True)
    fitting = []
    for number, (kind, severity, words, is_archived) in enumerate(told):
        ids = tell(mina, f"{words} {number}", kind=kind, severity=severity)
        if is_archived:
            mark(mina.pk, "archive", ids=ids)
        if (
            kind != "staff.only"
            and is_archived == (show == "archived")
            and (not wanted.kind or wanted.kind == kind)
            and (not wanted.severity or wanted.severity == severity)
            and set(wanted.search) - {" "} <= set(words)
        ):
            fitting.insert(0, f"{words} {number}")
    User.objects.filter(pk=mina.pk).update(is_staff=False)
    assert [title for page in walk(mina, wanted, show, limit) for title in page] == fitting


# yours only


def test_a_search_finds_nothing_that_may_not_be_seen_and_stops_where_it_would_without_it(mina):
    """Else its end, or its length, would tell of what it says: both are the same whether or not the hidden rows have the word."""
    User.objects.filter(pk=mina.pk).update(is_staff=True)
    tell(mina, "needle old")
    tell(mina, *["needle hidden"] * 40, kind="staff.only")
    assert len(found(mina, search="needle")) == 20, "the premise"
    User.objects.filter(pk=mina.pk).update(is_staff=False)
    assert found(mina, search="needle") == ["needle old"]
    ends = set()
    for words in ("needle", "hidden", "absent"):
        with CaptureQueriesContext(connection) as queries:
            page = read_page(mina.pk, limit=5, wanted=Filter(search=words))
        ends.add((page.before, len(queries)))
    ((before, _),) = ends
    assert before is not None


def test_a_search_asks_the_site_no_more_often_than_a_page_does(mina):
    User.objects.filter(pk=mina.pk).update(is_staff=True)
    tell(mina, "seen")
    tell(mina, *["secret"] * 50, kind="staff.only")
    User.objects.filter(pk=mina.pk).update(is_staff=False)
    pages, before, queries = [], None, []
    while True:
        with CaptureQueriesContext(connection) as captured:
            page = read_page(mina.pk, before=before, limit=5, wanted=Filter(search="e"))
        queries.append(sum("is_staff" in query["sql"] for query in captured))
        pages += [item.title for item in page.items]
        before = page.before
        if before is None:
            break
    assert pages == ["seen"]
    assert queries == [15, 15, 15, 5]


def test_nobody_is_offered_a_kind_that_they_do_not_have(mina, omar):
    tell(mina, "a", kind="order.status")
    tell(mina, "a", kind="order.life")
    tell(mina, "without a label")
    tell(omar, "a", kind="order.status")
    assert filters.kinds(mina.pk) == {"order.status": "Order status", "order.life": "Orders"}
    assert filters.kinds(omar.pk) == {"order.status": "Order status"}


def test_in_a_long_inbox_every_kind_is_offered_that_anybody_may_have(mina, own_rules, monkeypatch):
    monkeypatch.setattr(filters, "KINDS_ROWS", 2)
    Kind("of.few", label="Of few", visible_to=lambda users, event: users)
    tell(mina, "1", "2")
    assert filters.kinds(mina.pk) == {}
    tell(mina, "3")
    assert filters.kinds(mina.pk) == {"order.status": "Order status", "order.life": "Orders"}
    tell(mina, "4", kind="of.few")
    assert list(filters.kinds(mina.pk)) == ["of.few", "order.status", "order.life"]


# the page


def submitted(page: Element, **entered: str) -> str:
    """The address that the search form leads to when these values are entered."""
    form = page.one("form", role="search")
    sent = {}
    for field in form.all("input"):
        sent[field.attributes["name"]] = field.attributes.get("value") or ""
    for field in form.all("select"):
        (chosen,) = [option for option in field.all("option") if "selected" in option.attributes] or field.all("option")[:1]
        sent[field.attributes["name"]] = chosen.attributes["value"] or ""
    assert set(entered) <= set(sent)
    return f"{form.attributes['action']}?" + "&".join(f"{name}={value}" for name, value in (sent | entered).items())


def clearing(page: Element) -> list[str]:
    """Where the links lead that clear the filters."""
    return [str(link.attributes["href"]) for link in page.all("a") if link.text == "Clear filters"]


def test_the_form_finds_and_remembers_and_is_cleared_without_javascript(mina, reader):
    tell(mina, "one", kind="order.status", severity="error")
    tell(mina, "two", kind="order.status")
    tell(mina, "three", severity="error")
    page = read(reader.get(submitted(read(reader.get(INBOX)), kind="order.status", severity="error", q="ONE")))
    assert titles(page) == ["one"]
    form = page.one("form", role="search")
    assert form.one("input", name="q").attributes["value"] == "ONE"
    assert [option.text for option in form.all("option") if "selected" in option.attributes] == ["Order status", "Error"]
    (clear,) = clearing(page)
    assert titles(read(reader.get(clear))) == ["three", "two", "one"]
    assert titles(read(reader.get(submitted(page, kind="", q="")))) == ["three", "one"]
    assert clearing(read(reader.get(submitted(read(reader.get(INBOX)))))) == [], "nothing to clear"


def test_every_control_has_a_label_and_the_form_gets(mina, reader):
    tell(mina, "one", kind="order.status")
    form = read(reader.get(INBOX)).one("form", role="search")
    assert form.attributes.get("method") is None
    assert [label.text.partition(" All")[0] for label in form.all("label")] == ["Search notifications", "Kind", "Severity"]
    for field in form.all("select") + form.all("input"):
        assert field.up("label").one("span").text


def test_the_tabs_and_the_pages_keep_the_filter_and_clearing_it_keeps_the_tab(mina, reader):
    tell(mina, *(f"x & y {number}" for number in range(25)), kind="order.status", severity="error")
    query = "kind=order.status&severity=error&q=x+%26+y"
    page = read(reader.get(f"{INBOX}?{query}"))
    assert [tab.attributes["href"] for tab in page.one("nav", class_="notifications-tabs").all("a")] == [
        f"{INBOX}?{query}",
        f"{INBOX}?show=unread&{query}",
        f"{INBOX}?show=archived&{query}",
    ]
    unread = read(reader.get(f"{INBOX}?show=unread&{query}"))
    assert clearing(unread) == [f"{INBOX}?show=unread"]
    (older,) = unread.all("a", rel="next")
    assert older.attributes["href"] == f"{INBOX}?show=unread&{query}&before=6"
    assert older.text == "Load more"
    last = read(reader.get(str(older.attributes["href"])))
    assert titles(last) == [f"x & y {number}" for number in range(4, -1, -1)]
    (newest,) = last.one("p", class_="notifications-pages").all("a")
    assert (newest.text, newest.attributes["href"]) == ("Newest", f"{INBOX}?show=unread&{query}")
    assert submitted(last, q="z").startswith(f"{INBOX}?show=unread&q=z&"), "a new search begins at the newest"


@pytest.mark.parametrize("name", ["active", "None", "0"])
def test_a_word_that_means_something_elsewhere_is_looked_for_all_the_same(mina, reader, name):
    tell(mina, *(f"{name} {number}" for number in range(21)))
    (older,) = read(reader.get(INBOX, {"q": name})).all("a", rel="next")
    assert f"q={name}&" in str(older.attributes["href"])


@pytest.mark.parametrize("show", ["active", "unread", "archived"])
def test_a_search_without_a_result_is_not_taken_for_an_empty_inbox(mina, reader, show):
    mark(mina.pk, "archive", ids=tell(mina, "a"))
    tell(mina, "b")
    page = read(reader.get(INBOX, {"show": show, "q": "nothing like it"}))
    assert "hidden" not in page.one(data_part="empty").attributes
    assert page.one(data_part="empty").text == "Nothing matches"


def test_a_list_says_which_filter_it_has_and_reads_itself_again_through_it(mina, reader):
    tell(mina, "x & y", kind="order.status", severity="error")
    query = {"kind": "order.status", "severity": "error", "q": "x & y", "show": "unread", "before": "9"}
    asked = read(reader.get(INBOX, query)).one("notification-list").attributes
    assert (asked["kind"], asked["severity"], "filtered" in asked) == ("order.status", "error", True)
    answer = json.loads(reader.get(str(asked["src"])).content)
    assert [item["title"] for item in answer["items"]] == ["x & y"]
    assert asked["src"] == f"{ITEMS}?show=unread&kind=order.status&severity=error&q=x+%26+y&before=9"
    asked = read(reader.get(INBOX, {"q": "x"})).one("notification-list").attributes
    assert ("kind" in asked, "severity" in asked, "filtered" in asked) == (False, False, True)
    asked = read(reader.get(INBOX)).one("notification-list").attributes
    assert ("kind" in asked, "severity" in asked, "filtered" in asked, asked["src"]) == (False, False, False, f"{ITEMS}?")


def test_what_is_filtered_out_is_not_marked_with_the_rest(mina, reader):
    """ "Mark all" goes by number: beside a filter it would read what the page does not show."""
    tell(mina, "a", "b")
    assert read(reader.get(INBOX)).all("button", data_part="mark-all")
    assert read(reader.get(INBOX, {"q": "a"})).all("button", data_part="mark-all") == []


def test_a_button_leads_back_to_the_same_search(mina, reader):
    tell(mina, "a", "b")
    page = read(reader.get(INBOX, {"q": "a", "severity": "info"}))
    answer = press(reader, rows(page)[0].one("details").one("button", name="read"))
    assert answer.redirect_chain == [(f"{INBOX}?q=a&severity=info", 302)]
    assert "data-unread" not in rows(read(answer))[0].attributes


def test_the_bell_beside_a_filtered_list_is_not_filtered(mina, reader):
    tell(mina, "a", "b")
    with with_templates({"notifications/base.html": FRAME}):
        page = read(reader.get(INBOX, {"q": "a"}))
    assert titles(page) == ["b", "a", "a"]


@pytest.mark.parametrize("path", [INBOX, ITEMS])
@pytest.mark.parametrize(
    "query",
    [
        {"kind": "Order Status"},
        {"kind": "x" * 101},
        {"kind": "a.b\n"},
        {"kind": "a\x00"},
        {"kind": "' OR 1=1 --"},
        {"severity": "fatal"},
        {"severity": "Error"},
        {"severity": "\x00"},
        {"q": "x" * 101},
    ],
    ids=str,
)
def test_a_nonsense_filter_is_400(reader, path, query):
    answer = reader.get(path, query)
    assert answer.status_code == 400
    assert answer["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "query", [{"kind": "", "severity": "", "q": ""}, {"q": "   "}, {"q": f"{' ' * 50}a{' ' * 50}"}, {"q": "A" + "a" * 99}]
)
def test_empty_fields_and_spaces_ask_for_nothing(mina, reader, query):
    tell(mina, "a" * 100)
    assert titles(read(reader.get(INBOX, query))) == ["a" * 100]


@pytest.mark.parametrize(
    "payload",
    [*PAYLOADS, "\x00", "%00", "' OR 1=1 --", "%", "_", "\\", "[", "(?=a)", "\ud800", "\U0001d54f" * 100, "a\u0301" * 50],
)
def test_hostile_words_are_looked_for_as_they_stand_and_shown_as_text(mina, reader, payload):
    tell(mina, "harmless")
    if not {"\x00", "\ud800"} & {*payload}:
        tell(mina, payload)
    page = read(reader.get(INBOX, {"q": payload.encode(errors="replace").decode()}))
    if not {"\x00", "\ud800"} & {*payload}:
        assert titles(page) == [payload]
        assert page.one("input", name="q").attributes["value"] == payload
    assert len(page.all("script")) == 4
    assert not any(name.startswith("on") for each in page.all() for name in each.attributes)


def test_a_kind_that_is_gone_is_still_looked_for_and_named(mina, reader):
    tell(mina, "a")
    Event.objects.update(kind="long.gone")
    page = read(reader.get(INBOX, {"kind": "long.gone"}))
    assert titles(page) == ["a"]
    (chosen,) = [option for option in page.all("option") if "selected" in option.attributes]
    assert chosen.text == "long.gone"
