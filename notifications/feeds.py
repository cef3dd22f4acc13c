"""Without WebSocket: the socket's frames by HTTP, asked for now and then. Nothing but plain WSGI is needed.

Flow goes on in `replays.py`. `event_stream.py` is the other way without WebSocket, where the site runs under ASGI.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import SuspiciousOperation
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from notifications.delivery import NOWHERE
from notifications.frames import Frame, answered
from notifications.hub import LONGEST_SPREAD_SECONDS, Hub
from notifications.inbox import read_page
from notifications.items import site_language
from notifications.protocol import Position, hello
from notifications.replays import Cursor, replay
from notifications.ringer import ringer
from notifications.session import read_only
from notifications.stream import CATCH_UP_BYTES

__all__ = ["changes", "events"]

TEXT: Final = "text/plain; charset=utf-8"
View = TypeVar("View", bound=Callable[[HttpRequest], HttpResponse])


def feed(view: View) -> View:
    """For scripts: no redirect to a login, nothing kept by caches, and what is committed at this moment."""
    fed = csrf_exempt(login_not_required(cache_control(private=True, no_store=True)(view)))
    for alias in connections:
        fed = transaction.non_atomic_requests(using=alias)(fed)
    return fed


@feed
@require_safe
def changes(request: HttpRequest) -> HttpResponse:
    """What leads from `?position=` to now, texts in `?language=`: the frames, and the position that they lead to."""
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    try:
        asked = hello(position=request.GET.get("position", ""), language=request.GET.get("language", ""))
    except (msgspec.ValidationError, SuspiciousOperation) as error:
        return HttpResponse(f"{error}\n", status=400, content_type=TEXT)
    _let_session_age(request)
    base = Position.parse(asked.position) or NOWHERE
    frames, position = _way(request.user.pk, base, site_language(asked.language))
    hub = ringer.running_hub()
    answer = {
        "messages": [msgspec.Raw(frame.text.encode()) for frame in frames],
        "position": position,
        "spread_seconds": hub.spread if isinstance(hub, Hub) else LONGEST_SPREAD_SECONDS,
    }
    return HttpResponse(msgspec.json.encode(answer), content_type="application/json")


@feed
def events(request: HttpRequest) -> HttpResponse:
    """Here answers the event stream, where `asgi.py` has `live_application`; elsewhere a page learns that it has to ask."""
    answer = HttpResponse("Events stream only under ASGI, with live_application.\n", status=501, content_type=TEXT)
    answer._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001 - Django would mail it to `ADMINS`, page by page
    return answer


def _way(user_id: Any, base: Position, language: str) -> tuple[list[Frame], str]:
    answer = replay({user_id: Cursor(*base)})[user_id]
    if answer.rows is not None:
        position = answer.state.position
        frames = answered(base, answer, None, language, {}) if position != base else []
        if sum(len(frame.text) for frame in frames) <= CATCH_UP_BYTES:
            return frames, str(position)
    page = read_page(user_id, language=language)
    return answered(base, answer, page, language, {}), page.position


def _let_session_age(request: HttpRequest) -> None:
    """What a page asks by itself is nobody's activity: it must not keep a session alive that ends when nobody has been there."""
    session = getattr(request, "session", None)
    if settings.SESSION_SAVE_EVERY_REQUEST and session is not None and not session.modified:
        request.session = read_only(type(session), session.session_key)
