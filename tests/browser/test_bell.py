"""The tab tells of the unseen: its title, its icon, the badge of an installed app; and tells it no longer than that is so."""

import re

import pytest
from playwright.sync_api import expect

ICONS = "[...document.querySelectorAll('head link[rel~=icon]')].map((link) => link.getAttribute('href'))"
HEAD = "[...document.querySelectorAll('head link')].map((link) => link.outerHTML)"
OURS = "/static/notifications/bell-unseen.svg"
SITES = "/static/shop/icon.svg"
TITLE = "My orders · Hark"


def tell(demo, *titles: str) -> None:
    lines = [f"notify('order.status', to=mina, title={title!r})" for title in titles]
    demo.run("\n".join(["from notifications import notify", *lines]))


def signs(window) -> tuple[str, list[str]]:
    return window.page.title(), window.page.evaluate(ICONS)


@pytest.fixture
def mina(person):
    return person().signed_in("mina").listening()


def test_the_title_and_the_icon_of_the_tab_tell_of_the_unseen_until_the_bell_is_opened(mina, demo):
    before = mina.page.evaluate(HEAD)
    assert signs(mina) == (TITLE, [SITES])
    tell(demo, "one", "two")
    mina.expect_unseen(2)
    assert signs(mina) == (f"(2)\xa0{TITLE}", [OURS])
    mina.bell.click()
    mina.expect_unseen(0)
    assert signs(mina) == (TITLE, [SITES])
    assert mina.page.evaluate(HEAD) == before


def test_a_page_that_is_loaded_with_something_unseen_says_so_at_once(person, demo):
    tell(demo, "one")
    assert signs(person().signed_in("mina")) == (f"(1)\xa0{TITLE}", [OURS])


def test_the_icon_is_there_to_be_loaded(mina, demo):
    tell(demo, "one")
    mina.expect_unseen(1)
    answer = mina.page.context.request.get(demo.url + mina.page.evaluate(ICONS)[0])
    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")


def test_in_a_hidden_tab_too(mina, demo):
    hide(mina.page)
    tell(demo, "one")
    expect(mina.page).to_have_title(re.compile(r"^\(1\)"))
    assert signs(mina)[1] == [OURS]


def hide(page, hidden: bool = True) -> None:
    page.evaluate(
        """(state) => {
          Object.defineProperty(document, "visibilityState", { configurable: true, value: state });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        "hidden" if hidden else "visible",
    )


def test_a_site_that_changes_its_title_keeps_both_its_words_and_the_count(mina, demo):
    tell(demo, "one")
    mina.expect_unseen(1)
    for change, title in (
        ("document.title = 'Order 1044'", "Order 1044"),
        ("document.title += ' (2)'", "Order 1044 (2)"),
        ("document.querySelector('title').firstChild.data = 'Words'", "Words"),
        (
            "document.querySelector('title').replaceWith(Object.assign(document.createElement('title'), { text: 'Other' }))",
            "Other",
        ),
    ):
        mina.page.evaluate(f"() => {{ {change} }}")
        assert mina.page.title() == f"(1)\xa0{title}"
    mina.bell.click()
    mina.expect_unseen(0)
    assert mina.page.title() == "Other"


def test_a_page_put_in_the_place_of_this_one_gets_its_own_icon_back(mina, demo):
    """As Turbo does on a visit: the head's title and icon go, others come, the body is another."""
    tell(demo, "one")
    mina.expect_unseen(1)
    mina.page.evaluate("""() => {
      for (const element of document.head.querySelectorAll("title, link:not([rel=stylesheet])")) element.remove();
      document.head.insertAdjacentHTML("beforeend", '<title>Next</title><link rel="shortcut icon" href="/next.png" sizes="any">');
      document.querySelector("notification-stream").setAttribute("top", "1"); // as the other page is printed
      document.body.replaceWith(document.body.cloneNode(true));
    }""")
    assert signs(mina) == ("(1)\xa0Next", [OURS])
    mina.bell.click()
    mina.expect_unseen(0)
    assert signs(mina) == ("Next", ["/next.png"])
    assert mina.page.evaluate(HEAD)[-1] == '<link rel="shortcut icon" href="/next.png" sizes="any">'


def test_a_head_that_a_cache_has_kept_counts_as_what_it_is_and_not_twice(mina, demo):
    tell(demo, "one")
    mina.expect_unseen(1)
    mina.page.evaluate("() => { window.kept = document.head.cloneNode(true) }")
    tell(demo, "two")
    mina.expect_unseen(2)
    mina.page.evaluate("""() => {
      document.head.replaceChildren(...kept.cloneNode(true).children);
    }""")
    assert signs(mina) == (f"(2)\xa0{TITLE}", [OURS])
    mina.bell.click()
    mina.expect_unseen(0)
    assert signs(mina) == (TITLE, [SITES])


def test_two_bells_count_once_and_the_last_one_takes_it_all_with_it(mina, demo):
    before = mina.page.evaluate(HEAD)
    mina.page.evaluate("""() => {
      const bell = document.querySelector("notification-bell");
      document.querySelector("main").append(bell.cloneNode(true));
    }""")
    tell(demo, "one")
    expect(mina.page).to_have_title(re.compile(r"^\(1\)"))
    assert signs(mina) == (f"(1)\xa0{TITLE}", [OURS])
    mina.page.evaluate("() => document.querySelector('main notification-bell').remove()")
    assert signs(mina) == (f"(1)\xa0{TITLE}", [OURS])
    mina.page.evaluate("() => { window.bell = document.querySelector('notification-bell'); bell.remove() }")
    assert signs(mina) == (TITLE, [SITES])
    assert mina.page.evaluate(HEAD) == before
    mina.page.evaluate("() => { document.title = 'Alone' }")
    assert mina.page.title() == "Alone"
    mina.page.evaluate("() => { document.body.append(bell) }")
    assert signs(mina) == ("(1)\xa0Alone", [OURS])


def test_a_site_without_an_icon_gets_back_what_browsers_show_then(mina, demo):
    mina.page.evaluate("() => { document.querySelector('link[rel=icon]').remove() }")
    tell(demo, "one")
    mina.expect_unseen(1)
    assert signs(mina)[1] == [OURS]
    mina.bell.click()
    mina.expect_unseen(0)
    assert signs(mina)[1] == ["/favicon.ico"]
    mina.page.keyboard.press("Escape")
    tell(demo, "two")
    expect(mina.page).to_have_title(re.compile(r"^\(1\)"))
    assert signs(mina)[1] == [OURS]


APP = """
  window.badges = [];
  Navigator.prototype.setAppBadge = function (count) {
    badges.push(count);
    return Promise.reject(new DOMException("not installed", "NotAllowedError"));
  };
"""


def test_the_badge_of_an_installed_app_follows_and_a_browser_that_refuses_is_no_error(person, demo):
    mina = person().window()
    mina.page.add_init_script(APP)
    mina.page.context.add_cookies([{"name": "sessionid", "value": person().sessions["mina"], "url": demo.url}])
    mina.open("/orders/").listening()
    tell(demo, "one")
    mina.expect_unseen(1)
    tell(demo, "two")
    mina.expect_unseen(2)
    mina.bell.click()
    mina.expect_unseen(0)
    assert mina.page.evaluate("badges") == [1, 2, 0]


@pytest.mark.parametrize(("off", "left"), [("title-count", (TITLE, [OURS])), ("favicon", (f"(1)\xa0{TITLE}", [SITES]))])
def test_what_the_site_has_turned_off_stays_as_it_is(mina, demo, off, left):
    mina.page.locator("notification-bell").evaluate(f"(bell) => bell.removeAttribute('{off}')")
    tell(demo, "one")
    mina.expect_unseen(1)
    assert signs(mina) == left


def test_the_badge_grows_to_99_and_moves_nothing(mina):
    say = """(unseen) => document.dispatchEvent(new CustomEvent("notifications:changed",
      { detail: { items: [], ops: [], reset: false, unread: 0, unseen, seenUpto: 0 } }))"""
    place = "(bell) => JSON.stringify(bell.getBoundingClientRect())"
    still = mina.bell.evaluate(place)
    for unseen, text in ((1, "1"), (9, "9"), (99, "99"), (100, "99+"), (12_345, "99+")):
        mina.page.evaluate(say, unseen)
        expect(mina.badge).to_have_text(text)
        expect(mina.bell).to_have_accessible_name(f"Notifications, {unseen} unseen")
        assert mina.bell.evaluate(place) == still
    assert mina.page.title() == f"(99+)\xa0{TITLE}"
