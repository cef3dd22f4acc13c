"""`docs/asyncapi.yaml` is a valid AsyncAPI document and says what the code does, down to each field and bound."""

import copy
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import msgspec
import pytest
import yaml
from django.conf import global_settings
from django.urls import reverse
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft7Validator

import notifications
from notifications import authority, consumers, event_stream, hub, protocol, sockets, stream
from notifications.conf import defaults
from notifications.items import encoded, item, shared
from notifications.protocol import (
    Ack,
    Bye,
    CloseCode,
    Delta,
    Done,
    Error,
    EventCopy,
    Heartbeat,
    Hidden,
    Item,
    Mark,
    Reset,
    Row,
    Undelete,
    Welcome,
    asking,
    decode_command,
    delta,
    encode,
)
from notifications.rules import ACTIONS as ACTIONS_AT_MOST
from notifications.rules import SEVERITIES
from notifications.steps import ACTIONS

ROOT = Path(notifications.__file__).parents[1]
DOCUMENT = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())
CHANNEL = DOCUMENT["channels"]["inbox"]
EVENTS = DOCUMENT["channels"]["events"]
MESSAGES = DOCUMENT["components"]["messages"]
COMMANDS = {"heartbeatAnswer" if kind is Heartbeat else kind.__name__.lower(): kind for kind in get_args(protocol.Command)}
ANSWERS = {kind.__name__.lower(): kind for kind in get_args(protocol.Message)}
CODES = sorted(value for name, value in vars(CloseCode).items() if name.isupper())
OPS = [rule.op for rule in ACTIONS.values() if rule.op]

# What the page of the protocol promises beyond the types of the structs, each from where the code decides it.
NARROWER: dict[tuple[type, str], dict[str, Any]] = {
    (Item, "severity"): {"enum": list(SEVERITIES)},
    (Item, "created_at"): {"format": "date-time"},
    (Item, "actions"): {"maxItems": ACTIONS_AT_MOST},
    (Delta, "items"): {"maxItems": protocol.DELTA_ROWS},
    (Delta, "ops"): {
        "items": {
            "type": "object",
            "properties": {op: {"type": "integer"} for op in OPS},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }
    },
    (Bye, "code"): {"enum": CODES},
}
BY = {"ids": "array", "upto": "integer", "stamp": "integer"}


def resolved(node: Any) -> Any:
    """The node with what its references name in their place."""
    if isinstance(node, list):
        return [resolved(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        assert node.keys() == {"$ref"}, f"what stands beside {node['$ref']} counts for nothing"
        return resolved(named(node["$ref"]))
    return {key: resolved(value) for key, value in node.items()}


def named(reference: str) -> Any:
    found = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def plain(schema: Any) -> Any:
    """The schema without what binds nobody, and each thing said in one way."""
    if isinstance(schema, list):
        return [plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in {"description", "title", "examples"}}
    if "properties" in schema:
        kept["properties"] = {name: plain(each) for name, each in schema["properties"].items()}
    for key in {"items", "anyOf", "oneOf"} & kept.keys():
        kept[key] = plain(kept[key])
    if "const" in kept:
        kept["enum"] = [kept.pop("const")]
    if all(isinstance(each, str) for each in kept.get("enum", [0])):
        kept["type"] = "string"
    for key in {"required", "enum"} & kept.keys():
        kept[key] = sorted(kept[key])
    return kept


def schema_of(kind: Any, *, is_command: bool = False) -> Any:
    """What the code says of a struct, or of a field's type. The server writes all fields of a message, defaults included."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return struct_schema(kind, is_command=is_command)
    if get_origin(kind) is list:
        return {"type": "array", "items": schema_of(*get_args(kind))}
    if get_origin(kind) is UnionType and Item in get_args(kind):  # which msgspec encodes, but will not describe
        return {"anyOf": [schema_of(each) for each in get_args(kind)]}
    schema = msgspec.json.schema(kind)
    match schema.get("anyOf"):
        case [value, {"type": "null"}]:
            return {**value, "type": [value["type"], "null"]}
    return schema


def struct_schema(kind: type[msgspec.Struct], *, is_command: bool) -> dict[str, Any]:
    tag = kind.__struct_config__.tag
    properties: dict[str, Any] = {"type": {"enum": [tag]}} if tag else {}
    required = list(properties)
    for field in msgspec.structs.fields(kind):
        schema = schema_of(field.type) | NARROWER.get((kind, field.name), {})
        if is_command and field.default is not msgspec.NODEFAULT:
            schema["default"] = field.default
        else:
            required.append(field.encode_name)
        properties[field.encode_name] = schema
    if kind in {Delta, Reset}:  # where `asking()` adds it
        properties["ack"] = struct_schema(Ack, is_command=True)["properties"]["ack"]
    by = [name for name in BY if name in properties] if issubclass(kind, Mark | Undelete) else []
    either = {"oneOf": [{"required": [name], "properties": {name: {"type": BY[name]}}} for name in by]} if by else {}
    return {"type": "object", "properties": properties, "required": required, **either}


def closed(schema: Any) -> Any:
    """The schema with no room for fields that it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {key: closed(value) for key, value in schema.items()}
    return shut | {"additionalProperties": False} if "properties" in schema and schema.get("type") == "object" else shut


@cache
def validator(name: str, *, is_closed: bool = True) -> Draft7Validator:
    payload = resolved(MESSAGES[name]["payload"])
    return Draft7Validator(closed(payload) if is_closed else payload, validate_formats=True, offline=True)


@cache
def asyncapi() -> Draft7Validator:
    """The schema as AsyncAPI publishes it, unchanged: `3.0.0-without-$id.json` of the npm package @asyncapi/specs 6.11.1."""
    published = json.loads((ROOT / "tests/data/asyncapi/3.0.0.json").read_text())
    return Draft7Validator(published, validate_formats=True, offline=True)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict) and "$ref" in node:
        yield node["$ref"]
    elif isinstance(node, dict | list):
        for each in node.values() if isinstance(node, dict) else node:
            yield from references(each)


# The document


def test_it_is_valid_by_the_published_schema():
    asyncapi().validate(DOCUMENT)


@pytest.mark.parametrize(
    "path", ["info/version", "operations/beat/action", "channels/inbox/bindings/ws/method", "components/schemas/item/type"]
)
def test_the_published_schema_looks_at_every_part(path):
    broken = copy.deepcopy(DOCUMENT)
    *way, last = path.split("/")
    node = broken
    for part in way:
        node = node[part]
    node[last] = ["nonsense", 1]
    assert not asyncapi().is_valid(broken)


def test_every_reference_leads_somewhere_and_every_part_is_used():
    led = set(references(DOCUMENT))
    assert all(named(each) for each in led)
    parts = {f"#/components/{sort}/{name}" for sort, these in DOCUMENT["components"].items() for name in these}
    assert parts <= led
    assert CHANNEL["messages"] == {name: {"$ref": f"#/components/messages/{name}"} for name in MESSAGES}


def test_operations_receive_every_command_and_send_every_message():
    heard, said = set(), set()
    for operation in DOCUMENT["operations"].values():
        receives = operation["action"] == "receive"
        (heard if receives else said).update(references(operation["messages"]))
        (said if receives else heard).update(references(operation.get("reply", {}).get("messages", [])))
    assert heard == {f"#/channels/inbox/messages/{name}" for name in COMMANDS}
    streamed = {f"#/channels/events/messages/{name}" for name in EVENTS["messages"]}
    assert said == streamed | {f"#/channels/inbox/messages/{name}" for name in ANSWERS}


# What the code has


def test_commands_and_messages_are_those_of_the_code():
    assert MESSAGES.keys() == COMMANDS.keys() | ANSWERS.keys()
    for name, kind in (COMMANDS | ANSWERS).items():
        assert MESSAGES[name]["name"] == kind.__struct_config__.tag


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_fields_and_bounds_of_its_struct(name):
    assert plain(resolved(MESSAGES[name]["payload"])) == plain(schema_of(COMMANDS[name], is_command=True))


@pytest.mark.parametrize("name", ANSWERS)
def test_a_message_has_the_fields_and_bounds_of_its_struct(name):
    assert plain(resolved(MESSAGES[name]["payload"])) == plain(schema_of(ANSWERS[name]))


def test_close_codes_are_those_of_the_code_in_the_words_of_the_protocol_page():
    listed = {each["code"]: (each["reason"], each["comeBack"]) for each in CHANNEL["x-close-codes"]}
    assert sorted(listed) == CODES
    page = (ROOT / "docs/protocol.md").read_text()
    rows = re.findall(r"^\| (4\d{3}) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert listed == {int(code): (reason, back) for code, reason, back in rows}
    for code, (_, back) in listed.items():
        assert (back == "after `retry_after`") is (code < 4400 or code == 4429)


def test_limits_are_those_of_the_code():
    assert CHANNEL["x-limits"] == {
        "commandBytes": protocol.COMMAND_BYTES,
        "commandsPerSecond": consumers.COMMANDS_PER_SECOND,
        "commandsAtOnce": consumers.COMMANDS_AT_ONCE,
        "commandsWaiting": consumers.COMMANDS_WAITING,
        "badFrames": consumers.BAD_COMMANDS,
        "unheardBytesPerSecond": sockets.UNHEARD_PER_SECOND,
        "unheardBytesAtOnce": sockets.UNHEARD_AT_ONCE,
        "socketsPerUser": defaults()["NOTIFICATIONS_SOCKETS_PER_USER"],
        "handshakesWaiting": authority.HANDSHAKES_AT_ONCE,
        "handshakeSeconds": authority.HANDSHAKE_SECONDS,
        "heartbeatSeconds": hub.HEARTBEAT_SECONDS,
        "silenceSeconds": hub.SILENCE_SECONDS,
        "unacknowledgedSteps": stream.WINDOW_STEPS,
        "unacknowledgedBytes": stream.WINDOW_BYTES,
        "acknowledgeSeconds": stream.WINDOW_SECONDS,
        "unsentBytes": sockets.UNSENT_BYTES,
        "deltaRows": protocol.DELTA_ROWS,
        "deltaBytes": protocol.DELTA_BYTES,
        "replayRows": protocol.RESET_ROWS,
    }


def test_the_events_are_the_messages_that_answer_no_command_and_end_where_the_code_says():
    names = ANSWERS.keys() - {"done", "error"}
    assert EVENTS["messages"] == {name: {"$ref": f"#/components/messages/{name}"} for name in names}
    assert EVENTS["address"] == reverse("live_notifications:events")
    assert EVENTS["x-limits"] == {
        "streamSeconds": event_stream.STREAM_SECONDS,
        "carriedSteps": stream.WINDOW_STEPS * stream.ASK_AT,
        "carriedBytes": stream.WINDOW_BYTES * stream.ASK_AT,
        "catchUpBytes": stream.CATCH_UP_BYTES,
    }
    query = DOCUMENT["operations"]["stream"]["bindings"]["http"]["query"]["properties"]
    asked = schema_of(protocol.Hello, is_command=True)["properties"]
    assert {name: plain(each) for name, each in query.items()} == {name: asked[name] for name in ("position", "language")}


def test_the_address_the_subprotocol_and_the_cookie_are_those_of_the_code():
    headers = CHANNEL["bindings"]["ws"]["headers"]["properties"]
    assert CHANNEL["x-subprotocol"] == headers["Sec-WebSocket-Protocol"]["const"] == protocol.SUBPROTOCOL
    assert DOCUMENT["components"]["securitySchemes"]["session"]["name"] == global_settings.SESSION_COOKIE_NAME
    assert CHANNEL["address"] == reverse("live_notifications:socket")


# Real frames

EVENT = EventCopy(
    kind="shop.order.shipped",
    content={
        "severity": "success",
        "title": "Shipped",
        "actor": {"text": "Ann"},
        "data": {"parcels": [1, {"2": None}]},
        "actions": [
            {"label": "Yes", "url": "/yes/", "primary": True},
            {"label": {"id": "No", "params": {}}, "url": "/no/", "primary": False},
        ],
    },
    created_at=datetime(2026, 3, 1, 12, 30, 5, 123456, tzinfo=UTC),
)
ROWS = [
    Row(815, 42, 42),
    Row(816, 43, 43, answer={"id": "Confirmed", "params": {}}),
    Row(2**53, 43, 43, read=True, archived=True),
    Row(7, 3, 44, deleted=True),
]
LINES: list[Any] = [
    item(row, None) if row.deleted else msgspec.json.decode(encoded(row, shared(EVENT, "en"), "en"), type=Item) for row in ROWS
]
SPLICED = [encoded(row, None if row.deleted else shared(EVENT, "en"), "en") for row in ROWS]
EMPTY = Delta(base="0", position="e.1", items=[], ops=tuple({op: 42} for op in OPS), unread=0, unseen=0, seen_upto=0)
RESET = Reset(position="0", items=LINES[:2], unread=1, unseen=2, seen_upto=3, more=True)
FRAMES = [
    encode(EMPTY),
    encode(msgspec.structs.replace(EMPTY, items=LINES, more=True)),
    delta(**msgspec.structs.asdict(EMPTY) | {"items": SPLICED}),
    encode(msgspec.structs.replace(EMPTY, items=[Hidden(id=1, stamp=2)] * protocol.DELTA_ROWS)),
    asking(encode(EMPTY), "17"),
    encode(RESET),
    asking(encode(RESET), "18"),
    encode(Welcome(heartbeat_seconds=hub.HEARTBEAT_SECONDS, spread_seconds=1.0)),
    encode(Done("c1", 44)),
    *(encode(Error("", code, "why")) for code in get_args(Error.__annotations__["code"])),
    encode(Heartbeat("e.1")),
    *(encode(Bye(code, "why", wait)) for code in CODES for wait in (None, 2.0, 3)),
]


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("ops", [(), EMPTY.ops])
@pytest.mark.parametrize(("items", "ready"), [([], []), (LINES, SPLICED)])
def test_a_delta_that_is_put_together_says_what_the_encoder_would(items, ready, ops, more):
    named: Any = {"base": "e.40", "position": "e.44", "ops": ops, "unread": 2, "unseen": 1, "seen_upto": 43, "more": more}
    assert json.loads(delta(items=ready, **named)) == json.loads(encode(Delta(items=items, **named)))


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: json.loads(frame)["type"])
def test_what_the_server_says_is_what_the_document_allows(frame):
    message = json.loads(frame)
    validator(message["type"]).validate(message)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: json.loads(frame)["type"])
def test_no_field_that_the_server_writes_is_optional_but_the_ack(frame):
    message = json.loads(frame)
    for field in message.keys() - {"ack"}:
        lacking = {name: value for name, value in message.items() if name != field}
        assert not validator(message["type"]).is_valid(lacking), field
    assert not validator(message["type"]).is_valid(message | {"unheard_of": 1})


def test_frames_of_every_message_are_held_against_the_document():
    assert {json.loads(frame)["type"] for frame in FRAMES} == ANSWERS.keys()


@pytest.mark.parametrize("name", MESSAGES)
def test_examples_are_what_they_are_examples_of(name):
    for example in (each["payload"] for each in MESSAGES[name]["examples"]):
        validator(name).validate(example)
        side = COMMANDS if name in COMMANDS else ANSWERS
        assert [each for each in side if validator(each, is_closed=False).is_valid(example)] == [name]
        if name in COMMANDS:
            assert type(decode_command(json.dumps(example))) is COMMANDS[name]


# Commands


def is_obeyed(command: Any) -> bool:
    try:
        decode_command(json.dumps(command))
    except msgspec.DecodeError:
        return False
    return True


def is_allowed(command: Any) -> bool:
    return any(validator(name, is_closed=False).is_valid(command) for name in COMMANDS)


MARKS = ["read", "unread", "archive", "unarchive", "delete"]
STEPS = [*MARKS, "undelete"]
LARGEST = protocol.LARGEST_NUMBER
MOST = protocol.IDS_PER_COMMAND
WITHIN: list[dict[str, Any]] = [
    {"type": "hello", "position": "x" * 64, "language": "\N{GRINNING FACE}" * 35, "unheard_of": 1},
    {"type": "ack", "ack": "x" * 64},
    {"type": "heartbeat", "position": "x" * 64},
    {"type": "seen", "upto": LARGEST, "ref": "x" * 64},
    *({"type": mark, "ids": [0, LARGEST] * (MOST // 2), "upto": None, "ref": "x" * 64} for mark in MARKS),
    *({"type": mark, "upto": LARGEST, "ids": None, "stamp": None} for mark in MARKS),
    *({"type": step, "stamp": LARGEST, "ids": None} for step in STEPS),
    {"type": "undelete", "ids": [0, LARGEST] * (MOST // 2), "stamp": None, "ref": "x" * 64},
]
MARKED: list[dict[str, Any]] = [
    {},
    {"ids": []},
    {"ids": [1] * (MOST + 1)},
    {"ids": [-1]},
    {"ids": [LARGEST + 1]},
    {"ids": ["1"]},
    {"ids": [True]},
    {"ids": [1.5]},
    {"ids": None},
    {"ids": None, "stamp": None},
    {"ids": [1], "stamp": 1},
    {"stamp": -1},
    {"stamp": LARGEST + 1},
    {"stamp": "1"},
    {"stamp": 1, "ref": "x" * 65},
    {"stamp": 1, "ref": None},
]
NUMBERED: list[dict[str, Any]] = [
    {"ids": None, "upto": None},
    {"ids": [1], "upto": 1},
    {"upto": 1, "stamp": 1},
    {"upto": -1},
    {"upto": LARGEST + 1},
    {"upto": "1"},
    {"upto": 1, "ref": "x" * 65},
    {"upto": 1, "ref": None},
]
BEYOND: list[dict[str, Any]] = [
    {},
    {"type": "Hello"},
    {"type": "hello", "position": "x" * 65},
    {"type": "hello", "language": "x" * 36},
    {"type": "hello", "language": None},
    {"type": "ack"},
    {"type": "ack", "ack": "x" * 65},
    {"type": "heartbeat", "position": "x" * 65},
    {"type": "seen"},
    {"type": "seen", "upto": LARGEST + 1},
    {"type": "seen", "upto": -1},
    {"type": "seen", "upto": None},
    {"type": "seen", "upto": 1, "ref": "x" * 65},
    *({"type": step, **fields} for step in STEPS for fields in MARKED),
    *({"type": mark, **fields} for mark in MARKS for fields in NUMBERED),
    {"type": "undelete", "upto": 1},
]


@pytest.mark.parametrize("command", WITHIN)
def test_a_command_at_its_bounds_is_taken_by_both(command):
    assert is_allowed(command)
    assert is_obeyed(command)


@pytest.mark.parametrize("command", BEYOND)
def test_a_command_out_of_bounds_is_refused_by_both(command):
    assert not is_allowed(command)
    assert not is_obeyed(command)


TEXTS = st.text("x\N{GRINNING FACE}", max_size=70)
ODD: st.SearchStrategy[Any] = TEXTS | st.sampled_from([None, False, True, -1, 0, 1.5, LARGEST, LARGEST + 1, "1", [], {}])
NUMBERS = st.integers(-1, LARGEST + 1)
FIELDS = {
    "ids": st.lists(NUMBERS | ODD, max_size=3) | ODD,
    "upto": NUMBERS | ODD,
    "stamp": NUMBERS | ODD,
    **dict.fromkeys(["ref", "position", "language", "ack", "unheard_of"], ODD),
}
ANY_COMMAND = st.fixed_dictionaries({"type": st.sampled_from([*STEPS, "hello", "ack", "heartbeat", "seen"])}, optional=FIELDS)


@settings(max_examples=300)
@given(ANY_COMMAND)
def test_document_and_server_agree_on_any_command(command):
    assert is_allowed(command) is is_obeyed(command)


def test_a_whole_number_with_a_fraction_is_refused_as_the_document_says_in_words():
    assert "the server refuses `5.0`" in DOCUMENT["info"]["description"]
    assert not is_obeyed({"type": "seen", "upto": 5.0})  # in JSON Schema it is an integer
