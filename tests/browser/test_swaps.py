"""Pages that put parts of themselves in each other's place, as htmx and Turbo do: the elements come and go, and nothing stays."""

import time
from typing import Any

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.browser.conftest import CountedWindow, Person, expect_one_connection
from tests.browser.look import Look, look_site

VISITS = 5


@pytest.fixture(scope="module")
def site(tmp_path_factory, redis_url) -> Any:
    with look_site(tmp_path_factory.mktemp("swaps"), redis_url, NONCE="styles") as site:
        yield site


class Swapping(CountedWindow):
    """A window of Mina's on pages of this library."""

    def __init__(self, page: Page, base: str, library: str) -> None:
        super().__init__(page, base)
        self.library = library
        self.devtools: CDPSession = page.context.new_cdp_session(page)

    def listening(self, timeout: float | None = None) -> "Swapping":
        """A part may bring another element for the socket, which then waits behind the first."""
        expect(self.page.locator("notification-stream[state=open]")).to_have_count(1, timeout=timeout)
        return self

    def begin(self) -> None:
        self.open(f"/swaps/{self.library}/1/").listening().stay()

    def visit(self, number: int) -> None:
        self.page.get_by_role("navigation", name="Pages").get_by_role("link", name=f"Page {number}").click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(f"Page {number}")
        self.listening()

    def swap_part(self) -> None:
        self.page.evaluate("() => { document.querySelector('#part notification-list').id = 'old' }")
        self.page.locator("#part").get_by_text("Read this part again").click()
        expect(self.page.locator("#old")).to_have_count(0)
        expect(self.page.locator("#part notification-list")).to_have_count(1)
        self.listening()

    def left(self) -> dict[str, int]:
        """What is alive after the garbage has been collected: listeners, nodes, and our elements, on the page or not."""
        if self.library == "turbo":
            self.page.evaluate("() => Turbo.cache.clear()")
        for _ in range(2):
            self.devtools.send("HeapProfiler.collectGarbage")
        counters = self.devtools.send("Memory.getDOMCounters")
        alive = {name: counters[name] for name in ("jsEventListeners", "nodes")}
        for name in ("stream", "bell", "list", "toasts"):
            expression = f"customElements.get('notification-{name}').prototype"
            element = self.devtools.send("Runtime.evaluate", {"expression": expression})
            found = self.devtools.send("Runtime.queryObjects", {"prototypeObjectId": element["result"]["objectId"]})
            count = self.devtools.send(
                "Runtime.callFunctionOn",
                {"functionDeclaration": "function () { return this.length }", "objectId": found["objects"]["objectId"]},
            )
            alive[name] = count["result"]["value"]
            self.devtools.send("Runtime.releaseObject", {"objectId": found["objects"]["objectId"]})
        return alive


@pytest.fixture(params=["htmx", "turbo"])
def mina(request, browser, site: Look, faults):
    with browser.new_context(locale="en-GB", reduced_motion="reduce") as context:
        person = Person(context, site.url, faults, site.sessions)
        context.add_cookies([{"name": "sessionid", "value": site.sessions["mina"], "url": site.url}])
        yield Swapping(person.window().page, site.url, request.param)


def tell(site: Look, title: str) -> str:
    """A title that no other test has told."""
    title = f"{title} at {time.monotonic()}"
    site.run(f"from notifications import notify\nnotify('plain', to=mina, title={title!r}, url='/')")
    return title


def expect_told_once(mina: Swapping, title: str) -> None:
    expect(mina.toasts.filter(has_text=title)).to_have_count(1)
    expect(mina.rows.filter(has_text=title)).to_have_count(1)
    expect(mina.page.locator(".notifications-panel [data-id]", has_text=title)).to_have_count(1)


def test_after_many_visits_a_page_hears_once_and_nothing_of_the_others_is_left(mina, site, record_property):
    mina.begin()
    alive = []
    for _ in range(2):
        for number in range(VISITS):
            mina.visit((number + 1) % 3 + 1)  # never the page where it is
            mina.swap_part()
        alive.append(mina.left())
    before, after = alive
    record_property("alive after half of the visits, and after all", f"{before}, {after}")
    assert mina.has_stayed, "it was the library that put the pages in each other's place"
    expect_one_connection(mina)
    for name in ("stream", "bell", "list", "toasts"):
        assert after[name] == before[name], after
    assert after["jsEventListeners"] <= before["jsEventListeners"] + 5
    assert after["nodes"] <= before["nodes"] * 1.1

    title = tell(site, "after the visits")
    expect_told_once(mina, title)


def test_what_a_list_does_in_place_is_left_to_it(mina, site):
    title = tell(site, "to be read in place")
    mina.begin()
    mina.page.evaluate("""() => {
      window.visits = 0;
      for (const name of ["htmx:beforeRequest", "turbo:before-visit", "turbo:submit-start"])
        document.addEventListener(name, () => { window.visits++ });
    }""")
    row = mina.rows.filter(has_text=title)
    row.get_by_role("button", name="Mark as read").first.click()
    for place in (row, mina.page.locator(".notifications-panel [data-id]", has_text=title)):
        expect(place).not_to_have_attribute("data-unread", "")
    part = mina.page.locator("#part")
    part.get_by_role("link", name="Archived").click()
    expect(part.get_by_text("Nothing archived")).to_be_visible()
    assert mina.page.evaluate("window.visits") == 0
    assert mina.has_stayed
    mina.page.wait_for_url("**/1/")


def test_what_is_told_between_two_pages_is_on_the_next_one_and_on_those_that_one_goes_back_to(mina, site):
    mina.begin()
    mina.visit(2)
    title = tell(site, "on the second page")
    expect_told_once(mina, title)
    mina.visit(3)
    for page in (2, 1):
        mina.page.go_back()
        expect(mina.page.get_by_role("heading", level=1)).to_have_text(f"Page {page}")
        mina.listening()
        expect(mina.rows.filter(has_text=title)).to_have_count(1)
        expect(mina.page.locator(".notifications-panel [data-id]", has_text=title)).to_have_count(1)
    expect(mina.page.locator("notification-bell > button")).to_have_count(1)
    assert mina.has_stayed
    expect_one_connection(mina)
    expect_told_once(mina, tell(site, "on the first page"))


def test_a_part_that_is_put_in_the_place_of_another_stands_where_the_page_does(mina, site):
    mina.begin()
    title = tell(site, "before the part")
    expect_told_once(mina, title)
    mina.swap_part()
    expect(mina.rows.filter(has_text=title)).to_have_count(1)
    expect_told_once(mina, tell(site, "after the part"))
    expect_one_connection(mina)
    assert len(mina.sockets) == 1, "the page has kept its line"
    assert mina.has_stayed
