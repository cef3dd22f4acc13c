"""A rotated `SECRET_KEY` signs nobody out, and no handshake ever writes a session: not the valid one's, not a stranger's."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as configured
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection

from tests.servers import RedisServer, redis_server
from tests.site.client import Page, new_session
from tests.site.people import tell
from tests.site.session_ends import ENGINES, engine_settings, store

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 5
REDIS_WRITES = ("set", "setex", "psetex", "expire", "pexpire", "del", "unlink", "mset", "getex", "getdel")
COUNTED = {
    "sqlite": [
        f"CREATE TRIGGER counted_{word} AFTER {word} ON django_session BEGIN INSERT INTO session_writes VALUES (1); END"
        for word in ("INSERT", "UPDATE", "DELETE")
    ],
    "postgresql": [  # for each statement: one that finds no row is a write too
        """CREATE FUNCTION count_session() RETURNS trigger AS
        $$ BEGIN INSERT INTO session_writes VALUES (1); RETURN NULL; END $$ LANGUAGE plpgsql""",
        """CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE ON django_session
        FOR EACH STATEMENT EXECUTE FUNCTION count_session()""",
    ],
}
UNCOUNTED = {
    "sqlite": [f"DROP TRIGGER counted_{word}" for word in ("INSERT", "UPDATE", "DELETE")],
    "postgresql": ["DROP TRIGGER counted ON django_session", "DROP FUNCTION count_session()"],
}


def run(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def counted_sessions(transactional_db: None) -> Iterator[None]:
    """The database itself counts what is written to its sessions."""
    run("CREATE TABLE session_writes (one integer)", *COUNTED[connection.vendor])
    yield
    run(*UNCOUNTED[connection.vendor], "DROP TABLE session_writes")


def writes(redis: RedisServer) -> tuple[int, int]:
    """So far, to the session table and to the sessions' cache."""
    with connection.cursor() as cursor, redis.client() as client:
        cursor.execute("SELECT count(*) FROM session_writes")
        stats: dict[str, Any] = client.info("commandstats")  # type: ignore[assignment]
        return cursor.fetchone()[0], sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in REDIS_WRITES)


def stored(redis: RedisServer) -> Any:
    """Every byte of every session."""
    rows = sorted(Session.objects.values_list("session_key", "session_data", "expire_date"))
    with redis.client() as client:
        keys: list[bytes] = sorted(client.keys("*"))  # type: ignore[arg-type]
        return rows, [(key, client.dump(key), client.pexpiretime(key)) for key in keys]


def strangers(mina: User) -> dict[str, str]:
    """Cookies that are nobody's, by whose they are: other code flushes or renews such sessions."""
    visitor = store("")
    visitor["basket"] = ["a bell"]
    visitor.save()
    before = User.objects.create_user("before")
    old = new_session(before)
    before.set_password("another")
    before.save()
    gone = User.objects.create_user("gone", is_active=False)
    return {
        "a visitor": str(visitor.session_key),
        "unknown": "b" * 32,
        "from before a password's change": old,
        "deactivated": new_session(gone),
    }


async def knocks(site: Any, session: str) -> bool:
    """Whether the site lets this cookie in."""
    page = Page(site, session)
    await page.connect()
    await page.until(lambda page: page.position or page.close_code)
    await page.disconnect()
    return bool(page.kinds("welcome"))


@pytest.mark.long
@pytest.mark.parametrize("engine", ENGINES)
async def test_a_rotated_key_is_accepted_and_no_handshake_writes_a_session(
    start_site, settings, counted_sessions, mina, engine, figures
):
    with redis_server() as cache, contextlib.ExitStack() as stack:
        own = engine_settings(engine, cache.url)
        for name, value in own.items():
            setattr(settings, name, value)
        session = await sync_to_async(new_session)(mina)
        others = await sync_to_async(strangers)(mina)
        keys = {"rotated": {"SECRET_KEY_FALLBACKS": configured.SECRET_KEY}, "replaced": {}}
        sites = {
            name: stack.enter_context(
                start_site({"SITE_SETTINGS": json.dumps(own), "SECRET_KEY": "new", **fallbacks}, settings="tests.site.varied")
            )
            for name, fallbacks in keys.items()
        }
        bytes_before, writes_before = await sync_to_async(stored)(cache), await sync_to_async(writes)(cache)
        for _ in range(ROUNDS):
            assert await knocks(sites["rotated"], session)
            assert not await knocks(sites["replaced"], session)  # the premise: the key matters
            let_in = [(name, whose) for name, site in sites.items() for whose, key in others.items() if await knocks(site, key)]
            figures.none("strangers let in", let_in)
        assert await sync_to_async(stored)(cache) == bytes_before
        written = [after - before for after, before in zip(await sync_to_async(writes)(cache), writes_before, strict=True)]
        figures.record("handshakes", ROUNDS * len(sites) * (1 + len(others)))
        figures.at_most("writes to session table and cache", sum(written), 0, "")
        async with Page(sites["rotated"], session) as page:  # what a process still under the old key rings is believed
            await page.until(lambda page: page.position)
            await tell(mina, "under the old key")
            await page.until(lambda page: page.titles == ["under the old key"], 2)
        await sync_to_async(new_session)(mina)
        if engine != "signed_cookies":
            assert await sync_to_async(writes)(cache) != writes_before  # the premise: writes are counted
