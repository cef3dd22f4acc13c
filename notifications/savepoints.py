"""A savepoint that is made when its block first needs one: a site's rule mostly computes, and seldom queries."""

import sys
from collections.abc import Callable
from itertools import count
from types import TracebackType
from typing import Any, Final, Self

from django.db import DatabaseError, Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["LazySavepoint", "sends_several", "transaction_status"]

_marks: Final = count(1)


class LazySavepoint:
    """`with LazySavepoint(using)`: a block that raises leaves nothing in the open transaction, hooks for the commit included.

    The promise of `transaction.atomic()` inside a transaction, but a block without a statement costs none. Without a transaction
    there is nothing to undo, and nothing is done. What a block sends past the ORM's cursors (`copy()`, `callproc()`) is not seen.
    """

    def __init__(self, using: str) -> None:
        self._connection: BaseDatabaseWrapper = connections[using]
        self._is_needed = False
        self._is_made = False
        self._name = ""
        """By depth, so that the driver meets the same statement again and again, which it has parsed before."""
        self._mark = f"live_notifications #{next(_marks)}"
        """Stands for this one savepoint in what Django notes down with each hook for the commit."""
        self._watching: Any = None
        self._outside: list[Any] = []
        """The wrappers of statements that were there before the block: those that see the savepoint's own."""
        self._by_django: Any = None

    def __enter__(self) -> Self:
        connection = self._connection
        if not connection.in_atomic_block and not _is_in_autocommit(connection):  # the site commits by hand: a rare thing
            self._by_django = transaction.atomic(connection.alias)
            self._by_django.__enter__()
            return self
        self._is_needed = connection.in_atomic_block and not connection.needs_rollback and connection.features.uses_savepoints
        if self._is_needed:
            self._name = f"live_notifications_{len(connection.savepoint_ids)}"
            connection.savepoint_ids.append(self._mark)
            self._outside = list(connection.execute_wrappers)
            self._watching = connection.execute_wrapper(self._before_statement)
            self._watching.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._by_django is not None:
            self._by_django.__exit__(kind, error, traceback)
        if not self._is_needed:
            return
        connection = self._connection
        self._watching.__exit__(None, None, None)
        connection.savepoint_ids.pop()
        if connection.closed_in_transaction:
            return
        if kind is not None or connection.needs_rollback:
            self._undo()
        elif self._is_made:
            try:
                self._execute(connection.ops.savepoint_commit_sql)
            except DatabaseError:
                self._undo()
                raise

    def execute_last(self, cursor: Any, statement: str, values: list[Any]) -> None:
        """Execute the block's last statement, whose result the cursor then holds.

        Where the driver sends several at once, the savepoint and its release go with it: one round trip instead of three. The
        statement must be SQL: PostgreSQL parses all before it makes the savepoint.
        """
        if not self._is_needed or not sends_several(cursor):
            cursor.execute(statement, values)
            return
        operations = self._connection.ops
        release = operations.savepoint_commit_sql(self._name)
        if self._is_made:
            cursor.execute(f"{statement}; {release}", values)
        else:
            self._is_made = True  # by what is sent now
            try:
                cursor.execute(f"{operations.savepoint_create_sql(self._name)}; {statement}; {release}", values)
            except BaseException:
                self._is_made = transaction_status(cursor) == "INERROR"  # else nothing of it has come to the server
                raise
            cursor.nextset()
        self._is_made = False

    def _before_statement(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        if not self._is_made:
            connection = self._connection
            inside, connection.execute_wrappers = connection.execute_wrappers, self._outside
            try:  # past the wrappers of the block: a savepoint inside it would be made before this one
                self._execute(connection.ops.savepoint_create_sql)
            finally:
                connection.execute_wrappers = inside
            self._is_made = True
        return execute(sql, params, many, context)

    def _undo(self) -> None:
        connection, operations = self._connection, self._connection.ops
        connection.needs_rollback = False
        connection.run_on_commit = [hook for hook in connection.run_on_commit if self._mark not in hook[0]]
        if self._is_made:
            try:
                self._execute(operations.savepoint_rollback_sql)
                self._execute(operations.savepoint_commit_sql)
            except Error:
                # As `atomic()` does: only the whole transaction can be rolled back now. But a connection that is lost has done
                # so already, and whoever swallowed the error must not hide that from the site: its commit shall raise.
                connection.needs_rollback = not getattr(connection.connection, "closed", False)

    def _execute(self, sql: Callable[[str], str]) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql(self._name))


def _is_in_autocommit(connection: BaseDatabaseWrapper) -> bool:
    """`get_autocommit()`, which opens a connection only to ask it."""
    return bool(connection.settings_dict["AUTOCOMMIT"] if connection.connection is None else connection.autocommit)


def sends_several(cursor: Any) -> bool:
    """Whether several statements go at once, with a result each: psycopg 3 does so, unless it binds on the server.

    In a transaction that has failed already they do not: whether the savepoint was made could not be told afterwards.
    """
    psycopg = sys.modules.get("psycopg")
    return psycopg is not None and isinstance(cursor.cursor, psycopg.ClientCursor) and transaction_status(cursor) != "INERROR"


def transaction_status(cursor: Any) -> str:
    """psycopg's word for it, which asks nobody."""
    return str(cursor.connection.info.transaction_status.name)
