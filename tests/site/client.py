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
        self.path = PATH
        self.session = session
        self.position = position
        self.language = language
        self.acks = acks
        self.items: dict[int, dict[str, Any]] = {}
        self.unread = self.unseen = self.seen_upto = 0
        self.frames: list[dict[str, Any]] = []
        self.arrived: list[str] = []
        """Titles in the order in which the page first showed them, other than by a reset."""
        self.gaps = 0
        """Deltas that did not start where the page stood: it had to say hello again."""
        self.bye: dict[str, Any] | None = None
        self.close_code: int | None = None
        self.cookies = {settings.SESSION_COOKIE_NAME: session} if session else {}
        self._changed = asyncio.Event()
        self._is_waiting_for_welcome = False

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.disconnect()

    async def connect(self, *, greets: bool = True, **options: Any) -> None:
        """Open the socket, as the site's own page would. Raises `websockets`' `InvalidStatus` where it is refused."""
        headers = [("Cookie", f"{name}={value}") for name, value in self.cookies.items()]
        headers += options.pop("headers", [])
        own = {"origin": self.url.replace("ws", "http", 1), "subprotocols": [SUBPROTOCOL], "proxy": None}
        self.close_code = self.bye = None
        self.socket: ClientConnection = await connect(self.url + self.path, additional_headers=headers, **{**own, **options})
        self._reader = asyncio.create_task(self._read())
        if greets:
            await self.hello()

    async def disconnect(self) -> None:
        await self.socket.close()
        await self._reader

    async def hello(self) -> None:
        self._is_waiting_for_welcome = True
        await self.send(type="hello", position=self.position, language=self.language)

    async def send(self, **command: Any) -> None:
        await self.send_frame(json.dumps(command))

    async def send_frame(self, *frames: str | bytes) -> None:
        """Send what no page would."""
        try:
            for frame in frames:
                await self.socket.send(frame)
        except ConnectionClosed:
            pass

    async def acknowledge(self) -> None:
        """Take up honesty: acknowledge what has come so far, and from now on at once."""
        self.acks = True
        last = next((frame for frame in reversed(self.frames) if frame.get("ack")), None)
        if last is not None:
            await self.send(type="ack", ack=last["ack"])

    async def answer(self, ref: str, seconds: float = 15.0) -> dict[str, Any]:
        """The `done` or `error` that answers the command with this `ref`."""
        await self.until(lambda page: any(frame.get("ref") == ref for frame in page.frames), seconds)
        return next(frame for frame in self.frames if frame.get("ref") == ref)

    async def until_closed(self, seconds: float = 15.0) -> int:
        """Wait for the server to close; the close code, which the `bye` before it must agree with."""
        await self.until(lambda page: page.close_code is not None, seconds)
        assert self.close_code is not None
        assert self.bye is None or self.bye["code"] == self.close_code
        return self.close_code

    async def until(self, is_so: Callable[[Self], Any], seconds: float = 15.0) -> None:
        """Wait for the page to show it. Raises `AssertionError` with what it shows instead."""
        try:
            async with asyncio.timeout(seconds):
                while not is_so(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            shown = f"{len(self.titles)} items, {self.titles[:5]}; closed {self.close_code}; last frames {self.frames[-3:]}"
            raise AssertionError(f"after {seconds} s the page shows {shown}") from None

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
        assert not message.get("more") or message["type"] == "reset" or message["position"] == message["base"]
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
            self.gaps += 1
            await self.hello()
            return
        self.position = message["position"]
        self.unread, self.unseen, self.seen_upto = message["unread"], message["unseen"], message["seen_upto"]

    def kinds(self, *names: str) -> list[dict[str, Any]]:
        """The frames of these types, in the order of their coming."""
        return [frame for frame in self.frames if frame["type"] in names]

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
