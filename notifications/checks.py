"""System checks: each with an id, a hint and a test. `docs/settings.md` lists them."""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.db import connections, router
from django.urls import NoReverseMatch, reverse

from notifications.conf import PREFIX, app_settings, defaults
from notifications.outbox import event_alias
from notifications.relay import disturbs_writers
from notifications.rules import registry

__all__ = ["register_all"]


def register_all() -> None:
    register(check_settings)
    register(check_names)
    register(check_layer)
    register(check_urls, Tags.urls)
    register(check_databases)
    register(check_rules)


def check_settings(**_: Any) -> Iterable[CheckMessage]:
    known = defaults()
    for name in dir(settings):
        if name.startswith(PREFIX) and name not in known:
            yield Warning(
                f"{name} is not a setting of this app.",
                hint=f"The settings are {', '.join(sorted(known))}.",
                id="live_notifications.W001",
            )
    for name, default in known.items():
        value = getattr(settings, name, default)
        wanted = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(default, bool):
            yield Error(
                f"{name} is {value!r}.",
                hint=f"It must be of type {type(default).__name__}, as its default {default!r} is.",
                id="live_notifications.E001",
            )
        elif isinstance(value, int | float) and not 0 < value < float("inf"):
            yield Error(f"{name} is {value!r}.", hint="It must be a number above zero.", id="live_notifications.E002")
    prefix: object = app_settings.GROUP_PREFIX
    if isinstance(prefix, str) and not re.fullmatch(r"[A-Za-z0-9_-]{1,50}", prefix):
        yield Error(
            f"NOTIFICATIONS_GROUP_PREFIX is {prefix!r}.",
            hint="Use at most 50 letters, digits, hyphens and underscores: it begins every channel-layer group name.",
            id="live_notifications.E003",
        )


def check_names(**_: Any) -> Iterable[CheckMessage]:
    try:
        distribution("django-notifications-hq")
    except PackageNotFoundError:
        return
    yield Error(
        "django-notifications-hq is installed beside django-live-notifications.",
        hint="Both are imported as `notifications`, so one hides the other: uninstall django-notifications-hq.",
        id="live_notifications.E004",
    )


def check_layer(**_: Any) -> Iterable[CheckMessage]:
    alias = app_settings.CHANNEL_LAYER
    try:
        layer = get_channel_layer(alias)
    except Exception as error:  # noqa: BLE001 - the layer's module or constructor is the site's
        yield Error(
            f"The channel layer {alias!r} cannot be made: {error}",
            hint="Look at CHANNEL_LAYERS.",
            id="live_notifications.E005",
        )
        return
    if layer is None:
        yield Warning(
            f"There is no channel layer {alias!r}.",
            hint="Notifications then arrive within the watermark's seconds instead of at once. Set CHANNEL_LAYERS.",
            id="live_notifications.W002",
        )
    elif isinstance(layer, InMemoryChannelLayer) and not settings.DEBUG:
        yield Warning(
            "The channel layer is in-memory: it does not reach other processes.",
            hint="Use channels_redis in production: its RedisChannelLayer, or RedisPubSubChannelLayer.",
            id="live_notifications.W003",
        )


def check_urls(**_: Any) -> Iterable[CheckMessage]:
    if not getattr(settings, "ROOT_URLCONF", None):
        return
    try:
        reverse("live_notifications:socket")
    except NoReverseMatch:
        yield Error(
            "The app's URLs are not included.",
            hint='Add path("notifications/", include("notifications.urls")) to the URL configuration.',
            id="live_notifications.E006",
        )
    if not getattr(settings, "ASGI_APPLICATION", None):
        yield Warning(
            "ASGI_APPLICATION is not set, so no server process can hold a socket.",
            hint="Wrap the application in asgi.py in notifications.routing.live_application, and name it in settings.",
            id="live_notifications.W004",
        )


def check_databases(**_: Any) -> Iterable[CheckMessage]:
    if disturbs_writers(event_alias()):
        yield Warning(
            "SQLite opens transactions that read first and then fail to write (“database is locked”).",
            hint='Add "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, '
            '"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"} to DATABASES.',
            id="live_notifications.W005",
        )


def check_rules(**_: Any) -> Iterable[CheckMessage]:
    alias = event_alias()
    for rule in registry.model_rules:
        change_alias = router.db_for_write(rule.model)
        if change_alias != alias:
            yield Warning(
                f"Rule {rule.name}: {rule.model.__name__} is written to {change_alias!r}, events to {alias!r}.",
                hint="Change and event are then two commits: a crash between them loses the event.",
                id="live_notifications.W006",
            )
        elif (rule.created or rule.updated) and not connections.settings[change_alias].get("ATOMIC_REQUESTS"):
            yield Info(
                f"Rule {rule.name}: a bare save() outside a transaction commits before its event does.",
                hint="Save inside transaction.atomic(), or set ATOMIC_REQUESTS: then they are one commit. "
                "Silence this with SILENCED_SYSTEM_CHECKS where you do.",
                id="live_notifications.I001",
            )
