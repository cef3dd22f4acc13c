"""What the app is to reach, in one place: bounds against plain Channels in the same run, or against the clock. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.figures import number, ratios, spread
from benchmarks.results import Results, unit_of
from benchmarks.subjects import REFERENCE, TUNED, Subject

__all__ = ["NOT_MEASURED", "PAGES", "TARGETS", "Target", "Verdict", "verdicts"]

NOT_MEASURED: Final = "not measured"
PAGES: Final = 1000
"""The bounds are for so many."""


@dataclass(frozen=True)
class Target:
    name: str
    work: str
    figure: str
    subject: Subject
    bound: float
    """At most: of plain Channels' figure if `is_ratio`, else in the figure's own unit. At least, if `is_least`."""
    is_ratio: bool = False
    is_least: bool = False


@dataclass(frozen=True)
class Verdict:
    target: Target
    plain: float | None
    """Plain Channels' median in the same run; None where it has no such figure."""
    tuned: float | None
    """The median of plain Channels at its best, likewise."""
    reached: float | None
    """The subject's median; None if it was not measured."""
    ratio: float | None

    @property
    def word(self) -> str:
        found = self.ratio if self.target.is_ratio else self.reached
        if found is None:
            return NOT_MEASURED
        is_reached = found >= self.target.bound if self.target.is_least else found <= self.target.bound
        return "reached" if is_reached else "MISSED"

    @property
    def bound(self) -> str:
        """For people."""
        if self.target.is_ratio:
            return f"at most 1/{1 / self.target.bound:.3g} of it"
        word = "at least" if self.target.is_least else "at most"
        return f"{word} {number(self.target.bound)} {unit_of(self.target.figure)}".rstrip()


def _of(server: str, database: str) -> Subject:
    return Subject("live", server, "pubsub", database)


D: Final = _of("daphne", "sqlite")
U: Final = _of("uvicorn", "sqlite")
DP: Final = _of("daphne", "postgres")
MEMORY: Final = Subject("channels", "daphne", "memory", "sqlite")
CORE: Final = [Subject("live", "daphne", layer, database) for layer in ("core", "pubsub") for database in ("sqlite", "postgres")]

TARGETS: Final = [
    Target("broadcast, CPU a delivery", "broadcast", "cpu_us", D, 1 / 4, is_ratio=True),
    Target("broadcast, CPU a delivery", "broadcast", "cpu_us", _of("direct", "sqlite"), 1 / 12, is_ratio=True),
    Target("broadcast, CPU a delivery", "broadcast", "cpu_us", U, 1 / 12, is_ratio=True),
    Target("personal, push alone, CPU a delivery", "personal", "cpu_us", D, 1 / 5, is_ratio=True),
    Target("personal, push alone, CPU a delivery", "personal", "cpu_us", U, 1 / 10, is_ratio=True),
    Target("one event to 300: relay, rows, push, CPU a delivery", "wide", "cpu_us", D, 1 / 4, is_ratio=True),
    Target("one event to 300: relay, rows, push, CPU a delivery", "wide", "cpu_us", DP, 1 / 2, is_ratio=True),
    Target("one save, one recipient: all extra CPU", "save", "server_us", D, 3000),
    Target("one save, one recipient: all extra CPU", "save", "server_us", DP, 4500),
    Target("broadcast, p99 from ring to the client", "broadcast", "p99_ms", D, 80),
    Target("broadcast, p99 from ring to the client", "broadcast", "p99_ms", U, 40),
    Target("commit to client, p50 beyond one commit", "latency", "beyond_ms", D, 4),
    Target("commit to client, p50 beyond one commit", "latency", "beyond_ms", DP, 4),
    Target("commit to client, p99 in p50s", "latency", "p99_each", D, 3),
    Target("commit to client, p99 in p50s", "latency", "p99_each", DP, 3),
    Target("notify() to 1,000 ids, beyond one equal INSERT", "trigger 1000", "extra_ms", D, 2),
    Target("notify() to 1,000 ids, beyond one equal INSERT", "trigger 1000", "extra_ms", DP, 2),
    Target("notify() to 1,000 ids, delivered to all", "trigger 1000", "last_ms", D, 300),
    Target("notify() to 1,000 ids, delivered to all", "trigger 1000", "last_ms", DP, 300),
    Target("SQL statements of notify() to 10,000", "trigger 10000", "statements_count", D, 2),
    Target("SQL statements of notify() to 10,000", "trigger 10000", "statements_count", DP, 2),
    Target("save() with a rule, extra time of the caller", "save", "extra_ms", D, 1),
    Target("save() with a rule, extra time of the caller", "save", "extra_ms", DP, 2),
    Target("handshake, CPU", "handshake", "cpu_us", D, 1 / 2.5, is_ratio=True),
    Target("handshake, CPU", "handshake", "cpu_us", DP, 1 / 1.6, is_ratio=True),
    Target("all handshakes at once, share within 5 s", "rush", "opened_share", D, 1, is_least=True),
    Target("all handshakes at once, share within 5 s", "rush", "opened_share", DP, 1, is_least=True),
    Target("idle memory a socket", "memory", "socket_kb", D, 40),
    Target("resume, 20 changes behind: share that is right", "resume", "right_share", D, 1, is_least=True),
    Target("resume, 20 changes behind: last one back", "resume", "last_seconds", D, 10),
    Target("resume, SQL statements a socket", "resume", "statements_each", D, 0.3),
    Target("resume, 20 changes behind: share that is right", "resume", "right_share", DP, 1, is_least=True),
    Target("resume, 20 changes behind: last one back", "resume", "last_seconds", DP, 10),
    Target("resume, SQL statements a socket", "resume", "statements_each", DP, 0.3),
    *(Target("burst to one client: lost", "burst", "lost_count", subject, 0) for subject in CORE),
    Target("broadcast, dearest over cheapest size", "growth", "cost_each", D, 1.2),
    Target("broadcast, dearest over cheapest size", "growth", "cost_each", U, 1.2),
]


def verdicts(results: Results) -> Iterator[Verdict]:
    """One for each target, in order, measured or not."""
    for target in TARGETS:
        values = _values(results, target, target.subject)
        reference = _values(results, target, MEMORY if target.work == "growth" else REFERENCE)
        found = ratios(values, reference) if values and reference and target.is_ratio else []
        yield Verdict(
            target,
            plain=spread(reference).median if reference else None,
            tuned=spread(tuned).median if (tuned := _values(results, target, TUNED)) else None,
            reached=spread(values).median if values else None,
            ratio=spread(found).median if found else None,
        )


def _values(results: Results, target: Target, subject: Subject) -> list[float]:
    if target.work != "growth":
        return results.of(target.work, subject.name, target.figure)
    sizes = [results.of(work, subject.name, "cpu_us") for work in results.values if work.startswith("growth ")]
    costs = [spread(values).median for values in sizes if values]
    return [max(costs) / min(costs)] if len(costs) > 1 else []
