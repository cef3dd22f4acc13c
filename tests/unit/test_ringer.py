"""What is rung is merged without losing a step, told to as few groups as can be, and believed only from who has the key."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from notifications.protocol import EventCopy, Presence, Row, SessionCheck, Step, WakeUp
from notifications.ringer import (
    FEW,
    HUBS,
    MESSAGE_BYTES,
    PENDING,
    USERS_PER_MESSAGE,
    Ringer,
    group,
    joined,
    messages,
    opened,
    sealed,
    user_group,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def step(user="1", base=0, top=None, *, epoch="e", rows=..., ops=(), unread=0) -> Step:
    top = base + 1 if top is None else top
    if rows is ...:
        rows = [Row(event=number, number=number, stamp=number) for number in range(base + 1, top + 1)]
    return Step(user, epoch, base, top, unread, 0, 0, None if rows is None else tuple(rows), tuple(ops))


def event(title="t") -> EventCopy:
    return EventCopy("k", {"severity": "info", "title": title}, NOW)


def heard(batch) -> list[tuple[str, WakeUp]]:
    result = []
    for name, blob in messages(batch):
        wake_up = opened(blob)
        assert wake_up is not None
        result.append((name, wake_up))
    return result


# joined


def test_contiguous_steps_of_a_user_become_one():
    (one,) = joined([step(base=0, unread=1), step(base=1, top=3, unread=3)])
    assert (one.base, one.top, one.unread) == (0, 3, 3)
    assert [row.event for row in one.rows or ()] == [1, 2, 3]


def test_steps_of_different_users_stay_apart():
    assert [(each.user, each.base, each.top) for each in joined([step("1"), step("2"), step("1", 1), step("2", 1)])] == [
        ("1", 0, 2),
        ("2", 0, 2),
    ]


@pytest.mark.parametrize(
    "second",
    [
        step(base=2),
        step(base=0),
        step(base=1, epoch="other"),
        step(base=1, rows=None),
    ],
)
def test_what_is_not_contiguous_or_not_whole_is_not_joined(second):
    first = step(base=0)
    assert joined([first, second]) == [first, second]


def test_a_row_is_not_put_before_an_operation_that_came_first():
    reading, arrival = step(base=0, rows=[], ops=[{"read_upto": 5}]), step(base=1)
    assert joined([reading, arrival]) == [reading, arrival]


def test_an_operation_may_follow_rows():
    (one,) = joined([step(base=0), step(base=1, rows=[], ops=[{"read_upto": 1}])])
    assert [row.event for row in one.rows or ()] == [1]
    assert one.ops == ({"read_upto": 1},)


steps = st.lists(st.tuples(st.sampled_from("12"), st.sampled_from(["rows", "ops", "none", "gap", "epoch"])), max_size=25)


@settings(max_examples=30)
@given(steps)
def test_joining_neither_loses_nor_reorders_what_a_user_went_through(kinds):
    tops = {"1": 0, "2": 0}
    epochs = {"1": "e", "2": "e"}
    given_steps = []
    for user, kind in kinds:
        tops[user] += kind == "gap"
        if kind == "epoch":
            epochs[user] += "e"
        base = tops[user]
        tops[user] += 1
        rows = {"none": None, "ops": ()}.get(kind, (Row(base + 1, base + 1, base + 1),))
        ops = ({"read_upto": base},) if kind == "ops" else ()
        given_steps.append(Step(user, epochs[user], base, base + 1, base, 0, 0, rows, ops))
    result = joined(given_steps)
    for user in "12":
        mine = [each for each in given_steps if each.user == user]
        after = [each for each in result if each.user == user]
        covered = [(each.epoch, number) for each in after for number in range(each.base + 1, each.top + 1)]
        assert covered == [(each.epoch, each.top) for each in mine]
        assert [effect for each in after for effect in effects(each)] == [effect for each in mine for effect in effects(each)]
        assert all(any(each.unread == one.unread and each.top == one.top for one in mine) for each in after)


def effects(each: Step) -> list[object]:
    """What a page does with a step, in its order: rows first, then operations."""
    return ["look"] if each.rows is None else [*each.rows, *[tuple(op.items()) for op in each.ops]]


# messages


def test_a_few_users_get_a_message_each_with_the_events_that_are_theirs():
    batch = [
        WakeUp(steps=[step("1"), step("2", rows=[Row(7, 1, 1)])], events={1: event("one"), 7: event("seven"), 9: event("none")})
    ]
    sent = dict(heard(batch))
    assert set(sent) == {user_group("1"), user_group("2")}
    assert set(sent[user_group("1")].events) == {1}
    assert set(sent[user_group("2")].events) == {7}
    assert [each.user for each in sent[user_group("2")].steps] == ["2"]


def test_many_users_share_messages_to_all_hubs():
    count = USERS_PER_MESSAGE + 1
    batch = [WakeUp(steps=[step(str(user)) for user in range(count)], events={1: event()})]
    sent = heard(batch)
    assert [name for name, _ in sent] == [group(HUBS)] * 2
    assert [each.user for _, wake_up in sent for each in wake_up.steps] == [str(user) for user in range(count)]
    assert all(set(wake_up.events) == {1} for _, wake_up in sent)


@pytest.mark.parametrize(("users", "names"), [(FEW, FEW), (FEW + 1, 1)])
def test_the_bound_between_few_and_many(users, names):
    assert len(heard([WakeUp(steps=[step(str(user)) for user in range(users)])])) == names


def test_what_came_while_a_message_was_on_its_way_is_one_message_a_user():
    batch = [WakeUp(steps=[step("1", base)], events={base + 1: event()}) for base in range(50)]
    ((name, wake_up),) = heard(batch)
    (one,) = wake_up.steps
    assert (name, one.base, one.top, len(wake_up.events)) == (user_group("1"), 0, 50, 50)


def test_a_letter_too_big_for_the_layer_stays_home():
    batch = [WakeUp(steps=[step("1", 0, 60)], events={number: event("x" * 8000) for number in range(1, 61)})]
    ((_, blob),) = messages(batch)
    assert len(blob) <= MESSAGE_BYTES
    wake_up = opened(blob)
    assert wake_up is not None
    assert wake_up.events == {}
    assert [(each.rows, each.base, each.top) for each in wake_up.steps] == [(None, 0, 60)]


def test_pending_and_echo_go_to_all_hubs_once():
    sent = heard([WakeUp(pending=True), WakeUp(pending=True), WakeUp(echo="a"), WakeUp(echo="a")])
    assert [name for name, _ in sent] == [group(HUBS)] * 2
    assert sorted((wake_up.pending, wake_up.echo) for _, wake_up in sent) == [(False, "a"), (True, "")]


def test_answers_to_a_roll_call_go_to_all_hubs_together():
    present = [Presence(hub="a", process="web:1", sockets=3), Presence(hub="b", process="web:2")]
    assert heard([WakeUp(present=[each]) for each in present]) == [(group(HUBS), WakeUp(present=present))]


def test_a_release_that_knows_no_roll_call_passes_it_over():
    """So that asking who is there disturbs nobody while a deploy is under way."""

    class Older(msgspec.Struct):
        pending: bool = False

    for wake_up in (WakeUp(roll_call=True), WakeUp(present=[Presence(hub="a", process="web:1")], pending=True)):
        assert msgspec.json.decode(sealed(wake_up)[32:], type=Older) == Older(pending=wake_up.pending)


def test_a_sessions_end_goes_to_all_hubs_at_once():
    """A handshake under way has not joined its user's group yet."""
    checks = [SessionCheck("5", "hash"), SessionCheck("6", ask=True)]
    assert heard([WakeUp(sessions=[check]) for check in checks]) == [(group(HUBS), WakeUp(sessions=checks))]


def test_nothing_to_say_sends_nothing():
    assert heard([]) == heard([WakeUp()]) == []


# groups


@pytest.mark.parametrize("user", ["1", "a" * 500, "ü\n/..", "*", ""])
def test_a_group_name_is_valid_and_never_built_from_outside_text(user):
    name = user_group(user)
    assert name.isascii()
    assert len(name) < 100
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert len(user) < 5 or user not in name


def test_sites_with_another_prefix_hear_nothing_of_each_other(settings):
    ours = user_group("1"), group(HUBS)
    settings.NOTIFICATIONS_GROUP_PREFIX = "other"
    assert not {user_group("1"), group(HUBS)} & set(ours)


# seal


def test_what_is_sealed_comes_out_as_it_went_in():
    wake_up = WakeUp(
        steps=[step(unread=3)], events={1: event("ü")}, sessions=[SessionCheck("1", ask=True)], pending=True, echo="x"
    )
    assert opened(sealed(wake_up)) == wake_up


NUMBERS = [2**63, -(2**63) - 1, 2**64, 10**30, 1e30, -1e300, 5e-324]
"""What a site may put into `data`, and PostgreSQL hands back. MessagePack, say, knows no integers of more than 64 bits."""


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_of_any_size_comes_out_as_it_went_in(number):
    copy = EventCopy("k", {"severity": "info", "title": "t", "data": {"x": number, "list": [number]}}, NOW)
    wake_up = WakeUp(steps=[step()], events={1: copy})
    assert opened(sealed(wake_up)) == wake_up


@pytest.mark.parametrize("number", NUMBERS)
async def test_one_events_number_silences_nobody(number, monkeypatch):
    """Its ring and the next user's go out together."""
    sent: dict[str, WakeUp | None] = {}

    class Layer:
        async def group_send(self, name: str, message: dict[str, Any]) -> None:
            sent[name] = opened(message["body"])

    monkeypatch.setattr("notifications.ringer.get_channel_layer", lambda alias: Layer())
    ringer = Ringer()
    ringer.hub = SimpleNamespace(loop=asyncio.get_running_loop(), hear=lambda wake_up: None)
    odd = EventCopy("k", {"severity": "info", "title": "odd", "data": {"x": number}}, NOW)
    ringer.ring(WakeUp(steps=[step("1")], events={1: odd}))
    ringer.ring(WakeUp(steps=[step("2", rows=[Row(2, 1, 1)])], events={2: event("plain")}))
    assert await asyncio.to_thread(ringer.flush, 5)
    assert set(sent) == {user_group("1"), user_group("2")}
    ringer.ring(WakeUp(steps=[step("3")]))
    assert await asyncio.to_thread(ringer.flush, 5)
    assert user_group("3") in sent


class Quiet:
    """A layer that takes its time, so that "pending" rests long after each ring."""

    def __init__(self) -> None:
        self.sent: list[WakeUp | None] = []

    async def group_send(self, name: str, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.02)
        self.sent.append(opened(message["body"]))


@pytest.fixture
async def slow(monkeypatch) -> AsyncIterator[tuple[Ringer, Quiet]]:
    """A ringer whose rests do not end by themselves."""
    layer, ringer = Quiet(), Ringer()
    monkeypatch.setattr("notifications.ringer.get_channel_layer", lambda alias: layer)
    monkeypatch.setattr("notifications.ringer.LONGEST_REST_SECONDS", 30.0)
    monkeypatch.setattr("notifications.ringer.PENDING_RESTS", 1e6)
    ringer.hub = SimpleNamespace(loop=asyncio.get_running_loop(), hear=lambda wake_up: None)
    yield ringer, layer
    ringer._task.cancel()


@pytest.fixture
async def rested(slow) -> tuple[Ringer, Quiet]:
    """One that has sent "pending" and rests, with another one that waits."""
    ringer, layer = slow
    ringer.ring(PENDING)
    await asyncio.sleep(0.1)
    ringer.ring(PENDING)
    await asyncio.sleep(0.1)
    assert layer.sent == [PENDING]
    return ringer, layer


async def test_while_pending_rests_other_news_are_sent_at_once(rested):
    ringer, layer = rested
    end = WakeUp(sessions=[SessionCheck("1")])
    await asyncio.to_thread(ringer.ring, end)
    await asyncio.sleep(0.2)
    assert end in layer.sent


async def test_a_command_that_ends_leaves_no_pending_unsaid(rested):
    ringer, layer = rested
    assert await asyncio.to_thread(ringer.flush, 5)
    assert layer.sent == [PENDING, PENDING]


async def test_nor_one_that_committed_again_while_its_first_ring_was_on_the_way(slow):
    """Its rest has not begun yet when the command ends."""
    ringer, layer = slow
    ringer.ring(PENDING)
    await asyncio.sleep(0.01)
    ringer.ring(PENDING)
    assert layer.sent == []
    assert await asyncio.to_thread(ringer.flush, 5)
    assert layer.sent == [PENDING, PENDING]


async def test_who_rings_faster_than_the_layer_takes_it_is_gathered(monkeypatch):
    """A lone ring, and the first of many, waits for nothing."""
    monkeypatch.setattr("notifications.ringer.GATHER_SECONDS", 0.1)
    layer, ringer = Quiet(), Ringer()
    monkeypatch.setattr("notifications.ringer.get_channel_layer", lambda alias: layer)
    ringer.hub = SimpleNamespace(loop=asyncio.get_running_loop(), hear=lambda wake_up: None)
    ringer.ring(WakeUp(steps=[step(base=0)]))
    await asyncio.sleep(0)  # it is under way
    ringer.ring(WakeUp(steps=[step(base=1)]))
    ringer.ring(WakeUp(steps=[step(base=2)]))
    while len(layer.sent) < 2:  # noqa: ASYNC110 - the layer is the test's own
        await asyncio.sleep(0.001)
    ringer.ring(WakeUp(steps=[step(base=3)]))
    await asyncio.sleep(0)
    ringer.ring(WakeUp(steps=[step(base=4)]))
    assert await asyncio.to_thread(ringer.flush, 5)
    assert [(one.base, one.top) for sent in layer.sent for one in sent.steps] == [(0, 1), (1, 3), (3, 5)]


def test_a_change_of_any_byte_breaks_the_seal():
    blob = sealed(WakeUp(pending=True))
    assert opened(blob) is not None
    for at in range(len(blob)):
        assert opened(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]) is None
    assert opened(blob[:-1]) is None
    assert opened(blob + b"\0") is None


@pytest.mark.parametrize("blob", [None, "text", b"", b"\0" * 31, b"\0" * 32, b"\0" * 100, {"pending": True}, 7])
def test_what_nobody_sealed_is_nothing(blob):
    assert opened(blob) is None


def test_another_sites_seal_is_nothing(settings):
    blob = sealed(WakeUp(pending=True))
    settings.SECRET_KEY = "another"
    assert opened(blob) is None


def test_while_the_key_is_rotated_processes_with_the_old_one_are_heard(settings):
    old = settings.SECRET_KEY
    blob = sealed(WakeUp(pending=True))
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["older", old]
    assert opened(blob) == WakeUp(pending=True)
    assert sealed(WakeUp(pending=True)) != blob
    settings.SECRET_KEY_FALLBACKS = ["older"]
    assert opened(blob) is None


def test_a_key_may_be_bytes(settings):
    settings.SECRET_KEY = b"\xff\x00bytes"
    assert opened(sealed(WakeUp(pending=True))) == WakeUp(pending=True)


def test_a_wake_up_of_an_unknown_shape_is_nothing():
    """A process of another release sealed it with our key."""
    from notifications import ringer

    class Later(msgspec.Struct):
        steps: str = "otherwise"

    assert opened(sealed(Later())) is None  # type: ignore[arg-type]
    body = msgspec.json.encode({"later": 1, "pending": True})
    blob = ringer._mac(ringer.settings.SECRET_KEY, body) + body
    assert opened(blob) == WakeUp(pending=True)


def test_replace_keeps_what_it_does_not_name():
    """The premise of `joined`: a struct's copy."""
    assert structs.replace(step(unread=4), base=9).unread == 4
