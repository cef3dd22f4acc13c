"""A private PostgreSQL cluster, made for the run and removed after it. It refuses to run as root, so root lends it a user."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.servers import programs
from tests.servers.process import HOST, ServerProcess

__all__ = ["PostgresServer", "postgres_server"]

SUPERUSER = "tests"


class PostgresServer(ServerProcess):
    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait for every client to leave

    @property
    def url(self) -> str:
        return f"postgres://{SUPERUSER}@{HOST}:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def make_cluster(self) -> None:
        if os.geteuid() == 0:
            account = pwd.getpwnam(unprivileged_user())
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        options = ["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        initdb = str(programs.postgres_bin() / "initdb")
        command = [*as_unprivileged(), initdb, "--pgdata", str(self.data), *options]
        subprocess.run(command, check=True, cwd=self.directory, capture_output=True)

    def command(self) -> list[str | Path]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            # nothing here has to survive the machine's power cut
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*as_unprivileged(), programs.postgres_bin() / "postgres", "-D", self.data, *words]

    def client(self) -> "psycopg.Connection[tuple[Any, ...]]":
        """`with server.client() as client`: commits and closes at the end."""
        return psycopg.connect(self.url, connect_timeout=2)

    def is_ready(self) -> bool:
        try:
            self.client().close()
        except psycopg.OperationalError:
            return False
        return True


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    programs.postgres_bin()
    with tempfile.TemporaryDirectory(prefix="postgres-") as directory:
        server = PostgresServer(directory=Path(directory))
        server.make_cluster()
        with server:
            yield server


def as_unprivileged() -> list[str]:
    """The words that, in front of a command, make it run as somebody else than root. None for anybody else."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise programs.Missing("no setpriv, without which root cannot start a PostgreSQL of its own")
    user = unprivileged_user()
    return ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups", "--"]


def unprivileged_user() -> str:
    """`postgres` where Debian's package made it, else `nobody`."""
    names = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
