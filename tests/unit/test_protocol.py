"""The wire: what a page may say, what it hears, and the numbers that both rely on."""

import contextlib
import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifications import protocol
from notifications.protocol import (
    NO_POSITION,
    Button,
    Bye,
    CloseCode,
    Delta,
    Done,
    Error,
    Heartbeat,
    Hidden,
    Item,
    Mark,
    Position,
    Reset,
    Row,
    Seen,
    Undelete,
    Welcome,
    asking,
    decode_command,
    encode,
)

# Position


@settings(max_examples=40)
@given(st.text("0123456789abcdef", min_size=1, max_size=16), st.integers(0, 2**63 - 1))
def test_a_position_survives_the_wire(epoch, top):
    assert Position.parse(str(Position(epoch, top))) == Position(epoch, top)


def test_a_user_without_an_inbox_stands_at_nought():
    assert str(NO_POSITION) == "0"
    assert Position.parse("0") == NO_POSITION


@pytest.mark.parametrize(
    "text", ["", "1", "abc", ".5", "abc.", "abc.-1", "abc.1.2", "abc.1x", "abc. 1", "abc.٣", "abc." + "9" * 20, "\x00", "abc.²"]
)
def test_what_is_no_position_is_none(text):
    assert Position.parse(text) is None


@settings(max_examples=60)
@given(st.text())
def test_reading_a_position_never_raises(text):
    position = Position.parse(text)
    assert position is None or isinstance(position.top, int)


# Commands


@pytest.mark.parametrize("word", ["read", "unread", "archive", "unarchive", "delete"])
def test_a_mark_names_ids_or_a_number_or_a_step(word):
    by_ids = decode_command(json.dumps({"type": word, "ids": [1, 2], "ref": "r"}))
    by_number = decode_command(json.dumps({"type": word, "upto": 0}))
    by_step = decode_command(json.dumps({"type": word, "stamp": 0}))
    assert isinstance(by_ids, Mark)
    assert isinstance(by_number, Mark)
    assert isinstance(by_step, Mark)
    assert (by_ids.ids, by_ids.upto, by_ids.stamp, by_ids.ref) == ([1, 2], None, None, "r")
    assert (by_number.ids, by_number.upto, by_number.stamp) == (None, 0, None)
    assert (by_step.ids, by_step.upto, by_step.stamp) == (None, None, 0)
    assert type(by_ids).__name__.lower() == word


def test_what_was_deleted_comes_back_by_ids_or_by_the_step_that_deleted_it():
    assert decode_command('{"type": "undelete", "ids": [1, 2], "ref": "r"}') == Undelete(ids=[1, 2], ref="r")
    assert decode_command('{"type": "undelete", "stamp": 7}') == Undelete(stamp=7)
    for fields in ({}, {"upto": 7}, {"ids": [1], "stamp": 7}, {"ids": []}, {"stamp": -1}, {"stamp": 2**53}, {"stamp": "7"}):
        with pytest.raises(msgspec.ValidationError):
            decode_command(json.dumps({"type": "undelete"} | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ids": [1], "upto": 1},
        {"ids": [1], "stamp": 1},
        {"upto": 1, "stamp": 1},
        {"ids": [1], "upto": 1, "stamp": 1},
        {"stamp": -1},
        {"stamp": 2**53},
        {"stamp": "1"},
        {"stamp": None},
        {"ids": []},
        {"ids": [1] * 201},
        {"ids": [-1]},
        {"ids": [2**53]},
        {"ids": ["1"]},
        {"ids": [True]},
        {"ids": [1.5]},
        {"ids": 1},
        {"upto": -1},
        {"upto": 2**53},
        {"upto": "1"},
        {"upto": None},
        {"upto": 1, "ref": "r" * 65},
        {"upto": 1, "ref": 1},
    ],
)
def test_a_wrong_mark_is_refused(fields):
    with pytest.raises(msgspec.ValidationError):
        decode_command(json.dumps({"type": "read"} | fields))


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"read"',
        "{}",
        '{"type": null}',
        '{"type": "Read", "upto": 1}',
        '{"type": "welcome"}',
        '{"type": "delta"}',
        '{"type": "seen"}',
        '{"type": "ack"}',
        '{"type": "hello", "position": 5}',
        '{"type": "hello", "language": "' + "x" * 36 + '"}',
        '{"type": "hello", "position": "' + "x" * 65 + '"}',
        '{"type": "read", "upto": NaN}',
        "[" * 2000,
    ],
)
def test_a_broken_frame_raises_one_kind_of_error(frame):
    with pytest.raises(msgspec.DecodeError):
        decode_command(frame)


@settings(max_examples=60)
@given(st.text())
def test_no_text_frame_raises_anything_else(frame):
    with contextlib.suppress(msgspec.DecodeError):
        decode_command(frame)


def test_a_field_of_a_later_version_is_passed_over():
    assert decode_command('{"type": "seen", "upto": 4, "later": [1]}') == Seen(upto=4)


# Messages

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
ITEM = Item(
    id=1,
    number=2,
    stamp=3,
    kind="k",
    severity="info",
    title="</script>",
    body="",
    url="",
    icon="",
    actor="",
    target="",
    data={"a": None},
    actions=[Button(label="Yes", url="/yes/", primary=True)],
    answer="",
    created_at=NOW,
    read=False,
    archived=False,
)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (Welcome(heartbeat_seconds=25, spread_seconds=1.0), {"type", "heartbeat_seconds", "spread_seconds", "version"}),
        (
            Delta(base="0", position="e.1", items=[ITEM], ops=(), unread=1, unseen=1, seen_upto=0),
            {"type", "base", "position", "items", "ops", "unread", "unseen", "seen_upto", "more"},
        ),
        (
            Reset(position="e.1", items=[ITEM], unread=1, unseen=1, seen_upto=0, more=False),
            {"type", "position", "items", "unread", "unseen", "seen_upto", "more"},
        ),
        (Done(ref="r", stamp=4), {"type", "ref", "stamp"}),
        (Error(ref="r", code="busy", message="m"), {"type", "ref", "code", "message"}),
        (Heartbeat(position="e.1"), {"type", "position"}),
        (Bye(code=4012, reason="restart", retry_after=None), {"type", "code", "reason", "retry_after"}),
    ],
)
def test_a_message_is_its_fields_and_its_type(message, fields):
    frame = json.loads(encode(message))
    assert set(frame) == fields
    assert frame["type"] == type(message).__name__.lower()


def test_a_message_that_asks_is_the_same_with_an_ack():
    frame = encode(Reset(position="e.1", items=[ITEM], unread=1, unseen=1, seen_upto=0, more=False))
    assert json.loads(asking(frame, "a-_9")) == {**json.loads(frame), "ack": "a-_9"}


def test_an_item_on_the_wire_has_every_field_and_an_aware_time():
    frame = json.loads(encode(Delta("0", "e.1", [ITEM, Hidden(id=4, stamp=5)], [], 1, 1, 0)))
    shown, hidden = frame["items"]
    assert set(shown) == set(Item.__struct_fields__)
    assert shown["created_at"] == "2026-11-22T10:00:00Z"
    assert hidden == {"id": 4, "stamp": 5, "hidden": True}


def test_a_row_is_understood_by_the_release_before_and_the_one_after():
    """Wake-ups go between the processes of both during a deploy."""
    answered = Row(1, 2, 3, read=True, answer={"id": "Yes", "params": {}})
    told = msgspec.json.encode(answered)
    assert msgspec.json.decode(told, type=Row) == answered
    assert msgspec.json.decode(b"[1,2,3,true]", type=Row) == Row(1, 2, 3, read=True)
    later = told[:-1] + b',"something later"]'
    assert msgspec.json.decode(later, type=Row) == answered


def test_no_two_close_codes_are_one_and_daphne_can_send_each():
    codes = [value for name, value in vars(CloseCode).items() if name.isupper()]
    assert len(set(codes)) == len(codes) == 8
    assert all(3000 <= code <= 4999 for code in codes)


def test_the_public_names_are_there():
    assert all(hasattr(protocol, name) for name in protocol.__all__)
