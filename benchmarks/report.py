"""Prints what was measured as tables: median, spread, and the ratio to plain Channels. Pure."""

from collections.abc import Iterator
from typing import Any

from benchmarks.figures import ratios, spread
from benchmarks.results import Results, unit_of
from benchmarks.subjects import REFERENCE, by_name

__all__ = ["lines", "machine_line", "number"]


def machine_line(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    pinned = "server on one core, everything else on the others" if machine["pinned"] else "ONE CORE ONLY: times mean little"
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
        f"Python {machine['python']}; {pinned}\n{versions}"
    )


def lines(results: Results) -> Iterator[str]:
    """A table a work: a line a subject and figure."""
    for work, subjects in results.values.items():
        yield ""
        yield f"{work:44} {'figure':16} {'median':>9} {'low':>9} {'high':>9} {'rounds':>6} {'against plain Channels':>24}"
        for subject, figures in subjects.items():
            for figure, values in figures.items():
                found = spread(values)
                yield (
                    f"{by_name(subject).title:44.44} {figure:16} {number(found.median):>9} {number(found.low):>9} "
                    f"{number(found.high):>9} {found.rounds:>6} {_against(results, work, subject, figure):>24}"
                )
    for subject, notes in results.notes.items():
        for note in notes:
            yield f"NOTE {by_name(subject).title}: {note}"


def number(value: float) -> str:
    """Three digits that count."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _against(results: Results, work: str, subject: str, figure: str) -> str:
    reference = results.of(work, REFERENCE.name, figure)
    if subject == REFERENCE.name or not reference or not unit_of(figure) or unit_of(figure) == "bytes":
        return ""
    found = ratios(results.of(work, subject, figure), reference)
    if not found:
        return ""
    of_all = spread(found)
    return f"{of_all.median:.2f} ({of_all.low:.2f} to {of_all.high:.2f})"
