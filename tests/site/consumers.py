"""Sockets of the host project's own, from which it notifies."""

from typing import Any

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path

from notifications import anotify, notify

__all__ = ["sockets"]

WAYS = {"anotify": anotify, "sync_to_async": sync_to_async(notify), "database_sync_to_async": database_sync_to_async(notify)}


class AsyncTeller(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    async def receive_json(self, content: dict[str, Any], **_: Any) -> None:
        event = await WAYS[content["way"]]("plain", to=content["to"], title=content["way"])
        await self.send_json({"told": event.pk if event else None})


class Teller(JsonWebsocketConsumer):  # type: ignore[misc]
    def receive_json(self, content: dict[str, Any], **_: Any) -> None:
        event = notify("plain", to=content["to"], title=content["way"])
        self.send_json({"told": event.pk if event else None})


sockets = URLRouter([path("async-teller/", AsyncTeller.as_asgi()), path("teller/", Teller.as_asgi())])
