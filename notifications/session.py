"""Who opens this socket, and are they still allowed to? Origin, handshake authentication, the session's authority over sockets.

Everything here only reads: a handshake never writes a session. `channels.auth` flushes the session of a user whose key was
rotated, and Django's own `get_user` cycles it; hence this code of our own. What ends a session is rung to the hubs.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from http.cookies import CookieError
from importlib import import_module
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.backends import cache as cache_sessions
from django.contrib.sessions.backends import cached_db as cached_sessions
from django.contrib.sessions.backends import db as database_sessions
from django.contrib.sessions.backends import signed_cookies
from django.core.cache import caches
from django.core.exceptions import DisallowedHost, ObjectDoesNotExist, SuspiciousOperation, ValidationError
from django.db import DatabaseError, transaction
from django.db.models.signals import post_delete, post_save
from django.http import HttpRequest
from django.http.cookie import parse_cookie
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.http import is_same_domain

from notifications.logs import is_due
from notifications.protocol import SessionCheck, WakeUp
from notifications.ringer import ring
from notifications.steps import forget

__all__ = ["Identity", "authenticate", "is_own_origin", "read_only", "session_hash", "session_key", "start"]

logger = logging.getLogger(__name__)

LONGEST_KEY: Final = 4096  # signed cookies hold the whole session; no browser stores more
UNREADABLE: Final = (ValueError, TypeError, LookupError, SuspiciousOperation)  # by which an engine complains of a cookie


class Identity(NamedTuple):
    """A signed-in user as a session names them. `session` is a hash: session keys are not passed around."""

    user_id: Any
    user: str
    session: str


def session_key(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The session cookie of a handshake, or "". What no session engine ever made is no key: it would spoil a shared query."""
    lines = [value.decode("latin-1") for name, value in headers if name == b"cookie"]
    try:
        key = parse_cookie("; ".join(lines)).get(settings.SESSION_COOKIE_NAME, "")
    except CookieError:
        return ""
    return key if key.isascii() and key.isprintable() and len(key) <= LONGEST_KEY else ""


def session_hash(key: str) -> str:
    return hashlib.blake2b(key.encode(errors="replace"), digest_size=16).hexdigest()


def authenticate(keys: Sequence[str]) -> dict[str, Identity]:
    """The identities behind these session keys; a key without a valid session and an active user is absent.

    With the stock session engine and back ends two queries for all. Raises `DatabaseError` if the database is away, which must
    not be taken for "signed out".
    """
    sessions = _load(keys)
    users = _users(sessions.values())
    found = {}
    for key, session in sessions.items():
        user = users.get((session.get(BACKEND_SESSION_KEY), str(session.get(SESSION_KEY))))
        if user is not None and _is_fresh(user, session.get(HASH_SESSION_KEY)):
            found[key] = Identity(user.pk, str(user.pk), session_hash(key))
    return found


def is_own_origin(scope: Mapping[str, Any]) -> bool:
    """Whether a handshake comes from a page of this site (host, port and scheme), or from one of `CSRF_TRUSTED_ORIGINS`."""
    origins = [value for name, value in scope["headers"] if name == b"origin"]
    if len(origins) != 1:
        return False
    try:
        text = origins[0].decode("ascii").lower()
        origin = urlsplit(text)
        if not origin.hostname or origin.username is not None or text != f"{origin.scheme}://{origin.netloc}":
            return False
        own = _request(scope)
        host = own.get_host()
        scheme = _scheme(scope, own)
    except (ValueError, UnicodeError, DisallowedHost):
        return False
    if scheme is None:
        demands_tls = settings.SECURE_SSL_REDIRECT or settings.SESSION_COOKIE_SECURE
        schemes: tuple[str, ...] = ("https",) if demands_tls else ("https", "http")
    else:
        schemes = (scheme,)
    if any(_without_default_port(text) == _without_default_port(f"{each}://{host.lower()}") for each in schemes):
        return True
    return any(_is_trusted(text, trusted.lower()) for trusted in settings.CSRF_TRUSTED_ORIGINS)


def read_only(engine: type[Any], key: str | None) -> Any:
    """A session without its engine's writes: some engines' `load()` saves or deletes when it finds nothing.

    Under the engine's own name: it is the salt of the stored data's signature.
    """

    def nothing(self: Any, *args: Any, **kwargs: Any) -> None:
        return None

    writes = dict.fromkeys(("save", "create", "delete", "flush", "cycle_key"), nothing)
    names = {"__module__": engine.__module__, "__qualname__": engine.__qualname__}
    return type(engine.__name__, (engine,), {**writes, **names})(key)


def start() -> None:
    """Listen for what ends sessions. Called once, by the app's `ready()`."""
    user_logged_out.connect(_logged_out, dispatch_uid="notifications.session")
    user_logged_in.connect(_logged_in, dispatch_uid="notifications.session")
    post_save.connect(_user_saved, dispatch_uid="notifications.session")
    post_delete.connect(_user_deleted, dispatch_uid="notifications.session")


def _request(scope: Mapping[str, Any]) -> HttpRequest:
    """As much of a request as Django's host and scheme rules look at."""
    request = HttpRequest()
    for name, value in scope["headers"]:
        if b"_" in name:  # as Django's own handler: it would pass for the header with hyphens
            continue
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        request.META[key] = value.decode("latin-1")
    server = scope.get("server") or ("unknown", 0)
    request.META["SERVER_NAME"], request.META["SERVER_PORT"] = str(server[0]), str(server[1])
    return request


def _scheme(scope: Mapping[str, Any], request: HttpRequest) -> str | None:
    """The scheme that the page must have had; None where the server does not tell (Daphne's WebSocket scope)."""
    if settings.SECURE_PROXY_SSL_HEADER:
        header, secure = settings.SECURE_PROXY_SSL_HEADER
        value = request.META.get(header)
        if value is not None:
            return "https" if value.split(",", 1)[0].strip() == secure else "http"
    told = scope.get("scheme")
    return {"wss": "https", "ws": "http", "https": "https", "http": "http"}.get(told) if told else None


def _without_default_port(origin: str) -> str:
    scheme, _, host = origin.partition("://")
    return f"{scheme}://{host.removesuffix({'http': ':80', 'https': ':443'}.get(scheme, ':'))}"


def _is_trusted(origin: str, trusted: str) -> bool:
    scheme, _, host = trusted.partition("://")
    if host.startswith("*."):
        own_scheme, _, own_host = origin.partition("://")
        return own_scheme == scheme and is_same_domain(own_host, host[1:])
    return _without_default_port(origin) == _without_default_port(trusted)


def _load(keys: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The sessions under these keys. Raises what the store raises when it is away: that must not look like "no session"."""
    engine = _engine()
    if engine.load in (database_sessions.SessionStore.load, cached_sessions.SessionStore.load):
        rows = engine.get_model_class().objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
        decode = engine().decode
        return {row.session_key: decode(row.session_data) for row in rows}
    if engine.load is cache_sessions.SessionStore.load:  # which takes a cache that is away for an empty one
        names = {engine(key).cache_key: key for key in keys if key}
        return {names[name]: session for name, session in caches[settings.SESSION_CACHE_ALIAS].get_many(names).items()}
    return {key: session for key in keys if key and (session := _load_one(engine, key))}


def _engine() -> type[Any]:
    store: type[Any] = import_module(settings.SESSION_ENGINE).SessionStore
    return store


def _load_one(engine: type[Any], key: str) -> Mapping[str, Any]:
    try:
        session: Mapping[str, Any] = read_only(engine, key).load()
    except UNREADABLE as error:  # an engine that chokes on one cookie speaks for that one only
        if is_due("session_unreadable"):
            logger.warning("session_unreadable engine=%s error=%r", engine.__module__, error)
        return {}
    return session


def _users(sessions: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, str], Any]:
    wanted = {(each.get(BACKEND_SESSION_KEY), str(each.get(SESSION_KEY))) for each in sessions}
    found = {}
    for path in {path for path, _ in wanted if path is not None and path in settings.AUTHENTICATION_BACKENDS}:
        backend: Any = load_backend(path)
        ids = [user_id for each, user_id in wanted if each == path]
        if type(backend).get_user is ModelBackend.get_user:
            users = _stock_users(backend, ids)
        else:
            users = {user_id: _user_of(backend, user_id) for user_id in ids}
        found.update({(path, user_id): user for user_id, user in users.items() if user is not None})
    return found


def _user_of(backend: Any, user_id: str) -> Any:
    try:
        return backend.get_user(user_id)
    except (ObjectDoesNotExist, ValidationError, *UNREADABLE) as error:  # for this user only: others are asked for beside it
        if is_due("user_unreadable"):
            logger.warning("user_unreadable backend=%s error=%r", type(backend).__qualname__, error)
        return None


def _stock_users(backend: ModelBackend, ids: list[str]) -> dict[str, Any]:
    user_model = get_user_model()
    key = user_model._meta.pk
    pks = []
    for user_id in ids:
        try:
            pks.append(key.to_python(user_id))
        except (ValidationError, ValueError):  # a session with a foreign or old id in it
            continue
    users = user_model._default_manager.filter(pk__in=pks)
    return {user._meta.pk.value_to_string(user): user for user in users if backend.user_can_authenticate(user)}


def _is_fresh(user: Any, stored: Any) -> bool:
    """Whether the session was made with the password that the user has now, under this `SECRET_KEY` or an older one."""
    if not hasattr(user, "get_session_auth_hash"):
        return True
    if not isinstance(stored, str) or not stored:
        return False
    if constant_time_compare(stored, user.get_session_auth_hash()):
        return True
    older = user.get_session_auth_fallback_hash() if hasattr(user, "get_session_auth_fallback_hash") else ()
    return any(constant_time_compare(stored, each) for each in older)


def _logged_out(sender: Any, request: Any = None, user: Any = None, **_: Any) -> None:
    """Closed without asking: the signal comes before the session is flushed."""
    if user is None or user.pk is None:
        return
    key = getattr(getattr(request, "session", None), "session_key", None)
    session = session_hash(key) if key and not _keeps_no_state() else ""
    ring(WakeUp(sessions=[SessionCheck(str(user.pk), session)]))


def _logged_in(sender: Any, request: Any = None, **_: Any) -> None:
    """Whoever was signed in in this browser before is not any longer: Django has flushed that session, without a signal."""
    key = getattr(request, "COOKIES", {}).get(settings.SESSION_COOKIE_NAME, "")
    if not key or getattr(getattr(request, "session", None), "session_key", None):  # None after a flush, and only then
        return
    if not _keeps_no_state():
        ring(WakeUp(sessions=[SessionCheck("", session_hash(key))]))
    elif user := _load_one(_engine(), key).get(SESSION_KEY):
        ring(WakeUp(sessions=[SessionCheck(str(user))]))


def _keeps_no_state() -> bool:
    """Whether the cookie is the whole session. Its key changes at every save, so that nobody can say which socket was whose."""
    return issubclass(_engine(), signed_cookies.SessionStore)


def _user_saved(sender: Any, instance: Any, created: bool, raw: bool, using: str, update_fields: Any, **_: Any) -> None:
    if not isinstance(instance, get_user_model()) or created or raw:
        return
    if update_fields is None or _can_end_sessions(instance, set(update_fields)):
        check = SessionCheck(str(instance.pk), ask=True)
        transaction.on_commit(lambda: ring(WakeUp(sessions=[check])), using=using, robust=True)


def _can_end_sessions(user: Any, fields: set[str]) -> bool:
    """Whether saving these fields can end the user's sessions. A hash of the site's own may depend on anything."""
    if type(user).get_session_auth_hash is AbstractBaseUser.get_session_auth_hash:
        return bool(fields & {"password", "is_active"})
    return not fields <= {"last_login"}


def _user_deleted(sender: Any, instance: Any, using: str, **_: Any) -> None:
    if isinstance(instance, get_user_model()):
        user_id = instance.pk  # Django takes it off the instance before the commit
        transaction.on_commit(lambda: _user_gone(user_id), using=using, robust=True)


def _user_gone(user_id: Any) -> None:
    ring(WakeUp(sessions=[SessionCheck(str(user_id))]))
    try:
        forget(user_id)
    except DatabaseError as error:  # tables missing or locked: orphans harm nobody
        logger.error("forget_failed user=%s error=%r", user_id, error)
