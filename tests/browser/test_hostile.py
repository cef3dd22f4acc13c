"""What strangers write, in every field that there is: on a page it is text, however it came there, and leads nowhere."""

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect

from notifications.rules import clean
from tests.browser.conftest import BACK_OFF, Person, Window
from tests.browser.look import Look, look_site
from tests.servers import tcp_proxy
from tests.site.hostile import ADDRESSES, TEXTS

COUNT = max(len(TEXTS), len(ADDRESSES))
PAGES = COUNT // 20 + 1
ATTACK = """
from django.db import transaction
from notifications import Action, notify
from notifications.models import Event
from tests.site.hostile import ADDRESSES, TEXTS

for number in range({count}):
    text, address = TEXTS[number % len(TEXTS)], ADDRESSES[number % len(ADDRESSES)]
    actions = [Action(text, "/reply/1/", primary=True), Action("Harmless", "/reply/2/")]
    data = {{"text": text, text: [text]}}
    with transaction.atomic():
        event = notify(f"hostile.k{{number % len(TEXTS)}}", to=mina, title=text, body=text, actor=text, target=text, icon=text,
                       data=data, actions=actions)
        event.content["url"] = event.content["actions"][0]["url"] = address  # which no door of ours lets in
        Event.objects.filter(pk=event.pk).update(content=event.content)
"""
ANSWER = """
from notifications import answer
from notifications.models import Event
from tests.site.hostile import TEXTS

for number, event in enumerate(Event.objects.order_by("pk")):
    if number % 2:
        answer(event.pk, TEXTS[number % len(TEXTS)], to=mina)
"""
LINKS = {"https://evil.example/", "HTTPS://evil.example", "mailto:eve@evil.example", "?page=2", "#top"}
"""Of the addresses those that a notification may lead to. Its buttons may lead to none."""
TAGS = {"a", "article", "b", "button", "details", "div", "p", "span", "summary", "svg", "time", "use"}
ATTRIBUTES = {
    "aria-hidden", "aria-label", "aria-posinset", "aria-setsize", "class", "data-archived", "data-fresh", "data-id", "data-kind",
    "data-level", "data-number", "data-part", "data-severity", "data-stamp", "data-unread", "datetime", "focusable", "formaction",
    "hidden", "href", "name", "role", "tabindex", "title", "type", "value",
}  # fmt: skip
LOOK = """(places) => places.map((place) => {
  const all = [place, ...place.querySelectorAll("*")];
  const text = (name) => place.querySelector(`[data-part=${name}]`)?.textContent ?? null;
  const actions = [...place.querySelectorAll("[data-part=action]")].filter((button) => !button.hidden);
  return {
    tags: [...new Set(all.map((each) => each.localName))],
    attributes: [...new Set(all.flatMap((each) => each.getAttributeNames()))],
    links: [...place.querySelectorAll("a[href]")].map((link) => link.getAttribute("href")),
    buttons: actions.map((button) => [button.textContent, button.getAttribute("formaction")]),
    foreign: actions.filter((button) => new URL(button.formAction).origin !== location.origin).length,
    icons: [...place.querySelectorAll("use")].map((use) => use.getAttribute("href")),
    label: place.getAttribute("aria-label"), title: text("title"), body: text("body"), answer: text("answer"),
  };
})"""
NOTES = """
  window.notes = [];
  window.Notification = class extends Notification {
    constructor(title, options) {
      super(title, options);
      notes.push({ ...options, title });
    }
  };
  localStorage["notifications-browser"] = "on";
"""
SKELETON = """async (paths) => Promise.all(paths.map(async (path) => {
  const page = new DOMParser().parseFromString(await (await fetch(path)).text(), "text/html");
  return [...page.querySelectorAll("*")].map((each) => `${each.localName} ${each.getAttributeNames().join(" ")}`);
}))"""
"""Of each of these pages the elements and the names of their attributes."""


class Attacked(NamedTuple):
    """Mina's site after the attack. Two pages were open before it, of which one was cut off meanwhile."""

    site: Look
    context: BrowserContext
    faults: list[str]
    live: Window
    cut_off: Window


def watch(page: Page, faults: list[str]) -> None:
    """Beside what any page is watched for."""

    def hear(dialog: Dialog) -> None:
        faults.append(f"{page.url} says {dialog.message}")
        dialog.dismiss()

    def see(url: str) -> None:
        if "evil" in (urlsplit(url).hostname or ""):
            faults.append(f"{page.url} asks for {url}")

    page.on("dialog", hear)
    page.on("request", lambda request: see(request.url))
    page.on("framenavigated", lambda frame: see(frame.url))


@pytest.fixture(scope="module")
def attacked(browser: Browser, tmp_path_factory, redis_url) -> Iterator[Attacked]:
    faults: list[str] = []
    options: dict[str, Any] = {"locale": "en-GB", "reduced_motion": "reduce", "permissions": ["notifications"]}
    with (
        look_site(tmp_path_factory.mktemp("hostile"), redis_url) as site,
        tcp_proxy(site.server.port) as line,
        browser.new_context(**options) as context,
        browser.new_context(**options) as other,
    ):
        for each in (context, other):
            each.on("page", lambda page: watch(page, faults))
        live = Person(context, site.url, faults, site.sessions).signed_in("mina", "/").listening()
        cut_off = Person(other, line.url, faults, site.sessions).signed_in("mina", "/").listening()
        line.refuse()
        expect(cut_off.page.locator("notification-stream")).not_to_have_attribute("state", "open")
        site.run(ATTACK.format(count=COUNT))
        expect(live.rows).to_have_count(COUNT)
        site.run(ANSWER)
        expect(live.rows.locator("[data-part=answer]:not([hidden])")).to_have_count(COUNT // 2)
        line.mend()
        yield Attacked(site, context, faults, live, cut_off.listening(timeout=BACK_OFF))


@pytest.fixture(autouse=True)
def nothing_ran(attacked) -> Iterator[None]:
    yield
    assert not attacked.faults, "the pages broke their policy, raised, spoke or went elsewhere: " + "\n".join(attacked.faults)


def assert_harmless(places: list[dict[str, Any]], *, are_newest_first: bool = True) -> None:
    assert len(places) == COUNT
    for number, place in enumerate(reversed(places) if are_newest_first else places):
        text, address = clean(TEXTS[number % len(TEXTS)]), ADDRESSES[number % len(ADDRESSES)]
        assert set(place["tags"]) <= TAGS, text
        assert set(place["attributes"]) <= ATTRIBUTES, text
        assert (place["title"], place["body"]) == (text, text)
        assert place["links"] == ([address] if address in LINKS else []), address
        assert place["foreign"] == 0, address
        assert all(icon.startswith("#notifications-icon-") for icon in place["icons"])


def assert_answered(places: list[dict[str, Any]]) -> None:
    """Rows show the answer where there is one, else the buttons."""
    for number, place in enumerate(reversed(places)):
        text = clean(TEXTS[number % len(TEXTS)])
        assert place["label"] == text
        assert place["answer"] == (text if number % 2 else "")
        assert place["buttons"] == ([] if number % 2 else [["Harmless", "/reply/2/"]])


def rows(window: Window) -> list[dict[str, Any]]:
    window.rows.last.scroll_into_view_if_needed()  # older ones come then
    expect(window.rows).to_have_count(COUNT)
    return list(window.rows.evaluate_all(LOOK))


def test_as_it_arrives_on_an_open_page(attacked):
    found = rows(attacked.live)
    assert_harmless(found)
    assert_answered(found)
    panel = attacked.live.page.locator(".notifications-panel [data-id]")
    expect(panel).to_have_count(COUNT)
    assert_harmless(panel.evaluate_all(LOOK))


def test_as_it_is_caught_up_with(attacked):
    found = rows(attacked.cut_off)
    assert_harmless(found)
    assert_answered(found)


@pytest.mark.parametrize("path", ["/", "/async/"])
def test_as_a_page_is_printed_with_it_or_filled_with_it_later(attacked, path):
    window = Person(attacked.context, attacked.site.url, attacked.faults, attacked.site.sessions).window(path).listening()
    expect(window.rows.first).to_be_visible()
    found = rows(window)
    assert_harmless(found)
    assert_answered(found)
    window.page.close()


def test_as_it_is_printed_for_a_page_without_scripts(attacked, browser):
    with browser.new_context(java_script_enabled=False) as context:
        window = Person(context, attacked.site.url, attacked.faults, attacked.site.sessions).signed_in("mina", "/notifications/")
        found = window.rows.evaluate_all(LOOK)
        for _ in range(1, PAGES):
            with window.page.expect_navigation():
                window.page.get_by_role("link", name="Load more").last.click()
            found += window.rows.evaluate_all(LOOK)
        assert_harmless(found)
        assert_answered(found)


def test_in_toasts(attacked):
    """Each by itself, told as the stream tells it."""
    window = attacked.live
    items = window.page.evaluate(
        """async (pages) => {
      const items = [];
      for (let before = ""; pages--; before = `&before=${items.at(-1).number}`) {
        const answer = await fetch(`/notifications/items/?show=active${before}`, { headers: { Accept: "application/json" } });
        items.push(...(await answer.json()).items);
      }
      return items.reverse();
    }""",
        PAGES,
    )
    found = []
    for item in items:
        window.page.evaluate("""() => {
          for (const button of document.querySelectorAll("notification-toasts .notifications-close")) button.click();
        }""")
        expect(window.toasts).to_have_count(0)
        window.page.evaluate(TELL, item | {"answer": ""})
        expect(window.toasts).to_have_count(1)
        found += window.toasts.evaluate_all(LOOK)
    assert_harmless(found, are_newest_first=False)
    for toast in found:
        assert toast["buttons"] == [["Harmless", "/reply/2/"]]


TELL = """(item) => document.dispatchEvent(new CustomEvent("notifications:new",
  { detail: { items: [{ ...item, id: Math.round(Math.random() * 1e9) }], live: true }, cancelable: true }))"""


def test_in_what_the_operating_system_shows(attacked):
    page = Person(attacked.context, attacked.site.url, attacked.faults, attacked.site.sessions).window().page
    page.add_init_script(NOTES)
    page.add_init_script("Object.defineProperty(Document.prototype, 'visibilityState', { get: () => 'hidden' })")
    page.goto(f"{attacked.site.url}/")
    page.evaluate("() => customElements.whenDefined('notification-toasts')")
    for text in TEXTS:
        item = {"title": text, "body": text, "icon": text, "url": "javascript:alert(1)", "actor": text, "target": text}
        page.evaluate(TELL, item | {"number": 1000, "data": {"image": text}, "severity": "info", "kind": "plain"})
    notes = page.evaluate(f"""async () => {{
      while (notes.length < {len(TEXTS)}) await new Promise((go) => setTimeout(go, 20));
      return notes;
    }}""")
    assert sorted((note["title"], note["body"]) for note in notes) == sorted((text, text) for text in TEXTS)
    assert all(set(note) <= {"title", "body", "tag", "silent"} for note in notes)
    page.close()


def test_in_what_is_searched_for_and_in_the_labels_of_kinds(attacked):
    page = Person(attacked.context, attacked.site.url, attacked.faults, attacked.site.sessions).window("/notifications/").page
    labels = page.locator("[name=kind] option").all_text_contents()
    assert {clean(text) for text in TEXTS} <= set(labels)
    query = "/notifications/?q={0}&kind={0}&severity={0}&show={0}&before={0}".format
    harmless, *hostile = page.evaluate(SKELETON, [query(quote(text, safe="")) for text in ["zebra", *TEXTS]])
    for text, found in zip(TEXTS, hostile, strict=True):
        assert found == harmless, text
    page.close()


def test_in_the_admin(attacked):
    person = Person(attacked.context, attacked.site.url, attacked.faults, attacked.site.sessions)
    page = person.signed_in("noor", "/admin/live_notifications/event/").page
    expect(page.locator("#result_list tbody tr")).to_have_count(COUNT)
    page.locator("#result_list tbody a").first.click()
    expect(page.get_by_text("Harmless").first).to_be_visible()
    strange = ["img:not([src^='/static/admin/'])", "script[src*=evil]", "iframe", "base", "#content svg", "h1:text('Signed out')"]
    for element in strange:
        assert page.locator(element).count() == 0
