"""The app's settings: name, type, default and reason in one place; read when used, so `override_settings` works."""

from typing import Any, Final

from django.conf import settings

__all__ = ["PREFIX", "THEMES", "app_settings", "defaults"]

PREFIX = "NOTIFICATIONS_"
THEMES: Final = ("plain", "bootstrap", "admin")


class AppSettings:
    """Each attribute is the setting `NOTIFICATIONS_<NAME>` of the site, or else the default that stands here."""

    CHANNEL_LAYER: str = "default"
    """Alias in `CHANNEL_LAYERS` that carries the wake-ups. Without such a layer pages learn of news by the watermark."""

    GROUP_PREFIX: str = "notifications"
    """First part of every group name: sites that share one Redis need different ones. Letters, digits, `-`, `_`."""

    WATERMARK_SECONDS: float = 15.0
    """How often a server process looks up the inboxes and sessions of its connected users; the bound of guarantees 2 and 7."""

    SOCKETS_PER_USER: int = 20
    """Open sockets and event streams that one user may have in one server process; a further one is ended with 4029."""

    DIRECT_WRITES: bool = False
    """Whether frames go straight into Daphne's TCP connections where that is possible; see `direct.py`."""

    LOGIN_URL: str = ""
    """Where "Signed out: sign in again" leads; empty means Django's `LOGIN_URL`."""

    THEME: str = "plain"
    """Beside what the components stand: "bootstrap" and "admin" take their colours from Bootstrap 5 and from Django's admin."""

    ADMIN_BELL: bool = False
    """Whether the header of Django's admin has the bell. Read once, when the site starts."""

    def __getattribute__(self, name: str) -> Any:
        default = object.__getattribute__(self, name)
        return getattr(settings, PREFIX + name, default) if name.isupper() else default


def defaults() -> dict[str, Any]:
    """Every known setting by its full name, with its default."""
    return {PREFIX + name: value for name, value in vars(AppSettings).items() if name.isupper()}


app_settings = AppSettings()
