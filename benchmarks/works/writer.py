"""What the caller pays: `notify()` from a plain command, `save()` with a rule in a server process."""

import statistics
import time
from typing import Any, Final

from benchmarks.results import Results
from benchmarks.scene import Scene

__all__ = ["RECIPIENTS", "save", "trigger"]

RECIPIENTS: Final = (1, 100, 1000, 10_000)
TIMES: Final = 3  # a round and number of recipients
FEW: Final = 10
MOST_BY_HAND: Final = 1000  # beyond, a hop to a loop a user takes most of a minute
PAUSE_SECONDS: Final = 0.01
TURNS: Final = 12  # a round
SAVES: Final = 10  # a turn
WITHIN: Final = 30.0


def trigger(scene: Scene, results: Results) -> None:
    """Tell 1 to 10,000 users by their ids: what it takes the caller beyond one equal plain INSERT, and when all have it."""
    name = scene.subject.name
    is_live = scene.subject.way == "live"
    for recipients in RECIPIENTS:
        users = [user for user, _ in scene.people[:recipients]]
        if len(users) < recipients or (recipients > MOST_BY_HAND and not is_live):
            continue
        if not is_live and recipients > FEW and results.of(f"trigger {recipients}", name, "wall_ms"):
            continue  # a hop to a loop a user: seconds
        there = min(recipients, scene.opened)
        told = [_triggered(scene, results, users, there) for _ in range(TIMES if is_live or recipients < FEW else 1)]
        wall = _median(each["wall"] for each in told)
        insert = _median(each["insert"]["wall"] for each in told)
        extra_ms = (wall - insert if is_live else wall) * 1e3  # who stores nothing saves the INSERT
        cpu_ms = _median(each["cpu"] for each in told) * 1e3
        work = f"trigger {recipients}"
        results.add(work, name, wall_ms=wall * 1e3, insert_ms=insert * 1e3, extra_ms=extra_ms, cpu_ms=cpu_ms)
        results.add(work, name, statements_count=max(each["statements"] for each in told))
        results.add(work, name, last_ms=_median(each["last"] for each in told) * 1e3)


def save(scene: Scene, results: Results) -> None:
    """Save one order in the server, with and without somebody told: the extra time of the caller and CPU of the server.

    By turns, since what a request costs by itself changes with the machine's speed by more than what is looked for.
    """
    scene.open(1)
    telling = "watched" if scene.subject.way == "live" else "told"
    if not results.of("save", scene.subject.name, "extra_ms"):
        for which in ("plain", telling):
            _saved(scene, which)  # connections, imports
    scene.settle()
    turns = [[_saved(scene, which) for which in ("plain", telling)] for _ in range(TURNS)]
    extra_ms = _median(told["wall"] - plain["wall"] for plain, told in turns) * 1e3
    server_us = statistics.mean(told["cpu"] - plain["cpu"] for plain, told in turns) * 1e6
    plain_ms = _median(plain["wall"] for plain, _ in turns) * 1e3
    results.add("save", scene.subject.name, extra_ms=extra_ms, server_us=server_us, plain_ms=plain_ms)


def _triggered(scene: Scene, results: Results, users: list[int], there: int) -> Any:
    scene.settle()
    number = scene.next_numbers(1)
    scene.client.ask("begin")
    told = scene.perform("trigger", users=users, number=number)
    answer = scene.client.ask("until", count=there, within=WITHIN)
    if answer["got"] < there:
        results.note(scene.subject.name, f"trigger: {there - answer['got']} of {there} lost")
    return {**told, "last": answer["last"] - told["at"]}


def _saved(scene: Scene, which: str) -> dict[str, float]:
    """Median wall time of a save, and the server's CPU a request, one request after the other has been delivered."""
    before, walls = scene.cpu(), []
    for _ in range(SAVES):
        number = scene.next_numbers(1)
        scene.client.ask("begin")
        walls.append(scene.within("save", which=which, number=number)["wall"])
        if which != "plain":
            scene.client.ask("until", count=1, within=WITHIN)
        time.sleep(PAUSE_SECONDS)  # the pace of a site that is not overrun; what comes after the delivery ends in it
    return {"wall": statistics.median(walls), "cpu": (scene.cpu() - before) / SAVES}


def _median(values: Any) -> float:
    return float(statistics.median(values))
