"""One tab of a user: the client's real modules under Node at one end, a real consumer at the other, and a connection that the
simulation can slow, stop and cut. Beside the real reducer that of `tests/site/client.py` gets the same frames, and must agree.
"""

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from notifications.inbox import Page as Printed
from tests.servers.programs import node
from tests.site.client import Page
from tests.site.wire import Wire

__all__ = ["Browser", "Tab", "plain"]

LONGEST_BACK_OFF = 61
STATE = ("id", "number", "stamp", "read", "archived", "title")


def plain(item: Any) -> dict[str, Any]:
    """What the simulator compares of an item, from a frame or from the server's own struct."""
    return {name: item[name] if isinstance(item, dict) else getattr(item, name) for name in STATE}


class Browser:
    """The Node process that all tabs live in."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("pages.mjs")
        self._process = subprocess.Popen(
            [node(), program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def ask(self, **what: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, f"{what}: {answer['error']}"
        return answer

    def close(self) -> None:
        self._process.communicate()


class Beside(Page):
    """The reducer of the other tests, which only listens: what it would send is nobody's."""

    def __init__(self, printed: Printed) -> None:
        super().__init__(SimpleNamespace(websocket_url=""), None, position=printed.position)
        self.items = {item.id: plain(item) for item in printed.items}
        self.unread, self.unseen, self.seen_upto = printed.unread, printed.unseen, printed.seen_upto
        self.floor = min(item["number"] for item in self.items.values()) if printed.more and self.items else 0
        """Older ones may exist that this page need not know."""

    async def send(self, **command: Any) -> None:
        return

    async def hello(self) -> None:
        return

    async def take(self, frame: dict[str, Any]) -> None:
        await self._take(frame)
        if frame["type"] == "reset":
            numbers = [item["number"] for item in frame["items"]]
            self.floor = min(numbers) if frame["more"] and numbers else 0


class Tab:
    """`connects(tab)` gives the wire to its server; `sent` hears each frame as it leaves the server."""

    def __init__(self, browser: Browser, slot: str, user: str) -> None:
        self.browser, self.slot, self.user = browser, slot, user
        self.server = 0
        self.wire: Wire | None = None
        self.reads = asyncio.Event()
        """Cleared: frames pile up on the way, as in a network that stands still."""
        self.acks = True
        self.is_open = False
        self._has_asked = self.has_asked_again = False
        """Said hello on this connection, and once more."""
        self.closed_by: Any = None
        """The server's `bye`, or its code without one."""
        self._kept: list[dict[str, Any]] = []
        self._opened = 0
        self._pump: asyncio.Task[None] | None = None
        self._in_catch_up: set[tuple[int, int]] = set()
        self.may_hear_twice = False
        """A row was perhaps marked while a look was at it: such rows come with this look, and again with the next part."""

    def open(self, printed: Printed, server: int, make_wire: Callable[["Tab"], Wire]) -> None:
        """The page has been loaded; its script runs, and wants a socket."""
        self.server, self._make_wire = server, make_wire
        self.beside = Beside(printed)
        self._opened, self.is_open = 0, True
        page = {name: getattr(printed, name) for name in ("position", "top", "before", "unread", "unseen", "seen_upto")}
        self._do("open", page={**page, "items": [plain(item) for item in printed.items]})

    async def connect(self) -> None:
        """Give the page the socket that it waits for, at once or after its back-off."""
        if self.wire is not None:
            return
        for _ in range(LONGEST_BACK_OFF):
            if self._opened < self._connections:
                break
            self._do("wait", seconds=1)
        assert self._opened < self._connections, f"{self.slot} does not come back"
        self._opened = self._connections
        self.reads.set()
        self.acks, self._has_asked, self.has_asked_again = True, False, False
        self._kept, self._in_catch_up = [], set()
        self.wire = self._make_wire(self)
        await self.wire.open()
        await self._say(self._do("connected"))
        self._pump = asyncio.ensure_future(self._read(self.wire))

    async def cut(self) -> None:
        """The connection is gone, and with it what was on its way."""
        if self.wire is None:
            return
        wire, self.wire = self.wire, None
        if self._pump is not None:
            self._pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pump
        wire.gate.set()
        await wire.close()
        self._do("closed", code=1006)

    async def hello(self) -> None:
        """Say hello again, from wherever the page stands, as after a suspicious heartbeat."""
        if self.wire is not None:
            await self._say(self._do("frame", frame={"type": "heartbeat", "position": "elsewhere"}))
            await self._say(self._do("wait", seconds=2))

    async def command(self, **command: Any) -> None:
        await self._say(self._do("command", command=command))

    async def acknowledge(self) -> None:
        self.acks = True
        kept, self._kept = self._kept, []
        await self._say({"sent": kept})

    async def wait(self, seconds: float) -> None:
        """The page's own timers."""
        if self.is_open:
            await self._say(self._do("wait", seconds=seconds))

    async def _read(self, wire: Wire) -> None:
        async for text in wire:
            await self.reads.wait()
            frame = json.loads(text)
            await self.beside.take(frame)
            self._check_delta(frame)
            await self._say(self._do("frame", frame=frame))
            self.agree()
        if wire is self.wire:
            self.wire, self.closed_by = None, self.beside.bye or wire.close_code
            self._do("closed", code=wire.close_code or 1006)

    def _do(self, does: str, **how: Any) -> dict[str, Any]:
        answer = self.browser.ask(slot=self.slot, does=does, **how)
        self.shown = answer
        self._connections: int = answer["opened"]
        return answer

    async def _say(self, answer: dict[str, Any]) -> None:
        for frame in answer["sent"]:
            if frame["type"] == "hello":
                self.has_asked_again = self._has_asked
                self._has_asked = True
                self._in_catch_up.clear()
            if frame["type"] == "ack" and not self.acks:
                self._kept.append(frame)
            elif self.wire is not None:
                await self.wire.send(json.dumps(frame))

    def _check_delta(self, frame: dict[str, Any]) -> None:
        """It fits, and no row needlessly comes twice in the same state on the way from one position to the next."""
        if frame["type"] != "delta":
            return
        if self.has_asked_again:  # an answer to the first hello may come after the second
            self.beside.gaps = 0
        assert not self.beside.gaps, f"{self.slot} is sent what does not fit: {frame}"
        rows = [(item["id"], item["stamp"]) for item in frame["items"]]
        assert len(set(rows)) == len(rows), f"a row twice in one delta: {rows}"
        if not self.has_asked_again and not self.may_hear_twice:
            assert not self._in_catch_up & set(rows), f"a row twice in one catch-up: {rows}"
        self._in_catch_up |= set(rows)
        if not frame["more"]:
            self._in_catch_up.clear()

    def agree(self) -> None:
        """The client's own reducer and that of the tests, fed with the same frames, show the same."""
        theirs, ours = self.shown, self.beside
        assert theirs["position"] == ours.position
        counts = (theirs["unread"], theirs["unseen"], theirs["seen_upto"])
        assert counts == (ours.unread, ours.unseen, ours.seen_upto), f"{self.slot} counts {counts}"
        active = {id: plain(item) for id, item in ours.items.items() if not item["archived"] and item["number"] >= ours.floor}
        rows = {row["id"]: row for row in theirs["rows"]}
        assert rows == active, f"{self.slot} shows {rows}, and by the tests' reducer {active}"
