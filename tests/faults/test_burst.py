"""A burst to one user from another process: all of it is shown, in order, and nobody else waits for it."""

import asyncio

import pytest
from asgiref.sync import sync_to_async

from tests.faults.checker import Commit, Witness, judge, percentile, settle
from tests.faults.conftest import Figures
from tests.site.people import users_with_sessions
from tests.site.writer import Job, Writer

pytestmark = pytest.mark.django_db(transaction=True)

BURST = 2000
OTHERS = 50
P95_SECONDS = 0.5
PAUSE_SECONDS = 0.05  # between two notifications to the others


@pytest.mark.long  # tests/integration/test_limits.py has the burst alone
@pytest.mark.timeout(240)
async def test_a_burst_is_shown_in_order_and_delays_nobody_else(live_site, start_site, database_url, redis_url, figures):
    """By the server that relays it and by one that only hears of it, which the layer tells."""
    people = await sync_to_async(users_with_sessions)(OTHERS + 1)
    pages = [Witness(live_site, user.pk, session) for user, session in people]
    with start_site() as there:
        twin = Witness(there, people[0][0].pk, people[0][1])
        await flood(pages, twin, {"DATABASE_URL": database_url, "REDIS_URL": redis_url}, figures)


async def flood(pages: list[Witness], twin: Witness, env: dict[str, str], figures: Figures) -> None:
    flooded = pages[0]
    await asyncio.gather(*(page.connect() for page in (*pages, twin)))
    await asyncio.gather(*(page.until(lambda page: page.frames) for page in (*pages, twin)))
    burst: list[Job] = [{"fate": "notify", "user": flooded.user_id, "name": f"burst {number}"} for number in range(BURST)]
    trickle: list[Job] = [
        {"fate": "notify", "user": pages[1 + number % OTHERS].user_id, "name": f"news {number}", "pause": PAUSE_SECONDS}
        for number in range(BURST // 10)
    ]
    async with Writer(env) as one, Writer(env) as two:
        results = await asyncio.gather(one.run(burst), two.run(trickle))
    commits = [
        Commit(job["name"], (job["user"],), writer, outcome["at"] or 0.0)
        for writer, jobs, outcomes in zip(("burst", "news"), (burst, trickle), results, strict=True)
        for job, outcome in zip(jobs, outcomes, strict=True)
        if outcome["error"] is None
    ]
    await settle([*pages, twin], commits, 60)
    assert len(commits) == len(burst) + len(trickle)
    verdict = judge(commits, [*pages, twin])
    verdict.check(figures)
    names = [job["name"] for job in burst]
    figures.record("announced in order", flooded.arrived == twin.arrived == names)
    assert flooded.arrived == names
    assert twin.arrived == names
    meanwhile = max(outcome["ended"] for outcome in results[0])
    delays = judge([commit for commit in commits if commit.writer == "news" and commit.at <= meanwhile], pages[1:]).delays
    figures.record("notifications to others meanwhile", len(delays))
    figures.at_most("p95 of the others", percentile(delays, 0.95), P95_SECONDS)
    await asyncio.gather(*(page.disconnect() for page in (*pages, twin)))
