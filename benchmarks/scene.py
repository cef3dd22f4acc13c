"""A subject in action: its server on one core; its client, its sender, Redis and PostgreSQL on the others.

with Stage(people=1000) as stage, stage.scene(subject) as scene:
    scene.open(1000), scene.push("broadcast", 1)
"""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.machine import OTHER_CORES, SERVER_CORES, cpu_seconds, pinned_to, tree_seconds
from benchmarks.processes import ROOT, Helper
from benchmarks.subjects import Subject
from tests.servers import AsgiProcess, PostgresServer, daphne_process, redis_server, uvicorn_process

__all__ = ["Scene", "Stage"]

APPLICATIONS: Final = {
    "bare": "bare_app",
    "channels": "channels_app",
    "tuned": "tuned_app",
    "socketio": "socketio_app",
    "eventstream": "http_app",
    "live": "live_app",
}
SETTLED: Final = 0.05  # of a core: what a server that has nothing to do may take
SETTLE_SECONDS: Final = 5.0
HANDSHAKES_AT_ONCE: Final = 50
PAGES_AT_ONCE: Final = 1000
OPEN_SECONDS: Final = 30.0


class Scene:
    """One subject's processes, and what can be asked of them."""

    def __init__(
        self, subject: Subject, server: AsgiProcess, client: Helper, sender: Helper, people: list[list[Any]], stage: "Stage"
    ) -> None:
        self.subject = subject
        self.server = server
        self.client = client
        self.sender = sender
        self.stage = stage
        self.people = people
        """User id and session key of everybody in the database."""
        self.line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        """One connection for the requests of a work; it opens itself again."""
        self.opened = 0
        self.number = 1_000_000
        """Of the last notification sent."""

    @property
    def users(self) -> list[int]:
        """Whose pages are open."""
        return [user for user, _ in self.people[: self.opened]]

    def open(self, count: int, *, at_once: int = HANDSHAKES_AT_ONCE, within: float = OPEN_SECONDS) -> dict[str, Any]:
        """Further pages, up to `count` in all."""
        told = {"way": self.subject.way, "url": self.server.url, "at_once": at_once, "within": within}
        answers = []
        for start in range(self.opened, count, PAGES_AT_ONCE):  # each asked for in time, however slow the handshakes are
            people = self.people[start : min(count, start + PAGES_AT_ONCE)]
            answers.append(self.client.ask("open", people=people, **told))
        self.opened = max(count, self.opened)
        took = [seconds for answer in answers for seconds in answer["took"]]
        failed = sum((Counter(answer["failed"]) for answer in answers), Counter())
        return {"opened": sum(answer["opened"] for answer in answers), "failed": dict(failed), "took": took}

    def perform(self, do: str, **told: Any) -> Any:
        """By the sender, a process of its own; within the server where the layer reaches no other process."""
        return self.within(do, **told) if self.subject.is_alone else self.sender.ask(do, **told)

    def within(self, do: str, **told: Any) -> Any:
        """In the server process, by a request."""
        self.line.request("POST", "/do/", json.dumps({"do": do, **told}), {"Content-Type": "application/json"})
        answer = self.line.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{self.subject.name} answered {answer.status}: {self.server.log[-2000:]}")
        return json.loads(body)["answer"]

    def next_numbers(self, count: int) -> int:
        """The first of that many numbers that nobody has had."""
        first = self.number + 1
        self.number += count
        return first

    def cpu(self) -> float:
        return cpu_seconds(self.server.pid)

    def settle(self) -> bool:
        """Wait until the server has nothing to do. False: it did not get there."""
        self.line.close()  # servers close one that has been silent for seconds, which the next request would run into
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            before, started = self.cpu(), time.monotonic()
            time.sleep(0.25)  # a span of which to tell the CPU: a server at rest says so to nobody
            if (self.cpu() - before) / (time.monotonic() - started) < SETTLED:
                return True
        return False


class Stage:
    """What all scenes share: databases with people in them, made once and copied."""

    def __init__(self, people: int) -> None:
        self._count = people
        self._stack = ExitStack()
        self._prepared: dict[str, tuple[str, list[list[Any]]]] = {}
        self._copies = 0

    def __enter__(self) -> Self:
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self.postgres: PostgresServer | None = None
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def scene(self, subject: Subject, **more: str) -> Iterator[Scene]:
        """The subject's processes, until the block ends. `more`: further environment."""
        with ExitStack() as stack:
            url, people = self._database(subject.database)
            env = {"SUBJECT": subject.name, "DATABASE_URL": url, **more}
            with pinned_to(OTHER_CORES):
                if not subject.is_alone:
                    env["REDIS_URL"] = stack.enter_context(redis_server()).url
                client = stack.enter_context(Helper("benchmarks.client", env={}))
                sender = stack.enter_context(Helper("benchmarks.sender", env=env))
            start = daphne_process if subject.is_daphne else uvicorn_process
            options = ("--verbosity", "0") if subject.is_daphne else ("--log-level", "warning", "--no-access-log")
            application = f"benchmarks.site.{APPLICATIONS[subject.way]}:application"
            with pinned_to(SERVER_CORES):
                serving = start(env, application=application, settings="benchmarks.site.settings", options=options)
                server = stack.enter_context(serving)
            yield Scene(subject, server, client, sender, people, self)

    def _database(self, kind: str) -> tuple[str, list[list[Any]]]:
        """A fresh copy of the prepared database, and who is in it."""
        if kind not in self._prepared:
            self._prepared[kind] = self._prepare(kind)
        source, people = self._prepared[kind]
        self._copies += 1
        if kind == "sqlite":
            copy = self.directory / f"copy{self._copies}.sqlite3"
            shutil.copyfile(source, copy)
            return f"sqlite:///{copy}", people
        name = f"copy{self._copies}"
        self._statement(f"CREATE DATABASE {name} TEMPLATE prepared")
        return self._postgres_url(name), people

    def _prepare(self, kind: str) -> tuple[str, list[list[Any]]]:
        if kind == "postgres":
            with pinned_to(OTHER_CORES):
                self.postgres = self._stack.enter_context(_durable_postgres())
            self._statement("CREATE DATABASE prepared")
            source = url = self._postgres_url("prepared")
        else:
            source = str(self.directory / "prepared.sqlite3")
            url = f"sqlite:///{source}"
        env = {"SUBJECT": f"live-daphne-memory-{kind}", "DATABASE_URL": url, "PEOPLE": str(self._count)}
        command = [sys.executable, "-m", "benchmarks.prepare"]
        words = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, check=True, stdout=subprocess.PIPE, text=True)
        return source, json.loads(words.stdout)

    def _postgres_url(self, name: str) -> str:
        if self.postgres is None:
            raise RuntimeError("PostgreSQL does not run")
        return self.postgres.url.rpartition("/")[0] + f"/{name}"

    def _statement(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self._postgres_url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def database_seconds(self) -> float:
        return tree_seconds(self.postgres.pid) if self.postgres is not None else 0.0


class DurablePostgres(PostgresServer):
    """As a site runs it: a commit is on the disk before it returns."""

    def command(self) -> list[str | Path]:
        words = super().command()
        for setting in ("fsync=off", "synchronous_commit=off", "full_page_writes=off"):
            at = words.index(setting)
            del words[at - 1 : at + 1]
        return words


@contextlib.contextmanager
def _durable_postgres() -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory(prefix="postgres-") as directory:
        server = DurablePostgres(directory=Path(directory))
        server.make_cluster()
        with server:
            yield server
