"""What the sockets of a hub are sent when one of them, or one notification, is broken."""

from datetime import UTC, datetime
from typing import Any

import pytest

from notifications.delivery import Delivery
from notifications.frames import Letters
from notifications.protocol import CloseCode, EventCopy, Row, Step
from notifications.session import Identity
from notifications.sockets import Socket

GOOD, BAD = 1, 2
EVENTS = {
    GOOD: EventCopy("k", {"severity": "info", "title": "good"}, datetime.now(UTC)),
    BAD: EventCopy("k", {"severity": "info", "title": ["of another release"]}, datetime.now(UTC)),
}


class Seats(dict[str, set[Socket]]):
    """A hub's sockets, one a user, each with what it was sent and how it was ended."""

    def __init__(self, *users: str) -> None:
        super().__init__()
        self.sent: dict[str, list[str]] = {user: [] for user in users}
        self.ended: dict[str, int] = {}
        self.broken = ""
        for user in users:
            self[user] = {self._socket(user)}

    def __getattr__(self, user: str) -> Socket:
        return next(iter(self[user]))

    def _socket(self, user: str) -> Socket:
        def write(frame: str) -> bool:
            if user == self.broken:
                raise RuntimeError("the server's own")
            self.sent[user].append(frame)
            return True

        def end(code: int, *_: Any) -> None:
            self.ended[user] = code

        socket = Socket(Identity(user=user, user_id=user, session="s"), "key", send=None, end=end, write=write)  # type: ignore[arg-type]
        socket.is_listening, socket.language, socket.stream.epoch = True, "en", "e"
        return socket


def step(user: str, event: int) -> Step:
    return Step(user, "e", 0, 1, 1, 1, 0, (Row(event, 1, 1),))


@pytest.fixture
def seats() -> Seats:
    return Seats("mina", "omar", "noor")


async def test_a_notification_that_cannot_be_shown_keeps_nobody_elses(seats):
    Delivery(seats, None).hear([step("mina", GOOD), step("omar", BAD), step("noor", GOOD)], Letters(EVENTS))  # type: ignore[arg-type]
    assert [len(seats.sent[user]) for user in ("mina", "omar", "noor")] == [1, 0, 1]
    assert seats.omar.stream.is_behind  # a look at the database brings it forward
    assert seats.omar.stream.top == 0


async def test_a_connection_that_breaks_keeps_nobody_elses_and_is_ended_to_come_back(seats):
    seats.broken = "mina"
    Delivery(seats, None).hear([step(user, GOOD) for user in seats], Letters(EVENTS))  # type: ignore[arg-type]
    assert [len(seats.sent[user]) for user in ("mina", "omar", "noor")] == [0, 1, 1]
    assert seats.ended == {"mina": CloseCode.RESTART}
