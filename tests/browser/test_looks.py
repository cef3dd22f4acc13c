"""The themes beside what they are made for, in the admin's header and on a page of Bootstrap's; the strictest policies; files of
which only the hashed names exist, stripped as a wheel carries them.
"""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Response, expect

from hatch_build import STRIP
from tests.browser.conftest import Person, Window
from tests.servers import AsgiProcess, daphne_process
from tests.site.own import prepare

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = "tests.site.look"
OURS = "notifications/static/notifications"
COLOURS = """(element, names) => {
  const probe = document.body.appendChild(document.createElement("i"));
  const colour = (value) => { probe.style.setProperty("background", value); return getComputedStyle(probe).backgroundColor };
  const style = getComputedStyle(element);
  const found = [style.backgroundColor, ...names.map((name) => colour(`var(${name})`))];
  probe.remove();
  return found;
}"""


INK = """(element, name) => {
  const probe = element.parentElement.parentElement.appendChild(document.createElement("i"));
  probe.style.setProperty("color", `var(${name})`);
  const found = [getComputedStyle(element).color, getComputedStyle(probe).color];
  probe.remove();
  return found;
}"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, str]]]:
    """A database with three people; Nova administers."""
    database = tmp_path_factory.mktemp("look") / "look.sqlite3"
    people = prepare(database)
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE auth_user SET is_staff = 1, is_superuser = 1 WHERE username = 'nova'")
    connection.close()
    return database, people


Start = Callable[..., AsgiProcess]


@pytest.fixture(scope="module")
def start(prepared) -> Iterator[Start]:
    """The site of `tests/site/look.py` under these variables; each of them runs once."""
    running: dict[tuple[tuple[str, str], ...], Any] = {}

    def get(**variables: str) -> AsgiProcess:
        key = tuple(sorted(variables.items()))
        if key not in running:
            env = {"DATABASE_URL": f"sqlite:///{prepared[0]}", "REDIS_URL": None, **variables}
            manager = daphne_process(env, settings=SETTINGS)
            running[key] = (manager, manager.__enter__())
        return running[key][1]

    yield get
    for manager, _ in running.values():
        manager.__exit__(None, None, None)


@pytest.fixture
def visit(browser: Browser, prepared, faults) -> Iterator[Callable[..., Window]]:
    """A window of Nova's on that path; every answer that is an error is a fault."""
    contexts = []

    def fail(answer: Response) -> None:
        if answer.status >= 400:
            faults.append(f"{answer.status} {answer.url}")

    def open_(server: AsgiProcess, path: str, name: str = "nova", **options: Any) -> Window:
        context = browser.new_context(**{"locale": "en-GB", "reduced_motion": "reduce", **options})
        contexts.append(context)
        person = Person(context, server.url, faults, {each: key for each, (_, key) in prepared[1].items()})
        if not name:
            return person.window(path)
        context.on("response", fail)
        return person.signed_in(name, path)

    yield open_
    for context in contexts:
        context.close()


def tell(window: Window, people: dict[str, tuple[int, str]], title: str) -> None:
    assert window.page.request.get(f"{window.base}/tell/{people['nova'][0]}/{title}/").ok


def assert_accessible(page: Page) -> None:
    results = Axe().run(page, context={"include": [["notification-bell"], ["notification-toasts"]]})
    assert not results.response["violations"], results.generate_report()


# The admin


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_bell_in_the_admins_header_wears_its_colours_in_light_and_dark(start, visit, prepared, scheme):
    nova = visit(start(), "/admin/auth/user/", color_scheme=scheme).listening()
    tell(nova, prepared[1], "New in the admin")
    expect(nova.toasts).to_contain_text("New in the admin")
    nova.bell.click()
    panel = nova.page.locator(".notifications-panel")
    for place in (panel, nova.toasts):
        ours, theirs = place.evaluate(COLOURS, ["--body-bg"])
        assert ours == theirs
    assert ours == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(18, 18, 18)")
    assert_accessible(nova.page)


def test_it_follows_the_admins_own_switch_of_themes(start, visit):
    nova = visit(start(), "/admin/").listening()
    toggle = nova.page.locator("#header .theme-toggle")
    seen = set()
    for _ in range(3):
        toggle.click()
        nova.bell.click()
        panel = nova.page.locator(".notifications-panel")
        ours, theirs = panel.evaluate(COLOURS, ["--body-bg"])
        assert ours == theirs
        scheme = panel.evaluate("(panel) => getComputedStyle(panel).colorScheme")
        assert scheme == nova.page.evaluate("getComputedStyle(document.documentElement).colorScheme")
        seen.add(scheme)
        nova.page.keyboard.press("Escape")
    assert seen == {"light", "dark"}


@pytest.mark.parametrize("width", [320, 390, 800, 1024, 1025, 1400])
@pytest.mark.parametrize("locale", ["en", "ar"])
def test_it_stands_at_the_end_of_the_header_at_every_width_and_moves_nothing(start, visit, width, locale):
    nova = visit(start(), "/admin/", locale=locale, viewport={"width": width, "height": 700}).listening()
    bell, header = (nova.page.locator(name).bounding_box() for name in ("#header notification-bell", "#header"))
    assert header["y"] <= bell["y"]
    assert bell["y"] + bell["height"] <= header["y"] + header["height"]
    start_gap, end_gap = bell["x"], width - bell["x"] - bell["width"]
    assert (start_gap if locale == "ar" else end_gap) <= 48
    for name in ("#site-name", "#user-tools a >> nth=0", "#logout-form button", "#user-tools .theme-toggle"):
        other = nova.page.locator(name).first.bounding_box()
        apart = (
            other["x"] >= bell["x"] + bell["width"]
            or bell["x"] >= other["x"] + other["width"]
            or other["y"] >= bell["y"] + bell["height"]
            or bell["y"] >= other["y"] + other["height"]
        )
        assert apart, f"the bell lies on {name}"
    assert nova.page.evaluate("document.documentElement.scrollWidth") == width


def test_the_site_that_has_an_admin_header_of_its_own_keeps_it(start, visit):
    nova = visit(start(), "/admin/").listening()
    expect(nova.page.locator("#site-name")).to_have_text("Acme")
    expect(nova.page).to_have_title(re.compile(r"Site administration \| Acme$"))


def test_the_admins_login_page_has_nothing_of_ours(start, visit):
    stranger = visit(start(), "/admin/login/", name="")
    expect(stranger.page.locator("#login-form")).to_be_visible()
    expect(stranger.page.locator("[class*=notifications], notification-stream")).to_have_count(0)


# Bootstrap


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_beside_bootstrap_it_wears_bootstraps_colours_in_both_modes(start, visit, prepared, mode):
    nova = visit(start(THEME="bootstrap"), f"/bootstrap/?mode={mode}").listening()
    tell(nova, prepared[1], "New beside Bootstrap")
    expect(nova.toasts).to_contain_text("New beside Bootstrap")
    nova.bell.click()
    panel = nova.page.locator(".notifications-panel")
    for place in (panel, nova.toasts):
        ours, theirs = place.evaluate(COLOURS, ["--bs-body-bg"])
        assert ours == theirs
    assert ours == ("rgb(255, 255, 255)" if mode == "light" else "rgb(33, 37, 41)")
    nova.page.mouse.move(5, 500)
    ours, theirs = nova.bell.evaluate(INK, "--bs-navbar-color")
    assert ours == theirs
    assert_accessible(nova.page)


def test_a_colour_mode_of_a_part_of_the_page_counts_for_the_bell_in_it(start, visit):
    nova = visit(start(THEME="bootstrap"), "/bootstrap/").listening()
    nova.page.locator(".navbar").evaluate("(bar) => bar.setAttribute('data-bs-theme', 'dark')")
    nova.bell.click()
    panel = nova.page.locator(".notifications-panel")
    assert panel.evaluate("(panel) => getComputedStyle(panel).backgroundColor") == "rgb(33, 37, 41)"
    assert panel.evaluate("(panel) => getComputedStyle(panel).colorScheme") == "dark"


def test_a_site_changes_a_token_of_a_theme_as_it_does_without_one(start, visit):
    nova = visit(start(THEME="bootstrap"), "/bootstrap/").listening()
    nova.page.evaluate("""() => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(".notifications { --notifications-surface: rgb(1, 2, 3) }");
      document.adoptedStyleSheets.push(sheet);
    }""")
    nova.bell.click()
    panel = nova.page.locator(".notifications-panel")
    assert panel.evaluate("(panel) => getComputedStyle(panel).backgroundColor") == "rgb(1, 2, 3)"


# Policies and files


@pytest.mark.parametrize("path", ["/", "/bootstrap/", "/notifications/"])
def test_under_a_policy_that_knows_nonces_alone_everything_works(start, visit, prepared, path):
    """`'strict-dynamic'` lets nothing run for standing on the site's own host."""
    site = start(NONCE="1")
    nova = visit(site, path).listening()
    policy = nova.page.request.get(site.url + path).headers["content-security-policy"]
    assert "'strict-dynamic'" in policy
    assert "script-src 'self'" not in policy
    tell(nova, prepared[1], "New under the policy")
    expect(nova.toasts.or_(nova.rows.first).first).to_contain_text("New under the policy")
    style = nova.page.locator(".notifications").first.evaluate("(each) => getComputedStyle(each).boxSizing")
    assert style == "border-box", "the styles are there"


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `collectstatic` leaves where WhiteNoise keeps the hashed names alone, of files stripped as in the wheel."""
    stripped, root = tmp_path_factory.mktemp("stripped"), tmp_path_factory.mktemp("collected")
    for source in (ROOT / OURS).rglob("*"):
        if source.suffix in STRIP:
            target = stripped / "notifications" / source.relative_to(ROOT / OURS)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(STRIP[source.suffix](source.read_text()))
    variables = {"STATIC_ROOT": str(root), "STRIPPED": str(stripped), "THEME": "bootstrap"}
    env = os.environ | variables | {"DJANGO_SETTINGS_MODULE": SETTINGS}
    command = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=env, check=True)
    assert not (root / "notifications/notification-bell.js").exists(), "the premise"
    return variables


def test_with_hashed_names_alone_every_file_is_found_and_the_page_works(start, visit, prepared, collected):
    nova = visit(start(**collected), "/bootstrap/")
    loaded: list[str] = []
    nova.page.on("response", lambda answer: loaded.append(answer.url.removeprefix(nova.base)))
    nova.open("/bootstrap/").listening()
    tell(nova, prepared[1], "New from hashed files")
    expect(nova.toasts).to_contain_text("New from hashed files")
    icon = nova.page.evaluate("document.querySelector('link[rel=icon]').getAttribute('href')")
    sound = nova.page.locator("notification-toasts").get_attribute("sound")
    for url in (icon, sound):
        assert nova.page.request.get(nova.base + url).ok
    ours = [url for url in [*loaded, icon, sound] if url.startswith("/static/notifications/")]
    assert len({url for url in ours if url.endswith(".js")}) == 4
    assert any("/themes/bootstrap." in url for url in ours)
    for url in ours:
        assert re.fullmatch(r"/static/notifications/(themes/)?[a-z-]+\.[0-9a-f]{12}\.\w+", url)
    script = next(url for url in ours if url.endswith(".js"))
    assert "/**" not in nova.page.request.get(nova.base + script).text(), "it is the stripped one"
    nova.bell.click()
    expect(nova.page.locator(".notifications-panel [data-id]").first).to_contain_text("New from hashed files")
