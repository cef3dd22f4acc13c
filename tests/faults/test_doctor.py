"""The doctor beside real servers: what is down, hung, cut off, drifted or half deployed is named within a bound; `--repair` and
`--new-epoch` reach the pages that are open."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test import override_settings

from notifications import roll_call, visitor
from notifications.doctor import counts
from notifications.management.commands.notifications_doctor import CODES
from notifications.models import Inbox
from tests.faults.conftest import Figures
from tests.servers import daphne_process, free_port, redis_server
from tests.servers.proxy import TcpProxy, tcp_proxy
from tests.site.asgi import application
from tests.site.client import Page, new_session
from tests.site.doctor import Report, doctor
from tests.site.people import tell
from tests.site.settings import layers_at
from tests.site.sockets import whatever_the_database

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    assert application is not None  # as in the process of a command: it is imported by a check
    monkeypatch.setattr(visitor, "ANSWER_SECONDS", 3.0)


@pytest.fixture
def proxy(live_site) -> Iterator[TcpProxy]:
    with tcp_proxy(live_site.port) as proxy:
        yield proxy


def visited(site: Any, session: str = "", idle: float = 0.0) -> Report:
    """The part of the doctor that looks from outside."""
    findings = list(visitor.visit(site.url, session=session, idle_seconds=idle))
    return Report(max(CODES[finding.level] for finding in findings), [asdict(finding) for finding in findings])


# the hubs


@pytest.mark.parametrize("layer", ["core", "pubsub"])
@pytest.mark.long
@whatever_the_database
def test_every_server_process_that_lives_answers_the_roll_call_and_none_other(database_url, mina, layer, figures: Figures):
    with redis_server() as redis, override_settings(CHANNEL_LAYERS=layers_at(redis.url, layer)):
        assert doctor().of("hubs") == [("warning", "no server process answered within 2 s")]
        env = {"DATABASE_URL": database_url, "REDIS_URL": redis.url, "LAYER": layer}
        with daphne_process(env) as one, daphne_process(env) as two:
            report = doctor()
            assert report.code == 0
            assert sorted(text.split(" answered")[0].split(":")[1] for _, text in report.of("hubs")) == sorted(
                [str(one.pid), str(two.pid)]
            )
            two.kill()
            assert [text.split(" answered")[0].split(":")[1] for _, text in doctor().of("hubs")] == [str(one.pid)]
            with override_settings(SECRET_KEY="another"):
                assert doctor().levels["hubs"] == "warning"  # it cannot be told from a stranger
            one.suspend()
            assert doctor().levels["hubs"] == "warning"
            one.resume()
        assert "Traceback" not in one.log


@pytest.mark.parametrize("layer", ["core", "pubsub"])
@pytest.mark.long
@whatever_the_database
def test_a_redis_that_hangs_or_is_gone_is_named_within_a_bound(mina, layer, figures: Figures):
    with redis_server() as redis, override_settings(CHANNEL_LAYERS=layers_at(redis.url, layer)):
        assert doctor().levels["layer"] == "ok"  # the premise
        for fault in (redis.suspend, redis.kill):
            fault()
            started = time.monotonic()
            report = doctor()
            figures.at_most(f"redis {fault.__name__}, {layer}: named after", time.monotonic() - started, 20)
            assert (report.code, report.levels["layer"], report.levels["hubs"]) == (2, "broken", "unknown")
            assert report.levels["counts"] == "ok"  # and the rest is examined all the same


# from outside


@whatever_the_database
def test_a_site_that_is_well_is_well_from_outside_too(proxy, mina, mina_session):
    report = doctor("--url", proxy.url, "--session", mina_session, "--idle-seconds", "1")
    assert report.code == 0
    assert {report.levels[each] for each in ("http", "socket", "time-outs", "hubs")} == {"ok"}
    report = visited(proxy)
    assert (report.code, report.levels["time-outs"]) == (0, "unknown")
    assert report.of("socket") == [("ok", "opens, and says that nobody is signed in")]


@pytest.mark.long
@whatever_the_database
def test_a_proxy_that_cuts_the_quiet_socket_is_named_with_the_second(proxy, mina, mina_session):
    cut = threading.Timer(4, proxy.reset)
    cut.start()
    report = visited(proxy, mina_session, idle=30)
    cut.join()
    ((level, text),) = report.of("time-outs")
    assert (report.code, level) == (2, "broken")
    assert text in {f"the quiet socket was cut after {second} s without a word" for second in (1, 2, 3, 4)}


@pytest.mark.long
@pytest.mark.timeout(200)
@whatever_the_database
def test_the_quiet_socket_stays_open_with_its_heartbeats(proxy, mina, mina_session):
    report = visited(proxy, mina_session, idle=90)  # longer than the server waits for who does not answer it
    assert report.of("time-outs") == [("ok", "the quiet socket stayed open for 90 s, with 3 heartbeats")]


@pytest.mark.long
@whatever_the_database
def test_a_server_that_restarts_is_not_taken_for_a_proxy_that_cuts(start_site, mina, mina_session):
    with start_site() as site:
        stop = threading.Timer(4, site.stop)
        stop.start()
        report = visited(site, mina_session, idle=30)
        stop.join()
    ((level, text),) = report.of("time-outs")
    assert (level, text[:39]) == ("warning", "the server closed the socket with 4012 "[:39])


@pytest.mark.parametrize("fault", ["refuse", pytest.param("swallow", marks=pytest.mark.long)])
@whatever_the_database
def test_a_site_that_cannot_be_reached_is_named_within_a_bound(proxy, mina, fault, figures: Figures):
    getattr(proxy, fault)()
    started = time.monotonic()
    report = visited(proxy)
    figures.at_most(f"{fault}: named after", time.monotonic() - started, 15)
    assert (report.code, report.levels["url"]) == (2, "broken")


@whatever_the_database
def test_a_session_that_is_nobodys_is_named(proxy, mina):
    report = visited(proxy, "nobodyssession")
    assert "nobody's" in report.of("http")[0][1]
    assert report.of("socket") == [("broken", "opens, and is closed with 4401: signed out")]


@pytest.mark.long
@whatever_the_database
def test_an_address_of_another_scheme_than_the_site_demands_is_named(start_site, mina, mina_session):
    settings = {"DJANGO_SETTINGS_MODULE": "tests.site.varied", "SITE_SETTINGS": '{"SESSION_COOKIE_SECURE": true}'}
    with start_site(settings) as site:
        report = visited(site, mina_session)
    assert "answers 403 instead of 101" in report.of("socket")[0][1]


@whatever_the_database
def test_a_database_other_than_the_sites_is_named(proxy, mina, mina_session, monkeypatch):
    monkeypatch.setattr(visitor, "states", lambda user_ids: {str(mina.pk): visitor.State(visitor.Position("other", 1))})
    assert "does not have" in visited(proxy, mina_session).of("socket")[1][1]


class Answers(BaseHTTPRequestHandler):
    """A proxy with its own idea: `server.answers` says for a page and for an upgrade what to answer, and with which headers."""

    def do_GET(self) -> None:
        status, headers = self.server.answers["Upgrade" if "Upgrade" in self.headers else "page"]  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *words: Any) -> None:
        pass


PAGE = (401, {"Cache-Control": "private, no-store"})
UPGRADED = (101, {"Connection": "Upgrade", "Upgrade": "websocket"})
PROXIES = {
    "no upgrade": ({"page": PAGE, "Upgrade": (426, {})}, "socket", "answers 426"),
    "wrong server": ({"page": (404, {}), "Upgrade": (404, {})}, "http", "answers 404"),
    "no server": ({"page": (502, {}), "Upgrade": (502, {})}, "socket", "answers 502"),
    "elsewhere": ({"page": (301, {"Location": "https://x/"}), "Upgrade": (301, {})}, "http", "leads to https://x/"),
    "cached": ({"page": (401, {"Cache-Control": "max-age=60"}), "Upgrade": (403, {})}, "http", "may be cached"),
    "any origin": ({"page": PAGE, "Upgrade": UPGRADED}, "socket", "a page of https://elsewhere.invalid may open it"),
    "no subprotocol": ({"page": PAGE, "Upgrade": UPGRADED}, "socket", "does not pick notifications.v1.json"),
}


@pytest.mark.parametrize(("answers", "subject", "text"), PROXIES.values(), ids=PROXIES)
@whatever_the_database
def test_a_proxy_with_its_own_idea_is_named(mina, answers, subject, text):
    with HTTPServer(("127.0.0.1", free_port()), Answers) as server:
        server.answers = answers  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            report = visited(SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}/"))
        finally:
            server.shutdown()
            thread.join()
    assert report.code == 2
    assert any(level == "broken" and text in said for level, said in report.of(subject)), report.findings


@whatever_the_database
def test_an_answered_visit_without_a_hub_that_answers_is_broken(proxy, mina, monkeypatch):
    monkeypatch.setattr(roll_call, "HUBS", "elsewhere")  # as with another NOTIFICATIONS_GROUP_PREFIX
    report = doctor("--url", proxy.url)
    assert (report.levels["socket"], report.levels["hubs"]) == ("ok", "broken")


# repair, while pages are open


async def test_open_pages_hear_of_a_repair_at_once(live_site, mina, mina_session):
    async with Page(live_site, mina_session) as page:
        await tell(mina, "one")
        await tell(mina, "two")
        await page.until(lambda page: page.titles == ["two", "one"])
        await Inbox.objects.filter(pk=mina.pk).aupdate(unread=7)
        await tell(mina, "three")
        await page.until(lambda page: page.unread == 8)  # what the drift did
        report = await sync_to_async(doctor)("--repair")
        assert report.levels["counts"] == "ok"
        await page.until(lambda page: page.unread == 3, 5)
        assert page.titles == ["three", "two", "one"]
        assert page.gaps == 0


async def test_open_pages_begin_anew_under_a_new_epoch(live_site, mina, mina_session):
    """As after a restored backup: the database is younger than what the pages show."""
    async with Page(live_site, mina_session) as page:
        await tell(mina, "kept")
        await page.until(lambda page: page.titles == ["kept"])
        resets = len(page.kinds("reset"))
        await sync_to_async(doctor)("--new-epoch")
        await page.until(lambda page: len(page.kinds("reset")) > resets, 5)
        assert page.titles == ["kept"]
        await tell(mina, "new")
        await page.until(lambda page: page.titles == ["new", "kept"], 5)


@pytest.mark.long
async def test_a_repair_beside_writers_leaves_counts_right(live_site, mina, teo, figures: Figures):
    """Counting anew while notifications arrive: under the same lock, so nothing is counted twice or missed."""
    sessions = [await sync_to_async(new_session)(user) for user in (mina, teo)]
    async with Page(live_site, sessions[0]) as one, Page(live_site, sessions[1]) as two:
        writing = asyncio.create_task(write([mina, teo], 30))
        mended = [0, 0]
        while not writing.done():
            for at, user in enumerate((mina, teo)):
                mended[at] += await asyncio.to_thread(spoil_and_repair, user.pk)
        await writing
        for page in (one, two):
            await page.until(lambda page: len(page.titles) == 30 and (page.unread, page.unseen) == (30, 30))
        figures.at_least("counted anew beside writers", min(mended), 3)
    (finding,) = await sync_to_async(lambda: list(counts()))()
    assert finding.level == "ok"


def spoil_and_repair(user_id: int) -> bool:
    """On a thread and a connection of its own, so that it truly runs beside the writers."""
    try:
        Inbox.objects.filter(pk=user_id).update(unseen=0)
        return any("counted anew" in finding.text for finding in counts(repairs=True))
    finally:
        connection.close()


async def write(users: list[Any], count: int) -> None:
    for number in range(count):
        for user in users:
            await tell(user, str(number))
