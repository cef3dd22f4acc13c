"""In which order what is measured: scenes that work together are up together, and take turns round by round."""

import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.results import Results
from benchmarks.scene import Scene, Stage
from benchmarks.subjects import Subject
from benchmarks.works import push

__all__ = ["WORKS", "Size", "run"]

FIRST: Final = 10  # pages that warm up the handshake
PUSH_ALONE: Final = {"WATERMARK_SECONDS": "600"}
"""Wake-ups without rows: no database could confirm them, so the app must not compare for as long as they are measured."""


@dataclass(frozen=True)
class Size:
    sockets: int = 1000
    rounds: int = 5
    idle: int = 3000

    @classmethod
    def quick(cls) -> "Size":
        return cls(sockets=100, rounds=1, idle=150)

    @property
    def people(self) -> int:
        return max(self.sockets, self.idle + 50)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def run(stage: Stage, subjects: Sequence[Subject], works: Collection[str], size: Size, results: Results) -> None:
    for group in dict.fromkeys(WORKS[work] for work in works):
        group(stage, subjects, works, size, results)


def _pushes(stage: Stage, subjects: Sequence[Subject], works: Collection[str], size: Size, results: Results) -> None:
    with ExitStack() as stack:
        scenes = [stack.enter_context(stage.scene(subject, **PUSH_ALONE)) for subject in subjects]
        for scene in scenes:
            scene.open(min(FIRST, size.sockets))
        for number in range(1, size.rounds + 1):
            for scene in scenes:
                _say(f"round {number}: handshake: {scene.subject.title}")
                push.handshake(scene, results, FIRST + (size.sockets - FIRST) * number // size.rounds)
        for scene in scenes:
            push.warm_up(scene)
        for number in range(1, size.rounds + 1):
            for scene in scenes:
                _say(f"round {number}: push: {scene.subject.title}")
                _push_round(scene, works, results)
        if "rush" in works:
            for scene in scenes:
                _say(f"all at once: {scene.subject.title}")
                push.rush(scene, results)


def _push_round(scene: Scene, works: Collection[str], results: Results) -> None:
    if "broadcast" in works:
        push.broadcast(scene, results)
    if "personal" in works:
        push.personal(scene, results)
    if "unacknowledged" in works and scene.subject.way == "live":
        push.unacknowledged(scene, results)


def _memory(stage: Stage, subjects: Sequence[Subject], works: Collection[str], size: Size, results: Results) -> None:
    for subject in subjects:
        if subject.database == "sqlite":  # an idle socket has nothing to do with it
            _say(f"{size.idle} idle pages: {subject.title}")
            with stage.scene(subject) as scene:
                push.idle_memory(scene, results, size.idle)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


WORKS: Final[dict[str, Callable[[Stage, Sequence[Subject], Collection[str], Size, Results], None]]] = {
    "handshake": _pushes,
    "broadcast": _pushes,
    "personal": _pushes,
    "unacknowledged": _pushes,
    "rush": _pushes,
    "memory": _memory,
}
"""Each with the group that it is measured in."""
