"""The hub's place on the channel layer: one channel, the groups of its users, and a look whether the layer still knows it.

Layers forget: `group_expiry`, an emptied or replaced Redis, a restart. So memberships are renewed, and the hub listens for
its own echo.
"""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from notifications.logs import is_due
from notifications.protocol import WakeUp
from notifications.ringer import HUBS, group, is_shared, opened, ring, site_layer, user_group

__all__ = ["Membership"]

logger = logging.getLogger(__name__)

LAYER_SECONDS: Final = 5.0  # the longest wait for one call of the layer, and for the echo
LEAVE_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 0.5  # after the layer failed, doubled up to
LONGEST_PAUSE_SECONDS: Final = 15.0


class Membership:
    """`users`: whose groups to be in, a live view. `hear` gets every wake-up, `joined` each user whose group has been joined,
    `entered` is told when the group of all hubs has been, before which what was rung to all has not been heard."""

    def __init__(
        self,
        hub_id: str,
        *,
        users: Collection[str],
        hear: Callable[[WakeUp], None],
        joined: Callable[[str], None],
        entered: Callable[[], None] = lambda: None,
    ) -> None:
        self.layer = site_layer()
        self._id = hub_id
        self._users = users
        self._hear = hear
        self._on_joined = joined
        self._on_entered = entered
        self._channel = ""
        self._lives = 0
        """How often everything has been joined from the start."""
        self._joined: set[str] = set()
        self._changed: dict[str, None] = {}
        """Users whose group is to be joined or left, in order."""
        self._has_changed = asyncio.Event()
        self._awaited = ""
        self._echo = asyncio.Event()
        self._must_renew = asyncio.Event()
        """Until the group of all hubs has been joined; again when the layer seems to have forgotten."""
        self._must_renew.set()
        self._has_entered = asyncio.Event()
        """For the first time."""

    @property
    def is_shared(self) -> bool:
        """Whether the layer reaches other processes."""
        return is_shared(self.layer)

    @property
    def is_hearing(self) -> bool:
        """Whether what another process rings to all hubs arrives here, as far as is known."""
        return self.is_shared and not self._must_renew.is_set()

    def change(self, user: str) -> None:
        """The user's first socket has come, or the last one gone."""
        if self.layer is None:
            return
        if (user in self._users) == (user in self._joined):
            self._changed.pop(user, None)  # came and went before it was joined, or the other way round
        else:
            self._changed[user] = None
            self._has_changed.set()

    def doubt(self, user: str) -> None:
        """The user's inbox has moved and nobody rang: perhaps the layer forgot this one group (the core layer drops whoever has
        joined long ago by a *publisher's* clock). Joining again costs little and heals it."""
        if user in self._joined:
            self._joined.discard(user)
            self.change(user)

    async def listen(self) -> None:
        """Receive for ever on one channel. What the layer raises is waited out."""
        pause = PAUSE_SECONDS
        while True:
            started = time.monotonic()
            try:
                await self._receive_until_forgotten()
            except Exception as error:  # noqa: BLE001 - whatever a layer raises when its server is away
                if is_due("layer_unheard"):
                    logger.warning("layer_unheard error=%r", error)
                is_new = time.monotonic() - started > LONGEST_PAUSE_SECONDS
                pause = PAUSE_SECONDS if is_new else min(pause * 2, LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def keep(self) -> None:
        """Join or leave one group. One at a time: hundreds at once exhaust the layer's connections."""
        await self._has_changed.wait()
        await self._has_entered.wait()
        user = next(iter(self._changed), None)
        if user is None:
            self._has_changed.clear()
            return
        self._changed[user] = self._changed.pop(user)  # to the end: should it fail, the others do not wait for it
        life = self._lives
        if user in self._users and user not in self._joined:
            await _bounded(self.layer.group_add(user_group(user), self._channel))
            if life != self._lives:  # forgotten and begun anew meanwhile: perhaps this too
                return
            self._joined.add(user)
            self._on_joined(user)
        elif user not in self._users and user in self._joined:
            await _bounded(self.layer.group_discard(user_group(user), self._channel))
            self._joined.discard(user)
        if (user in self._users) == (user in self._joined):
            self._changed.pop(user, None)

    async def renew(self) -> None:
        """Join everything again at a third of the time after which the layer forgets members, whoever still listens."""
        await asyncio.sleep(getattr(self.layer, "group_expiry", 86400) / 3)
        if self._has_entered.is_set():
            await _bounded(self.layer.group_add(group(HUBS), self._channel))
            self._rejoin()

    async def ask_for_echo(self) -> None:
        """Ring oneself. No echo: the layer forgot this hub, so it joins all groups again."""
        self._echo.clear()
        self._awaited = f"{self._id}.{secrets.token_hex(4)}"  # an earlier echo that comes late, or again, proves nothing
        ring(WakeUp(echo=self._awaited))
        try:
            await _bounded(self._echo.wait())
        except TimeoutError:
            if is_due("layer_echo_missing"):
                logger.warning("layer_echo_missing users=%s", len(self._users))
            self._must_renew.set()

    async def leave(self) -> None:
        """Leave all groups, as far as a second allows: a layer goes on filling the groups of the dead."""
        if not self._has_entered.is_set():
            return
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                for name in (group(HUBS), *(user_group(user) for user in self._joined)):
                    await self.layer.group_discard(name, self._channel)
        except Exception as error:  # noqa: BLE001 - the layer is away: its memberships expire
            logger.info("layer_not_left error=%r", error)

    async def _receive_until_forgotten(self) -> None:
        self._channel = self._channel or await _bounded(self.layer.new_channel("notifications"))
        receiving = asyncio.ensure_future(self._receive())
        forgotten: asyncio.Task[Any] | None = None
        try:
            await asyncio.sleep(0)  # the pub/sub layer drops a channel that is no longer listened to, and makes it anew here
            if self._must_renew.is_set():
                await self._enter()
            forgotten = asyncio.ensure_future(self._must_renew.wait())
            await asyncio.wait({receiving, forgotten}, return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                receiving.result()  # raises what ended it
        finally:
            await _ended(receiving, forgotten)

    async def _enter(self) -> None:
        """Join the group of all hubs, and have those of the users joined; again where the layer seems to have forgotten.

        Under the same name as before: what a hung layer may still know of it is then the same membership, not a second one.
        Leaving first makes a layer that believes to be subscribed do it anew.
        """
        if self._has_entered.is_set():
            await self.leave()
        await _bounded(self.layer.group_add(group(HUBS), self._channel))
        self._must_renew.clear()
        self._has_entered.set()
        self._rejoin()
        self._on_entered()

    async def _receive(self) -> None:
        while True:
            self._received(await self.layer.receive(self._channel))

    def _received(self, message: Mapping[str, Any]) -> None:
        wake_up = opened(message.get("body"))
        if wake_up is None:
            if is_due("wake_up_refused"):
                logger.warning("wake_up_refused type=%.50s", message.get("type"))
            return
        if wake_up.echo and wake_up.echo == self._awaited:
            self._echo.set()
        self._hear(wake_up)

    def _rejoin(self) -> None:
        self._lives += 1
        self._joined.clear()
        self._changed.update(dict.fromkeys(self._users))
        self._has_changed.set()


async def _bounded(call: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(LAYER_SECONDS):  # not wait_for(): before Python 3.12 it can swallow a cancellation
            return await call
    except OSError:
        raise
    except Exception as error:  # redis-py's errors are no OSError, and no more worth a traceback in the log
        raise OSError(f"the channel layer raised {error!r}") from error


async def _ended(*tasks: asyncio.Future[Any] | None) -> None:
    """Cancel what still runs and wait for its end, but not for a layer that hangs in it."""
    running = {task for task in tasks if task is not None}
    for task in running:
        task.cancel()
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # then nobody misses it
    await asyncio.wait(running, timeout=LEAVE_SECONDS)
