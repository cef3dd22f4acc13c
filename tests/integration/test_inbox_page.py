"""The inbox page beside its rows: how many each tab has, what the page is called."""

import json

import pytest
from django.test import Client
from django.urls import reverse

from notifications import inbox, notify
from notifications.inbox import mark, read_page
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
    assert page.one(data_part="empty").text == "You're all caught up"


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
