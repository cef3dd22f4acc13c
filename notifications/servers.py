"""How a server says that it is about to stop, where ASGI's `lifespan` does not say it, or not in time."""

import signal
import sys
from asyncio import Future
from collections.abc import Callable
from typing import Any

__all__ = ["before_stop", "is_stopping"]


def before_stop(drain: Callable[[], "Future[None]"]) -> None:
    """Daphne knows no `lifespan`: drain when its reactor is about to stop, in the same turn in which it cancels consumers."""
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is not None and reactor.running:
        from twisted.internet.defer import Deferred  # only there when Daphne serves

        wait_for: Any = Deferred.fromFuture
        reactor.addSystemEventTrigger("before", "shutdown", lambda: wait_for(drain()))


def is_stopping() -> bool:
    """Whether uvicorn means to stop. It says so by `lifespan` when the last response has ended, and a stream would hold it up
    until then; but what handles its SIGTERM is the server itself, which can be asked."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))
