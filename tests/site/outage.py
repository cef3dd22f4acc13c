"""Sites on a PostgreSQL that a test takes away, and the traffic meanwhile: what was committed is asked of the database itself."""

import asyncio
import json
import threading
import time
import urllib.error
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, Self

import psycopg

from tests.faults.checker import Commit
from tests.servers import AsgiProcess, daphne_process
from tests.site.own import prepare_at
from tests.site.people import Browser

__all__ = ["Sites", "Traffic", "committed", "sites_on"]

PACE_SECONDS = 0.05


class Sites(NamedTuple):
    near: AsgiProcess
    """Its line to the database is the one that fails, where only one does."""
    far: AsgiProcess
    people: dict[str, tuple[int, str]]
    """User id and session key by name."""


@contextmanager
def sites_on(database_url: str, redis_url: str, *, near: str = "") -> Iterator[Sites]:
    """Two servers on a database with people in it. `near`: the URL by which the first one reaches it."""
    people = prepare_at(database_url)
    # Apart from the run's other sites on this Redis, whose users have the same ids.
    chosen = json.dumps({"NOTIFICATIONS_GROUP_PREFIX": "outage", "SESSION_ENGINE": "django.contrib.sessions.backends.db"})
    env = {"REDIS_URL": redis_url, "SITE_SETTINGS": chosen, "WATERMARK_SECONDS": "2"}
    with ExitStack() as stack:
        first, second = [
            stack.enter_context(daphne_process({**env, "DATABASE_URL": url}, settings="tests.site.varied"))
            for url in (near or database_url, database_url)
        ]
        yield Sites(first, second, people)


class Traffic(threading.Thread):
    """Requests that notify these users in turn. `with Traffic(...) as traffic`: until the block ends."""

    def __init__(self, site: AsgiProcess, name: str, users: Sequence[int]) -> None:
        super().__init__()
        self.browser = Browser(site)
        self.titles_begin = f"{name}-"
        self.users = users
        self.answered: dict[str, float] = {}
        """When the site answered "told", by title. `time.time()`."""
        self.failed: list[float] = []
        """When it could not."""
        self._is_over = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._is_over.is_set():
            title = f"{self.titles_begin}{number:05}"
            try:
                self.browser.get(f"/tell/{self.users[number % len(self.users)]}/{title}/")
            except (urllib.error.URLError, OSError):  # an answer of 500, or none in time
                self.failed.append(time.time())
            else:
                self.answered[title] = time.time()
            number += 1
            self._is_over.wait(PACE_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self.join()

    async def until_answered(self, since: float, seconds: float) -> float:
        """Wait until a request succeeds that was answered after `since`. When that was."""
        async with asyncio.timeout(seconds):
            while True:
                if later := [at for at in tuple(self.answered.values()) if at > since]:
                    return min(later)
                await asyncio.sleep(0.01)  # the thread tells no loop


def committed(database_url: str, answered: dict[str, float]) -> list[Commit]:
    """All events there are, in the order of their ids, each with its traffic as writer and the time of its answer."""
    query = "SELECT content->>'title', audience->'users' FROM live_notifications_event ORDER BY id"
    with psycopg.connect(database_url) as connection:
        rows: Sequence[Any] = connection.execute(query).fetchall()
    return [Commit(title, tuple(users), title.partition("-")[0], answered.get(title, time.time())) for title, users in rows]
