"""The list, in the bell's panel and on its page: tabs, what waits above, what is further down, keys, second thoughts, actions."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import expect_soon, in_both_browsers, stretched

TELL = """
from notifications import notify
for number in range({first}, {last} + 1):
    notify('order.status', to=mina, title=f'Order {{number}} moved', actor='Noor', url='/orders/1044/')
"""
IS_WHOLE = """(element) => {
  const { left, right, top, height } = element.getBoundingClientRect();
  const heights = Array.from({ length: Math.floor(height / 8) - 1 }, (_, step) => top + 8 * (step + 1));
  return heights.every((y) => [left + 8, right - 8].every((x) => element.contains(document.elementFromPoint(x, y))));
}"""


def tell(demo, first, last=None):
    demo.run(TELL.format(first=first, last=last or first))


@pytest.fixture
def told(demo):
    """The orders 1 to 30 have moved: the first page shows the newest twenty."""
    tell(demo, 1, 30)


@pytest.fixture
def mina(person, told):
    """Mina's inbox page."""
    return person().signed_in("mina", "/notifications/").listening()


@pytest.fixture
def panel(person, told):
    """The same in the bell's panel, on another page."""
    return opened(person().signed_in("mina", "/orders/"))


def opened(window):
    window.listening().bell.click()
    expect(window.page.locator(".notifications-panel")).to_be_focused()
    return window


def row(window, number):
    return window.rows.filter(has_text=re.compile(rf"Order {number} moved"))


def part(window, name):
    return window.page.locator("notification-list").last.locator(f"[data-part={name}]")


def note(window, text):
    return window.page.locator("notification-list").last.locator(".notifications-note", has_text=text)


def expect_unread(row, is_unread=True):
    if is_unread:
        expect(row).to_have_attribute("data-unread", "")
    else:
        expect(row).not_to_have_attribute("data-unread", "")


def from_menu(row, name):
    row.locator("summary").click()
    row.locator("details").get_by_role("button", name=name, exact=True).click()


def expect_whole(element):
    """Nothing lies over it, nor does it reach beyond what is seen."""
    expect_soon(element.page, lambda: element.evaluate(IS_WHOLE))


def press(window, *keys):
    for key in keys:
        window.page.keyboard.press(key)


# --- What is further down ---


def test_the_next_rows_come_by_themselves_as_one_gets_near(mina):
    expect(mina.rows).to_have_count(20)
    mina.stay()
    mina.rows.last.scroll_into_view_if_needed()
    expect(mina.rows).to_have_count(30)
    expect(mina.rows.last).to_contain_text("Order 1 moved")
    expect(part(mina, "more")).to_be_hidden()
    assert mina.has_stayed


def test_load_more_is_a_link_that_works_without_javascript(person, told):
    plain = person(java_script_enabled=False).signed_in("mina", "/notifications/")
    part(plain, "more").click()
    expect(plain.rows).to_have_count(10)
    expect(plain.rows.first).to_contain_text("Order 10 moved")


def test_what_could_not_be_loaded_is_tried_again_on_demand(mina):
    mina.page.route("**/items/*", lambda route: route.abort())
    mina.rows.last.scroll_into_view_if_needed()
    error = note(mina, "Couldn't load.")
    expect(error).to_be_in_viewport()
    expect(mina.rows).to_have_count(20)
    mina.page.unroute("**/items/*")
    error.get_by_role("button", name="Try again").click()
    expect(mina.rows).to_have_count(30)
    expect(error).to_be_hidden()


def test_a_fresh_first_page_clears_what_could_not_be_loaded(mina, demo):
    mina.page.route("**/items/*", lambda route: route.abort())
    mina.rows.last.scroll_into_view_if_needed()
    error = note(mina, "Couldn't load.")
    expect(error).to_be_in_viewport()
    mina.page.unroute("**/items/*")
    demo.run("from notifications.models import Inbox; Inbox.objects.filter(pk=mina.pk).update(epoch='restored')")
    expect(error).to_be_hidden()
    expect(mina.rows).to_have_count(30)


def test_a_list_that_has_been_followed_down_stays_as_deep_when_the_server_is_asked_again(mina, demo):
    mina.rows.last.scroll_into_view_if_needed()
    expect(mina.rows).to_have_count(30)
    mina.page.route("**/mark/", lambda route: route.fulfill(status=500))
    mina.page.evaluate("() => document.querySelector('notification-list:last-of-type').refresh()")
    expect(mina.rows).to_have_count(30)


# --- What waits above ---


def test_new_ones_wait_behind_a_button_while_one_reads_further_down(panel, demo):
    panel.rows.nth(8).evaluate("row => row.scrollIntoView()")
    top = panel.rows.nth(8).bounding_box()
    tell(demo, 31, 33)
    fresh = panel.page.get_by_role("button", name="3 new")
    expect(fresh).to_be_in_viewport()
    assert row(panel, 22).bounding_box() == top, "what is being read has not moved"
    expect(row(panel, 33)).to_be_hidden()
    fresh.click()
    expect(row(panel, 33)).to_be_in_viewport()
    expect(row(panel, 33)).to_be_focused()
    expect(fresh).to_be_hidden()


def test_they_wait_for_who_works_in_a_row_that_is_not_the_first(mina, demo):
    row(mina, 29).focus()
    tell(demo, 31)
    expect(mina.page.get_by_role("button", name="1 new")).to_be_visible()
    row(mina, 30).focus()
    tell(demo, 32)
    expect(row(mina, 32)).to_be_visible()
    expect(row(mina, 31)).to_be_visible()


def test_scrolling_back_to_the_top_shows_what_waited(mina, demo):
    mina.page.evaluate("scrollTo(0, 900)")
    tell(demo, 31)
    expect(mina.page.get_by_role("button", name="1 new")).to_be_in_viewport()
    mina.page.evaluate("scrollTo(0, 0)")
    expect(row(mina, 31)).to_be_visible()
    expect(mina.page.get_by_role("button", name="1 new")).to_have_count(0)


def test_they_go_in_at_once_for_who_looks_at_the_top(mina, demo):
    tell(demo, 31)
    expect(row(mina, 31)).to_be_in_viewport()
    expect(mina.rows.first).to_contain_text("Order 31 moved")


# --- Tabs ---


def test_tabs_switch_the_list_in_place_and_tell_how_many_there_are(panel, demo):
    panel.stay()
    tabs = panel.page.get_by_role("navigation", name="Show")
    expect(tabs.get_by_role("link")).to_have_text(["All", "Unread 30", "Archived"])
    row(panel, 30).get_by_role("button", name="Mark as read").first.click()
    expect(tabs.get_by_role("link", name="Unread")).to_have_text("Unread 29")
    from_menu(row(panel, 29), "Archive")
    expect(row(panel, 29)).to_have_count(0)
    expect(tabs.get_by_role("link", name="Unread")).to_have_text("Unread 28")  # the server has heard

    tabs.get_by_role("link", name="Archived").click()
    expect(tabs.get_by_role("link", name="Archived")).to_have_attribute("aria-current", "true")
    expect(panel.rows).to_have_count(1)
    expect(row(panel, 29)).to_be_visible()
    expect(tabs.get_by_role("link")).to_have_text(["All 29", "Unread 28", "Archived 1"])
    from_menu(row(panel, 29), "Move to inbox")
    expect(panel.page.get_by_text("Nothing archived")).to_be_visible()
    expect(tabs.get_by_role("link")).to_have_text(["All", "Unread 29", "Archived"])  # no number is better than a wrong one

    tabs.get_by_role("link", name="Unread").click()
    expect(tabs.get_by_role("link")).to_have_text(["All 30", "Unread 29", "Archived 0"])
    expect(panel.rows).to_have_count(20)
    from_menu(row(panel, 28), "Mark as read")
    expect(row(panel, 28)).to_have_count(0)
    panel.rows.last.scroll_into_view_if_needed()
    expect(row(panel, 1)).to_have_count(1)
    expect(row(panel, 30)).to_have_count(0)
    expect(tabs.get_by_role("link", name="Unread")).to_have_text("Unread 28")

    tabs.get_by_role("link", name="All").click()
    expect(tabs.get_by_role("link")).to_have_text(["All 30", "Unread 28", "Archived 0"])
    row(panel, 29).get_by_role("button", name="Mark as read").first.click()
    expect(tabs.get_by_role("link")).to_have_text(["All 30", "Unread 27", "Archived 0"])
    tell(demo, 31)
    expect(tabs.get_by_role("link")).to_have_text(["All", "Unread 28", "Archived"])
    assert panel.has_stayed


def test_a_tab_opens_a_page_for_who_wants_one(panel):
    with panel.page.context.expect_page() as page:
        panel.page.get_by_role("link", name="Unread").click(modifiers=["ControlOrMeta"])
    expect(page.value).to_have_url(re.compile(r"/notifications/\?show=unread$"))


# --- Menus ---


@pytest.mark.parametrize("size", [{"width": 1280, "height": 720}, {"width": 375, "height": 667}])
@pytest.mark.parametrize("place", ["panel", "page"])
def test_the_menu_of_the_only_row_is_seen_whole_over_the_offer_to_undo(person, demo, place, size):
    tell(demo, 1, 2)
    mina = person(viewport=size)
    window = opened(mina.signed_in("mina")) if place == "panel" else mina.signed_in("mina", "/notifications/").listening()
    window.page.evaluate(stretched(8000, to=600_000))  # so long the undo is offered
    from_menu(row(window, 2), "Archive")
    expect(row(window, 2)).to_have_count(0)
    row(window, 1).locator("summary").click()
    expect(note(window, "Archived.")).to_be_visible()
    expect_whole(row(window, 1).locator(".notifications-choices"))


def test_the_menu_of_a_row_at_the_edge_is_scrolled_to(panel):
    edge = panel.page.get_by_role("link", name="See all notifications").bounding_box()["y"]
    (last,) = (each for each in panel.rows.all() if -70 < each.bounding_box()["y"] + each.bounding_box()["height"] - edge <= 0)
    last.locator("summary").click()
    expect_whole(last.locator(".notifications-choices"))


# --- Second thoughts ---


@pytest.fixture(params=["websocket", "post"])
def by_each_way(request, person, told):
    """Her panel, where commands go over the socket, and where they go by POST."""
    her = person()
    if request.param == "post":
        her.context.add_init_script("delete window.WebSocket")
    return opened(her.signed_in("mina", "/orders/"))


def test_archive_delete_and_mark_all_are_taken_back(by_each_way):
    panel = by_each_way
    from_menu(row(panel, 28), "Archive")
    expect(row(panel, 28)).to_have_count(0)
    panel.page.get_by_role("button", name="Undo archive").click()
    expect(row(panel, 28)).to_be_visible()
    expect(panel.rows.nth(2)).to_contain_text("Order 28 moved")
    expect(note(panel, "Archived.")).to_be_hidden()

    from_menu(row(panel, 27), "Delete")
    expect(row(panel, 27)).to_have_count(0)
    panel.page.get_by_role("button", name="Undo delete").click()
    expect(row(panel, 27)).to_be_visible()

    from_menu(row(panel, 26), "Mark as read")
    panel.page.get_by_role("button", name="Mark all as read").click()
    expect_unread(row(panel, 25), is_unread=False)
    panel.page.get_by_role("button", name="Undo mark all as read").click()
    expect_unread(row(panel, 25))
    expect_unread(row(panel, 26), is_unread=False)


def test_who_takes_it_back_at_once_waits_for_the_server(panel, demo):
    demo.server.suspend()
    row(panel, 28).focus()
    press(panel, "e")
    expect(row(panel, 28)).to_have_count(0)
    expect(row(panel, 27)).to_be_focused()
    press(panel, "z")
    expect(note(panel, "Archived.")).to_be_hidden()
    demo.server.resume()
    expect(row(panel, 28)).to_be_visible()


def test_an_undo_is_offered_for_a_while_longer_while_somebody_points_at_it(panel):
    panel.page.clock.install()
    from_menu(row(panel, 28), "Archive")
    undo = panel.page.get_by_role("button", name="Undo archive")
    undo.hover()
    panel.page.clock.run_for(20_000)
    expect(undo).to_be_visible()
    panel.page.mouse.move(0, 0)
    panel.page.clock.run_for(1_000)
    expect(undo).to_be_hidden()


def test_what_is_done_shows_before_the_server_has_answered(panel, demo):
    demo.server.suspend()
    from_menu(row(panel, 30), "Mark as read")
    expect_unread(row(panel, 30), is_unread=False)
    from_menu(row(panel, 29), "Delete")
    expect(row(panel, 29)).to_have_count(0)
    panel.page.get_by_role("button", name="Mark all as read").click()
    expect(panel.page.get_by_role("link", name="Unread")).to_have_text("Unread 0")
    demo.server.resume()
    panel.page.reload()
    opened(panel)
    expect_unread(row(panel, 28), is_unread=False)
    expect(row(panel, 29)).to_have_count(0)


def test_what_the_server_refuses_is_put_right_and_said(person, told):
    her = person()
    her.context.add_init_script("delete window.WebSocket")
    panel = opened(her.signed_in("mina", "/orders/"))
    panel.page.route("**/mark/", lambda route: route.fulfill(status=403))
    from_menu(row(panel, 28), "Archive")
    expect(note(panel, "Couldn't save. Try again.")).to_be_in_viewport()
    expect(row(panel, 28)).to_be_visible()
    expect(note(panel, "Archived.")).to_be_hidden()
    panel.page.unroute("**/mark/")
    from_menu(row(panel, 28), "Archive")
    expect(note(panel, "Couldn't save. Try again.")).to_be_hidden()


# --- Keys ---


def test_the_whole_story_by_keyboard_alone(person, demo, told):
    panel = person().signed_in("mina", "/bells/").listening()
    panel.bell.focus()
    press(panel, "Enter")
    expect(panel.page.get_by_role("dialog", name="Notifications")).to_be_focused()
    press(panel, "j")
    expect(row(panel, 30)).to_be_focused()
    press(panel, "k")
    expect(row(panel, 30)).to_be_focused()  # and nothing has raised
    press(panel, "j", "PageDown", "k")
    expect(row(panel, 29)).to_be_focused()
    press(panel, "r")
    expect_unread(row(panel, 29), is_unread=False)
    press(panel, "u")
    expect_unread(row(panel, 29))

    press(panel, "e")
    expect(row(panel, 29)).to_have_count(0)
    expect(row(panel, 28)).to_be_focused()
    press(panel, "z")
    expect(row(panel, 29)).to_be_visible()
    press(panel, "Delete")
    expect(row(panel, 28)).to_have_count(0)
    expect(row(panel, 27)).to_be_focused()
    press(panel, "z")
    expect(row(panel, 28)).to_be_visible()
    press(panel, "Shift+A")
    expect_unread(row(panel, 26), is_unread=False)
    press(panel, "z")
    expect_unread(row(panel, 26))
    expect(row(panel, 27)).to_be_focused()

    press(panel, "?")
    help_ = panel.page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(help_).to_be_visible()
    expect(help_).to_be_focused()
    press(panel, "Escape")
    expect(help_).to_be_hidden()
    expect(row(panel, 27)).to_be_focused()

    press(panel, "Tab", "Tab", "Enter")
    expect(row(panel, 27).get_by_role("button", name="Archive")).to_be_visible()
    press(panel, "Escape")
    expect(row(panel, 27).get_by_role("button", name="Archive")).to_be_hidden()
    expect(row(panel, 27).locator("summary")).to_be_focused()

    press(panel, "Control+End", "Tab")
    expect(panel.page.get_by_role("link", name="See all notifications")).to_be_focused()
    press(panel, "Shift+Tab")  # to "Load more", which goes with what it brings
    expect(row(panel, 10)).to_be_focused()
    press(panel, "Control+Home", "k", "j", "Enter")
    expect(panel.page).to_have_url(re.compile(r"/orders/1044/$"))
    opened(panel)
    panel.rows.last.scroll_into_view_if_needed()
    expect_unread(row(panel, 10), is_unread=False)
    press(panel, "Escape")
    expect(panel.bell).to_be_focused()


@pytest.mark.parametrize("size", [{"width": 1280, "height": 720}, {"width": 375, "height": 667}])
def test_whatever_row_the_keys_lead_to_is_seen_whole(person, told, size):
    panel = opened(person(viewport=size).signed_in("mina", "/orders/"))
    for key, number in (*(("j", 30 - down) for down in range(12)), *(("k", 20 + up) for up in range(11))):
        press(panel, key)
        expect(row(panel, number)).to_be_focused()
        expect_whole(row(panel, number))


def test_the_keys_lead_on_past_the_last_row(mina):
    mina.rows.last.focus()
    expect(mina.rows).to_have_count(30)
    press(mina, "j")
    expect(row(mina, 10)).to_be_focused()


def test_a_row_tells_its_name_and_place(mina):
    first = mina.page.get_by_role("feed", name="Notifications").last.get_by_role("article", name="Order 30 moved")
    expect(first).to_have_attribute("aria-posinset", "1")
    expect(first).to_have_attribute("aria-setsize", "-1")
    mina.rows.last.scroll_into_view_if_needed()
    expect(mina.rows).to_have_count(30)
    expect(mina.rows.last).to_have_attribute("aria-posinset", "30")
    expect(first).to_have_attribute("aria-setsize", "30")


def test_keys_are_for_the_list_alone_and_not_for_who_writes(mina):
    press(mina, "e")
    row(mina, 30).focus()
    press(mina, "Control+e", "Alt+e", "Meta+e")
    row(mina, 30).evaluate("row => row.querySelector('.notifications-text').append(document.createElement('textarea'))")
    mina.rows.locator("textarea").focus()
    press(mina, "e", "Delete")
    expect(mina.rows.locator("textarea")).to_have_value("e")
    expect(row(mina, 30)).to_be_visible()


def test_who_wants_no_keys_switches_them_off_for_good(mina):
    row(mina, 30).focus()
    press(mina, "?")
    switch = mina.page.get_by_role("dialog", name="Keyboard shortcuts").get_by_role("checkbox")
    switch.focus()
    press(mina, "Enter")
    expect(mina.page.locator("main [data-unread]")).to_have_count(20)  # the form around it was not meant
    switch.uncheck()
    press(mina, "Escape", "e", "j")
    expect(row(mina, 30)).to_be_focused()
    expect(mina.rows).to_have_count(20)
    mina.page.reload()
    mina.listening()
    row(mina, 30).focus()
    press(mina, "e", "?")
    expect(mina.rows).to_have_count(20)
    mina.page.get_by_role("button", name="Keyboard shortcuts").last.click()
    mina.page.get_by_role("dialog", name="Keyboard shortcuts").get_by_role("checkbox").check()
    press(mina, "Escape")
    row(mina, 30).focus()
    press(mina, "j")
    expect(row(mina, 29)).to_be_focused()


# --- The focus ---


def in_menu(row):
    """The first choice of the row's menu, which is open."""
    row.locator("summary").click()
    return row.locator("details button:visible").first


@in_both_browsers
def test_what_goes_away_leaves_the_focus_beside_it(person, demo, told):
    panel = opened(person().signed_in("mina", "/orders/"))
    part(panel, "mark-all").focus()
    press(panel, "Enter")
    expect(part(panel, "mark-all")).to_be_hidden()
    expect(part(panel, "head")).to_be_focused()
    panel.page.get_by_role("button", name="Undo mark all as read").focus()
    press(panel, "Enter")
    expect_unread(row(panel, 28))
    expect(part(panel, "notes")).to_be_focused()

    in_menu(row(panel, 28)).focus()
    demo.run("from notifications.steps import mark\nmark(mina.pk, 'read', upto=30)")
    expect_unread(row(panel, 28), is_unread=False)
    expect(row(panel, 28)).to_be_focused()

    tell(demo, 31)
    expect(part(panel, "fresh")).to_be_visible()
    part(panel, "fresh").focus()
    panel.page.locator("notification-list").evaluate("list => list.scrollTo(0, 9)")
    expect(part(panel, "fresh")).to_be_hidden()
    expect(part(panel, "items")).to_be_focused()


# --- Days ---


def test_days_are_the_readers_own(person, demo, told):
    demo.run(
        "from datetime import timedelta\n"
        "from django.utils import timezone\n"
        "from notifications.models import Event\n"
        "noon = timezone.now().replace(hour=12, minute=0)\n"
        "for ago, event in enumerate(Event.objects.order_by('-pk')):\n"
        "    event.created_at = noon - timedelta(days=ago // 4, hours=ago % 4)\n"
        "    event.save()\n"
    )
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        mina = person(timezone_id=zone).signed_in("mina", "/notifications/").listening()
        days = mina.page.locator("main .notifications-day")
        expected = mina.page.evaluate(
            """() => [...document.querySelectorAll('main [data-id] time')].map(time => new Date(time.dateTime).toDateString())"""
        )
        expect(days).to_have_count(len(set(expected)))
        said = mina.page.evaluate("() => [...document.querySelectorAll('main [data-day]')].map(day => day.dataset.day)")
        wanted = mina.page.evaluate("days => [...new Set(days)].map(day => new Date(day).toLocaleDateString('sv'))", expected)
        assert said == wanted


# --- Actions ---


@pytest.fixture
def asked(person, demo):
    """Mina is asked whether her order is there."""
    demo.run("halcyon.move_to('shipped', by=noor)\nhalcyon.move_to('delivered', by=noor)")
    return person().signed_in("mina", "/notifications/").listening()


def test_an_action_is_answered_in_place_and_in_every_tab(asked):
    other = opened(asked_again(asked))
    asked.stay()
    asked.rows.first.get_by_role("button", name="It is here").click()
    for window in (asked, other):
        expect(window.rows.first.locator("[data-part=answer]")).to_be_visible()
        expect(window.rows.first.get_by_role("button", name="It is here")).to_have_count(0)
    expect(asked.rows.first).to_be_focused()
    assert asked.has_stayed


def asked_again(window):
    page = window.page.context.new_page()
    page.goto(f"{window.base}/orders/")
    return type(window)(page, window.base)


def test_an_action_that_arrives_has_its_buttons(person, demo):
    mina = person().signed_in("mina", "/notifications/").listening()
    demo.run("halcyon.move_to('shipped', by=noor)\nhalcyon.move_to('delivered', by=noor)")
    mina.rows.first.get_by_role("button", name="It is not here").click()
    expect(mina.rows.first.locator("[data-part=answer]")).to_be_visible()


def test_an_action_that_failed_says_so_at_its_row_and_can_be_tried_again(asked):
    pressed = []

    def keep(route):
        pressed.append(route)

    yes = asked.rows.first.get_by_role("button", name="It is here")
    address = yes.get_attribute("formaction")
    asked.page.route(f"**{address}", keep)
    with asked.page.expect_request(f"**{address}"):
        yes.click()
    expect(yes).to_have_attribute("aria-disabled", "true")
    yes.click(force=True)
    asked.page.wait_for_timeout(100)
    assert len(pressed) == 1, "a busy button does nothing"
    assert "csrfmiddlewaretoken" in pressed[0].request.post_data
    pressed[0].fulfill(status=500)
    expect(asked.rows.first.get_by_role("alert")).to_have_text("Couldn't do that. Try again.")
    expect(yes).not_to_have_attribute("aria-disabled", "true")
    asked.page.unroute(f"**{address}")
    yes.click()
    expect(asked.rows.first.locator("[data-part=answer]")).to_be_visible()
    expect(asked.rows.first.get_by_role("alert")).to_have_count(0)


def test_an_action_leads_to_this_site_only(asked):
    """What a template or a wire may say: the token goes nowhere else."""
    asked.page.evaluate(
        """urls => {
          const row = document.querySelector("main [data-id]");
          const item = { id: Number(row.dataset.id), number: 99, stamp: 9999, kind: "x", severity: "info", title: "x", body: "",
            url: "", icon: "", actor: "", target: "", created_at: new Date().toISOString(), read: false, archived: false,
            answer: "", actions: urls.map(url => ({ label: "Press", url, primary: false })) };
          const detail = { items: [item], ops: [], reset: false, unread: 1, unseen: 0, seenUpto: 0 };
          document.dispatchEvent(new CustomEvent("notifications:changed", { detail }));
        }""",
        ["//evil.example/", "/\\evil.example/", "/\t/evil.example/", "https://evil.example/", "javascript:alert(1)", "/orders/"],
    )
    expect(asked.rows.first.get_by_role("button", name="Press")).to_have_count(1)
    assert asked.rows.first.get_by_role("button", name="Press").evaluate("button => button.formAction") == f"{asked.base}/orders/"


# --- What it says of itself ---


def test_offline_says_since_when_and_moves_nothing(mina, demo):
    place = row(mina, 25).bounding_box()
    mina.page.evaluate("Object.defineProperty(navigator, 'onLine', { get: () => false })")
    demo.server.kill()
    expect(note(mina, re.compile(r"^Offline, as of \d{1,2}:\d\d"))).to_be_in_viewport()
    assert row(mina, 25).bounding_box() == place


def test_signed_out_says_so_with_the_way_in(mina, demo):
    demo.run("mina.set_password('another-bell-rings')\nmina.save()")
    expect(note(mina, "Signed out.").get_by_role("link", name="Sign in again")).to_be_in_viewport()
