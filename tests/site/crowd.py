"""Many pages in a process of their own, each as light as can be: it keeps a socket and a position, and comes back by the rules
of `notification-stream.js`. `Crowd` starts and asks it.

    python -m tests.site.crowd     a line with {"url", "sessions", "at_once"}; "cut" aborts every socket; "report" tells
"""

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from typing import Any, Self

from tests.site.writer import ROOT

__all__ = ["Crowd"]

LINE_BYTES = 8 * 1024 * 1024
CALM_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 60
OPENING_SECONDS = 20.0  # a browser gives up later
SUBPROTOCOL = "notifications.v1.json"


class Crowd:
    """`async with Crowd(site, sessions) as crowd`: all of them have said hello and been answered when the block begins."""

    def __init__(self, site: Any, sessions: Sequence[str], *, at_once: int = 50) -> None:
        self.told = {"url": site.websocket_url, "sessions": list(sessions), "at_once": at_once}
        self.process: Process

    async def __aenter__(self) -> Self:
        command = [sys.executable, "-m", "tests.site.crowd"]
        self.process = await asyncio.create_subprocess_exec(
            *command, env=dict(os.environ), cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=LINE_BYTES
        )
        await self._ask(self.told)
        return self

    async def __aexit__(self, *error: object) -> None:
        self.process.kill()
        await self.process.wait()

    async def cut(self) -> None:
        """Every connection is reset at once."""
        await self._ask("cut")

    async def report(self) -> dict[str, Any]:
        """Of each page in its order: "answered", `time.time()` of the first message after its latest hello, 0 while there is
        none, and "positions"; of all pages: "tries", when each attempt to connect began."""
        report: dict[str, Any] = await self._ask("report")
        return report

    async def _ask(self, question: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps(question)}\n".encode())
        await self.process.stdin.drain()
        return json.loads(await self.process.stdout.readline())


class Member:
    """One page: one socket, opened again for ever."""

    def __init__(self, url: str, session: str, tries: list[float]) -> None:
        self.url = url
        self.session = session
        self.tries = tries
        self.position = ""
        self.answered = 0.0
        self.attempt = 0
        self.spread = 0.0
        self.socket: Any = None

    async def live(self) -> None:
        while True:
            opened, retry_after = 0.0, None
            self.tries.append(time.time())
            with contextlib.suppress(Exception):  # refused, reset, closed: whatever it is, it comes back
                await self.open()
                opened = time.monotonic()
                retry_after = await self.read()
            self.socket, self.answered = None, 0.0
            if opened and time.monotonic() - opened >= CALM_SECONDS:
                self.attempt = 0
            spread = self.spread if retry_after is None else 0.0
            wait = random.random() * min(LONGEST_WAIT_SECONDS, max(spread, 2**self.attempt))
            self.attempt += 1
            await asyncio.sleep(max(retry_after or 0.0, wait))  # the back-off itself

    async def open(self) -> None:
        from websockets.asyncio.client import connect

        headers = [("Cookie", f"sessionid={self.session}")]
        origin: Any = self.url.replace("ws", "http", 1)
        self.socket = await connect(
            f"{self.url}/notifications/socket/",
            additional_headers=headers,
            origin=origin,
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
            proxy=None,
            compression=None,
            open_timeout=OPENING_SECONDS,
            ping_interval=None,
        )
        await self.say({"type": "hello", "position": self.position, "language": "en"})

    async def read(self) -> float | None:
        """Until the socket ends; the `retry_after` of its goodbye, None if it went without."""
        retry_after = None
        with contextlib.suppress(Exception):  # a reset, in the middle of whatever
            async for frame in self.socket:
                message = json.loads(frame)
                if message["type"] == "bye":
                    retry_after = float(message["retry_after"] or 0.0)
                await self.take(message)
        return retry_after

    async def take(self, message: dict[str, Any]) -> None:
        if message["type"] == "welcome":
            self.spread = message["spread_seconds"]
        elif message["type"] in {"delta", "reset"}:
            self.position = message["position"]
            self.answered = self.answered or time.time()
            if "ack" in message:
                await self.say({"type": "ack", "ack": message["ack"]})
        elif message["type"] == "heartbeat":
            await self.say({"type": "heartbeat"})

    async def say(self, command: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(command))

    def cut(self) -> None:
        self.answered, self.attempt = 0.0, 0
        if self.socket is not None:
            self.socket.transport.abort()


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    told = json.loads(await reader.readline())
    tries: list[float] = []
    members = [Member(told["url"], session, tries) for session in told["sessions"]]
    lives = []
    for start in range(0, len(members), told["at_once"]):
        some = members[start : start + told["at_once"]]
        lives += [asyncio.create_task(member.live()) for member in some]
        while not all(member.answered for member in some):  # noqa: ASYNC110 - fifty events in one look
            await asyncio.sleep(0.01)
    answer("open")
    while question := await reader.readline():
        if json.loads(question) == "cut":
            for member in members:
                member.cut()
            answer("cut")
        else:
            answered, positions = [member.answered for member in members], [member.position for member in members]
            answer({"answered": answered, "positions": positions, "tries": tries})
    for life in lives:
        life.cancel()


def answer(what: Any) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    asyncio.run(main())
