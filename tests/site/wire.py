"""A socket within one process: the site's ASGI application at one end, `client.Page` at the other, and between them what a test
does to the connection. For what real processes show only by chance."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from django.conf import settings

from notifications.consumers import NotificationConsumer
from tests.site.client import PATH, SUBPROTOCOL, Page


class Wire:
    """`gate.clear()`: the peer reads no more, so that what the application sends does not finish."""

    def __init__(self, session: str | None) -> None:
        cookie = f"{settings.SESSION_COOKIE_NAME}={session}".encode()
        headers = [(b"host", b"testserver"), (b"origin", b"http://testserver"), (b"cookie", cookie)]
        self.scope: dict[str, Any] = {"type": "websocket", "path": PATH, "scheme": "ws", "headers": headers}
        self.scope |= {"server": ("testserver", 80), "subprotocols": [SUBPROTOCOL]}
        self.gate = asyncio.Event()
        self.gate.set()
        self.close_code: int | None = None
        self._up: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._down: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def open(self) -> None:
        application = NotificationConsumer.as_asgi()
        self._up.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(application(self.scope, self._up.get, self._take))
        accepted = await self._down.get()
        assert accepted["type"] == "websocket.accept"

    async def send(self, frame: str | bytes) -> None:
        self._up.put_nowait({"type": "websocket.receive", "text" if isinstance(frame, str) else "bytes": frame})

    async def close(self) -> None:
        self._up.put_nowait({"type": "websocket.disconnect", "code": 1000})
        self._down.put_nowait({"type": "websocket.close", "code": 1000})
        await asyncio.wait_for(self.task, 5)

    async def _take(self, message: dict[str, Any]) -> None:
        if not self.gate.is_set():
            await self.gate.wait()
        self._down.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[str]:
        while True:
            message = await self._down.get()
            if message["type"] == "websocket.close":
                self.close_code = self.close_code or message.get("code")
                return
            yield message["text"]


class LocalPage(Page):
    """A page whose server is this process's hub."""

    def __init__(self, session: str, **options: Any) -> None:
        super().__init__(type("Here", (), {"websocket_url": "ws://testserver"}), session, **options)

    async def connect(self, *, greets: bool = True, **options: Any) -> None:
        self.close_code = self.bye = None
        self.wire = Wire(self.session)
        await self.wire.open()
        self.socket = self.wire  # type: ignore[assignment]
        self._reader = asyncio.create_task(self._read())
        if greets:
            await self.hello()
