"""Protocol v1 as a suite for any server: every sentence of `docs/protocol.md` that binds the server is a test here.

By itself it starts the test site under Daphne and under uvicorn, each with a private database. To run it against another site:

    CONFORMANCE_URL=https://example.org CONFORMANCE_COOKIE="sessionid=..." \
    CONFORMANCE_TELL="https://example.org/tell-me/{title}/" pytest tests/conformance

`CONFORMANCE_TELL` is asked by GET and has to make a notification with that title for the session's user, whose inbox the suite
fills and empties: use a test user. `CONFORMANCE_PATH` is the socket's path (`/notifications/socket/`), `CONFORMANCE_NEWCOMER` the
cookie of a user who has never been notified. `-m "not long"` leaves out what has to wait for clocks.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.conformance.peer import Target
from tests.servers import daphne_process, uvicorn_process
from tests.site.client import PATH
from tests.site.own import own_site, prepare

SERVERS = {"daphne": daphne_process, "uvicorn": uvicorn_process}
GIVEN = os.environ.get("CONFORMANCE_URL", "")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        metafunc.parametrize("target", ["url"] if GIVEN else list(SERVERS), indirect=True, scope="session")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, str]]]:
    database = tmp_path_factory.mktemp("site") / "prepared.sqlite3"
    return database, prepare(database)


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    if GIVEN:
        missing = [name for name in ("CONFORMANCE_COOKIE", "CONFORMANCE_TELL") if not os.environ.get(name)]
        if missing:
            raise pytest.UsageError(f"with CONFORMANCE_URL give {' and '.join(missing)} too")
        path = os.environ.get("CONFORMANCE_PATH", PATH)
        newcomer = os.environ.get("CONFORMANCE_NEWCOMER")
        yield Target(GIVEN, path, os.environ["CONFORMANCE_COOKIE"], os.environ["CONFORMANCE_TELL"], newcomer)
        return
    database, people = request.getfixturevalue("prepared")
    with own_site(SERVERS[request.param], database, people) as site:
        cookies = {name: f"{settings.SESSION_COOKIE_NAME}={session}" for name, (_, session) in people.items()}
        tell_url = f"{site.server.url}/tell/{people['mina'][0]}/{{title}}/"
        yield Target(site.server.url, PATH, cookies["mina"], tell_url, cookies["nova"])
        assert "Traceback" not in site.server.log
