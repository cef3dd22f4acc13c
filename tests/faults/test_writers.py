"""Several writers at once: a late commit is not skipped, each writer's order is kept, and the site hardly notices the app."""

import asyncio
import contextlib
import json
import random
import statistics
import threading
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection, transaction

from notifications import notify
from notifications.models import Event
from tests.faults.checker import Commit, Witness, judge, percentile, settle
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
EACH = 60
ROUNDS = 3  # with and without the app in turn, so that both meet the same machine
WITHOUT = {
    "DJANGO_SETTINGS_MODULE": "tests.site.varied",
    "SITE_SETTINGS": json.dumps({"INSTALLED_APPS": [name for name in INSTALLED_APPS if name != "notifications"]}),
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


def planned(chance: random.Random, name: str, count: int, people: Sequence[tuple[User, str]]) -> list[Job]:
    fates = ["rollback" if chance.random() < ROLLED_BACK else "commit" for _ in range(count)]
    return [
        {"fate": fate, "user": chance.choice(people)[0].pk, "name": f"{name}-{number}", "hold": HOLD_SECONDS}
        for number, fate in enumerate(fates)
    ]


async def load(writers: Sequence[Writer], plans: Sequence[Sequence[Job]]) -> tuple[float, list[list[Outcome]]]:
    """All writers at once. Transactions a second, and what came of them."""
    started = time.time()
    results = await asyncio.gather(*(writer.run(plan) for writer, plan in zip(writers, plans, strict=True)))
    ended = max(outcome["ended"] for outcomes in results for outcome in outcomes)
    return sum(map(len, plans)) / (ended - started), results


@contextlib.asynccontextmanager
async def processes(env: dict[str, str], count: int) -> AsyncIterator[list[Writer]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Writer(env)) for _ in range(count)]


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_writers_lose_nothing_keep_their_order_and_most_of_their_pace(live_site, database_url, redis_url, figures, chance):
    people = await sync_to_async(users_with_sessions)(4)
    env = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    pages = [Witness(live_site, user.pk, session) for user, session in people]
    await asyncio.gather(*(page.connect() for page in pages))
    commits: list[Commit] = []
    paces: dict[str, list[float]] = {"with": [], "without": []}
    async with processes(env, WRITERS) as those_with, processes(env | WITHOUT, WRITERS) as those_without:
        for turn in range(ROUNDS):
            plans = [planned(chance, f"{turn}-{writer}", EACH, people) for writer in range(WRITERS)]
            for way, group in (("with", those_with), ("without", those_without)):
                pace, results = await load(group, plans)
                paces[way].append(pace)
                errors = [outcome["error"] for outcomes in results for outcome in outcomes if outcome["error"]]
                figures.none(f"errors that reached the site {way} the app", errors)
                if way == "with":
                    commits += [
                        Commit(title, (job["user"],), f"{turn}-{writer}", outcome["at"])
                        for writer, (plan, outcomes) in enumerate(zip(plans, results, strict=True))
                        for job, outcome in zip(plan, outcomes, strict=True)
                        if outcome["at"] is not None
                        for title in titles(job["fate"], job["name"])
                    ]
    await settle(pages, commits)
    verdict = judge(commits, pages)
    figures.record("committed", len(commits))
    figures.record("p99 commit to shown", f"{percentile(verdict.delays, 0.99):.3g} s")
    verdict.check(figures)
    pace, alone = (statistics.median(paces[way]) for way in ("with", "without"))
    figures.record("transactions a second", f"{pace:.0f}, without the app {alone:.0f}")
    if connection.vendor == "sqlite":  # whose writers queue for one lock: a relay's commit is one more in the queue
        figures.record("share of the throughput without the app", round(pace / alone, 2))
    else:
        figures.at_least("share of the throughput without the app", pace / alone, SHARE_OF_THROUGHPUT)
    await asyncio.gather(*(page.disconnect() for page in pages))
