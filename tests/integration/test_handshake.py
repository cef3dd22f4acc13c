"""Who may open a socket: the session's cookie decides during the handshake, which only ever reads."""

import asyncio
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from notifications.session import authenticate, session_key
from tests.site.client import SUBPROTOCOL, Page, new_session
from tests.site.people import tell, users_with_sessions

pytestmark = pytest.mark.django_db(transaction=True)

SIGNED_OUT = {"type": "bye", "code": 4401, "reason": "signed out", "retry_after": None}
ENGINES = ("db", "cached_db", "cached_db, cache emptied", "cache", "file", "signed_cookies")


async def refusal(site: Any, session: str | None, **options: Any) -> dict[str, Any]:
    """The goodbye of a socket that is accepted, told and closed, without having been shown anything."""
    page = Page(site, session)
    await page.connect(**options)
    code = await page.until_closed()
    assert page.bye is not None
    assert page.bye["code"] == code
    assert page.kinds("welcome", "delta", "reset") == []
    await page.disconnect()
    return page.bye


async def is_welcome(site: Any, session: str, **options: Any) -> bool:
    page = Page(site, session)
    await page.connect(**options)
    await page.until(lambda page: page.position or page.close_code)
    await page.disconnect()
    return bool(page.kinds("welcome"))


def stored_sessions() -> list[tuple[str, str, Any]]:
    return sorted(Session.objects.values_list("session_key", "session_data", "expire_date"))


def visitor() -> str:
    """A session that nobody has signed in to."""
    session = SessionStore()
    session["basket"] = ["a bell"]
    session.save()
    return str(session.session_key)


def expired(user: User) -> str:
    key = new_session(user)
    Session.objects.filter(pk=key).update(expire_date=timezone.now() - timedelta(seconds=1))
    return key


def ended_by_password(user: User) -> str:
    key = new_session(user)
    user.set_password("another")
    user.save()
    return key


def of_the_inactive(user: User) -> str:
    User.objects.filter(pk=user.pk).update(is_active=False)
    return new_session(user)


def of_the_deleted(user: User) -> str:
    key = new_session(user)
    user.delete()
    return key


def with_values(user: User, **values: Any) -> str:
    session = SessionStore(new_session(user))
    for name, value in values.items():
        session[name] = value
    session.save()
    return str(session.session_key)


NOBODYS = {
    "no cookie": lambda user: None,
    "an unknown key": lambda user: "a" * 32,
    "an empty key": lambda user: '""',
    "a key of strange characters": lambda user: "'%00;--\\",
    "an endless key": lambda user: "k" * 3000,
    "a visitor who has not signed in": lambda user: visitor(),
    "an expired session": expired,
    "a session from before the password's change": ended_by_password,
    "an inactive user": of_the_inactive,
    "a deleted user": of_the_deleted,
    "a session that names no user": lambda user: with_values(user, **{SESSION_KEY: "nobody"}),
    "a back end that the site does not have": lambda user: with_values(user, _auth_user_backend="other.Backend"),
    "a session without a password's hash": lambda user: with_values(user, _auth_user_hash=""),
}


@pytest.mark.parametrize("whose", NOBODYS)
async def test_who_is_not_signed_in_is_accepted_told_and_closed(live_site, mina, whose):
    session = await sync_to_async(NOBODYS[whose])(mina)
    before = await sync_to_async(stored_sessions)()
    assert await refusal(live_site, session) == SIGNED_OUT
    assert await sync_to_async(stored_sessions)() == before


async def test_each_session_opens_its_own_users_inbox(live_site, mina, teo, mina_session, teo_session):
    async with Page(live_site, mina_session) as hers, Page(live_site, teo_session) as his:
        await tell(mina, "for Mina")
        await tell(teo, "for Teo")
        await hers.until(lambda page: page.titles == ["for Mina"])
        await his.until(lambda page: page.titles == ["for Teo"])
        assert hers.socket.subprotocol == his.socket.subprotocol == SUBPROTOCOL
        assert [frame["version"] for frame in hers.kinds("welcome")] == [1]


async def test_an_offered_subprotocol_is_always_picked(live_site, mina_session):
    page = Page(live_site, mina_session)
    await page.connect(subprotocols=["other", SUBPROTOCOL])
    await page.until(lambda page: page.position)
    assert page.socket.subprotocol == SUBPROTOCOL
    await page.disconnect()

    await page.connect(subprotocols=None)
    await page.until(lambda page: page.position)
    await page.disconnect()

    await page.connect(subprotocols=["notifications.v9.json"])
    assert await page.until_closed() == 4400
    assert page.socket.subprotocol == "notifications.v9.json"
    assert page.bye is not None
    assert SUBPROTOCOL in page.bye["reason"]
    await page.disconnect()


async def test_a_rotated_key_lets_its_users_in_and_leaves_their_sessions_alone(start_site, mina_session):
    before = await sync_to_async(stored_sessions)()
    with start_site({"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": settings.SECRET_KEY}) as site:
        assert await is_welcome(site, mina_session)
    with start_site({"SECRET_KEY": "new"}) as site:  # the premise: the key matters
        assert await refusal(site, mina_session) == SIGNED_OUT
    assert await sync_to_async(stored_sessions)() == before


@pytest.fixture(params=ENGINES)
def engine(request, tmp_path, settings):
    name, _, is_emptied = request.param.partition(", ")
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{name}"
    settings.SESSION_FILE_PATH = str(tmp_path / "sessions")
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": str(tmp_path / "cache")}
    }
    (tmp_path / "sessions").mkdir()
    if is_emptied:
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}

    def stored() -> tuple[Any, ...]:
        files = {str(path): path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
        return stored_sessions(), files

    return stored


def test_no_handshake_writes_a_session_whatever_its_engine(engine, mina, settings):
    key = new_session(mina)
    store = import_module(settings.SESSION_ENGINE).SessionStore
    anonymous = store()
    anonymous["basket"] = 1
    anonymous.save()
    assert authenticate([key])[key].user == str(mina.pk)
    before = engine()
    strangers = ["b" * 32, "../../etc/passwd", "short", str(anonymous.session_key)]
    with CaptureQueriesContext(connection) as queries:
        assert list(authenticate([key, *strangers])) == [key]
        with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
            assert authenticate([key])
        with override_settings(SECRET_KEY="new"):
            assert not authenticate([key])
    assert engine() == before
    assert {query["sql"].split()[0] for query in queries} == {"SELECT"}


def test_a_session_that_has_ended_is_nobodys_whatever_its_engine(engine, mina, settings):
    key = new_session(mina)
    assert authenticate([key])
    if settings.SESSION_ENGINE.endswith("signed_cookies"):  # the browser keeps it: only the password can end it
        mina.set_password("another")
        mina.save()
    else:
        import_module(settings.SESSION_ENGINE).SessionStore(key).delete()
    assert authenticate([key]) == {}


def test_handshakes_of_one_moment_share_two_queries(mina, teo, django_assert_num_queries):
    keys = [new_session(user) for user in (mina, teo) for _ in range(10)]
    with django_assert_num_queries(2):
        assert set(authenticate(keys)) == set(keys)


def test_a_hostile_cookie_does_not_spoil_the_handshakes_beside_it(mina_session):
    for hostile in (r'"abcdefgh\000ijkl"', r'"\377\377\377\377\377\377\377\377"', "é" * 40, "k" * 100_000, '""', ""):
        cookies = [f"{settings.SESSION_COOKIE_NAME}={value}".encode() for value in (hostile, mina_session)]
        keys = [key for cookie in cookies if (key := session_key([(b"cookie", cookie)]))]
        assert list(authenticate(keys)) == [mina_session]


async def test_a_hostile_cookie_over_the_wire_is_nobodys(live_site, mina_session):
    """Quoted cookie values know octal escapes, so a NUL gets through HTTP."""
    refused, *welcomed = await asyncio.gather(
        refusal(live_site, r'"abcdefgh\000ijkl"'), *(is_welcome(live_site, mina_session) for _ in range(5))
    )
    assert refused == SIGNED_OUT
    assert all(welcomed)


async def test_a_crowd_of_handshakes_at_once_all_succeed(live_site):
    """Nobody is told to come again, which would be a second handshake; nor waits a second because the listen queue was full."""
    people = await sync_to_async(users_with_sessions)(300)
    pages = [Page(live_site, session) for _, session in people]
    await asyncio.gather(*(page.connect() for page in pages))
    for page in pages:
        await page.until(lambda page: page.position)
    assert [page.close_code for page in pages if page.close_code is not None] == []
    await asyncio.gather(*(page.disconnect() for page in pages))


async def test_a_database_that_fails_says_come_back_and_never_signed_out(live_site, mina_session):
    def rename(old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    assert await is_welcome(live_site, mina_session)
    await sync_to_async(rename)("django_session", "away")
    try:
        bye = await refusal(live_site, mina_session)
    finally:
        await sync_to_async(rename)("away", "django_session")
    assert bye["code"] == 4013
    assert bye["retry_after"] > 0
    assert await is_welcome(live_site, mina_session)
    assert "Traceback" not in live_site.log


async def test_a_database_that_hangs_says_come_back(live_site, mina_session):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's readers wait for nobody")
    release = asyncio.Event()
    held = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("LOCK TABLE django_session IN ACCESS EXCLUSIVE MODE")
                loop.call_soon_threadsafe(held.set)
                asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)
        finally:
            connection.close()  # this thread's own

    holding = asyncio.create_task(asyncio.to_thread(hold))
    await held.wait()
    try:
        started = loop.time()
        bye = await refusal(live_site, mina_session)
        assert bye["code"] == 4013
        assert loop.time() - started < 6
    finally:
        release.set()
        await holding
    assert await is_welcome(live_site, mina_session)


@pytest.mark.parametrize("server", ["live_site", "uvicorn_site"])
async def test_a_peer_that_leaves_during_the_handshake_leaves_no_trace(request, mina_session, server):
    site = request.getfixturevalue(server)
    for _ in range(10):
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(upgrade_request(site, mina_session))
        await writer.drain()
        writer.transport.abort()
    assert await is_welcome(site, mina_session)
    assert "Traceback" not in site.log


def upgrade_request(site: Any, session: str) -> bytes:
    lines = [
        "GET /notifications/socket/ HTTP/1.1",
        f"Host: 127.0.0.1:{site.port}",
        f"Origin: http://127.0.0.1:{site.port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Cookie: {settings.SESSION_COOKIE_NAME}={session}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()
