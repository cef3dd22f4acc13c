"""A page without a browser: a WebSocket client with the reducer that `docs/protocol.md` prescribes, which checks as it goes."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

SUBPROTOCOL = "notifications.v1.json"
PATH = "/notifications/socket/"


def new_session(user: Any) -> str:
    """The key of a new session that `user` is signed in by, as a login makes it."""
    from importlib import import_module

    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = user._meta.pk.value_to_string(user)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


class Page:
    """`async with Page(site, session) as page`: connected, greeted, kept current until the block ends."""

    def __init__(self, site: Any, session: str | None, *, position: str = "", language: str = "en", acks: bool = True) -> None:
        self.url = site.websocket_url
        self.session = session
        self.position = position
        self.language = language
        self.acks = acks
        self.items: dict[int, dict[str, Any]] = {}
        self.unread = self.unseen = self.seen_upto = 0
        self.frames: list[dict[str, Any]] = []
        self.arrived: list[str] = []
        """Titles in the order in which the page first showed them, other than by a reset."""
        self.bye: dict[str, Any] | None = None
        self.close_code: int | None = None
        self._changed = asyncio.Event()
        self._is_waiting_for_welcome = False

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.disconnect()

    async def connect(self, **options: Any) -> None:
        headers = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={self.session}"} if self.session else {}
        options = {"origin": self.url.replace("ws", "http", 1), "subprotocols": [SUBPROTOCOL], **options}
        self.close_code = self.bye = None
        self.socket: ClientConnection = await connect(self.url + PATH, additional_headers=headers, **options)
        self._reader = asyncio.create_task(self._read())
        await self.hello()

    async def disconnect(self) -> None:
        await self.socket.close()
        await self._reader

    async def hello(self) -> None:
        self._is_waiting_for_welcome = True
        await self.send(type="hello", position=self.position, language=self.language)

    async def send(self, **command: Any) -> None:
        try:
            await self.socket.send(json.dumps(command))
        except ConnectionClosed:
            pass

    async def until(self, is_so: Callable[[Self], Any], seconds: float = 15.0) -> None:
        """Wait for the page to show it. Raises `AssertionError` with what it shows instead."""
        try:
            async with asyncio.timeout(seconds):
                while not is_so(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"after {seconds} s the page shows {self.titles}; frames {self.frames[-5:]}") from None

    @property
    def titles(self) -> list[str]:
        """What the list shows, newest first."""
        shown = sorted(self.items.values(), key=lambda item: -item["number"])
        return [item["title"] for item in shown if not item["archived"]]

    async def _read(self) -> None:
        try:
            async for frame in self.socket:
                await self._take(json.loads(frame))
                self._changed.set()
        except ConnectionClosed:
            pass
        self.close_code = self.socket.close_code
        self._changed.set()

    async def _take(self, message: dict[str, Any]) -> None:
        self.frames.append(message)
        match message["type"]:
            case "welcome":
                self._is_waiting_for_welcome = False
            case "heartbeat":
                await self.send(type="heartbeat")
            case "bye":
                self.bye = message
            case "delta" | "reset" if not self._is_waiting_for_welcome:
                await self._apply(message)
        if message.get("ack") and self.acks:
            await self.send(type="ack", ack=message["ack"])

    async def _apply(self, message: dict[str, Any]) -> None:
        if message["type"] == "reset":
            self.items = {item["id"]: item for item in message["items"]}
        elif message["base"] == self.position:
            for item in message["items"]:
                self._upsert(item)
            for operation in message["ops"]:
                self._operate(*next(iter(operation.items())))
        elif message["position"] == self.position:
            return
        else:
            await self.hello()
            return
        self.position = message["position"]
        self.unread, self.unseen, self.seen_upto = message["unread"], message["unseen"], message["seen_upto"]

    def _upsert(self, item: dict[str, Any]) -> None:
        known = self.items.get(item["id"])
        if known is not None and known["stamp"] > item["stamp"]:
            return
        if item.get("hidden"):
            self.items.pop(item["id"], None)
            return
        if known is None:
            self.arrived.append(item["title"])
        self.items[item["id"]] = item

    def _operate(self, name: str, upto: int) -> None:
        for item in [item for item in self.items.values() if item["number"] <= upto]:
            match name:
                case "read_upto":
                    item["read"] = True
                case "archived_upto":
                    item["archived"] = True
                case "deleted_upto":
                    del self.items[item["id"]]
                case _:
                    raise AssertionError(f"unknown operation {name}")
