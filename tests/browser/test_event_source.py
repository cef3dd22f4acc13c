"""The browser's own `EventSource` at the event stream, without a script of ours: it resumes, comes back and obeys by itself."""

import time

from playwright.sync_api import Page

TELL = (
    "from notifications import notify\nfor number in range({start}, {end}): notify('order.status', to=mina, title=f'n{{number}}')"
)
LISTEN = """(position) => {
  window.arrived = [];
  window.byes = [];
  window.opened = 0;
  const source = (window.source = new EventSource(`/notifications/events/?language=en&position=${position}`));
  source.onopen = () => window.opened++;
  source.onmessage = ({ data, lastEventId }) => {
    const message = JSON.parse(data);
    if (message.type === "bye") window.byes.push(message.code);
    if (message.type === "reset") window.arrived.push("reset");
    if (message.type !== "delta") return;
    if (!message.more && message.position !== lastEventId) window.arrived.push(`not at ${message.position}`);
    window.arrived.push(...message.items.map(({ title }) => title));
  };
}"""


def until(page: Page, is_so: str, seconds: float = 60.0) -> None:
    """Ask the page until it is so: the site's policy lets no script of Playwright's wait in it."""
    end = time.monotonic() + seconds
    while not page.evaluate(is_so):
        assert time.monotonic() < end, is_so
        page.wait_for_timeout(50)


def test_the_browsers_own_event_source_misses_nothing_and_comes_back(person, demo):
    mina = person()
    page = mina.signed_in("mina", "/orders/").page
    page.evaluate(LISTEN, page.locator("notification-stream").get_attribute("position"))
    until(page, "window.opened === 1")
    demo.run(TELL.format(start=0, end=130))
    until(page, "window.arrived.length >= 130")
    until(page, "window.opened >= 2")  # it ended at its size
    opened = page.evaluate("window.opened")
    demo.server.restart()
    demo.run(TELL.format(start=130, end=140))
    until(page, "window.arrived.length >= 140")
    assert page.evaluate("window.arrived") == [f"n{number}" for number in range(140)]
    assert page.evaluate("window.opened") > opened
    assert set(page.evaluate("window.byes")) == {4012}
    demo.run("mina.set_password('another')\nmina.save()")
    until(page, "window.byes.at(-1) === 4401")
    until(page, "window.source.readyState === EventSource.CLOSED")  # by the 401 to its return
