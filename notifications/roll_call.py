"""What `manage.py notifications_doctor` hears on the channel layer: a message that comes back, and the hubs that are there.

It examines the running installation, so for a moment it does what else only `ringer.py` and `hub.py` do: sends, and joins groups.
"""

import asyncio
import secrets
import time
from collections.abc import Iterator
from typing import Any, Final

from notifications.conf import app_settings
from notifications.doctor import Finding, first_line
from notifications.protocol import Presence, WakeUp
from notifications.ringer import HUBS, MESSAGE_TYPE, group, is_shared, opened, sealed, site_layer

__all__ = ["hubs", "layer"]

LAYER_SECONDS: Final = 5.0
ROLL_CALL_SECONDS: Final = 2.0  # in which a hub that lives has answered


def layer() -> Iterator[Finding]:
    """A message through the channel layer and back."""
    alias = app_settings.CHANNEL_LAYER
    found = site_layer()
    if found is None:
        mend = "Set CHANNEL_LAYERS. Until then pages learn of news by the watermark."
        yield Finding("layer", "warning", f"there is no channel layer {alias!r}", mend)
        return
    name = type(found).__name__
    try:
        took = asyncio.run(_round_trip(found))
    except Exception as error:  # noqa: BLE001 - whatever a layer raises when its server is away
        mend = "Start Redis, and look at CHANNEL_LAYERS. Until then pages learn of news by the watermark."
        yield Finding("layer", "broken", f"{alias!r} ({name}) does not carry a message: {first_line(error)}", mend)
        return
    yield Finding("layer", "ok", f"{alias!r} ({name}): a message came back in {took * 1000:.0f} ms")


def hubs(*, is_reached: bool = False) -> Iterator[Finding]:
    """Which server processes answer a roll call. `is_reached`: a socket was opened just now, so there must be one."""
    found = site_layer()
    if not is_shared(found):
        yield Finding("hubs", "unknown", "cannot be asked: no channel layer reaches other processes from here")
        return
    try:
        answers = asyncio.run(_roll_call(found))
    except Exception as error:  # noqa: BLE001 - as above
        yield Finding("hubs", "unknown", f"cannot be asked: {first_line(error)}")
        return
    for presence, took in answers.values():
        state = f"{presence.process} answered in {took * 1000:.0f} ms: {presence.sockets} sockets, {presence.behind} behind"
        yield Finding("hubs", "ok", state)
    if not answers:
        yield Finding(
            "hubs",
            "broken" if is_reached else "warning",
            f"no server process answered within {ROLL_CALL_SECONDS:g} s",
            "Start one (Daphne's hub begins with its first request). One that runs hears this command only with the same "
            "SECRET_KEY, CHANNEL_LAYERS and NOTIFICATIONS_GROUP_PREFIX.",
        )


async def _round_trip(layer: Any) -> float:
    async with asyncio.timeout(LAYER_SECONDS):
        name, word = group(f"doctor-{secrets.token_hex(8)}"), secrets.token_hex(8)
        channel = await layer.new_channel("notifications")
        await layer.group_add(name, channel)
        started = time.monotonic()
        await layer.group_send(name, {"type": MESSAGE_TYPE, "body": word})
        while (await layer.receive(channel)).get("body") != word:
            pass
        took = time.monotonic() - started
        await layer.group_discard(name, channel)
    return took


async def _roll_call(layer: Any) -> dict[str, tuple[Presence, float]]:
    """Who answered, and after how many seconds. A hub answers to all hubs, so for a moment this command listens as one."""
    answers: dict[str, tuple[Presence, float]] = {}
    async with asyncio.timeout(LAYER_SECONDS + ROLL_CALL_SECONDS):
        channel = await layer.new_channel("notifications")
        await layer.group_add(group(HUBS), channel)
        try:
            started = time.monotonic()
            await layer.group_send(group(HUBS), {"type": MESSAGE_TYPE, "body": sealed(WakeUp(roll_call=True))})
            async with asyncio.timeout(ROLL_CALL_SECONDS):
                while True:
                    wake_up = opened((await layer.receive(channel)).get("body"))
                    for presence in wake_up.present if wake_up is not None else ():
                        answers.setdefault(presence.hub, (presence, time.monotonic() - started))
        except TimeoutError:
            pass
        finally:
            await layer.group_discard(group(HUBS), channel)
    return answers
