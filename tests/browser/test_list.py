"""The list, in the bell's panel and on its page: tabs, what waits, what is further down, keys, second thoughts, answers."""

import re

import pytest
from playwright.sync_api import expect

TELL = """
from notifications import notify
for number in range({first}, {last} + 1):
    notify('order.status', to=mina, title=f'Order {{number}} moved', actor='Noor', url='/orders/1044/')
"""


def tell(demo, first, last=None):
    demo.run(TELL.format(first=first, last=last or first))


@pytest.fixture
def mina(person, demo):
    """Mina's inbox page with the orders 1 to 30, of which it shows the newest twenty."""
    tell(demo, 1, 30)
    return person().signed_in("mina", "/notifications/").listening()


@pytest.fixture
def panel(person, demo):
    """The bell's panel on another page, open, with the same."""
    tell(demo, 1, 30)
    window = person().signed_in("mina", "/orders/").listening()
    window.bell.click()
    expect(window.page.locator(".notifications-panel")).to_be_visible()
    return window


def row(window, number):
    return window.rows.filter(has_text=re.compile(rf"Order {number} moved"))


def part(window, name):
    return window.page.locator("notification-list").last.locator(f"[data-part={name}]")


def focused(window):
    """The text of what has the focus."""
    return window.page.evaluate("document.activeElement.innerText")


def test_the_next_rows_come_by_themselves_as_one_gets_near(mina):
    expect(mina.rows).to_have_count(20)
    mina.stay()
    mina.rows.last.scroll_into_view_if_needed()
    expect(mina.rows).to_have_count(30)
    expect(mina.rows.last).to_contain_text("Order 1 moved")
    expect(part(mina, "more")).to_be_hidden()
    assert mina.has_stayed


def test_new_ones_wait_behind_a_button_while_one_reads_further_down(panel, demo):
    panel.rows.nth(8).scroll_into_view_if_needed()
    reading = panel.rows.nth(8).bounding_box()
    tell(demo, 31, 33)
    fresh = panel.page.get_by_role("button", name="3 new")
    expect(fresh).to_be_in_viewport()
    assert panel.rows.filter(visible=True).first.text_content() == row(panel, 30).text_content()
    fresh.click()
    expect(row(panel, 33)).to_be_in_viewport()
    expect(fresh).to_be_hidden()
    assert "Order 33 moved" in focused(panel)
