"""Fixtures of the tests that open sockets, as a pytest plugin: who has the pages, and the servers that they are open at."""

import os
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User

from tests.servers import AsgiProcess, daphne_process, uvicorn_process
from tests.site.client import new_session

# Not left out: the SQLite stage of the same run has it.
whatever_the_database = pytest.mark.skipif(
    os.environ.get("DATABASE_URL", "").startswith("postgres"), reason="the database has no part in it: run on SQLite"
)


def only_on(vendor: str) -> pytest.MarkDecorator:
    """For what only this database does or suffers; the other stage of the same run has it."""
    runs_on = "postgresql" if os.environ.get("DATABASE_URL", "").startswith("postgres") else "sqlite"
    return pytest.mark.skipif(runs_on != vendor, reason=f"of {vendor} only: run on that")


@pytest.fixture
def mina(transactional_db: None) -> User:
    return User.objects.create_user("mina", password="mina")


@pytest.fixture
def teo(transactional_db: None) -> User:
    return User.objects.create_user("teo", password="teo")


@pytest.fixture
def mina_session(mina: User) -> str:
    return new_session(mina)


@pytest.fixture
def teo_session(teo: User) -> str:
    return new_session(teo)


@pytest.fixture(scope="module")
def watchful_site(database_url: str, shared_layer: str) -> Iterator[AsgiProcess]:
    """Like `live_site`, with a watermark of one second: what nobody tells it, it finds out soon."""
    with daphne_process({"DATABASE_URL": database_url, "REDIS_URL": shared_layer, "WATERMARK_SECONDS": "1"}) as site:
        yield site


@pytest.fixture(scope="module")
def uvicorn_site(database_url: str, shared_layer: str) -> Iterator[AsgiProcess]:
    """`live_site`'s twin under uvicorn, on the same Redis."""
    with uvicorn_process({"DATABASE_URL": database_url, "REDIS_URL": shared_layer}) as site:
        yield site
