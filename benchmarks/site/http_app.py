"""The site alone: what django-eventstream needs."""

from django.core.asgi import get_asgi_application

__all__ = ["application"]

application = get_asgi_application()
