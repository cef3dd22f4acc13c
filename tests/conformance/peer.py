"""The site under test, and one page of it that checks every frame it gets against `docs/protocol.md`."""

import asyncio
import urllib.request
from typing import Any, NamedTuple, Self
from urllib.parse import quote, urlsplit

from tests.site.client import Page

__all__ = ["ERROR_CODES", "ITEM", "NOW_AND_THEN", "SHAPES", "Peer", "Target"]

SHAPES: dict[str, dict[str, Any]] = {
    "welcome": {"version": int, "heartbeat_seconds": int, "spread_seconds": int | float},
    "delta": {
        "base": str,
        "position": str,
        "items": list,
        "ops": list,
        "unread": int,
        "unseen": int,
        "seen_upto": int,
        "more": bool,
    },
    "reset": {"position": str, "items": list, "unread": int, "unseen": int, "seen_upto": int, "more": bool},
    "done": {"ref": str, "stamp": int},
    "error": {"ref": str, "code": str, "message": str},
    "heartbeat": {"position": str},
    "bye": {"code": int, "reason": str, "retry_after": int | float | None},
}
NOW_AND_THEN: dict[str, dict[str, Any]] = {"delta": {"ack": str}, "reset": {"ack": str}}
ITEM: dict[str, Any] = {
    "id": int,
    "number": int,
    "stamp": int,
    "kind": str,
    "severity": str,
    "title": str,
    "body": str,
    "url": str,
    "icon": str,
    "actor": str,
    "target": str,
    "data": dict,
    "actions": list,
    "answer": str,
    "created_at": str,
    "read": bool,
    "archived": bool,
}
ERROR_CODES = {"bad_command", "unknown_command", "too_large", "binary", "hello_first", "busy", "unavailable"}


class Target(NamedTuple):
    """A site, its socket and one of its users, whose session `cookie` (`name=value`) is."""

    url: str
    path: str
    cookie: str
    tell_url: str
    """Asked by GET, with `{title}` filled in, it makes a notification for that user."""
    newcomer: str | None = None
    """The cookie of a user who has never been notified."""

    @property
    def websocket_url(self) -> str:
        address = urlsplit(self.url)
        return f"{address.scheme.replace('http', 'ws', 1)}://{address.netloc}"

    async def tell(self, *titles: str) -> None:
        await asyncio.to_thread(self._tell, titles)

    def _tell(self, titles: tuple[str, ...]) -> None:
        for title in titles:
            wanted = urllib.request.Request(self.tell_url.replace("{title}", quote(title)), headers={"Cookie": self.cookie})
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(wanted, timeout=30) as answer:
                answer.read()


class Peer(Page):
    """A page whose frames all have the documented shape; `cookie=None` is a visitor's."""

    def __init__(self, target: Target, *, cookie: str | None = "", **options: Any) -> None:
        super().__init__(target, None, **options)
        self.path = target.path
        cookie = target.cookie if cookie == "" else cookie
        self.cookies = dict([cookie.split("=", 1)]) if cookie else {}

    async def __aenter__(self) -> Self:
        await self.connect()
        await self.until(lambda page: page.position)
        return self

    async def _take(self, message: dict[str, Any]) -> None:
        check(message)
        await super()._take(message)

    async def listen_only(self, message: dict[str, Any]) -> None:
        """In place of `_take`: the page says nothing more, acknowledgements included."""
        check(message)
        self.frames.append(message)
        if message["type"] == "bye":
            self.bye = message

    async def settle(self, ref: str = "settled") -> None:
        """Whatever the server sent before has arrived when this returns. Costs a command."""
        self.frames = [frame for frame in self.frames if frame.get("ref") != ref]
        await self.send(type="seen", upto=0, ref=ref)
        assert (await self.answer(ref))["type"] == "done"


def check(message: Any) -> None:
    """Raises `AssertionError` where a frame lacks a documented field or has it in another type."""
    assert isinstance(message, dict), message
    has(message, SHAPES[message["type"]])
    asks = NOW_AND_THEN.get(message["type"], {})
    has(message, {name: kind for name, kind in asks.items() if name in message})
    if message["type"] == "error":
        assert message["code"] in ERROR_CODES
    for item in message.get("items", ()):
        if item.get("hidden"):
            assert item.keys() == {"id", "stamp", "hidden"}
        else:
            has(item, ITEM)
            assert item["severity"] in {"info", "success", "warning", "error"}
    for operation in message.get("ops", ()):
        ((name, upto),) = operation.items()
        assert name in {"read_upto", "archived_upto", "deleted_upto"}
        assert isinstance(upto, int)


def has(message: dict[str, Any], fields: dict[str, Any]) -> None:
    missing = fields.keys() - message.keys()
    assert not missing, f"{message.get('type', 'item')} lacks {missing}"
    wrong = {name: message[name] for name, kind in fields.items() if not isinstance(message[name], kind)}
    assert not wrong, wrong
