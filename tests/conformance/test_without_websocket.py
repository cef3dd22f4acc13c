"""The same messages by HTTP: server-sent events, and changes that are asked for."""

import asyncio
import json
import secrets
import urllib.error
import urllib.request
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from tests.conformance.peer import Peer, Target, check
from tests.site.events import EventPage, Refused

WAYS = ["events", "changes"]


def path_of(target: Target, name: str) -> str:
    return target.path.removesuffix("socket/") + f"{name}/"


class Reader(EventPage):
    """A page at the event stream whose messages all have the documented shape."""

    def __init__(self, target: Target, *, signed_in: bool = True, **options: Any) -> None:
        super().__init__(target, None, **options)
        self.path = path_of(target, "events")
        self.cookies = dict([target.cookie.split("=", 1)]) if signed_in else {}

    async def _take(self, message: dict[str, Any]) -> None:
        check(message)
        await super()._take(message)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        for message in found["messages"]:
            check(message)
        return found


async def ask(target: Target, name: str, query: dict[str, str] | None = None, *, cookie: str = "", method: str = "GET") -> Answer:
    address = f"{target.url}{path_of(target, name)}?{urlencode(query or {})}"
    wanted = urllib.request.Request(address, headers={"Cookie": cookie} if cookie else {}, method=method)
    return await asyncio.to_thread(fetch, wanted)


def fetch(wanted: urllib.request.Request) -> Answer:
    class Straight(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *given: Any) -> None:
            """A redirect is an answer like any other."""

    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({}), Straight).open(wanted, timeout=30) as answer:
            return Answer(answer.status, headers(answer), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, headers(error), error.read())


def headers(answer: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


async def told(target: Target, *pages: EventPage, count: int = 1) -> list[str]:
    titles = [secrets.token_hex(8) for _ in range(count)]
    await target.tell(*titles)
    for page in pages:
        await page.until(lambda page: page.titles[:count] == titles[::-1], 60)
    return titles


# both


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("whose", ["nobody's", "an unknown session's"])
async def test_without_a_session_it_is_401_and_no_redirect(target: Target, way: str, whose: str):
    cookie = "" if whose == "nobody's" else f"{target.cookie.split('=', 1)[0]}={'a' * 32}"
    answer = await ask(target, way, cookie=cookie)
    assert answer.status == 401
    assert "no-store" in answer.headers["cache-control"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("query", [{"position": "x" * 65}, {"language": "x" * 36}])
async def test_nonsense_is_400(target: Target, way: str, query: dict[str, str]):
    answer = await ask(target, way, query, cookie=target.cookie)
    assert answer.status == 400
    assert "no-store" in answer.headers["cache-control"]


async def test_a_page_may_change_its_way_at_any_moment(target: Target):
    """The socket, the events, an answer: each goes on from where the one before has led."""
    arrived = []
    async with Peer(target) as peer:
        position = peer.position
        (title,) = await told(target)
        await peer.until(lambda page: page.titles[:1] == [title])
        by_socket = peer.position
    by_asking = (await ask(target, "changes", {"position": position, "language": "en"}, cookie=target.cookie)).json
    assert [[item["title"] for item in delta["items"]] for delta in by_asking["messages"]] == [[title]]
    assert by_asking["position"] == by_socket
    async with Reader(target, position=by_asking["position"]) as reader:
        await reader.until(lambda page: page.kinds("delta"))
        arrived += await told(target)
        await reader.until(lambda page: page.arrived == arrived)
        assert reader.kinds("reset") == []
        by_events = reader.position
    arrived += await told(target)
    async with Peer(target, position=by_events) as peer:
        await peer.until(lambda page: page.arrived == arrived[1:])
        assert peer.kinds("reset") == []


# events


async def test_events_are_welcome_then_what_was_missed_then_what_comes(target: Target):
    async with Reader(target) as reader:
        await reader.until(lambda page: page.position)
        assert [message["type"] for message in reader.frames] == ["welcome", "reset"]
        await told(target, reader)
        assert [message["type"] for message in reader.frames] == ["welcome", "reset", "delta"]
        assert reader.headers["content-type"] == "text/event-stream"
        assert {"private", "no-store", "no-transform"} <= set(reader.headers["cache-control"].split(", "))
        assert reader.headers["x-accel-buffering"] == "no"
        assert "set-cookie" not in reader.headers
        assert reader.retry is not None
        assert 1000 <= reader.retry <= 1000 * (1 + reader.frames[0]["spread_seconds"])


async def test_a_last_event_id_outdoes_the_position_in_the_address(target: Target):
    reader = Reader(target)
    await reader.connect()
    await reader.until(lambda page: page.position)
    await reader.disconnect()
    titles = await told(target)
    await reader.connect()
    await reader.until(lambda page: page.arrived == titles)
    assert len(reader.kinds("reset")) == 1
    await reader.disconnect()


async def test_a_page_that_missed_nothing_is_told_so(target: Target):
    async with Reader(target) as reader:
        await reader.until(lambda page: page.position)
        position = reader.position
    async with Reader(target, position=position) as reader:
        await reader.until(lambda page: page.kinds("delta"))
        assert [(each["base"], each["position"], each["items"]) for each in reader.kinds("delta")] == [(position, position, [])]


@pytest.mark.parametrize("position", ["", "nonsense", "elsewhere.7"])
async def test_a_position_that_means_nothing_is_answered_by_a_reset(target: Target, position: str):
    async with Reader(target, position=position) as reader:
        await reader.until(lambda page: page.kinds("reset"))
    answer = (await ask(target, "changes", {"position": position}, cookie=target.cookie)).json
    assert [message["type"] for message in answer["messages"]] == ["reset"]


async def test_a_stream_ends_at_its_size_by_4012_and_goes_on_at_once(target: Target):
    async with Reader(target) as reader:
        await reader.until(lambda page: page.position)
        titles = [title for _ in range(50) for title in await told(target, reader)]
        await reader.until(lambda page: page.arrived == titles)
        byes = [(bye["code"], bye["retry_after"]) for bye in reader.kinds("bye")]
        assert byes in ([(4012, 0.0)], [(4012, 0.0)] * 2)
        assert len(reader.kinds("reset")) == 1


async def test_another_site_is_refused(target: Target):
    reader = Reader(target)
    with pytest.raises(Refused) as refused:
        await reader.connect(Sec_Fetch_Site="cross-site")
    assert refused.value.status == 403
    for site in ("same-origin", "same-site", "none"):
        await reader.connect(Sec_Fetch_Site=site)
        await reader.disconnect()


async def test_events_are_asked_for_by_get(target: Target):
    for method in ("POST", "HEAD", "DELETE"):
        assert (await ask(target, "events", cookie=target.cookie, method=method)).status == 405


@pytest.mark.long
async def test_a_stream_beats_every_25_s_and_ends_for_no_silence(target: Target):
    async with Reader(target) as reader:
        await reader.until(lambda page: page.position)
        await reader.until(lambda page: len(page.kinds("heartbeat")) == 3, 85)
        assert {beat["position"] for beat in reader.kinds("heartbeat")} == {reader.position}
        assert reader.streams == 1
        assert reader.kinds("bye") == []


# changes


async def test_changes_are_none_where_nothing_has_happened(target: Target):
    first = (await ask(target, "changes", cookie=target.cookie)).json
    assert [message["type"] for message in first["messages"]] == ["reset"]
    again = await ask(target, "changes", {"position": first["position"]}, cookie=target.cookie)
    assert again.json == {"messages": [], "position": first["position"], "spread_seconds": first["spread_seconds"]}
    assert isinstance(first["spread_seconds"], int | float)
    assert {"private", "no-store"} <= set(again.headers["cache-control"].split(", "))
    assert again.headers["content-type"].startswith("application/json")


async def test_changes_lead_on_in_parts_and_ask_for_no_acknowledgement(target: Target):
    before = (await ask(target, "changes", cookie=target.cookie)).json["position"]
    async with Reader(target) as reader:
        titles = await told(target, reader, count=250)
        await reader.until(lambda page: page.titles[:1] == titles[-1:])
    found = (await ask(target, "changes", {"position": before, "language": "en"}, cookie=target.cookie)).json
    deltas = found["messages"]
    assert [item["title"] for delta in deltas for item in delta["items"]] == titles
    assert [delta["more"] for delta in deltas] == [True] * (len(deltas) - 1) + [False]
    assert len(deltas) > 1
    assert deltas[-1]["position"] == found["position"]
    assert not any("ack" in delta for delta in deltas)
