"""One line a kind of trouble a minute: what fails once usually fails again with every request."""

import time
from typing import Final

__all__ = ["is_due"]

SECONDS: Final = 60.0
_last: dict[tuple[str, ...], float] = {}


def is_due(*kind: str) -> bool:
    """Whether this kind of trouble was not logged in the last minute; then it counts as logged. Kinds come from code only."""
    now = time.monotonic()
    if now - _last.get(kind, float("-inf")) < SECONDS:
        return False
    _last[kind] = now
    return True
