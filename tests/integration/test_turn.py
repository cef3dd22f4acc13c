"""Where hubs are there to relay, a process without one only rings; where they are not, or are not heard, it relays by itself."""

import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from notifications import notify, turn
from notifications import relay as relay_module
from notifications.models import Notification, RelayTurn
from notifications.relay import sweep
from notifications.ringer import ringer
from tests.site.client import Page
from tests.site.people import eventually, tell

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rung(monkeypatch) -> list[bool]:
    """For each ring of the relay's, whether it said "pending"."""
    rings: list[bool] = []
    for module in ("relay", "slices"):
        monkeypatch.setattr(f"notifications.{module}.ring", lambda wake_up: rings.append(wake_up.pending))
    return rings


def attended(seconds_ago: float) -> None:
    RelayTurn.objects.update_or_create(pk=1, defaults={"attended_at": timezone.now() - timedelta(seconds=seconds_ago)})


def test_where_hubs_are_there_a_command_leaves_the_relaying_to_them(shared_layer, mina, rung):
    attended(seconds_ago=5)
    notify("plain", to=mina, title="t")
    assert rung == [True]
    assert Notification.objects.count() == 0


def test_it_asks_once_in_a_while(shared_layer, mina, rung, django_assert_num_queries):
    attended(seconds_ago=5)
    with django_assert_num_queries(2):  # the event, the question
        notify("plain", to=mina, title="t")
    with django_assert_num_queries(1):
        notify("plain", to=mina, title="t")


@pytest.mark.parametrize(
    "seconds_ago", [turn.ATTENDED_SECONDS + 1, -turn.ATTENDED_SECONDS - 1], ids=["long ago", "a strange clock"]
)
def test_where_no_hub_said_so_of_late_it_relays_by_itself(shared_layer, mina, rung, seconds_ago):
    attended(seconds_ago)
    notify("plain", to=mina, title="t")
    assert Notification.objects.count() == 1


def test_where_no_hub_ever_was_it_relays_by_itself(shared_layer, mina, rung):
    notify("plain", to=mina, title="t")
    assert Notification.objects.count() == 1


@pytest.mark.parametrize("backend", ["channels.layers.InMemoryChannelLayer", "no.such.Layer", None])
def test_a_layer_that_reaches_nobody_makes_it_relay_by_itself(settings, mina, rung, backend):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}} if backend else {}
    attended(seconds_ago=1)
    notify("plain", to=mina, title="t")
    assert Notification.objects.count() == 1


def test_a_layer_that_has_just_failed_makes_it_relay_by_itself(shared_layer, mina, rung, monkeypatch):
    attended(seconds_ago=1)
    monkeypatch.setattr(ringer, "_closed_until", time.monotonic() + 5)
    notify("plain", to=mina, title="t")
    assert Notification.objects.count() == 1


def test_a_hub_that_hears_others_says_so_once_in_a_while(django_assert_num_queries):
    sweep(is_hearing=True)
    first = RelayTurn.objects.get().attended_at
    assert first is not None
    sweep(is_hearing=True)
    assert RelayTurn.objects.get().attended_at == first
    attended(seconds_ago=turn.SAID_SECONDS + 1)
    sweep(is_hearing=True)
    assert RelayTurn.objects.get().attended_at > first
    attended(seconds_ago=-90_000)  # by a hub whose clock is ahead
    sweep(is_hearing=True)
    assert RelayTurn.objects.get().attended_at < timezone.now()


def test_who_hears_nobody_says_nothing():
    sweep()
    assert not RelayTurn.objects.filter(attended_at__isnull=False).exists()


def test_nor_does_a_hub_whose_write_would_break_the_sites(monkeypatch):
    monkeypatch.setattr(relay_module, "disturbs_writers", lambda alias: True)
    sweep(is_hearing=True)
    assert not RelayTurn.objects.filter(attended_at__isnull=False).exists()


async def test_what_a_command_left_to_the_hubs_is_shown_at_once(live_site, mina, mina_session):
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await eventually(lambda: RelayTurn.objects.filter(attended_at__isnull=False).exists(), 7)
        turn.forget()
        await tell(mina, "left to the hubs")
        assert turn.is_attended(connection.alias)  # the premise; remembered, so no query from this thread
        await page.until(lambda page: page.titles == ["left to the hubs"], 2)
