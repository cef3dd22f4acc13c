"""Compares what was committed with what each page showed: lost, phantom, duplicate, reordered, leaked, late.

Titles are the names by which both sides are compared, so a test gives each commit one of its own.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.site.client import Page

__all__ = ["Commit", "Verdict", "Witness", "judge", "percentile", "settle"]


class Commit(NamedTuple):
    """A notification whose transaction has committed: the truth that pages are held against."""

    title: str
    users: tuple[int, ...]
    writer: str = ""
    """Whose order of commits the pages must keep. A writer's commits are given to `judge()` in their order."""
    at: float = 0.0
    """`time.time()` of the commit."""


class Shown(NamedTuple):
    """When a page first showed a title, and since when the connection that brought it had been asked for."""

    at: float
    since: float


class Witness(Page):
    """A page of one user that remembers when it first showed what."""

    def __init__(self, site: Any, user_id: int, session: str, **options: Any) -> None:
        super().__init__(site, session, **options)
        self.user_id = user_id
        self.since = 0.0
        self.first: dict[str, Shown] = {}
        self.opened = 0
        """How often it connected."""

    async def connect(self, *, greets: bool = True, **options: Any) -> None:
        self.since = time.time()
        await super().connect(greets=greets, **options)
        self.opened += 1

    async def cut(self) -> None:
        """The connection dies without a closing handshake."""
        self.socket.transport.abort()
        await self._reader

    async def _apply(self, message: dict[str, Any]) -> None:
        await super()._apply(message)
        now = time.time()
        for item in message["items"]:
            if item["id"] in self.items:
                self.first.setdefault(item["title"], Shown(now, self.since))


@dataclass
class Verdict:
    """What is wrong, each finding with the user's id and the title. `delays`: seconds from commit to shown, one a page."""

    lost: list[tuple[int, str]] = field(default_factory=list)
    """Committed for the page's user, and not shown."""
    phantom: list[tuple[int, str]] = field(default_factory=list)
    """Shown, and never committed."""
    duplicate: list[tuple[int, str]] = field(default_factory=list)
    """Listed twice, or announced twice as new."""
    reordered: list[tuple[int, str]] = field(default_factory=list)
    """Listed or announced before an earlier commit of the same writer."""
    leaked: list[tuple[int, str]] = field(default_factory=list)
    """Shown to somebody whom it was not for."""
    late: list[tuple[int, str]] = field(default_factory=list)
    """Shown, but after the bound."""
    delays: list[float] = field(default_factory=list)

    def check(self, figures: Any) -> None:
        """Record every count, then hold each to zero."""
        for name in ("lost", "phantom", "duplicate", "reordered", "leaked", "late"):
            figures.none(name, getattr(self, name))


def judge(commits: Iterable[Commit], witnesses: Iterable[Page], *, late_after: float = float("inf")) -> Verdict:
    """`commits` in the order of each writer. A page with `user_id` is a `Witness`, or has been given that attribute.

    A page that was away is not late before it came back: its delay counts from the later of the commit and its connection.
    """
    known = {commit.title: commit for commit in commits}
    verdict = Verdict()
    for page in witnesses:
        user: int = page.user_id  # type: ignore[attr-defined]
        listed = [item["title"] for item in sorted(page.items.values(), key=lambda item: item["number"])]
        shown = set(listed) | set(page.arrived)
        verdict.lost += [(user, title) for title, each in known.items() if user in each.users and title not in listed]
        verdict.phantom += [(user, title) for title in sorted(shown) if title not in known]
        verdict.leaked += [(user, title) for title in sorted(shown) if title in known and user not in known[title].users]
        for order in (listed, page.arrived):
            verdict.duplicate += [(user, title) for title, count in Counter(order).items() if count > 1]
            verdict.reordered += [(user, title) for title in _out_of_order(order, known)]
        for title, first in getattr(page, "first", {}).items():
            if title in known:
                delay = first.at - max(known[title].at, first.since)
                verdict.delays.append(delay)
                if delay > late_after:
                    verdict.late.append((user, title))
    return verdict


def _out_of_order(titles: Sequence[str], known: dict[str, Commit]) -> list[str]:
    """The titles that come after a later commit of their writer."""
    place = {title: number for number, title in enumerate(known)}
    furthest: dict[str, int] = {}
    found = []
    for title in titles:
        if title not in known:
            continue
        writer = known[title].writer
        if place[title] < furthest.get(writer, -1):
            found.append(title)
        furthest[writer] = max(place[title], furthest.get(writer, -1))
    return found


async def settle(witnesses: Collection[Page], commits: Sequence[Commit], seconds: float = 20.0) -> None:
    """Wait until each page lists as much as was committed for its user, then let it ask once more.

    The question brings what is in the inbox and should not be. A page that misses something asks nothing, so that the answer
    does not hide the loss; `judge()` says what it is.
    """
    due = Counter(user for commit in commits for user in commit.users)

    async def complete(page: Page) -> None:
        wanted: int = due[page.user_id]  # type: ignore[attr-defined]
        with contextlib.suppress(AssertionError):
            await page.until(lambda page: len(page.items) >= wanted, seconds)
            count = len(page.frames)
            await page.hello()
            await page.until(_is_answered(count), seconds)

    await asyncio.gather(*(complete(page) for page in witnesses))


def _is_answered(count: int) -> Callable[[Page], bool]:
    def is_answered(page: Page) -> bool:
        names = [frame["type"] for frame in page.frames[count:]]
        return "welcome" in names and any(name in {"delta", "reset"} for name in names[names.index("welcome") :])

    return is_answered


def percentile(values: Collection[float], share: float) -> float:
    """The value that `share` of the values do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
