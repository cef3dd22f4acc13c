"""The database locks, restarts, stops, falls silent: no socket closes, nothing is lost, and what the others wait for comes."""

import ast
import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection, transaction

from notifications import relay, slices, turn
from notifications.models import Inbox, RelayTurn
from tests.faults.checker import Commit, Witness, judge, percentile, settle
from tests.servers import Missing, PostgresServer, postgres_server
from tests.servers.proxy import tcp_proxy
from tests.site.client import Page
from tests.site.outage import Sites, Traffic, committed, sites_on
from tests.site.people import eventually, tell, users_with_sessions
from tests.site.sockets import only_on
from tests.site.transactions import titles
from tests.site.writer import Job, Writer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

RECOVERY_SECONDS = 15.0
BEYOND_CALM_SECONDS = 0.25
UNDISTURBED_SECONDS = 1.0
HEALING_SECONDS = 3.0  # a watermark of one second, and a slow machine


# --- a lock on the session table, on an inbox ---


class Lock(threading.Thread):
    """Holds what the statement locks from `taken` on until it is told to let go."""

    def __init__(self, statement: str = "LOCK TABLE django_session IN ACCESS EXCLUSIVE MODE") -> None:
        super().__init__()
        self.statement = statement
        self.taken, self.over = threading.Event(), threading.Event()

    def run(self) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(self.statement)
            self.taken.set()
            self.over.wait(30)
        connection.close()

    async def __aenter__(self) -> None:
        self.start()
        assert await asyncio.to_thread(self.taken.wait, 10)

    async def __aexit__(self, *error: object) -> None:
        self.over.set()
        await asyncio.to_thread(self.join)


async def delays(people: list[tuple[User, str]], pages: list[Witness], name: str, seconds: float) -> list[float]:
    """From commit to shown, everybody told in turn for so long."""
    told: dict[str, tuple[int, float]] = {}
    end = time.time() + seconds
    while time.time() < end:
        user, _ = people[len(told) % len(people)]
        title = f"{name} {len(told)}"
        await tell(user, title)
        told[title] = (user.pk, time.time())
    for page in pages:
        await page.until(lambda page: {title for title, (pk, _) in told.items() if pk == page.user_id} <= page.first.keys())
    return [page.first[title].at - at for page in pages for title, (pk, at) in told.items() if pk == page.user_id]


@only_on("postgresql")
@pytest.mark.parametrize("seconds", [1, pytest.param(4, marks=[pytest.mark.long, pytest.mark.alone])])
async def test_a_lock_on_the_session_table_delays_nobodys_news(watchful_site, figures, monkeypatch, seconds):
    """Not what is rung, nor what is not and the watermark finds; while a look at the sessions waits for the table."""
    people = await sync_to_async(users_with_sessions)(20)
    pages = [Witness(watchful_site, user.pk, session) for user, session in people]
    await asyncio.gather(*(page.connect() for page in pages))
    await delays(people, pages, "first", 0.5)
    await eventually(lambda: RelayTurn.objects.filter(attended_at__isnull=False).exists(), 10)
    turn.forget()  # from here on who tells rings for the hub, before the lock as under it
    calm = percentile(await delays(people, pages, "calm", seconds), 0.95)
    late = Page(watchful_site, people[0][1])
    async with Lock():
        joining = asyncio.create_task(late.connect())
        await people[1][0].asave()  # its sessions are asked for
        locked = percentile(await delays(people, pages, "locked", seconds), 0.95)
        with monkeypatch.context() as patch:
            patch.setattr(turn, "is_attended", lambda alias: False)  # so its rows are there
            for module in (relay, slices):
                patch.setattr(module, "ring", lambda wake_up: None)
            started = time.monotonic()
            await tell(people[2][0], "never rung")
            await pages[2].until(lambda page: page.titles[0] == "never rung", 10)
            healed = time.monotonic() - started
        await joining
        assert await late.until_closed() == 4013  # the premise: the table cannot be read
    closed = [page for page in pages if page.close_code is not None]
    await asyncio.gather(*(page.disconnect() for page in [*pages, late]))
    figures.none("sockets closed", closed)
    figures.record("p95 calm", f"{calm:.3g} s")
    figures.at_most("p95 beyond calm", locked - calm, BEYOND_CALM_SECONDS)
    figures.at_most("what was never rung is shown within", healed, HEALING_SECONDS)


@only_on("postgresql")
@pytest.mark.parametrize("way", ["request", "command"])
async def test_while_an_inbox_is_locked_neither_a_request_nor_a_command_waits_for_it(
    live_site, database_url, redis_url, mina, mina_session, figures, way
):
    """Who writes does not relay where a hub does it: a backup's, a migration's or another relay's locks are not its affair."""
    async with Page(live_site, mina_session) as page, Writer({"DATABASE_URL": database_url, "REDIS_URL": redis_url}) as command:
        await tell(mina, "first")
        await page.until(lambda page: page.titles)
        await eventually(lambda: RelayTurn.objects.filter(attended_at__isnull=False).exists(), 10)
        async with Lock(f"SELECT * FROM {Inbox._meta.db_table} WHERE user_id = {mina.pk} FOR UPDATE"):
            started = time.monotonic()
            if way == "request":
                await asyncio.to_thread(urlopen, f"{live_site.url}/transact/commit/{mina.pk}/late/", timeout=30)
            else:
                await command.run([{"fate": "commit", "user": mina.pk, "name": "late"}])
            took = time.monotonic() - started
            await asyncio.sleep(0.5)
            assert page.titles == ["first"]  # the premise: nobody gets past the lock
        await page.until(lambda page: page.titles == ["Order late is paid", "first"])
    figures.at_most("answered within", took, UNDISTURBED_SECONDS)


# --- a PostgreSQL of the test's own, away ---


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    try:
        with postgres_server() as server:
            yield server
    except Missing as missing:
        pytest.skip(f"not run: {missing}")


async def away(sites: Sites, postgres: PostgresServer, figures: Any, take: Any, bring_back: Any, seconds: float) -> None:
    """Take the database away for so long under traffic; nobody's page may notice more than a delay."""
    pages = [Witness(sites.near, *person) for person in sites.people.values()]
    pages += [Witness(sites.far, *person) for person in sites.people.values()]
    await asyncio.gather(*(page.connect() for page in pages))
    for page in pages:
        await page.until(lambda page: page.position)
    users = [user_id for user_id, _ in sites.people.values()]
    with Traffic(sites.near, "near", users) as traffic, Traffic(sites.far, "far", users) as beside:
        for each in (traffic, beside):
            await each.until_answered(time.time() + 1, 10)
        await asyncio.to_thread(take)
        gone = time.time()
        if seconds > 3:
            await asyncio.sleep(seconds / 2)  # the outage itself
            await is_told_to_come_back(sites)
        await asyncio.sleep(max(0, gone + seconds - time.time()))
        await asyncio.to_thread(bring_back)
        back = time.time()
        await traffic.until_answered(back, RECOVERY_SECONDS)
        await asyncio.gather(*(page.until(shows_since(back), RECOVERY_SECONDS) for page in pages))
        recovered = max(min(shown.at for shown in page.first.values() if shown.at > back) for page in pages)
        await traffic.until_answered(time.time() + 1, 10)
    answered = traffic.answered | beside.answered
    commits = await asyncio.to_thread(committed, postgres.url, answered)
    await settle(pages, commits)
    verdict = judge(commits, pages)
    figures.record("committed", len(commits))
    figures.record("requests that the sites refused", len(traffic.failed + beside.failed))
    figures.none("answered and not there", set(answered) - {commit.title for commit in commits})
    figures.at_most("recovered after its return within", recovered - back, RECOVERY_SECONDS)
    figures.none("sockets closed", [page.close_code for page in pages if page.close_code is not None])
    verdict.check(figures)
    await sessions_are_watched_again(sites, postgres, pages)
    await asyncio.gather(*(page.disconnect() for page in pages))


def shows_since(moment: float) -> Any:
    return lambda page: any(shown.at > moment for shown in page.first.values())


async def is_told_to_come_back(sites: Sites) -> None:
    """Who comes meanwhile is asked to try later, and not told to sign in. Also the premise: the database cannot be asked."""
    page = Page(sites.near, sites.people["nova"][1])
    await page.connect()
    assert await page.until_closed() == 4013
    await page.disconnect()


async def sessions_are_watched_again(sites: Sites, postgres: PostgresServer, pages: list[Witness]) -> None:
    """The premise of "no socket closed": one that has no right to be open is."""
    user, session = sites.people["teo"]
    with postgres.client() as client:
        client.execute("DELETE FROM django_session WHERE session_key = %s", [session])
    for page in pages:
        if page.user_id == user:
            assert await page.until_closed(10) == 4401


@only_on("postgresql")
@pytest.mark.parametrize("seconds", [0, pytest.param(15, marks=pytest.mark.long)], ids=["restarted", "stopped"])
async def test_a_database_that_is_away_closes_no_socket_and_loses_nothing(own_postgres, redis_url, figures, seconds):
    with sites_on(own_postgres.url, redis_url) as sites:
        await away(sites, own_postgres, figures, own_postgres.stop, own_postgres.start, seconds)


@pytest.mark.long
@only_on("postgresql")
@pytest.mark.parametrize("how", ["swallow", "refuse"])
async def test_a_line_to_the_database_that_breaks_closes_no_socket_and_loses_nothing(own_postgres, redis_url, figures, how):
    with (
        tcp_proxy(own_postgres.port) as proxy,
        sites_on(own_postgres.url, redis_url, near=proxy.through(own_postgres.url)) as sites,
    ):
        await away(sites, own_postgres, figures, getattr(proxy, how), proxy.mend, 10)


# --- SQLite under many writers ---


def documented_options() -> dict[str, Any]:
    """What the README tells a site to set."""
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    found = re.search(r'DATABASES\["default"\]\["OPTIONS"\] = (\{.*?\n\})', readme, re.DOTALL)
    assert found is not None
    options: dict[str, Any] = ast.literal_eval(found[1])
    return options


@only_on("sqlite")
@pytest.mark.long
@pytest.mark.parametrize("each", [100])
async def test_sqlite_as_the_readme_has_it_is_never_locked_for_the_site(live_site, database_url, redis_url, figures, each):
    """Four processes that read and then write, the server's own requests, and its relay."""
    assert connection.settings_dict["OPTIONS"] == documented_options()
    people = await sync_to_async(users_with_sessions)(4)
    pages = [Witness(live_site, user.pk, session) for user, session in people]
    await asyncio.gather(*(page.connect() for page in pages))
    env = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    plans: list[list[Job]] = [
        [{"fate": "commit", "user": people[(writer + number) % 4][0].pk, "name": f"{writer}-{number}"} for number in range(each)]
        for writer in range(4)
    ]
    async with AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(Writer(env)) for _ in plans]
        traffic = stack.enter_context(Traffic(live_site, "server", [user.pk for user, _ in people]))
        results = await asyncio.gather(*(writer.run(plan) for writer, plan in zip(writers, plans, strict=True)))
    errors = [outcome["error"] for outcomes in results for outcome in outcomes if outcome["error"]]
    figures.none("errors that reached the writers", errors)
    figures.none("requests that failed", traffic.failed)
    figures.none("locked, says the server", re.findall(r".*database is locked.*", live_site.log))
    commits = [
        Commit(title, (job["user"],), str(writer), outcome["at"] or 0)
        for writer, (plan, outcomes) in enumerate(zip(plans, results, strict=True))
        for job, outcome in zip(plan, outcomes, strict=True)
        for title in titles(job["fate"], job["name"])
    ]
    told = {title: people[int(title.removeprefix("server-")) % 4][0].pk for title in traffic.answered}
    commits += [Commit(title, (user,), "the server", traffic.answered[title]) for title, user in told.items()]
    await settle(pages, commits)
    verdict = judge(commits, pages)
    figures.record("committed", len(commits))
    figures.record("p99 commit to shown", f"{percentile(verdict.delays, 0.99):.3g} s")
    verdict.check(figures)
    await asyncio.gather(*(page.disconnect() for page in pages))
