"""Whose turn it is to relay: one row that the relay at work holds locked, and in which hubs say that they are there to relay.

A process without a hub (a command, a Celery or WSGI worker) pays for a relay of its own only where no hub would hear it ring.
"""

import time
from contextlib import suppress
from datetime import timedelta
from typing import Final

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import NotSupportedError
from django.utils import timezone

from notifications.models import RelayTurn

__all__ = ["attend", "forget", "is_attended", "take"]

ATTENDED_SECONDS: Final = 15  # three sweeps: the longest time for which hubs that were killed are still relied upon
SAID_SECONDS: Final = 4  # past which it is said anew
ASKED_SECONDS: Final = 3.0  # for which a process remembers the answer
POSTGRES_LIMITS: Final = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '5s'; "
    "SET LOCAL statement_timeout = '15s'; SET LOCAL idle_in_transaction_session_timeout = '15s'; "
)
_answers: dict[str, tuple[float, bool]] = {}
"""By alias: until when, by the monotonic clock, and what."""


def take(alias: str) -> bool:
    """Lock the turn row until the open transaction ends. False: another relay has it."""
    connection = connections[alias]
    turns = RelayTurn.objects.using(alias)
    is_outermost = not connection.savepoint_ids  # else in a site's TestCase
    before = POSTGRES_LIMITS if connection.vendor == "postgresql" and is_outermost else ""
    if connection.features.has_select_for_update_skip_locked:
        if _lock(connection, before):
            return True
        if turns.filter(pk=1).exists():
            return False
        turns.bulk_create([RelayTurn(pk=1)], ignore_conflicts=True)
        return _lock(connection)
    table, taken, key = (connection.ops.quote_name(name) for name in (RelayTurn._meta.db_table, "taken", "id"))
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {taken} = {taken} + 1 WHERE {key} = 1")
        if cursor.rowcount:
            return True
    turns.bulk_create([RelayTurn(pk=1)], ignore_conflicts=True)
    return True


def _lock(connection: BaseDatabaseWrapper, before: str = "") -> bool:
    """`before`: statements that go in the same round trip."""
    table, key = (connection.ops.quote_name(name) for name in (RelayTurn._meta.db_table, "id"))
    with connection.cursor() as cursor:
        cursor.execute(f"{before}SELECT {key} FROM {table} WHERE {key} = 1 {connection.ops.for_update_sql(skip_locked=True)}")
        with suppress(NotSupportedError):  # psycopg 2 has the last result at once
            while cursor.nextset():
                pass
        return cursor.fetchone() is not None


def attend(alias: str) -> None:
    """Say that a hub is there that hears "pending". Look for events afterwards: a relay that found the row locked has left."""
    turns, now = RelayTurn.objects.using(alias), timezone.now()
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
    said_at = RelayTurn.objects.using(alias).filter(pk=1).values_list("attended_at", flat=True).first()
    answer = said_at is not None and abs((timezone.now() - said_at).total_seconds()) < ATTENDED_SECONDS  # clocks differ
    _answers[alias] = (time.monotonic() + ASKED_SECONDS, answer)
    return answer


def forget() -> None:
    """Ask anew at the next event, as a test does whose database is another one."""
    _answers.clear()
