"""An event loop whose time passes only when nothing is left to do, so that a minute takes a moment and is the same each time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

__all__ = ["Clock", "StillLoop"]


class StillLoop(asyncio.SelectorEventLoop):
    """Instead of waiting, its clock moves on to the next timer."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Leaping(self))

    def time(self) -> float:
        return self.now

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.run_until_complete(coroutine)

    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    def end(self) -> None:
        """Cancel what still runs, and close."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        self.run(_ended(tasks))
        self.close()


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


class _Leaping(selectors.SelectSelector):
    def __init__(self, loop: StillLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everything waits, and no timer runs: the simulation is stuck")
        self._loop.now += max(0.0, timeout)
        return super().select(0)


class Clock:
    """Stands for the module `time` where the product asks for it."""

    def __init__(self) -> None:
        self.loop: StillLoop | None = None

    def monotonic(self) -> float:
        return 0.0 if self.loop is None else self.loop.time()

    def sleep(self, seconds: float) -> None:
        """What a job does on its thread takes no time here, so the relay has nothing to rest from."""
        assert seconds == 0
