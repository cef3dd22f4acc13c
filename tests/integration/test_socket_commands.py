"""What a page may say, and what it hears when it says something else: an error, after the third a close, never a traceback."""

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from notifications import Text, notify
from notifications.models import Notification
from tests.site.client import Page
from tests.site.people import eventually, tell
from tests.site.sockets import whatever_the_database

pytestmark = pytest.mark.django_db(transaction=True)

NESTED = "[" * 2000 + "]" * 2000
BROKEN = {
    "nothing": "",
    "no JSON": "hello",
    "half of JSON": '{"type": "read"',
    "two frames in one": '{"type": "heartbeat"} {"type": "heartbeat"}',
    "a list": "[]",
    "a number": "4",
    "null": "null",
    "a string": '"hello"',
    "no type": '{"ids": [1]}',
    "ids that are no list": '{"type": "read", "ids": 1}',
    "ids that are no numbers": '{"type": "read", "ids": ["1"]}',
    "no ids": '{"type": "read", "ids": []}',
    "too many ids": json.dumps({"type": "read", "ids": list(range(201))}),
    "a negative id": '{"type": "read", "ids": [-1]}',
    "a fraction": '{"type": "read", "ids": [1.5]}',
    "a huge number": '{"type": "read", "upto": 9007199254740993}',
    "a number beyond any": json.dumps({"type": "read", "upto": 10**300}),
    "an infinite number": '{"type": "read", "upto": 1e999}',
    "no number": '{"type": "read", "upto": NaN}',
    "neither ids nor upto nor stamp": '{"type": "read"}',
    "both upto and stamp": '{"type": "read", "upto": 1, "stamp": 1}',
    "what was deleted, by number": '{"type": "undelete", "upto": 1}',
    "both ids and upto": '{"type": "read", "ids": [1], "upto": 1}',
    "a true upto": '{"type": "seen", "upto": true}',
    "a ref that is no string": '{"type": "seen", "upto": 1, "ref": {}}',
    "an endless ref": json.dumps({"type": "seen", "upto": 1, "ref": "x" * 65}),
    "deep nesting": f'{{"type": "read", "ids": {NESTED[:2000]}}}',
    "deep nesting where anything may stand": f'{{"type": "heartbeat", "extra": {NESTED[1000:3000]}}}',
    "half a character": '{"type": "seen", "upto": 1, "ref": "\\ud800"}',
    "a position that is no string": '{"type": "hello", "position": 4}',
}


@pytest.mark.parametrize("frame", BROKEN.values(), ids=BROKEN)
@whatever_the_database
async def test_a_broken_frame_is_answered_by_an_error(live_site, mina_session, frame):
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await page.send_frame(frame)
        await page.until(lambda page: page.kinds("error"))
        (error,) = page.kinds("error")
        assert error["code"] == "bad_command"
        assert error["message"]
        await page.send(type="seen", upto=0, ref="still there")
        assert (await page.answer("still there"))["type"] == "done"
    assert "Traceback" not in live_site.log


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ('{"type": "shout"}', "unknown_command"),
        (b"\x00\xff\xfe", "binary"),
        (b'{"type": "heartbeat"}', "binary"),
        (json.dumps({"type": "heartbeat", "position": "x" * 5000}), "too_large"),
        ("x" * 60_000, "too_large"),
        (json.dumps({"type": "heartbeat", "position": "ü" * 3000}, ensure_ascii=False), "too_large"),
    ],
)
@whatever_the_database
async def test_other_wrong_frames_have_codes_of_their_own(live_site, mina_session, frame, code):
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await page.send_frame(frame)
        await page.until(lambda page: page.kinds("error"))
        assert [error["code"] for error in page.kinds("error")] == [code]
        assert page.close_code is None


@whatever_the_database
async def test_a_megabyte_is_refused_or_ends_the_socket_that_is_still_sending_it(live_site, mina_session):
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await page.send_frame("x" * 1_000_000)
        await page.until(lambda page: page.kinds("error") or page.close_code)
        assert ([error["code"] for error in page.kinds("error")], page.close_code) in [(["too_large"], None), ([], 4429)]


@pytest.mark.parametrize("server", ["live_site", "uvicorn_site"])
@whatever_the_database
async def test_the_third_bad_command_closes_the_socket_and_no_other(request, mina, teo, mina_session, teo_session, server):
    site = request.getfixturevalue(server)
    async with Page(site, mina_session) as page, Page(site, mina_session) as twin, Page(site, teo_session) as other:
        for each in (page, twin, other):
            await each.until(lambda page: page.position)
        await page.send_frame("{", b"\x00", '{"type": "shout"}', '{"type": "heartbeat"}')
        assert await page.until_closed() == 4400
        assert [error["code"] for error in page.kinds("error")] == ["bad_command", "binary", "unknown_command"]
        assert page.bye == {"type": "bye", "code": 4400, "reason": "bad commands", "retry_after": None}
        await tell(mina, "for Mina")
        await tell(teo, "for Teo")
        await twin.until(lambda page: page.titles == ["for Mina"])
        await other.until(lambda page: page.titles == ["for Teo"])
    assert "Traceback" not in site.log


@pytest.mark.parametrize("server", ["live_site", "uvicorn_site"])
async def test_a_frame_beyond_what_the_server_takes_ends_this_socket_alone(request, mina_session, teo, teo_session, server):
    """Daphne takes 1 MiB, uvicorn 16."""
    site = request.getfixturevalue(server)
    async with Page(site, mina_session) as page, Page(site, teo_session) as other:
        for each in (page, other):
            await each.until(lambda page: page.position)
        await page.send_frame("x" * 17_000_000)
        assert await page.until_closed() in (1006, 1009)
        await tell(teo, "for Teo")
        await other.until(lambda page: page.titles == ["for Teo"])
    assert "Traceback" not in site.log


async def test_what_was_accepted_before_the_close_is_carried_out(start_site, live_site, mina, mina_session):
    """Frames that come together: the command's task has not begun when the socket ends."""
    row = await told(mina, "read me")
    read = json.dumps({"type": "read", "ids": [row.event_id], "ref": "r"})
    async with Page(live_site, mina_session) as witness:
        for _ in range(3):
            page = Page(live_site, mina_session)
            await page.connect()
            await page.until(lambda page: page.position)
            unread = json.dumps({"type": "unread", "ids": [row.event_id], "ref": "u"})
            await page.send_frame(unread)
            await page.answer("u")
            await in_one_write(page, read, "{", "{", "{")
            assert await page.until_closed() == 4400
            await witness.until(lambda page: page.unread == 0)
            await page.disconnect()
    assert "Traceback" not in live_site.log
    assert "never retrieved" not in live_site.log


async def told(user: Any, title: str) -> Notification:
    """What came of it, whichever process relays: this one, or the site whose hub said that it is there."""
    await tell(user, title)
    rows = Notification.objects.filter(recipient=user)
    await eventually(rows.exists)
    return await rows.aget()


async def in_one_write(page: Page, *frames: str) -> None:
    """Frames in one piece of TCP, so that the server reads them in one go."""
    transport = page.socket.transport
    pieces: list[bytes] = []
    write = transport.write
    transport.write = pieces.append  # type: ignore[assignment, method-assign]
    try:
        await page.send_frame(*frames)
    finally:
        transport.write = write  # type: ignore[method-assign]
    transport.write(b"".join(pieces))


async def test_nothing_is_obeyed_before_hello(live_site, mina, mina_session):
    page = Page(live_site, mina_session)
    await page.connect(greets=False)
    await page.send(type="read", upto=5, ref="early")
    assert (await page.answer("early"))["code"] == "hello_first"
    await tell(mina, "news")
    await page.send(type="seen", upto=5, ref="early again")  # its answer comes behind whatever the news had caused
    assert (await page.answer("early again"))["code"] == "hello_first"
    assert page.kinds("delta", "reset", "heartbeat") == []
    await page.hello()
    await page.until(lambda page: page.titles == ["news"])
    await page.disconnect()


async def test_a_page_may_say_hello_again_from_anywhere(live_site, mina, mina_session):
    async with Page(live_site, mina_session) as page:
        await tell(mina, "one", "two")
        await page.until(lambda page: len(page.titles) == 2)
        for position in ("", "0", page.position, "nonsense", "else.7", page.position.split(".")[0] + ".999", "\x00.1", ".5"):
            count = len(page.kinds("welcome"))
            page.position = position
            await page.hello()
            await page.until(lambda page, count=count: len(page.kinds("welcome")) > count)
            await page.until(lambda page: page.titles == ["two", "one"] and page.unread == 2)
            await tell(mina, "next")
            await page.until(lambda page: page.titles == ["next", "two", "one"])
            row = await Notification.objects.filter(recipient=mina).alatest("number")
            await page.send(type="delete", ids=[row.event_id], ref=f"gone{count}")
            await page.until(lambda page: page.titles == ["two", "one"])


async def test_the_language_is_what_the_hello_says(live_site, mina, mina_session):
    """Django's own catalogues know the words."""
    text = Text("Log in")
    async with Page(live_site, mina_session, language="de") as german, Page(live_site, mina_session, language="xx") as other:
        for page in (german, other):
            await page.until(lambda page: page.position)
        await sync_to_async(notify)("plain", to=mina, title=text)
        await german.until(lambda page: page.titles == ["Anmelden"])
        await other.until(lambda page: page.titles == ["Log in"])
        german.language, german.position = "en-gb", ""
        await german.hello()
        await german.until(lambda page: page.titles == ["Log in"])
    later = Page(live_site, mina_session, language="de-at")  # the reset's way
    await later.connect()
    await later.until(lambda page: page.titles == ["Anmelden"])
    await later.disconnect()


async def test_commands_are_answered_in_order_and_each_once(live_site, mina, mina_session):
    async with Page(live_site, mina_session) as page:
        await page.until(lambda page: page.position)
        await tell(mina, *(f"n{number}" for number in range(10)))
        await page.until(lambda page: len(page.items) == 10)
        refs = [f"c{number}" for number in range(20)]
        ids = list(page.items)
        for number, ref in enumerate(refs):
            action = ("read", "unread", "archive", "unarchive")[number % 4]
            await page.send(type=action, ids=ids, ref=ref)
        await page.answer(refs[-1])
        assert [frame["ref"] for frame in page.kinds("done")] == refs
        await page.until(lambda page: page.unread == 10 and len(page.titles) == 10)


async def test_each_answer_names_the_step_by_which_it_is_undone_in_every_tab(live_site, mina, mina_session):
    async with Page(live_site, mina_session) as page, Page(live_site, mina_session) as other:
        await tell(mina, *(f"n{number}" for number in range(3)))
        for each in (page, other):
            await each.until(lambda page: len(page.items) == 3)
        before = {id: {**item, "stamp": 0} for id, item in other.items.items()}
        upto = max(item["number"] for item in page.items.values())
        for action, opposite in (("read", "unread"), ("archive", "unarchive"), ("delete", "undelete")):
            await page.send(type=action, upto=upto, ref=action)
            stamp = (await page.answer(action))["stamp"]
            assert stamp > upto
            await other.until(lambda page, stamp=stamp: page.position.endswith(f".{stamp}"))
            assert {id: {**item, "stamp": 0} for id, item in other.items.items()} != before
            await page.send(type=opposite, stamp=stamp, ref=opposite)
            assert (await page.answer(opposite))["stamp"] == stamp + 1
            for each in (page, other):
                await each.until(lambda page, stamp=stamp: page.position.endswith(f".{stamp + 1}"))
            assert {id: {**item, "stamp": 0} for id, item in other.items.items()} == before
            assert (other.unread, other.unseen) == (3, 3)
            await page.send(type=opposite, stamp=stamp, ref="again")  # as after a reconnect
            assert (await page.answer("again"))["stamp"] == 0
            page.frames.clear()
        assert other.gaps == 0


async def test_ids_of_others_change_nothing_and_tell_nothing(live_site, mina, teo, mina_session, teo_session):
    row = await told(teo, "Teo's own")
    async with Page(live_site, mina_session) as page, Page(live_site, teo_session) as his:
        await page.until(lambda page: page.position)
        await his.until(lambda page: page.titles == ["Teo's own"])
        answers: list[dict[str, Any]] = []
        for ref, id in (("others", row.event_id), ("missing", 2**53 - 1)):
            for action in ("read", "archive", "delete"):
                await page.send(type=action, ids=[id], ref=f"{ref} {action}")
                answers.append(await page.answer(f"{ref} {action}"))
        assert {answer["type"] for answer in answers} == {"done"}
        await page.send(type="delete", upto=2**53 - 1, ref="all")
        await page.answer("all")
        await tell(teo, "and more")
        await his.until(lambda page: page.titles == ["and more", "Teo's own"] and page.unread == 2)


async def test_a_database_that_fails_answers_unavailable_and_lives_on(live_site, mina, mina_session):
    from django.db import connection

    def rename(old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    table = Notification._meta.db_table
    async with Page(live_site, mina_session) as page:
        await tell(mina, "one")
        await page.until(lambda page: page.titles == ["one"])
        await sync_to_async(rename)(table, "away")
        try:
            await page.send(type="read", upto=1, ref="now")
            assert (await page.answer("now"))["code"] == "unavailable"
        finally:
            await sync_to_async(rename)("away", table)
        await page.send(type="read", upto=1, ref="again")
        assert (await page.answer("again"))["type"] == "done"
        await page.until(lambda page: page.unread == 0)
    await asyncio.sleep(0)
    assert "Traceback" not in live_site.log
