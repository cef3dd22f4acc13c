"""Handshake, subprotocol, origin, session: who gets a socket, and what the others are told."""

import asyncio
import json
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus

from tests.conformance.peer import Peer, Target
from tests.site.client import SUBPROTOCOL


@pytest.mark.parametrize("offered", [[SUBPROTOCOL], ["other.v1", SUBPROTOCOL], [SUBPROTOCOL, "other.v1"]], ids=len)
async def test_our_subprotocol_is_picked_wherever_it_stands(target: Target, offered: list[str]):
    peer = Peer(target)
    await peer.connect(subprotocols=offered)
    assert peer.socket.subprotocol == SUBPROTOCOL
    await peer.until(lambda page: page.position)
    await peer.disconnect()


async def test_a_page_of_another_protocol_is_told_and_closed_with_4400(target: Target):
    """Some offered subprotocol is picked all the same: a browser would not open the socket, and not hear why."""
    peer = Peer(target)
    await peer.connect(greets=False, subprotocols=["notifications.v9.json"])
    assert peer.socket.subprotocol == "notifications.v9.json"
    assert await peer.until_closed() == 4400
    assert [frame["type"] for frame in peer.frames] == ["bye"]
    assert peer.frames[0]["retry_after"] is None
    await peer.disconnect()


def foreign(target: Target) -> dict[str, str | None]:
    own = urlsplit(target.url)
    return {
        "another host": f"{own.scheme}://elsewhere.example",
        "another port": f"{own.scheme}://{own.hostname}:1",
        "another scheme": f"ftp://{own.netloc}",
        "null": "null",
        "missing": None,
        "malformed": f"{own.scheme}:{own.netloc}",
        "a longer host": f"{own.scheme}://{own.hostname}.example",
    }


@pytest.mark.parametrize("which", foreign(Target("http://own.example", "", "", "")))
async def test_a_foreign_origin_is_refused_with_403(target: Target, which: str):
    peer = Peer(target)
    with pytest.raises(InvalidStatus) as refused:
        await peer.connect(origin=foreign(target)[which])
    assert refused.value.response.status_code in {403, 400 if which == "malformed" else 403}  # Daphne's own parser says 400


@pytest.mark.parametrize("whose", ["nobody's", "an unknown session's", "a broken one's"])
async def test_who_is_not_signed_in_is_accepted_told_and_closed_with_4401(target: Target, whose: str):
    name = target.cookie.split("=", 1)[0]
    cookie = {"nobody's": None, "an unknown session's": f"{name}={'a' * 32}", "a broken one's": f'{name}="\\'}[whose]
    peer = Peer(target, cookie=cookie)
    await peer.connect()
    assert peer.socket.subprotocol == SUBPROTOCOL
    assert await peer.until_closed() == 4401
    assert [frame["type"] for frame in peer.frames] == ["bye"]
    assert peer.frames[0]["retry_after"] is None
    await peer.disconnect()


async def test_a_handshake_writes_no_session(target: Target):
    async with Peer(target) as peer:
        assert peer.socket.response is not None
        assert "Set-Cookie" not in peer.socket.response.headers


async def test_a_ping_is_answered(target: Target):
    async with Peer(target) as peer:
        async with asyncio.timeout(5):
            await (await peer.socket.ping())


async def test_a_page_that_leaves_is_let_go(target: Target):
    async with Peer(target) as peer:
        await peer.socket.close(1000)
        assert peer.socket.close_code == 1000


async def test_each_message_is_one_object_in_a_text_frame(target: Target):
    peer = Peer(target)
    await peer.connect(greets=False)
    peer._reader.cancel()
    await peer.socket.send('{"type": "hello"}')
    for _ in range(2):
        received = await asyncio.wait_for(peer.socket.recv(), 5)
        assert isinstance(received, str)
        assert isinstance(json.loads(received), dict)
    await peer.socket.close()


async def test_the_sockets_of_one_user_in_a_process_are_bounded(target: Target):
    """20 by default; a site may have set another number. A server of several processes may take them in all the same."""
    peers = [Peer(target) for _ in range(22)]
    await asyncio.gather(*(peer.connect() for peer in peers))
    for peer in peers:
        await peer.until(lambda page: page.position or page.close_code is not None)
    refused = [peer for peer in peers if peer.close_code is not None]
    for peer in refused:
        assert peer.close_code == 4029
        assert peer.bye is not None
        assert peer.bye["retry_after"] > 0
    assert all(peer.socket.state.name == "OPEN" for peer in peers if peer not in refused)
    await asyncio.gather(*(peer.disconnect() for peer in peers))
    assert refused
