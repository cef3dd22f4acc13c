"""Every state of the page, looked at as different people see it: nothing that axe-core objects to, nothing that moves for those
who want no motion, nothing that does not fit."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, ViewportSize

from tests.browser.conftest import Person, running_demo
from tests.browser.states import fill, walk
from tests.servers import tcp_proxy

pytestmark = pytest.mark.timeout(900)  # whichever comes first takes the walk, a minute and more beside other browsers

WIDE: ViewportSize = {"width": 1280, "height": 800}
PLAIN: dict[str, Any] = {"color_scheme": "light", "forced_colors": "none"}
TEXT = "(size) => document.documentElement.style.setProperty('font-size', size)"


class Look(NamedTuple):
    """How somebody has it. `size`: of the window in CSS pixels; `text`: of the letters; `direction` of the words."""

    media: Mapping[str, Any] = MappingProxyType({})
    size: ViewportSize = WIDE
    text: str = "100%"
    direction: str = "ltr"

    def put_on(self, page: Page) -> None:
        page.set_viewport_size(self.size)
        page.emulate_media(**PLAIN | dict(self.media))
        page.evaluate(TEXT, self.text)
        page.evaluate("(direction) => { document.documentElement.dir = direction }", self.direction)


LOOKS = {
    "light": Look(),
    "dark": Look(media={"color_scheme": "dark"}),
    "forced colours": Look(media={"forced_colors": "active"}),
    "320 px": Look(size={"width": 320, "height": 640}),
    "200 % zoom": Look(size={"width": 640, "height": 400}),  # what is left of a window of 1280 by 800
    "200 % text": Look(text="200%"),
    "right to left": Look(direction="rtl"),
}
AXE = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) =>
    `${id}: ${html.slice(0, 160)} ${failureSummary.split("\\n")[1]}`));
}"""
MOVING = """() => {
  const seconds = (list) => Math.max(...list.split(",").map(parseFloat));
  const moves = [];
  for (const element of document.querySelectorAll(".notifications, .notifications *")) {
    for (const pseudo of ["", "::before", "::after"]) {
      const look = getComputedStyle(element, pseudo || null);
      const isDelay = look.animationName === "notifications-late"; // shows something later: nothing moves
      if (seconds(look.transitionDuration) > 0.001) moves.push(`${element.className}${pseudo} transition`);
      if (look.animationName !== "none" && !isDelay && seconds(look.animationDuration) > 0.001) {
        moves.push(`${element.className}${pseudo} ${look.animationName} ${look.animationDuration}`);
      }
    }
  }
  return moves;
}"""
MISFITS = """() => {
  const { scrollWidth, clientWidth } = document.documentElement;
  const misfits = scrollWidth > clientWidth ? [`the page is ${scrollWidth} px wide in ${clientWidth}`] : [];
  for (const element of document.querySelectorAll(".notifications *")) {
    if (!element.checkVisibility() || element.closest(".notifications-hidden, .notifications-bell svg")) continue;
    const name = `${element.tagName}.${element.getAttribute("class")} "${element.textContent.trim().slice(0, 30)}"`;
    const { left, right, width } = element.getBoundingClientRect();
    if (width && (left < -1 || right > clientWidth + 1)) misfits.push(`${name} from ${left} to ${right} in ${clientWidth}`);
    if (element.scrollWidth > element.clientWidth + 1 && /hidden|clip/.test(getComputedStyle(element).overflowX)) {
      misfits.push(`${name} hides ${element.scrollWidth - element.clientWidth} px of itself`);
    }
  }
  const panel = document.querySelector(":popover-open");
  if (panel && panel.getBoundingClientRect().top < 0) misfits.push("the panel begins above the window");
  return misfits;
}"""


class Findings(NamedTuple):
    """What was found, by the state and the look."""

    states: list[str]
    axe: dict[str, list[str]]
    moving: dict[str, list[str]]
    misfits: dict[str, list[str]]


@pytest.fixture(scope="module")
def findings(browser: Browser, seeded_database, sessions, tmp_path_factory) -> Findings:
    """One walk through all the states, in each all the looks."""
    found = Findings([], {}, {}, {})
    faults: list[str] = []
    directory = tmp_path_factory.mktemp("states")
    with (
        running_demo(seeded_database, directory) as demo,
        tcp_proxy(demo.server.port) as line,
        browser.new_context(locale="en-GB", reduced_motion="reduce", viewport=WIDE) as context,
    ):
        fill(demo)
        mina = Person(context, line.url, faults, sessions).signed_in("mina")
        for state in walk(mina, demo, line):
            found.states.append(state)
            page = mina.page
            if not page.evaluate("'axe' in window"):
                page.evaluate(AXE_SCRIPT)
            for name, look in LOOKS.items():
                look.put_on(page)
                where = f"{state}, {name}"
                if look.text == "100%" and look.direction == "ltr":  # it sees colours, names and sizes, not where things are
                    found.axe[where] = page.evaluate(AXE)
                found.misfits[where] = page.evaluate(MISFITS)
            LOOKS["light"].put_on(page)
            found.moving[state] = page.evaluate(MOVING)
    assert not faults, "the pages broke their policy or raised: " + "\n".join(faults)
    return found


def told(found: dict[str, list[str]]) -> str:
    return json.dumps({where: what for where, what in found.items() if what}, indent=1, ensure_ascii=False)


def test_axe_finds_nothing_in_any_state_however_it_is_looked_at(findings, record_property):
    record_property("looked at", f"{len(findings.states)} states, {len(findings.axe)} looks")
    assert told(findings.axe) == "{}"


def test_nothing_moves_for_who_wants_no_motion(findings):
    assert told(findings.moving) == "{}"


def test_everything_fits_in_whatever_window_and_text(findings):
    assert told(findings.misfits) == "{}"


def test_the_watch_sees_what_moves_and_what_sticks_out(person, demo):
    """The premise of the two tests above."""
    page = person(reduced_motion="no-preference", viewport={"width": 320, "height": 640}).signed_in("mina").listening().page
    page.get_by_role("button", name="Notifications").click()
    assert any("notifications-appear" in each for each in page.evaluate(MOVING))
    page.locator(".notifications-panel").evaluate("panel => panel.style.setProperty('inline-size', '400px')")
    assert page.evaluate(MISFITS)
