"""This app, as its README has it, with Python's collector set as its deploy page advises."""

import gc

from django.core.asgi import get_asgi_application

__all__ = ["application"]

http = get_asgi_application()

from notifications.routing import live_application  # noqa: E402 - models can be imported from here on

application = live_application(http)

gc.collect()
gc.freeze()
gc.set_threshold(50_000)
