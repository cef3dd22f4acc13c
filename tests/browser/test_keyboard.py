"""The whole story with nothing but a keyboard: two people, an order, a bell, a question and its answer."""

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, Window, in_both_browsers

MANY = 60  # presses of Tab, after which it is not on the way
NAMED = """() => {
  const { activeElement: at } = document;
  if (at === document.body) return ""; // between the end of the page and its beginning
  const labels = [...at.labels ?? []].map((label) => label.innerText);
  return at.getAttribute("aria-label") || labels.join() || at.innerText || at.value || "";
}"""
RING = """() => {
  const { activeElement: at } = document;
  const looks = [null, "::after"].map((pseudo) => getComputedStyle(at, pseudo));
  const rings = looks.some(({ outlineStyle, outlineWidth }) => outlineStyle !== "none" && outlineWidth !== "0px");
  return !document.hasFocus() || (at.matches(":focus-visible") && rings); // Firefox's window without a screen never has it
}"""


def tab_to(page: Page, name: str, key: str = "Tab") -> None:
    """On, until what has the focus is named so; wherever the focus comes by, one sees it."""
    for _ in range(MANY):
        page.keyboard.press(key)
        named = page.evaluate(NAMED).strip()
        if named:
            assert page.evaluate(RING), f"nobody sees that {named!r} has the focus"
        if re.search(name, named):
            return
    raise AssertionError(f"no {name} by {key}")


def sign_in(window: Window, username: str) -> None:
    page = window.page
    page.goto(f"{window.base}/login/?next=/orders/")
    page.get_by_label("Username").focus()
    page.keyboard.type(username)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{window.base}/orders/")
    window.listening()


@in_both_browsers
def test_the_whole_story_without_a_mouse(person, demo):
    noor, mina = person().window(), person().window()
    sign_in(noor, "noor")
    sign_in(mina, "mina")
    page = mina.page

    noor.page.bring_to_front()  # Firefox takes keys in the window in front alone
    tab_to(noor.page, r"Send it off, Order 1044")
    noor.page.keyboard.press("Enter")
    page.bring_to_front()
    mina.expect_unseen(1)
    expect(mina.toasts).to_contain_text("Order 1044 is on its way")
    assert page.evaluate("document.activeElement === document.body"), "a toast takes nobody's focus"
    tab_to(page, r"^Dismiss$")
    page.keyboard.press("Escape")
    expect(mina.toasts).to_have_count(0)

    page.reload()
    mina.listening()
    tab_to(page, r"^Notifications, 1 unseen$")
    page.keyboard.press("Enter")
    mina.expect_unseen(0)
    expect(page.get_by_role("dialog", name="Notifications")).to_be_focused()
    page.keyboard.press("Escape")
    expect(mina.bell).to_be_focused()

    demo.run("halcyon.move_to('delivered', by=noor)")
    mina.expect_unseen(1)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Notifications")).to_be_focused()
    page.keyboard.press("j")
    expect(mina.rows.first).to_be_focused()
    tab_to(page, r"^It is here$")
    page.keyboard.press("Enter")
    expect(mina.rows.first).to_contain_text("You said that it is here")
    expect(mina.rows.first).not_to_have_attribute("data-unread", "")

    tab_to(page, r"^Archived")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing archived")).to_be_visible()
    tab_to(page, r"^See all notifications$")
    page.keyboard.press("Enter")
    page.wait_for_url("**/notifications/")
    mina.listening()
    tab_to(page, r"^Search notifications$")
    page.keyboard.type("on its way")
    page.keyboard.press("Enter")
    expect(mina.rows).to_have_count(1)
    tab_to(page, r"Order 1044 is on its way$")
    page.keyboard.press("Enter")
    page.wait_for_url("**/orders/1044/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
