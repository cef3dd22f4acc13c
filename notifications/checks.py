"""System checks: each with an id, a hint and a test. `docs/settings.md` lists them."""

import os
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any, Final

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.core.checks.registry import registry
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.template import Context, Engine, Origin, TemplateDoesNotExist, engines
from django.template.backends.django import DjangoTemplates
from django.template.loader_tags import BlockNode, ExtendsNode
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from notifications.conf import PREFIX, THEMES, app_settings, defaults
from notifications.outbox import event_alias
from notifications.relay import disturbs_writers
from notifications.rules import registry as rules

__all__ = ["FLOORS", "messages", "register_all"]

# `pyproject.toml`'s, for an installation that has passed it by
FLOORS: Final[Mapping[str, str]] = {"django": "5.2.14", "daphne": "4.2.2", "channels": "4.3", "channels-redis": "4.3"}
NUMBER: Final = re.compile(r"\d+")
WAL: Final = re.compile(r"journal_mode\s*=\s*['\"]?wal", re.IGNORECASE)
REQUEST: Final = "django.template.context_processors.request"
OPTIONS_HINT: Final = (
    'Write DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 20, '
    '"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"}.'
)


def register_all() -> None:
    register(check_settings)
    register(check_names)
    register(check_versions)
    register(check_layer)
    register(check_layer_patience)
    register(check_urls, Tags.urls)
    register(check_asgi)
    register(check_origins, Tags.security)
    register(check_templates, Tags.templates)
    register(check_admin_bell, Tags.templates)
    register(check_databases)
    register(check_rules)


def messages() -> list[CheckMessage]:
    """What the app's own checks say and the site does not silence."""
    ours = [check for check in registry.get_checks() if check.__module__ == __name__]
    said = [each for check in ours for each in check(app_configs=None, databases=None) if not each.is_silenced()]
    return sorted(said, key=lambda message: str(message.id))


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
        elif isinstance(value, int | float) and not isinstance(value, bool) and not 0 < value < float("inf"):
            yield Error(f"{name} is {value!r}.", hint="It must be a number above zero.", id="live_notifications.E002")
    prefix: object = app_settings.GROUP_PREFIX
    if isinstance(prefix, str) and not re.fullmatch(r"[A-Za-z0-9_-]{1,50}", prefix):
        yield Error(
            f"NOTIFICATIONS_GROUP_PREFIX is {prefix!r}.",
            hint="Use at most 50 letters, digits, hyphens and underscores: it begins every channel-layer group name.",
            id="live_notifications.E003",
        )
    if isinstance(app_settings.THEME, str) and app_settings.THEME not in THEMES:
        yield Error(
            f"NOTIFICATIONS_THEME is {app_settings.THEME!r}.",
            hint=f"It is one of {', '.join(map(repr, THEMES))}. Another look is made of the custom properties --notifications-*.",
            id="live_notifications.E007",
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


def check_versions(**_: Any) -> Iterable[CheckMessage]:
    for package, floor in FLOORS.items():
        try:
            installed = version(package)
        except PackageNotFoundError:  # a site that serves by something else than Daphne may leave it out
            continue
        if [int(number) for number in NUMBER.findall(installed)] < [int(number) for number in NUMBER.findall(floor)]:
            yield Warning(
                f"{package} {installed} is older than {floor}, the oldest release that this app is made for.",
                hint=f'Run: python -m pip install --upgrade "{package}>={floor}"',
                id="live_notifications.W012",
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
    processes = os.environ.get("WEB_CONCURRENCY", "")
    if isinstance(layer, InMemoryChannelLayer) and processes.isdecimal() and int(processes) > 1:
        yield Warning(
            f"The channel layer is in-memory, and WEB_CONCURRENCY asks for {processes} server processes.",
            hint="What one writes, the pages of the others show by their watermark only, up to 2 s later: use channels_redis. "
            "(How many processes a tool other than gunicorn or uvicorn starts cannot be seen from here.)",
            id="live_notifications.W007",
        )


def check_layer_patience(**_: Any) -> Iterable[CheckMessage]:
    """Asked of a connection that is made and not opened: so it holds for every spelling of a host and every redis-py."""
    try:
        layer = get_channel_layer(app_settings.CHANNEL_LAYER)
        wait = type(layer).brpop_timeout
    except Exception:  # noqa: BLE001 - E005 says it; and only the core layer waits for Redis to speak
        return
    for index in range(len(layer.hosts)):
        try:
            timeout = layer.create_pool(index).make_connection().socket_timeout
        except Exception as error:  # noqa: BLE001 - whatever redis-py thinks of the site's options
            yield Error(
                f"Host {index} of the channel layer {app_settings.CHANNEL_LAYER!r} cannot be used: {error}",
                hint='Look at its "CONFIG": {"hosts": ...} in CHANNEL_LAYERS.',
                id="live_notifications.E005",
            )
            continue
        if timeout is not None and timeout <= wait:
            yield Warning(
                f"Host {index} of the channel layer gives up on a silent connection after {timeout:g} s, "
                f"which is no longer than the layer waits for news ({wait} s).",
                hint='Write it as {"address": "redis://...", "socket_timeout": 15} in "CONFIG": {"hosts": [...]}: '
                "else whoever listens is cut off whenever it is quiet (redis-py 8 made 5 s its default).",
                id="live_notifications.W008",
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


def check_asgi(**_: Any) -> Iterable[CheckMessage]:
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not path:
        yield Warning(
            "ASGI_APPLICATION is not set, so no server process can hold a socket.",
            hint="Wrap the application in asgi.py in notifications.routing.live_application, and name it in settings.",
            id="live_notifications.W004",
        )
        return
    try:
        import_string(path)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the site's module does, `check` itself must live
        yield Warning(
            f"ASGI_APPLICATION {path!r} cannot be imported: {error!r}",
            hint="No ASGI server can start. Name module and variable, as in ASGI_APPLICATION = 'mysite.asgi.application'.",
            id="live_notifications.W010",
        )
        return
    from notifications.routing import applications  # late: what every command imports need not hold the hub

    if not applications:
        yield Warning(
            f"ASGI_APPLICATION {path!r} has no live_application in it, so no page gets a socket.",
            hint="In that module: from notifications.routing import live_application, and then "
            "application = live_application(get_asgi_application()); other sockets go in as websocket=...",
            id="live_notifications.W011",
        )


def check_origins(**_: Any) -> Iterable[CheckMessage]:
    for origin in settings.CSRF_TRUSTED_ORIGINS:
        if "*" in origin:
            effect = "a page of any host there may open its reader's socket" if "://*." in origin else "no origin matches it"
            yield Warning(
                f"CSRF_TRUSTED_ORIGINS has {origin!r}: {effect}.",
                hint="Name each origin: CSRF_TRUSTED_ORIGINS = ['https://shop.example.com', ...]. A subdomain that serves what "
                "others have written could else read along. The site's own host needs no entry.",
                id="live_notifications.W013",
            )


def check_templates(**_: Any) -> Iterable[CheckMessage]:
    try:
        ours = [each for each in engines.all() if isinstance(each, DjangoTemplates) and _finds_templates(each)]
    except ImproperlyConfigured:  # Django says it
        return
    if ours and not any(REQUEST in each.engine.context_processors for each in ours):
        yield Warning(
            "No template engine has the context processor `request`: the tags of {% load notifications %} print nothing.",
            hint=f'Add "{REQUEST}" to "OPTIONS": {{"context_processors": [...]}} in TEMPLATES.',
            id="live_notifications.W014",
        )


def check_admin_bell(**_: Any) -> Iterable[CheckMessage]:
    """A page of the admin gets its header from `admin/base_site.html`, or from what that extends."""
    if app_settings.ADMIN_BELL is not True:
        return
    try:
        backends = [each for each in engines.all() if isinstance(each, DjangoTemplates)]
    except ImproperlyConfigured:  # Django says it
        return
    if not apps.is_installed("django.contrib.admin"):
        problem, hint = "there is no admin", 'Add "django.contrib.admin" to INSTALLED_APPS, or take the setting out.'
    elif not any(_finds_templates(each) and _finds_templates(each, "admin/base_site.html") for each in backends):
        problem = "no DjangoTemplates engine finds both the admin's templates and ours"
        hint = 'Give it "APP_DIRS": True in TEMPLATES, or the loader django.template.loaders.app_directories.Loader.'
    elif not any(_has_block(each.engine, "admin/base_site.html", "usertools") for each in backends):
        problem = "no admin/base_site.html, nor what it extends, has the block `usertools`"
        hint = "Keep that block in it, or put {% notification_bell %} and {% notification_toasts %} into it yourself."
    else:
        return
    yield Warning(f"NOTIFICATIONS_ADMIN_BELL is on, and {problem}.", hint=hint, id="live_notifications.W015")


def _has_block(engine: Engine, name: str, block: str) -> bool:
    """Whether the template or one that it extends has it, as far as the names stand in them."""
    seen: list[Origin] = []
    while True:
        try:
            template, origin = engine.find_template(name, skip=seen)
        except TemplateDoesNotExist:
            return False
        seen.append(origin)
        if any(getattr(node, "name", "") == block for node in template.nodelist.get_nodes_by_type(BlockNode)):
            return True
        extends: list[Any] = template.nodelist.get_nodes_by_type(ExtendsNode)
        if not extends:
            return False
        name = extends[0].parent_name.resolve(Context())
        if not isinstance(name, str) or not name:
            return True  # a name that only a page knows


def _finds_templates(backend: DjangoTemplates, name: str = "notifications/bell.html") -> bool:
    try:
        backend.get_template(name)
    except TemplateDoesNotExist:
        return False
    return True


def check_databases(**_: Any) -> Iterable[CheckMessage]:
    alias = event_alias()
    if disturbs_writers(alias):
        yield Warning(
            "SQLite opens transactions that read first and then fail to write (“database is locked”).",
            hint=OPTIONS_HINT,
            id="live_notifications.W005",
        )
    if _blocks_readers(alias):
        yield Warning(
            "SQLite keeps no write-ahead log (WAL): whoever writes waits for all who read, and they for it.",
            hint=OPTIONS_HINT,
            id="live_notifications.W009",
        )


def _blocks_readers(alias: str) -> bool:
    """Whether the file is known not to be in WAL mode. It stands in its header: checks must open no connection."""
    connection: Any = connections[alias]
    if connection.vendor != "sqlite" or connection.is_in_memory_db():
        return False
    name = str(connection.settings_dict["NAME"])
    wants_wal = WAL.search(str(connection.settings_dict["OPTIONS"].get("init_command")))
    if wants_wal or name.startswith("file:"):
        return False
    try:
        with Path(name).open("rb") as file:
            header = file.read(20)
    except OSError:  # made by the first connection, and then without
        return True
    return header[18:20] != b"\2\2"


def check_rules(**_: Any) -> Iterable[CheckMessage]:
    alias = event_alias()
    for rule in rules.model_rules:
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
