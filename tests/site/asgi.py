import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.site.settings")
http = get_asgi_application()

from notifications.routing import live_application  # noqa: E402 - models can be imported from here on
from tests.site.consumers import sockets  # noqa: E402

application = live_application(http, websocket=sockets)
