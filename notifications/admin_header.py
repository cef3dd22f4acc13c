"""The bell in the header of Django's admin, by `NOTIFICATIONS_ADMIN_BELL` alone.

Every admin page extends `admin/base_site.html`, often one of the site's own. Here stands a loader before all others that knows
this one name: what it gives out extends `admin/base_site.html` once more, and so whichever the site would have without us,
whatever the order of its apps.
"""

from collections.abc import Iterator
from threading import Lock
from typing import Any, Final

from django.core.signals import request_started
from django.template import Origin, engines
from django.template.backends.django import DjangoTemplates
from django.template.loaders.base import Loader
from django.template.loaders.cached import Loader as CachedLoader

__all__ = ["HeaderLoader", "start"]

NAME: Final = "admin/base_site.html"
OURS: Final = "notifications/admin_base_site.html"
lock = Lock()


class HeaderLoader(Loader):
    def get_template_sources(self, template_name: str) -> Iterator[Origin]:
        if template_name == NAME:
            yield Origin(name=OURS, template_name=NAME, loader=self)

    def get_contents(self, origin: Origin) -> str:
        """Of our template or of the one that the site has in its place. Without either the next loader is asked for `NAME`."""
        return str(self.engine.find_template(OURS)[0].source)


def start() -> None:
    """With the first request, not now: apps that start after us may still alter the engines, as tests do between requests."""
    request_started.connect(_stand_first, dispatch_uid="notifications.admin_header")


def _stand_first(**_: Any) -> None:
    with lock:  # one that stood there twice would print two bells
        for backend in engines.all():
            if isinstance(backend, DjangoTemplates):
                _stand_first_in(backend)


def _stand_first_in(backend: DjangoTemplates) -> None:
    loaders: list[Any] = backend.engine.template_loaders
    while loaders and isinstance(loaders[0], CachedLoader):
        loaders = loaders[0].loaders
    if loaders and not isinstance(loaders[0], HeaderLoader):
        loaders.insert(0, HeaderLoader(backend.engine))
        for loader in backend.engine.template_loaders:
            loader.reset()
