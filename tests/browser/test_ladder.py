"""Behind whatever proxy, and under a plain WSGI server: news comes by the best way that leads there."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Demo, Window, environment
from tests.servers import TcpProxy, tcp_proxy, wsgi_process

A_LOOK = 60_000  # milliseconds, within which a page that polls looks again


@pytest.fixture
def proxy(demo: Demo) -> Iterator[TcpProxy]:
    with tcp_proxy(demo.server.port) as proxy:
        yield proxy


def expect_way(window: Window, name: str) -> None:
    window.until(f"document.querySelector('notification-stream').transport === '{name}'")


def tell(demo: Demo, title: str) -> None:
    demo.run(f"from notifications import notify\nnotify('order.status', to=mina, title={title!r})")


@pytest.mark.parametrize("fate", ["refused", "cut", "kept waiting"])
def test_behind_a_proxy_that_eats_upgrades_news_comes_at_once(person, demo, proxy, fate):
    proxy.eat_upgrades(fate)
    mina = person(at=proxy.url).signed_in("mina", "/notifications/")
    expect_way(mina, "events")
    mina.listening().stay()
    tell(demo, "Through the needle's eye")
    expect(mina.rows).to_contain_text("Through the needle")
    expect(mina.toasts).to_have_count(1)
    mina.rows.first.hover()
    mina.rows.first.get_by_role("button", name="Mark as read").first.click()
    expect(mina.rows.first).not_to_have_attribute("data-unread", "")
    assert mina.has_stayed
    assert proxy.upgrades >= 1


def test_behind_one_that_keeps_event_streams_back_news_comes_within_a_minute(person, demo, proxy):
    proxy.eat_upgrades("refused")
    proxy.eat_events()
    mina = person(at=proxy.url).signed_in("mina", "/notifications/")
    expect_way(mina, "polling")
    mina.listening().stay()
    tell(demo, "Slow but sure")
    expect(mina.rows).to_contain_text("Slow but sure", timeout=A_LOOK)
    mina.rows.first.hover()
    mina.rows.first.get_by_role("button", name="Mark as read").first.click()
    expect(mina.rows.first).not_to_have_attribute("data-unread", "")
    assert mina.has_stayed


def test_the_next_page_behind_such_a_proxy_does_not_find_out_anew(person, demo, proxy):
    proxy.eat_upgrades("refused")
    mina = person(at=proxy.url).signed_in("mina")
    expect_way(mina, "events")
    before = proxy.upgrades
    mina.open("/bells/")
    expect_way(mina, "events")
    assert proxy.upgrades == before


def test_when_sockets_get_through_again_the_page_climbs_without_a_gap(person, demo, proxy):
    proxy.eat_upgrades("refused")
    proxy.eat_events()
    mina = person(at=proxy.url).signed_in("mina", "/notifications/")
    expect_way(mina, "polling")
    mina.stay()
    mina.page.evaluate(
        "() => { window.states = []; document.addEventListener('notifications:state', (e) => states.push(e.detail.state)) }"
    )
    proxy.mend()
    mina.page.evaluate("() => dispatchEvent(new Event('online'))")  # as the browser says it, whose offline would cut an answer
    expect_way(mina, "websocket")
    tell(demo, "From the top")
    expect(mina.rows).to_contain_text("From the top")
    assert mina.page.evaluate("window.states") == []
    assert mina.has_stayed


def test_under_a_plain_wsgi_server_pages_ask_for_their_news(person, demo):
    settings = environment(demo.database_url)
    with wsgi_process(settings, application="project.wsgi:application", settings="project.settings") as site:
        mina = person(at=site.url).signed_in("mina", "/notifications/")
        expect_way(mina, "polling")
        mina.listening().stay()
        tell(demo, "Asked for")
        expect(mina.rows).to_contain_text("Asked for", timeout=A_LOOK)
        mina.bell.click()
        mina.expect_unseen(0)
        mina.page.keyboard.press("Escape")  # the panel lies over the page
        mina.page.get_by_role("main").get_by_role("button", name="Mark all as read").click()
        expect(mina.page.locator("main [data-id][data-unread]")).to_have_count(0)
        assert mina.has_stayed


def test_signing_out_ends_an_event_stream_too(person, demo, proxy):
    proxy.eat_upgrades("refused")
    mina = person(at=proxy.url)
    one, two = mina.signed_in("mina"), mina.window("/bells/")
    for tab in (one, two):
        tab.listening()
    one.page.get_by_role("button", name="Sign out").click()
    expect(two.page.locator("notification-stream")).to_have_attribute("state", "signed-out", timeout=60_000)


def test_what_is_done_offline_is_done_once_when_the_network_is_back(person, demo, proxy):
    tell(demo, "Read on the train")
    mina = person(at=proxy.url).signed_in("mina", "/notifications/").listening()
    mina.stay()
    mina.page.evaluate(
        """() => {
          window.told = [];
          for (const name of ["done", "failed"])
            document.addEventListener(`notifications:${name}`, (e) => e.detail.type === "read" && told.push(name));
        }"""
    )
    proxy.refuse()
    mina.page.context.set_offline(True)
    mina.rows.first.hover()
    mina.rows.first.get_by_role("button", name="Mark as read").first.click()
    expect(mina.page.locator("notification-stream")).not_to_have_attribute("state", "open")
    assert mina.page.evaluate("window.told") == []
    proxy.mend()
    mina.page.context.set_offline(False)
    expect(mina.rows.first).not_to_have_attribute("data-unread", "")
    mina.until("window.told.length > 0")
    assert mina.page.evaluate("window.told") == ["done"]
    assert demo.run("from notifications.models import Inbox\nprint(Inbox.objects.get(user_id=mina.pk).unread)").strip() == "0"
    assert mina.has_stayed


def test_what_is_done_offline_survives_a_reload(person, demo):
    tell(demo, "Put away before the reload")
    mina = person().signed_in("mina", "/notifications/").listening()
    expect(mina.rows).to_have_count(1)
    id = mina.rows.first.get_attribute("data-id")
    # Given when the page is about to go, so that no socket and no form can have taken it: what is kept is all that there is.
    mina.page.evaluate(
        """id => addEventListener("pagehide", () => document.dispatchEvent(new CustomEvent("notifications:command",
             { detail: { type: "archive", ids: [id] }, cancelable: true })))""",
        int(id),
    )
    mina.page.context.set_offline(True)
    mina.page.evaluate("Object.defineProperty(navigator, 'onLine', { value: false })")
    mina.page.context.set_offline(False)
    mina.page.reload()
    expect(mina.rows).to_have_count(0)
