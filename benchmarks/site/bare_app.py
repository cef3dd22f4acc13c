"""The floor under every application on a server: a ready text handed to the `send` of each socket, and nothing else. No user is
asked for, no Django is there, nobody is told whether a frame arrived. The collector is set as this app's is.
"""

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from redis.asyncio import Redis

__all__ = ["EVERYBODY", "application"]

EVERYBODY = "everybody"
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

sends: dict[str, Send] = {}
hearing: list[asyncio.Task[None]] = []


async def application(scope: Mapping[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body"})
    elif scope["type"] == "websocket":
        if not hearing:
            hearing.append(asyncio.ensure_future(hear()))
        user = scope["path"].rpartition("/")[2]
        await receive()
        await send({"type": "websocket.accept"})
        sends[user] = send
        while (await receive())["type"] != "websocket.disconnect":
            pass
        sends.pop(user, None)


async def hear() -> None:
    """What the sender publishes: to whom, a space, the frame."""
    async with Redis.from_url(os.environ["REDIS_URL"]) as redis, redis.pubsub() as pubsub:
        await pubsub.subscribe("bare")
        async for message in pubsub.listen():
            if message["type"] == "message":
                to, _, text = message["data"].decode().partition(" ")
                frame = {"type": "websocket.send", "text": text}
                for send in list(sends.values()) if to == EVERYBODY else [sends[to]]:
                    await send(frame)


gc.collect()
gc.freeze()
gc.set_threshold(50_000)
