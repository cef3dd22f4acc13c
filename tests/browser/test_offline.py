"""What somebody does on the train: shown at once, kept, done once each and in order when the line is back, in all tabs."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Demo, Window
from tests.servers import TcpProxy, tcp_proxy

MANY = 30  # more than may go over a socket in one burst
TELL = f"""
from notifications import notify
for number in range(1, {MANY} + 1):
    notify("order.status", to=mina, title=f"Order {{number:02}} moved", url="/orders/1044/")
"""
STATES = """
from notifications.models import Inbox, Notification
print(Inbox.objects.get(user_id=mina.pk).top)
for row in Notification.objects.filter(recipient_id=mina.pk).order_by("number"):
    print(row.number, *(name for name in ("read", "archived", "deleted") if getattr(row, f"{name}_at")))
"""


@pytest.fixture
def line(demo: Demo) -> Iterator[TcpProxy]:
    with tcp_proxy(demo.server.port) as line:
        demo.run(TELL)
        yield line


def on_the_server(demo: Demo) -> tuple[int, dict[int, set[str]]]:
    """The number of the newest step, and of each notification what has been done with it."""
    top, *rows = demo.run(STATES).splitlines()
    return int(top), {int(number): set(done) for number, *done in map(str.split, rows) if done}


def row(window: Window, number: int):
    return window.rows.filter(has_text=f"Order {number:02} moved")


def press(window: Window, number: int, key: str) -> None:
    row(window, number).focus()
    window.page.keyboard.press(key)


def cut(line: TcpProxy, *windows: Window) -> None:
    line.refuse()
    windows[0].page.context.set_offline(True)
    for window in windows:
        expect(window.page.locator("notification-stream")).to_have_attribute("state", "offline")


def mend(line: TcpProxy, *windows: Window) -> None:
    line.mend()
    windows[0].page.context.set_offline(False)
    for window in windows:
        window.listening()


def test_what_two_tabs_have_done_offline_is_done_once_and_both_agree(person, demo, line):
    mina = person(at=line.url)
    one = mina.signed_in("mina", "/notifications/").listening()
    two = mina.window("/notifications/").listening()
    before, _ = on_the_server(demo)
    cut(line, one, two)
    press(one, 30, "r")
    press(one, 29, "e")
    press(one, 28, "Delete")
    press(one, 27, "e")
    one.page.keyboard.press("z")  # and back, before anybody has heard of it
    press(two, 26, "r")
    press(two, 25, "e")
    for window, number, is_there in ((one, 29, False), (one, 28, False), (two, 25, False), (two, 29, True)):
        expect(row(window, number)).to_have_count(int(is_there))
    assert on_the_server(demo) == (before, {})

    mend(line, one, two)
    for window in (one, two):
        for number in (29, 28, 25):
            expect(row(window, number)).to_have_count(0)
        for number in (30, 26):
            expect(row(window, number)).not_to_have_attribute("data-unread", "")
        expect(row(window, 27)).to_have_attribute("data-unread", "")
    top, done = on_the_server(demo)
    assert done == {30: {"read"}, 29: {"archived"}, 28: {"deleted"}, 26: {"read"}, 25: {"archived"}}
    assert top == before + 7, "each step once: five, and one that was taken back"


def test_more_than_a_socket_may_take_at_once_is_done_all_the_same(person, demo, line):
    mina = person(at=line.url).signed_in("mina", "/notifications/").listening()
    mina.rows.last.scroll_into_view_if_needed()
    expect(mina.rows).to_have_count(MANY)
    before, _ = on_the_server(demo)
    cut(line, mina)
    for number in range(MANY, 0, -1):
        press(mina, number, "r")
    mend(line, mina)
    expect(mina.page.locator("main [data-id][data-unread]")).to_have_count(0)
    mina.until("sessionStorage.length > 0 && Object.values(sessionStorage).every((kept) => kept.length < 3)")
    top, done = on_the_server(demo)
    assert done == {number: {"read"} for number in range(1, MANY + 1)}
    assert top == before + MANY
