"""What the app does beyond a push: rows, a commit, pages that were away, a burst. Plain Channels beside it stores nothing."""

import time
from typing import Final

from benchmarks.figures import percentile
from benchmarks.results import Results
from benchmarks.scene import Scene

__all__ = ["BEHIND", "burst", "latency", "resume", "wide"]

WITHIN: Final = 30.0
PACE_SECONDS: Final = 0.02
WARMING: Final = 25  # commits before: a process's first imports, and first connects
PACED: Final = 200  # commits a round, so that p99 is not the worst of them
BEHIND: Final = 20
BACK_SECONDS: Final = 60.0
QUIET_SECONDS: Final = 3.0


def wide(scene: Scene, results: Results, recipients: int) -> None:
    """One event to so many users, from a plain command: what the server spends on relay, rows and push, and its database."""
    name, users = scene.subject.name, scene.users[:recipients]
    scene.settle()
    number, server, database = scene.next_numbers(1), scene.cpu(), scene.stage.database_seconds()
    scene.client.ask("begin")
    sent = scene.perform("tell", users=users, number=number)
    answer = scene.client.ask("until", count=len(users), within=WITHIN)
    scene.settle()
    cpu_us = (scene.cpu() - server) / max(1, answer["got"]) * 1e6
    database_us = (scene.stage.database_seconds() - database) / max(1, answer["got"]) * 1e6
    results.add("wide", name, cpu_us=cpu_us, database_us=database_us, last_ms=(answer["last"] - sent["at"]) * 1e3)
    _note_lost(scene, results, "wide", answer["got"], len(users))


def latency(scene: Scene, results: Results) -> None:
    """Requests at a steady pace, each saving a row and telling one user: from the commit to the page."""
    name = scene.subject.name
    _commit_at_pace(scene, WARMING)
    scene.settle()
    scene.client.ask("begin")
    started = time.monotonic()
    sent = _commit_at_pace(scene, PACED)
    seconds = time.monotonic() - started
    answer = scene.client.ask("until", count=PACED, within=WITHIN)
    arrivals = scene.client.ask("result")["arrivals"]
    waits = [at - sent[number]["at"] for number, at in arrivals] or [WITHIN]
    commits = [each["commit"] for each in sent.values()]
    p50, p99, commit = percentile(waits, 0.5), percentile(waits, 0.99), percentile(commits, 0.5)
    results.add("latency", name, p50_ms=p50 * 1e3, p99_ms=p99 * 1e3, commit_ms=commit * 1e3)
    results.add("latency", name, beyond_ms=(p50 - commit) * 1e3, p99_each=p99 / p50, rate_each=PACED / seconds)
    _note_lost(scene, results, "latency", answer["got"], PACED)


def _commit_at_pace(scene: Scene, count: int) -> dict[int, dict[str, float]]:
    """By the number that each user is told: what `commit` answered."""
    sent, first, started = {}, scene.next_numbers(count), time.monotonic()
    for each in range(count):
        time.sleep(max(0.0, started + each * PACE_SECONDS - time.monotonic()))
        sent[first + each] = scene.within("commit", user=scene.users[each % len(scene.users)], number=first + each)
    return sent


def resume(scene: Scene, results: Results) -> None:
    """All pages cut at once, 20 events to everybody while they are away, then they come back as the app's script does."""
    name, users = scene.subject.name, scene.users
    before = scene.perform("positions", users=users)
    scene.client.ask("cut")
    scene.settle()
    scene.client.ask("begin")
    for number in range(first := scene.next_numbers(BEHIND), first + BEHIND):
        scene.perform("tell", users=users, number=number)
    wanted = [_advanced(position, BEHIND) for position in before]
    deadline = time.monotonic() + WITHIN
    while scene.perform("positions", users=users) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)  # the relay tells its hubs, and no page is there to hear it
    scene.settle()
    statements, server = scene.within("statements").get("app", 0), scene.cpu()
    back = scene.client.ask("come_back", within=BACK_SECONDS)
    answer = scene.client.ask("until", count=BEHIND * len(users), within=WITHIN)
    scene.settle()
    asked = scene.within("statements").get("app", 0) - statements
    is_right = [mine == theirs for mine, theirs in zip(scene.client.ask("positions"), wanted, strict=True)]
    twice = scene.client.ask("result")["twice"]
    results.add("resume", name, last_seconds=max(back["took"], default=BACK_SECONDS), statements_each=asked / len(users))
    results.add("resume", name, right_share=sum(is_right) / len(users), cpu_us=(scene.cpu() - server) / len(users) * 1e6)
    _note_lost(scene, results, "resume", answer["got"], BEHIND * len(users))
    if twice:
        results.note(name, f"resume: {twice} came twice")


def burst(scene: Scene, results: Results, count: int) -> None:
    """So many notifications to one page, as fast as they can be made: how many never come."""
    user, first = scene.users[0], scene.next_numbers(count)
    scene.client.ask("begin")
    sent = scene.perform("burst", user=user, number=first, count=count)
    answer = scene.client.ask("until", count=count, within=BACK_SECONDS, quiet=QUIET_SECONDS)
    lost = count - answer["got"]
    results.add("burst", scene.subject.name, lost_count=lost, lost_share=lost / count, made_seconds=sent["took"])
    if lost:
        results.note(scene.subject.name, f"burst: {lost} of {count} lost")


def _advanced(position: str, steps: int) -> str:
    epoch, _, top = position.rpartition(".")
    return f"{epoch}.{int(top) + steps}"


def _note_lost(scene: Scene, results: Results, work: str, got: int, wanted: int) -> None:
    results.add(work, scene.subject.name, lost_count=wanted - got)
    if got < wanted:
        results.note(scene.subject.name, f"{work}: {wanted - got} of {wanted} lost")
