"""This app, as its README has it."""

from django.core.asgi import get_asgi_application

__all__ = ["application"]

http = get_asgi_application()

from notifications.routing import live_application  # noqa: E402 - models can be imported from here on

application = live_application(http)
