"""The channel layer of the simulator: each message to each hub meets the fate that the simulation has chosen."""

import asyncio
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from channels.layers import BaseChannelLayer

__all__ = ["FATES", "Fate", "Post"]

Fate: TypeAlias = Literal["deliver", "drop", "double", "hold"]
FATES: tuple[Fate, ...] = ("deliver", "drop", "double", "hold")


@dataclass
class Held:
    channel: str
    message: dict[str, Any]


class Post(BaseChannelLayer):  # type: ignore[misc]
    extensions = ("groups",)
    group_expiry = 86400

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[str, dict[str, None]] = {}
        self.fates: dict[str, Fate] = {}
        """What becomes of messages on their way to a channel just now; delivered, unless it says something else."""
        self.held: list[Held] = []
        self.lost: set[str] = set()
        """Channels that something has been kept from since the last time that this was emptied."""
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._channels = 0

    async def new_channel(self, prefix: str = "specific.") -> str:
        self._channels += 1
        return f"{prefix}!{self._channels}"

    async def receive(self, channel: str) -> dict[str, Any]:
        return await self._queue(channel).get()

    async def group_add(self, group: str, channel: str) -> None:
        self.members.setdefault(group, {})[channel] = None

    async def group_discard(self, group: str, channel: str) -> None:
        self.members.get(group, {}).pop(channel, None)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.001)  # what is rung meanwhile is merged
        for channel in self.members.get(group, {}):
            match self.fates.get(channel, "deliver"):
                case "drop":
                    self.lost.add(channel)
                case "hold":
                    self.held.append(Held(channel, message))
                case fate:
                    for _ in range(2 if fate == "double" else 1):
                        self.deliver(Held(channel, message))

    def deliver(self, held: Held) -> None:
        self._queue(held.channel).put_nowait(held.message)

    def forget(self) -> None:
        """As FLUSHALL does: nobody is a member of anything."""
        self.members.clear()
        self.lost.update(self._queues)

    def _queue(self, channel: str) -> asyncio.Queue[dict[str, Any]]:
        return self._queues.setdefault(channel, asyncio.Queue())
