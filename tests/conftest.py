"""What all tests may ask for: real servers, each private to the run.

A test whose server this machine lacks is reported as not run, and under CI it fails: a green run has tested everything.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import pytest
from asgiref.sync import SyncToAsync
from django.core.management.commands import flush
from django.db import connections

from tests.servers import AsgiProcess, Missing, RedisServer, daphne_process, postgres_server, redis_server

pytest_plugins = ("tests.site.sockets",)
NOT_RUN = "not run: "  # tests/run.py looks for this word in the reasons of skipped tests


def not_run(reason: object) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{NOT_RUN}{reason}")
    pytest.skip(f"{NOT_RUN}{reason}")


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """The run's Redis. A test that stops or empties one starts its own by `redis_server()`."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(redis_server())
        except Missing as missing:
            not_run(missing)
        yield server


@pytest.fixture(scope="session")
def redis_url(redis: RedisServer) -> str:
    return redis.url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The PostgreSQL that this run tests on (`DATABASE_URL`), else a private one."""
    given = os.environ.get("DATABASE_URL", "")
    if given.startswith("postgres"):
        yield given
        return
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(postgres_server())
        except Missing as missing:
            not_run(missing)
        yield server.url


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """pytest-django's, and before it drops the database: what async tests called by `sync_to_async` ran on asgiref's one
    thread, whose connection outlives them all. PostgreSQL drops no database that somebody is connected to.
    """
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture(scope="session", autouse=True)
def cheap_flush() -> Iterator[None]:
    """What empties the tables after a test: DELETE, which costs a tenth of PostgreSQL's TRUNCATE where a table holds a few rows,
    and the content types and permissions stay, which Django would make anew each time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "emit_post_migrate_signal", lambda *arguments, **named: None)
        for operations in {type(connection.ops) for connection in connections.all()}:
            patch.setattr(operations, "sql_flush", _deletions)
        yield


def _deletions(operations: Any, style: Any, tables: Iterable[str], **_: Any) -> list[str]:
    emptied = set(tables) - {"django_content_type", "auth_permission"}
    return [f"DELETE FROM {operations.quote_name(table)}" for table in sorted(emptied)]


@pytest.fixture(scope="session")
def database_url(django_db_setup: None) -> str:
    """The URL of the *test* database, so that a server process sees the rows that a test commits, and the other way round."""
    from django.db import connection

    database = connection.settings_dict
    name = str(database["NAME"])
    if connection.vendor == "sqlite":
        if "memory" in name:
            raise RuntimeError("a server process cannot share SQLite in memory: give DATABASES['default']['TEST'] a file NAME")
        return f"sqlite:///{name}"
    address = f"{database['HOST']}:{database['PORT']}" if database["PORT"] else database["HOST"]
    return f"postgres://{database['USER']}:{database['PASSWORD']}@{address}/{name}"


@pytest.fixture(autouse=True)
def nobody_attends() -> None:
    """Which hubs are there to relay is remembered for seconds; the next test's database knows of none."""
    from notifications.turn import forget  # the app's models wait for Django

    forget()


StartSite = Callable[..., AbstractContextManager[AsgiProcess]]


@pytest.fixture(scope="module")
def shared_layer(redis_url: str) -> Iterator[str]:
    """This process rings on the run's Redis too: what a test commits here reaches the pages of a server process at once."""
    from django.test import override_settings

    from tests.site.settings import layers_at

    with override_settings(CHANNEL_LAYERS=layers_at(redis_url, "core")):
        yield redis_url


@pytest.fixture
def start_site(database_url: str, shared_layer: str) -> StartSite:
    """`with start_site(env, ...) as site`: a server process on the test database and the run's Redis.

    Takes what `daphne_process` takes; `server=uvicorn_process` for the other kind. Needs `transactional_db` beside it: what a
    test's transaction holds back, another process does not see.
    """

    def start(env: dict[str, str] | None = None, *, server: Any = daphne_process, **options: Any) -> Any:
        return server({"DATABASE_URL": database_url, "REDIS_URL": shared_layer, **(env or {})}, **options)

    return start


@pytest.fixture(scope="module")
def live_site(database_url: str, shared_layer: str) -> Iterator[AsgiProcess]:
    """The test site under Daphne, for one module: its hub sweeps the database that later tests use. Who kills or restarts a
    server starts their own by `start_site`."""
    with daphne_process({"DATABASE_URL": database_url, "REDIS_URL": shared_layer}) as site:
        yield site
