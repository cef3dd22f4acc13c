"""A test site that owes the run nothing: a private SQLite database, three people signed in, the in-memory layer. It is used as
any site on the net would be: by its address, with a session's cookie."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.servers import AsgiProcess

__all__ = ["OwnSite", "own_site", "prepare", "prepare_at"]

ROOT = Path(__file__).resolve().parents[2]
PREPARE = """
    import json
    import django
    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from tests.site.client import new_session
    call_command("migrate", verbosity=0)
    users = [User.objects.create_user(name) for name in ("mina", "teo", "nova")]
    print(json.dumps({user.username: [user.pk, new_session(user)] for user in users}))
"""


class OwnSite(NamedTuple):
    server: AsgiProcess
    people: dict[str, tuple[int, str]]
    """User id and session key by name."""


def prepare(database: Path) -> dict[str, tuple[int, str]]:
    """Make the SQLite database with its people."""
    return prepare_at(f"sqlite:///{database}")


def prepare_at(database_url: str) -> dict[str, tuple[int, str]]:
    """The same in any database. In a process of its own, since this one's settings speak of another database."""
    env = {"DJANGO_SETTINGS_MODULE": "tests.site.settings", "DATABASE_URL": database_url, "REDIS_URL": ""}
    command = [sys.executable, "-c", textwrap.dedent(PREPARE)]
    made = subprocess.run(command, env={**os.environ, **env}, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    people: dict[str, tuple[int, str]] = json.loads(made.stdout)
    return people


@contextmanager
def own_site(
    server: Callable[..., AbstractContextManager[AsgiProcess]], prepared: Path, people: dict[str, tuple[int, str]], **options: Any
) -> Iterator[OwnSite]:
    """A server on a copy of the prepared database."""
    copy = prepared.with_name(f"{server.__name__}.sqlite3")
    shutil.copy(prepared, copy)
    with server({"DATABASE_URL": f"sqlite:///{copy}", "REDIS_URL": None}, **options) as process:
        yield OwnSite(process, people)
