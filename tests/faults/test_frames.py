"""Frames that no page sends: broken, endless, half, or thousands of them. An error or a documented close; nobody else notices."""

import asyncio
import itertools
import json
import os
import random
import re
import struct
import time
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from notifications.hub import Hub
from notifications.protocol import Command, decode_command
from tests.faults.conftest import Figures
from tests.servers import AsgiProcess
from tests.site.client import Page
from tests.site.people import tell
from tests.site.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawSocket, frame
from tests.site.sockets import whatever_the_database
from tests.site.wire import Wire

pytestmark = [pytest.mark.django_db(transaction=True), whatever_the_database]

SEED = int(os.environ.get("FAULT_SEED") or random.randrange(2**32))
SERVERS = ["live_site", "uvicorn_site"]
SEEN = '{"type": "seen", "upto": 0, "ref": "obeyed"}'
HELLO = frame('{"type": "hello"}')
PIECES = [SEEN[:9].encode(), SEEN[9:20].encode(), SEEN[20:].encode()]
# What breaks WebSocket itself is the server's to end: uvicorn says why, Daphne cuts the line (1006).
PROTOCOL, TEXT_ENCODING, SIZE = {1002, "cut"}, {1007, "cut"}, {1009, "cut"}

# What is sent behind a hello, and what has to come of it: an error code, a close code, or "obeyed".
FRAMES: dict[str, tuple[bytes, set[Any]]] = {
    "broken JSON": (frame('{"type": "read"'), {"bad_command"}),
    "a number beyond any": (frame('{"type": "seen", "upto": 1' + "0" * 3000 + "}"), {"bad_command"}),
    "deep nesting": (frame('{"type": "heartbeat", "x": ' + "[" * 2000 + "]" * 2000 + "}"), {"bad_command"}),
    "a surrogate": (frame('{"type": "seen", "upto": 0, "ref": "\\ud800"}'), {"bad_command"}),
    "an empty frame": (frame(""), {"bad_command"}),
    "binary rubbish": (frame(random.Random(1).randbytes(3000), BINARY), {"binary"}),
    "a text of 900 kB": (frame("x" * 900_000), {"too_large"}),
    "three bad ones": (frame("{") * 3, {4400}),
    "a command in pieces": (
        frame(PIECES[0], fin=False) + frame(PIECES[1], CONTINUATION, fin=False) + frame(PIECES[2], CONTINUATION),
        {"obeyed"},
    ),
    "pings between the pieces": (
        frame(PIECES[0], fin=False)
        + frame(b"?", PING)
        + frame(PIECES[1], CONTINUATION, fin=False)
        + frame(b"!", PONG)
        + frame(PIECES[2], CONTINUATION),
        {"obeyed"},
    ),
    "empty pieces": (
        frame(b"", fin=False) + frame(b"", CONTINUATION, fin=False) * 50 + frame(SEEN, CONTINUATION),
        {"obeyed"},
    ),
    "byte by byte": (
        frame(SEEN[:1], fin=False)
        + b"".join(frame(letter, CONTINUATION, fin=False) for letter in SEEN[1:])
        + frame(b"", CONTINUATION),
        {"obeyed"},
    ),
    "an unmasked frame": (frame(SEEN, masked=False), PROTOCOL),
    "reserved bits": (frame(SEEN, rsv=3), PROTOCOL),
    "compressed, which nobody agreed to": (frame(SEEN, rsv=4), PROTOCOL),
    "an unknown kind of frame": (frame(SEEN, 0x3), PROTOCOL),
    "an unknown control frame": (frame(b"", 0xB), PROTOCOL),
    "a piece of nothing": (frame(SEEN, CONTINUATION), PROTOCOL),
    "a text within a text": (frame(PIECES[0], fin=False) + frame(SEEN), PROTOCOL),
    "a ping in pieces": (frame(b"?", PING, fin=False), PROTOCOL),
    "a long ping": (frame(b"?" * 126, PING), PROTOCOL),
    "half a character": (frame(b'{"type": "\xff"}'), TEXT_ENCODING),
    "half a character at the end": (frame(b'"\xe2\x82'), TEXT_ENCODING),
    "half a character in pieces": (frame(b'"\xe2', fin=False) + frame(b"\x28", CONTINUATION), TEXT_ENCODING),
    "a close of one byte": (frame(b"\x03", CLOSE), PROTOCOL),
    "a close code that is none": (frame(struct.pack("!H", 999), CLOSE), PROTOCOL),
    "a close reason that is no text": (frame(struct.pack("!H", 1000) + b"\xff\xfe", CLOSE), PROTOCOL | TEXT_ENCODING),
    "a frame of a terabyte": (frame(b"x", length=2**40), SIZE),
    "a length beyond any": (frame(b"x", length=2**63), PROTOCOL | SIZE),
}
# uvicorn tells this one itself, by a traceback of its own.
UVICORNS_OWN = re.compile(
    r"ERROR:\s+Invalid UTF-8 sequence received from client\.\nTraceback.*?UnicodeDecodeError[^\n]*\n", re.DOTALL
)


async def comes_of(site: AsgiProcess, session: str, sent: bytes) -> set[Any]:
    """Error codes, whether the command was obeyed, and the close code."""
    found: set[Any] = set()
    async with RawSocket(site, session) as peer:
        await peer.send(HELLO)
        await peer.send(sent)
        async with asyncio.timeout(20):
            while not found & {"obeyed"} and not any(isinstance(each, int) for each in found):
                received = await peer.receive()
                if received is None:
                    return found | {"cut"}
                if received.opcode == CLOSE:
                    found.add(received.code)
                elif received.opcode == TEXT:
                    message = json.loads(received.payload)
                    if message["type"] == "done":
                        found.add("obeyed")
                    elif message["type"] == "error":
                        found.add(message["code"])
                        if sent != FRAMES["three bad ones"][0]:
                            return found
    return found


def complaints(log: str) -> list[str]:
    """The lines of a server's log that are more than a record of who came and went."""
    return re.findall(r"^(?:\d{4}-\d\d-\d\d \S+ (?:WARNING|ERROR|CRITICAL) .*|(?:WARNING|ERROR|CRITICAL):.*)", log, re.MULTILINE)


@pytest.mark.parametrize("server", SERVERS)
async def test_every_wrong_frame_ends_in_an_error_or_a_documented_close(
    request, mina, teo, mina_session, teo_session, server, figures: Figures
):
    site: AsgiProcess = request.getfixturevalue(server)
    logged = len(site.log)
    wrong: list[Any] = []
    async with Page(site, teo_session) as other, RawSocket(site, mina_session) as half:
        await other.until(lambda page: page.position)
        await half.send(HELLO, frame(SEEN)[:7])  # and then silence, for as long as all the others take
        for names in tens(list(FRAMES)):
            found = await asyncio.gather(*(comes_of(site, mina_session, FRAMES[name][0]) for name in names))
            wrong += [(name, came) for name, came in zip(names, found, strict=True) if not came & FRAMES[name][1]]
        await tell(teo, "still there")
        await other.until(lambda page: page.titles == ["still there"])
        figures.none("neither an error nor the documented close", wrong)
        figures.none("other sockets closed", [code for code in (other.close_code,) if code is not None])
        await half.send(frame(SEEN)[7:])
        await half.until(b'"done"')
    log = UVICORNS_OWN.sub("", site.log[logged:])
    figures.at_most("log lines a socket", len(complaints(log)) / len(FRAMES), 1, "")
    assert "Traceback" not in log


def tens(names: list[str]) -> list[list[str]]:
    return [names[start : start + 10] for start in range(0, len(names), 10)]


# generated

STEPS = ["read", "unread", "archive", "unarchive", "delete", "undelete", "seen"]
WORDS = st.sampled_from(["hello", "ack", *STEPS, "heartbeat", "bye", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(["ids", "upto", "stamp", "ref", "position", "language", "ack", "type", "extra"])
COMMANDS = st.builds(lambda word, fields: {**fields, "type": word}, WORDS | JSON, st.dictionaries(FIELDS, JSON, max_size=4))
TEXTS = (
    st.text()
    | JSON.map(json.dumps)
    | COMMANDS.map(json.dumps)
    | st.builds(lambda c, n: json.dumps(c)[:n], COMMANDS, st.integers(0, 80))
)


def generated(frames: st.SearchStrategy[Any], count: int) -> list[Any]:
    """That many, drawn before anything runs: a hub beside it takes random numbers of its own, which Hypothesis forbids."""
    drawn: list[Any] = []
    # What is slow or large is dropped nowhere: the machine may be busy.
    checks = list(hypothesis.HealthCheck)

    @hypothesis.seed(SEED)
    @hypothesis.settings(max_examples=count, phases=[hypothesis.Phase.generate], database=None, suppress_health_check=checks)
    @hypothesis.given(frames)
    def draw(each: Any) -> None:
        drawn.append(each)

    draw()
    return drawn


@pytest.mark.parametrize("count", [100, pytest.param(500, marks=pytest.mark.long)])
def test_whatever_text_comes_is_a_command_or_a_decoding_error(count, figures: Figures):
    figures.record("seed", SEED)
    for text in generated(TEXTS, count):
        try:
            command = decode_command(text)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            continue
        assert isinstance(command, Command)


@pytest.mark.parametrize("count", [40, pytest.param(300, marks=[pytest.mark.long, pytest.mark.timeout(240)])])
async def test_whatever_frames_come_the_consumer_answers_or_closes(mina_session, count, figures: Figures):
    """The real consumer and hub, without a server between: what it may not do is raise, or fall silent."""
    figures.record("seed", SEED)
    conversations = generated(st.lists(TEXTS | st.binary(max_size=50), min_size=1, max_size=4), count)
    hub = Hub.running()
    try:
        for frames in conversations:
            await answers_or_closes(mina_session, frames)
    finally:
        await hub.stop()


async def answers_or_closes(session: str, frames: list[str | bytes]) -> None:
    wire = Wire(session)
    await wire.open()
    for sent in ('{"type": "hello"}', *frames, '{"type": "seen", "upto": 0, "ref": "the last"}'):
        await wire.send(sent)
    heard = []
    async with asyncio.timeout(10):
        async for text in wire:
            heard.append(json.loads(text))
            if heard[-1].get("ref") == "the last":
                break
    is_closed = heard[-1]["type"] == "bye" and heard[-1]["code"] == wire.close_code == 4400
    assert heard[-1].get("ref") == "the last" or is_closed, (frames, heard)
    await wire.close()
    assert wire.task.exception() is None


# floods

FLOODS: dict[str, bytes] = {
    "commands": frame('{"type":"heartbeat"}') * 500,
    "broken JSON": frame("{") * 500,
    "invented acknowledgements": frame('{"type":"ack","ack":"x"}') * 500,
    "large frames": frame(b"\0" * 300_000, BINARY),
    "pings": frame(b"?" * 100, PING) * 500,
    "unwanted pongs": frame(b"?" * 100, PONG) * 500,
    "endless pieces": frame(b"x", CONTINUATION, fin=False) * 500,
}
FULL_SIZE = (pytest.mark.long, pytest.mark.alone)
CLOSES = {4400, 4429, 4008, 1002, 1009}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(("flood", "seconds"), [("commands", 2), *(pytest.param(name, 5, marks=FULL_SIZE) for name in FLOODS)])
async def test_a_flooding_client_is_closed_in_five_seconds_and_others_do_not_notice(
    request, mina, teo, mina_session, teo_session, server, flood, seconds, figures: Figures
):
    site: AsgiProcess = request.getfixturevalue(server)
    logged = len(site.log)
    async with Page(site, teo_session) as other:
        await other.until(lambda page: page.position)
        figures.record("p95 of the others before", round(p95(await notices(other, teo, 1)), 3))
        async with RawSocket(site, mina_session) as peer:
            await peer.send(HELLO)
            if flood == "endless pieces":
                await peer.send(frame("x", fin=False))
            flooding = asyncio.create_task(peer.flood(FLOODS[flood], 15))
            waits = await notices(other, teo, seconds)
            closed, heard = await flooding
        figures.record("close codes", sorted(code for code in CLOSES if struct.pack("!BBH", 0x88, 2, code) in heard))
        assert closed is not None, "the flood goes on"
        figures.at_most("closed after", closed, 5)
        figures.at_most("p95 of the others", p95(waits), 0.5)
        assert other.close_code is None
    log = site.log[logged:]
    assert "Traceback" not in log
    figures.at_most("log lines", len(complaints(log)), 1, "")


async def notices(page: Page, user: Any, seconds: float) -> list[float]:
    """How long each of ten notifications a second took from its commit to this page, whatever those before it took."""
    end = time.monotonic() + seconds
    waits = []
    for number in itertools.count():
        if time.monotonic() > end:
            break
        waits.append(asyncio.create_task(took(page, user, f"{end:.0f}-{number}")))
        await asyncio.sleep(0.1)  # the rate
    return list(await asyncio.gather(*waits))


def p95(waits: list[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.95)]


async def took(page: Page, user: Any, title: str) -> float:
    await tell(user, title)
    committed = time.monotonic()
    await page.until(lambda page: title in page.arrived)
    return time.monotonic() - committed
