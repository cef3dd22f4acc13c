"""The only caller of the channel layer's `send`: tells the hubs that inboxes moved, off the caller's path.

`ring()` never waits and never raises. The own process's hub hears first, directly; then one message at a time goes to the layer,
and what comes meanwhile is merged. A layer that fails or hangs opens the breaker: its messages are dropped, the watermark heals.
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from msgspec import structs

from notifications.conf import app_settings
from notifications.logs import is_due
from notifications.protocol import Step, WakeUp

__all__ = [
    "HUBS",
    "MESSAGE_TYPE",
    "group",
    "inbox_stepped",
    "is_shared",
    "opened",
    "ring",
    "ringer",
    "sealed",
    "site_layer",
    "user_group",
]

logger = logging.getLogger(__name__)

MESSAGE_TYPE: Final = "notifications.wake"
VERSION: Final = "v1"
HUBS: Final = "hubs"
FEW: Final = 3  # users up to which each gets a message of its own group; more share one to all hubs
USERS_PER_MESSAGE: Final = 500
MESSAGE_BYTES: Final = 256 * 1024  # past it the letters stay home: the wake-up only says "look"
SEND_SECONDS: Final = 2.0
OPEN_SECONDS: Final = 15.0  # the breaker's longest rest
WAITING: Final = 1000  # wake-ups behind a slow layer; beyond, the oldest are dropped: the gap that they leave is healed
KEPT_SECONDS: Final = 30.0  # past which every hub has looked at its sessions by itself
PENDING_RESTS: Final = 50
"""Times as long as the ring took. "Pending" says the same each time: what a busy writer commits meanwhile needs one ring, and is
relayed together."""
LONGEST_REST_SECONDS: Final = 0.25
GATHER_SECONDS: Final = 0.002
"""Between two messages of a writer that rings faster than the layer takes: each costs every hub as much as a delivery does."""
FLUSH_SECONDS: Final = 0.2
PENDING: Final = WakeUp(pending=True)
_decoder = msgspec.json.Decoder(WakeUp)


class Hub(Protocol):
    loop: asyncio.AbstractEventLoop

    def hear(self, wake_up: WakeUp) -> None:
        """Deliver to the own sockets. On the hub's loop only."""

    def relay_soon(self) -> None:
        """Relay what is pending on the hub's own thread. From any thread."""


def site_layer() -> Any:
    """The site's channel layer; None where there is none or it cannot be made: the site is served all the same."""
    try:
        return get_channel_layer(app_settings.CHANNEL_LAYER)
    except Exception as error:  # noqa: BLE001 - a layer's module and constructor are the site's choice
        _log(error)
        return None


def is_shared(layer: Any) -> bool:
    """Whether it reaches other processes."""
    return layer is not None and not isinstance(layer, InMemoryChannelLayer)


def group(name: str) -> str:
    return f"{app_settings.GROUP_PREFIX}.{VERSION}.{name}"


def user_group(user: str) -> str:
    """The group of one user. A hash: a name is never built from outside text."""
    return group(hashlib.blake2b(user.encode(), digest_size=16).hexdigest())


def sealed(wake_up: WakeUp) -> bytes:
    body = msgspec.json.encode(wake_up)  # an event's content is JSON; not all of it is MessagePack
    return _mac(settings.SECRET_KEY, body) + body


def opened(blob: object) -> WakeUp | None:
    """The wake-up in a blob that some process with our key sealed; None for anything else."""
    if not isinstance(blob, bytes) or len(blob) < 32:
        return None
    mac, body = blob[:32], blob[32:]
    if not any(hmac.compare_digest(mac, _mac(key, body)) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)):
        return None
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError:
        return None


def _mac(key: str | bytes, body: bytes) -> bytes:
    secret = key if isinstance(key, bytes) else key.encode()
    return hmac.digest(hashlib.sha256(b"notifications.wake-up" + secret).digest(), body, "sha256")


class Ringer:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start anew: in a forked child the parent's loop, thread and lock are not ours."""
        self.hub: Hub | None = None
        self._waiting: deque[WakeUp] = deque(maxlen=WAITING)
        self._lock = threading.Lock()
        self._sending_on: asyncio.AbstractEventLoop | None = None
        self._rest: asyncio.Event | None = None
        """While "pending" rests. Set, it ends the rest: other news do not wait."""
        self._flushing = 0  # callers of `flush()`
        self._idle = threading.Event()
        self._idle.set()
        self._background: asyncio.AbstractEventLoop | None = None
        self._failures = 0
        self._failing_since = 0.0
        self._closed_until = 0.0

    def ring(self, wake_up: WakeUp) -> None:
        hub = self.running_hub()
        if hub is not None:
            _soon(hub.loop, hub.hear, wake_up)
        layer = site_layer()  # on this thread: an import in another one could meet a fork
        if layer is None or (hub is None and not is_shared(layer)):
            return
        with self._lock:
            self._waiting.append(wake_up)
            self._idle.clear()
            if self._sending_on is not None and not self._sending_on.is_closed():
                if wake_up != PENDING:
                    self._end_rest()
                return
            loop = self._sending_on = hub.loop if hub is not None else self._background_loop()
        try:
            _soon(loop, self._start_sending, layer)
        except RuntimeError as error:  # the loop has just closed
            self._end_sending()
            _log(error)

    def reaches_others(self) -> bool:
        """Whether other processes hear a ring, as far as this one knows."""
        return time.monotonic() >= self._closed_until and is_shared(site_layer())

    def running_hub(self) -> Hub | None:
        hub = self.hub
        return hub if hub is not None and not hub.loop.is_closed() else None

    def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Wait until what was rung is sent, as a command does before it ends. Not from an event loop."""
        with self._lock:
            self._flushing += 1
            self._end_rest()
        try:
            return self._idle.wait(timeout)
        finally:
            with self._lock:
                self._flushing -= 1

    def _start_sending(self, layer: Any) -> None:
        self._task = asyncio.get_running_loop().create_task(self._send_waiting(layer))

    async def _send_waiting(self, layer: Any) -> None:
        try:
            while True:
                with self._lock:
                    batch = list(self._waiting)
                    self._waiting.clear()
                    if not batch:
                        self._sending_on = None
                        self._idle.set()
                        return
                started = time.monotonic()
                if started < self._closed_until or not await self._send(layer, batch):
                    await self._keep_ends(batch)
                elif any(wake_up.pending for wake_up in batch):
                    await self._take_rest(PENDING_RESTS * (time.monotonic() - started))
                elif len(batch) > 1:
                    await asyncio.sleep(GATHER_SECONDS)
        except asyncio.CancelledError:
            self._end_sending()
            raise

    async def _send(self, layer: Any, batch: list[WakeUp]) -> bool:
        """False: the layer did not take it all."""
        try:
            ready = list(messages(batch))
        except Exception as error:  # noqa: BLE001 - content that cannot be encoded is no fault of the layer's; the watermark heals
            if is_due("wake_up_unsealable"):
                logger.error("wake_up_unsealable error=%r", error)
            return True
        try:
            for name, blob in ready:
                async with asyncio.timeout(SEND_SECONDS):
                    await layer.group_send(name, {"type": MESSAGE_TYPE, "body": blob})
            self._failures = 0
        except Exception as error:  # noqa: BLE001 - whatever a layer raises when its server is away
            self._failing_since = self._failing_since if self._failures else time.monotonic()
            self._failures += 1
            self._closed_until = time.monotonic() + min(0.5 * 2 ** min(self._failures, 10), OPEN_SECONDS)
            _log(error)
            return False
        return True

    async def _take_rest(self, seconds: float) -> None:
        rest = asyncio.Event()
        with self._lock:
            if self._flushing or any(wake_up != PENDING for wake_up in self._waiting):
                return
            if not self._waiting:
                self._idle.set()
            self._rest = rest
        try:
            async with asyncio.timeout(min(seconds, LONGEST_REST_SECONDS)):
                await rest.wait()
        except TimeoutError:
            pass
        finally:
            self._rest = None

    def _end_rest(self) -> None:
        """Under the lock."""
        if self._rest is not None and self._sending_on is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just closed
                _soon(self._sending_on, self._rest.set)

    async def _keep_ends(self, batch: Iterable[WakeUp]) -> None:
        """The watermark makes up for news; the end of a session is promised sooner, so it waits for the layer to be back."""
        ends = [WakeUp(sessions=wake_up.sessions) for wake_up in batch if wake_up.sessions]
        if not ends or time.monotonic() - self._failing_since > KEPT_SECONDS:
            return
        with self._lock:
            self._waiting.extend(ends)
        await asyncio.sleep(max(0.0, self._closed_until - time.monotonic()))

    def _end_sending(self) -> None:
        with self._lock:
            self._waiting.clear()
            self._sending_on = None
            self._idle.set()

    def _background_loop(self) -> asyncio.AbstractEventLoop:
        if self._background is None:
            self._background = asyncio.new_event_loop()
            threading.Thread(target=self._background.run_forever, name="notifications-ringer", daemon=True).start()
        return self._background


def messages(batch: Iterable[WakeUp]) -> Iterator[tuple[str, bytes]]:
    """A batch of wake-ups as few sealed messages, each with the group it goes to. A user's contiguous steps join."""
    batch = list(batch)
    sessions = [check for wake_up in batch for check in wake_up.sessions]
    for start in range(0, len(sessions), USERS_PER_MESSAGE):
        # To all hubs: a handshake under way has not joined its user's group yet.
        yield group(HUBS), sealed(WakeUp(sessions=sessions[start : start + USERS_PER_MESSAGE]))
    for echo in {wake_up.echo for wake_up in batch if wake_up.echo}:
        yield group(HUBS), sealed(WakeUp(echo=echo))
    present = [presence for wake_up in batch for presence in wake_up.present]
    if present:
        yield group(HUBS), sealed(WakeUp(present=present))
    if any(wake_up.pending for wake_up in batch):
        yield group(HUBS), sealed(WakeUp(pending=True))
    steps = joined(step for wake_up in batch for step in wake_up.steps)
    events = {id: event for wake_up in batch for id, event in wake_up.events.items()}
    users = {step.user for step in steps}
    if len(users) <= FEW:
        for user in users:
            yield user_group(user), _letter([step for step in steps if step.user == user], events)
    else:
        for start in range(0, len(steps), USERS_PER_MESSAGE):
            yield group(HUBS), _letter(steps[start : start + USERS_PER_MESSAGE], events)


def _letter(steps: list[Step], events: dict[int, Any]) -> bytes:
    named = {row.event for step in steps for row in step.rows or ()}
    blob = sealed(WakeUp(steps=steps, events={id: events[id] for id in named if id in events}))
    if len(blob) <= MESSAGE_BYTES:
        return blob
    return sealed(WakeUp(steps=[structs.replace(step, rows=None, ops=()) for step in steps]))


def joined(steps: Iterable[Step]) -> list[Step]:
    """The steps with each user's contiguous ones made one. Rows come before operations in a step, so not behind one."""
    last: dict[str, int] = {}
    result: list[Step] = []
    for step in steps:
        at = last.get(step.user)
        earlier = None if at is None else result[at]
        if (
            at is not None
            and earlier is not None
            and earlier.epoch == step.epoch
            and earlier.top == step.base
            and earlier.rows is not None
            and step.rows is not None
            and not (earlier.ops and step.rows)
        ):
            rows, ops = (*earlier.rows, *step.rows), (*earlier.ops, *step.ops)
            result[at] = structs.replace(step, base=earlier.base, rows=rows, ops=ops)
        else:
            last[step.user] = len(result)
            result.append(step)
    return result


def _log(error: BaseException) -> None:
    if is_due("layer_failed"):
        logger.error("layer_failed error=%r; pages learn of news by the watermark until it is back", error)


def _soon(loop: asyncio.AbstractEventLoop, function: Any, *arguments: Any) -> None:
    """Call on the loop: at once if this is its thread and it runs, else as soon as it gets there."""
    if asyncio._get_running_loop() is loop:  # noqa: SLF001 - the one form that does not raise where no loop runs
        function(*arguments)
    else:
        loop.call_soon_threadsafe(function, *arguments)


ringer: Final = Ringer()
ring: Final = ringer.ring
os.register_at_fork(after_in_child=ringer.reset)
# Before the executors close and names stop resolving, which is when `atexit` runs.
threading._register_atexit(ringer.flush)  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public one


def inbox_stepped(*, wake_up: WakeUp, **_: Any) -> None:
    """Receiver of the private signal of that name."""
    ring(wake_up)
