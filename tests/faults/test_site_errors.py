"""The errors of the site itself, in real servers by real requests: they cost a notification and a line in the log, no more."""

import asyncio
import json
import re
import time
from collections import Counter
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from notifications.models import Event
from tests.faults.conftest import Figures
from tests.servers import AsgiProcess, daphne_process, uvicorn_process
from tests.site.client import Page
from tests.site.models import Label, Order
from tests.site.people import Browser

pytestmark = pytest.mark.django_db(transaction=True)

FAULTY = "tests.site.faulty"  # its rules are for its own server: nothing of it is imported here
RECORD = re.compile(r"^\d{4}-\d\d-\d\d \S+ (?:WARNING|ERROR|CRITICAL) (\S+) (\w+)(?: (?:rule|routine|kind)=(\S+))?", re.MULTILINE)


def lines_a_kind(log: str) -> dict[str, int]:
    return {" ".join(filter(None, kind)): count for kind, count in Counter(RECORD.findall(log)).items()}


class Site:
    """A server whose rules are broken, and what a test has asked of it."""

    def __init__(self, server: AsgiProcess, user_id: int) -> None:
        self.server, self.user_id = server, user_id
        self.browser = Browser(server)
        self.saved: list[tuple[str, int]] = []
        """Fault and order."""
        self.failed: list[Any] = []
        self.slowest = 0.0
        self.is_atomic: bool | None = None
        """Whether the last request was in a transaction of its own, by `ATOMIC_REQUESTS`."""

    def save(self, fault: str, query: str = "") -> None:
        started = time.monotonic()
        try:
            answer = json.loads(self.browser.get(f"/save/{self.user_id}/{quote(fault)}/{query}"))
            self.saved.append((fault, answer["order"]))
            self.is_atomic = answer["is_atomic"]
        except OSError as error:  # an HTTP status too
            self.failed.append((fault, query, error))
        self.slowest = max(self.slowest, time.monotonic() - started)

    def spoiled(self) -> list[Any]:
        """Orders without their row, their later row, or what a later hook has done."""
        orders, labels = set(Order.objects.values_list("pk", flat=True)), set(Label.objects.values_list("name", flat=True))
        wanted = [(fault, pk, f"{what} {pk}") for fault, pk in self.saved for what in ("after", "hook of")]
        return [(fault, name) for fault, pk, name in wanted if pk not in orders or name not in labels]

    def sound(self) -> list[str]:
        return [f"sound beside {fault}" for fault, _ in self.saved]


WHERE = [
    pytest.param(daphne_process, id="daphne"),
    pytest.param(uvicorn_process, id="uvicorn", marks=pytest.mark.long),
]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("server", WHERE)
@pytest.mark.parametrize(
    "atomic_requests", [pytest.param("", id="autocommit", marks=pytest.mark.long), pytest.param("1", id="ATOMIC_REQUESTS")]
)
async def test_a_broken_rule_costs_its_notification_and_one_line(
    start_site, mina, mina_session, server, atomic_requests, figures: Figures
):
    with start_site({"ATOMIC_REQUESTS": atomic_requests}, server=server, settings=FAULTY) as process:
        site = Site(process, mina.pk)
        faults = json.loads(await asyncio.to_thread(site.browser.get, "/faults/"))
        async with Page(process, mina_session) as page:
            await page.until(lambda page: page.position)
            for fault in faults["fail"] + faults["told"]:
                for query in ("", "?atomic", ""):
                    await asyncio.to_thread(site.save, fault, query)
            figures.none("requests that failed", site.failed)
            figures.none("rows and later hooks lost", await sync_to_async(site.spoiled)())
            await page.until(lambda page: not Counter(site.sound()) - Counter(page.arrived), 30)
            assert site.is_atomic is bool(atomic_requests)
            shown = [title for title in page.arrived if not title.startswith("sound beside")]
            await page.until(lambda page: len(page.arrived) >= len(site.sound()) + 3 * (len(faults["told"]) - 1))
            assert "a draft of a rule that fails" not in shown
            assert page.close_code is None
        counts = lines_a_kind(process.log)
        silent = [fault for fault in faults["fail"] if not any(f"fails_{fault.replace(' ', '_')}" in kind for kind in counts)]
        figures.none("faults without a line", silent)
        figures.at_most("lines a kind in a minute", max(counts.values()), 1, "")


async def test_without_migrations_the_sites_requests_go_on(start_site, mina, mina_session, figures: Figures):
    def rename(old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    table = Event._meta.db_table
    with start_site(settings=FAULTY) as process:
        site = Site(process, mina.pk)
        async with Page(process, mina_session) as page:
            await page.until(lambda page: page.position)
            await sync_to_async(rename)(table, "away")
            try:
                for query in ("", "?atomic", "", "?atomic"):
                    await asyncio.to_thread(site.save, "none", query)
            finally:
                await sync_to_async(rename)("away", table)
            figures.none("requests that failed", site.failed)
            figures.none("rows and later hooks lost", await sync_to_async(site.spoiled)())
            site.saved.clear()
            await asyncio.to_thread(site.save, "afterwards")
            await page.until(lambda page: page.arrived == ["sound beside afterwards"])
        counts = lines_a_kind(process.log)
        assert any("rule_failed" in kind for kind in counts)
        figures.at_most("lines a kind in a minute", max(counts.values()), 1, "")
        assert "Traceback" not in process.log


LAYERS: dict[str, dict[str, Any]] = {
    "missing": {},
    "refused": {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": ["redis://127.0.0.1:1"]}}},
    "no such module": {"default": {"BACKEND": "no.such.Layer"}},
    "no such option": {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"nonsense": True}}},
    "no addresses": {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": 5}}},
}


@pytest.mark.parametrize(
    "layer", [name if name == "no such module" else pytest.param(name, marks=pytest.mark.long) for name in LAYERS]
)
async def test_a_layer_that_is_missing_or_broken_costs_no_request(start_site, mina, mina_session, layer, figures: Figures):
    env = {"SITE_SETTINGS": json.dumps({"CHANNEL_LAYERS": LAYERS[layer]}), "WATERMARK_SECONDS": "1"}
    with start_site(env, settings=FAULTY) as process:
        site = Site(process, mina.pk)
        async with Page(process, mina_session) as page:
            await page.until(lambda page: page.position)
            for query in ("", "?atomic") * 5:
                await asyncio.to_thread(site.save, "none", query)
            figures.none("requests that failed", site.failed)
            figures.none("rows and later hooks lost", await sync_to_async(site.spoiled)())
            await page.until(lambda page: page.arrived == site.sound())
            assert page.close_code is None
        figures.record("slowest request", f"{site.slowest:.2f} s")
        figures.at_most("lines a kind in a minute", max([0, *lines_a_kind(process.log).values()]), 1, "")
