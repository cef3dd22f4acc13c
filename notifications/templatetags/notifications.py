"""`{% load notifications %}`: the bell, the toasts, the list and the count. Nothing for anonymous users.

All tags of a page share one read of the inbox (`Reading`), and the first of them prints the styles, the scripts and the
`<notification-stream>`. No tag raises into the site's page because our tables are missing.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from django import template
from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.db import OperationalError, ProgrammingError, router, transaction
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template.context import Context
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.formats import date_format
from django.utils.functional import SimpleLazyObject
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from notifications.conf import THEMES, app_settings
from notifications.inbox import Page, read_page
from notifications.items import safe_url
from notifications.logs import is_due
from notifications.models import Inbox
from notifications.protocol import Button, Item
from notifications.views import Listing, Reading, inbox_url, login_url, url_of

__all__ = [
    "notification_age",
    "notification_bell",
    "notification_day",
    "notification_list",
    "notification_styles",
    "notification_title",
    "notification_toasts",
    "register",
    "unread_count",
]

logger = logging.getLogger(__name__)
register = template.Library()

POLICIES: Final = (
    "SECURE_CSP",
    "SECURE_CSP_REPORT_ONLY",
    "CONTENT_SECURITY_POLICY",
    "CONTENT_SECURITY_POLICY_REPORT_ONLY",
)
NOTHING: Final = Page(position="", top=0, items=[], unread=0, unseen=0, seen_upto=0, more=False, before=None)
BLANK: Final = Item(  # what the `<template>` of a list is made of: every part there, every part empty
    id=0,
    number=0,
    stamp=0,
    kind="",
    severity="info",
    title="",
    body="",
    url="",
    icon="",
    actor="",
    target="",
    data={},
    actions=[Button(label="", url="", primary=False)],
    answer="",
    created_at=datetime(2000, 1, 1, tzinfo=UTC),
    read=False,
    archived=False,
)


@register.simple_tag(takes_context=True)
def notification_bell(
    context: Context,
    *,
    title: bool = True,
    favicon: bool | str = True,
    app_badge: bool = True,
    shortcuts: bool = True,
    theme: str = "",
) -> SafeString:
    """A button with the count of unseen notifications; it opens a panel with the list; `shortcuts=False`: without keys.

    While something is unseen, the count stands before the page's title and on the badge of an installed app, and our icon, or
    the one at the URL `favicon`, in place of the site's. `shortcuts=False`: without keys. `theme` is for a page that looks unlike
    the rest of the site.
    """
    signs = {"counts_in_title": title, "favicon": favicon, "counts_on_app": app_badge}
    return _print(context, "bell.html", heading=True, shortcuts=shortcuts, theme=theme, more=signs)


@register.simple_tag(takes_context=True)
def notification_toasts(context: Context, *, sound: bool | str = False, browser: bool = True, theme: str = "") -> SafeString:
    """The corner in which new notifications show for a moment. Once a page, anywhere in its body.

    `sound` (True, or the URL of one) and `browser` (notifications of the operating system) offer a switch each in the bell's
    panel; both stay off until somebody turns them on.
    """
    return _print(context, "toasts.html", theme=theme, more={"sound": sound, "browser": browser})


@register.simple_tag(takes_context=True)
def notification_styles(context: Context, *, theme: str = "") -> SafeString:
    """The stylesheets, for the page's head. Without this tag the first one in the body prints them."""
    return _print(context, "styles.html", theme=theme)


@register.simple_tag(takes_context=True)
def notification_list(context: Context, listing: Listing | None = None, *, shortcuts: bool = True) -> SafeString:
    """The newest notifications with their buttons, or the `listing` that the inbox page has read. `shortcuts` as for the bell."""
    return _print(context, "list.html", listing=listing, heading=listing is None, shortcuts=shortcuts)


@register.simple_tag(takes_context=True)
def unread_count(context: Context) -> SafeString:
    """The number of unread notifications, which follows the inbox while the page is open."""
    return _print(context, "unread_count.html")


@register.filter
def notification_age(moment: datetime) -> str:
    """How long ago, in one unit."""
    now = timezone.now()
    return _("just now") if (now - moment).total_seconds() < 60 else _("%(age)s ago") % {"age": timesince(moment, now, depth=1)}


@register.filter(expects_localtime=True)
def notification_day(moment: datetime) -> str:
    """The heading of its day, in the page's time zone: "Today", "Yesterday", else the date as the reader writes it."""
    day, today = moment.date(), timezone.now().astimezone(moment.tzinfo).date()
    if day == today:
        return _("Today")
    if day == today - timedelta(days=1):
        return _("Yesterday")
    return date_format(day, "MONTH_DAY_FORMAT" if day.year == today.year else "DATE_FORMAT")


@register.filter
def notification_title(item: Item) -> SafeString:
    """The title, escaped, with the actor's and the target's name emphasised where they stand in it."""
    parts: list[tuple[str, str]] = [("", item.title)]
    for name in filter(None, (item.actor, item.target)):
        for index, (tag, text) in enumerate(parts):
            if not tag and name in text:
                start, end = text.split(name, 1)
                parts[index : index + 1] = [("", start), ("b", name), ("", end)]
                break
    return format_html_join("", "{}", ((format_html("<b>{}</b>", text) if tag else text,) for tag, text in parts))


def _print(
    context: Context,
    name: str,
    *,
    listing: Listing | None = None,
    heading: bool = False,
    shortcuts: bool = True,
    theme: str = "",
    more: Mapping[str, object] = MappingProxyType({}),
) -> SafeString:
    request = context.get("request")
    user = _signed_in(request) if isinstance(request, HttpRequest) else None
    if not isinstance(request, HttpRequest) or context.template is None or user is None:
        return SafeString()  # also where an error page is rendered without a request: the bell must not break it
    reading = Reading.of(request)
    first = reading.first or reading.take(_read(request))
    is_head = name == "styles.html"
    reading.serial += not is_head
    prints_styles, reading.has_styles = not reading.has_styles, True
    is_page = request.method in ("GET", "HEAD")
    values = {
        "request": request,
        "csrf_token": SimpleLazyObject(partial(get_token, request)),
        "listing": listing or first,
        "first": first,
        "blank": BLANK,
        "heading": heading,
        "shortcuts": shortcuts,
        "serial": reading.serial,
        "prints_assets": reading.serial == 1,
        "prints_styles": prints_styles,
        "theme": _stylesheet(theme or app_settings.THEME),
        "nonce": _nonce(request),
        "position": reading.position,
        "language": get_language() or "",
        "here": request.get_full_path() if is_page else inbox_url(),
        "tabs": _tabs(request, user.pk),
        "login_url": safe_url(login_url(request)),
        **{f"{each}_url": url_of(each) for each in ("inbox", "items", "mark", "socket", "events", "changes")},
        **more,
    }
    ours = context.new(values)
    ours.autoescape = True  # also inside a block of the site's that turned it off
    return context.template.engine.get_template(f"notifications/{name}").render(ours)


def _stylesheet(theme: str) -> str:
    """Of the theme, beside the one of all. Another word than those that exist is no reason to break a page: a check tells it."""
    return f"notifications/themes/{theme}.css" if theme in THEMES and theme != "plain" else ""


def _nonce(request: HttpRequest) -> str:
    """The Content-Security-Policy's, of django-csp or of Django 6, if this page has one already or the site's policy asks for it.

    To look at it is to make one, and django-csp before 4 then writes it into policies that have never heard of nonces.
    """
    made = getattr(request, "_csp_nonce", None)
    nonce = getattr(request, "csp_nonce", made)
    return str(nonce) if nonce is not None and (made or _wants_nonces()) else ""


def _wants_nonces() -> bool:
    policies: list[Any] = [getattr(settings, name, None) for name in POLICIES]
    return any("nonce" in repr(policy).lower() for policy in policies) or bool(getattr(settings, "CSP_INCLUDE_NONCE_IN", None))


def _signed_in(request: HttpRequest) -> Any:
    """The user, or None."""
    user: Any = getattr(request, "user", None)  # without AuthenticationMiddleware there is none
    try:
        return user if user is not None and user.is_authenticated else None
    except SynchronousOnlyOperation:
        user = getattr(request, "_acached_user", None)  # what an async view gets by `await request.auser()`, and only by that
        return user if user is not None and user.is_authenticated else None


def _tabs(request: HttpRequest, user_id: Any) -> str:
    """What pages of one session have in common, so that they can share a connection; nothing without a session."""
    key = getattr(getattr(request, "session", None), "session_key", None)
    return salted_hmac("notifications.tabs", f"{user_id}:{key}", algorithm="sha256").hexdigest()[:32] if key else ""


def _read(request: HttpRequest) -> Listing:
    """The first page; without rows where nothing can be read: in an async view, or before our migrations were applied."""
    if _in_running_loop():
        return Listing(NOTHING, has_rows=False)
    alias = router.db_for_write(Inbox)
    try:
        # A failed query would spoil the site's own transaction, if there is one: a savepoint keeps the damage.
        with transaction.atomic(using=alias) if transaction.get_connection(alias).in_atomic_block else nullcontext():
            return Listing(read_page(request.user.pk))
    except (OperationalError, ProgrammingError) as error:
        if is_due("inbox_unreadable"):
            logger.error("inbox_unreadable error=%s hint=has_migrate_been_run", str(error).partition("\n")[0])
        return Listing(NOTHING)


def _in_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
