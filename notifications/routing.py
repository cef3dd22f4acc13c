"""How a site's `asgi.py` takes the app in: `application = live_application(get_asgi_application())`."""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, TypeAlias
from weakref import WeakSet

from django.core.handlers.asgi import get_script_prefix
from django.urls import Resolver404, URLResolver, get_resolver, get_urlconf
from django.utils.translation import get_language, get_language_from_path, override

from notifications.consumers import NotificationConsumer
from notifications.event_stream import event_stream
from notifications.hub import Hub

__all__ = ["applications", "live_application"]

Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
applications: Final[WeakSet[Application]] = WeakSet()
"""Those in use, whatever they are wrapped in: how a system check knows that the site has one."""


def live_application(http: Application, *, websocket: Application | None = None) -> Application:
    """The site's ASGI application with the socket of notifications in it, and the event stream for browsers without one.

    `http` serves all other HTTP scopes, `websocket` the site's other sockets (without it they are refused with 403). The two
    live at `socket/` and `events/` below where the site includes `notifications.urls`. The first scope of any type starts the
    process's hub; where the server speaks `lifespan` (uvicorn, hypercorn) the hub starts and drains with it.
    """
    consumer = NotificationConsumer.as_asgi()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        Hub.running()
        if scope["type"] == "http" and scope["path"].endswith("/events/") and _is_ours("events", scope):
            await event_stream(scope, receive, send)
        elif scope["type"] != "websocket":
            await http(scope, receive, send)
        elif _is_ours("socket", scope):
            await consumer(scope, receive, send)
        elif websocket is not None:
            await websocket(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})

    applications.add(application)
    return application


def _is_ours(name: str, scope: Any) -> bool:
    """Whether the path is this address of ours, below whatever prefix and in whatever language the site prints its addresses."""
    prefix = get_script_prefix(scope).rstrip("/")
    path: str = scope["path"]
    path = path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path
    return _view_name(get_resolver(get_urlconf()), path, get_language()) == f"live_notifications:{name}"


@lru_cache(maxsize=64)
def _view_name(resolver: URLResolver, path: str, language: str | None) -> str:
    """The name of the view at this address, in its own language or this one; empty if there is none. All pages use the same few
    addresses, and to resolve one costs a twentieth of a handshake."""
    try:
        with override(get_language_from_path(path) or language):
            return resolver.resolve(path).view_name
    except Resolver404:
        return ""


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            Hub.running()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await Hub.running().drain()
            await send({"type": "lifespan.shutdown.complete"})
            return
