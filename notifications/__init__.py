"""A live inbox for Django: model changes become notifications, and no page ever misses one.

The public names are loaded when they are first used: a package may not import models before the apps are ready.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notifications.answers import aanswer, answer
    from notifications.outbox import anotify, notify
    from notifications.rules import Action, Change, Draft, Kind, Severity, Text, rule, signal_rule
    from notifications.signals import inbox_changed, notification_created, socket_closed, socket_opened

__all__ = [
    "Action",
    "Change",
    "Draft",
    "Kind",
    "Severity",
    "Text",
    "aanswer",
    "anotify",
    "answer",
    "inbox_changed",
    "notification_created",
    "notify",
    "rule",
    "signal_rule",
    "socket_closed",
    "socket_opened",
]

__version__ = "0.1.0"

_HOMES = {"aanswer": "answers", "anotify": "outbox", "answer": "answers", "notify": "outbox"} | dict.fromkeys(
    ("inbox_changed", "notification_created", "socket_closed", "socket_opened"), "signals"
)


if not TYPE_CHECKING:  # a type checker shall see a misspelt name

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'rules')}"), name)
