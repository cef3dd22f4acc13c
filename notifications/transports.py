"""The transport beneath an ASGI connection: how much waits in it, how much came through it, and an end without the peer's help.

ASGI knows none of that. Daphne keeps whatever is sent to a peer that does not read, and both servers, once told to close, go on
reading a flood until the peer agrees to close. Both hand the application a `send` that leads to their protocol object. Behind an
ASGI application that wraps `send` no transport is found, and the bounds of `stream.py` and `consumers.py` hold alone.
"""

import contextlib
import socket
import struct
from functools import partial
from typing import Any, Final

__all__ = ["Transport"]

TCP_INFO: Final = getattr(socket, "TCP_INFO", None)  # Linux
READ_BYTES: Final = 1024  # most commands; of the smallest frames it holds 15 ms of parsing
RECEIVE_BYTES: Final = 16 * 1024
BYTES_RECEIVED: Final = 128  # where `struct tcp_info` has tcpi_bytes_received, a 64-bit number


class Transport:
    """`send`: as the server gave it. Whatever cannot be found out is 0, whatever cannot be done is left out."""

    def __init__(self, send: Any) -> None:
        # Daphne's is a partial of its own method, with the protocol; uvicorn's is a method of the protocol.
        protocol = send.args[0] if isinstance(send, partial) and send.args else getattr(send, "__self__", None)
        self._transport: Any = getattr(protocol, "transport", None)
        self._socket: Any = self._get_socket()

    def take_little(self) -> None:
        """Read little at a time: a server parses what one read brought before it is anybody else's turn, and a quarter of a
        megabyte of the smallest frames takes it a second."""
        for name in ("max_size", "bufferSize"):  # asyncio's, Twisted's
            if hasattr(self._transport, name):
                setattr(self._transport, name, READ_BYTES)
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)

    def unsent(self) -> int:
        """Bytes that the server holds because the peer's window is shut."""
        if hasattr(self._transport, "get_write_buffer_size"):
            return int(self._transport.get_write_buffer_size())
        waiting = len(getattr(self._transport, "dataBuffer", b"")) - getattr(self._transport, "offset", 0)
        return waiting + int(getattr(self._transport, "_tempDataLen", 0))

    def received(self) -> int:
        """Bytes that came in over the connection's whole life, control frames and half frames included."""
        if self._socket is None:
            return 0
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, TCP_INFO, BYTES_RECEIVED + 8)
        except OSError:  # closed, or no TCP at all
            return 0
        return int(struct.unpack_from("@Q", info, BYTES_RECEIVED)[0]) if len(info) >= BYTES_RECEIVED + 8 else 0

    def stop_reading(self) -> None:
        self._call("pause_reading", "pauseProducing")

    def cut(self) -> None:
        """End the connection now, whatever waits in it. Does nothing where it has ended."""
        self._call("abort", "abortConnection")

    def _call(self, asyncios: str, twisteds: str) -> None:
        method = getattr(self._transport, asyncios, None) or getattr(self._transport, twisteds, None)
        if method is not None:
            with contextlib.suppress(RuntimeError):  # it is closing already
                method()

    def _get_socket(self) -> Any:
        if TCP_INFO is None or self._transport is None:
            return None
        if hasattr(self._transport, "get_extra_info"):
            return self._transport.get_extra_info("socket")
        return getattr(self._transport, "socket", None)
