"""Several writers at once: a late commit is not skipped, each writer's order is kept, and the site hardly notices the app."""

import asyncio
import contextlib
import http.client
import json
import random
import statistics
import threading
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection, transaction

from notifications import notify
from notifications.models import Event
from tests.faults.checker import Commit, Witness, judge, percentile, settle
from tests.servers import AsgiProcess
from tests.site.client import Page
from tests.site.people import tell, users_with_sessions
from tests.site.settings import INSTALLED_APPS
from tests.site.transactions import titles
from tests.site.writer import Job, Outcome, Writer

pytestmark = pytest.mark.django_db(transaction=True)

ROLLED_BACK = 0.15
HOLD_SECONDS = 0.004  # the site's other work in a transaction
SHARE_OF_THROUGHPUT = 0.6
WRITERS = 6
SERVERS = 2
EACH = 60
ROUNDS = 3  # with and without the app in turn, so that both meet the same machine
ROUNDS_OF_COMMANDS = 9  # each takes a second or two, the first of which loads the layer's modules
OTHER_APPS = [name for name in INSTALLED_APPS if name != "notifications"]
WITHOUT = {
    "DJANGO_SETTINGS_MODULE": "tests.site.varied",
    "SITE_SETTINGS": json.dumps({"INSTALLED_APPS": OTHER_APPS, "ROOT_URLCONF": "tests.site.shop"}),
}


class Late(threading.Thread):
    """A transaction that notifies, then stays open until it is told to commit."""

    def __init__(self, user: User) -> None:
        super().__init__()
        self.user = user
        self.has_written, self.may_commit = threading.Event(), threading.Event()

    def run(self) -> None:
        with transaction.atomic():
            notify("plain", to=self.user, title="early, committed late")
            self.has_written.set()
            self.may_commit.wait(20)
        connection.close()


async def test_what_commits_late_is_shown_though_a_later_one_was_seen(live_site, mina, mina_session):
    """Its row is older than one that a page has: who reads rows after the last id would never see it."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite's writers follow one another: nothing commits late")
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        late = Late(mina)
        late.start()
        await asyncio.to_thread(late.has_written.wait, 10)
        await tell(mina, "late, committed early")
        await page.until(lambda page: page.titles == ["late, committed early"])
        late.may_commit.set()
        await page.until(lambda page: page.titles == ["early, committed late", "late, committed early"], 5)
        await asyncio.to_thread(late.join)
        ids = [event.content["title"] async for event in Event.objects.order_by("pk")]
        assert ids == ["early, committed late", "late, committed early"]  # the premise


class Buyer:
    """One of the site's customers, who orders over one lasting connection, as fast as the site answers."""

    def __init__(self, site: AsgiProcess, session: str) -> None:
        self.site = site
        self.headers = {"Cookie": f"sessionid={session}"}

    async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        return await asyncio.to_thread(self._order_all, jobs)

    def _order_all(self, jobs: Sequence[Job]) -> list[Outcome]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=30)) as connection:
            return [self._order(connection, job) for job in jobs]

    def _order(self, connection: http.client.HTTPConnection, job: Job) -> Outcome:
        connection.request("GET", f"/checkout/{job['fate']}/{job['name']}/", headers=self.headers)
        answer = connection.getresponse()
        answer.read()
        at = answer.headers.get("Committed-At")
        is_right = answer.status == 200 and (at is None) == (job["fate"] == "rollback")
        error = None if is_right else f"status {answer.status}"
        return {"name": job["name"], "at": float(at) if at else None, "error": error, "ended": time.time()}


def planned(chance: random.Random, name: str, count: int, people: Sequence[tuple[User, str]]) -> list[Job]:
    fates = ["rollback" if chance.random() < ROLLED_BACK else "commit" for _ in range(count)]
    return [
        {"fate": fate, "user": chance.choice(people)[0].pk, "name": f"{name}-{number}", "hold": HOLD_SECONDS}
        for number, fate in enumerate(fates)
    ]


def committed(plans: Sequence[Sequence[Job]], results: Sequence[Sequence[Outcome]]) -> list[Commit]:
    return [
        Commit(title, (job["user"],), job["name"].rpartition("-")[0], outcome["at"])
        for plan, outcomes in zip(plans, results, strict=True)
        for job, outcome in zip(plan, outcomes, strict=True)
        if outcome["at"] is not None
        for title in titles(job["fate"], job["name"])
    ]


async def load(writers: Sequence[Writer | Buyer], plans: Sequence[Sequence[Job]]) -> tuple[float, list[list[Outcome]]]:
    """All writers at once. Transactions a second, and what came of them."""
    started = time.time()
    results = await asyncio.gather(*(writer.run(plan) for writer, plan in zip(writers, plans, strict=True)))
    ended = max(outcome["ended"] for outcomes in results for outcome in outcomes)
    return sum(map(len, plans)) / (ended - started), results


def share(paces: dict[str, list[float]]) -> float:
    """Of values of the same round each: a machine's pace drifts."""
    return statistics.median(pace / alone for pace, alone in zip(paces["with"], paces["without"], strict=True))


@contextlib.asynccontextmanager
async def processes(env: dict[str, str], count: int) -> AsyncIterator[list[Writer]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Writer(env)) for _ in range(count)]


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(240)
async def test_six_commands_at_once_lose_nothing_and_keep_their_order_and_pace(
    live_site, database_url, redis_url, figures, chance
):
    """They do nothing but write, so their pace shows each statement of ours."""
    people = await sync_to_async(users_with_sessions)(4)
    env = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    pages = [Witness(live_site, user.pk, session) for user, session in people]
    await asyncio.gather(*(page.connect() for page in pages))
    commits: list[Commit] = []
    paces: dict[str, list[float]] = {"with": [], "without": []}
    async with processes(env, WRITERS) as those_with, processes(env | WITHOUT, WRITERS) as those_without:
        for turn in range(ROUNDS_OF_COMMANDS):
            plans = [planned(chance, f"{turn}-{writer}", EACH, people) for writer in range(WRITERS)]
            for way, group in (("with", those_with), ("without", those_without)):
                pace, results = await load(group, plans)
                paces[way].append(pace)
                errors = [outcome["error"] for outcomes in results for outcome in outcomes if outcome["error"]]
                figures.none(f"errors that reached the site {way} the app", errors)
                if way == "with":
                    commits += committed(plans, results)
    await settle(pages, commits)
    verdict = judge(commits, pages)
    figures.record("committed", len(commits))
    figures.record("p99 commit to shown", f"{percentile(verdict.delays, 0.99):.3g} s")
    verdict.check(figures)
    pace, alone = (statistics.median(paces[way]) for way in ("with", "without"))
    await asyncio.gather(*(page.disconnect() for page in pages))
    figures.record("transactions a second of commands", f"{pace:.0f}, without the app {alone:.0f}")
    figures.at_least("share of the commands' throughput without the app", share(paces), SHARE_OF_THROUGHPUT)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(240)
async def test_a_site_that_serves_six_writers_keeps_most_of_its_pace(start_site, figures, chance):
    """Orders of signed-in customers, as fast as two server processes answer."""
    people = await sync_to_async(users_with_sessions)(WRITERS)
    commits: list[Commit] = []
    paces: dict[str, list[float]] = {"with": [], "without": []}
    with contextlib.ExitStack() as stack:
        env = {"ATOMIC_REQUESTS": "1"}
        start = {
            "with": partial(start_site, env),
            "without": partial(start_site, env | WITHOUT, application="tests.site.shop:application"),
        }
        sites = {way: [stack.enter_context(start[way]()) for _ in range(SERVERS)] for way in start}
        pages = [Witness(chance.choice(sites["with"]), user.pk, session) for user, session in people]
        await asyncio.gather(*(page.connect() for page in pages))
        for turn in range(ROUNDS):
            plans = [planned(chance, f"{turn}-{writer}", EACH, [person]) for writer, person in enumerate(people)]
            for way in ("with", "without"):
                buyers = [Buyer(sites[way][writer % SERVERS], session) for writer, (_, session) in enumerate(people)]
                pace, results = await load(buyers, plans)
                paces[way].append(pace)
                errors = [outcome["error"] for outcomes in results for outcome in outcomes if outcome["error"]]
                figures.none(f"requests that failed {way} the app", errors)
                if way == "with":
                    commits += committed(plans, results)
        await settle(pages, commits)
        verdict = judge(commits, pages)
        figures.record("p99 commit to shown", f"{percentile(verdict.delays, 0.99):.3g} s")
        verdict.check(figures)
        await asyncio.gather(*(page.disconnect() for page in pages))
    pace, alone = (statistics.median(paces[way]) for way in ("with", "without"))
    figures.record("requests a second", f"{pace:.0f}, without the app {alone:.0f}")
    figures.at_least("share of the throughput without the app", share(paces), SHARE_OF_THROUGHPUT)
