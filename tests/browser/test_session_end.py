"""The session ends, by whatever way: every tab of every browser that had it says so, shows nothing new, and leads back in."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PASSWORD, Window, in_both_browsers, running_demo

TELL = "from notifications import notify\nnotify('order.status', to=mina, title={!r}, url='/orders/1044/')"
ENDS = {
    "password": "mina.set_password('another-bell-rings')\nmina.save()",
    "deactivated": "mina.is_active = False\nmina.save()",
    "sessions deleted": "from django.contrib.sessions.models import Session\nSession.objects.all().delete()",
}


@pytest.fixture
def demo(seeded_database, sessions, tmp_path):
    """Alone, without a Redis, a server looks for ended sessions every two seconds."""
    with running_demo(seeded_database, tmp_path) as demo:
        yield demo


def signed_out_note(window: Window):
    return window.page.locator("notification-list").last.locator("[data-state=signed-out]")


def expect_signed_out(window: Window) -> None:
    expect(window.page.locator("notification-stream")).to_have_attribute("state", "signed-out")
    expect(signed_out_note(window)).to_contain_text("Signed out.")
    link = signed_out_note(window).get_by_role("link", name="Sign in again", include_hidden=True)
    expect(link).to_have_attribute("href", re.compile(r"^/login/\?next=/"))


@in_both_browsers
def test_a_sign_out_ends_all_tabs_of_this_browser_and_none_of_another(person, demo):
    here, elsewhere = person(), person()
    there = elsewhere.sign_in("mina", "/bells/").listening()
    one = here.signed_in("mina", "/notifications/").listening()
    two, three = here.window("/bells/").listening(), here.window("/orders/").listening()
    two.bell.click()
    demo.run(TELL.format("Before"))
    for window in (one, two, three, there):
        expect(window.rows).to_have_count(1)
    three.page.get_by_role("button", name="Sign out").click()
    for window in (one, two):
        expect_signed_out(window)
    expect(signed_out_note(two)).to_be_visible()

    demo.run(TELL.format("After"))
    expect(there.rows).to_have_count(2)
    for window in (one, two):
        expect(window.rows).to_have_count(1)

    one.page.get_by_role("link", name="Sign in again").last.click()
    one.page.get_by_label("Username").fill("mina")
    one.page.get_by_label("Password").fill(PASSWORD)
    one.page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(one.page).to_have_url(f"{one.base}/notifications/")
    expect(one.listening().rows).to_have_count(2)


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_sessions_elsewhere_ends_all_tabs(person, demo, end):
    here = person()
    tabs = [here.signed_in("mina", "/notifications/").listening(), here.window("/orders/").listening()]
    demo.run(ENDS[end])
    for tab in tabs:
        expect_signed_out(tab)


def test_what_is_done_after_the_end_asks_to_sign_in_and_pretends_nothing(person, demo):
    """The button is a form's: without a line it goes where it would without scripts."""
    demo.run("halcyon.move_to('delivered', by=noor)")
    here = person()
    tabs = [here.signed_in("mina", "/notifications/").listening(), here.window("/notifications/").listening()]
    demo.run(ENDS["sessions deleted"])
    for tab, button in zip(tabs, ("Mark as read", "It is here"), strict=True):
        expect_signed_out(tab)
        tab.rows.first.get_by_role("button", name=button).first.click()
        expect(tab.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert demo.run("from notifications.models import Inbox\nprint(Inbox.objects.get(user_id=mina.pk).unread)").strip() == "1"
