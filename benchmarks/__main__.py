"""Chooses subjects and works, runs them in interleaved rounds, prints, and writes the JSON."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks import plan, report
from benchmarks.machine import OTHER_CORES, described
from benchmarks.plan import WORKS, Size
from benchmarks.results import Results
from benchmarks.scene import Stage
from benchmarks.subjects import DATABASES, LAYERS, SERVERS, WAYS, chosen, usual

HERE: Final = Path(__file__).resolve().parent
LATEST: Final = HERE / "results" / "latest.json"


def main() -> int:
    options = _options()
    size = Size.quick() if options.quick else Size(sockets=options.sockets, rounds=options.rounds)
    is_usual = not (options.ways or options.servers or options.layers or options.databases)
    subjects = (
        usual()
        if is_usual
        else chosen(
            ways=options.ways or list(WAYS),
            servers=options.servers or list(SERVERS),
            layers=options.layers or ["pubsub"],
            databases=options.databases or ["sqlite"],
        )
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # by way of every `with`: the servers are processes of ours
    os.sched_setaffinity(0, OTHER_CORES)  # this process asks and waits, and shall not do so on the server's core
    machine, results, started = described(), Results(), time.monotonic()
    print(report.machine_line(machine))
    with Stage(people=size.people) as stage:
        plan.run(stage, subjects, options.work or list(WORKS), size, results)
    seconds = time.monotonic() - started
    print("\n".join(report.lines(results)))
    told = {"machine": machine, "size": size.as_json(), "seconds": round(seconds), **results.as_json()}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(told, indent=1) + "\n")
    print(f"\n{seconds:.0f} s")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    for name, known in (("work", WORKS), ("ways", WAYS), ("servers", SERVERS), ("layers", LAYERS), ("databases", DATABASES)):
        parser.add_argument(f"--{name}", type=_words(list(known)), metavar=",".join(known))
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="100 sockets, one round: does it work, not how fast it is")
    parser.add_argument("--json", type=Path, default=LATEST)
    return parser.parse_args()


def _words(known: list[str]):  # type: ignore[no-untyped-def]
    def parse(text: str) -> list[str]:
        words = text.split(",")
        if unknown := [word for word in words if word not in known]:
            raise argparse.ArgumentTypeError(f"no such: {', '.join(unknown)}; there are {', '.join(known)}")
        return words

    return parse


if __name__ == "__main__":
    raise SystemExit(main())
