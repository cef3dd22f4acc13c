"""What a server holds for a peer that does not read is seen beneath ASGI, as Twisted and asyncio keep it, and has a bound."""

import asyncio
import socket
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.abstract import FileDescriptor

from notifications.session import Identity
from notifications.sockets import UNSENT_BYTES, Socket
from notifications.transports import Transport

HELD = 8 * 1024 * 1024  # more than any kernel takes for a peer that does not read


class Protocol:
    """A server's end of one connection. Daphne hands out a partial of a function with it, uvicorn a method of it."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    async def send(self, message: Any) -> None:
        raise AssertionError("only looked at")


def test_what_twisted_has_not_sent_is_counted():
    reactor: Any = SimpleNamespace(addWriter=lambda transport: None, removeWriter=lambda transport: None)
    twisteds: Any = FileDescriptor(reactor)
    twisteds.connected = True
    written: list[bytes] = []

    def write_some(data: bytes) -> int:
        written.append(data[:400])
        return len(written[-1])

    twisteds.writeSomeData = write_some
    transport = Transport(partial(Protocol.send, Protocol(twisteds)))
    assert transport.unsent() == 0
    twisteds.write(b"x" * 1000)
    assert transport.unsent() == 1000
    twisteds.doWrite()
    twisteds.write(b"x" * 50)
    assert transport.unsent() == 650


async def test_what_asyncio_has_not_sent_is_counted():
    ours, peers = socket.socketpair()
    with ours, peers:
        asyncios, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        transport = Transport(Protocol(asyncios).send)
        try:
            assert transport.unsent() == 0
            asyncios.write(b"x" * HELD)
            assert transport.unsent() > UNSENT_BYTES
        finally:
            asyncios.abort()
            await asyncio.sleep(0)  # in which it closes


def test_behind_an_application_that_wraps_send_nothing_is_counted():
    assert Transport(lambda message: None).unsent() == 0


@pytest.mark.parametrize(("unsent", "codes"), [(UNSENT_BYTES, []), (UNSENT_BYTES + 1, [4008])])
def test_a_page_for_which_the_server_holds_too_much_is_closed(unsent, codes):
    ended: list[int] = []
    transport: Any = SimpleNamespace(unsent=lambda: unsent, received=lambda: 0)

    async def send(frame: str) -> None: ...

    page = Socket(Identity(1, "1", ""), "key", send=send, end=lambda code, reason, after: ended.append(code), transport=transport)
    page.check_line(page.last_heard + 1)
    assert ended == codes
