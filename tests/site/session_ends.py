"""The ways in which a session ends, for each of Django's session engines: what a site, its people or its database do.

Each takes the site and a `Signed`, and returns when it is done. `TOLD`: a signal tells of it. `FOUND`: nobody does.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from typing import Any, Final, TypeAlias
from unittest import mock

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.utils import timezone

from tests.site.client import new_session
from tests.site.people import Browser

__all__ = ["END_ALL", "ENGINES", "FOUND", "TOLD", "Signed", "engine_settings", "signed_in", "store"]

ENGINES: Final = ("db", "cached_db", "cache", "signed_cookies")
PASSWORD: Final = "the first password"
SOON_SECONDS: Final = 8  # in which a session expires whose store knows no other way


@dataclass
class Signed:
    """Somebody who is signed in twice: here, and elsewhere."""

    user: User
    here: str
    elsewhere: str
    browser: Browser | None = None
    """What "here" is, where the end wants one."""
    expires_at: float | None = None
    """By `time.monotonic()`, where the session ends by itself."""
    user_id: Any = field(init=False)
    """Also of those who are deleted."""

    def __post_init__(self) -> None:
        self.user_id = self.user.pk


End: TypeAlias = Callable[[Any, Signed], None]


def engine_settings(name: str, cache_url: str) -> dict[str, Any]:
    """Of a site whose sessions are kept so; the cache is one that processes share."""
    cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": cache_url}
    return {"SESSION_ENGINE": f"django.contrib.sessions.backends.{name}", "CACHES": {"default": cache}}


def signed_in(site: Any, name: str, *, with_browser: bool = False, expires: bool = False) -> Signed:
    user = User.objects.create_superuser(name, password=PASSWORD)
    browser = Browser(site) if with_browser else None
    if browser is not None:
        browser.sign_in(name, PASSWORD)
        here = browser.cookies["sessionid"]
    else:
        here = about_to_expire(user) if expires else new_session(user)
    expires_by_itself = expires and not is_engine("db", "cached_db")
    return Signed(user, here, new_session(user), browser, time.monotonic() + SOON_SECONDS if expires_by_itself else None)


def about_to_expire(user: User) -> str:
    """A session that ends by itself, where no row says when: so the test waits for it."""
    if is_engine("db", "cached_db"):
        return new_session(user)
    if is_engine("signed_cookies"):
        made = time.time() - settings.SESSION_COOKIE_AGE + SOON_SECONDS
        with mock.patch("django.core.signing.time.time", return_value=made):
            return new_session(user)
    session = store(new_session(user))
    session.set_expiry(SOON_SECONDS)
    session.save()
    return str(session.session_key)


def store(key: str) -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore(key)


def is_engine(*names: str) -> bool:
    return settings.SESSION_ENGINE.rpartition(".")[2] in names


def logout_in_another_process(site: Any, who: Signed) -> None:
    request = HttpRequest()
    request.user, request.session = who.user, store(who.here)
    logout(request)


def logout_in_the_servers_process(site: Any, who: Signed) -> None:
    assert who.browser is not None
    who.browser.sign_out()


def password_changed_in_the_admin(site: Any, who: Signed) -> None:
    admin = Browser(site)
    admin.sign_in("admin", PASSWORD)
    form = f"/admin/auth/user/{who.user.pk}/password/"
    admin.post(form, form, password1="another one", password2="another one", usable_password="true")


def password_changed_by_the_user(site: Any, who: Signed) -> None:
    assert who.browser is not None
    who.browser.change_password(PASSWORD, "the second password")


def deactivated(site: Any, who: Signed) -> None:
    who.user.is_active = False
    who.user.save()


def user_deleted(site: Any, who: Signed) -> None:
    User.objects.filter(pk=who.user.pk).delete()


def another_user_signs_in(site: Any, who: Signed) -> None:
    assert who.browser is not None
    who.browser.sign_in("admin", PASSWORD)


def deactivated_by_sql(site: Any, who: Signed) -> None:
    User.objects.filter(pk=who.user.pk).update(is_active=False)


def password_changed_by_sql(site: Any, who: Signed) -> None:
    User.objects.filter(pk=who.user.pk).update(password="!")


def session_deleted(site: Any, who: Signed) -> None:
    if is_engine("db", "cached_db"):
        Session.objects.filter(pk=who.here).delete()
    else:
        store(who.here).delete()


def session_expires(site: Any, who: Signed) -> None:
    if is_engine("db", "cached_db"):
        Session.objects.filter(pk=who.here).update(expire_date=timezone.now() - timedelta(seconds=1))


def user_deleted_by_sql(site: Any, who: Signed) -> None:
    User.objects.filter(pk=who.user.pk)._raw_delete("default")  # type: ignore[attr-defined]


TOLD: Final[dict[str, End]] = {
    end.__name__: end
    for end in (
        logout_in_another_process,
        logout_in_the_servers_process,
        password_changed_in_the_admin,
        password_changed_by_the_user,
        deactivated,
        user_deleted,
        another_user_signs_in,
    )
}
FOUND: Final[dict[str, End]] = {
    end.__name__: end
    for end in (deactivated_by_sql, password_changed_by_sql, session_deleted, session_expires, user_deleted_by_sql)
}
WITH_BROWSER: Final = {"logout_in_the_servers_process", "password_changed_by_the_user", "another_user_signs_in"}
END_ALL: Final = {name for name in (*TOLD, *FOUND) if name.startswith(("password", "deactivated", "user"))}
"""Those that end all of the user's sessions. A logout does so too where the server keeps no sessions."""
