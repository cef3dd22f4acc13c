"""From an event's content and a row's state to what its reader sees, in the active language. No ORM, no I/O."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from django.conf import settings
from django.utils.translation import get_supported_language_variant, override

from notifications.protocol import Button, EventCopy, Hidden, Item, Row
from notifications.rules import is_own_path, render_text

__all__ = ["encoded", "item", "rendered", "safe_url", "shared", "site_language"]

LINK: Final = re.compile(r"(https?://(?=[^\s\\])|mailto:|/(?![/\\])|[?#])[^\x00-\x20\x7f]*", re.IGNORECASE)
_encode: Final = msgspec.json.Encoder().encode


def safe_url(url: str) -> str:
    """The URL if a link may lead there (http, https, mailto, or a path of this site), else the empty string.

    Asked when a URL is stored and again when it is rendered: a request header can change what `reverse()` returns.
    """
    return url if LINK.fullmatch(url) else ""


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
        "actions": [
            Button(label=render_text(action["label"]), url=action["url"], primary=action["primary"])
            for action in content.get("actions", ())
            if is_own_path(action["url"])  # asked again, as of any URL
        ],
        "created_at": event.created_at,
    }


def item(row: Row, parts: Mapping[str, Any] | None) -> Item | Hidden:
    """The row as its reader sees it; hidden if it is deleted or there is nothing (None) to show for it."""
    if row.deleted or parts is None:
        return Hidden(id=row.event, stamp=row.stamp)
    answer = render_text(row.answer or "")
    return Item(id=row.event, number=row.number, stamp=row.stamp, read=row.read, archived=row.archived, answer=answer, **parts)


def shared(event: EventCopy, language: str) -> bytes:
    """What `rendered()` says in this language, as JSON without its opening brace: encoded once for all its readers."""
    content = event.content
    texts = [content["title"], content.get("body")]
    texts += [reference["text"] for reference in (content.get("actor"), content.get("target")) if reference]
    if content.get("actions"):
        texts += [action["label"] for action in content["actions"]]
    return _encoded_in(language, texts, rendered, event)[1:]


def encoded(row: Row, rest: bytes | None, language: str) -> bytes:
    """The JSON of `item()` in this language, from what is `shared()` by its readers; None if there is nothing to show."""
    if row.deleted or rest is None:
        return _encode(item(row, None))
    return (
        b'{"id":%d,"number":%d,"stamp":%d,"read":%b,"archived":%b,"answer":%b,'
        % (
            row.event,
            row.number,
            row.stamp,
            b"true" if row.read else b"false",
            b"true" if row.archived else b"false",
            b'""' if row.answer is None else _encoded_in(language, [row.answer], render_text, row.answer),
        )
        + rest
    )


def _encoded_in(language: str, texts: Iterable[Any], render: Callable[[Any], Any], stored: Any) -> bytes:
    """The JSON of what `render` makes of `stored`, in that language if one of its texts has translations: to change the active
    language costs as much as all the rest."""
    if dict not in map(type, texts):  # as it comes from JSON
        return _encode(render(stored))
    with override(language):
        return _encode(render(stored))


def site_language(wanted: str) -> str:
    """A language that the site has, for the one that a page says it was rendered in."""
    try:
        return get_supported_language_variant(wanted)
    except LookupError:
        return settings.LANGUAGE_CODE


def _label(content: Mapping[str, Any], name: str) -> str:
    reference = content.get(name)
    return render_text(reference["text"]) if reference else ""
