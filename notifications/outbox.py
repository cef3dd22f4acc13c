"""The write side: a draft becomes one `Event` row in the caller's transaction, and on commit whoever relays is told.

No counter, no lock, no network: the business transaction pays one INSERT. The flow goes on in `relay.py`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final

import msgspec
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, Group
from django.core.exceptions import ValidationError
from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet
from django.utils.functional import Promise

from notifications.items import safe_url
from notifications.logs import is_due
from notifications.models import Event
from notifications.rules import Action, Draft, Kind, Severity, Text, clean, registry, stored_text
from notifications.savepoints import LazySavepoint
from notifications.signals import event_committed

__all__ = ["NARROW", "RECIPIENTS", "anotify", "event_alias", "notify", "user_ids", "write"]

logger = logging.getLogger(__name__)

NARROW: Final = 100  # recipients up to which an event is relayed at once, before wide ones
RECIPIENTS: Final = 10_000  # their ids stand in the row; beyond, name a group
CONTENT_BYTES: Final = 8 * 1024
FRESH: Final = {"pending": "TRUE", "users_done": "0", "groups_after": "''", "tries": "0", "error": "''"}
"""What a new event holds where the relay writes later, as SQL: it spares the writer half of the values."""


def notify(
    kind: Kind | str,
    *,
    to: Any,
    title: str | Promise | Text,
    body: str | Promise | Text = "",
    url: str = "",
    actor: Model | str | Promise | Text | None = None,
    target: Model | str | Promise | Text | None = None,
    data: Mapping[str, Any] | None = None,
    severity: Severity | None = None,
    icon: str = "",
    actions: Sequence[Action] = (),
) -> Event | None:
    """Tell `to` (a user, group, queryset of users, or iterable of users, ids, groups). The arguments are those of `Draft`.

    The event is part of the open transaction, if there is one: rolled back, it notifies nobody. Returns the event; None if `to`
    is an empty collection. Raises `TypeError` or `ValueError` for bad arguments, among them more than 10,000 recipients by name
    and content of more than 8 KiB, and `DatabaseError` if the row cannot be written.
    """
    draft = Draft(
        kind,
        to=to,
        title=title,
        body=body,
        url=url,
        actor=actor,
        target=target,
        data=data or {},
        severity=severity,
        icon=icon,
        actions=actions,
    )
    return write(draft)


async def anotify(
    kind: Kind | str,
    *,
    to: Any,
    title: str | Promise | Text,
    body: str | Promise | Text = "",
    url: str = "",
    actor: Model | str | Promise | Text | None = None,
    target: Model | str | Promise | Text | None = None,
    data: Mapping[str, Any] | None = None,
    severity: Severity | None = None,
    icon: str = "",
    actions: Sequence[Action] = (),
) -> Event | None:
    """`notify()` from a coroutine. An event loop holds no transaction, so the event is committed when this returns."""
    told: dict[str, Any] = {"body": body, "url": url, "actor": actor, "target": target, "data": data}
    return await sync_to_async(notify)(kind, to=to, title=title, severity=severity, icon=icon, actions=actions, **told)


def write(draft: Draft, *, using: str | None = None, savepoint: LazySavepoint | None = None) -> Event | None:
    """Store a draft as an event. `using`: the alias whose change it speaks of, if it is not the events' own; `savepoint`: one of
    that alias, in which nothing follows.

    On another alias there is no common commit: the event is then written on that alias's commit (a check warns of it).
    """
    users, groups = _audience(draft.to)
    if not users and not groups:
        return None
    event = Event(
        kind=registry.kind(draft.kind).name,
        content=_content(draft),
        audience={"users": users, "groups": groups},
        wide=bool(groups) or len(users) > NARROW,
    )
    alias = event_alias()
    if using is None or using == alias:
        _insert(event, alias, savepoint)
    else:
        transaction.on_commit(lambda: _insert(event, alias), using=using, robust=True)
    return event


def user_ids(to: Any) -> list[Any]:
    """The ids of the users whom `to` names, each once. Raises what `notify()` does of recipients, and `TypeError` for a group."""
    users, groups = _audience(to)
    if groups:
        raise TypeError("name users: a group can only be notified")
    return users


def event_alias() -> str:
    """The database that holds the events, notifications and inboxes."""
    return router.db_for_write(Event)


def _insert(event: Event, alias: str, savepoint: LazySavepoint | None = None) -> None:
    connection = connections[alias]
    if connection.vendor in ("postgresql", "sqlite"):
        _insert_by_sql(event, connection, savepoint)
    else:
        event.save(using=alias, force_insert=True)
    wide = event.wide
    transaction.on_commit(lambda: _say(alias, wide=wide), using=alias, robust=True)


def _insert_by_sql(event: Event, connection: BaseDatabaseWrapper, savepoint: LazySavepoint | None) -> None:
    """The ORM's own statement without its composing, which costs three times as much as running it."""
    statement, fields = _insertion(connection.alias)
    values = [field.get_db_prep_save(getattr(event, field.attname), connection) for field in fields]
    with connection.cursor() as cursor:
        execute = partial(savepoint.execute_last, cursor) if savepoint else cursor.execute
        execute(statement, values)
        event.pk = cursor.fetchone()[0]
    event._state.adding, event._state.db = False, connection.alias


@cache
def _insertion(alias: str) -> tuple[str, list[Any]]:
    """The statement, and the fields whose values it takes: all but the key, what is `FRESH`, and what is NULL until the relay has
    tried."""
    quote = connections[alias].ops.quote_name
    fields: list[Any] = [field for field in Event._meta.concrete_fields if field.name not in ("id", "retry_at", "set_aside_at")]
    columns = ", ".join(quote(field.column) for field in fields)
    values = ", ".join(FRESH.get(field.name, "%s") for field in fields)
    statement = f"INSERT INTO {quote(Event._meta.db_table)} ({columns}) VALUES ({values}) RETURNING {quote('id')}"
    return statement, [field for field in fields if field.name not in FRESH]


def _say(alias: str, *, wide: bool) -> None:
    event_committed.send(sender=Event, using=alias, wide=wide)


def _audience(to: Any) -> tuple[list[Any], list[Any]]:
    """User ids and group ids as JSON values, each once, in a stable order."""
    users: dict[Any, None] = {}
    groups: dict[Any, None] = {}
    for each in _each(to):
        if type(each) is int:  # the usual one of many: a list of ids costs nearly nothing
            users[each] = None
        elif isinstance(each, Group):
            if not hasattr(get_user_model(), "groups"):
                raise TypeError("the user model has no groups: name users")
            groups[_saved(each)] = None
        else:
            users[_user_id(each)] = None
        if len(users) > RECIPIENTS:
            raise ValueError(f"more than {RECIPIENTS} recipients: name a group instead")
    if users and all(isinstance(key, int) for key in users):
        for key in {min(users), max(users)}:
            _check_stored(key)
    return list(users), list(groups)


def _each(to: Any) -> Iterable[Any]:
    if isinstance(to, QuerySet) and issubclass(to.model, get_user_model()):
        return to.values_list("pk", flat=True)[: RECIPIENTS + 1]
    if isinstance(to, QuerySet) and not issubclass(to.model, Group):
        raise TypeError(f"a queryset of {to.model.__name__} cannot be notified: users or groups can")
    if isinstance(to, Model | str | bytes) or not isinstance(to, Iterable):
        return (to,)
    return to


def _saved(instance: Model) -> Any:
    if instance.pk is None:
        raise ValueError(f"{instance!r} is not saved and cannot be notified")
    return instance.pk


def _user_id(each: Any) -> Any:
    """The primary key of a user, or of whom it names, as a JSON value. Raises `TypeError` or `ValueError` for what is none."""
    if isinstance(each, get_user_model() | AbstractBaseUser):
        each = _saved(each)
    if type(each) is int:
        return each
    if isinstance(each, Model | bool | bytes | float) or each is None:
        raise TypeError(f"{each!r} cannot be notified: name users, their ids, groups, or a queryset of users")
    try:
        key = _key_field().to_python(each)
    except Exception as error:  # its own ValidationError, or anything a custom field raises
        raise ValueError(f"{each!r} is not the id of a user") from error
    return key if isinstance(key, int) else str(key)


def _check_stored(key: int) -> None:
    try:
        _key_field().run_validators(key)  # among others the range that the database stores
    except ValidationError as error:
        raise ValueError(f"{key!r} is not the id of a user") from error


def _key_field() -> Any:
    return get_user_model()._meta.pk


def _content(draft: Draft) -> dict[str, Any]:
    kind = registry.kind(draft.kind)
    url = safe_url(clean(draft.url))
    if draft.url and not url and is_due("unsafe_url", kind.name):
        logger.warning("unsafe_url dropped kind=%s", kind.name)
    content: dict[str, Any] = {
        "severity": draft.severity or kind.severity,
        "title": stored_text(draft.title),
        "body": stored_text(draft.body),
        "url": url,
        "icon": draft.icon or kind.icon,
        "actor": _reference(draft.actor),
        "target": _reference(draft.target),
        "data": draft.data,
        "actions": [
            {"label": stored_text(action.label), "url": action.url, "primary": bool(action.primary)} for action in draft.actions
        ],
    }
    try:
        encoded = msgspec.json.encode({name: _cleaned(value) for name, value in content.items() if value})
    except (TypeError, ValueError, UnicodeEncodeError, OverflowError, RecursionError) as error:
        raise TypeError(f"data of a notification must be JSON: {error}") from error
    if len(encoded) > CONTENT_BYTES:
        raise ValueError(f"a notification holds at most {CONTENT_BYTES} bytes, this one {len(encoded)}")
    cleaned: dict[str, Any] = msgspec.json.decode(encoded)
    return cleaned


def _cleaned(value: Any) -> Any:
    """JSON without what no database stores in a string."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(key) if isinstance(key, str) else key: _cleaned(each) for key, each in value.items()}
    return [_cleaned(each) for each in value] if isinstance(value, list | tuple) else value


def _reference(thing: Model | str | Promise | Text | None) -> dict[str, Any] | None:
    """An actor or target: what it was called then, and where to find it if it is still there."""
    if thing is None:
        return None
    if not isinstance(thing, Model):
        return {"text": stored_text(thing)}
    name = thing.get_full_name() if isinstance(thing, AbstractBaseUser) and hasattr(thing, "get_full_name") else ""
    return {"type": thing._meta.label_lower, "id": str(thing.pk), "text": clean(str(name or thing))}
