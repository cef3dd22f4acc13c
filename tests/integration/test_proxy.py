"""The proxy of the fault tests does to a line what it says, and nothing else."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers import TcpProxy, free_port, tcp_proxy
from tests.servers.process import HOST
from tests.site.sockets import whatever_the_database

pytestmark = whatever_the_database

SHORT_SECONDS = 0.2  # in which an answer would have come many times over


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
        except OSError:
            return


class EchoServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    block_on_close = False


@pytest.fixture
def echo_port() -> Iterator[int]:
    with EchoServer((HOST, free_port()), Echo) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def proxy(echo_port: int) -> Iterator[TcpProxy]:
    with tcp_proxy(echo_port) as proxy:
        yield proxy


def connected(proxy: TcpProxy) -> socket.socket:
    line = socket.create_connection((HOST, proxy.port), timeout=5)
    assert asked(line, b"hello") == b"hello"
    return line


def asked(line: socket.socket, data: bytes) -> bytes:
    line.sendall(data)
    answer = b""
    while len(answer) < len(data):
        answer += line.recv(65536)
    return answer


def test_all_passes_both_ways_and_so_does_the_end(proxy):
    with connected(proxy) as line:
        data = bytes(range(256)) * 2000
        assert asked(line, data) == data
        line.shutdown(socket.SHUT_WR)
        assert line.recv(1) == b""


def test_a_delay_is_paid_once_each_way_however_much_is_sent(proxy):
    with connected(proxy) as line:
        proxy.delay(0.1)
        started = time.monotonic()
        assert asked(line, b"x" * 300_000) == b"x" * 300_000
        assert 0.2 <= time.monotonic() - started < 2


def test_a_black_hole_takes_everything_and_once_mended_gives_it_back(proxy):
    with connected(proxy) as line, connected(proxy) as other:
        proxy.swallow()
        line.sendall(b"lost?")
        other.close()
        with socket.create_connection((HOST, proxy.port), timeout=5) as late:
            for each in (line, late):
                each.settimeout(SHORT_SECONDS)
                with pytest.raises(TimeoutError):
                    each.recv(1)
            assert proxy.connections == 3
            proxy.mend()
            line.settimeout(5)
            assert line.recv(65536) == b"lost?"
            late.settimeout(5)
            assert asked(late, b"late") == b"late"


def test_a_reset_is_one(proxy):
    with connected(proxy) as line:
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    connected(proxy).close()


def test_resets_come_again_until_mended(proxy):
    proxy.reset_every(0.05)
    for _ in range(2):
        with socket.create_connection((HOST, proxy.port), timeout=5) as line, pytest.raises(ConnectionError):
            line.recv(1)
    proxy.mend()
    with connected(proxy) as line:
        line.settimeout(SHORT_SECONDS)
        with pytest.raises(TimeoutError):
            line.recv(1)


def test_refused_is_refused_until_mended(proxy):
    with connected(proxy) as line:
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            line.recv(1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, proxy.port), timeout=5)
    proxy.mend()
    connected(proxy).close()


def test_who_is_away_is_passed_over(echo_port):
    with tcp_proxy(free_port(), echo_port) as proxy:
        for _ in range(4):
            connected(proxy).close()


def test_where_everybody_is_away_a_connection_is_reset():
    """Which may be as soon as while it is made."""
    with (
        tcp_proxy(free_port()) as proxy,
        pytest.raises(ConnectionResetError),
        socket.create_connection((HOST, proxy.port), timeout=5) as line,
    ):
        line.recv(1)


class Parting(socketserver.BaseRequestHandler):
    """Says its last words and goes while the other side is still talking, which makes the kernel answer with an RST."""

    def handle(self) -> None:
        self.request.recv(1)
        self.request.sendall(b"farewell")


def test_last_words_arrive_though_the_line_breaks():
    with EchoServer((HOST, free_port()), Parting) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        with tcp_proxy(server.server_address[1]) as proxy:
            for _ in range(20):
                with socket.create_connection((HOST, proxy.port), timeout=5) as line:
                    heard = b""
                    try:
                        line.sendall(b"talk " * 2000)
                        while data := line.recv(100):
                            heard += data
                    except ConnectionError:
                        pass
                    assert heard == b"farewell"
        server.shutdown()


UPGRADE = b"GET /socket/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def test_upgrades_are_eaten_in_three_ways_and_nothing_else_is(proxy):
    proxy.eat_upgrades("refused")
    with connected(proxy) as line:
        line.sendall(UPGRADE)
        assert line.recv(65536).startswith(b"HTTP/1.1 400 ")
    proxy.eat_upgrades("cut")
    with connected(proxy) as line:
        line.sendall(UPGRADE)
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    proxy.eat_upgrades("kept waiting")
    with connected(proxy) as line:
        line.sendall(UPGRADE)
        line.settimeout(SHORT_SECONDS)
        with pytest.raises(TimeoutError):
            line.recv(1)
    assert proxy.upgrades == 3
    proxy.mend()
    with connected(proxy) as line:
        assert asked(line, UPGRADE) == UPGRADE


def test_of_an_event_stream_the_head_comes_through_and_no_event(proxy):
    proxy.eat_events()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with connected(proxy) as line:
        line.sendall(head + b"data: 1\n\n")
        assert line.recv(65536) == head
        line.settimeout(SHORT_SECONDS)
        with pytest.raises(TimeoutError):
            line.recv(1)
