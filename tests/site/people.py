"""What people and programs do to the site while pages are open: tell, sign in over HTTP, sign out, change a password."""

import asyncio
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from datetime import timedelta
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlencode

from asgiref.sync import sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.utils import timezone
from django.utils.crypto import get_random_string

from notifications import notify
from notifications.models import Event
from notifications.relay import relay

CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


def tell_all(user: Any, titles: Sequence[str]) -> None:
    """One in the usual way; many committed together and relayed at once, which takes less time."""
    if len(titles) == 1:
        notify("plain", to=user, title=titles[0])
        return
    audience = {"users": [user.pk], "groups": []}
    contents = [{"severity": "info", "title": title} for title in titles]
    Event.objects.bulk_create(Event(kind="plain", content=content, audience=audience) for content in contents)
    relay()


def users_with_sessions(count: int) -> list[tuple[User, str]]:
    """That many new users, each signed in. Few statements, whatever the number."""
    users = User.objects.bulk_create([User(username=f"user{number}") for number in range(count)])
    sessions = [signed_in(user) for user in users]
    Session.objects.bulk_create(sessions)
    return [(user, session.session_key) for user, session in zip(users, sessions, strict=True)]


def signed_in(user: User) -> Session:
    """A session of the stock engine, not stored yet."""
    store = SessionStore()
    backend = "django.contrib.auth.backends.ModelBackend"
    data = {SESSION_KEY: str(user.pk), BACKEND_SESSION_KEY: backend, HASH_SESSION_KEY: user.get_session_auth_hash()}
    expires = timezone.now() + timedelta(days=1)
    return Session(session_key=get_random_string(32).lower(), session_data=store.encode(data), expire_date=expires)


async def tell(user: Any, *titles: str) -> None:
    await sync_to_async(tell_all)(user, titles)


async def eventually(is_so: Callable[[], bool], seconds: float = 15.0) -> float:
    """Ask until it is so, for what tells nobody when it happens. How long it took. Raises `AssertionError`."""
    started = time.monotonic()
    while not await sync_to_async(is_so)():
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - started


class Browser:
    """Enough of one for forms: cookies, GET, and POST with the form's CSRF token. From no event loop's thread: it blocks."""

    def __init__(self, site: Any) -> None:
        self.url = site.url
        self.jar = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar))

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.name: str(cookie.value) for cookie in self.jar}

    def get(self, path: str) -> str:
        with self.opener.open(self.url + path, timeout=30) as answer:
            return str(answer.read().decode())

    def post(self, path: str, form_at: str, **fields: str) -> str:
        """Fill the form that stands at `form_at` and send it to `path`."""
        token = CSRF.search(self.get(form_at))
        assert token is not None, f"no form at {form_at}"
        data = urlencode({"csrfmiddlewaretoken": token[1], **fields}).encode()
        with self.opener.open(self.url + path, data, timeout=30) as answer:
            return str(answer.read().decode())

    def sign_in(self, name: str, password: str) -> None:
        self.post("/admin/login/", "/admin/login/", username=name, password=password, next="/admin/")
        assert "sessionid" in self.cookies

    def sign_out(self) -> None:
        self.post("/admin/logout/", "/admin/")

    def change_password(self, old: str, new: str) -> None:
        at = "/admin/password_change/"
        self.post(at, at, old_password=old, new_password1=new, new_password2=new)
