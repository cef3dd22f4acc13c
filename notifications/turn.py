"""Whose turn it is to relay: one row that the relay at work holds locked, and in which hubs say that they are there to relay.

A process without a hub (a command, a Celery or WSGI worker) pays for a relay of its own only where no hub would hear it ring.
"""

import time
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet
from django.db.utils import NotSupportedError
from django.utils import timezone

from notifications.models import RelayTurn
from notifications.savepoints import sends_several

__all__ = ["IS_MINE", "POSTGRES_LIMITS", "attend", "exists", "forget", "is_attended", "marking_sql", "take", "take_and_read"]

ATTENDED_SECONDS: Final = 15  # three sweeps: the longest time for which hubs that were killed are still relied upon
SAID_SECONDS: Final = 4  # past which it is said anew
ASKED_SECONDS: Final = 3.0  # for which a process remembers the answer
POSTGRES_LIMITS: Final = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '5s'; "
    "SET LOCAL statement_timeout = '15s'; SET LOCAL idle_in_transaction_session_timeout = '15s'; "
)
IS_MINE: Final = "current_setting('live_notifications.turn', true) = 'mine'"
"""SQL: whether `marking_sql()` has taken the turn in this transaction."""
_answers: dict[str, tuple[float, bool]] = {}
"""By alias: until when, by the monotonic clock, and what."""


def take(alias: str) -> bool:
    """Lock the turn row until the open transaction ends. False: another relay has it."""
    return take_and_read(alias, "", []) is not None


def take_and_read(alias: str, sql: str, values: list[Any]) -> list[Any] | None:
    """`take()`, and the rows of a statement that begins when the turn is taken. None: another relay has it."""
    connection = connections[alias]
    if connection.features.has_select_for_update_skip_locked:
        rows = _lock(connection, sql, values)
        if rows is None and not exists(alias):
            _turns(alias).bulk_create([RelayTurn(pk=1)], ignore_conflicts=True)
            rows = _lock(connection, sql, values)
        return rows
    table, taken, key = (connection.ops.quote_name(name) for name in (RelayTurn._meta.db_table, "taken", "id"))
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {taken} = {taken} + 1 WHERE {key} = 1")
        if not cursor.rowcount:
            _turns(alias).bulk_create([RelayTurn(pk=1)], ignore_conflicts=True)
        return _read(cursor, sql, values)


def exists(alias: str) -> bool:
    """Whether the row is there; if not, `take()` makes it."""
    return _turns(alias).filter(pk=1).exists()


def marking_sql(connection: BaseDatabaseWrapper) -> str:
    """PostgreSQL's, for the statements that follow in the same round trip: a row, and `IS_MINE` is true, if the turn is taken.

    Marked outside of what locks: beside it, it would be marked before the row is found locked.
    """
    table, key = (connection.ops.quote_name(name) for name in (RelayTurn._meta.db_table, "id"))
    taken = f"SELECT {key} FROM {table} WHERE {key} = 1 {connection.ops.for_update_sql(skip_locked=True)}"
    return f"{POSTGRES_LIMITS}SELECT set_config('live_notifications.turn', 'mine', true) FROM ({taken}) AS taken"


def _turns(alias: str) -> QuerySet[RelayTurn]:
    return RelayTurn.objects.using(alias)


def _lock(connection: BaseDatabaseWrapper, sql: str, values: list[Any]) -> list[Any] | None:
    """One round trip where the driver sends several statements at once. Each sees what was committed before it began."""
    table, key = (connection.ops.quote_name(name) for name in (RelayTurn._meta.db_table, "id"))
    is_outermost = not connection.savepoint_ids  # else in a site's TestCase
    lock = f"SELECT {key} FROM {table} WHERE {key} = 1 {connection.ops.for_update_sql(skip_locked=True)}"
    if connection.vendor == "postgresql" and is_outermost:
        lock = POSTGRES_LIMITS + lock
    with connection.cursor() as cursor:
        if not sends_several(cursor):
            cursor.execute(lock)
            with suppress(NotSupportedError):  # psycopg 2 has the last result at once
                while cursor.nextset():
                    pass
            return None if cursor.fetchone() is None else _read(cursor, sql, values)
        cursor.execute(f"{lock}; {sql}" if sql else lock, values or None)
        while cursor.description is None:  # those of the limits
            cursor.nextset()
        if cursor.fetchone() is None:
            return None
        return cursor.fetchall() if sql and cursor.nextset() else []


def _read(cursor: Any, sql: str, values: list[Any]) -> list[Any]:
    if not sql:
        return []
    cursor.execute(sql, values)
    return list(cursor.fetchall())


def attend(alias: str) -> None:
    """Say that a hub is there that hears "pending". Look for events afterwards: a relay that found the row locked has left."""
    turns, now = _turns(alias), timezone.now()
    recent = timedelta(seconds=SAID_SECONDS)
    if turns.filter(pk=1, attended_at__range=(now - recent, now + recent)).exists():  # not what a clock far ahead said
        return
    with transaction.atomic(using=alias):
        if take(alias):
            turns.filter(pk=1).update(attended_at=now)


def is_attended(alias: str) -> bool:
    """Whether a hub said of late that it hears "pending". One query in three seconds a process."""
    until, answer = _answers.get(alias, (0.0, False))
    if time.monotonic() < until:
        return answer
    said_at = _turns(alias).filter(pk=1).values_list("attended_at", flat=True).first()
    answer = said_at is not None and abs((timezone.now() - said_at).total_seconds()) < ATTENDED_SECONDS  # clocks differ
    _answers[alias] = (time.monotonic() + ASKED_SECONDS, answer)
    return answer


def forget() -> None:
    """Ask anew at the next event, as a test does whose database is another one."""
    _answers.clear()
