"""Pictures of all that a page can show, for the docs: `make screenshots`.

    python -m tests.browser.screenshots [state ...]     all, or of these states only

The demo is started with an inbox that is always the same, its clock stands, and each state is looked at in several ways.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, FloatRect, Page, ViewportSize, sync_playwright

from tests.browser.conftest import APPLICATION, Demo, Person, environment, manage, sign_everybody_in, stop_shells
from tests.browser.states import MOMENT, fill, walk
from tests.servers import daphne_process, programs, tcp_proxy

IMAGES = Path(__file__).resolve().parents[2] / "docs/images"
SETTINGS = "tests.site.shown"
WIDE: ViewportSize = {"width": 1280, "height": 800}
NARROW: ViewportSize = {"width": 375, "height": 667}
MARGIN = 24
OURS = ["notification-bell > button", ":popover-open", ".notifications-toast", ".notifications-page"]
MOST_BYTES = 2_500_000


class View(NamedTuple):
    """How a state is looked at, and what its picture's name ends with. A wide one shows what is ours and little beside it."""

    ending: str
    size: ViewportSize = WIDE
    scheme: str = "light"
    forced: str = "none"


LIGHT, DARK, FORCED = View(""), View("-dark", scheme="dark"), View("-forced", forced="active")
SHEET, DARK_SHEET = View("-narrow", NARROW), View("-narrow-dark", NARROW, "dark")
VIEWS = dict.fromkeys(["panel", "toasts", "inbox"], (LIGHT, DARK, FORCED, SHEET, DARK_SHEET))
IN_ARABIC = dict.fromkeys(["panel", "menu", "toasts", "inbox"], (LIGHT, SHEET))
USUAL = (LIGHT, DARK_SHEET)


def main() -> None:
    wanted = set(sys.argv[1:])
    folder = IMAGES / "states"
    folder.mkdir(parents=True, exist_ok=True)
    if not wanted:
        for old in folder.glob("*.png"):
            old.unlink()
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(programs.chromium()), args=["--disable-gpu", *sandbox])
        for language in ("en", "ar"):
            for state, page in states(browser, language):
                views = VIEWS.get(state, USUAL) if language == "en" else IN_ARABIC.get(state, ())
                for view in views if not wanted or state in wanted else ():
                    ending = view.ending + (f"-{language}" if language != "en" else "")
                    picture(page, view, folder / f"{state}{ending}.png")
                look_at(page, LIGHT)
        browser.close()
    stop_shells()
    size = sum(path.stat().st_size for path in folder.glob("*.png"))
    sys.stdout.write(
        f"{len(list(folder.glob('*.png')))} pictures in {folder.relative_to(IMAGES.parents[1])}, {size / 1000:.0f} kB\n"
    )
    if size > MOST_BYTES:
        sys.exit(f"more than {MOST_BYTES / 1000:.0f} kB")


def states(browser: Browser, language: str) -> Iterator[tuple[str, Page]]:
    options: dict[str, Any] = {"locale": {"en": "en-GB"}.get(language, language), "timezone_id": "UTC", "viewport": WIDE}
    with tempfile.TemporaryDirectory(prefix="screenshots-") as directory:
        url = f"sqlite:///{directory}/demo.sqlite3"
        for words in (["migrate", "--verbosity", "0"], ["seed_demo"]):
            manage(url, *words, settings=SETTINGS)
        with (
            daphne_process(environment(url, settings=SETTINGS), application=APPLICATION) as server,
            tcp_proxy(server.port) as line,
            browser.new_context(**options, reduced_motion="reduce") as context,
        ):
            demo = Demo(server, url, settings=SETTINGS)
            fill(demo, language)
            mina = Person(context, line.url, [], sign_everybody_in(url, SETTINGS)).signed_in("mina")
            mina.page.clock.set_fixed_time(MOMENT)
            for state in walk(mina, demo, line, language):
                yield state, mina.page


def look_at(page: Page, view: View) -> None:
    page.set_viewport_size(view.size)
    page.emulate_media(color_scheme=view.scheme, forced_colors=view.forced)  # type: ignore[arg-type]
    page.wait_for_timeout(100)  # until the fonts and the panel's place have followed


def picture(page: Page, view: View, path: Path) -> None:
    look_at(page, view)
    page.screenshot(path=path, clip=ours(page) if view.size == WIDE else None, caret="hide")


def ours(page: Page) -> FloatRect:
    """The part of the window in which our elements are."""
    boxes = [box for selector in OURS for each in page.locator(selector).all() if (box := each.bounding_box())]
    page_height = min(WIDE["height"], max(box["y"] + box["height"] for box in boxes) + MARGIN)
    left = max(0, min(box["x"] for box in boxes) - MARGIN)
    right = min(WIDE["width"], max(box["x"] + box["width"] for box in boxes) + MARGIN)
    top = max(0, min(box["y"] for box in boxes) - MARGIN)
    return {"x": left, "y": top, "width": right - left, "height": page_height - top}


if __name__ == "__main__":
    main()
