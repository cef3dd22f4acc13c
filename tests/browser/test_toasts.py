"""Toasts: seen once, by whoever looks; gone by themselves, but not while somebody reads; louder only where somebody said so."""

import contextlib

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import expect_soon, stretched
from tests.browser.test_bell import hide, tell

LINGER = """() => {
  const { animate } = Element.prototype;
  Element.prototype.animate = function (frames, time) { return animate.call(this, frames, time === 8000 ? 600_000 : time) };
}"""
FIND = "(toast) => toast.getAnimations().find((each) => each.effect.getTiming().duration === 8000)"


def countdown(toast) -> tuple[str, float | None]:
    """Its state, and the milliseconds that have passed of it; the browser knows no animation that stands still."""
    found = toast.evaluate(
        f"(toast) => {{ const found = ({FIND})(toast); return found && [found.playState, found.currentTime] }}"
    )
    return tuple(found or ("none", None))


def nearly_over(toasts) -> None:
    toasts.evaluate_all(f"(toasts) => {{ for (const toast of toasts) ({FIND})(toast).currentTime = 7900 }}")


@pytest.fixture
def mina(person):
    """Her page, once it has heard that it missed nothing: what is told from here on is news."""
    mina = person().signed_in("mina").listening()
    expect(mina.page.locator("#socket-life")).to_contain_text("You missed nothing")
    return mina


def linger(*windows) -> None:
    """Toasts leave by themselves after ten minutes: for those who look at several, one told after the other."""
    for window in windows:
        window.page.evaluate(LINGER)


def test_a_toast_leaves_by_itself_after_eight_seconds(mina, demo):
    tell(demo, "one")
    expect(mina.toasts).to_have_count(1)
    state, spent = countdown(mina.toasts)
    assert state == "running"
    assert spent < 8000
    expect(mina.toasts).to_have_count(0, timeout=15_000)


def test_it_stays_while_somebody_points_at_it_and_starts_afresh_afterwards(mina, demo):
    tell(demo, "one", "two")
    expect(mina.toasts).to_have_count(2)
    mina.toasts.first.hover()
    for toast in mina.toasts.all():
        assert countdown(toast) == ("none", None)
    mina.page.mouse.move(5, 5)
    for toast in mina.toasts.all():
        state, spent = countdown(toast)
        assert state == "running"
        assert spent < 4000
    nearly_over(mina.toasts)
    expect(mina.toasts).to_have_count(0, timeout=5000)


def test_it_takes_no_focus_stays_while_it_has_it_and_gives_it_back(mina, demo):
    mina.bell.focus()
    tell(demo, "one")
    expect(mina.toasts).to_have_count(1)
    expect(mina.bell).to_be_focused()
    close = mina.toasts.get_by_role("button", name="Dismiss")
    close.focus()
    assert countdown(mina.toasts) == ("none", None)
    mina.page.keyboard.press("Escape")
    expect(mina.toasts).to_have_count(0)
    expect(mina.bell).to_be_focused()


def test_there_are_never_more_than_three(mina, demo):
    linger(mina)
    for title in ("one", "two", "three", "four"):
        tell(demo, title)
        expect(mina.toasts.last).to_contain_text(title)
    expect(mina.toasts).to_have_count(3)
    expect(mina.toasts.first).to_contain_text("two")
    mina.toasts.first.get_by_role("button", name="Dismiss").focus()
    tell(demo, "five")
    expect(mina.toasts.last).to_contain_text("five")
    expect(mina.toasts).to_have_count(3)
    expect(mina.toasts.first.get_by_role("button", name="Dismiss")).to_be_focused()
    expect(mina.toasts.first).to_contain_text("two")


def test_a_site_that_says_no_gets_none(mina, demo):
    mina.page.evaluate("() => { document.addEventListener('notifications:new', (event) => event.preventDefault()) }")
    tell(demo, "one")
    mina.expect_unseen(1)
    expect(mina.rows).to_have_count(1)
    mina.page.wait_for_timeout(800)  # longer than any tab waits for another
    expect(mina.toasts).to_have_count(0)


def test_what_was_read_elsewhere_needs_no_toast_any_more(mina, demo):
    tell(demo, "one", "two")
    expect(mina.toasts).to_have_count(2)
    demo.run(
        "from notifications.inbox import read_page\nfrom notifications.steps import mark\n"
        "mark(mina.pk, 'read', ids=[read_page(mina.pk).items[0].id])"
    )
    expect(mina.toasts).to_have_count(1)
    demo.run("from notifications.steps import mark\nmark(mina.pk, 'read', upto=2)")
    expect(mina.toasts).to_have_count(0)


# One of several tabs


@pytest.fixture
def tabs(person):
    """Three tabs of Mina's browser."""
    mina = person()
    return [mina.signed_in("mina").listening(), mina.window("/orders/").listening(), mina.window("/bells/").listening()]


def without_focus(tab) -> None:
    """It waits for the one that has it, and longer than usual: that one may be late."""
    tab.page.evaluate("() => { document.hasFocus = () => false }")
    tab.page.evaluate(stretched(200, to=2000))


def shown(tabs, wait: float = 800) -> list[int]:
    tabs[0].page.wait_for_timeout(wait)  # by then the last of them has asked
    return [tab.toasts.count() for tab in tabs]


def soon(tabs, number: int) -> None:
    """So many are shown, wherever it is."""
    expect_soon(tabs[0].page, lambda: sum(tab.toasts.count() for tab in tabs) == number)


def test_of_several_tabs_one_shows_it(tabs, demo):
    linger(*tabs)
    for count, title in enumerate(("one", "two", "three"), start=1):
        tell(demo, title)
        for tab in tabs:
            tab.expect_unseen(count)
    soon(tabs, 3)
    assert sum(shown(tabs)) == 3


def test_it_is_the_one_that_has_the_focus(tabs, demo):
    for tab in (tabs[0], tabs[2]):
        without_focus(tab)
    tell(demo, "one", "two")
    expect(tabs[1].toasts).to_have_count(2)
    assert shown(tabs, 2600) == [0, 2, 0]


def test_without_web_locks_every_visible_tab_shows_it(tabs, demo):
    for tab in tabs:
        tab.page.evaluate("() => { Object.defineProperty(navigator, 'locks', { value: undefined }) }")
    hide(tabs[2].page)
    tell(demo, "one")
    expect(tabs[0].toasts).to_have_count(1)
    expect(tabs[1].toasts).to_have_count(1)
    assert shown(tabs) == [1, 1, 0]


def test_what_came_while_nobody_looked_is_one_toast_in_the_tab_that_is_looked_at_first(tabs, demo):
    for tab in tabs:
        hide(tab.page)
    for count, title in enumerate(("one", "two", "three"), start=1):
        tell(demo, title)
        for tab in tabs:
            tab.expect_unseen(count)
    assert shown(tabs) == [0, 0, 0]
    hide(tabs[1].page, False)
    expect(tabs[1].toasts).to_have_count(1)
    for tab in (tabs[0], tabs[2]):
        tab.until("localStorage['notifications-shown']?.endsWith(' 3')")
        hide(tab.page, False)
    assert shown(tabs) == [0, 1, 0]
    expect(tabs[1].toasts).to_contain_text("3 while you were away")
    expect(tabs[1].toasts).to_contain_text("three")


def test_what_was_seen_meanwhile_on_another_device_is_not_told_any_more(mina, demo):
    hide(mina.page)
    tell(demo, "one", "two")
    mina.expect_unseen(2)
    demo.run("from notifications.steps import mark_seen\nmark_seen(mina.pk, 2)")
    mina.expect_unseen(0)
    tell(demo, "three")
    mina.expect_unseen(1)
    hide(mina.page, False)
    expect(mina.toasts).to_contain_text("1 while you were away")
    expect(mina.toasts).to_contain_text("three")


# Louder

SYSTEM = """
  window.notes = [];
  class Note extends EventTarget {
    static permission = "default";
    static requestPermission = async () => (Note.permission = "granted");
    constructor(title, options) { super(); Object.assign(this, { title, options, isOpen: true }); notes.push(this); }
    close() { this.isOpen = false; this.onclose?.(); }
  }
  window.Notification = Note;
"""
NOTES = "notes.filter((note) => note.isOpen).map(({ title, options }) => [title, options.body ?? '', options.tag])"


@contextlib.contextmanager
def opened_bell(window):
    window.bell.click()
    yield window.page.locator(".notifications-panel")
    window.bell.click()


@pytest.fixture
def desktop(person, demo):
    """Mina's browser, whose operating system the test looks at."""
    mina = person()
    mina.context.add_init_script(SYSTEM)
    return mina


def test_the_system_is_asked_after_a_click_only_and_shows_at_once_how_it_will_look(desktop):
    mina = desktop.signed_in("mina").listening()
    assert mina.page.evaluate("Notification.permission") == "default"
    with opened_bell(mina) as panel:
        switch = panel.get_by_role("button", name="Notify me on this device")
        expect(switch).to_have_attribute("aria-pressed", "false")
        switch.click()
        expect(switch).to_have_attribute("aria-pressed", "true")
    assert mina.page.evaluate("notes.map(({ title }) => title)") == ["New notifications will show like this"]


def switched_on(desktop):
    mina = desktop.signed_in("mina").listening()
    with opened_bell(mina) as panel:
        switch = panel.get_by_role("button", name="Notify me on this device")
        switch.click()
        expect(switch).to_have_attribute("aria-pressed", "true")
    mina.page.evaluate("notes.length = 0")
    return mina


def test_the_system_tells_it_while_no_tab_is_visible_and_one_tab_asks_it_to(desktop, demo):
    one = switched_on(desktop)
    two = desktop.window("/bells/").listening()
    two.page.evaluate("Notification.permission = 'granted'")
    tell(demo, "seen in the page")
    two.expect_unseen(1)
    soon([one, two], 1)
    assert sum(shown([one, two])) == 1
    assert [*one.page.evaluate(NOTES), *two.page.evaluate(NOTES)] == []
    for tab in (one, two):
        hide(tab.page)
    tell(demo, "told by the system")
    for tab in (one, two):
        tab.expect_unseen(2)
    expect_soon(one.page, lambda: any(tab.page.evaluate("notes.length") for tab in (one, two)))
    one.page.wait_for_timeout(800)  # by then the other one has asked
    told = [*one.page.evaluate(NOTES), *two.page.evaluate(NOTES)]
    ((title, _, tag),) = told
    assert title == "told by the system"
    assert tag == demo.run("from notifications.inbox import read_page\nprint(read_page(mina.pk).items[0].id)").strip()


def test_it_goes_when_it_was_read_elsewhere_and_when_somebody_comes_back(desktop, demo):
    mina = switched_on(desktop)
    hide(mina.page)
    tell(demo, "one")
    mina.expect_unseen(1)
    tell(demo, "two")
    mina.expect_unseen(2)
    mina.until("notes.length === 2")
    assert [title for title, *_ in mina.page.evaluate(NOTES)] == ["one", "two"]
    demo.run("from notifications.steps import mark\nmark(mina.pk, 'read', upto=1)")
    expect(mina.page.locator("[data-id][data-unread]")).to_have_count(1)
    assert [title for title, *_ in mina.page.evaluate(NOTES)] == ["two"]
    hide(mina.page, False)
    assert mina.page.evaluate(NOTES) == []


def test_a_click_on_it_leads_to_the_page_and_marks_it_read(desktop, demo):
    mina = switched_on(desktop)
    hide(mina.page)
    demo.run("from notifications import notify\nnotify('order.status', to=mina, title='one', body='more', url='/orders/1044/')")
    mina.expect_unseen(1)
    mina.until("notes.length === 1")
    ((title, body, _),) = mina.page.evaluate(NOTES)
    assert (title, body) == ("one", "more")
    with mina.page.expect_navigation(url="**/orders/1044/"):
        mina.page.evaluate("() => notes[0].onclick()")
    mina.listening()
    expect(mina.page.locator("notification-list [data-id]")).to_have_count(1)
    expect(mina.page.locator("[data-id][data-unread]")).to_have_count(0)


def test_a_click_on_one_with_a_hostile_link_leads_nowhere(desktop, demo):
    mina = switched_on(desktop)
    hide(mina.page)
    demo.run("from notifications import notify\nnotify('order.status', to=mina, title='one', url='javascript:alert(3)')")
    mina.expect_unseen(1)
    mina.until("notes.length === 1")
    mina.stay()
    mina.page.evaluate("() => notes[0].onclick()")
    mina.page.wait_for_timeout(200)  # one that led somewhere would be under way
    assert mina.has_stayed
    expect(mina.toasts.locator("a[href]")).to_have_count(0)


def test_a_browser_that_shows_none_from_a_page_lets_nobody_switch_it_on(desktop):
    """As those of phones, which have them for service workers only."""
    mina = desktop.signed_in("mina").listening()
    mina.page.evaluate("""() => {
      const { permission, requestPermission } = Notification;
      window.Notification = Object.assign(() => {}, { permission, requestPermission }); // no constructor
    }""")
    with opened_bell(mina) as panel:
        switch = panel.get_by_role("button", name="Notify me on this device")
        switch.click()
        mina.until("localStorage['notifications-browser'] === 'off'")
        expect(switch).to_have_attribute("aria-pressed", "false")


def test_who_has_refused_is_not_asked_again(desktop):
    mina = desktop.signed_in("mina")
    mina.page.evaluate("Notification.permission = 'denied'")
    with opened_bell(mina) as panel:
        expect(panel.get_by_role("button", name="Notify me on this device")).to_be_hidden()


PLAYS = """
  window.plays = [];
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function () {
    plays.push(new URL(this.src).pathname);
    return play.call(this);
  };
"""


def test_a_sound_is_the_persons_to_switch_on_and_remembered(person, demo):
    """The demo offers none: its toasts are given what `{% notification_toasts sound=True %}` prints."""
    mina = person()
    mina.context.add_init_script(PLAYS)
    window = mina.signed_in("mina").listening()
    ping = "/static/notifications/ping.mp3"
    assert mina.context.request.get(demo.url + ping).headers["content-type"].startswith("audio/")
    with opened_bell(window) as panel:
        expect(panel.get_by_role("button", name="Sound")).to_be_hidden()
    linger(window)
    window.page.locator("notification-toasts").evaluate(f"(toasts) => toasts.setAttribute('sound', '{ping}')")
    tell(demo, "one")
    expect(window.toasts).to_have_count(1)
    assert window.page.evaluate("plays") == []
    with opened_bell(window) as panel:
        switch = panel.get_by_role("button", name="Sound")
        expect(switch).to_have_attribute("aria-pressed", "false")
        switch.click()
        expect(switch).to_have_attribute("aria-pressed", "true")
        assert window.page.evaluate("plays") == [ping]
    tell(demo, "two")
    expect(window.toasts).to_have_count(2)
    assert window.page.evaluate("plays") == [ping] * 2

    window.page.reload()
    window.listening()
    linger(window)
    window.page.locator("notification-toasts").evaluate(f"(toasts) => toasts.setAttribute('sound', '{ping}')")
    tell(demo, "three")
    expect(window.toasts).to_have_count(1)
    assert window.page.evaluate("plays") == [ping], "one that the browser may still forbid, which is no error"
    with opened_bell(window) as panel:
        panel.get_by_role("button", name="Sound").click()
        expect(panel.get_by_role("button", name="Sound")).to_have_attribute("aria-pressed", "false")
    tell(demo, "four")
    expect(window.toasts).to_have_count(2)
    assert window.page.evaluate("plays") == [ping]


def test_where_nothing_can_be_remembered_toasts_show_all_the_same(person, demo):
    mina = person()
    mina.context.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no') } })")
    window = mina.signed_in("mina").listening()
    tell(demo, "one")
    expect(window.toasts).to_have_count(1)
    hide(window.page)
    tell(demo, "two")
    window.expect_unseen(2)
    hide(window.page, False)
    expect(window.toasts.last).to_contain_text("1 while you were away")


# One that asks something


def delivered(demo) -> None:
    demo.run("halcyon.move_to('delivered', by=noor)")


def test_one_with_buttons_stays_until_it_is_dismissed_and_outlasts_those_without(mina, demo):
    linger(mina)
    delivered(demo)
    asks = mina.toasts.filter(has=mina.page.get_by_role("button", name="It is here"))
    expect(asks).to_be_visible()
    assert countdown(asks) == ("none", None)
    mina.page.mouse.move(5, 5)
    assert countdown(asks) == ("none", None)
    for title in ("one", "two", "three"):
        tell(demo, title)
        expect(mina.toasts.last).to_contain_text(title)
    expect(mina.toasts).to_have_count(3)
    expect(mina.toasts.first.get_by_role("button", name="It is here")).to_be_visible()
    asks.get_by_role("button", name="Dismiss").click()
    expect(asks).to_have_count(0)


def test_its_button_posts_in_place_and_the_answer_stands_in_the_list(mina, demo):
    mina.stay()
    delivered(demo)
    mina.toasts.get_by_role("button", name="It is here", exact=True).click()
    expect(mina.toasts).to_have_count(0)
    with opened_bell(mina) as panel:
        expect(panel.locator("[data-part=answer]:visible")).to_have_count(1)
        expect(panel.get_by_role("button", name="It is here")).to_have_count(0)
    assert mina.has_stayed
    assert demo.run("print(halcyon.comments.filter(author=mina, body__startswith='It is here').count())").strip() == "1"


def test_a_button_that_fails_says_so_and_can_be_pressed_again(mina, demo):
    delivered(demo)
    button = mina.toasts.get_by_role("button", name="It is here", exact=True)
    mina.page.route("**/orders/1044/**", lambda route: route.abort())
    button.click()
    expect(mina.toasts.get_by_role("alert")).to_have_text("Couldn't do that. Try again.")
    mina.page.unroute("**/orders/1044/**")
    button.click()
    expect(mina.toasts).to_have_count(0)


def test_answered_in_another_tab_it_asks_no_longer(tabs, demo):
    for tab in (tabs[1], tabs[2]):
        without_focus(tab)
    delivered(demo)
    expect(tabs[0].toasts).to_have_count(1)
    tabs[1].bell.click()
    tabs[1].page.locator(".notifications-panel").get_by_role("button", name="It is here", exact=True).click()
    expect(tabs[0].toasts).to_have_count(0)
