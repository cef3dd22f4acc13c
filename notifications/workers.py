"""Threads for database work beside an event loop: one open connection each, with limits, mended once when found dead."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from django.db import InterfaceError, OperationalError, connections
from django.db.backends.signals import connection_created

__all__ = ["Gathered", "Patience", "Worker"]

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
GATHER_SECONDS: Final = 0.003
CROWD: Final = 25  # a second: from so many on, all who come within CROWD_SECONDS share one job
CROWD_SECONDS: Final = 0.25
QUIET_SECONDS: Final = 0.01
QUIET_GAPS: Final = 5  # the usual time between two of them: by chance one in 150 takes longer
MOST: Final = 200  # of a crowd in one job: the first have their answer while the last still wait
STOP_SECONDS: Final = 2.0
_here = threading.local()


class Worker:
    """Runs jobs one after the other on a thread of its own. Every job is idempotent or one transaction: it may be run twice."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"notifications-{name}", initializer=_limit_connections)

    def submit(self, job: Callable[..., Result], *arguments: Any) -> "Future[Result]":
        return self._executor.submit(_mended, job, *arguments)

    async def run(self, job: Callable[..., Result], *arguments: Any) -> Result:
        """The job's result. Raises what the job raises."""
        return await asyncio.wrap_future(self.submit(job, *arguments))

    async def stop(self) -> None:
        """Close the thread's connections and join it; a thread that hangs in the database is left to its time limits."""
        closed = asyncio.wrap_future(self._executor.submit(connections.close_all))
        self._executor.shutdown(wait=False)  # what has been submitted still runs, nothing comes after the last
        done, _ = await asyncio.wait({closed}, timeout=STOP_SECONDS)
        self._executor.shutdown(wait=bool(done), cancel_futures=True)


class Patience:
    """Gathering before a job that several can share: for a few milliseconds, and the longer the more have come within the last
    second. After a restart a thousand pages come back spread over half a minute: too far apart for milliseconds.
    """

    def __init__(self) -> None:
        self._came: deque[float] = deque(maxlen=CROWD)

    def came(self) -> None:
        self._came.append(time.monotonic())

    async def gather(self) -> None:
        """Wait for those who are still coming. Some come only when these have had their answers: those nobody can wait for."""
        now = time.monotonic()
        recent = sum(at > now - 1.0 for at in self._came)
        ends = now + CROWD_SECONDS * max(recent - 1, 0) / CROWD
        await asyncio.sleep(GATHER_SECONDS)
        while (left := ends - time.monotonic()) > 0 and not self._is_over():  # noqa: ASYNC110 - that nobody comes is no event
            await asyncio.sleep(min(left, QUIET_SECONDS))

    def _is_over(self) -> bool:
        """Nobody has come for much longer than it took one after the other to come."""
        first, last = self._came[0], self._came[-1]
        usual = (last - first) / len(self._came)
        return time.monotonic() - last > max(QUIET_SECONDS, QUIET_GAPS * usual)


class Gathered:
    """Questions of the same few milliseconds asked in one job: each caller gives a key and gets its own answer, or None."""

    def __init__(self, worker: Worker, job: Callable[[list[Any]], Mapping[Any, Any]]) -> None:
        self._worker = worker
        self._job = job
        self._asking: dict[Any, asyncio.Future[Any]] = {}
        self._patience = Patience()
        self._task: asyncio.Task[None] | None = None

    async def ask(self, key: Any) -> Any:
        """The job's answer for the key. Raises what the job raises."""
        if key not in self._asking:
            self._asking[key] = asyncio.get_running_loop().create_future()
            self._patience.came()
        answer = self._asking[key]
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._ask_all())
        return await asyncio.shield(answer)

    async def _ask_all(self) -> None:
        """One job at a time: what is asked while it runs waits together for the next, however long the database takes."""
        is_full = False
        while self._asking:
            if not is_full:
                await self._patience.gather()
            is_full = len(self._asking) > MOST
            asking = {key: self._asking.pop(key) for key in list(self._asking)[:MOST]}
            try:
                answers = await self._worker.run(self._job, list(asking))
            except Exception as error:  # noqa: BLE001 - passed on to every caller
                for future in asking.values():
                    future.set_exception(error)
                    future.exception()  # a caller may have given up: then nobody else fetches it
            else:
                for key, future in asking.items():
                    future.set_result(answers.get(key))
        self._task = None


def _limit_connections() -> None:
    _here.is_limited = True


def _set_limits(sender: Any, connection: Any, **_: Any) -> None:
    """A frozen server process must not hold a lock for ever, nor a slow query this thread.

    Not where connections are shared behind a pool, whose next user would inherit the limits: Django's own
    `DISABLE_SERVER_SIDE_CURSORS` says so of a transaction pooler, its option `pool` of psycopg's.
    """
    database = connection.settings_dict
    is_pooled = database.get("DISABLE_SERVER_SIDE_CURSORS") or database["OPTIONS"].get("pool")
    if getattr(_here, "is_limited", False) and connection.vendor == "postgresql" and not is_pooled:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '15s'; SET lock_timeout = '10s'")
            cursor.execute("SET idle_in_transaction_session_timeout = '30s'")


connection_created.connect(_set_limits, dispatch_uid="notifications.workers")


def _mended(job: Callable[..., Result], *arguments: Any) -> Result:
    """Run the job; if it failed because the connection was dead (the database restarted), once more on a new one."""
    try:
        return job(*arguments)
    except (OperationalError, InterfaceError):
        if not _close_dead_connections():
            raise
        return job(*arguments)


def _close_dead_connections() -> bool:
    dead = [each for each in connections.all(initialized_only=True) if each.connection is not None and not each.is_usable()]
    for connection in dead:
        connection.close()
    return bool(dead)
