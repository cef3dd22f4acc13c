"""A deploy restarts one server after the other while news come, pages are served and sockets come and go: nothing is lost."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from websockets.exceptions import WebSocketException

from notifications import notify
from notifications.models import Event
from tests.faults.checker import Commit, Witness, judge, percentile, settle
from tests.servers import TcpProxy, daphne_process, tcp_proxy, uvicorn_process
from tests.site.client import Page, new_session
from tests.site.people import Browser
from tests.site.sockets import whatever_the_database

pytestmark = pytest.mark.django_db(transaction=True)

PAGES_A_USER = 4
BACK_SECONDS = 30.0
TOLD_SHARE = 0.9
BUSIEST_SHARE = 0.5  # of the returns, in the busiest half second
GOODBYES = {"DaphneProcess": {4012}, "UvicornProcess": {4012, 1012}}  # uvicorn closes its sockets before it tells anybody


class Returning(Witness):
    """A page that comes back as `notification-stream.js` does, and remembers how it went."""

    def __init__(self, *arguments: Any, chance: random.Random, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.chance = chance
        self.ends: list[tuple[int, bool]] = []
        """Each close: its code, and whether a goodbye said it before."""
        self.returns: list[float] = []
        """When it had come back."""
        self.away: list[float] = []
        """How long that took."""
        self.waits: list[float] = []
        """What the goodbyes asked for."""

    async def live(self) -> None:
        """For ever: what ends it cancels it."""
        attempt = 0
        while True:
            await asyncio.wait({self._reader})  # not the task itself, which our end must not cancel
            closed = time.monotonic()
            self.ends.append((self.close_code or 1006, self.bye is not None))
            wait = (self.bye or {}).get("retry_after") or 0
            if self.bye is not None:
                self.waits.append(wait)
            while True:
                await asyncio.sleep(max(wait, self.chance.random() * min(60, 2**attempt)))
                try:
                    await self.connect()
                    await self.until(lambda page: not page._is_waiting_for_welcome, 10)
                    break
                except (OSError, WebSocketException, TimeoutError, AssertionError):
                    wait, attempt = 0, attempt + 1
            self.returns.append(time.monotonic())
            self.away.append(self.returns[-1] - closed)
            attempt = 0


class Writer:
    """Commits at a steady rate, each to the next of the users, from this process and by the site's own requests."""

    def __init__(self, users: list[User], proxy: TcpProxy) -> None:
        self.users, self.proxy = users, proxy
        self.commits: list[Commit] = []
        self.unanswered: list[Commit] = []
        """Told by a request that got no answer: the site may have committed it or not."""
        self.is_over = False
        self.count = 0

    def next(self, writer: str) -> tuple[User, str]:
        self.count += 1
        return self.users[self.count % len(self.users)], f"{writer} {self.count}"

    async def write(self, a_second: float) -> None:
        told = sync_to_async(notify, thread_sensitive=True)
        due = time.monotonic()
        while not self.is_over:
            user, title = self.next("process")
            await told("plain", to=user, title=title)
            self.commits.append(Commit(title, (user.pk,), "process", time.time()))
            due += 1 / a_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def request(self, pause: float) -> None:
        while not self.is_over:
            user, title = self.next("site")
            commit = Commit(title, (user.pk,), title, time.time())
            try:
                await asyncio.to_thread(Browser(self.proxy).get, f"/tell/{user.pk}/{quote(title)}/")
            except OSError:
                self.unanswered.append(commit)
            else:
                self.commits.append(commit)
            await asyncio.sleep(pause)

    def look_up_unanswered(self) -> None:
        self.commits += [commit for commit in self.unanswered if Event.objects.filter(content__title=commit.title).exists()]


def busiest(times: Sequence[float]) -> float:
    """The share of all in the half second that has the most."""
    return max((sum(at <= other < at + 0.5 for other in times) for at in times), default=0) / max(1, len(times))


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("server", "pages", "a_second"),
    [
        (daphne_process, 200, 50),
        pytest.param(uvicorn_process, 200, 50, marks=whatever_the_database),
    ],
)
async def test_a_rolling_restart_loses_nothing(start_site, figures, chance, server, pages, a_second):
    names = [f"user{number}" for number in range(pages // PAGES_A_USER)]
    users = await sync_to_async(User.objects.bulk_create)([User(username=name) for name in names])
    sessions = [await sync_to_async(new_session)(user) for user in users]
    with start_site(server=server) as one, start_site(server=server) as two, tcp_proxy(one.port, two.port) as proxy:
        crowd = [
            Returning(proxy, user.pk, session, chance=chance)
            for user, session in zip(users, sessions, strict=True)
            for _ in range(PAGES_A_USER)
        ]
        for page in crowd:
            await page.connect()
        for page in crowd:
            await page.until(lambda page: page.position)
        writer = Writer(users, proxy)
        passer_by = Page(proxy, sessions[0])

        async def pass_by() -> None:
            while True:
                with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                    await passer_by.connect()
                    await passer_by.disconnect()
                await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(page.live()) for page in crowd]
            tasks.append(group.create_task(pass_by()))
            writing = [group.create_task(writer.write(a_second)), group.create_task(writer.request(0.2))]
            await asyncio.sleep(2)  # what a deploy meets: everything under way
            for site in (one, two):
                await asyncio.to_thread(site.restart)
                await asyncio.sleep(2)  # as an orchestrator waits before it goes on
            writer.is_over = True
            await asyncio.wait(writing)
            await sync_to_async(writer.look_up_unanswered)()
            restarted = time.monotonic()
            while not all(page.returns for page in crowd) and time.monotonic() < restarted + BACK_SECONDS:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await settle(crowd, writer.commits, BACK_SECONDS)
            for task in tasks:
                task.cancel()
        ends = [end for page in crowd for end in page.ends]
        away = [seconds for page in crowd for seconds in page.away]
        verdict = judge(writer.commits, crowd)
        figures.record("committed", len(writer.commits))
        times = [commit.at for commit in writer.commits]
        figures.record("committed a second", f"{len(times) / (max(times) - min(times)):.0f}")
        kinds = Counter(f"{code:d}{', told' if is_told else ''}" for code, is_told in ends)
        figures.record("closed", ", ".join(f"{count} by {kind}" for kind, count in kinds.items()))
        goodbyes = GOODBYES[type(one).__name__]
        told = [code for code, is_told in ends if code in goodbyes and (is_told or code == 1012)]
        figures.at_least(f"share told by {sorted(goodbyes)}", len(told) / len(ends), TOLD_SHARE)
        figures.at_least("pages that were restarted", len([page for page in crowd if page.returns]), pages * 0.9)
        figures.at_most("away at most", max(away), BACK_SECONDS)
        figures.record("away, median", f"{percentile(away, 0.5):.2f} s")
        returns = [at for page in crowd for at in page.returns]
        figures.at_most("share of the returns in the busiest half second", busiest(returns), BUSIEST_SHARE, "")
        waits = [seconds for page in crowd for seconds in page.waits]
        figures.at_most("share of the waits asked for in the busiest half second", busiest(waits), BUSIEST_SHARE, "")
        figures.record("p99 commit to shown", f"{percentile(verdict.delays, 0.99):.2f} s")
        verdict.check(figures)
        figures.none("tracebacks", [site.log for site in (one, two) if "notifications" in site.log and "Traceback" in site.log])
        for page in crowd:
            await page.disconnect()
