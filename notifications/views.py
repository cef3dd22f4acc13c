"""The HTTP half: the inbox page, which works without JavaScript, its buttons, and the same rows as JSON.

`Reading` is what one request has read of its user's inbox: the views and the template tags share it. Flow goes on in `inbox.py`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlencode

import msgspec
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import SuspiciousOperation
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseRedirect, QueryDict
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render, resolve_url
from django.urls import get_script_prefix, reverse, set_script_prefix
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_POST, require_safe

from notifications.conf import app_settings
from notifications.filters import EVERYTHING, SEARCH_CHARACTERS, Filter, kinds
from notifications.inbox import PAGE_ROWS, Page, Show, counts, read_page
from notifications.protocol import IDS_PER_COMMAND, LARGEST_NUMBER
from notifications.steps import ACTIONS, MarkAction, mark_seen
from notifications.steps import mark as mark_rows

__all__ = ["Listing", "Reading", "inbox", "inbox_url", "items", "login_url", "mark", "socket", "url_of"]

KEPT_AS: Final = "_live_notifications"
SHOWS: Final = ("active", "unread", "archived")
STEPS: Final = {*ACTIONS, *(f"{action}_{by}" for action in ACTIONS for by in ("upto", "stamp")), "seen_upto"} - {"undelete_upto"}
"""The fields that a form of ours may have, each a step."""
View: TypeAlias = Callable[[HttpRequest], HttpResponse]


@dataclass(frozen=True)
class Listing:
    """One page of rows and the question that it answers."""

    page: Page
    show: Show = "active"
    before: int | None = None
    wanted: Filter = EVERYTHING
    has_rows: bool = True
    """False: nothing was read (an async view); the page's script or the socket fetches the rows."""

    @property
    def query(self) -> str:
        """What asks for this page again."""
        return query(self.show, self.wanted, self.before)

    @property
    def newest(self) -> str:
        return query(self.show, self.wanted)

    @property
    def unfiltered(self) -> str:
        return query(self.show)

    @property
    def older(self) -> str:
        """The query of the next page, or nothing: keyset, so that what arrives meanwhile shifts no row."""
        return "" if self.page.before is None else query(self.show, self.wanted, self.page.before)

    @property
    def is_unfinished(self) -> bool:
        """Whether the search for what fits the filter stopped at its bound: older ones may fit that it has not looked at."""
        return self.wanted.is_set and self.page.before is not None and len(self.page.items) < PAGE_ROWS


def query(show: Show, wanted: Filter = EVERYTHING, before: int | None = None) -> str:
    """The address of a list below that of the inbox page, or of its rows; defaults are left out."""
    tab = "" if show == "active" else show
    parts = {"show": tab, "kind": wanted.kind, "severity": wanted.severity, "q": wanted.search, "before": before}
    given = {name: value for name, value in parts.items() if value not in ("", None)}
    return f"?{urlencode(given)}" if given else ""


@dataclass
class Reading:
    """What this request has read and printed of its user's inbox, kept on the request."""

    first: Listing | None = None
    position: str | None = None
    """Of the earliest read. The socket resumes from it: a later one would skip what came between the two."""
    serial: int = 0
    """How many tags have been printed: the first brings what a page needs once, each names its parts by it."""
    has_styles: bool = False
    """The stylesheets have been printed, by a tag in the head or by the first one in the body."""

    @classmethod
    def of(cls, request: HttpRequest) -> "Reading":
        if not hasattr(request, KEPT_AS):
            setattr(request, KEPT_AS, cls())
        return cast(Reading, getattr(request, KEPT_AS))

    def take(self, listing: Listing) -> Listing:
        if self.position is None:
            self.position = listing.page.position
        if self.first is None and not listing.query:
            self.first = listing
        return listing


class BadRequest(ValueError):
    """Nonsense in the query or the form; its text is the answer."""


def page_view(view: View) -> View:
    """For the signed-in reader's own eyes: others are sent to log in (or told, where JSON was asked for), nonsense gets 400.

    Forgeries are refused in here, not by the site's middleware, so that no answer is without its `Cache-Control`.
    """
    protected = csrf_protect(view)

    @functools.wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if not request.user.is_authenticated:
            return HttpResponse(status=401) if _wants_json(request) else HttpResponseRedirect(login_url(request))
        try:
            return protected(request)
        except (BadRequest, SuspiciousOperation, MultiPartParserError) as error:  # the latter two: a form that cannot be read
            return HttpResponseBadRequest(str(error), content_type="text/plain; charset=utf-8")

    answered = cache_control(private=True, no_store=True)(guarded)
    answered = csrf_exempt(answered)
    for alias in connections:  # so that a step has been taken when the answer shows what came of it
        answered = transaction.non_atomic_requests(using=alias)(answered)
    return cast(View, answered)


@page_view
@require_safe
def inbox(request: HttpRequest) -> HttpResponse:
    """The inbox on its own page: `?show=active|unread|archived`, `?before=NUMBER` for older ones, `?kind=&severity=&q=`."""
    listing = Reading.of(request).take(_listing(request))
    names: dict[Show, str] = {"active": _("All"), "unread": _("Unread"), "archived": _("Archived")}
    counted = counts(request.user.pk, listing.page)
    labels = kinds(request.user.pk)
    if listing.wanted.kind:
        labels.setdefault(listing.wanted.kind, listing.wanted.kind)
    values = {
        "listing": listing,
        "tab": names[listing.show],
        "tabs": [(show, name, query(show, listing.wanted), counted[show]) for show, name in names.items()],
        "is_searchable": listing.wanted.is_set or any(counted.values()),
        "kinds": labels,
        "severities": {"info": _("Information"), "success": _("Done"), "warning": _("Warning"), "error": _("Error")},
        "search_characters": SEARCH_CHARACTERS,
        "inbox_url": inbox_url(),
    }
    return render(request, "notifications/inbox.html", values)


@page_view
@require_GET
def items(request: HttpRequest) -> HttpResponse:
    """The same rows as JSON, in the shape of the socket's `reset`, and how many each tab has."""
    page = _listing(request).page
    return _json(page, counts=counts(request.user.pk, page))


@page_view
@require_POST
def mark(request: HttpRequest) -> HttpResponse:
    """A button: `read=ID` (repeatable), `read_upto=NUMBER` or `read_stamp=STAMP`, for each action; `seen_upto=NUMBER`.

    Ids of others and missing ids answer as one's own do. Back to `next`, if that is a page of this host; with
    `Accept: application/json` the newest page instead, and the `stamp` of the step that was taken (0: nothing changed).
    """
    name, numbers = _step(request.POST)
    action, _sep, by = name.partition("_")
    if action == "seen":
        stamp = mark_seen(request.user.pk, numbers[0])
    else:
        chosen: dict[str, Any] = {by: numbers[0]} if by else {"ids": numbers}
        stamp = mark_rows(request.user.pk, cast(MarkAction, action), **chosen)
    if _wants_json(request):
        return _json(read_page(request.user.pk), stamp=stamp)
    target = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return HttpResponseRedirect(target if is_ours else inbox_url())


@csrf_exempt
@cache_control(private=True, no_store=True)
def socket(request: HttpRequest) -> HttpResponse:
    """Here answers the WebSocket, where `asgi.py` has `live_application`; plain HTTP is told so.

    Without the `Upgrade` header that goes with 426: it is hop-by-hop, and wsgiref refuses a response that carries one.
    """
    return HttpResponse("This address speaks WebSocket only.\n", status=426, content_type="text/plain; charset=utf-8")


def inbox_url() -> str:
    """Where the inbox page is."""
    return url_of("inbox")


def url_of(name: str) -> str:
    """The address of one of our views: a path of this host, whatever a request header has put before it."""
    return _local(f"live_notifications:{name}")


def login_url(request: HttpRequest) -> str:
    """Where to sign in, and come back to this page."""
    here = request.get_full_path() if request.method in ("GET", "HEAD") else inbox_url()
    chosen = app_settings.LOGIN_URL or settings.LOGIN_URL
    address = resolve_url(chosen)
    return redirect_to_login(here, address if address == str(chosen) else _local(chosen)).url


def _local(name: str) -> str:
    """The view's path. Daphne takes the script prefix from the header `Daphne-Root-Path`, and a prefix may name another host."""
    url = reverse(name)
    if url.startswith("/") and url_has_allowed_host_and_scheme(url, None):
        return url
    prefix = get_script_prefix()
    set_script_prefix("/")
    try:
        return reverse(name)
    finally:
        set_script_prefix(prefix)


def _listing(request: HttpRequest) -> Listing:
    show = request.GET.get("show", "active")
    if show not in SHOWS:
        raise BadRequest("show is one of " + ", ".join(SHOWS))
    chosen = cast(Show, show)
    before = _number("before", request.GET["before"]) if "before" in request.GET else None
    try:
        wanted = Filter(*(request.GET.get(name, "") for name in ("kind", "severity", "q")))
    except ValueError as error:
        raise BadRequest(str(error)) from None
    return Listing(read_page(request.user.pk, before=before, show=chosen, wanted=wanted), chosen, before, wanted)


def _step(form: QueryDict) -> tuple[str, list[int]]:
    """The one step that a form asks for: its name and its ids, or its one number."""
    names = STEPS & set(form)
    if len(names) != 1:
        raise BadRequest("one of " + ", ".join(ACTIONS) + " with ids, or the same with _upto or _stamp and a number")
    name = names.pop()
    numbers = [_number(name, text) for text in form.getlist(name)]
    if len(numbers) > (1 if "_" in name else IDS_PER_COMMAND):
        raise BadRequest(f"too many values of {name}")
    return name, numbers


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= LARGEST_NUMBER):
        raise BadRequest(f"{name} is a whole number")
    return int(text)


def _wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def _json(page: Page, **more: object) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(vars(page) | more), content_type="application/json")
