"""The socket and the event stream are found wherever the site's pages say they are, and no other path is taken for them."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.urls import clear_script_prefix, include, path, reverse, set_script_prefix
from django.utils.translation import override

from notifications import routing
from notifications.consumers import NotificationConsumer
from notifications.hub import Hub
from notifications.routing import live_application

urlpatterns = i18n_patterns(path("inbox/", include("notifications.urls")))

Route = Callable[..., Any]


@pytest.fixture
def route(monkeypatch: pytest.MonkeyPatch) -> Route:
    """Who is given a scope with this path: the app's consumer, the site's own sockets, or nobody ("refused"); with
    `type="http"` the app's event stream or the site's HTTP."""
    taken: list[str] = []

    def station(name: str) -> Any:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            taken.append(name)

        return application

    async def connect() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def refuse(message: dict[str, str]) -> None:
        assert message == {"type": "websocket.close"}
        taken.append("refused")

    async def route(path: str, *, site_has_sockets: bool = True, **scope: Any) -> str:
        others = station("site") if site_has_sockets else None
        application = live_application(station("http"), websocket=others)
        await application({"type": "websocket", "path": path, "headers": [], "query_string": b"", **scope}, connect, refuse)
        return taken.pop()

    monkeypatch.setattr(NotificationConsumer, "as_asgi", lambda: station("notifications"))
    monkeypatch.setattr(routing, "event_stream", station("notifications"))
    monkeypatch.setattr(Hub, "running", lambda: None)
    return route


def printed(language: str = "en", prefix: str = "/", name: str = "socket") -> str:
    """The socket's address as a page in this language has it, or another one of ours."""
    set_script_prefix(prefix)
    try:
        with override(language):
            return reverse(f"live_notifications:{name}")
    finally:
        clear_script_prefix()


async def test_the_socket_is_where_the_site_includes_it(route):
    assert printed() == "/notifications/socket/"
    assert await route(printed()) == "notifications"


@pytest.mark.parametrize("language", ["en", "de"])
async def test_it_is_found_under_every_language_that_the_site_prints_it_in(route, settings, language):
    settings.ROOT_URLCONF = __name__
    assert printed(language) == f"/{language}/inbox/socket/"
    for active in ("en", "de"):  # what the process last did says nothing about this reader
        with override(active):
            assert await route(printed(language)) == "notifications"


async def test_one_that_moves_is_found_where_it_is_now(route, settings):
    """Addresses are resolved once, for the address book of that moment."""
    assert await route("/notifications/socket/") == "notifications"
    assert await route("/en/inbox/socket/") == "site"
    settings.ROOT_URLCONF = __name__
    assert await route("/notifications/socket/") == "site"
    assert await route("/en/inbox/socket/") == "notifications"


@pytest.mark.parametrize("path", ["/inbox/socket/", "/fr/inbox/socket/", "/notifications/socket/", "/de/socket/"])
async def test_in_no_language_it_is_not(route, settings, path):
    settings.ROOT_URLCONF = __name__
    assert await route(path) == "site"


@pytest.mark.parametrize("given", ["/app/notifications/socket/", "/notifications/socket/"])
@pytest.mark.parametrize("forced", ["/app", "/app/"])
async def test_it_is_found_below_a_forced_prefix_whether_or_not_the_proxy_strips_it(route, settings, forced, given):
    settings.FORCE_SCRIPT_NAME = forced
    assert printed(prefix="/app/") == "/app/notifications/socket/"
    assert await route(given) == "notifications"
    assert await route(given, root_path="/else") == "notifications"


@pytest.mark.parametrize("given", ["/app/notifications/socket/", "/notifications/socket/"])
async def test_it_is_found_below_the_servers_root_path(route, given):
    assert await route(given, root_path="/app") == "notifications"


async def test_prefix_and_language_come_together(route, settings):
    settings.ROOT_URLCONF, settings.FORCE_SCRIPT_NAME = __name__, "/app"
    assert await route(printed("de", "/app/")) == "notifications"


OTHERS = [
    "/",
    "/chat/",
    "/notifications/",
    "/notifications/mark/",
    "/notifications/socket",
    "/notifications/socket/more/",
    "/more/notifications/socket/",
    "/apple/notifications/socket/",
    "/app/app/notifications/socket/",
]


@pytest.mark.parametrize("root_path", ["", "/app"])
@pytest.mark.parametrize("path", OTHERS)
async def test_other_paths_are_the_sites_own_or_refused(route, path, root_path):
    assert await route(path, root_path=root_path) == "site"
    assert await route(path, root_path=root_path, site_has_sockets=False) == "refused"


@pytest.mark.parametrize("path", ["/notifications/socket/", "/login/"])
async def test_a_site_that_has_not_included_it_has_no_such_socket(route, settings, path):
    settings.ROOT_URLCONF = "django.contrib.auth.urls"
    assert await route(path) == "site"


async def test_the_event_stream_is_found_as_the_socket_is(route, settings):
    assert printed(name="events") == "/notifications/events/"
    assert await route(printed(name="events"), type="http") == "notifications"
    assert await route("/app/notifications/events/", type="http", root_path="/app") == "notifications"
    settings.ROOT_URLCONF, settings.FORCE_SCRIPT_NAME = __name__, "/app"
    for language in ("en", "de"):
        assert await route(printed(language, "/app/", "events"), type="http") == "notifications"


@pytest.mark.parametrize(
    "path", [*OTHERS, "/notifications/socket/", "/notifications/changes/", "/notifications/events", "/events/"]
)
async def test_other_addresses_are_the_sites_http(route, path):
    assert await route(path, type="http") == "http"


async def test_neither_is_taken_for_the_other(route):
    assert await route("/notifications/events/") == "site"
    assert await route("/notifications/socket/", type="http") == "http"
