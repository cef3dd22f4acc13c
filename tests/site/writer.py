"""A process that writes to the site's database, as a management command or a Celery worker does: `Writer` starts and feeds it.

python -m tests.site.writer    a line with a JSON list of jobs, "ready" comes back, a line says go, a line a job comes back
"""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, TypedDict

__all__ = ["Job", "Outcome", "Writer"]

ROOT = Path(__file__).resolve().parents[2]
ENDS_WITHIN_SECONDS = 10.0
LINE_BYTES = 8 * 1024 * 1024  # all jobs are one line


class Job(TypedDict, total=False):
    """One transaction of `transactions.perform()`; the fate "notify" is a plain call instead."""

    fate: str
    user: int
    name: str
    hold: float
    """Seconds of other work inside the transaction."""
    pause: float
    """Seconds before it."""


class Outcome(TypedDict):
    name: str
    at: float | None
    """`time.time()` of the commit; None if there was none."""
    error: str | None
    """What the site's code was hit by, other than its own failure."""
    ended: float
    """`time.time()` when the site's code had done with it, its hooks included."""


class Writer:
    """`async with Writer(env) as writer: outcomes = await writer.run(jobs)`: the process is ready when the block begins."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.site.settings", **env}
        self.process: Process

    async def __aenter__(self) -> Self:
        command = [sys.executable, "-m", "tests.site.writer"]
        self.process = await asyncio.create_subprocess_exec(
            *command, env=self.env, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=LINE_BYTES
        )
        assert await self._line() == "ready"
        return self

    async def __aexit__(self, *error: object) -> None:
        """It ends as a command does, and says before it what it still has to say. One that hangs is killed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), ENDS_WITHIN_SECONDS)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Do the jobs, one after the other."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(jobs)}\n".encode())
        await self.process.stdin.drain()
        return [json.loads(await self._line()) for _ in jobs]

    async def _line(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()


def main() -> None:
    import django

    django.setup()
    from django.db import connection

    connection.ensure_connection()
    print("ready", flush=True)  # noqa: T201 - the parent reads it
    for line in sys.stdin:
        for outcome in [_outcome(job) for job in json.loads(line)]:
            print(json.dumps(outcome), flush=True)  # noqa: T201


def _outcome(job: Job) -> Outcome:
    from django.db import transaction

    from tests.site.transactions import Deliberate, perform

    time.sleep(job.get("pause", 0.0))  # the pace that the test has chosen
    at: list[float] = []
    error = None
    try:
        with transaction.atomic():
            if job["fate"] == "notify":
                from notifications import notify

                transaction.on_commit(lambda: at.append(time.time()))  # before the app's own hook, which may relay
                notify("plain", to=job["user"], title=job["name"])
            else:
                perform(job["fate"], job["user"], job["name"], committed=at.append, hold=job.get("hold", 0.0))
    except Deliberate:
        pass
    except Exception as hit:  # noqa: BLE001 - whatever hits the site is what the test asks about
        error = repr(hit)
    return {"name": job["name"], "at": at[0] if at else None, "error": error, "ended": time.time()}


if __name__ == "__main__":
    main()
