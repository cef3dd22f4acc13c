"""The hub's place on a layer that forgets, drops or repeats: it comes back by itself, and is not fooled by old echoes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from notifications import membership as module
from notifications.membership import Membership
from notifications.protocol import WakeUp
from notifications.ringer import HUBS, MESSAGE_TYPE, group, sealed, user_group


class PubSubLike:
    """Like `channels_redis.pubsub`: a channel exists while it is listened to, and only what exists can join a group."""

    def __init__(self) -> None:
        self.channels: dict[str, asyncio.Queue[Any]] = {}
        self.groups: dict[str, set[str]] = {}

    async def new_channel(self, prefix: str) -> str:
        self.channels[prefix] = asyncio.Queue()
        return prefix

    async def receive(self, channel: str) -> Any:
        queue = self.channels.setdefault(channel, asyncio.Queue())
        try:
            return await queue.get()
        except asyncio.CancelledError:
            self.channels.pop(channel, None)
            raise

    async def group_add(self, group: str, channel: str) -> None:
        if channel not in self.channels:
            raise RuntimeError("You can only call group_add() on channels that exist in-process.")
        self.groups.setdefault(group, set()).add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.groups.get(group, set()).discard(channel)

    def say(self, group: str, wake_up: WakeUp) -> None:
        for channel in self.groups.get(group, ()):
            self.channels[channel].put_nowait({"type": MESSAGE_TYPE, "body": sealed(wake_up)})

    def forget(self) -> None:
        self.groups.clear()


class Told:
    """What the membership tells its hub."""

    def __init__(self) -> None:
        self.heard: list[WakeUp] = []
        self.joined: list[str] = []
        self.entered = 0

    def enter(self) -> None:
        self.entered += 1


@pytest.fixture
def layer(monkeypatch) -> PubSubLike:
    layer = PubSubLike()
    monkeypatch.setattr("notifications.membership.site_layer", lambda: layer)
    return layer


@pytest.fixture
def rung(monkeypatch) -> list[WakeUp]:
    rung: list[WakeUp] = []
    monkeypatch.setattr("notifications.membership.ring", rung.append)
    return rung


@asynccontextmanager
async def member(*users: str) -> AsyncIterator[tuple[Membership, Told]]:
    told = Told()
    membership = Membership("hub", users=users, hear=told.heard.append, joined=told.joined.append, entered=told.enter)

    async def keep() -> None:
        while True:
            await membership.keep()

    tasks = [asyncio.ensure_future(membership.listen()), asyncio.ensure_future(keep())]
    try:
        yield membership, told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(is_so: Callable[[], bool], seconds: float = 3.0) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - the layer has no event for it
            await asyncio.sleep(0.005)


async def test_what_the_layer_forgot_is_joined_again_and_heard_on(layer, monkeypatch):
    """Twice, at once, and without a pause for an error on the way."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 60.0)
    async with member("1") as (membership, told):
        for turn in (1, 2, 3):
            await until(lambda turn=turn: told.joined == ["1"] * turn)
            assert told.entered == turn
            layer.say(user_group("1"), WakeUp(pending=True))
            layer.say(group(HUBS), WakeUp(pending=True))
            await until(lambda turn=turn: len(told.heard) == 2 * turn)
            layer.forget()
            membership._must_renew.set()


async def test_a_group_in_doubt_is_joined_again(layer):
    async with member("1", "2") as (membership, told):
        await until(lambda: sorted(told.joined) == ["1", "2"])
        layer.groups[user_group("1")].clear()
        for user in ("1", "somebody else"):
            membership.doubt(user)
        await until(lambda: len(told.joined) == 3)
        assert told.joined[2] == "1"
        assert layer.groups[user_group("1")]
        assert told.entered == 1


async def test_only_the_echo_that_was_asked_for_counts(layer, rung, monkeypatch):
    monkeypatch.setattr(module, "LAYER_SECONDS", 0.2)
    async with member() as (membership, told):
        await until(lambda: told.entered == 1)
        asking = asyncio.ensure_future(membership.ask_for_echo())
        await until(lambda: len(rung) == 1)
        layer.say(group(HUBS), rung[0])
        await asking
        assert not membership._must_renew.is_set()
        asking = asyncio.ensure_future(membership.ask_for_echo())
        await until(lambda: len(rung) == 2)
        for old in (rung[0], WakeUp(echo="hub"), WakeUp(echo="another.1"), WakeUp()):
            layer.say(group(HUBS), old)
        await asking
        await until(lambda: told.entered == 2)


class AwayError(Exception):
    """What a layer's library raises, such as redis-py: neither an OSError nor a TimeoutError."""


async def test_whatever_the_layer_raises_is_lost_infrastructure(layer):
    async def away(group: str, channel: str) -> None:
        raise AwayError("no route")

    async with member() as (membership, told):
        await until(lambda: told.entered == 1)
        layer.group_add = away  # type: ignore[method-assign]
        membership._users = ["1"]
        membership.change("1")
        with pytest.raises(OSError, match="no route"):
            await Membership.keep(membership)
