"""Frames straight into Daphne's TCP connection, where the site asks for it (`NOTIFICATIONS_DIRECT_WRITES`); off by default.

ASGI's `send` leads through autobahn's framing and logging to a writer that Twisted registers, serves and removes for each frame:
most of what a delivery costs on Daphne. This passes all of it by and touches internals of the three, so it is used only where
everything is as it was when it was tested: releases, types, plain TCP, no compression. Whatever is otherwise, then or for one
frame later, goes the ordinary way; the order of the frames is the same.
"""

import logging
import struct
import sys
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from notifications.conf import app_settings
from notifications.logs import is_due

__all__ = ["TESTED", "writer"]

logger = logging.getLogger(__name__)

TESTED: Final = {"daphne": ("4.2.",), "autobahn": ("25.", "26."), "twisted": ("25.", "26.")}
TEXT: Final = 0x81  # a whole message in one frame


def writer(send: Any) -> Callable[[str], bool] | None:
    """What writes a text frame to the connection behind this ASGI `send`, and says whether it has; None where nothing can."""
    if not app_settings.DIRECT_WRITES:
        return None
    protocol = send.args[0] if isinstance(send, partial) and send.args else None
    transport = getattr(protocol, "transport", None)
    if not _is_tested() or not _is_plain(protocol, transport):
        if is_due("direct_writes_unavailable"):
            logger.warning("direct_writes_unavailable transport=%s; frames go the ordinary way", type(transport).__name__)
        return None
    return partial(_write, protocol, transport)


@cache
def _is_tested() -> bool:
    try:
        return all(version(name).startswith(releases) for name, releases in TESTED.items())
    except PackageNotFoundError:
        return False


def _is_plain(protocol: Any, transport: Any) -> bool:
    """Of exactly these types, which are loaded where Daphne serves."""
    daphne, tcp = sys.modules.get("daphne.ws_protocol"), sys.modules.get("twisted.internet.tcp")
    if daphne is None or tcp is None:
        return False
    return (
        type(protocol) is daphne.WebSocketProtocol
        and type(transport) is tcp.Server
        and not protocol.autoFragmentSize
        and not protocol.maskServerFrames
    )


def _write(protocol: Any, transport: Any, frame: str) -> bool:
    """False: nothing has been written, and the ordinary way shall see to it."""
    if protocol.state != protocol.STATE_OPEN or protocol.send_queue or protocol._perMessageCompress is not None:  # noqa: SLF001
        return False
    if transport.TLS or transport.disconnecting or not transport.connected:
        return False
    data = _framed(frame.encode())
    if transport._tempDataLen or transport.offset != len(transport.dataBuffer):  # noqa: SLF001
        transport.write(data)  # behind what waits
        return True
    try:
        sent = transport.socket.send(data)
    except BlockingIOError:
        sent = 0
    except OSError:  # the reactor is about to find out
        return False
    if sent < len(data):
        transport.write(data[sent:])
    return True


def _framed(payload: bytes) -> bytes:
    """From a server, so not masked."""
    size = len(payload)
    if size < 126:
        return bytes((TEXT, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", TEXT, 126, size) + payload
    return struct.pack("!BBQ", TEXT, 127, size) + payload
