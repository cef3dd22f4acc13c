"""The relay's ready SQL: composing it by the ORM costs three to six times as much as running it.

Of every vendor's dialect but for `deliver()`, which says where it goes by the ORM, and `checkpoint()`, which is SQLite's. Values
pass through the fields' own conversions, as the ORM has them do.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from django.contrib.auth import get_user_model
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from notifications.logs import is_due
from notifications.models import Event, Inbox, Notification, new_epoch

__all__ = [
    "READ",
    "Advanced",
    "Due",
    "Span",
    "checkpoint",
    "columns",
    "deliver",
    "due_events",
    "due_events_query",
    "due_spans",
    "events_from",
    "existing_users",
    "from_db",
    "inbox_fields",
    "on_conflict",
    "read_fields",
    "row_fields",
]

logger = logging.getLogger(__name__)

READ: Final = ("id", "kind", "content", "audience", "created_at", "pending", "wide", "users_done", "groups_after", "tries")
"""What the relay needs of an event; the rest is loaded if the site's code asks for it."""


class Due(NamedTuple):
    """Which of the events that are due: of this width if it is said, these ids if they are."""

    wide: bool | None = None
    only: Collection[int] | None = None

    def condition(self, alias: str) -> tuple[str, list[Any]]:
        quote = connections[alias].ops.quote_name
        parts = [f"{quote('pending')} = %s AND ({quote('retry_at')} IS NULL OR {quote('retry_at')} <= %s)"]
        values: list[Any] = [_prepared(Event, "pending", True, alias), _prepared(Event, "retry_at", timezone.now(), alias)]
        if self.wide is not None:
            parts.append(f"{quote('wide')} = %s")
            values.append(_prepared(Event, "wide", self.wide, alias))
        if self.only is not None:
            parts.append(f"{quote('id')} IN ({_places(self.only) or 'NULL'})")
            values += self.only
        return " AND ".join(parts), values


class Span(NamedTuple):
    """The ids, from the first to the last, of the narrow or the wide events that are due."""

    wide: bool
    first: int
    last: int


def due_spans(alias: str) -> list[Span]:
    """None, one or both: narrow before wide."""
    connection = connections[alias]
    condition, values = Due().condition(alias)
    wide, key, table = (connection.ops.quote_name(name) for name in ("wide", "id", Event._meta.db_table))
    sql = f"SELECT {wide}, MIN({key}), MAX({key}) FROM {table} WHERE {condition} GROUP BY {wide}"
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return sorted(Span(bool(is_wide), first, last) for is_wide, first, last in cursor.fetchall())


def due_events(alias: str, due: Due, most: int) -> list[Event]:
    """The first of them, in id order."""
    with connections[alias].cursor() as cursor:
        cursor.execute(*due_events_query(alias, due, most))
        return events_from(alias, cursor.fetchall())


def due_events_query(alias: str, due: Due, most: int) -> tuple[str, list[Any]]:
    """The statement of `due_events()` and its values, for who sends it together with another; `events_from()` takes its rows."""
    quote = connections[alias].ops.quote_name
    condition, values = due.condition(alias)
    columns_read, table = columns(read_fields(), quote), quote(Event._meta.db_table)
    order = f"ORDER BY {quote('id')} {connections[alias].ops.limit_offset_sql(0, most)}"
    return f"SELECT {columns_read} FROM {table} WHERE {condition} {order}", values


def events_from(alias: str, rows: Iterable[Sequence[Any]]) -> list[Event]:
    connection, fields = connections[alias], read_fields()
    return [Event.from_db(alias, READ, [from_db(*pair, connection) for pair in zip(fields, row, strict=True)]) for row in rows]


def existing_users(alias: str, ids: Collection[Any]) -> set[Any]:
    """Those of the ids whose users are there."""
    connection, meta = connections[alias], get_user_model()._meta
    table, key = (connection.ops.quote_name(name) for name in (meta.db_table, str(meta.pk.column)))
    values = [meta.pk.get_db_prep_value(id, connection) for id in ids]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {key} FROM {table} WHERE {key} IN ({_places(values)})", values)
        return {from_db(meta.pk, id, connection) for (id,) in cursor.fetchall()}


class Advanced(NamedTuple):
    """An inbox after its arrivals."""

    user_id: Any
    epoch: str
    top: int
    unread: int
    unseen: int
    seen_upto: int


Arrivals: TypeAlias = Sequence[tuple[Any, Sequence[int]]]
"""In user order: user ids, each with the ids of the events that arrive."""


def deliver(alias: str, arrivals: Arrivals, finished: Collection[int]) -> list[Advanced]:
    """Lock the inboxes in this order, making those that are missing, and give each user's events the next numbers; insert them as
    notifications; and the `finished` events have reached everybody whom they were for. On PostgreSQL that is one statement.
    """
    connection = connections[alias]
    advanced: list[Advanced] = []
    if arrivals and connection.vendor == "postgresql":
        return _deliver_at_once(connection, arrivals, finished)
    if arrivals:
        advance = _advance if connection.vendor == "sqlite" else _advance_by_orm
        advanced = advance(alias, [(user_id, len(events)) for user_id, events in arrivals])
        _insert(connection, advanced, dict(arrivals))
    if finished:
        _finish(connection, finished)
    return advanced


def _deliver_at_once(connection: BaseDatabaseWrapper, arrivals: Arrivals, finished: Collection[int]) -> list[Advanced]:
    key = get_user_model()._meta.pk
    keys = [key.get_db_prep_value(user_id, connection) for user_id, _ in arrivals]
    events_of = [events for _, events in arrivals]
    rows = [(one, event, after) for one, events in zip(keys, events_of, strict=True) for after, event in _from_the_end(events)]
    inboxes = (keys, [new_epoch() for _ in keys], [len(events) for events in events_of])
    with connection.cursor() as cursor:
        cursor.execute(_at_once(connection), [*inboxes, *map(list, zip(*rows, strict=True)), list(finished)])
        return [Advanced(key.to_python(user_id), *state) for user_id, *state in cursor.fetchall()]


def _from_the_end(events: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each with how many come after it."""
    return zip(range(len(events) - 1, -1, -1), events, strict=True)


def _at_once(connection: BaseDatabaseWrapper) -> str:
    """Its parts see nothing of what the others write, but what these return."""
    quote = connection.ops.quote_name
    inbox, notification, event = (quote(model._meta.db_table) for model in (Inbox, Notification, Event))
    inbox_columns, row_columns = (columns(fields, quote) for fields in (inbox_fields(), row_fields()))
    user = quote(inbox_fields()[0].column)
    of_user = f"{inbox_fields()[0].cast_db_type(connection)}[]"
    return (
        f"WITH advanced AS (INSERT INTO {inbox} ({inbox_columns}) SELECT one, epoch, count, count, count, 0, 0 "
        f"FROM unnest(%s::{of_user}, %s::text[], %s::int[]) AS arrived (one, epoch, count){on_conflict(quote)}), "
        f"delivered AS (INSERT INTO {notification} ({row_columns}) SELECT one, event, top - after, top - after "
        f"FROM unnest(%s::{of_user}, %s::bigint[], %s::int[]) AS arrived (one, event, after) JOIN advanced ON one = {user}), "
        f"finished AS (UPDATE {event} SET {quote('pending')} = NULL WHERE {quote('id')} = ANY(%s::bigint[])) "
        "SELECT * FROM advanced"
    )


def _advance(alias: str, arrivals: Sequence[tuple[Any, int]]) -> list[Advanced]:
    connection = connections[alias]
    key = get_user_model()._meta.pk
    quote = connection.ops.quote_name
    sql = (
        f"INSERT INTO {quote(Inbox._meta.db_table)} ({columns(inbox_fields(), quote)}) VALUES "
        + ", ".join(["(%s, %s, %s, %s, %s, 0, 0)"] * len(arrivals))
        + on_conflict(quote)
    )
    values: list[Any] = []
    for user_id, count in arrivals:
        values += [key.get_db_prep_value(user_id, connection), new_epoch(), count, count, count]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [Advanced(key.to_python(user_id), *state) for user_id, *state in cursor.fetchall()]


def on_conflict(quote: Callable[[str], str]) -> str:
    """What becomes of an inbox that is there, and the columns of `Advanced`."""
    table = quote(Inbox._meta.db_table)
    user, *state = (quote(field.column) for field in inbox_fields()[:-1])
    _epoch, top, unread, unseen, _seen_upto = state
    counted = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in (top, unread, unseen))
    return f" ON CONFLICT ({user}) DO UPDATE SET {counted} RETURNING " + ", ".join((user, *state))


def _advance_by_orm(alias: str, arrivals: Sequence[tuple[Any, int]]) -> list[Advanced]:
    inboxes = Inbox.objects.using(alias)
    user_ids = [user_id for user_id, _ in arrivals]
    inboxes.bulk_create([Inbox(pk=user_id) for user_id in user_ids], ignore_conflicts=True)
    found = {inbox.pk: inbox for inbox in inboxes.filter(pk__in=user_ids).order_by("pk").select_for_update()}
    for user_id, count in arrivals:
        inbox = found[user_id]
        inbox.top, inbox.unread, inbox.unseen = inbox.top + count, inbox.unread + count, inbox.unseen + count
    inboxes.bulk_update(found.values(), ["top", "unread", "unseen"])
    return [
        Advanced(inbox.pk, inbox.epoch, inbox.top, inbox.unread, inbox.unseen, inbox.seen_upto)
        for inbox in (found[user_id] for user_id in user_ids)
    ]


def _insert(connection: BaseDatabaseWrapper, advanced: Sequence[Advanced], events_of: Mapping[Any, Sequence[int]]) -> None:
    recipient = row_fields()[0]
    quote = connection.ops.quote_name
    rows: list[Any] = []
    for inbox in advanced:
        user_id = recipient.get_db_prep_save(inbox.user_id, connection)
        for after, event in _from_the_end(events_of[inbox.user_id]):
            rows.append((user_id, event, inbox.top - after, inbox.top - after))
    table = quote(Notification._meta.db_table)
    places = ", ".join(["(%s, %s, %s, %s)"] * len(rows))
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({columns(row_fields(), quote)}) VALUES {places}", list(chain.from_iterable(rows)))


def _finish(connection: BaseDatabaseWrapper, ids: Collection[int]) -> None:
    table, pending, key = (connection.ops.quote_name(name) for name in (Event._meta.db_table, "pending", "id"))
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {pending} = NULL WHERE {key} IN ({_places(ids)})", list(ids))


def checkpoint(alias: str) -> None:
    """Move SQLite's write-ahead log into the database, which the commit that fills it would do before it returns.

    Not where the site leaves that to another program, as Litestream wishes. Waits for nobody, keeps nobody waiting, never raises.
    """
    connection = connections[alias]
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return
    try:
        with connection.cursor() as cursor:
            if cursor.execute("PRAGMA wal_autocheckpoint").fetchone() != (0,):
                cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
    except DatabaseError as error:
        if is_due("checkpoint_failed"):
            logger.warning("checkpoint_failed error=%r; SQLite does it at a commit", error)


def read_fields() -> list[Any]:
    return _fields(Event, READ)


def inbox_fields() -> list[Any]:
    return _fields(Inbox, ("user", "epoch", "top", "unread", "unseen", "seen_upto", "pruned"))


def row_fields() -> list[Any]:
    return _fields(Notification, ("recipient", "event", "number", "stamp"))


def from_db(field: Any, value: Any, connection: Any) -> Any:
    """A column's value as the ORM would hand it over."""
    expression = field.cached_col
    for convert in (*connection.ops.get_db_converters(expression), *expression.get_db_converters(connection)):
        value = convert(value, expression, connection)
    return value


@cache
def _fields(model: Any, names: tuple[str, ...]) -> list[Any]:
    return [model._meta.get_field(name) for name in names]


def columns(fields: Sequence[Any], quote: Callable[[str], str]) -> str:
    return ", ".join(quote(field.column) for field in fields)


def _prepared(model: Any, name: str, value: Any, alias: str) -> Any:
    return model._meta.get_field(name).get_db_prep_value(value, connections[alias])


def _places(values: Collection[Any]) -> str:
    return ", ".join(["%s"] * len(values))
