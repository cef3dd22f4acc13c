"""What the database tests share: people, rules of one test's own, the log of the app, what was rung."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection

from notifications import logs
from notifications.protocol import WakeUp
from tests.site.declarations import own_declarations


@pytest.fixture
def mina(transactional_db: None) -> User:
    return User.objects.create_user("mina", password="mina")


@pytest.fixture
def omar(transactional_db: None) -> User:
    return User.objects.create_user("omar", password="omar")


@pytest.fixture
def people(transactional_db: None) -> Callable[[int], list[User]]:
    """Makes that many users."""

    def make(count: int) -> list[User]:
        return User.objects.bulk_create([User(username=f"user{number}") for number in range(count)])

    return make


@pytest.fixture
def crew(transactional_db: None) -> Group:
    return Group.objects.create(name="crew")


@pytest.fixture
def own_rules() -> Iterator[None]:
    """Rules declared in the test end with it; the host project's model rules are silent meanwhile."""
    with own_declarations(without_the_sites=True):
        yield


@pytest.fixture(autouse=True)
def unmuted_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test hears its own first error: the app logs one line a kind of failure a minute."""
    monkeypatch.setattr(logs, "_last", {})


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The errors that were logged, by whomever, since the last call."""
    caplog.set_level(logging.WARNING)

    def since_last() -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        caplog.clear()
        return found

    return since_last


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[WakeUp]:
    """What was told to the hubs, in order."""
    heard: list[WakeUp] = []
    for module in ("relay", "ringer", "slices"):
        monkeypatch.setattr(f"notifications.{module}.ring", heard.append)
    return heard


def is_postgres() -> bool:
    return connection.vendor == "postgresql"


@pytest.fixture
def postgres_only(transactional_db: None) -> None:
    if not is_postgres():
        pytest.skip("PostgreSQL's own behaviour")


@pytest.fixture
def titles() -> Callable[[Any], list[str]]:
    """The titles in a user's inbox, oldest first, whatever their state."""
    from notifications.models import Notification

    def of(user: Any) -> list[str]:
        rows = Notification.objects.filter(recipient_id=getattr(user, "pk", user)).select_related("event").order_by("number")
        return [row.event.content["title"] for row in rows]

    return of
