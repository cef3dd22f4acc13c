"""A delivery without a row, a handshake, an open socket: what every way can do."""

import time
from collections.abc import Sequence
from typing import Any, Final

from benchmarks.figures import percentile
from benchmarks.machine import cpu_seconds, memory_bytes
from benchmarks.results import Results
from benchmarks.scene import Scene

__all__ = ["broadcast", "grown", "handshake", "idle_memory", "personal", "rush", "warm_up"]

EVENTS: Final = 5  # broadcasts a round at least, each after the last page has the one before
SECONDS: Final = 3.0  # and for so long, or what open sockets cost by themselves (pings, timeouts) would count for deliveries
WITHIN: Final = 20.0
RUSH_SECONDS: Final = 5.0  # what Daphne gives a handshake
CLIENT_BOUND: Final = 0.9


def warm_up(scene: Scene) -> None:
    """What every process does only once: imports, connections, compiled statements."""
    scene.settle()  # a page whose group is still being joined is looked up then, and no row stands for what is pushed here
    for how in ("broadcast", "personal"):
        _push(scene, how, scene.users[:100] if how == "personal" else scene.users)
    scene.settle()


def handshake(scene: Scene, results: Results, upto: int) -> None:
    """Further pages, 50 handshakes under way at a time, until they are ready to be told something."""
    count, before, started = upto - scene.opened, scene.cpu(), time.monotonic()
    answer = scene.open(upto)
    seconds = time.monotonic() - started
    scene.settle()
    if answer["opened"] < count:
        results.note(scene.subject.name, f"handshakes that failed: {answer['failed']}")
    results.add(
        "handshake", scene.subject.name, cpu_us=(scene.cpu() - before) / count * 1e6, rate_each=answer["opened"] / seconds
    )


def broadcast(scene: Scene, results: Results) -> None:
    """One notification to all pages, several times, each when the last page has the one before."""
    _measured("broadcast", scene, results, EVENTS)


def personal(scene: Scene, results: Results) -> None:
    """A notification of their own to one user each, in turn, as fast as the way's sender sends them."""
    _measured("personal", scene, results, 1)


def rush(scene: Scene, results: Results) -> None:
    """All pages at once: how many are ready within what Daphne gives a handshake."""
    scene.client.ask("forget")
    scene.settle()
    count, scene.opened = scene.opened, 0
    answer = scene.open(count, at_once=count, within=RUSH_SECONDS)
    took = answer["took"] or [RUSH_SECONDS]
    results.add("rush", scene.subject.name, opened_share=answer["opened"] / count, last_seconds=max(took))
    scene.settle()


def idle_memory(scene: Scene, results: Results, count: int) -> None:
    """How much memory the server process has for each page that is open and silent."""
    scene.open(50)
    scene.settle()
    before, already = memory_bytes(scene.server.pid), scene.opened
    answer = scene.open(count + already)
    scene.settle()
    grown = memory_bytes(scene.server.pid) - before
    results.add("memory", scene.subject.name, socket_kb=grown / 1024 / max(1, answer["opened"]), open_count=answer["opened"])


def grown(scene: Scene, results: Results) -> None:
    """A broadcast to as many pages as there are by now."""
    _measured(f"growth {scene.opened}", scene, results, 2)


def _measured(work: str, scene: Scene, results: Results, times: int) -> None:
    name = scene.subject.name
    how = "personal" if work == "personal" else "broadcast"
    scene.settle()
    client, server, started = cpu_seconds(scene.client.pid), scene.cpu(), time.monotonic()
    pushes: list[dict[str, Any]] = []
    while len(pushes) < times or time.monotonic() - started < SECONDS:
        pushes.append(_push(scene, how, scene.users))
    seconds = time.monotonic() - started
    client_share = (cpu_seconds(scene.client.pid) - client) / seconds
    scene.settle()
    wanted = sum(push["wanted"] for push in pushes)
    got = sum(push["got"] for push in pushes)
    cpu_us = (scene.cpu() - server) / max(1, got) * 1e6
    waits = [wait for push in pushes for wait in push["waits"]] or [WITHIN]
    lasts = [max(push["waits"]) for push in pushes if push["waits"]] or [WITHIN]
    results.add(work, name, cpu_us=cpu_us, p50_ms=percentile(waits, 0.5) * 1e3, p99_ms=percentile(waits, 0.99) * 1e3)
    results.add(work, name, last_ms=percentile(lasts, 0.5) * 1e3, lost_count=wanted - got, client_share=client_share)
    results.add(work, name, frame_bytes=max(push["bytes"] for push in pushes))
    if client_share > CLIENT_BOUND:
        results.note(name, f"{work}: client-bound: the client took {client_share:.0%} of its core, so the times are its own")
    if got < wanted:
        results.note(name, f"{work}: {wanted - got} of {wanted} lost")
    if twice := sum(push["twice"] for push in pushes):
        results.note(name, f"{work}: {twice} came twice")
    if pushes[-1]["open"] < len(scene.users):
        results.note(name, f"{work}: only {pushes[-1]['open']} of {len(scene.users)} pages were still open")


def _push(scene: Scene, how: str, users: Sequence[int]) -> dict[str, Any]:
    """One broadcast or one round of personal notifications, from the sender's call to the last page."""
    first = scene.next_numbers(len(users) if how == "personal" else 1)
    wanted = min(len(users), scene.client.ask("begin")["open"])  # a page that never opened has its own note, and loses nothing
    sent = scene.perform("push", how=how, users=users, number=first)
    scene.client.ask("until", count=wanted, within=WITHIN)
    result: dict[str, Any] = scene.client.ask("result")
    waits = [at - sent["at"] for _, at in result["arrivals"]]
    return {"got": len(waits) - result["twice"], "waits": waits, "wanted": wanted, **result}
