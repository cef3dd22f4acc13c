"""What a site does to tell its pages, by each way: the same orders in a server process and in a plain command's.

An order is `{"do": name, ...}`; `perform()` carries it out and says when what was sent (`time.monotonic()`, one clock for all
processes of a machine).
"""

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

from asgiref.sync import async_to_sync
from django.conf import settings

from benchmarks.site.content import BODY, content

__all__ = ["perform"]


class Way(Protocol):
    def broadcast(self, users: Sequence[int], number: int) -> None:
        """One notification to all."""

    def personal(self, users: Sequence[int], number: int) -> None:
        """To one user each, in turn, numbered from `number`."""

    def tell(self, users: Sequence[int], number: int) -> None:
        """One notification to these users, as a site's own code would have it told."""


class Channels:
    def __init__(self) -> None:
        from channels.layers import get_channel_layer

        self.layer = get_channel_layer()

    def broadcast(self, users: Sequence[int], number: int) -> None:
        async_to_sync(self.layer.group_send)("everybody", {"type": "note", "content": content(number)})

    def personal(self, users: Sequence[int], number: int) -> None:
        """All in one hop to a loop: kinder than a hop a user."""
        async_to_sync(self._send_each)(users, number)

    def tell(self, users: Sequence[int], number: int) -> None:
        for user in users:
            async_to_sync(self.layer.group_send)(f"user-{user}", {"type": "note", "content": content(number)})

    async def _send_each(self, users: Sequence[int], number: int) -> None:
        for each, user in enumerate(users, number):
            await self.layer.group_send(f"user-{user}", {"type": "note", "content": content(each)})


class SocketIO:
    def __init__(self) -> None:
        import socketio

        self.manager = socketio.RedisManager(settings.REDIS_URL, write_only=True)

    def broadcast(self, users: Sequence[int], number: int) -> None:
        self.manager.emit("note", content(number), room="everybody")

    def personal(self, users: Sequence[int], number: int) -> None:
        for each, user in enumerate(users, number):
            self.manager.emit("note", content(each), room=f"user-{user}")

    def tell(self, users: Sequence[int], number: int) -> None:
        for user in users:
            self.manager.emit("note", content(number), room=f"user-{user}")


class EventStream:
    def broadcast(self, users: Sequence[int], number: int) -> None:
        from django_eventstream import send_event

        send_event("everybody", "message", content(number))

    def personal(self, users: Sequence[int], number: int) -> None:
        from django_eventstream import send_event

        for each, user in enumerate(users, number):
            send_event(f"user-{user}", "message", content(each))

    def tell(self, users: Sequence[int], number: int) -> None:
        from django_eventstream import send_event

        for user in users:
            send_event(f"user-{user}", "message", content(number))


class Live:
    """`broadcast` and `personal` are the push alone: wake-ups as the relay rings them, and no row behind them."""

    def __init__(self) -> None:
        from notifications.models import Inbox

        self.inboxes = {inbox.pk: inbox for inbox in Inbox.objects.all()}

    def broadcast(self, users: Sequence[int], number: int) -> None:
        from notifications.protocol import WakeUp
        from notifications.relay import PAIRS
        from notifications.ringer import ring

        for start in range(0, len(users), PAIRS):
            steps = [self._step(user, number) for user in users[start : start + PAIRS]]
            ring(WakeUp(steps=steps, events={number: self._event(number)}))

    def personal(self, users: Sequence[int], number: int) -> None:
        from notifications.protocol import WakeUp
        from notifications.ringer import ring

        for each, user in enumerate(users, number):
            ring(WakeUp(steps=[self._step(user, each)], events={each: self._event(each)}))

    def tell(self, users: Sequence[int], number: int) -> None:
        from notifications import notify

        notify("bench.news", to=users, title=f"Order is {number}", body=BODY, url="/orders/1/", data={"n": number})

    def _step(self, user: int, number: int) -> Any:
        from notifications.protocol import Row, Step

        inbox = self.inboxes[user]
        inbox.top += 1
        row = Row(number, inbox.top, inbox.top)
        return Step(str(user), inbox.epoch, inbox.top - 1, inbox.top, inbox.top, inbox.top, 0, [row], [])

    def _event(self, number: int) -> Any:
        from django.utils import timezone

        from notifications.protocol import EventCopy

        told = content(number)
        words = {"severity": "info", "title": told["title"], "body": told["body"], "url": told["url"], "data": {"n": number}}
        return EventCopy("bench.news", words, timezone.now())


@cache
def way() -> Way:
    ways: dict[str, Callable[[], Way]] = {"channels": Channels, "socketio": SocketIO, "eventstream": EventStream, "live": Live}
    return ways[settings.SUBJECT.way]()


def perform(order: dict[str, Any]) -> Any:
    """Carry an order out. Raises `KeyError` for one that nobody knows."""
    return ORDERS[order.pop("do")](**order)


def push(how: str, users: Sequence[int], number: int) -> dict[str, float]:
    started = time.monotonic()
    getattr(way(), how)(users, number)
    return {"at": started, "took": time.monotonic() - started}


ORDERS: dict[str, Callable[..., Any]] = {
    "push": push,
}
