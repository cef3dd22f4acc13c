"""A page that was cut off gets what it missed, once; tabs and devices agree."""

from playwright.sync_api import expect

from tests.browser.conftest import BACK_OFF, in_both_browsers


@in_both_browsers
def test_what_happened_while_the_server_was_dead_appears_once_without_reload(person, demo):
    mina = person().signed_in("mina").listening()
    mina.stay()
    demo.server.kill()
    expect(mina.page.locator("notification-stream")).not_to_have_attribute("state", "open")

    demo.run("halcyon.move_to('shipped', by=noor)")
    mina.expect_unseen(0)
    demo.server.start()

    mina.listening(timeout=BACK_OFF)
    mina.expect_unseen(1)
    expect(mina.rows).to_have_count(1)
    expect(mina.toasts).to_have_count(1)
    assert mina.has_stayed
    # One more: had the first been applied twice, the count or the rows would say three.
    demo.run("halcyon.move_to('delivered', by=noor)")
    mina.expect_unseen(2)
    expect(mina.rows).to_have_count(2)
    assert mina.has_stayed


def test_a_page_out_of_the_cache_asks_from_where_it_stands(person, demo):
    """Printed, left, and come back to by the browser's own back button: nothing is missing, nothing twice."""
    mina = person().signed_in("mina").listening()
    mina.page.goto(f"{demo.url}/bells/")
    demo.run("halcyon.move_to('shipped', by=noor)")
    mina.page.go_back()
    mina.listening()
    mina.expect_unseen(1)
    expect(mina.rows).to_have_count(1)


@in_both_browsers
def test_two_tabs_agree(person, demo):
    mina = person()
    one = mina.signed_in("mina", "/notifications/").listening()
    two = mina.window("/notifications/").listening()
    two.stay()
    demo.run("halcyon.move_to('shipped', by=noor)\nhalcyon.move_to('delivered', by=noor)")
    for tab in (one, two):
        expect(tab.rows).to_have_count(2)
        expect(tab.page.locator("notification-list").last.locator("[data-id][data-unread]")).to_have_count(2)

    one.rows.first.hover()
    one.rows.first.get_by_role("button", name="Mark as read").first.click()
    for tab in (one, two):
        expect(tab.rows.first).not_to_have_attribute("data-unread", "")
        expect(tab.rows.last).to_have_attribute("data-unread", "")

    one.page.get_by_role("main").get_by_role("button", name="Mark all as read").click()
    expect(two.page.locator("notification-list").last.locator("[data-id][data-unread]")).to_have_count(0)
    assert two.has_stayed


@in_both_browsers
def test_opening_the_bell_in_one_tab_empties_it_in_the_other(person, demo):
    mina = person()
    one, two = mina.sign_in("mina").listening(), mina.window("/bells/").listening()
    demo.run("halcyon.move_to('shipped', by=noor)")
    one.expect_unseen(1)
    two.expect_unseen(1)
    one.bell.click()
    two.expect_unseen(0)


@in_both_browsers
def test_signing_out_ends_the_socket_of_another_tab(person, demo):
    mina = person()
    one, two = mina.sign_in("mina").listening(), mina.window("/bells/").listening()
    one.page.get_by_role("button", name="Sign out").click()
    expect(two.page.locator("notification-stream")).to_have_attribute("state", "signed-out")

    demo.run("halcyon.move_to('shipped', by=noor)")
    again = mina.sign_in("mina").listening()
    again.expect_unseen(1)  # it exists, and whoever is signed in sees it
    two.expect_unseen(0)
    expect(two.rows).to_have_count(0)
