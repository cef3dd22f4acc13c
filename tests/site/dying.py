"""The test site in a process that kills itself between a commit and the ring, be it a server or a command that imports this.

It dies once, when it gets to the point of the way that stands in the file that `DIE_AT` names; without the file it lives.
"""

import os
import signal
from pathlib import Path
from typing import Any, Final

from tests.site.asgi import application

from notifications import relay, signals, slices, turn  # isort: skip - models can be imported once the site has been set up

__all__ = ["POINTS", "application"]

POINTS: Final = ("before the relay", "before the ring")

_after_commit, _ring = relay.after_commit, slices.ring  # type: ignore[attr-defined]


def _relay_after_commit(**named: Any) -> None:
    _die_at("before the relay")
    _after_commit(**named)


def _ring_after_relay(wake_up: Any) -> None:
    if wake_up.steps:
        _die_at("before the ring")
    _ring(wake_up)


def _die_at(point: str) -> None:
    will = Path(os.environ["DIE_AT"])
    if will.exists() and will.read_text() == point:
        will.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


signals.event_committed.disconnect(dispatch_uid="notifications.relay")
signals.event_committed.connect(_relay_after_commit, dispatch_uid="notifications.relay")
slices.ring = _ring_after_relay  # type: ignore[attr-defined]
turn.is_attended = lambda alias: False  # a command that leaves the relaying to the hubs comes to no second point
