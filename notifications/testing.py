"""For the tests of sites: deliver what is pending in the test's own connection, and a channel layer that fails by a seed.

`docs/testing.md` shows both at work.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Literal, TypeAlias

from channels.layers import BaseChannelLayer
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from notifications.models import Notification
from notifications.outbox import event_alias
from notifications.relay import relay

__all__ = ["ChaosLayer", "Fate", "deliver"]

logger = logging.getLogger(__name__)

Fate: TypeAlias = Literal["send", "drop", "double", "delay", "reorder"]
IN_MEMORY: Final[Mapping[str, Any]] = {"BACKEND": "channels.layers.InMemoryChannelLayer"}


def deliver() -> list[Notification]:
    """Relay every pending event now and return the notifications that this made, in the order in which they were made.

    In a `TestCase` nothing commits, so nothing is relayed by itself: call this where the site's user would have waited.
    Raises what the relay raises; an event that fails by itself stays pending and is logged.
    """
    alias = event_alias()
    before: Any = Notification.objects.using(alias).order_by("-pk").values_list("pk", flat=True).first()
    relay(alias)
    made = Notification.objects.using(alias).filter(pk__gt=before or 0).select_related("event", "recipient")
    return list(made.order_by("pk"))


class ChaosLayer(BaseChannelLayer):  # type: ignore[misc]
    """A channel layer that drops, doubles, delays and reorders what is sent over the layer that it wraps. For `CHANNEL_LAYERS`.

    `drop`, `double`, `delay` and `reorder` are probabilities, together at most 1. A delayed message comes up to `longest_delay`
    seconds later; a reordered one comes after the next message to the same name, or after `longest_delay` where none follows.
    `layer` says what to wrap, as an entry of `CHANNEL_LAYERS` does; without it the in-memory layer.

    The fate of a message depends on `seed`, on the name that it is sent to and on how many were sent there before; not on the
    clock, nor on what is sent elsewhere. A message to a group has one fate for all its members. Raises `ImproperlyConfigured`.
    """

    extensions: Final = ("groups", "flush")

    def __init__(
        self,
        *,
        seed: int = 0,
        drop: float = 0.0,
        double: float = 0.0,
        delay: float = 0.0,
        reorder: float = 0.0,
        longest_delay: float = 1.0,
        layer: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.chances: dict[Fate, float] = {"drop": drop, "double": double, "delay": delay, "reorder": reorder}
        _check(seed, self.chances, longest_delay)
        self.seed = seed
        self.longest_delay = longest_delay
        self.layer = _made(IN_MEMORY if layer is None else layer)
        self.counts: Counter[Fate] = Counter()
        """How many messages have met each fate so far: a test asks it to prove that something was lost at all."""
        self._sent: Counter[str] = Counter()
        self._held: dict[str, list[Callable[[], Coroutine[Any, Any, None]]]] = {}
        """Reordered messages by name, which wait for the next one."""
        self._late: set[asyncio.Task[None]] = set()

    def __getattr__(self, name: str) -> Any:
        if name == "layer":  # before __init__ has set it, as copy() and pickle ask
            raise AttributeError(name)
        return getattr(self.layer, name)

    def fate(self, name: str, number: int) -> tuple[Fate, float]:
        """What becomes of message `number` (from 0) to this group or channel, and after how many seconds if it is late."""
        chance = random.Random(f"{self.seed} {name} {number}")
        drawn, wait = chance.random(), chance.random() * self.longest_delay
        for fate, probability in self.chances.items():
            if drawn < probability:
                return fate, wait if fate == "delay" else self.longest_delay
            drawn -= probability
        return "send", 0.0

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self.require_valid_channel_name(channel)
        # Of a channel that belongs to one process the rest of its name is chance, and a fate must not hang on that.
        await self._meet_fate(self.non_local_name(channel), lambda: self.layer.send(channel, message))

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.require_valid_group_name(group)
        await self._meet_fate(group, lambda: self.layer.group_send(group, message))

    async def receive(self, channel: str) -> Any:
        return await self.layer.receive(channel)

    async def new_channel(self, prefix: str = "specific.") -> Any:
        return await self.layer.new_channel(prefix)

    async def group_add(self, group: str, channel: str) -> None:
        await self.layer.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self.layer.group_discard(group, channel)

    async def flush(self) -> None:
        """Forget what is under way, as well as what the wrapped layer knows."""
        self._forget()
        await self.layer.flush()

    async def close(self) -> None:
        self._forget()
        if hasattr(self.layer, "close"):
            await self.layer.close()

    async def _meet_fate(self, name: str, send: Callable[[], Coroutine[Any, Any, None]]) -> None:
        fate, wait = self.fate(name, self._sent[name])
        self._sent[name] += 1
        self.counts[fate] += 1
        overtaken = self._held.pop(name, [])
        if fate == "delay":
            self._send_late(wait, send)
        elif fate == "reorder":
            self._held[name] = [send]
            self._send_late(wait, lambda: self._release(name, send))
        else:
            for _ in range({"drop": 0, "double": 2}.get(fate, 1)):
                await send()
        for each in overtaken:
            await each()

    def _send_late(self, wait: float, send: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.get_running_loop().create_task(_after(wait, send))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _release(self, name: str, send: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Nothing has overtaken the message: it goes now."""
        if send in self._held.get(name, ()):
            self._held[name].remove(send)
            await send()

    def _forget(self) -> None:
        self._held.clear()
        for task in self._late:
            task.cancel()


async def _after(wait: float, send: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await asyncio.sleep(wait)
    try:
        await send()
    except Exception as error:  # noqa: BLE001 - nobody waits for it any more; to fail late is one more way to be lost
        logger.info("late_message_lost error=%r", error)


def _check(seed: object, chances: Mapping[Fate, object], longest_delay: object) -> None:
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ImproperlyConfigured(f"ChaosLayer: seed is a whole number, not {seed!r}")
    for name, chance in chances.items():
        if not _is_number(chance) or not 0 <= chance <= 1:  # type: ignore[operator]  # a number by then
            raise ImproperlyConfigured(f"ChaosLayer: {name} is a probability from 0 to 1, not {chance!r}")
    total = sum(chances.values())  # type: ignore[arg-type]
    if total > 1 + 1e-9:
        raise ImproperlyConfigured(f"ChaosLayer: a message has one fate, but the probabilities make {total:g} together")
    if not _is_number(longest_delay) or not 0 < longest_delay < float("inf"):  # type: ignore[operator]
        raise ImproperlyConfigured(f"ChaosLayer: longest_delay is a number of seconds above 0, not {longest_delay!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _made(layer: object) -> Any:
    if not isinstance(layer, Mapping) or not isinstance(layer.get("BACKEND"), str):
        raise ImproperlyConfigured(f"ChaosLayer: layer is an entry as in CHANNEL_LAYERS, with a BACKEND, not {layer!r}")
    try:
        backend = import_string(layer["BACKEND"])
    except ImportError as error:
        raise ImproperlyConfigured(f"ChaosLayer: the layer's BACKEND cannot be imported: {error}") from error
    return backend(**layer.get("CONFIG", {}))
