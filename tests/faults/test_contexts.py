"""Whatever context the site's code tells from, the page shows it; the ring costs few connections and leaves no warning."""

import asyncio
import functools
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect

from tests.faults.checker import Commit, judge, settle
from tests.servers import daphne_process, redis_server, uvicorn_process
from tests.site.client import Page
from tests.site.people import Browser
from tests.site.settings import LAYERS
from tests.site.sockets import whatever_the_database

# On SQLite: psycopg warns of the connections that Django leaves open in asgiref's threads, and they are not ours to close.
pytestmark = [pytest.mark.django_db(transaction=True), whatever_the_database]

PROGRAM = Path(__file__).parent / "every_context.py"
ROOT = Path(__file__).parents[2]
MOST_CONNECTIONS = 20
CALLS_A_ROUND = 13
MANY = 500 // CALLS_A_ROUND + 1
STRICT = {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"}
SHOWN_SECONDS = 10.0  # far below the watermark: what the end of the program or of a child kept back does not come
DEBUG_LOG = " asyncio "  # asyncio's debug mode tells what took more than 0.1 s: the machine's business

SLOW_LAYER = """
    import asyncio, sys
    import django
    django.setup()
    from notifications import ringer
    from notifications.protocol import WakeUp

    class Layer:
        async def group_send(self, group, message):
            await asyncio.sleep(0.05)
            print("sent", flush=True)

    ringer.get_channel_layer = lambda alias: Layer()
    ringer.ring(WakeUp(pending=True))
"""


def test_what_a_program_rings_last_leaves_before_it_ends():
    """It waits for it, 200 ms at most."""
    env = {**os.environ, **STRICT, "DJANGO_SETTINGS_MODULE": "tests.site.settings", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(SLOW_LAYER)]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "sent\n"), done.stderr


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("layer", "rounds"), [("core", 1)] + [pytest.param(layer, MANY, marks=pytest.mark.long) for layer in LAYERS]
)
async def test_a_program_tells_from_every_context(database_url, mina, mina_session, figures, layer, rounds):
    with redis_server() as redis:
        env = {"DATABASE_URL": database_url, "REDIS_URL": redis.url, "LAYER": layer, "WATERMARK_SECONDS": "300"}
        with daphne_process(env) as site:
            async with Page(site, mina_session) as page:
                await page.until(lambda page: page.position)
                before = redis.connections_made()
                told = await program(env, mina.pk, rounds)
                assert len(told) == len(set(told)) == rounds * CALLS_A_ROUND + 3
                page.user_id = mina.pk  # type: ignore[attr-defined]  # the checker asks for it
                commits = [Commit(title, (mina.pk,), writer=title) for title in told]
                await page.until(lambda page: len(page.items) == len(told), SHOWN_SECONDS)
                await settle([page], commits)
                judge(commits, [page]).check(figures)
                made = redis.connections_made() - before
                figures.at_most(f"Redis connections, {len(told)} calls, {layer}", made, MOST_CONNECTIONS, "")


async def program(env: Mapping[str, str], user_id: int, rounds: int) -> list[str]:
    """The titles that it told. It must end well and complain of nothing."""
    env = {**os.environ, **env, **STRICT, "DJANGO_SETTINGS_MODULE": "tests.site.settings", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(PROGRAM), str(user_id), str(rounds)]
    run = functools.partial(subprocess.run, command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    done = await asyncio.to_thread(run)
    complaints = [line for line in done.stderr.splitlines() if DEBUG_LOG not in line]
    assert (done.returncode, complaints) == (0, [])
    return done.stdout.splitlines()


@pytest.mark.long
@pytest.mark.parametrize("server", [daphne_process, uvicorn_process])
async def test_a_server_tells_from_views_and_consumers(start_site, mina, mina_session, server):
    consumers = [("/async-teller/", way) for way in ("anotify", "sync_to_async", "database_sync_to_async")]
    consumers.append(("/teller/", "notify"))
    with start_site({"PYTHONDEVMODE": "1"}, server=server) as site:
        async with Page(site, mina_session) as page:
            await page.until(lambda page: page.position)
            for view in ("tell", "atell"):
                await asyncio.to_thread(Browser(site).get, f"/{view}/{mina.pk}/{quote(view)}/")
            for path, way in consumers:
                async with connect(site.websocket_url + path, proxy=None) as socket:
                    await socket.send(json.dumps({"way": way, "to": mina.pk}))
                    await asyncio.wait_for(socket.recv(), 10)
            await page.until(lambda page: page.arrived == ["tell", "atell", *(way for _, way in consumers)], SHOWN_SECONDS)
        site.stop()
        complaints = [line for line in site.log.splitlines() if "Warning" in line or "Traceback" in line]
        assert [line for line in complaints if "notifications" in line] == []
