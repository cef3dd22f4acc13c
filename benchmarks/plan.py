"""In which order what is measured: scenes that work together are up together, and take turns round by round."""

import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from benchmarks.results import Results
from benchmarks.scene import Scene, Stage
from benchmarks.subjects import REFERENCE, Subject
from benchmarks.works import push, rows, writer

__all__ = ["WORKS", "Size", "run"]

STARTED: Final = time.monotonic()
LONG_ROUNDS: Final = 3  # of works that take a while and consist of many calls
GROWN: Final = 2  # times each size is measured
FIRST: Final = 10  # pages that warm up the handshake
PUSH_ALONE: Final = {"WATERMARK_SECONDS": "600"}
"""Wake-ups without rows: no database could confirm them, so the app must not compare for as long as they are measured."""


@dataclass(frozen=True)
class Size:
    sockets: int = 1000
    rounds: int = 2
    idle: int = 3000
    wide: int = 300
    burst: int = 10_000
    growth: tuple[int, ...] = (250, 500, 1000, 2000, 4000)

    @classmethod
    def quick(cls) -> "Size":
        return cls(sockets=100, rounds=1, idle=150, wide=100, burst=500, growth=(25, 50, 100))

    @property
    def people(self) -> int:
        return max(self.sockets, self.idle + 50, *self.growth)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def run(
    stage: Stage,
    subjects: Sequence[Subject],
    works: Collection[str],
    size: Size,
    results: Results,
    save: Callable[[], None],
) -> None:
    """`save` is called whenever a group of works is done, so that a run which is ended leaves what it has found."""
    for group in dict.fromkeys(WORKS[work] for work in works):
        group(stage, subjects, works, size, results)
        save()


def _pushes(stage: Stage, subjects: Sequence[Subject], works: Collection[str], size: Size, results: Results) -> None:
    with ExitStack() as stack:
        scenes = [stack.enter_context(stage.scene(subject, **PUSH_ALONE)) for subject in subjects]
        for scene in scenes:
            scene.open(min(FIRST, size.sockets))
        for number in range(1, size.rounds + 1):
            for scene in [scene for scene in scenes if scene.subject.is_django]:
                _say(f"round {number}: handshake: {scene.subject.title}")
                push.handshake(scene, results, FIRST + (size.sockets - FIRST) * number // size.rounds)
        for scene in scenes:
            _say(f"pages: {scene.subject.title}")
            scene.open(size.sockets)
            push.warm_up(scene)
        for number in range(1, size.rounds + 1):
            for scene in scenes:
                _say(f"round {number}: push: {scene.subject.title}")
                _push_round(scene, works, results)
        if "rush" in works:
            for scene in [scene for scene in scenes if scene.subject.is_django]:
                _say(f"all at once: {scene.subject.title}")
                push.rush(scene, results)


def _push_round(scene: Scene, works: Collection[str], results: Results) -> None:
    if "broadcast" in works:
        push.broadcast(scene, results)
    if "personal" in works:
        push.personal(scene, results)


def _memory(stage: Stage, subjects: Sequence[Subject], works: Collection[str], size: Size, results: Results) -> None:
    for subject in subjects:
        if subject.database == "sqlite" and subject.is_django:  # an idle page has nothing to do with it
            count = size.idle if subject.way == "live" else min(size.idle, size.sockets)  # whose handshakes would take minutes
            _say(f"{count} idle pages: {subject.title}")
            with stage.scene(subject) as scene:
                push.idle_memory(scene, results, count)


def _rows(stage: Stage, subjects: Sequence[Subject], works: Collection[str], size: Size, results: Results) -> None:
    """Plain Channels as the reference, and the app on all that was chosen."""
    with ExitStack() as stack:
        chosen = [subject for subject in subjects if subject == REFERENCE or subject.way == "live"]
        has_daphne = any(subject.server == "daphne" and subject.way == "live" for subject in chosen)
        chosen = [subject for subject in chosen if subject.server == "daphne" or not has_daphne]  # the database is most of it
        scenes = [stack.enter_context(stage.scene(subject)) for subject in chosen]
        rounds = min(size.rounds, LONG_ROUNDS)
        for number in range(1, rounds + 1 if "save" in works else 1):
            for scene in scenes:
                _say(f"round {number}: save: {scene.subject.title}")
                writer.save(scene, results)
        for scene in scenes:
            scene.open(size.sockets)
            scene.perform("tell", users=scene.users[: size.wide], number=scene.next_numbers(1))  # imports, connections
            scene.settle()
        for number in range(1, rounds + 1):
            for scene in scenes:
                _say(f"round {number}: rows: {scene.subject.title}")
                _rows_round(scene, works, size, results)
        for scene in scenes:
            if "resume" in works and scene.subject.way == "live":
                _say(f"resume: {scene.subject.title}")
                rows.resume(scene, results)


def _rows_round(scene: Scene, works: Collection[str], size: Size, results: Results) -> None:
    if "wide" in works:
        rows.wide(scene, results, size.wide)
    if "latency" in works:
        rows.latency(scene, results)
    if "trigger" in works:
        writer.trigger(scene, results)


def _burst(stage: Stage, subjects: Sequence[Subject], works: Collection[str], size: Size, results: Results) -> None:
    """On both layers of channels_redis, which lose in different ways."""
    chosen = [subject for subject in subjects if subject == REFERENCE or (subject.way == "live" and subject.server == "daphne")]
    for subject in dict.fromkeys(replace(each, layer=layer) for each in chosen for layer in ("core", "pubsub")):
        _say(f"burst: {subject.title}")
        with stage.scene(subject) as scene:
            scene.open(1)
            rows.burst(scene, results, size.burst)


def _growth(stage: Stage, subjects: Sequence[Subject], works: Collection[str], size: Size, results: Results) -> None:
    """Plain Channels in memory, where every send walks all channels, and up to fewer pages: its handshakes would take minutes."""
    chosen = [replace(REFERENCE, layer="memory")]
    chosen += [each for each in subjects if each.way in {"bare", "live"} and each.database == "sqlite"]
    for subject in dict.fromkeys(chosen):
        with stage.scene(subject, **PUSH_ALONE) as scene:
            for count in [count for count in size.growth if subject.way != "channels" or count <= size.sockets]:
                _say(f"growth: {count} pages: {subject.title}")
                scene.open(count)
                push.warm_up(scene)
                for _ in range(GROWN):
                    push.grown(scene, results)


def _say(text: str) -> None:
    print(f"{time.monotonic() - STARTED:5.0f} s  {text}", file=sys.stderr, flush=True)


WORKS: Final[dict[str, Callable[[Stage, Sequence[Subject], Collection[str], Size, Results], None]]] = {
    "handshake": _pushes,
    "broadcast": _pushes,
    "personal": _pushes,
    "rush": _pushes,
    "save": _rows,
    "wide": _rows,
    "latency": _rows,
    "trigger": _rows,
    "resume": _rows,
    "burst": _burst,
    "memory": _memory,
    "growth": _growth,
}
"""Each with the group that it is measured in."""
