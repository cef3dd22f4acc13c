"""The demo's pages: reachable, strict, usable without JavaScript, and unimpressed by hostile text."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import APPLICATION, PASSWORD, in_both_browsers
from tests.servers import daphne_process

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def test_the_first_screen_says_what_to_click(person):
    visitor = person().window("/")
    expect(visitor.page.get_by_role("heading", level=1)).to_be_in_viewport()
    for name in ("Open as Mina", "Open as Noor"):
        expect(visitor.page.get_by_text(name, exact=True)).to_be_in_viewport()
    expect(visitor.page.get_by_text("Open this one in a private window")).to_be_visible()
    visitor.page.get_by_role("button", name="Open as Mina").click()
    expect(visitor.page.get_by_role("heading", name="Order 1044")).to_be_visible()
    visitor.listening()


def test_the_second_person_has_a_link_and_may_open_it_beside_the_first(person):
    one = person()
    mina = one.signed_in("mina", "/orders/1044/").listening()
    welcome = one.window("/")
    with welcome.page.expect_popup() as popup:
        welcome.page.get_by_role("link", name="Open as Noor").click()
    popup.value.get_by_role("button", name="Continue as Noor").click()
    popup.value.get_by_role("button", name="Send it off, Order 1044").click()
    mina.expect_unseen(1)


def test_the_login_page_wants_the_right_password(person):
    visitor = person().window("/orders/")
    expect(visitor.page.get_by_role("heading", name="Sign in")).to_be_visible()
    visitor.page.get_by_label("Username").fill("mina")
    visitor.page.get_by_label("Password").fill("wrong")
    visitor.page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("correct username and password")
    visitor.page.get_by_label("Password").fill(PASSWORD)
    visitor.page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_role("heading", name="My orders")).to_be_visible()


def test_the_door_without_a_password_exists_in_the_demo_only(person, demo):
    visitor = person()
    assert visitor.context.request.get(f"{demo.url}/as/noor/").status == 200
    real = {
        "DATABASE_URL": demo.database_url,
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DEMO": "0",
        "DEBUG": "1",
        "SECRET_KEY": "not the demo's",
    }
    with daphne_process(real, application=APPLICATION) as site:
        assert visitor.context.request.get(f"{site.url}/as/noor/").status == 404
        assert visitor.context.request.post(f"{site.url}/as/noor/").status in {403, 404}
        welcome = visitor.context.request.get(f"{site.url}/")
        assert welcome.status == 200
        assert "/as/" not in welcome.text()


def test_only_the_workshop_moves_orders(person, demo):
    mina = person().signed_in("mina", "/orders/1044/")
    mina.page.evaluate("""() => { document.querySelector('.write').action = '/orders/1044/status/' }""")
    mina.page.get_by_role("button", name="Send", exact=True).evaluate(
        "button => { button.name = 'status'; button.value = 'shipped' }"
    )
    mina.page.get_by_label("Write to everybody in this order").fill("on its way, please")
    mina.page.get_by_role("button", name="Send", exact=True).click()
    expect(mina.page.get_by_role("heading", name="This door stays shut")).to_be_visible()
    assert demo.run("print(halcyon.status)").strip() == "casting"


def test_an_order_of_others_looks_like_one_that_does_not_exist(person):
    mina = person().signed_in("mina")
    for number in (1043, 9999):
        assert mina.page.goto(f"{mina.base}/orders/{number}/").status == 404
        expect(mina.page.get_by_role("heading", name="Nothing rings here")).to_be_visible()


ANYBODYS = ["/", "/bells/", "/login/", "/as/mina/", "/as/noor/", "/nothing/here/"]
MINAS = ["/", "/bells/", "/orders/", "/orders/1044/", "/notifications/", "/notifications/?show=unread", "/as/noor/"]
NOORS = ["/orders/", "/orders/1043/", "/admin/", "/admin/shop/order/", "/admin/shop/order/4/change/", "/admin/shop/bell/add/"]


def test_no_page_breaks_the_strict_policy(person, demo):
    """The watch over all pages (see `person`) does the asserting; here is every page, with a full bell and an open panel."""
    demo.run("halcyon.move_to('shipped', by=noor)\nhalcyon.comments.create(author=mina, body='Thank you')")
    visitor = person()
    answer = visitor.context.request.get(f"{demo.url}/")
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in answer.headers["content-security-policy"]
    for path in ANYBODYS:
        visitor.window(path).page.close()
    for name, paths in (("mina", MINAS), ("noor", NOORS)):
        window = person().signed_in(name)
        for path in paths:
            window.open(path).listening()
            window.bell.click()
            expect(window.page.locator(".notifications-panel")).to_be_visible()


def test_the_watch_over_the_policy_sees_a_violation(person, faults):
    """The premise of the test above."""
    visitor = person().window("/")
    with visitor.page.expect_console_message(lambda message: "violation" in message.text):
        visitor.page.evaluate("() => { document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">x</p>') }")
    assert faults
    faults.clear()


@in_both_browsers
def test_hostile_text_is_shown_as_text_and_a_hostile_link_leads_nowhere(person, demo):
    mina = person().signed_in("mina", "/notifications/").listening()
    demo.run(
        "from notifications import notify\n"
        f"notify('order.status', to=mina, title='{HOSTILE}', body='{HOSTILE}', url='javascript:alert(3)', actor='{HOSTILE}')"
    )
    expect(mina.rows).to_have_count(1)
    for place in (mina.rows, mina.toasts):
        expect(place).to_contain_text(HOSTILE)
        expect(place.locator("img, script")).to_have_count(0)
        expect(place.locator("a[href]")).to_have_count(0)
    mina.page.reload()  # and once more, now from the template
    expect(mina.rows).to_contain_text(HOSTILE)
    expect(mina.rows.locator("img, script")).to_have_count(0)
    expect(mina.rows.locator("a[href]")).to_have_count(0)


def test_a_hostile_comment_is_shown_as_text_to_everybody(person, demo):
    noor = person().signed_in("noor", "/orders/1044/").listening()
    mina = person().signed_in("mina", "/orders/1044/")
    mina.page.get_by_label("Write to everybody in this order").fill(HOSTILE)
    mina.page.get_by_role("button", name="Send", exact=True).click()
    expect(noor.toasts).to_contain_text(HOSTILE)
    expect(noor.page.locator(".comment-body").last).to_have_text(HOSTILE)
    expect(noor.page.locator("img")).to_have_count(0)


@pytest.fixture
def plain(person):
    """Mina with JavaScript off, signed in."""
    return person(java_script_enabled=False).signed_in("mina")


@in_both_browsers
def test_the_inbox_page_lists_and_its_buttons_work_without_javascript(plain, demo):
    demo.run("halcyon.move_to('shipped', by=noor)\nhalcyon.move_to('delivered', by=noor)")
    plain.open("/notifications/")
    expect(plain.rows).to_have_count(2)
    unread = plain.page.locator("main [data-id][data-unread]")
    expect(unread).to_have_count(2)

    plain.rows.last.hover()
    plain.rows.last.get_by_role("button", name="Mark as read").first.click()
    expect(unread).to_have_count(1)
    plain.page.get_by_role("main").get_by_role("button", name="Mark all as read").click()
    expect(unread).to_have_count(0)
    expect(plain.rows).to_have_count(2)

    plain.rows.first.locator("summary").click()
    plain.rows.first.get_by_role("button", name="Delete").click()
    expect(plain.rows).to_have_count(1)
    plain.rows.first.locator("summary").click()
    plain.rows.first.get_by_role("button", name="Archive").click()
    expect(plain.rows).to_have_count(0)
    plain.open("/notifications/?show=archived")
    expect(plain.rows).to_have_count(1)
    expect(plain.page.locator("notification-stream:not([state])")).to_have_count(1)  # the premise: nothing ran


def test_the_shop_works_without_javascript(plain, person):
    plain.open("/bells/")
    plain.page.get_by_role("button", name="Order Ship's bell").click()
    expect(plain.page.get_by_role("heading", name="Order 1045")).to_be_visible()
    plain.page.get_by_role("button", name="Pay now").click()
    expect(plain.page.get_by_text("Paid. The workshop knows.")).to_be_visible()
    plain.page.get_by_label("Write to everybody in this order").fill("A long rope, please.")
    plain.page.get_by_role("button", name="Send", exact=True).click()
    expect(plain.page.locator(".comment-body")).to_have_text("A long rope, please.")
    plain.page.get_by_role("button", name="Sign out").click()
    expect(plain.page.get_by_role("link", name="Sign in")).to_be_visible()


LOUD = """() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    #loud { text-transform: uppercase; letter-spacing: 3px; font-weight: 900 }
    #loud a:link, #loud a:visited { color: rgb(1, 2, 3); border-bottom: 5px solid }
  `);
  document.adoptedStyleSheets.push(sheet);
  document.querySelector("notification-bell").parentElement.id = "loud";
}"""
LOOKS = """links => links.map(getComputedStyle).map(look =>
  [look.color, look.textTransform, look.letterSpacing, look.borderBottomWidth])"""


def test_the_look_of_the_header_around_it_stays_out_of_the_panel(person, demo):
    """The admin's says by its ids that links are white and all text is in capitals."""
    page = person().signed_in("mina", "/orders/").listening().page
    demo.run("from notifications import notify\nnotify('order.status', to=mina, title='Quiet', url='/orders/')")
    expect(page.locator(".notifications-panel .notifications-item")).to_have_count(1)
    page.evaluate(LOUD)
    looks = page.locator(".notifications-panel a[href]").evaluate_all(LOOKS)
    assert len(looks) >= 2  # the item and "See all notifications"
    for color, *others in looks:
        assert color != "rgb(1, 2, 3)"
        assert others == ["none", "normal", "0px"]


def test_the_sockets_life_is_told_in_words(person, demo):
    mina = person().signed_in("mina", "/orders/1044/").listening()
    life = mina.page.locator("#socket-life")
    for words in ("knocks", "Hello", "Welcome"):
        expect(life).to_contain_text(words)
    demo.run("halcyon.move_to('shipped', by=noor)")
    expect(life).to_contain_text("News: 1 notification")
    demo.server.kill()
    expect(life).to_contain_text("The line is cut")


@pytest.mark.parametrize("width", [1280, 375])
def test_no_page_is_wider_than_its_window(person, width):
    mina = person(viewport={"width": width, "height": 800}).signed_in("mina")
    widths = {}
    for path in ("/", "/bells/", "/orders/", "/orders/1044/", "/notifications/"):
        mina.open(path)
        widths[path] = mina.page.evaluate("document.documentElement.scrollWidth")
    assert widths == dict.fromkeys(widths, width)
