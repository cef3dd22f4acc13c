"""Each system check speaks when its condition holds, says what to do, and is silent otherwise."""

from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.db import connections

from notifications import checks as checks_module
from notifications import rule
from notifications.conf import defaults
from tests.site.models import Order

PREFIX = "live_notifications."


def said(**arguments: Any) -> list[CheckMessage]:
    return [message for message in run_checks(**arguments) if str(message.id).startswith(PREFIX)]


def ids(**arguments: Any) -> list[str]:
    return [str(message.id).removeprefix(PREFIX) for message in said(**arguments)]


@pytest.fixture(autouse=True)
def sound_site(settings, own_rules):
    """A site that no check has anything to say of."""
    settings.DEBUG = True  # an in-memory layer is right for development
    settings.NOTIFICATIONS_WATERMARK_SECONDS = 15.0
    assert ids() == []


def test_every_message_has_a_hint(settings):
    settings.NOTIFICATIONS_NO_SUCH_THING = 1
    settings.NOTIFICATIONS_WATERMARK_SECONDS = "x"
    settings.NOTIFICATIONS_GROUP_PREFIX = "a b"
    settings.DEBUG = False
    settings.ASGI_APPLICATION = None
    rule(Order, created=True)(lambda change: None)
    messages = said()
    assert len(messages) >= 6
    assert all(message.hint and str(message.msg).endswith(".") for message in messages)


def test_w001_an_unknown_setting(settings):
    settings.NOTIFICATIONS_CHANEL_LAYER = "default"
    (message,) = said()
    assert message.id == PREFIX + "W001"
    assert "NOTIFICATIONS_CHANEL_LAYER" in str(message.msg)
    assert all(name in str(message.hint) for name in defaults())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WATERMARK_SECONDS", "15"),
        ("WATERMARK_SECONDS", None),
        ("WATERMARK_SECONDS", True),
        ("SOCKETS_PER_USER", 1.5),
        ("SOCKETS_PER_USER", "20"),
        ("SOCKETS_PER_USER", True),
        ("CHANNEL_LAYER", 1),
        ("GROUP_PREFIX", None),
        ("LOGIN_URL", 5),
    ],
)
def test_e001_a_setting_of_the_wrong_type(settings, name, value):
    settings.__setattr__(f"NOTIFICATIONS_{name}", value)
    assert "E001" in ids()


@pytest.mark.parametrize(("name", "value"), [("WATERMARK_SECONDS", 0), ("WATERMARK_SECONDS", -1.5), ("SOCKETS_PER_USER", 0)])
def test_e002_a_number_that_must_be_greater_than_zero(settings, name, value):
    settings.__setattr__(f"NOTIFICATIONS_{name}", value)
    assert ids() == ["E002"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_e002_a_number_of_seconds_that_never_pass(settings, value):
    settings.NOTIFICATIONS_WATERMARK_SECONDS = value
    assert ids() == ["E002"]


@pytest.mark.parametrize(("name", "value"), [("WATERMARK_SECONDS", 3), ("WATERMARK_SECONDS", 0.5), ("SOCKETS_PER_USER", 1)])
def test_right_values_are_passed_over_in_silence(settings, name, value):
    settings.__setattr__(f"NOTIFICATIONS_{name}", value)
    assert ids() == []


@pytest.mark.parametrize("prefix", ["", "a b", "a.b", "ü", "a\n", "x" * 51])
def test_e003_a_prefix_that_begins_no_group_name(settings, prefix):
    settings.NOTIFICATIONS_GROUP_PREFIX = prefix
    assert ids() == ["E003"]


@pytest.mark.parametrize("prefix", ["a", "shop-1_x", "x" * 50])
def test_e003_is_silent_for_a_prefix_that_does(settings, prefix):
    settings.NOTIFICATIONS_GROUP_PREFIX = prefix
    assert ids() == []


def test_e004_the_app_that_owns_the_import_name(monkeypatch):
    asked = []

    def installed(name: str) -> None:
        asked.append(name)

    monkeypatch.setattr(checks_module, "distribution", installed)
    assert ids() == ["E004"]

    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(checks_module, "distribution", missing)
    assert ids() == []
    assert asked == ["django-notifications-hq"]


@pytest.mark.parametrize(
    "layer", [{"BACKEND": "no.such.Layer"}, {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"no_such": 1}}]
)
def test_e005_a_layer_that_cannot_be_made(settings, layer):
    settings.CHANNEL_LAYERS = {"default": layer}
    assert ids() == ["E005"]


@pytest.mark.parametrize(("layers", "alias"), [({}, "default"), (..., "other")])
def test_w002_no_layer_under_the_alias(settings, layers, alias):
    if layers is not ...:
        settings.CHANNEL_LAYERS = layers
    settings.NOTIFICATIONS_CHANNEL_LAYER = alias
    assert ids() == ["W002"]


def test_w003_an_in_memory_layer_in_production(settings):
    settings.DEBUG = False
    assert ids() == ["W003"]


@pytest.mark.parametrize("kind", ["core", "pubsub"])
def test_w003_is_silent_for_a_shared_layer(settings, kind):
    from tests.site.settings import layers_at

    settings.DEBUG = False
    settings.CHANNEL_LAYERS = layers_at("redis://127.0.0.1:1", kind)
    assert ids() == []


def test_e006_urls_that_are_not_included(settings):
    settings.ROOT_URLCONF = "django.contrib.auth.urls"
    assert ids() == ["E006"]


def test_w004_no_asgi_application(settings):
    settings.ASGI_APPLICATION = None
    assert ids() == ["W004"]


def test_w005_sqlite_that_takes_its_lock_too_late(monkeypatch):
    connection = connections["default"]
    assert ids() == []
    if connection.vendor == "sqlite":
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", {})
        assert ids() == ["W005"]


def test_w006_and_i001_a_change_that_is_committed_apart_from_its_event(monkeypatch, settings):
    from django.db import router

    rule(Order, created=True)(lambda change: None)
    assert ids() == ["I001"]
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert ids() == []

    def elsewhere(model: Any, **hints: Any) -> str:
        return "other" if model is Order else "default"

    monkeypatch.setattr(router, "db_for_write", elsewhere)
    assert ids() == ["W006"]


@pytest.mark.parametrize("listens", [{"deleted": True}, {"m2m": {"labels"}}])
def test_i001_is_silent_where_django_itself_has_a_transaction(listens):
    rule(Order, **listens)(lambda change: None)
    assert ids() == []


def test_a_check_can_be_silenced(settings, capsys):
    rule(Order, created=True)(lambda change: None)
    assert ids() == ["I001"]  # the premise
    settings.SILENCED_SYSTEM_CHECKS = ["live_notifications.I001"]
    call_command("check")
    assert "I001" not in capsys.readouterr().err
