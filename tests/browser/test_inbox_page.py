"""The inbox page as a reader meets it who has no JavaScript, a small window, a printer: filters, days, tabs."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import Window

FILLED = """
from notifications import notify
LONG = "A bell of " + "very " * 80 + "heavy bronze"
for number in range(30):
    severity = "success" if number % 3 else None
    notify("order.status", to=mina, title=f"Order {number} is on its way", url="/orders/1044/", severity=severity)
notify("order.comment", to=mina, title=LONG, body=LONG)
notify("order.paid", to=mina, title="Your card was declined", body="Please use another one.", severity="error")
"""
STATES = ["", "?kind=order.status&severity=success&q=way", "?q=zebra", "?show=archived", "?before=9"]


@pytest.fixture
def filled(demo):
    demo.run(FILLED)
    return demo


@pytest.fixture
def plain(person) -> Window:
    """Mina with JavaScript off."""
    return person(java_script_enabled=False).signed_in("mina")


def main(window: Window):
    return window.page.get_by_role("main")


def test_a_reader_without_javascript_finds_clears_and_pages(plain, filled):
    plain.open("/notifications/")
    expect(plain.rows).to_have_count(20)
    expect(main(plain).locator(".notifications-day").first).to_be_visible()

    main(plain).get_by_label("Search notifications").fill("CARD another")
    main(plain).get_by_role("button", name="Search", exact=True).click()
    expect(plain.rows).to_have_count(1)
    expect(plain.rows).to_contain_text("Your card was declined")
    expect(plain.page).to_have_title(re.compile("^CARD another · Notifications"))

    main(plain).get_by_label("Severity").select_option("Done")
    main(plain).get_by_role("button", name="Search", exact=True).click()
    expect(plain.rows).to_have_count(0)
    expect(main(plain).get_by_text("Nothing matches")).to_be_visible()
    main(plain).get_by_role("link", name="Clear filters").click()
    expect(plain.rows).to_have_count(20)

    main(plain).get_by_label("Kind").select_option("Order status")
    main(plain).get_by_label("Search notifications").press("Enter")
    expect(plain.rows).to_have_count(20)
    main(plain).get_by_role("link", name="Unread").click()
    expect(main(plain).get_by_role("link", name="Unread")).to_have_attribute("aria-current", "page")
    main(plain).get_by_role("link", name="Load more").click()
    expect(plain.rows).to_have_count(10)
    expect(main(plain).get_by_label("Kind")).to_have_value("order.status")
    expect(main(plain).get_by_role("link", name="Unread")).to_have_attribute("aria-current", "page")

    plain.rows.first.locator("summary").click()
    plain.rows.first.get_by_role("button", name="Mark as read").first.click()
    expect(plain.rows).to_have_count(9), "and one is still on the same page of the same search"
    main(plain).get_by_role("link", name="Newest").click()
    expect(plain.rows).to_have_count(20)


def test_a_days_heading_is_no_row(person, demo):
    demo.run("from notifications import notify\nnotify('order.status', to=mina, title='the only one')")
    mina = person().signed_in("mina", "/notifications/").listening()
    mina.rows.first.locator("summary").click()
    mina.rows.first.get_by_role("button", name="Delete").click()
    expect(mina.rows).to_have_count(0)
    expect(main(mina).get_by_text("You're all caught up")).to_be_visible()


def test_a_tab_does_not_count_past_99_while_news_come_in(person, demo):
    demo.run("from notifications import notify\nfor number in range(99): notify('order.status', to=mina, title=str(number))")
    mina = person().signed_in("mina", "/notifications/").listening()
    unread = main(mina).get_by_role("link", name="Unread")
    expect(unread).to_have_text("Unread 99")
    demo.run("from notifications import notify\nnotify('order.status', to=mina, title='one more')")
    expect(unread).to_have_text("Unread 99+")
    mina.page.reload()
    expect(unread).to_have_text("Unread 99+")


@pytest.mark.parametrize("language", ["en-GB", "de-DE"])
def test_the_page_fits_a_window_of_320_pixels(person, demo, language):
    demo.run(
        "from notifications import notify\nfrom notifications.steps import mark\n"
        "for number in range(200): notify('order.status', to=mina, title='Donaudampfschifffahrtsgesellschaft' * 5)\n"
        "mark(mina.pk, 'archive', upto=100)"
    )
    mina = person(viewport={"width": 320, "height": 800}, locale=language).signed_in("mina")
    for state in STATES:
        mina.open(f"/notifications/{state}")
        assert mina.page.evaluate("document.documentElement.scrollWidth") == 320, state
        assert main(mina).get_by_role("link").filter(has_text="99+").count() == 3


@pytest.mark.parametrize(
    "options", [{}, {"color_scheme": "dark"}, {"forced_colors": "active"}, {"viewport": {"width": 320, "height": 800}}], ids=str
)
def test_the_page_has_nothing_that_axe_objects_to(person, filled, options):
    mina = person(**options).signed_in("mina")
    for state in STATES:
        mina.open(f"/notifications/{state}").listening()
        result = Axe().run(mina.page, context="main")
        assert not result.response["violations"], f"{state}: {result.generate_report()}"


HIDDEN_PIXELS = "(text) => { const box = text.closest('p'); return box.scrollHeight - box.clientHeight }"


@pytest.mark.parametrize("is_the_page", [True, False], ids=["the page", "a list elsewhere"])
def test_what_is_printed_is_rows_and_texts_in_full(person, filled, is_the_page):
    mina = person().signed_in("mina", "/notifications/?q=e")
    page = main(mina)
    expect(page.locator("article[data-id]")).to_have_count(20)
    long = page.locator("[data-part=title]", has_text="heavy bronze")
    if not is_the_page:
        page.locator(".notifications-page").evaluate("(section) => section.classList.remove('notifications-page')")
        assert long.evaluate(HIDDEN_PIXELS) > 0, "the premise: on the screen a list elsewhere cuts it"
    mina.page.emulate_media(media="print")
    for element in page.locator("button, input, select, summary, nav, form[role=search]").all():
        expect(element).to_be_hidden()
    expect(page.get_by_text("Clear filters")).to_be_hidden()
    for text in page.locator("[data-part=title]").all():
        assert text.is_visible()
        assert text.evaluate(HIDDEN_PIXELS) == 0
    day = page.locator(".notifications-day").first
    shown = day.evaluate("(day) => getComputedStyle(day, '::after').content")
    assert shown == f'"{day.get_attribute("data-day")}"', "no paper is of today"
