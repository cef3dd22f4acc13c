"""Chooses subjects and works, has them measured in interleaved rounds, prints, writes the JSON and, if asked, the page."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks import charts, plan, report
from benchmarks.machine import OTHER_CORES, described
from benchmarks.plan import WORKS, Size
from benchmarks.results import Results
from benchmarks.scene import Stage
from benchmarks.subjects import DATABASES, LAYERS, SERVERS, WAYS, Subject, chosen, usual

HERE: Final = Path(__file__).resolve().parent
LATEST: Final = HERE / "results" / "latest.json"
PAGE: Final = HERE.parent / "docs" / "performance.md"
CHARTS: Final = HERE.parent / "docs" / "images" / "performance"


def main() -> int:
    options = _options()
    told = json.loads(options.show.read_text()) if options.show else _measured(options)
    print("\n".join([*report.machine_lines(told["machine"]), *report.lines(Results.from_json(told))]))
    print(f"\n{report.size_line(told['size'])}; {told['seconds']} s")
    if options.page:
        _write_page(told)
    return 0


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    size = Size.quick() if options.quick else Size(sockets=options.sockets, rounds=options.rounds)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # by way of every `with`: the servers are processes of ours
    os.sched_setaffinity(0, OTHER_CORES)  # this process asks and waits, and shall not do so on the server's core
    results, started, machine = Results(), time.monotonic(), described()
    print("\n".join(report.machine_lines(machine)))

    def told() -> dict[str, Any]:
        seconds = round(time.monotonic() - started)
        return {"machine": machine, "size": size.as_json(), "seconds": seconds, **results.as_json()}

    def save() -> None:
        options.json.write_text(json.dumps(told(), indent=1) + "\n")

    options.json.parent.mkdir(parents=True, exist_ok=True)
    with Stage(people=size.people) as stage:
        plan.run(stage, _subjects(options), options.work or list(WORKS), size, results, save)
    return told()


def _subjects(options: argparse.Namespace) -> list[Subject]:
    if not (options.ways or options.servers or options.layers or options.databases):
        return usual()
    return chosen(
        ways=options.ways or list(WAYS),
        servers=options.servers or list(SERVERS),
        layers=options.layers or ["pubsub"],
        databases=options.databases or ["sqlite"],
    )


def _write_page(told: dict[str, Any]) -> None:
    """The charts, and what stands between the two marks of the page."""
    head, begin, rest = PAGE.read_text().partition(report.BEGIN)
    _, end, tail = rest.partition(report.END)
    if not (begin and end):
        raise SystemExit("docs/performance.md has lost the marks between which the figures go")
    CHARTS.mkdir(parents=True, exist_ok=True)
    for chart in CHARTS.glob("*.svg"):
        chart.unlink()  # of a run that measured something else
    drawn = charts.drawn(Results.from_json(told))
    for name, svg in drawn.items():
        (CHARTS / f"{name}.svg").write_text(svg)
    images = "\n".join(f"![{name.capitalize()}](images/performance/{name}.svg)" for name in drawn)
    PAGE.write_text(f"{head}{begin}\n\n{images}\n\n{report.page(told)}\n\n{end}{tail}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    for name, known in (("work", WORKS), ("ways", WAYS), ("servers", SERVERS), ("layers", LAYERS), ("databases", DATABASES)):
        parser.add_argument(f"--{name}", type=_words(list(known)), metavar=",".join(known))
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="100 sockets, one round: does it work, not how fast it is")
    parser.add_argument("--json", type=Path, default=LATEST, help="where the figures go")
    parser.add_argument("--page", action="store_true", help="write them into docs/performance.md too, with its charts")
    parser.add_argument("--show", type=Path, help="measure nothing: show the figures of this JSON")
    return parser.parse_args()


def _words(known: list[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        words = text.split(",")
        if unknown := [word for word in words if word not in known]:
            raise argparse.ArgumentTypeError(f"no such: {', '.join(unknown)}; there are {', '.join(known)}")
        return words

    return parse


if __name__ == "__main__":
    raise SystemExit(main())
