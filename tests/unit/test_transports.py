"""What a server holds for a peer that does not read is seen beneath ASGI, as Twisted and asyncio keep it, and has a bound."""

import asyncio
import socket
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.tcp import Connection

from notifications.session import Identity
from notifications.sockets import UNSENT_BYTES, Socket
from notifications.transports import READ_BYTES, Transport

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


async def test_asyncio_reads_little_at_a_time_of_a_page():
    """A server parses what one read brought before it is anybody else's turn."""
    brought: list[int] = []

    class Reading(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            brought.append(len(data))

    ours, peers = socket.socketpair()
    with ours, peers:
        asyncios, _ = await asyncio.get_running_loop().create_connection(Reading, sock=ours)
        try:
            Transport(Protocol(asyncios).send).take_little()
            peers.send(b"x" * 20 * READ_BYTES)
            for _ in range(30):
                await asyncio.sleep(0)  # a look of the loop's at its sockets
            assert brought == [READ_BYTES] * 20
        finally:
            asyncios.abort()
            await asyncio.sleep(0)  # in which it closes


def test_twisted_reads_little_at_a_time_of_a_page():
    ours, peers = socket.socketpair()
    with ours, peers:
        brought: list[int] = []
        reactor: Any = SimpleNamespace(addReader=lambda transport: None)
        twisteds: Any = Connection(ours, SimpleNamespace(dataReceived=lambda data: brought.append(len(data))), reactor)
        Transport(partial(Protocol.send, Protocol(twisteds))).take_little()
        peers.send(b"x" * 3 * READ_BYTES)
        for _ in range(3):
            twisteds.doRead()
        assert brought == [READ_BYTES] * 3


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
