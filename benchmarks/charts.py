"""The charts of docs/performance.md as SVG: horizontal bars with their spread, and lines over the number of pages. Pure.

One file serves light and dark pages: its text takes the colour that the reader's scheme asks for, its bars one that both bear.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from benchmarks.figures import Spread, number, spread
from benchmarks.results import Results
from benchmarks.subjects import by_name

__all__ = ["bars", "curves", "drawn"]

WIDTH: Final = 840
LABEL: Final = 400
ROW: Final = 26
TOP: Final = 46
STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:15px}.axis{stroke:#8b949e}"
    ".channels{fill:#8b949e;stroke:#8b949e}.live{fill:#1f7a4d;stroke:#1f7a4d}.other{fill:#b08800;stroke:#b08800}"
    ".spread{stroke:#1f2328;stroke-width:1.5}.line{fill:none;stroke-width:2}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.spread{stroke:#e6edf3}.live{fill:#3fb97a;stroke:#3fb97a}}"
)
CHARTS: Final = {
    "broadcast": ("broadcast", "cpu_us", "One notification to all pages: server CPU a delivery (µs)"),
    "personal": ("personal", "cpu_us", "One notification each: server CPU a delivery (µs)"),
    "handshake": ("handshake", "cpu_us", "A handshake with a session in the database: server CPU (µs)"),
    "memory": ("memory", "socket_kb", "An idle page: memory in the server (KB)"),
}


def drawn(results: Results) -> dict[str, str]:
    """By file name without its ending: every chart that the results have figures for."""
    charts = {}
    for name, (work, figure, title) in CHARTS.items():
        found = {subject: spread(values[figure]) for subject, values in results.values.get(work, {}).items() if figure in values}
        if found:
            charts[name] = bars(title, found)
    sizes = sorted(int(work.partition(" ")[2]) for work in results.values if work.startswith("growth "))
    lines: dict[str, list[tuple[int, float]]] = {}
    for size in sizes:
        for subject, figures in results.values[f"growth {size}"].items():
            lines.setdefault(subject, []).append((size, spread(figures["cpu_us"]).median))
    if len(sizes) > 1:
        charts["growth"] = curves("Server CPU a delivery (µs), by the number of pages", lines)
    return charts


def bars(title: str, found: Mapping[str, Spread]) -> str:
    """A bar a subject as long as its median; the thin line spans lowest and highest round."""
    longest = max(each.high for each in found.values()) or 1.0
    room = WIDTH - LABEL - 70
    parts = []
    for row, (subject, each) in enumerate(found.items()):
        y = TOP + row * ROW
        length, low, high = (room * value / longest for value in (each.median, each.low, each.high))
        parts.append(f'<text x="{LABEL - 10}" y="{y + 13}" text-anchor="end">{escape(by_name(subject).title)}</text>')
        parts.append(f'<rect class="{_class(subject)}" x="{LABEL}" y="{y}" width="{max(1.0, length):.1f}" height="17" rx="2"/>')
        parts.append(f'<path class="spread" d="M{LABEL + low:.1f} {y + 8.5}H{LABEL + high:.1f}"/>')
        parts.append(f'<text x="{LABEL + max(length, high) + 8:.1f}" y="{y + 13}">{number(each.median)}</text>')
    return _svg(title, parts, TOP + len(found) * ROW + 10)


def curves(title: str, lines: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """A line a subject through its medians, both axes from zero, named at its end."""
    height, left, right, bottom = 300, 60, WIDTH - 330, 270
    widest = max(x for points in lines.values() for x, _ in points)
    highest = max(y for points in lines.values() for _, y in points) or 1.0
    parts = [f'<path class="axis" fill="none" d="M{left} {TOP}V{bottom}H{right}"/>']
    parts.append(f'<text x="{left - 8}" y="{TOP + 5}" text-anchor="end">{number(highest)}</text>')
    parts.append(f'<text x="{left - 8}" y="{bottom}" text-anchor="end">0</text>')
    parts += [
        f'<text x="{left + (right - left) * x / widest:.1f}" y="{bottom + 18}" text-anchor="middle">{x}</text>'
        for x in sorted({x for points in lines.values() for x, _ in points})
    ]
    taken: list[float] = []
    for subject, points in sorted(lines.items(), key=lambda line: line[1][-1][1]):  # the lowest first: names move up
        places = [(left + (right - left) * x / widest, bottom - (bottom - TOP) * y / highest) for x, y in points]
        parts.append(
            f'<path class="line {_class(subject)}" style="fill:none" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>'
        )
        y = places[-1][1] + 4
        while any(abs(y - other) < 15 for other in taken):
            y -= 15
        taken.append(y)
        it = by_name(subject)
        parts.append(f'<text x="{places[-1][0] + 8:.1f}" y="{y:.1f}">{escape(it.title.rpartition(",")[0])}</text>')
    return _svg(title, parts, height)


def _class(subject: str) -> str:
    way = subject.partition("-")[0]
    return {"channels": way, "tuned": "channels", "live": way}.get(way, "other")


def _svg(title: str, parts: Sequence[str], height: int) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">'
    named = f'<title>{escape(title)}</title><style>{STYLE}</style><text class="title" x="10" y="24">{escape(title)}</text>'
    return "\n".join([head, named, *parts, "</svg>"]) + "\n"
