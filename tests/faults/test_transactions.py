"""Random transactions from several processes, with pages that come and go: what is committed is shown, once, in order, to its
own user, and nothing else is."""

import asyncio
import contextlib
import http.client
import random
from collections.abc import Sequence

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from notifications.models import Event
from tests.faults.checker import Commit, Witness, judge, percentile, settle
from tests.servers import AsgiProcess, daphne_process, uvicorn_process
from tests.site.people import eventually, users_with_sessions
from tests.site.transactions import FATES, titles
from tests.site.writer import Job, Outcome, Writer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

COMMANDS = 2  # beside as many servers: four processes write
PACE_SECONDS = 0.05  # a writer's average pause between two transactions
PAGE_STAYS_SECONDS = 1.5
PAGE_AWAY_SECONDS = 0.5
LATE_SECONDS = 2.0  # what the 99th of a hundred may take
MANY = 400


def planned(chance: random.Random, writer: int, count: int, users: Sequence[User]) -> list[Job]:
    """A writer's transactions: every fate comes up, in random order."""
    fates = [FATES[number % len(FATES)] for number in range(count)]
    chance.shuffle(fates)
    pauses = [chance.expovariate(1 / PACE_SECONDS) for _ in fates]
    return [
        {"fate": fate, "user": chance.choice(users).pk, "name": f"{writer}-{number}", "pause": pause}
        for number, (fate, pause) in enumerate(zip(fates, pauses, strict=True))
    ]


def request(site: AsgiProcess, job: Job) -> Outcome:
    """The job as a request under `ATOMIC_REQUESTS`."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    try:
        connection.request("GET", f"/transact/{job['fate']}/{job['user']}/{job['name']}/")
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    at = answer.headers.get("Committed-At")
    is_right = answer.status == (500 if job["fate"] == "exception" else 200)
    error = None if is_right else f"status {answer.status}"
    return {"name": job["name"], "at": float(at) if at else None, "error": error, "ended": 0.0}


async def requested(site: AsgiProcess, jobs: Sequence[Job]) -> list[Outcome]:
    outcomes = []
    for job in jobs:
        await asyncio.sleep(job["pause"])  # the pace of the plan
        outcomes.append(await asyncio.to_thread(request, site, job))
    return outcomes


async def come_and_go(page: Witness, sites: Sequence[AsgiProcess], chance: random.Random, over: asyncio.Event) -> None:
    """Stay a while, leave with or without a word, come back at either server, until it is over."""
    while not over.is_set():
        await nap(over, chance.uniform(0, 2 * PAGE_STAYS_SECONDS))
        await (page.cut() if chance.random() < 0.5 else page.disconnect())
        await nap(over, chance.uniform(0, 2 * PAGE_AWAY_SECONDS))
        page.url = chance.choice(sites).websocket_url
        await page.connect()


async def nap(over: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), seconds)


def commits_of(writer: int, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> list[Commit]:
    """What came of a writer's plan. The site must have had the fates that were meant for it."""
    commits = []
    for job, outcome in zip(jobs, outcomes, strict=True):
        assert outcome["error"] is None, outcome
        assert (outcome["at"] is None) == (job["fate"] in {"rollback", "exception"}), (job, outcome)
        if outcome["at"] is not None:
            commits += [Commit(each, (job["user"],), str(writer), outcome["at"]) for each in titles(job["fate"], job["name"])]
    return commits


@pytest.mark.parametrize(
    ("transactions", "users", "second", "layer"),
    [
        pytest.param(60, 8, daphne_process, "core", id="small"),
        pytest.param(400, 20, daphne_process, "core", id="daphne-core", marks=pytest.mark.long),
        pytest.param(400, 20, uvicorn_process, "core", id="uvicorn-core", marks=pytest.mark.long),
        pytest.param(400, 20, daphne_process, "pubsub", id="daphne-pubsub", marks=pytest.mark.long),
    ],
)
async def test_random_transactions_of_four_processes_are_shown_as_committed(
    database_url, redis_url, start_site, figures, chance, transactions, users, second, layer
):
    env = {"ATOMIC_REQUESTS": "1", "LAYER": layer}
    people = await sync_to_async(users_with_sessions)(users)
    with start_site(env) as one, start_site(env, server=second) as two:
        sites = (one, two)
        writers = len(sites) + COMMANDS
        plans = [planned(chance, writer, transactions // writers, [user for user, _ in people]) for writer in range(writers)]
        pages = [Witness(chance.choice(sites), user.pk, session) for user, session in people]
        await asyncio.gather(*(page.connect() for page in pages))
        await asyncio.gather(*(page.until(lambda page: page.frames) for page in pages))
        over = asyncio.Event()
        restless = [asyncio.create_task(come_and_go(page, sites, chance, over)) for page in pages[::2]]
        command_env = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "LAYER": layer}
        async with Writer(command_env) as three, Writer(command_env) as four:
            results = await asyncio.gather(
                requested(one, plans[0]), requested(two, plans[1]), three.run(plans[2]), four.run(plans[3])
            )
        over.set()
        await asyncio.gather(*restless)
        commits = [
            commit
            for writer, (plan, result) in enumerate(zip(plans, results, strict=True))
            for commit in commits_of(writer, plan, result)
        ]
        await settle(pages, commits)
        await eventually(lambda: not Event.objects.filter(pending=True).exists(), 5)
        verdict = judge(commits, pages)
        figures.record("committed", len(commits))
        figures.at_least("reconnects of half of the pages", sum(page.opened - 1 for page in pages), users // 2)
        verdict.check(figures)
        slowest = percentile(verdict.delays, 0.99)
        if transactions >= MANY:  # of fewer the 99th percentile is one outlier
            figures.at_most("p99 commit to shown", slowest, LATE_SECONDS)
        else:
            figures.record("p99 commit to shown", f"{slowest:.3g} s")
        await asyncio.gather(*(page.disconnect() for page in pages))
