"""What was measured as tables, for a terminal and for docs/performance.md: medians, spreads, ratios, verdicts. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from benchmarks.figures import number, ratios, spread
from benchmarks.results import Results, unit_of
from benchmarks.subjects import REFERENCE, by_name
from benchmarks.targets import NOT_MEASURED, PAGES, Verdict, verdicts

__all__ = ["BEGIN", "END", "lines", "machine_lines", "page", "size_line", "table"]

BEGIN: Final = "<!-- figures: written by make bench -->"
END: Final = "<!-- end of figures -->"


def machine_lines(machine: dict[str, Any]) -> list[str]:
    pinned = "the server on one core, the rest on the others" if machine["pinned"] else "ONE CORE FOR ALL: times mean little"
    size = f"{machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return [f"{machine['processor']}, {size}, Python {machine['python']}; {pinned}", versions]


def size_line(size: dict[str, Any]) -> str:
    told = f"{size['sockets']} pages, {size['rounds']} rounds"
    return (
        told if size["sockets"] == PAGES else f"{told}. The targets are for {PAGES} pages: the verdicts of this run prove nothing"
    )


def lines(results: Results) -> Iterator[str]:
    """All figures for a terminal, then what has to be said about them, then the verdicts."""
    for work in results.values:
        yield ""
        yield f"=== {work}"
        yield f"{'':56}{'figure':18}{'median':>8}{'lowest to highest':>20}  against plain Channels"
        for subject, figures in results.values[work].items():
            for at, (figure, values) in enumerate(figures.items()):
                found = spread(values)
                title = by_name(subject).title if at == 0 else ""
                between = f"{number(found.low)} to {number(found.high)}" if found.rounds > 1 else ""
                against = _against(results, work, subject, figure)
                yield f"{title:56}{figure:18}{number(found.median):>8}{between:>20}  {against}".rstrip()
    yield ""
    yield from _notes(results)
    yield ""
    yield from (f"{row[0]:52}{row[1]:28}{row[2]:>12}{row[3]:>12}{row[4]:>24}{row[5]:>22}  {row[6]}" for row in table(results))
    if missing := sum(verdict.word == NOT_MEASURED for verdict in verdicts(results)):
        yield f"{missing} further targets were not measured"


def table(results: Results) -> Iterator[tuple[str, ...]]:
    """The targets that were measured, their head first."""
    yield "what", "where", "plain", "tuned", "to reach", "reached", "verdict"
    for verdict in verdicts(results):
        if verdict.word == NOT_MEASURED:
            continue
        target = verdict.target
        where = f"{target.subject.server}, {target.subject.layer}, {target.subject.database}"
        plain, tuned = (_with_unit(value, target.figure) for value in (verdict.plain, verdict.tuned))
        yield target.name, where, plain, tuned, verdict.bound, _reached(verdict), verdict.word


def page(told: dict[str, Any]) -> str:
    """The generated part of docs/performance.md, from what a run has written as JSON."""
    results = Results.from_json(told)
    parts = ["Measured on " + machine_lines(told["machine"])[0] + ".", "", machine_lines(told["machine"])[1] + ".", ""]
    parts += [f"{size_line(told['size'])}; {told['seconds'] / 60:.0f} minutes in all.", ""]
    parts += list(_markdown(list(table(results))))
    for work in results.values:
        parts += ["", f"### {work}", "", *_markdown(_rows(results, work))]
    if notes := list(_notes(results)):
        parts += ["", "### What has to be said", "", *(f"- {note}" for note in notes)]
    return "\n".join(parts)


def _rows(results: Results, work: str) -> list[tuple[str, ...]]:
    figures = [figure for figure in results.figures(work) if not figure.endswith(("share", "bytes"))]
    rows: list[tuple[str, ...]] = [("", *figures, "against plain Channels")]
    for subject in results.values[work]:
        cells = []
        for figure in figures:
            values = results.of(work, subject, figure)
            cells.append(_spread_of(values) if values else "")
        rows.append((by_name(subject).title, *cells, _against(results, work, subject, figures[0])))
    return rows


def _spread_of(values: list[float]) -> str:
    found = spread(values)
    if found.low == found.high:
        return number(found.median)
    return f"{number(found.median)} ({number(found.low)} to {number(found.high)})"


def _markdown(rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(rows[0])} |"
    yield f"|{'---|' * len(rows[0])}"
    yield from (f"| {' | '.join(row)} |" for row in rows[1:])


def _notes(results: Results) -> Iterator[str]:
    for subject, notes in results.notes.items():
        yield from (f"{by_name(subject).title}: {note}" for note in notes)


def _against(results: Results, work: str, subject: str, figure: str) -> str:
    """The ratio to plain Channels on its best layer, round by round: its median, lowest and highest."""
    reference = results.of(work, REFERENCE.name, figure)
    if subject == REFERENCE.name or not reference or unit_of(figure) in {"", "bytes"}:
        return ""
    found = ratios(results.of(work, subject, figure), reference)
    if not found:
        return ""
    of_all = spread(found)
    between = f" ({of_all.low:.2f} to {of_all.high:.2f})" if of_all.rounds > 1 else ""
    return f"{of_all.median:.2f}{between}"


def _with_unit(value: float | None, figure: str) -> str:
    return "" if value is None else f"{number(value)} {unit_of(figure)}".rstrip()


def _reached(verdict: Verdict) -> str:
    value = _with_unit(verdict.reached, verdict.target.figure)
    return f"1/{1 / verdict.ratio:.3g} ({value})" if verdict.ratio else value
