"""The client process: holds the pages of one subject, counts what each of them gets, and says when.

Orders come in JSON lines (see `Client`'s methods). It answers with numbers alone; what they mean, the parent works out.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from typing import Any, Final

import uvloop

from benchmarks.pages import PAGES, Page

__all__: list[str] = []

LINE_BYTES: Final = 2**24
LONGEST_WAIT_SECONDS: Final = 60.0


class Client:
    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.open_pages: set[Page] = set()
        self.arrivals: list[tuple[int, float]] = []
        """The number and the time of everything that came since `begin`."""
        self.seen: Counter[tuple[int, int]] = Counter()
        """By page and number, to tell what came twice."""
        self.wanted = 0
        self.enough = asyncio.Event()

    # --- what the pages say ---

    def arrived(self, page: Page, numbers: list[bytes]) -> None:
        now = time.monotonic()
        for number in numbers:
            self.arrivals.append((int(number), now))
            self.seen[page.user, int(number)] += 1
        if len(self.seen) >= self.wanted:
            self.enough.set()

    def left(self, page: Page) -> None:
        self.open_pages.discard(page)

    # --- orders ---

    async def open(self, way: str, url: str, people: list[tuple[int, str]], at_once: int, within: float) -> dict[str, Any]:
        """Open a page each, `at_once` handshakes under way at a time. What is not ready `within` seconds has failed."""
        pages = [PAGES[way](url, user, session, self) for user, session in people]
        self.pages += pages
        return await self._opened(pages, at_once, within)

    async def _opened(self, pages: list[Page], at_once: int, within: float) -> dict[str, Any]:
        turns = asyncio.Semaphore(at_once)
        took: list[float] = []
        reasons: Counter[str] = Counter()

        async def open_one(page: Page) -> None:
            async with turns:
                started = time.monotonic()
                try:
                    async with asyncio.timeout(within):
                        await page.open()
                except Exception as error:  # noqa: BLE001 - refused, reset, too late: all the same to a page
                    reasons[type(error).__name__] += 1
                else:
                    self.open_pages.add(page)
                    took.append(time.monotonic() - started)

        started = time.monotonic()
        await asyncio.gather(*(open_one(page) for page in pages))
        return {"opened": len(took), "took": took, "seconds": time.monotonic() - started, "failed": reasons}

    async def begin(self) -> dict[str, Any]:
        """Count from here."""
        self.arrivals.clear()
        self.seen.clear()
        self.wanted = 0
        self.enough.clear()
        return {"open": len(self.open_pages)}

    async def until(self, count: int, within: float, quiet: float = 0.0) -> dict[str, Any]:
        """Wait for that many deliveries, each page and number once. `quiet`: give up when nothing has come for so long."""
        self.wanted = count
        self.enough.clear()
        started = last = time.monotonic()
        while len(self.seen) < count and time.monotonic() - started < within:
            try:
                async with asyncio.timeout(quiet or within):
                    await self.enough.wait()
            except TimeoutError:
                newest = self.arrivals[-1][1] if self.arrivals else 0.0
                if quiet and newest <= last:
                    break
                last = newest
        return {"got": len(self.seen), "last": self.arrivals[-1][1] if self.arrivals else 0.0}

    async def result(self) -> dict[str, Any]:
        """All that came since `begin`."""
        return {
            "arrivals": self.arrivals,
            "twice": sum(times - 1 for times in self.seen.values()),
            "gaps": sum(page.gaps for page in self.pages),
            "open": len(self.open_pages),
            "bytes": max((page.bytes for page in self.pages), default=0),
        }

    async def positions(self) -> list[str]:
        return [page.position for page in self.pages]

    async def cut(self) -> dict[str, Any]:
        """Every connection is reset at once."""
        for page in tuple(self.open_pages):
            page.cut()
        while self.open_pages:  # noqa: ASYNC110 - hundreds of events in one look
            await asyncio.sleep(0.01)
        return {}

    async def forget(self) -> dict[str, Any]:
        """Cut, and begin with other pages."""
        await self.cut()
        self.pages.clear()
        return {}

    async def come_back(self, within: float) -> dict[str, Any]:
        """All pages return as the app's script does: a random wait below a bound that doubles from what their server has said."""
        reasons: Counter[str] = Counter()
        ready: list[float] = []

        async def live(page: Page) -> None:
            for attempt in range(100):
                await asyncio.sleep(random.random() * min(LONGEST_WAIT_SECONDS, max(page.spread, 2**attempt)))
                try:
                    await page.open()
                except Exception as error:  # noqa: BLE001 - as above
                    reasons[type(error).__name__] += 1
                else:
                    self.open_pages.add(page)
                    ready.append(time.monotonic() - started)
                    return

        started = time.monotonic()
        try:
            async with asyncio.timeout(within):
                await asyncio.gather(*(live(page) for page in self.pages))
        except TimeoutError:
            pass
        return {"opened": len(ready), "took": ready, "failed": reasons}


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    client = Client()
    while line := await reader.readline():
        order = json.loads(line)
        try:
            answer = await getattr(client, order.pop("do"))(**order)
        except Exception as error:  # noqa: BLE001 - told to who asked
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
