"""What a site may write instead of `live_application`: the consumer alone in a router, with and without Channels' own wrapper."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.site.settings")
http = get_asgi_application()

from notifications.consumers import NotificationConsumer  # noqa: E402 - models can be imported from here on

routes = URLRouter([path("notifications/socket/", NotificationConsumer.as_asgi())])
bare = ProtocolTypeRouter({"http": http, "websocket": routes})
with_auth = ProtocolTypeRouter({"http": http, "websocket": AuthMiddlewareStack(routes)})
