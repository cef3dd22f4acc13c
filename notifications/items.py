"""From an event's content and a row's state to what its reader sees, in the active language. No ORM, no I/O."""

import re
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final

import msgspec
from django.conf import settings
from django.utils.translation import get_supported_language_variant, override

from notifications.protocol import EventCopy, Hidden, Item, Row
from notifications.rules import render_text

__all__ = ["encoded", "item", "rendered", "safe_url", "shared", "site_language"]

LINK: Final = re.compile(r"(https?://[^\s\\]|mailto:|/(?![/\\])|[?#])", re.IGNORECASE)
UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f]")


def safe_url(url: str) -> str:
    """The URL if a link may lead there (http, https, mailto, or a path of this site), else the empty string.

    Asked when a URL is stored and again when it is rendered: a request header can change what `reverse()` returns.
    """
    return url if LINK.match(url) and not UNPRINTABLE.search(url) else ""


def rendered(event: EventCopy) -> dict[str, Any]:
    """The part of an item that is the same for all its readers of one language: the active one."""
    content = event.content
    return {
        "kind": event.kind,
        "severity": content["severity"],
        "title": render_text(content["title"]),
        "body": render_text(content.get("body", "")),
        "url": safe_url(content.get("url", "")),
        "icon": content.get("icon", ""),
        "actor": _label(content, "actor"),
        "target": _label(content, "target"),
        "data": content.get("data", {}),
        "created_at": event.created_at,
    }


def item(row: Row, parts: Mapping[str, Any] | None) -> Item | Hidden:
    """The row as its reader sees it; hidden if it is deleted or there is nothing (None) to show for it."""
    if row.deleted or parts is None:
        return Hidden(id=row.event, stamp=row.stamp)
    return Item(id=row.event, number=row.number, stamp=row.stamp, read=row.read, archived=row.archived, **parts)


def shared(event: EventCopy, language: str) -> bytes:
    """What `rendered()` says in this language, as JSON without its opening brace: encoded once for all its readers."""
    content = event.content
    texts = [content["title"], content.get("body"), *(content[name]["text"] for name in ("actor", "target") if content.get(name))]
    is_translated = any(isinstance(text, Mapping) for text in texts)
    with override(language) if is_translated else nullcontext():  # which costs as much as the rest
        return msgspec.json.encode(rendered(event))[1:]


def encoded(row: Row, rest: bytes | None) -> bytes:
    """The JSON of `item()`, from what is `shared()` by its readers; None if there is nothing to show."""
    if row.deleted or rest is None:
        return msgspec.json.encode(item(row, None))
    own = (row.event, row.number, row.stamp, b"true" if row.read else b"false", b"true" if row.archived else b"false")
    return b'{"id":%d,"number":%d,"stamp":%d,"read":%b,"archived":%b,' % own + rest


def site_language(wanted: str) -> str:
    """A language that the site has, for the one that a page says it was rendered in."""
    try:
        return get_supported_language_variant(wanted)
    except LookupError:
        return settings.LANGUAGE_CODE


def _label(content: Mapping[str, Any], name: str) -> str:
    reference = content.get(name)
    return render_text(reference["text"]) if reference else ""
