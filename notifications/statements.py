"""The relay's ready SQL: composing it by the ORM costs three to six times as much as running it.

Of every vendor's dialect but for `advance()`, which says where it goes by the ORM. Values pass through the fields' own
conversions, as the ORM has them do.
"""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from django.contrib.auth import get_user_model
from django.db import connections
from django.utils import timezone

from notifications.models import Event, Inbox, Notification, new_epoch
from notifications.protocol import Row

__all__ = ["Due", "Span", "advance", "deliver", "due_events", "due_spans", "finish", "from_db"]

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
    connection = connections[alias]
    fields = _fields(Event, READ)
    condition, values = due.condition(alias)
    columns, table = _columns(fields, alias), connection.ops.quote_name(Event._meta.db_table)
    order = f"ORDER BY {connection.ops.quote_name('id')} {connection.ops.limit_offset_sql(0, most)}"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {table} WHERE {condition} {order}", values)
        rows = cursor.fetchall()
    return [Event.from_db(alias, READ, [from_db(*pair, connection) for pair in zip(fields, row, strict=True)]) for row in rows]


def advance(alias: str, arrivals: Sequence[tuple[Any, int]]) -> list[tuple[Any, str, int, int, int, int]]:
    """Lock the inboxes in user order, making those that are missing, and add each user's number of arrivals.

    Returns `(user id, epoch, top, unread, unseen, seen_upto)` after that. One upsert on PostgreSQL and SQLite.
    """
    connection = connections[alias]
    if connection.vendor not in ("postgresql", "sqlite"):
        return _advance_by_orm(alias, arrivals)
    key = get_user_model()._meta.pk
    table = connection.ops.quote_name(Inbox._meta.db_table)
    fields = _fields(Inbox, ("user", "epoch", "top", "unread", "unseen", "seen_upto", "pruned"))
    user, epoch, top, unread, unseen, seen_upto, _pruned = (connection.ops.quote_name(field.column) for field in fields)
    sql = (
        f"INSERT INTO {table} ({_columns(fields, alias)}) VALUES "
        + ", ".join(["(%s, %s, %s, %s, %s, 0, 0)"] * len(arrivals))
        + f" ON CONFLICT ({user}) DO UPDATE SET "
        + ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in (top, unread, unseen))
        + f" RETURNING {user}, {epoch}, {top}, {unread}, {unseen}, {seen_upto}"
    )
    values: list[Any] = []
    for user_id, count in arrivals:
        values += [key.get_db_prep_value(user_id, connection), new_epoch(), count, count, count]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [(key.to_python(row[0]), *row[1:]) for row in cursor.fetchall()]


def _advance_by_orm(alias: str, arrivals: Sequence[tuple[Any, int]]) -> list[tuple[Any, str, int, int, int, int]]:
    inboxes = Inbox.objects.using(alias)
    user_ids = [user_id for user_id, _ in arrivals]
    inboxes.bulk_create([Inbox(pk=user_id) for user_id in user_ids], ignore_conflicts=True)
    found = {inbox.pk: inbox for inbox in inboxes.filter(pk__in=user_ids).order_by("pk").select_for_update()}
    for user_id, count in arrivals:
        inbox = found[user_id]
        inbox.top, inbox.unread, inbox.unseen = inbox.top + count, inbox.unread + count, inbox.unseen + count
    inboxes.bulk_update(found.values(), ["top", "unread", "unseen"])
    return [
        (inbox.pk, inbox.epoch, inbox.top, inbox.unread, inbox.unseen, inbox.seen_upto)
        for inbox in (found[user_id] for user_id in user_ids)
    ]


def deliver(alias: str, rows: Sequence[tuple[Any, Row]]) -> None:
    """Insert the notifications: user ids with the rows that they get."""
    fields = _fields(Notification, ("recipient", "event", "number", "stamp"))
    recipient = fields[0]
    connection = connections[alias]
    values: list[Any] = []
    for user_id, row in rows:
        values += [recipient.get_db_prep_save(user_id, connection), row.event, row.number, row.stamp]
    table = connection.ops.quote_name(Notification._meta.db_table)
    places = ", ".join(["(%s, %s, %s, %s)"] * len(rows))
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({_columns(fields, alias)}) VALUES {places}", values)


def finish(alias: str, ids: Collection[int]) -> None:
    """These events have reached everybody whom they were for."""
    connection = connections[alias]
    table, pending, key = (connection.ops.quote_name(name) for name in (Event._meta.db_table, "pending", "id"))
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {pending} = NULL WHERE {key} IN ({_places(ids)})", list(ids))


def from_db(field: Any, value: Any, connection: Any) -> Any:
    """A column's value as the ORM would hand it over."""
    expression = field.cached_col
    for convert in (*connection.ops.get_db_converters(expression), *expression.get_db_converters(connection)):
        value = convert(value, expression, connection)
    return value


@cache
def _fields(model: Any, names: tuple[str, ...]) -> list[Any]:
    return [model._meta.get_field(name) for name in names]


def _columns(fields: Sequence[Any], alias: str) -> str:
    return ", ".join(connections[alias].ops.quote_name(field.column) for field in fields)


def _prepared(model: Any, name: str, value: Any, alias: str) -> Any:
    return model._meta.get_field(name).get_db_prep_value(value, connections[alias])


def _places(values: Collection[Any]) -> str:
    return ", ".join(["%s"] * len(values))
