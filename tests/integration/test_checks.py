"""Each system check speaks when its condition holds, says what to do, and is silent otherwise."""

import sqlite3
import sys
from importlib.metadata import PackageNotFoundError
from typing import Any
from weakref import WeakSet

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.db import connections

from notifications import checks as checks_module
from notifications import routing, rule
from notifications.conf import defaults
from notifications.session import is_own_origin
from tests.site.asgi import application  # as in a server process: held, so that there is one
from tests.site.models import Order
from tests.site.settings import LAYERS, TEMPLATES, layers_at

PREFIX = "live_notifications."
REDIS = "redis://127.0.0.1:1"


def said(**arguments: Any) -> list[CheckMessage]:
    return [message for message in run_checks(**arguments) if str(message.id).startswith(PREFIX)]


def ids(**arguments: Any) -> list[str]:
    return [str(message.id).removeprefix(PREFIX) for message in said(**arguments)]


@pytest.fixture(autouse=True)
def sound_site(settings, own_rules, monkeypatch):
    """A site that no check has anything to say of."""
    assert application is not None
    settings.DEBUG = True  # an in-memory layer is right for development
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
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
        ("DIRECT_WRITES", 1),
        ("DIRECT_WRITES", "yes"),
        ("SOCKETS_PER_USER", "20"),
        ("SOCKETS_PER_USER", True),
        ("CHANNEL_LAYER", 1),
        ("GROUP_PREFIX", None),
        ("LOGIN_URL", 5),
        ("THEME", None),
        ("ADMIN_BELL", "yes"),
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WATERMARK_SECONDS", 3),
        ("WATERMARK_SECONDS", 0.5),
        ("SOCKETS_PER_USER", 1),
        ("DIRECT_WRITES", False),
        ("DIRECT_WRITES", True),
    ],
)
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


@pytest.mark.parametrize("theme", ["", "dark", "Bootstrap"])
def test_e007_a_theme_that_there_is_not(settings, theme):
    settings.NOTIFICATIONS_THEME = theme
    (message,) = said()
    assert message.id == PREFIX + "E007"
    assert "'bootstrap'" in str(message.hint)


@pytest.mark.parametrize("theme", ["plain", "bootstrap", "admin"])
def test_e007_is_silent_for_those_that_there_are(settings, theme):
    settings.NOTIFICATIONS_THEME = theme
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
    settings.DEBUG = False
    settings.CHANNEL_LAYERS = layers_at(REDIS, kind)
    assert ids() == []


def test_e006_urls_that_are_not_included(settings):
    settings.ROOT_URLCONF = "django.contrib.auth.urls"
    assert ids() == ["E006"]


def test_w004_no_asgi_application(settings):
    settings.ASGI_APPLICATION = None
    assert ids() == ["W004"]


@pytest.mark.parametrize("processes", ["2", "16"])
def test_w007_an_in_memory_layer_for_several_processes(monkeypatch, processes):
    monkeypatch.setenv("WEB_CONCURRENCY", processes)
    assert ids() == ["W007"]


@pytest.mark.parametrize("processes", ["", "1", "many", "-2"])
def test_w007_is_silent_for_one_process(monkeypatch, processes):
    monkeypatch.setenv("WEB_CONCURRENCY", processes)
    assert ids() == []


def core_layer(settings, *hosts: Any, kind: str = "core") -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYERS[kind], "CONFIG": {"hosts": list(hosts)}}}


SENTINELS = {"master_name": "mymaster", "sentinels": [("127.0.0.1", 26379)]}


@pytest.mark.parametrize(
    "host",
    [
        REDIS,
        "rediss://127.0.0.1:1/0",
        "unix:///tmp/redis.sock",
        ("127.0.0.1", 6379),
        ["127.0.0.1", 6379],
        {"address": REDIS},
        {"address": REDIS, "socket_timeout": 5},
        {"host": "127.0.0.1", "port": 6379, "socket_timeout": 0.5},
        f"{REDIS}?socket_timeout=4",
        SENTINELS,
    ],
    ids=str,
)
def test_w008_a_core_layer_that_gives_up_when_it_is_quiet(settings, host):
    """redis-py 8's own default is 5 s, which is how long the layer waits for news."""
    core_layer(settings, host)
    (message,) = said()
    assert message.id == PREFIX + "W008"
    assert "socket_timeout" in str(message.hint)
    core_layer(settings, {"address": REDIS, "socket_timeout": 15}, host)
    assert [str(each.msg)[:6] for each in said()] == ["Host 1"]


@pytest.mark.parametrize(
    "host",
    [
        {"address": REDIS, "socket_timeout": 15},
        {"address": REDIS, "socket_timeout": None},
        {"host": "127.0.0.1", "port": 6379, "socket_timeout": 5.5},
        f"{REDIS}?socket_timeout=15",
        {**SENTINELS, "socket_timeout": 15},
    ],
    ids=str,
)
def test_w008_is_silent_for_one_that_waits_longer(settings, host):
    core_layer(settings, host)
    assert ids() == []


def test_w008_does_not_concern_the_pubsub_layer(settings):
    core_layer(settings, REDIS, kind="pubsub")
    assert ids() == []


def test_e005_a_host_with_an_option_that_redis_does_not_know(settings):
    core_layer(settings, {"address": REDIS, "socket_time_out": 15})
    assert ids() == ["E005"]


ASGI = {
    "bare": ("application = live_application(None)", ""),
    "wrapped": ("application = {'websocket': [live_application(None)]}", ""),
    "plain": ("application = object()", "W011"),
    "dropped": ("application = live_application, live_application(None) and None", "W011"),
    "leaving": ("raise SystemExit('a variable is missing')", "W010"),
    "failing": ("1 / 0", "W010"),
    "nameless": ("app = live_application(None)", "W010"),
}


@pytest.mark.parametrize(("text", "id"), ASGI.values(), ids=ASGI)
def test_w010_and_w011_an_asgi_application_that_is_missing_or_is_not_ours(settings, monkeypatch, tmp_path, text, id):
    monkeypatch.setattr(routing, "applications", WeakSet())  # as in a process that has not imported any yet
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_asgi.py").write_text(f"from notifications.routing import live_application\n{text}\n")
    settings.ASGI_APPLICATION = "own_asgi.application"
    try:
        assert ids() == [id][: len(id)]
    finally:
        sys.modules.pop("own_asgi", None)


@pytest.mark.parametrize("path", ["no.such.module", "nonsense", "tests.site.asgi.app"])
def test_w010_an_asgi_application_that_is_not_there(settings, path):
    settings.ASGI_APPLICATION = path
    assert ids() == ["W010"]


def test_w012_a_release_below_the_floor(monkeypatch):
    installed = {"django": "5.2.9", "daphne": "4.2.1", "channels": "4.3", "channels-redis": "4.10.0rc1"}
    monkeypatch.setattr(checks_module, "version", installed.__getitem__)
    found = said()
    assert [message.id for message in found] == [PREFIX + "W012"] * 2
    assert "django 5.2.9" in str(found[0].msg)
    assert "daphne>=4.2.2" in str(found[1].hint)


def test_w012_is_silent_for_what_is_not_installed(monkeypatch):
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(checks_module, "version", missing)
    assert ids() == []


@pytest.mark.parametrize(("origin", "effect"), [("https://*.example.com", "any host"), ("https://*", "no origin matches")])
def test_w013_an_origin_that_stands_for_many(settings, origin, effect):
    settings.CSRF_TRUSTED_ORIGINS = ["https://shop.example.com", origin]
    (message,) = said()
    assert message.id == PREFIX + "W013"
    assert effect in str(message.msg)
    scope = {"headers": [(b"host", b"site.example"), (b"origin", b"https://other.example.com")], "server": ("site.example", 443)}
    assert is_own_origin(scope) is (effect == "any host")  # what is said is so
    settings.CSRF_TRUSTED_ORIGINS = ["https://shop.example.com"]
    assert ids() == []


def test_w014_tags_that_print_nothing(settings):
    without = [{**TEMPLATES[0], "OPTIONS": {"context_processors": ["django.contrib.auth.context_processors.auth"]}}]
    settings.TEMPLATES = without
    assert ids() == ["W014"]
    settings.TEMPLATES = [{**TEMPLATES[0], "NAME": "pages"}, {**without[0], "NAME": "mails"}]
    assert ids() == []
    settings.TEMPLATES = [{**without[0], "APP_DIRS": False}]  # which cannot find our templates anyway
    assert ids() == []


def test_w015_an_admin_that_the_bell_cannot_be_put_into(settings):
    settings.NOTIFICATIONS_ADMIN_BELL = True
    assert ids() == []
    settings.TEMPLATES = [with_base_site("{% extends 'admin/base.html' %}{% block branding %}mine{% endblock %}")]
    assert ids() == [], "it stands in what that extends"
    settings.TEMPLATES = [with_base_site("<header>{% block branding %}{% endblock %}</header>")]
    assert ids() == ["W015"]
    (message,) = said()
    assert "`usertools`" in str(message.msg)
    settings.TEMPLATES = [{**TEMPLATES[0], "APP_DIRS": False}]
    (message,) = said()
    assert message.id == PREFIX + "W015"
    assert "APP_DIRS" in str(message.hint)
    settings.NOTIFICATIONS_ADMIN_BELL = False
    assert ids() == []


def test_w015_no_admin_at_all(settings):
    settings.NOTIFICATIONS_ADMIN_BELL = True
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "django.contrib.admin"]
    (message,) = checks_module.check_admin_bell()
    assert message.id == PREFIX + "W015"
    assert "django.contrib.admin" in str(message.hint)


def with_base_site(text: str) -> dict[str, Any]:
    own = ("django.template.loaders.locmem.Loader", {"admin/base_site.html": text})
    processors: Any = TEMPLATES[0]["OPTIONS"]
    options = {**processors, "loaders": [own, "django.template.loaders.app_directories.Loader"]}
    return {"BACKEND": TEMPLATES[0]["BACKEND"], "OPTIONS": options}


def test_w009_sqlite_without_a_write_ahead_log(monkeypatch, tmp_path):
    connection = connections["default"]
    if connection.vendor != "sqlite":
        assert "W009" not in ids()
        return
    options = {"transaction_mode": "IMMEDIATE"}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    monkeypatch.setitem(connection.settings_dict, "NAME", tmp_path / "site.sqlite3")
    assert ids() == ["W009"]  # no file yet, and nothing that would make it one with a log
    with sqlite3.connect(tmp_path / "site.sqlite3") as file:
        file.execute("CREATE TABLE t (i)")
        assert ids() == ["W009"]
        file.execute("PRAGMA journal_mode=WAL").fetchone()
        assert ids() == []  # the file keeps its mode, whoever opens it
        file.execute("PRAGMA journal_mode=DELETE").fetchone()
        assert ids() == ["W009"]
    monkeypatch.setitem(options, "init_command", "PRAGMA synchronous=NORMAL; PRAGMA journal_mode = 'wal'")
    assert ids() == []
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"transaction_mode": "IMMEDIATE"})
    for name in (":memory:", "file:shared?mode=memory&cache=shared", "file:elsewhere.sqlite3"):
        monkeypatch.setitem(connection.settings_dict, "NAME", name)
        assert ids() == []  # there is none to keep, or it cannot be known without a connection


def test_w005_sqlite_that_takes_its_lock_too_late(monkeypatch):
    connection = connections["default"]
    assert ids() == []
    if connection.vendor == "sqlite":
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"init_command": "PRAGMA journal_mode=WAL"})
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
