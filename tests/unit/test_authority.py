"""How often a hub looks at the sessions of its sockets, and how long a look may hold it up."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest

from notifications import authority as authority_module
from notifications.authority import PAUSE_SECONDS, SESSIONS_PER_QUERY, Authority
from tests.simulator.clock import Clock, StillLoop

SECONDS = 15.0


class Page:
    """An open socket, as far as its session goes."""

    identity = "somebody"

    def __init__(self, key: str) -> None:
        self.session_key = key


class Store:
    """A worker whose session store takes `seconds` a query, and notes when each began."""

    def __init__(self, loop: StillLoop) -> None:
        self.loop = loop
        self.seconds = 0.0
        self.asked: list[tuple[float, int]] = []

    async def run(self, job: Any, keys: Sequence[str]) -> dict[str, str]:
        self.asked.append((self.loop.now, len(keys)))
        await asyncio.sleep(self.seconds)
        return dict.fromkeys(keys, "somebody")


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[StillLoop]:
    clock = Clock()
    clock.loop = StillLoop()
    monkeypatch.setattr(authority_module, "time", clock)
    yield clock.loop
    clock.loop.end()


@pytest.fixture
def store(loop: StillLoop) -> Store:
    return Store(loop)


def watching(store: Store, sockets: int) -> Authority:
    people = {str(each): {Page(str(each))} for each in range(sockets)}
    authority = Authority(people, store, spawn=lambda coroutine: None)  # type: ignore[arg-type]

    async def watch() -> None:
        while True:
            await authority.watch(SECONDS)

    store.loop.create_task(watch())
    return authority


def test_every_session_is_looked_at_once_an_interval_however_long_a_look_takes(loop, store):
    store.seconds = 0.2
    watching(store, 1000)
    loop.wait(3 * SECONDS - 0.1)
    batches = 1000 // SESSIONS_PER_QUERY
    looks = [store.asked[start : start + batches] for start in range(0, len(store.asked), batches)]
    assert [len(look) for look in looks] == [batches] * 3
    for earlier, later in pairwise(looks):
        for (before, _), (after, _) in zip(earlier, later, strict=True):
            assert after - before == pytest.approx(SECONDS)


def test_between_two_queries_of_a_look_the_others_have_their_turn(loop, store):
    watching(store, 1000)
    loop.wait(SECONDS - 0.1)
    times = [at for at, _ in store.asked]
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx(
        [PAUSE_SECONDS] * (1000 // SESSIONS_PER_QUERY - 1)
    )


def test_the_pauses_of_a_look_take_a_tenth_of_the_interval_at_most(loop, store):
    watching(store, 20_000)
    loop.wait(SECONDS - 0.1)
    assert sum(count for _, count in store.asked) == 20_000
    assert store.asked[-1][0] < 0.1 * SECONDS


def test_a_store_that_is_slower_than_the_interval_is_left_alone_half_of_the_time(loop, store):
    store.seconds = 20.0
    watching(store, 1)
    loop.wait(100)
    assert [at for at, _ in store.asked] == pytest.approx([0, 40, 80], abs=2)


def test_doubt_during_a_look_begins_another_one_as_soon_as_it_ends(loop, store):
    store.seconds = 1.0
    authority = watching(store, 1)
    loop.call_later(0.5, authority.doubt)
    loop.wait(SECONDS - 0.1)
    assert [at for at, _ in store.asked] == pytest.approx([0, 1], abs=0.1)
