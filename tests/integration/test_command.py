"""`manage.py relay_notifications`: where no hub runs, this is who relays what is pending."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import InterfaceError, OperationalError, ProgrammingError

from notifications import notify
from notifications import relay as relay_module
from notifications.management.commands import relay_notifications as command
from notifications.models import Event
from notifications.outbox import NARROW
from notifications.relay import Relayed
from notifications.signals import event_committed

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def held(transactional_db):
    """As if the process that wrote had died before it relayed."""
    event_committed.disconnect(dispatch_uid="notifications.relay")
    try:
        yield
    finally:
        event_committed.connect(relay_module.after_commit, dispatch_uid="notifications.relay")


class Stopped(Exception):
    """The operator's Ctrl-C."""


@pytest.fixture
def naps(monkeypatch) -> list[float]:
    """How long the command slept each time; the third time it is stopped."""
    slept: list[float] = []

    def nap(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise Stopped

    monkeypatch.setattr(f"{command.__name__}.time.sleep", nap)
    return slept


def test_once_relays_what_is_pending_and_ends(mina, people, titles, naps):
    users = people(NARROW + 1)
    notify("plain", to=mina, title="narrow")
    notify("plain", to=users, title="wide")
    assert titles(mina) == []  # the premise
    call_command("relay_notifications", "--once")
    assert titles(mina) == ["narrow"]
    assert titles(users[-1]) == ["wide"]
    assert naps == []


def test_once_with_nothing_pending_does_nothing(naps):
    call_command("relay_notifications", "--once")
    assert naps == []


def test_it_goes_on_looking_until_it_is_stopped(mina, titles, monkeypatch):
    slept: list[float] = []

    def nap(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise Stopped
        notify("plain", to=mina, title=str(len(slept)))

    monkeypatch.setattr(f"{command.__name__}.time.sleep", nap)
    with pytest.raises(Stopped):
        call_command("relay_notifications", "--interval", "2.5")
    assert titles(mina) == ["1", "2"]
    assert slept == [2.5] * 3


def test_under_a_load_that_does_not_end_it_rests_as_a_hub_does(monkeypatch, naps):
    monkeypatch.setattr(command, "sweep", lambda: Relayed(rest=0.125, is_more_due=True))
    with pytest.raises(Stopped):
        call_command("relay_notifications")
    assert set(naps) == {0.125}


@pytest.mark.parametrize("interval", ["0", "-3"])
def test_it_never_looks_without_a_pause(naps, interval):
    with pytest.raises(Stopped):
        call_command("relay_notifications", "--interval", interval)
    assert all(nap > 0 for nap in naps)


def test_an_interval_that_is_no_time_is_refused(naps):
    with pytest.raises(CommandError, match="interval"):
        call_command("relay_notifications", "--interval", "soon")
    assert naps == []


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, ProgrammingError])
def test_while_the_database_is_away_it_says_so_and_lives_on(mina, titles, naps, monkeypatch, error):
    notify("plain", to=mina, title="t")
    looks = []

    def look() -> Any:
        looks.append(1)
        if len(looks) == 1:
            raise error("server closed the connection unexpectedly")
        return relay_module.sweep()

    monkeypatch.setattr(command, "sweep", look)
    err = StringIO()
    with pytest.raises(Stopped):
        call_command("relay_notifications", stderr=err)
    assert err.getvalue().count("\n") == 1
    assert "is away" in err.getvalue()
    assert titles(mina) == ["t"]
    assert len(looks) == 3


def test_once_ends_in_an_error_while_the_database_is_away(monkeypatch):
    def look() -> Any:
        raise OperationalError("away")

    monkeypatch.setattr(command, "sweep", look)
    with pytest.raises(OperationalError):
        call_command("relay_notifications", "--once")


def test_what_it_relayed_is_rung(mina, rung):
    notify("plain", to=mina, title="t")
    call_command("relay_notifications", "--once")
    assert [step.user for wake_up in rung for step in wake_up.steps] == [str(mina.pk)]
    assert not Event.objects.due().exists()
