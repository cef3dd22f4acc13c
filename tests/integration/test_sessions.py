"""The session rules the socket: when it ends, so does every socket that it opened, and no other."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import logout
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.utils import timezone

from tests.site.client import Page, new_session
from tests.site.people import Browser, tell

pytestmark = pytest.mark.django_db(transaction=True)

TOLD_SECONDS = 2.0  # what a signal tells, in this process or another
FOUND_SECONDS = 3.0  # what nobody tells: a watermark of one second, and a slow machine


def log_out(user: User, session: str) -> None:
    """As a view does, in another process than the socket's."""
    request = HttpRequest()
    request.user = user
    request.session = SessionStore(session)
    logout(request)


def change_password(user: User, session: str) -> None:
    user.set_password("another")
    user.save()


def deactivate(user: User, session: str) -> None:
    user.is_active = False
    user.save(update_fields=["is_active"])


def delete(user: User, session: str) -> None:
    User.objects.filter(pk=user.pk).delete()


def deactivate_by_sql(user: User, session: str) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def delete_the_row(user: User, session: str) -> None:
    Session.objects.filter(pk=session).delete()


def let_it_expire(user: User, session: str) -> None:
    Session.objects.filter(pk=session).update(expire_date=timezone.now() - timedelta(seconds=1))


async def until_all(pages: list[Page], is_so: Callable[[Page], Any], seconds: float = 15.0) -> None:
    await asyncio.gather(*(page.until(is_so, seconds) for page in pages))


async def ends(site: Any, user: User, other: User, end: Callable[[User, str], None], seconds: float) -> None:
    """The user's page is closed in time and shown nothing from then on; the other user's page lives on."""
    session, others = await sync_to_async(new_session)(user), await sync_to_async(new_session)(other)
    user_id = user.pk
    async with Page(site, session) as page, Page(site, session) as second, Page(site, others) as neighbour:
        await until_all([page, second, neighbour], lambda page: page.position)
        await tell(user, "before")
        await until_all([page, second], lambda page: page.titles == ["before"])
        await sync_to_async(end)(user, session)
        for each in (page, second):
            assert await each.until_closed(seconds) == 4401
            assert each.bye == {"type": "bye", "code": 4401, "reason": "signed out", "retry_after": None}
        await tell(user_id, "after")
        await tell(other, "for the neighbour")
        await neighbour.until(lambda page: page.titles == ["for the neighbour"])
        assert neighbour.close_code is None
        assert page.titles == second.titles == ["before"]


@pytest.mark.parametrize("end", [log_out, change_password, deactivate, delete])
async def test_what_a_signal_tells_closes_the_sockets_at_once(live_site, mina, teo, end):
    """`live_site` looks only every 15 s."""
    await ends(live_site, mina, teo, end, TOLD_SECONDS)


@pytest.mark.parametrize("end", [deactivate_by_sql, delete_the_row, let_it_expire])
async def test_what_nobody_tells_closes_the_sockets_at_the_next_watermark(watchful_site, mina, teo, end):
    await ends(watchful_site, mina, teo, end, FOUND_SECONDS)


@pytest.fixture
def boss(transactional_db: None) -> User:
    return User.objects.create_superuser("boss", password="the first password")


async def test_a_logout_in_the_servers_own_process_closes_this_sessions_sockets_alone(live_site, boss):
    here, there = Browser(live_site), Browser(live_site)
    for browser in (here, there):
        await asyncio.to_thread(browser.sign_in, "boss", "the first password")
    async with Page(live_site, here.cookies["sessionid"]) as page, Page(live_site, there.cookies["sessionid"]) as elsewhere:
        await until_all([page, elsewhere], lambda page: page.position)
        await asyncio.to_thread(here.sign_out)
        assert await page.until_closed(TOLD_SECONDS) == 4401
        await tell(boss, "later")
        await elsewhere.until(lambda page: page.titles == ["later"])
        assert page.titles == []


async def test_after_their_own_password_change_a_page_comes_back_with_its_new_cookie(live_site, boss):
    here, there = Browser(live_site), Browser(live_site)
    for browser in (here, there):
        await asyncio.to_thread(browser.sign_in, "boss", "the first password")
    old = here.cookies["sessionid"]
    async with Page(live_site, old) as page, Page(live_site, there.cookies["sessionid"]) as elsewhere:
        await until_all([page, elsewhere], lambda page: page.position)
        await asyncio.to_thread(here.change_password, "the first password", "the second password")
        for each in (page, elsewhere):
            assert await each.until_closed(TOLD_SECONDS) == 4401
        assert here.cookies["sessionid"] != old

        page.cookies["sessionid"] = here.cookies["sessionid"]
        await page.connect()
        await tell(boss, "welcome back")
        await page.until(lambda page: page.titles == ["welcome back"])

        for forgotten in (old, there.cookies["sessionid"]):
            elsewhere.cookies["sessionid"] = forgotten
            await elsewhere.connect()
            assert await elsewhere.until_closed() == 4401


async def test_saving_a_user_who_stays_valid_closes_nothing(live_site, mina, mina_session):
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        mina.first_name = "Mina"
        await mina.asave()
        await mina.asave(update_fields=["last_login"])
        await tell(mina, "still there")
        await page.until(lambda page: page.titles == ["still there"])
        assert page.close_code is None


async def test_a_logout_without_sessions_on_the_server_closes_all_of_the_users_sockets(start_site, settings, mina, teo):
    """The key in the cookie changes at every save: nobody can say which socket was whose."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    chosen = {"SITE_SETTINGS": json.dumps({"SESSION_ENGINE": settings.SESSION_ENGINE})}
    sessions = [new_session(mina), new_session(mina), new_session(teo)]
    with start_site(chosen, settings="tests.site.varied") as site:
        async with Page(site, sessions[0]) as one, Page(site, sessions[1]) as two, Page(site, sessions[2]) as his:
            await until_all([one, two, his], lambda page: page.position)
            await sync_to_async(log_out)(mina, sessions[0])
            assert await one.until_closed(TOLD_SECONDS) == 4401
            assert await two.until_closed(TOLD_SECONDS) == 4401
            await tell(teo, "for Teo")
            await his.until(lambda page: page.titles == ["for Teo"])


async def test_a_rolled_back_change_of_the_user_closes_nothing(live_site, mina, mina_session):
    from django.db import transaction

    def change_and_roll_back() -> None:
        with transaction.atomic():
            mina.set_password("another")
            mina.save()
            transaction.set_rollback(True)

    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await sync_to_async(change_and_roll_back)()
        await tell(mina, "nothing happened")
        await page.until(lambda page: page.titles == ["nothing happened"])
        assert page.close_code is None


async def test_a_session_table_that_fails_closes_no_open_socket(watchful_site, mina, mina_session):
    from django.db import connection

    def rename(old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    async with Page(watchful_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await sync_to_async(rename)("django_session", "away")
        try:
            await asyncio.sleep(2.5)  # two watermarks and more: what must not happen has no event
            await tell(mina, "news all the same")
            await page.until(lambda page: page.titles == ["news all the same"])
            assert page.close_code is None
        finally:
            await sync_to_async(rename)("away", "django_session")
        await sync_to_async(delete_the_row)(mina, mina_session)  # the premise: the watermark is at work again
        assert await page.until_closed(8) == 4401
