"""How long those who come to a hub wait for each other before their questions are asked together."""

import asyncio
import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest

from notifications import workers as workers_module
from notifications.workers import CROWD_SECONDS, Gathered
from tests.simulator.clock import Clock, StillLoop

JOB_SECONDS = 0.005


class Database:
    """A worker that takes its time for a job, and notes how many asked together."""

    def __init__(self) -> None:
        self.jobs: list[int] = []

    async def run(self, job: Any, keys: list[int]) -> dict[int, bool]:
        self.jobs.append(len(keys))
        await asyncio.sleep(JOB_SECONDS)
        return dict.fromkeys(keys, True)


class Crowd:
    """People who come at some time and wait for their answer; `waited` says how long each did, in seconds."""

    def __init__(self, loop: StillLoop) -> None:
        self.loop = loop
        self.database = Database()
        self.gathered = Gathered(self.database, lambda keys: {})  # type: ignore[arg-type]
        self.waited: list[float] = []
        self._names = itertools.count()

    async def one(self, at: float) -> None:
        await asyncio.sleep(at)
        began = self.loop.now
        assert await self.gathered.ask(next(self._names))
        self.waited.append(self.loop.now - began)

    def come(self, *times: float) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*map(self.one, times))

        self.loop.run(all_of_them())


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Crowd]:
    clock = Clock()
    clock.loop = StillLoop()
    monkeypatch.setattr(workers_module, "time", clock)
    yield Crowd(clock.loop)
    clock.loop.end()


def spread(rate: float, count: int) -> list[float]:
    """When each of so many comes, if `rate` a second come by chance."""
    chance = random.Random(4)
    now = 0.0
    return [now := now + chance.expovariate(rate) for _ in range(count)]


def test_one_alone_waits_for_milliseconds(crowd):
    crowd.come(0.0)
    assert max(crowd.waited) < 0.01


def test_a_few_a_second_wait_little_longer(crowd):
    crowd.come(*(number / 4 for number in range(40)))
    assert max(crowd.waited) < 0.05


def test_those_who_come_together_wait_for_nobody_else(crowd):
    """A load balancer that lets so many connect at a time sends the next when these have been answered."""
    for _ in range(10):
        crowd.come(*(number / 2500 for number in range(50)))
    assert max(crowd.waited) < 0.05
    assert len(crowd.database.jobs) <= 20


@pytest.mark.parametrize("rate", [60, 125, 500])
def test_a_crowd_that_comes_by_and_by_shares_its_questions(crowd, rate):
    crowd.come(*spread(rate, 1000))
    together = 1000 / len(crowd.database.jobs)
    assert together > 0.6 * CROWD_SECONDS * rate
    assert max(crowd.waited) < CROWD_SECONDS + 3 * JOB_SECONDS
