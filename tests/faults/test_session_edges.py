"""Ends of sessions that nearly went unnoticed: sessions of the site's own making, layers that forget, stores that are away."""

import asyncio
import sys
import time
import types
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import User
from django.contrib.sessions.backends import db, signed_cookies
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.test import override_settings

from notifications import session
from notifications.hub import Hub
from notifications.protocol import SessionCheck, WakeUp
from tests.servers import daphne_process, redis_server
from tests.site.client import Page, new_session
from tests.site.people import tell
from tests.site.session_ends import Signed, logout_in_another_process, signed_in
from tests.site.settings import layers_at
from tests.site.sockets import whatever_the_database
from tests.site.wire import LocalPage

pytestmark = pytest.mark.django_db(transaction=True)

TOLD_SECONDS = 2.0
HUNG_SECONDS = 3.0  # longer than the ringer waits for one message
STORE = "sessions_of_the_sites_own"


class Unforgiving(BaseBackend):
    """As many a back end is written: it raises for a user who is gone."""

    def get_user(self, user_id: Any) -> User:
        return User.objects.get(pk=user_id)


@pytest.fixture
def own_engine(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Any]], None]:
    """Makes a subclass of a stock engine the site's."""

    def use(engine: type[Any]) -> None:
        module = types.ModuleType(STORE)
        module.SessionStore = type("SessionStore", (engine,), {"__module__": STORE})  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, STORE, module)
        settings.SESSION_ENGINE = STORE

    return use


@pytest.mark.parametrize(("engine", "names_its_session"), [(db.SessionStore, True), (signed_cookies.SessionStore, False)])
def test_a_logout_ends_the_right_sockets_under_an_engine_of_the_sites_own(
    own_engine, mina, monkeypatch, engine, names_its_session
):
    own_engine(engine)
    rung: list[WakeUp] = []
    monkeypatch.setattr(session, "ring", rung.append)
    who = signed_in(None, "ola")
    logout_in_another_process(None, who)
    ended = session.session_hash(who.here) if names_its_session else ""
    assert [wake_up.sessions for wake_up in rung] == [[SessionCheck(str(who.user.pk), ended)]]


def test_a_user_whom_a_back_end_chokes_on_spoils_nobody_elses_handshake(settings, mina, teo):
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Unforgiving"]
    keys = [new_session(user) for user in (mina, teo)]
    for key in keys:
        store = db.SessionStore(key)
        store["_auth_user_backend"] = settings.AUTHENTICATION_BACKENDS[0]
        store.save()
    assert set(session.authenticate(keys)) == set(keys)
    User.objects.filter(pk=teo.pk).delete()
    assert set(session.authenticate(keys)) == {keys[0]}


@pytest.fixture
async def open_page(shared_layer: str, settings: Any, mina: User) -> AsyncIterator[LocalPage]:
    """A page at this process's own hub, which would look by itself only after a minute."""
    settings.NOTIFICATIONS_WATERMARK_SECONDS = 60
    page = LocalPage(await sync_to_async(new_session)(mina))
    async with page:
        await page.until(lambda page: page.position)
        yield page
    await Hub.running().stop()


async def test_a_logout_that_the_layer_swallowed_is_found_when_the_hub_enters_again(open_page, mina):
    hub = Hub.running()
    await asyncio.wait_for(hub.membership._has_entered.wait(), 5)
    await asyncio.sleep(0.2)  # the look that follows on the first entering is over
    await Session.objects.all().adelete()
    hub.membership._must_renew.set()
    assert await open_page.until_closed(TOLD_SECONDS) == 4401


async def test_an_end_that_is_told_while_the_store_is_away_is_found_as_soon_as_it_is_back(open_page, mina, monkeypatch):
    failures = iter([OperationalError("away")] * 3)
    load = session._load

    def away(keys: Any) -> Any:
        for failure in failures:
            raise failure
        return load(keys)

    monkeypatch.setattr(session, "_load", away)
    mina.is_active = False
    await mina.asave()
    assert await open_page.until_closed(5) == 4401
    assert next(failures, None) is None  # the premise


@pytest.mark.long
@whatever_the_database
async def test_a_logout_while_redis_hangs_is_told_when_it_is_back(database_url, mina, figures):
    """The site would look by itself only after a minute."""
    who = Signed(mina, await sync_to_async(new_session)(mina), "")
    with redis_server() as redis, override_settings(CHANNEL_LAYERS=layers_at(redis.url, "core")):
        env = {"DATABASE_URL": database_url, "REDIS_URL": redis.url, "WATERMARK_SECONDS": "60"}
        with daphne_process(env) as site:
            async with Page(site, who.here) as page:
                await page.until(lambda page: page.position)
                await tell(mina, "heard")
                await page.until(lambda page: page.titles == ["heard"])
                redis.suspend()
                await sync_to_async(logout_in_another_process)(site, who)
                await asyncio.sleep(HUNG_SECONDS)
                assert page.close_code is None  # the premise
                redis.resume()
                back = time.monotonic()
                assert await page.until_closed() == 4401
                figures.at_most("Redis back to socket closed", time.monotonic() - back, TOLD_SECONDS + 2)
