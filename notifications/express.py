"""The relay of narrow events in one round trip, where PostgreSQL can do all of it and the site has no word in it.

What `slices.py` does in five, for the usual notification, which all its recipients may see. Where one of the narrow events that
are due is another sort, or the statement fails, nothing has been done, and the ordinary relay sees to all of them: so they keep
their order, and it finds out which one is to blame.
"""

import hashlib
import logging
from functools import cache
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from django.contrib.auth import get_user_model
from django.db import DatabaseError, connections, models
from django.utils import timezone

from notifications import turn
from notifications.logs import is_due
from notifications.models import Event, Inbox, Notification
from notifications.savepoints import sends_several, transaction_status
from notifications.statements import READ, Advanced, columns, events_from, inbox_fields, on_conflict, read_fields, row_fields
from notifications.visibility import restricted_kinds, users

__all__ = ["Delivered", "deliver_at_once", "is_able"]

logger = logging.getLogger(__name__)

KEYS: Final = (models.AutoField, models.BigAutoField, models.IntegerField, models.BigIntegerField, models.UUIDField)
"""Of users: the database makes the same of what JSON holds of them as Django does."""
WAITED: Final = ("55P03", "57014")
"""SQLSTATEs of a wait that was given up: the ordinary relay would only wait once more."""
ALREADY_PREPARED: Final = "42P05"
NOT_PREPARED: Final = "26000"
OUT_OF_DATE: Final = "0A000"  # a column of the result has been altered since it was prepared
PLANNING: Final = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL jit = off; "
"""One plan a session, made at once, and one that stays good: each row that it looks for is found by an index, however large a
table has become since, or however many events were pending when statistics were made."""
_sessions: WeakKeyDictionary[Any, dict[str, bool]] = WeakKeyDictionary()
"""By the driver's connection, the names of the statements that it has sent, and whether it has prepared them."""


class Delivered(NamedTuple):
    """The events that are finished, and the inboxes that they came to, each with its own of them in their order."""

    events: list[Event]
    inboxes: list[tuple[Advanced, list[int]]]


def is_able(alias: str) -> bool:
    """Whether this connection sends several statements at once, and they are a transaction of their own.

    The driver is asked too: a site may have begun one that Django does not know of.
    """
    connection = connections[alias]
    if connection.vendor != "postgresql" or connection.in_atomic_block or users().db != alias:
        return False
    if type(get_user_model()._meta.pk) not in KEYS:
        return False
    with connection.cursor() as cursor:
        return sends_several(cursor) and connection.get_autocommit() and transaction_status(cursor) == "IDLE"


def deliver_at_once(alias: str, pairs: int) -> Delivered | None:
    """Relay the first narrow events that are due, of at most so many pairs together. None: another relay has the turn.

    Nothing delivered: none is due, or they are not for this way. Raises `DatabaseError` where a lock was waited for in vain.
    """
    with connections[alias].cursor() as cursor:
        try:
            _execute(alias, cursor, pairs)
        except DatabaseError as error:
            if _sqlstate(error) in WAITED:
                raise
            if is_due("not_at_once", type(error).__name__):  # through an event, or the database: the ordinary relay says which
                logger.warning("not_at_once error=%r; relayed step by step", error)
            return Delivered([], [])
        while cursor.description is None:  # those of the limits
            cursor.nextset()
        if cursor.fetchone() is None:
            return None
        cursor.nextset()
        rows = cursor.fetchall()
    told = [row[: len(READ)] for row in rows if row[0] is not None]
    moved = [row[len(READ) :] for row in rows if row[0] is None]
    events = sorted(events_from(alias, told), key=lambda event: event.pk)
    return Delivered(events, [(Advanced(*state), arrived) for *state, arrived in moved])


def _execute(alias: str, cursor: Any, pairs: int) -> None:
    """Two statements: the second sees what was committed before it began, as whoever had the turn has done by then.

    A session that comes again prepares it, for to plan it takes longer than the usual work. Not behind a transaction pooler,
    where it is gone at the next transaction.
    """
    connection = connections[alias]
    marking, values = turn.marking_sql(connection), [timezone.now(), restricted_kinds()]
    name = None
    if not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        name = _prepared(cursor, _sql(alias, pairs, now="$1", kinds="$2"))
    statement = f"EXECUTE {name} (%s, %s)" if name else _sql(alias, pairs, now="%s", kinds="%s::text[]")
    try:
        cursor.execute(f"{PLANNING}{marking}; {statement}", values)
    except DatabaseError as error:
        if name and _sqlstate(error) in (NOT_PREPARED, OUT_OF_DATE):
            _sessions.pop(cursor.connection, None)
            if _sqlstate(error) == OUT_OF_DATE:
                cursor.execute(f"DEALLOCATE {name}")
        raise


def _prepared(cursor: Any, statement: str) -> str | None:
    """The name under which this session knows the statement, the same in all of them. None at its first time, which may be the
    only one: a request's, a command's."""
    name = f"live_notifications_{hashlib.blake2b(statement.encode(), digest_size=8).hexdigest()}"
    known = _sessions.setdefault(cursor.connection, {})
    if name not in known:
        known[name] = False
        return None
    if not known[name]:
        try:
            cursor.execute(f"{turn.POSTGRES_LIMITS}PREPARE {name} (timestamptz, text[]) AS {statement}")  # it locks the tables
        except DatabaseError as error:
            if _sqlstate(error) != ALREADY_PREPARED:
                raise
        known[name] = True
    return name


def _sqlstate(error: DatabaseError) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)


@cache
def _sql(alias: str, pairs: int, *, now: str, kinds: str) -> str:
    """The relay itself. `now`, `kinds`: the placeholders of the time and of the restricted kinds."""
    connection = connections[alias]
    quote = connection.ops.quote_name
    event, inbox, notification = (quote(model._meta.db_table) for model in (Event, Inbox, Notification))
    meta, key = get_user_model()._meta, inbox_fields()[0].cast_db_type(connection)
    people, person = quote(meta.db_table), quote(str(meta.pk.column))
    read, inbox_columns, row_columns = (columns(fields, quote) for fields in (read_fields(), inbox_fields(), row_fields()))
    owner = quote(inbox_fields()[0].column)
    return (
        f"WITH due AS (SELECT {read} FROM {event} WHERE {turn.IS_MINE} AND pending AND NOT wide "
        f"AND (retry_at IS NULL OR retry_at <= {now}) ORDER BY id LIMIT {pairs}), "
        f"counted AS (SELECT *, sum(jsonb_array_length(audience->'users')) OVER (ORDER BY id) AS pairs, "
        f"row_number() OVER (ORDER BY id) AS place, bool_or(kind = ANY({kinds}) OR users_done > 0 "
        f"OR audience->'users' IS NULL OR audience->'groups' IS DISTINCT FROM '[]') OVER () AS is_odd FROM due), "
        f"chosen AS (SELECT {read} FROM counted WHERE NOT is_odd AND (pairs <= {pairs} OR place = 1)), "
        # Each user is looked up by the index: a plain join may read all users, where the planner expects many recipients.
        f"arriving AS (SELECT one, chosen.id AS event FROM chosen CROSS JOIN LATERAL "
        f"jsonb_array_elements_text(chosen.audience->'users') AS named CROSS JOIN LATERAL "
        f"(SELECT {person} AS one FROM {people} WHERE {person} = named.value::{key} LIMIT 1) AS found), "
        f"advanced AS (INSERT INTO {inbox} ({inbox_columns}) SELECT one, "
        f"substr(replace(gen_random_uuid()::text, '-', ''), 1, 12), count(*), count(*), count(*), 0, 0 "
        f"FROM arriving GROUP BY one ORDER BY one{on_conflict(quote)}), "
        f"delivered AS (INSERT INTO {notification} ({row_columns}) SELECT one, event, top - after, top - after FROM "
        f"(SELECT one, event, row_number() OVER (PARTITION BY one ORDER BY event DESC) - 1 AS after FROM arriving) AS placed "
        f"JOIN advanced ON one = {owner} ORDER BY one, event), "
        f"finished AS (UPDATE {event} SET pending = NULL WHERE id = ANY(ARRAY(SELECT id FROM chosen))) "
        f"SELECT *{', NULL' * (len(Advanced._fields) + 1)} FROM chosen UNION ALL "
        f"SELECT {'NULL, ' * len(READ)}advanced.*, came.events FROM advanced JOIN "
        f"(SELECT one, array_agg(event ORDER BY event) AS events FROM arriving GROUP BY one) AS came ON came.one = {owner}"
    )
