"""What a page says and hears: positions, deltas and resets, commands and their answers, errors and bounds."""

import asyncio
import json
import re
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.peer import ERROR_CODES, ITEM, NOW_AND_THEN, SHAPES, Peer, Target

PAGE = (Path(__file__).resolve().parents[2] / "docs/protocol.md").read_text()
MISSING = 2**53 - 1  # an id that nobody has


async def told(target: Target, *peers: Peer) -> int:
    """Something new in the inbox, which these pages show; its id."""
    title = secrets.token_hex(8)
    await target.tell(title)
    for peer in peers:
        await peer.until(lambda page: page.titles[:1] == [title])
    return next(id for id, item in peers[0].items.items() if item["title"] == title)


async def told_elsewhere(target: Target, *titles: str) -> None:
    """Until another page shows all of them, so that nothing is on its way any more."""
    async with Peer(target) as witness:
        await target.tell(*titles)
        await witness.until(lambda page: page.titles[:1] == [titles[-1]], 60)


def test_the_suite_and_the_page_name_the_same_fields():
    rows = dict(
        re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE.split("## From server to page")[1].split("**Items**")[0], re.MULTILINE)
    )
    assert {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows.items()} == {
        name: {*fields, *NOW_AND_THEN.get(name, {})} for name, fields in SHAPES.items()
    }
    items = PAGE.split("**Items** are whole:")[1].split("Texts are")[0]
    assert set(ITEM) <= set(re.findall(r"`(\w+)`", items))
    codes = PAGE.split("**Error codes**")[1].split("## What")[0]
    assert set(re.findall(r"`(\w+)`", codes)) == ERROR_CODES


def hears(operation: dict[str, int]) -> Callable[[Peer], bool]:
    return lambda page: operation in [each for delta in page.kinds("delta") for each in delta["ops"]]


def has_errors(count: int) -> Callable[[Peer], bool]:
    return lambda page: len(page.kinds("error")) == count


# hello, positions


async def test_hello_is_answered_by_welcome_and_then_by_a_page(target: Target):
    async with Peer(target) as peer:
        welcome, page = peer.frames[:2]
        assert (welcome["type"], welcome["version"]) == ("welcome", 1)
        assert 0 < welcome["heartbeat_seconds"] <= 60
        assert page["type"] == "reset"
        assert page["position"] == peer.position


async def test_nothing_comes_before_hello(target: Target):
    peer = Peer(target)
    await peer.connect(greets=False)
    await target.tell("before hello")
    await peer.send(type="read", upto=1, ref="early")
    assert (await peer.answer("early"))["code"] == "hello_first"
    assert [frame["type"] for frame in peer.frames] == ["error"]
    await peer.hello()
    await peer.until(lambda page: page.titles[:1] == ["before hello"])
    await peer.disconnect()


async def test_who_is_current_is_told_so_by_an_empty_delta(target: Target):
    async with Peer(target) as first:
        position = first.position
    async with Peer(target, position=position) as peer:
        await peer.until(lambda page: page.kinds("delta"))
        delta = peer.kinds("delta")[0]
        assert (delta["base"], delta["position"], delta["items"], delta["ops"]) == (position, position, [], [])
        assert peer.kinds("reset") == []
        assert (delta["unread"], delta["unseen"]) == (first.unread, first.unseen)


async def test_who_was_away_gets_what_changed_and_no_more(target: Target):
    async with Peer(target) as peer:
        old = await told(target, peer)
    await told_elsewhere(target, "one", "two", "three")
    peer.arrived.clear()
    peer.frames.clear()
    await peer.connect()
    await peer.until(lambda page: page.arrived[-1:] == ["three"])
    assert peer.arrived == ["one", "two", "three"]
    assert peer.kinds("reset") == []
    deltas = peer.kinds("delta")
    assert old not in [item["id"] for delta in deltas for item in delta["items"]]
    assert [delta["more"] for delta in deltas] == [True] * (len(deltas) - 1) + [False]
    await peer.disconnect()


@pytest.mark.parametrize("position", ["", "nonsense", "else.7", "\x00.1", ".5", "x" * 64])
async def test_a_position_that_means_nothing_gets_a_fresh_page(target: Target, position: str):
    async with Peer(target) as peer:
        await told(target, peer)
        peer.frames.clear()
        peer.position = position
        await peer.hello()
        await peer.until(lambda page: page.kinds("reset", "delta"))
        assert peer.kinds("welcome", "reset", "delta") == peer.frames[:2]
        assert peer.frames[1]["type"] == "reset"


async def test_a_position_beyond_the_top_gets_a_fresh_page(target: Target):
    """As after a restore of the database."""
    async with Peer(target) as peer:
        await told(target, peer)
        peer.frames.clear()
        peer.position = f"{peer.position.rpartition('.')[0]}.{10**9}"
        await peer.hello()
        await peer.until(lambda page: page.kinds("reset"))


async def test_zero_is_the_position_of_a_user_without_an_inbox(target: Target):
    if target.newcomer is None:
        pytest.skip("CONFORMANCE_NEWCOMER is not given")
    async with Peer(target, cookie=target.newcomer) as peer:
        assert (peer.position, peer.items, peer.unread, peer.unseen) == ("0", {}, 0, 0)
    async with Peer(target, cookie=target.newcomer, position="0") as peer:
        await peer.until(lambda page: page.kinds("delta"))
        assert peer.kinds("reset") == []


# deltas


async def test_news_come_as_deltas_from_where_the_page_stands(target: Target):
    async with Peer(target) as peer:
        for _ in range(3):
            before, unread, top = peer.position, peer.unread, max([0, *(item["number"] for item in peer.items.values())])
            id = await told(target, peer)
            delta = peer.kinds("delta")[-1]
            assert delta["base"] == before
            assert delta["position"] == peer.position != before
            assert delta["unread"] == unread + 1
            assert peer.items[id]["number"] > top
            assert (peer.items[id]["read"], peer.items[id]["archived"]) == (False, False)
            assert datetime.fromisoformat(peer.items[id]["created_at"]).tzinfo is not None
        assert peer.gaps == 0


async def test_all_tabs_hear_the_same_and_stand_at_the_same_place(target: Target):
    async with Peer(target) as one, Peer(target) as two:
        await told(target, one, two)
        assert one.position == two.position
        assert (one.unread, one.unseen, one.seen_upto) == (two.unread, two.unseen, two.seen_upto)


# commands


@pytest.mark.parametrize(
    ("command", "field", "value"),
    [("read", "read", True), ("unread", "read", False), ("archive", "archived", True), ("unarchive", "archived", False)],
)
async def test_a_step_on_ids_is_done_and_told_to_every_tab(target: Target, command: str, field: str, value: bool):
    opposite = {"read": "unread", "unread": "read", "archive": "unarchive", "unarchive": "archive"}[command]
    async with Peer(target) as here, Peer(target) as there:
        id = await told(target, here, there)
        await here.send(type=opposite, ids=[id], ref="first")
        await here.answer("first")
        await there.until(lambda page: page.items[id][field] is not value)
        stamp = there.items[id]["stamp"]
        await here.send(type=command, ids=[id], ref="then")
        assert (await here.answer("then"))["type"] == "done"
        for page in (here, there):
            await page.until(lambda page: page.items[id][field] is value)
            assert page.items[id]["stamp"] > stamp
        again = {"position": there.position, "unread": there.unread}
        await here.send(type=command, ids=[id], ref="again")  # as after a reconnect
        assert (await here.answer("again"))["type"] == "done"
        await there.settle()
        assert {"position": there.position, "unread": there.unread} == again


async def test_what_is_deleted_is_hidden_everywhere(target: Target):
    async with Peer(target) as here, Peer(target) as there:
        id = await told(target, here, there)
        await here.send(type="delete", ids=[id], ref="gone")
        assert (await here.answer("gone"))["type"] == "done"
        for page in (here, there):
            await page.until(lambda page: id not in page.items)
        hidden = [item for delta in there.kinds("delta") for item in delta["items"] if item["id"] == id][-1]
        assert hidden == {"id": id, "stamp": hidden["stamp"], "hidden": True}


async def test_a_step_on_all_up_to_a_number_travels_as_an_operation(target: Target):
    async with Peer(target) as here, Peer(target) as there:
        for command, name in (("read", "read_upto"), ("archive", "archived_upto"), ("delete", "deleted_upto")):
            ids = [await told(target, here, there) for _ in range(2)]
            upto = here.items[ids[-1]]["number"]
            await here.send(type=command, upto=upto, ref=command)
            assert (await here.answer(command))["type"] == "done"
            for page in (here, there):
                await page.until(hears({name: upto}))
        assert there.items == {}
        assert there.unread == here.unread == 0


@pytest.mark.parametrize(
    ("command", "opposite"), [("read", "unread"), ("archive", "unarchive"), ("delete", "undelete"), ("unread", "read")]
)
@pytest.mark.parametrize("by", ["ids", "upto"])
async def test_a_step_is_undone_by_its_stamp(target: Target, command: str, opposite: str, by: str):
    async with Peer(target) as here, Peer(target) as there:
        ids = [await told(target, here, there) for _ in range(2)]
        upto = max(here.items[id]["number"] for id in ids)
        if command == "unread":
            await here.send(type="read", upto=upto, ref="before")
            await there.until(lambda page: all(page.items[id]["read"] for id in ids))

        def shown(page: Peer) -> dict[int, Any]:
            return {id: {**page.items[id], "stamp": None} for id in ids if id in page.items}

        before, unread = shown(there), there.unread
        chosen = {"ids": ids} if by == "ids" else {"upto": upto}
        await here.send(type=command, **chosen, ref="step")
        stamp = (await here.answer("step"))["stamp"]
        assert stamp > 0
        await there.until(lambda page: shown(page) != before)
        await here.send(type=opposite, stamp=stamp, ref="undo")
        assert (await here.answer("undo"))["stamp"] > stamp
        await there.until(lambda page: shown(page) == before)
        assert there.unread == unread
        assert there.gaps == 0


async def test_an_undo_passes_over_what_a_later_step_has_touched(target: Target):
    async with Peer(target) as peer:
        ids = [await told(target, peer) for _ in range(2)]
        for ref, command in {"read": {"ids": ids}, "unread": {"ids": ids[:1]}, "archive": {"ids": ids[:1]}}.items():
            await peer.send(type=ref, **command, ref=ref)
            await peer.answer(ref)
        stamp = (await peer.answer("read"))["stamp"]
        await peer.send(type="read", ids=ids[:1], ref="by a step of its own")
        await peer.answer("by a step of its own")
        await peer.send(type="unread", stamp=stamp, ref="undo")
        await peer.until(lambda page: [page.items.get(id, {}).get("read") for id in ids] == [True, False])


async def test_a_command_that_changes_nothing_says_so(target: Target):
    async with Peer(target) as peer:
        id = await told(target, peer)
        commands: dict[str, dict[str, Any]] = {
            "unread": {"type": "unread", "ids": [id]},
            "undeleted": {"type": "undelete", "ids": [id, MISSING]},
            "unknown step": {"type": "archive", "stamp": MISSING},
            "seen": {"type": "seen", "upto": 0},
        }
        for ref, command in commands.items():
            await peer.send(**command, ref=ref)
            assert await peer.answer(ref) == {"type": "done", "ref": ref, "stamp": 0}


async def test_seen_moves_the_mark_for_every_tab(target: Target):
    async with Peer(target) as here, Peer(target) as there:
        id = await told(target, here, there)
        assert there.unseen > 0
        upto = here.items[id]["number"]
        await here.send(type="seen", upto=upto, ref="seen")
        assert (await here.answer("seen"))["type"] == "done"
        for page in (here, there):
            await page.until(lambda page: page.unseen == 0 and page.seen_upto == upto)


async def test_ids_that_are_missing_are_passed_over(target: Target):
    async with Peer(target) as peer:
        await told(target, peer)
        position = peer.position
        for command in ("read", "unread", "archive", "unarchive", "delete", "undelete"):
            await peer.send(type=command, ids=[MISSING], ref=command)
            assert (await peer.answer(command))["type"] == "done"
        await peer.settle()
        assert peer.position == position


async def test_the_bounds_of_a_command_are_where_the_page_says(target: Target):
    allowed: dict[str, dict[str, Any]] = {
        "200 ids": {"type": "read", "ids": list(range(MISSING - 199, MISSING + 1))},
        "a long ref": {"type": "seen", "upto": 0, "ref": "r" * 64},
    }
    refused: dict[str, dict[str, Any]] = {
        "201 ids": {"type": "read", "ids": [MISSING] * 201},
        "a longer ref": {"type": "seen", "upto": 0, "ref": "r" * 65},
    }
    async with Peer(target) as peer:
        for name, command in allowed.items():
            command.setdefault("ref", name)
            await peer.send(**command)
            assert (await peer.answer(command["ref"]))["type"] == "done"
        for number, command in enumerate(refused.values(), 1):
            await peer.send(**command)
            await peer.until(has_errors(number))
            assert peer.kinds("error")[-1]["code"] == "bad_command"
        longest = {"type": "hello", "position": peer.position, "language": "en", "pad": ""}
        longest["pad"] = "x" * (4096 - len(json.dumps(longest)))
        count = len(peer.kinds("welcome"))
        await peer.send(**longest)
        await peer.until(lambda page: len(page.kinds("welcome")) == count + 1)
        assert peer.close_code is None


@pytest.mark.parametrize("silent", ["heartbeat", "an unknown ack"])
async def test_some_frames_want_no_answer(target: Target, silent: str):
    frame = {"heartbeat": {"type": "heartbeat"}, "an unknown ack": {"type": "ack", "ack": "guessed"}}[silent]
    async with Peer(target) as peer:
        await peer.settle()
        count = len(peer.frames)
        await peer.send(**frame)
        await peer.settle("after")
        assert [each["type"] for each in peer.frames[count:]] == ["done"]


# errors and bounds


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ('{"type": "shout", "loud": true}', "unknown_command"),
        ("{", "bad_command"),
        ('{"type": "read"}', "bad_command"),
        ('{"type": "read", "ids": [1], "upto": 1}', "bad_command"),
        ('{"type": "read", "upto": -1}', "bad_command"),
        ('{"type": "read", "ids": [1], "stamp": 1}', "bad_command"),
        ('{"type": "undelete", "upto": 1}', "bad_command"),
        (b'{"type": "heartbeat"}', "binary"),
        (json.dumps({"type": "hello", "pad": "x" * 4096}), "too_large"),
    ],
)
async def test_a_frame_that_is_no_command_is_answered_by_an_error(target: Target, frame: Any, code: str):
    async with Peer(target) as peer:
        await peer.send_frame(frame)
        await peer.until(lambda page: page.kinds("error"))
        assert [(error["code"], error["ref"]) for error in peer.kinds("error")] == [(code, "")]
        await peer.settle("still there")
        assert peer.close_code is None


async def test_the_third_of_them_closes_with_4400_after_a_bye(target: Target):
    async with Peer(target) as peer:
        await peer.send_frame("{", b"{}", '{"type": "shout"}')
        assert await peer.until_closed() == 4400
        assert peer.frames[-1]["type"] == "bye"
        assert (peer.frames[-1]["code"], peer.frames[-1]["retry_after"]) == (4400, None)


async def test_too_many_commands_close_with_4429_and_a_time_to_come_back(target: Target):
    async with Peer(target) as peer:
        await peer.send_frame(*['{"type": "heartbeat"}'] * 200)
        assert await peer.until_closed() == 4429
        assert peer.frames[-1]["type"] == "bye"
        assert peer.frames[-1]["retry_after"] > 0


async def test_thirty_commands_at_once_are_no_flood(target: Target):
    async with Peer(target) as peer:
        for number in range(28):
            await peer.send(type="seen", upto=0, ref=f"c{number}")
        await peer.answer("c27")
        assert [frame["ref"] for frame in peer.kinds("done")] == [f"c{number}" for number in range(28)]
        assert peer.close_code is None


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_more_than_a_delta_holds_comes_in_parts(target: Target):
    async with Peer(target) as peer:
        await told(target, peer)
    await told_elsewhere(target, *(f"n{number}" for number in range(250)))
    peer.frames.clear()
    peer.arrived.clear()
    await peer.connect()
    await peer.until(lambda page: len(page.arrived) == 250, 60)
    deltas = peer.kinds("delta")
    assert peer.arrived == [f"n{number}" for number in range(250)]
    assert [delta["more"] for delta in deltas] == [True] * (len(deltas) - 1) + [False]
    assert all(len(delta["items"]) <= 200 and len(json.dumps(delta)) <= 80 * 1024 for delta in deltas)
    assert {delta["position"] for delta in deltas[:-1]} == {deltas[0]["base"]}
    await peer.disconnect()


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_what_is_not_acknowledged_is_held_and_then_told(target: Target):
    """64 steps since the last message that asked, and the delta that was being sent when they were full."""
    async with Peer(target) as peer, Peer(target) as honest:
        await peer.until(lambda page: page.position)
        peer.acks = False
        unasked = 0
        for frame in peer.kinds("delta", "reset"):
            unasked = 0 if "ack" in frame else unasked + max(1, len(frame["items"]))
        await target.tell(*(f"w{number}" for number in range(300)))
        await honest.until(lambda page: page.titles[:1] == ["w299"], 60)
        await peer.settle()
        assert 64 <= unasked + len(peer.arrived) <= 264
        await peer.acknowledge()
        await peer.until(lambda page: page.position == honest.position, 60)
        assert peer.titles == honest.titles


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_the_clocks_are_those_of_the_page(target: Target):
    """A heartbeat every 25 s that says where the page should stand; 4008 after 30 s without an acknowledgement; 4012 after 75 s
    without a frame."""
    loop = asyncio.get_running_loop()
    async with Peer(target) as honest, Peer(target) as deaf:
        deaf.acks = False
        titles = [f"c{number}" for number in range(50)]  # enough to be asked for an acknowledgement
        await target.tell(*titles)
        started = loop.time()
        await honest.until(lambda page: page.titles[:1] == titles[-1:])
        await deaf.until(lambda page: any("ack" in frame for frame in page.frames))
        async with Peer(target) as silent:
            silent._take = silent.listen_only  # type: ignore[method-assign]

            async def when(peer: Peer, code: int) -> float:
                assert await peer.until_closed(120) == code
                return loop.time() - started

            slow, gone = await asyncio.gather(when(deaf, 4008), when(silent, 4012))
        assert 29 <= slow <= 40
        assert 69 <= gone <= 80
        beats = honest.kinds("heartbeat")
        assert len(beats) in {2, 3}
        assert {beat["position"] for beat in beats} == {honest.position}
        assert honest.close_code is None
