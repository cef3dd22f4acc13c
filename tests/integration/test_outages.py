"""What is away, slow or broken for one is not taken for an answer, and not paid for by the others."""

import asyncio
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache

from notifications.membership import Membership
from notifications.ringer import user_group
from notifications.session import authenticate
from notifications.workers import MOST, Gathered


class CacheAway(LocMemCache):
    def get_many(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("the cache is away")

    get = get_many


def test_a_cache_that_is_away_signs_nobody_out(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.CacheAway"}}
    with pytest.raises(ConnectionError):
        authenticate(["a" * 32])


class SlowWorker:
    """Holds each job until it is let go; remembers what the jobs were asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.gate = asyncio.Event()

    async def run(self, job: Any, keys: list[str]) -> Any:
        self.asked.append(sorted(keys))
        await self.gate.wait()
        return job(keys)


async def test_what_is_asked_while_the_database_is_slow_waits_for_one_job_together():
    worker = SlowWorker()
    gathered = Gathered(worker, lambda keys: {key: key.upper() for key in keys if key != "nobody"})  # type: ignore[arg-type]
    first = asyncio.create_task(gathered.ask("a"))
    while not worker.asked:  # noqa: ASYNC110 - the job's start has no event
        await asyncio.sleep(0.001)
    later = [asyncio.create_task(gathered.ask(key)) for key in ("b", "c", "nobody", "b")]
    await asyncio.sleep(0.05)  # time enough for many jobs, were there any
    assert worker.asked == [["a"]]
    worker.gate.set()
    assert await asyncio.gather(first, *later) == ["A", "B", "C", None, "B"]
    assert worker.asked == [["a"], ["b", "c", "nobody"]]


async def test_of_a_crowd_the_first_have_their_answer_before_the_last_are_asked_about():
    worker = SlowWorker()
    worker.gate.set()
    gathered = Gathered(worker, lambda keys: dict.fromkeys(keys, True))  # type: ignore[arg-type]
    keys = [f"k{number}" for number in range(2 * MOST + 1)]
    assert all(await asyncio.gather(*map(gathered.ask, keys)))
    assert [len(asked) for asked in worker.asked] == [MOST, MOST, 1]
    assert worker.asked[0] == sorted(keys[:MOST])


class HalfLayer:
    """A layer one of whose shards is down."""

    def __init__(self, broken: str) -> None:
        self.broken, self.members = broken, set[str]()

    async def new_channel(self, prefix: str) -> str:
        return prefix

    async def receive(self, channel: str) -> Any:
        await asyncio.Event().wait()

    async def group_add(self, group: str, channel: str) -> None:
        if group == self.broken:
            raise ConnectionError("this shard is down")
        self.members.add(group)

    async def group_discard(self, group: str, channel: str) -> None:
        self.members.discard(group)


async def test_a_group_that_cannot_be_joined_keeps_nobody_else_waiting(monkeypatch):
    layer = HalfLayer(user_group("1"))
    monkeypatch.setattr("notifications.membership.site_layer", lambda: layer)
    users = ["1", "2", "3"]
    membership = Membership("hub", users=users, hear=lambda wake_up: None, joined=lambda user: None)
    listening = asyncio.create_task(membership.listen())
    for user in users:
        membership.change(user)
    for _ in range(50):
        try:
            await asyncio.wait_for(membership.keep(), 1)
        except ConnectionError:
            continue
        if user_group("2") in layer.members and user_group("3") in layer.members:
            break
    listening.cancel()
    assert {user_group("2"), user_group("3")} <= layer.members
