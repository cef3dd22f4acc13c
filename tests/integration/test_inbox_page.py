"""The inbox page beside its rows: how many each tab has, which day it was, what the page is called."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override

from notifications import inbox, notify
from notifications.inbox import read_page
from notifications.models import Event
from notifications.steps import mark
from notifications.templatetags.notifications import notification_day
from tests.integration.page_reader import Element, read

pytestmark = pytest.mark.django_db(transaction=True)

INBOX, ITEMS = (reverse(f"live_notifications:{name}") for name in ("inbox", "items"))


@pytest.fixture
def reader(mina) -> Client:
    client = Client()
    client.force_login(mina)
    return client


def tell(user, *names: str) -> list[int]:
    """One notification of each title; their events' ids."""
    events = [notify("plain", to=user, title=name) for name in names]
    return [event.pk for event in events if event is not None]


# how many


def tabs(page: Element) -> list[str]:
    return [tab.text for tab in page.one("nav", class_="notifications-tabs").all("a")]


def test_each_tab_says_how_many_it_has_up_to_a_hundred(mina, reader):
    ids = tell(mina, *map(str, range(105)))
    mark(mina.pk, "archive", ids=ids[:3])
    assert json.loads(reader.get(ITEMS).content)["counts"] == {"active": 100, "unread": 100, "archived": 3}
    assert tabs(read(reader.get(INBOX))) == ["All 99+", "Unread 99+", "Archived 3"]
    mark(mina.pk, "read", ids=ids[3:7])
    mark(mina.pk, "archive", ids=ids[3:6])
    assert tabs(read(reader.get(INBOX, {"q": "x"}))) == ["All 99", "Unread 98", "Archived 6"]
    mark(mina.pk, "archive", upto=105)
    assert json.loads(reader.get(ITEMS).content)["counts"] == {"active": 0, "unread": 0, "archived": 100}


def test_a_count_is_of_the_same_moment_as_its_page(mina):
    tell(mina, "a")
    page = read_page(mina.pk)
    tell(mina, "later")
    assert inbox.counts(mina.pk, page) == {"active": 1, "unread": 1, "archived": 0}


def test_an_empty_inbox_counts_nothing_and_offers_no_search(reader):
    assert json.loads(reader.get(ITEMS).content)["counts"] == {"active": 0, "unread": 0, "archived": 0}
    page = read(reader.get(INBOX))
    assert tabs(page) == ["All 0", "Unread 0", "Archived 0"]
    assert page.all("form", role="search") == []
    assert page.one(data_part="empty").one(data_show="active unread").text == "You're all caught up"


# its name


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ({}, "Notifications"),
        ({"show": "unread"}, "Unread · Notifications"),
        ({"show": "archived", "q": "<b>"}, "<b> · Archived · Notifications"),
    ],
)
def test_the_title_tells_one_page_from_another(mina, reader, query, title):
    tell(mina, "a")
    page = read(reader.get(INBOX, query))
    assert page.one("title").text == title
    assert [heading.text for heading in page.all("h1")] == ["Notifications"]


# days


def at(event: int, moment: datetime) -> None:
    Event.objects.filter(pk=event).update(created_at=moment)


def test_each_day_begins_with_its_name(mina, reader, monkeypatch):
    today = datetime(2025, 3, 5, 12, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: today)
    for name, back in zip("abcde", (400, 1, 1, 0, 0), strict=True):
        at(tell(mina, name)[0], today - timedelta(days=back))
    for page in (read(reader.get(INBOX)), read(reader.get("/"))):
        told = []
        for row in next(each for each in page.all("div", data_part="items") if each.children).children:
            day = row.attributes.get("data-day")
            told.append((day, row.text, row.attributes["aria-hidden"]) if day else row.one(data_part="title").text)
        assert told == [
            ("2025-03-05", "Today", "true"),
            "e",
            "d",
            ("2025-03-04", "Yesterday", "true"),
            "c",
            "b",
            ("2024-01-30", "Jan. 30, 2024", "true"),
            "a",
        ]


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["Today", "Yesterday", "March 3", "Dec. 31, 2024"]),
        ("de", ["3. März", "31. Dezember 2024"]),
        ("ko", ["3월 3일", "2024년 12월 31일"]),
    ],
)
def test_a_day_is_named_in_the_readers_language(monkeypatch, language, words):
    monkeypatch.setattr(timezone, "now", lambda: datetime(2025, 3, 5, 12, tzinfo=UTC))
    moments = [
        datetime(2025, 3, 5, 0, tzinfo=UTC),
        datetime(2025, 3, 4, 23, 59, tzinfo=UTC),
        datetime(2025, 3, 3, tzinfo=UTC),
        datetime(2024, 12, 31, tzinfo=UTC),
    ]
    with override(language):
        assert [notification_day(moment) for moment in moments][-len(words) :] == words


def test_a_day_is_the_sites_not_the_servers(mina, reader, monkeypatch):
    event = tell(mina, "late")[0]
    at(event, datetime(2025, 3, 4, 23, 30, tzinfo=UTC))
    monkeypatch.setattr(timezone, "now", lambda: datetime(2025, 3, 5, 0, 30, tzinfo=UTC))
    days = {"UTC": ("2025-03-04", "Yesterday"), "Europe/Berlin": ("2025-03-05", "Today"), "America/Lima": ("2025-03-04", "Today")}
    for zone, day in days.items():
        with override_settings(TIME_ZONE=zone):
            (heading,) = read(reader.get(INBOX)).all("div", class_="notifications-day")
        assert (heading.attributes["data-day"], heading.text) == day
