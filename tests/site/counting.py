"""Counts the statements that a server process sends to its databases, where `COUNT_STATEMENTS` in its environment asks for it.

The app's own threads apart from the others, so that pages which are served meanwhile do not count as its work.
"""

import threading
from collections import Counter
from typing import Any

from django.db.backends.signals import connection_created

__all__ = ["start", "statements"]

statements: Counter[str] = Counter()
"""By "app" and "site"."""


def start() -> None:
    connection_created.connect(_watch, dispatch_uid="tests.site.counting")


def _watch(sender: Any, connection: Any, **_: Any) -> None:
    if _count not in connection.execute_wrappers:  # which outlive what they wrap: a request's connection is made anew each time
        connection.execute_wrappers.append(_count)


def _count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    is_apps = threading.current_thread().name.startswith("notifications-")
    statements["app" if is_apps else "site"] += 1
    return execute(sql, params, many, context)
