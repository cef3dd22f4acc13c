"""What a site does to tell its pages, by each way: the same orders in a server process and in a plain command's.

An order is `{"do": name, ...}`; `perform()` carries it out and says when what was sent (`time.monotonic()`, one clock for all
processes of a machine).
"""

import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, Protocol

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection, transaction

from benchmarks.site.bare_app import EVERYBODY
from benchmarks.site.content import BODY, content
from benchmarks.site.models import Entry, PlainOrder, WatchedOrder

__all__ = ["perform"]

FRAME_BYTES: Final = 600
RINGS_AT_ONCE: Final = 500
FLUSH_SECONDS: Final = 5.0


class Way(Protocol):
    began: float
    """When the latest push went out."""

    def broadcast(self, users: Sequence[int], number: int) -> None:
        """One notification to all."""

    def personal(self, users: Sequence[int], number: int) -> None:
        """To one user each, in turn, numbered from `number`."""

    def tell(self, users: Sequence[int], number: int) -> None:
        """One notification to these users, as a site's own code would have it told."""


class Bare:
    """Frames as long as the app's, from nowhere."""

    began = 0.0

    def __init__(self) -> None:
        from redis import Redis

        self.redis = Redis.from_url(settings.REDIS_URL)

    def broadcast(self, users: Sequence[int], number: int) -> None:
        self.redis.publish("bare", f"{EVERYBODY} {self._frame(number)}")

    def personal(self, users: Sequence[int], number: int) -> None:
        with self.redis.pipeline(transaction=False) as pipeline:
            for each, user in enumerate(users, number):
                pipeline.publish("bare", f"{user} {self._frame(each)}")
            pipeline.execute()

    def tell(self, users: Sequence[int], number: int) -> None:
        for user in users:
            self.personal([user], number)

    def _frame(self, number: int) -> str:
        return json.dumps(content(number)).ljust(FRAME_BYTES)


class Channels:
    began = 0.0

    def __init__(self) -> None:
        from channels.layers import get_channel_layer

        self.layer = get_channel_layer()

    def broadcast(self, users: Sequence[int], number: int) -> None:
        async_to_sync(self.layer.group_send)("everybody", {"type": "note", "content": content(number)})

    def personal(self, users: Sequence[int], number: int) -> None:
        for each, user in enumerate(users, number):
            async_to_sync(self.layer.group_send)(f"user-{user}", {"type": "note", "content": content(each)})

    def in_one_hop(self, users: Sequence[int], number: int) -> None:
        """To one user each, all in one hop to an event loop."""
        async_to_sync(self._send_each)(users, number)

    def tell(self, users: Sequence[int], number: int) -> None:
        for user in users:
            async_to_sync(self.layer.group_send)(f"user-{user}", {"type": "note", "content": content(number)})

    async def _send_each(self, users: Sequence[int], number: int) -> None:
        for each, user in enumerate(users, number):
            await self.layer.group_send(f"user-{user}", {"type": "note", "content": content(each)})


class Tuned(Channels):
    """Who knows what a hop costs makes one for all."""

    personal = Channels.in_one_hop


class SocketIO:
    began = 0.0

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
    began = 0.0

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

    began = 0.0

    def __init__(self) -> None:
        from notifications.models import Inbox

        self.inboxes = {inbox.pk: inbox for inbox in Inbox.objects.all()}

    def broadcast(self, users: Sequence[int], number: int) -> None:
        from notifications.protocol import WakeUp
        from notifications.slices import PAIRS

        events = {number: self._event(number)}
        starts = range(0, len(users), PAIRS)
        self._ring([WakeUp(steps=[self._step(user, number) for user in users[at : at + PAIRS]], events=events) for at in starts])

    def personal(self, users: Sequence[int], number: int) -> None:
        from notifications.protocol import WakeUp

        pairs = list(enumerate(users, number))
        self._ring([WakeUp(steps=[self._step(user, each)], events={each: self._event(each)}) for each, user in pairs])

    def _ring(self, wake_ups: list[Any]) -> None:
        """Begin the clock: what has been made by now, the relay makes of the rows, and its cost is measured with theirs."""
        from notifications.ringer import ring, ringer

        self.began = time.monotonic()
        for at, wake_up in enumerate(wake_ups, 1):
            ring(wake_up)
            if at % RINGS_AT_ONCE == 0:
                ringer.flush(FLUSH_SECONDS)  # no relay has so many under way, and a ringer drops what waits beyond a thousand

    def tell(self, users: Sequence[int], number: int) -> None:
        from notifications import notify

        notify("bench.news", to=users, title=f"Order is {number}", body=BODY, url="/orders/1/", data={"n": number})

    def _step(self, user: int, number: int) -> Any:
        from notifications.protocol import Row, Step

        inbox = self.inboxes[user]
        inbox.top += 1
        row = Row(number, inbox.top, inbox.top)
        return Step(str(user), inbox.epoch, inbox.top - 1, inbox.top, inbox.top, inbox.top, 0, (row,))

    def _event(self, number: int) -> Any:
        from django.utils import timezone

        from notifications.protocol import EventCopy

        told = content(number)
        words = {"severity": "info", "title": told["title"], "body": told["body"], "url": told["url"], "data": {"n": number}}
        return EventCopy("bench.news", words, timezone.now())


@cache
def way() -> Way:
    ways: dict[str, Callable[[], Way]] = {
        "bare": Bare,
        "channels": Channels,
        "tuned": Tuned,
        "socketio": SocketIO,
        "eventstream": EventStream,
        "live": Live,
    }
    return ways[settings.SUBJECT.way]()


def perform(order: dict[str, Any]) -> Any:
    """Carry an order out. Raises `KeyError` for one that nobody knows."""
    return ORDERS[order.pop("do")](**order)


def push(how: str, users: Sequence[int], number: int) -> dict[str, float]:
    way().began = time.monotonic()
    getattr(way(), how)(users, number)
    return {"at": way().began}


def tell(users: Sequence[int], number: int) -> dict[str, float]:
    """As a site's own code tells these users: what it takes the caller, and how much of it is CPU."""
    return {"at": time.monotonic(), **_timed(lambda: way().tell(users, number))}


def trigger(users: Sequence[int], number: int) -> dict[str, Any]:
    """The same beside one equal plain INSERT by the ORM, and the statements it took."""
    statements: list[str] = []

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(sql)
        return execute(sql, params, many, context)

    audience = {"users": list(users), "groups": []}
    insert = _timed(lambda: Entry._default_manager.create(kind="bench.news", content=content(number), audience=audience))
    with connection.execute_wrapper(count):
        told = tell(users, number)
    return {**told, "insert": insert, "statements": len(statements)}


def save(which: str, number: int) -> dict[str, float]:
    """Save an order in autocommit: nobody looks (`plain`), a rule does (`watched`), or its page is told by hand (`told`)."""
    model: Any = WatchedOrder if which == "watched" else PlainOrder
    order = model._default_manager.get(pk=1)
    order.state = number

    def change() -> None:
        order.save()
        if which == "told":
            way().tell([order.customer_id], number)

    return _timed(change)


def commit(user: int, number: int) -> dict[str, float]:
    """Save and tell one user in a transaction: when it was committed, and how long the commit alone took."""
    at: list[float] = []
    with transaction.atomic():
        PlainOrder._default_manager.filter(pk=1).update(state=number)
        transaction.on_commit(lambda: at.append(time.monotonic()))
        if settings.SUBJECT.way == "live":
            way().tell([user], number)
        else:  # what has no outbox can only be told afterwards
            transaction.on_commit(lambda: way().tell([user], number))
        before = time.monotonic()
    return {"at": at[0], "commit": at[0] - before}


def burst(user: int, number: int, count: int) -> dict[str, float]:
    """That many notifications to one user, as fast as they can be made: a hundred a transaction, or all in one hop to a loop."""
    started = time.monotonic()
    if settings.SUBJECT.way != "live":
        told = way()
        tell_each = told.in_one_hop if isinstance(told, Channels) else told.personal
        tell_each([user] * count, number)
        return {"took": time.monotonic() - started}
    for first in range(number, number + count, 100):
        with transaction.atomic():
            for each in range(first, min(first + 100, number + count)):
                way().tell([user], each)
    return {"took": time.monotonic() - started}


def positions(users: Sequence[int]) -> list[str]:
    """Where the inboxes of these users stand."""
    from notifications.models import Inbox

    found = Inbox.objects.in_bulk(list(users))
    return [str(found[user].position) for user in users]


def statements() -> dict[str, int]:
    """What this process has sent to its database, the app's own threads apart from the site's."""
    from tests.site.counting import statements

    return dict(statements)


def _timed(call: Callable[[], object]) -> dict[str, float]:
    """Wall clock and CPU time of the calling thread, in seconds."""
    wall, cpu = time.perf_counter(), time.thread_time()
    call()
    return {"wall": time.perf_counter() - wall, "cpu": time.thread_time() - cpu}


ORDERS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (push, tell, trigger, save, commit, burst, positions, statements)
}
