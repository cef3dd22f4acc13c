"""python-socketio with its Redis manager: the user of the session is asked of Django at the handshake, a room a user."""

from http.cookies import SimpleCookie
from typing import Any

import socketio
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.asgi import get_asgi_application

__all__ = ["application"]

http = get_asgi_application()

from django.contrib.auth import get_user  # noqa: E402 - models can be imported from here on
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.http import HttpRequest  # noqa: E402

manager = socketio.AsyncRedisManager(settings.REDIS_URL) if settings.REDIS_URL else None
server = socketio.AsyncServer(async_mode="asgi", client_manager=manager, cors_allowed_origins=[])


def user_of(cookies: str) -> Any:
    request = HttpRequest()
    request.session = SessionStore(SimpleCookie(cookies)["sessionid"].value)
    return get_user(request)


@server.event  # type: ignore[untyped-decorator]
async def connect(sid: str, environ: dict[str, Any], auth: Any) -> bool:
    user = await sync_to_async(user_of)(environ.get("HTTP_COOKIE", ""))
    if not user.is_authenticated:
        return False
    await server.enter_room(sid, f"user-{user.pk}")
    await server.enter_room(sid, "everybody")
    return True


application = socketio.ASGIApp(server, http)
