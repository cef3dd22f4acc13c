"""Pictures of all that a page can show, for the docs: `make screenshots`.

    python -m tests.browser.screenshots [name ...]     all, or of these states and pages only

The demo is started with an inbox that is always the same, its clock stands, and each state is looked at in several ways.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, FloatRect, Page, ViewportSize, expect, sync_playwright

from tests.browser.conftest import APPLICATION, Demo, Person, Window, environment, manage, sign_everybody_in, stop_shells
from tests.browser.look import look_site
from tests.browser.states import MOMENT, fill, walk
from tests.servers import daphne_process, programs, tcp_proxy

IMAGES = Path(__file__).resolve().parents[2] / "docs/images"
STATES = IMAGES / "states"
SETTINGS = "tests.site.shown"
WIDE: ViewportSize = {"width": 1280, "height": 800}
NARROW: ViewportSize = {"width": 375, "height": 667}
MARGIN = 16
PANEL = ["notification-bell > button", ":popover-open"]
SHOWN = {
    "bell": PANEL,
    "toasts": [".notifications-toast"],
    "inbox": [".notifications-page"],
    "nothing-found": [".notifications-page"],
}
"""What of a wide page a picture shows; the panel otherwise."""
MOST_BYTES = 2_500_000
THEME = """
from notifications import notify
for user in User.objects.all():
    notify("plain", to=user, title="Noor has invited you to North wing", body="You can see its plans.", actor="Noor")
    notify("plain", to=user, title="The plans for North wing are with the council", severity="success", url="/")
"""


class View(NamedTuple):
    """How a state is looked at, and what its picture's name ends with."""

    ending: str = ""
    size: ViewportSize = WIDE
    scheme: str = "light"
    forced: str = "none"


LIGHT, DARK, FORCED = View(), View("-dark", scheme="dark"), View("-forced", forced="active")
SHEET, DARK_SHEET = View("-narrow", NARROW), View("-narrow-dark", NARROW, "dark")
VIEWS = {
    **dict.fromkeys(["panel", "toasts", "inbox"], (LIGHT, DARK, FORCED, SHEET, DARK_SHEET)),
    **dict.fromkeys(["menu", "keys", "undo", "fresh", "offline"], (LIGHT, DARK_SHEET)),
}
IN_ARABIC = dict.fromkeys(["panel", "menu", "toasts", "inbox"], (LIGHT, SHEET))


def main() -> None:
    wanted = set(sys.argv[1:])
    STATES.mkdir(parents=True, exist_ok=True)
    if not wanted:
        for old in STATES.glob("*.png"):
            old.unlink()
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(programs.chromium()), args=["--disable-gpu", *sandbox])
        for language, views in (("en", VIEWS), ("ar", IN_ARABIC)):
            for state, page in states(browser, language):
                for view in views.get(state, (LIGHT,) if language == "en" else ()) if state in wanted or not wanted else ():
                    ending = view.ending + ("" if language == "en" else f"-{language}")
                    picture(page, view, STATES / f"{state}{ending}.png", SHOWN.get(state, PANEL[language != "en" :]))
                look_at(page, LIGHT)
        if not wanted or "themes" in wanted:
            themes(browser)
        if not wanted or "pages" in wanted:
            pages(browser)
        browser.close()
    stop_shells()
    size = sum(path.stat().st_size for path in STATES.glob("*.png"))
    sys.stdout.write(f"{len(list(STATES.glob('*.png')))} pictures of states, {size / 1000:.0f} kB\n")
    if size > MOST_BYTES:
        sys.exit(f"more than {MOST_BYTES / 1000:.0f} kB")


@contextmanager
def demo_of_mina(browser: Browser, language: str, **options: Any) -> Iterator[tuple[Demo, Person, Any]]:
    """The demo, Mina's browser, and the line between the two."""
    options = {"timezone_id": "UTC", "viewport": WIDE, "reduced_motion": "reduce"} | options
    with tempfile.TemporaryDirectory(prefix="screenshots-") as directory:
        url = f"sqlite:///{directory}/demo.sqlite3"
        for words in (["migrate", "--verbosity", "0"], ["seed_demo"]):
            manage(url, *words, settings=SETTINGS)
        with (
            daphne_process(environment(url, settings=SETTINGS), application=APPLICATION) as server,
            tcp_proxy(server.port) as line,
            browser.new_context(locale={"en": "en-GB"}.get(language, language), **options) as context,
        ):
            yield Demo(server, url, settings=SETTINGS), Person(context, line.url, [], sign_everybody_in(url, SETTINGS)), line


def states(browser: Browser, language: str) -> Iterator[tuple[str, Page]]:
    with demo_of_mina(browser, language) as (demo, person, line):
        fill(demo, language)
        mina = person.signed_in("mina")
        mina.page.clock.set_fixed_time(MOMENT)
        for state in walk(mina, demo, line, language):
            yield state, mina.page


def themes(browser: Browser) -> None:
    """Beside what they are made for."""
    with (
        tempfile.TemporaryDirectory(prefix="screenshots-") as directory,
        look_site(Path(directory)) as site,
        browser.new_context(viewport=WIDE, reduced_motion="reduce") as context,
    ):
        site.run(THEME)
        noor = Person(context, site.url, [], site.sessions).signed_in("noor", "/admin/").listening()
        for name, path in (
            ("admin", "/admin/"),
            ("bootstrap", "/bootstrap/?mode=light"),
            ("bootstrap-dark", "/bootstrap/?mode=dark"),
        ):
            opened(noor.open(path).listening())
            clip: FloatRect = {"x": 640, "y": 0, "width": 640, "height": 460}
            look_at(noor.page, LIGHT)
            noor.page.screenshot(path=STATES / f"theme-{name}.png", clip=clip, caret="hide")


def pages(browser: Browser) -> None:
    """The pictures of whole pages: the README's, the one of a narrow page, the demo's first screen."""
    with demo_of_mina(browser, "en") as (demo, person, _):
        mina = person.signed_in("mina", "/orders/1044/").listening()
        demo.run("halcyon.comments.create(author=noor, body='It leaves with the morning post. Jonas packed the rope around it.')")
        expect(mina.toasts).to_have_count(1)
        opened(mina)
        mina.toasts.get_by_role("button", name="Dismiss").press("Enter")  # a click beside the panel would close it
        demo.run("halcyon.move_to('shipped', by=noor)")
        expect(mina.toasts).to_have_count(1)
        mina.page.mouse.move(0, 0)
        mina.page.screenshot(path=IMAGES / "bell.png", caret="hide")
    with demo_of_mina(browser, "en", device_scale_factor=2, color_scheme="dark", viewport={"width": 375, "height": 720}) as (
        demo,
        person,
        _,
    ):
        fill(demo)
        mina = person.signed_in("mina", "/orders/1044/")
        mina.page.clock.set_fixed_time(MOMENT)
        opened(mina.open("/orders/1044/").listening())
        mina.page.screenshot(path=IMAGES / "narrow.png", caret="hide")
    with demo_of_mina(browser, "en") as (_, person, _):
        person.window("/").page.screenshot(path=IMAGES / "demo.png", caret="hide")


def opened(window: Window) -> None:
    window.bell.click()
    expect(window.page.locator(".notifications-panel [data-id]").first).to_be_visible()
    window.page.mouse.move(0, 0)


def look_at(page: Page, view: View) -> None:
    page.set_viewport_size(view.size)
    page.emulate_media(color_scheme=view.scheme, forced_colors=view.forced)  # type: ignore[arg-type]
    page.wait_for_timeout(100)  # until the fonts and the panel's place have followed


def picture(page: Page, view: View, path: Path, shown: list[str]) -> None:
    look_at(page, view)
    page.screenshot(path=path, clip=around(page, shown) if view.size == WIDE else None, caret="hide")


def around(page: Page, selectors: list[str]) -> FloatRect:
    """The part of the window in which these are."""
    boxes = [box for selector in selectors for each in page.locator(selector).all() if (box := each.bounding_box())]
    left = max(0, min(box["x"] for box in boxes) - MARGIN)
    right = min(WIDE["width"], max(box["x"] + box["width"] for box in boxes) + MARGIN)
    top = max(0, min(box["y"] for box in boxes) - MARGIN)
    bottom = min(WIDE["height"], max(box["y"] + box["height"] for box in boxes) + MARGIN)
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


if __name__ == "__main__":
    main()
