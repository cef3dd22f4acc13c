"""HTTP and the notification socket, for Daphne or any other ASGI server."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
http = get_asgi_application()  # before the import below, which needs the app registry

from notifications.routing import live_application  # noqa: E402

application = live_application(http)
