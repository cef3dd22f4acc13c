"""The demo under a Daphne of its own, and people with real windows on it: Chromium's, and Firefox's where a test says so.

Every page that a person opens is watched: a violation of the site's Content-Security-Policy or an uncaught error in a script
fails the test, whatever else it shows.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Locator, Page, Playwright, WebSocket, expect

from tests.conftest import not_run
from tests.servers import AsgiProcess, Missing, daphne_process, programs

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = "project.asgi:application"
SETTINGS = "project.settings"
PASSWORD = "ring-the-bell"
BACK_OFF = 75_000  # in milliseconds: what a page waits at the most before it tries again, and what the try takes

expect.set_options(timeout=20_000)  # a busy machine; a promise that holds is seen long before

FIREFOX_SAYS = ("Firefox can’t establish a connection", "was interrupted while the page was loading")
"""Where no script has raised anything: a server that is away, a page that is left while its socket opens."""
POINTERS = ["ui.primaryPointerCapabilities", "ui.allPointerCapabilities"]
in_both_browsers = pytest.mark.parametrize("engine", ["chromium", "firefox"], indirect=True)
"""The stories that every browser has to tell; in all others Chromium stands for the rest."""


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    try:
        chromium = programs.chromium()
    except Missing as missing:
        not_run(missing)
    quiet = ["--disable-gpu", "--disable-background-networking", "--no-first-run"]
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    return {**browser_type_launch_args, "executable_path": str(chromium), "args": [*quiet, *sandbox]}


@pytest.fixture(scope="session")
def firefox(playwright: Playwright) -> Iterator[Browser]:
    """The machine's own Firefox, which Playwright drives by WebDriver BiDi: what Chromium feigns by CDP is a preference here."""
    try:
        program = programs.firefox()
    except Missing as missing:
        not_run(missing)
    firefox = playwright.firefox.launch(
        channel="moz-firefox",
        executable_path=str(program),
        firefox_user_prefs={"ui.prefersReducedMotion": 1, **dict.fromkeys(POINTERS, 6)},  # 6: a mouse, whatever this machine has
    )
    yield firefox
    firefox.close()


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "chromium"))


def manage(database_url: str, *words: str, settings: str = SETTINGS) -> str:
    """Runs `manage.py` in a process of its own, as somebody at a shell would. Its output."""
    env = os.environ | environment(database_url, settings=settings)
    done = subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"manage.py {' '.join(words)}: {done.stderr}")
    return done.stdout


def environment(database_url: str, redis_url: str = "", settings: str = SETTINGS) -> dict[str, str]:
    """What the demo reads of it, whatever this shell has set."""
    return {
        "DJANGO_SETTINGS_MODULE": settings,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DEMO": "1",
        "DEBUG": "0",
        "ALLOWED_HOSTS": "",
    }


@pytest.fixture(scope="session")
def seeded_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's database as `make demo` leaves it; each test works on a copy."""
    database = tmp_path_factory.mktemp("demo") / "seeded.sqlite3"
    manage(f"sqlite:///{database}", "migrate", "--verbosity", "0")
    manage(f"sqlite:///{database}", "seed_demo")
    return database  # one file: the last connection that closes takes the write-ahead log in


@pytest.fixture(scope="session")
def sessions(seeded_database: Path) -> dict[str, str]:
    """Good at every copy of the database."""
    return sign_everybody_in(f"sqlite:///{seeded_database}")


def sign_everybody_in(database_url: str, settings: str = SETTINGS) -> dict[str, str]:
    """A session key of each of the demo's people: a sign-in by the form takes seconds."""
    code = (
        "import json\n"
        "from django.contrib.auth.models import User\n"
        "from tests.site.client import new_session\n"
        "print(json.dumps({user.username: new_session(user) for user in User.objects.all()}))\n"
    )
    return dict(json.loads(manage(database_url, "shell", "--no-imports", "-c", code, settings=settings)))


class Shell:
    """Another process beside the servers, which lives as long as the run: to start one for each word takes a second."""

    def __init__(self, settings: str, redis_url: str) -> None:
        env = os.environ | environment("sqlite:///:memory:", redis_url, settings)
        words = [sys.executable, "-m", "tests.site.shell"]
        self.process = subprocess.Popen(words, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, database_url: str, code: str) -> str:
        """What the code has printed, on this SQLite file."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([database_url.removeprefix("sqlite:///"), code]) + "\n")
        self.process.stdin.flush()
        printed, error = json.loads(self.process.stdout.readline())
        if error:
            raise RuntimeError(error)
        return str(printed)

    def stop(self) -> None:
        self.process.communicate()  # it ends with its input


shells: dict[tuple[str, str], Shell] = {}


@pytest.fixture(scope="session", autouse=True)
def no_shell_is_left() -> Iterator[None]:
    yield
    stop_shells()


def stop_shells() -> None:
    while shells:
        shells.popitem()[1].stop()


HEAD = """
from django.contrib.auth.models import User
from project.shop.models import Order, Comment
mina, noor, teo, jonas = (User.objects.get(username=n) for n in ('mina', 'noor', 'teo', 'jonas'))
halcyon = Order.objects.numbered(1044).get()
"""


TAIL = """
import time
from notifications.models import Event
end = time.monotonic() + 2
while Event.objects.filter(pending=True).exists() and time.monotonic() < end: time.sleep(0.01)
"""
"""What was told is relayed by the server, if it lives: a page without scripts that is opened then shows it, or never. A relay in
another process tells nobody here, so it is asked for."""


class Demo:
    """A running demo shop: a server process, its database and, where several share one, its Redis."""

    def __init__(
        self, server: AsgiProcess, database_url: str, redis_url: str = "", *, settings: str = SETTINGS, head: str = HEAD
    ) -> None:
        self.server = server
        self.database_url = database_url
        self.redis_url = redis_url
        self.settings = settings
        self.head = head
        """What stands ready for those who `run()` something: the people and the models."""

    @property
    def url(self) -> str:
        return self.server.url

    def run(self, code: str) -> str:
        """Python in another process, on the same database. What it prints."""
        key = self.settings, self.redis_url
        shell = shells.get(key) or shells.setdefault(key, Shell(*key))
        return shell.run(self.database_url, self.head + code + TAIL)


@contextlib.contextmanager
def running_demo(seeded: Path, directory: Path, redis_url: str = "") -> Iterator[Demo]:
    """The demo on a copy of the seeded database. With a Redis, what another process tells arrives at once."""
    database = directory / "demo.sqlite3"
    shutil.copy(seeded, database)
    url = f"sqlite:///{database}"
    with daphne_process(environment(url, redis_url), application=APPLICATION) as server:
        yield Demo(server, url, redis_url)
        server.kill()  # how a server stops is told elsewhere; with a request under way Daphne may take its ten seconds


@pytest.fixture
def demo(seeded_database: Path, sessions: dict[str, str], tmp_path: Path, redis_url: str) -> Iterator[Demo]:
    with running_demo(seeded_database, tmp_path, redis_url) as demo:
        yield demo


class Window:
    """One tab of one person, with the words that the tests use."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base

    def open(self, path: str) -> "Window":
        self.page.goto(self.base + path)
        return self

    def listening(self, timeout: float | None = None) -> "Window":
        """Waits until the page's socket has been answered."""
        expect(self.page.locator("notification-stream")).to_have_attribute("state", "open", timeout=timeout)
        return self

    def until(self, expression: str, within: float = 60.0) -> None:
        """Waits until the expression is true in the page. `wait_for_function` would want to evaluate it as the page does, which
        the site's policy forbids."""
        deadline = time.monotonic() + within
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"not within {within} s: {expression}"
            self.page.wait_for_timeout(20)

    def stay(self) -> None:
        """From here on `has_stayed` tells whether the page was ever loaded anew."""
        self.page.evaluate("window.hasStayed = true")

    @property
    def has_stayed(self) -> bool:
        return bool(self.page.evaluate("window.hasStayed === true"))

    @property
    def bell(self) -> Locator:
        return self.page.locator("notification-bell > button")

    @property
    def badge(self) -> Locator:
        return self.page.locator("notification-bell [data-part=badge]")

    @property
    def toasts(self) -> Locator:
        return self.page.locator("notification-toasts .notifications-toast")

    @property
    def rows(self) -> Locator:
        """The rows of the inbox page, or of the bell's panel where there is no other list."""
        return self.page.locator("notification-list").last.locator("[data-part=items] > [data-id]")

    def expect_unseen(self, count: int) -> None:
        """The bell shows this number and says it to those who do not see it."""
        if count:
            expect(self.badge).to_have_text(str(count))
            expect(self.bell).to_have_accessible_name(f"Notifications, {count} unseen")
        else:
            expect(self.badge).to_be_hidden()
            expect(self.bell).to_have_accessible_name("Notifications")


class CountedWindow(Window):
    """A window whose sockets are counted."""

    def __init__(self, page: Page, base: str) -> None:
        super().__init__(page, base)
        self.sockets: list[WebSocket] = []
        """All that it has opened."""
        page.on("websocket", self.opened)

    def opened(self, socket: WebSocket) -> None:
        self.sockets.append(socket)

    @property
    def connections(self) -> int:
        return sum(not socket.is_closed() for socket in self.sockets)


def expect_one_connection(*windows: CountedWindow) -> None:
    """Soon: to close one takes an answer of the server's, and a window that has just given its own up may still wait for it."""
    expect_soon(windows[0].page, lambda: sum(window.connections for window in windows) == 1)


def expect_soon(page: Page, fact: Callable[[], bool]) -> None:
    """What no locator can wait for. The page goes on meanwhile."""
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


def stretched(wait: int, to: int) -> str:
    """A script by which the page's timers of so many milliseconds take so many others: for those that a late machine misses."""
    return f"""(() => {{
      const later = setTimeout;
      window.setTimeout = (run, wait) => later(run, wait === {wait} ? {to} : wait);
    }})()"""


class Person:
    """A browser profile of its own: cookies, tabs."""

    def __init__(self, context: BrowserContext, base: str, faults: list[str], sessions: dict[str, str]) -> None:
        self.context = context
        self.base = base
        self.faults = faults
        self.sessions = sessions

    def window(self, path: str = "") -> Window:
        page = self.context.new_page()
        watch(page, self.faults)
        window = Window(page, self.base)
        return window.open(path) if path else window

    def signed_in(self, username: str, path: str = "/orders/") -> Window:
        """A window of somebody who has signed in before: the cookie is there."""
        self.context.add_cookies([{"name": "sessionid", "value": self.sessions[username], "url": self.base}])
        return self.window(path)

    def sign_in(self, username: str, path: str = "/orders/") -> Window:
        window = self.window(f"/login/?next={path}")
        window.page.get_by_label("Username").fill(username)
        window.page.get_by_label("Password").fill(PASSWORD)
        window.page.get_by_role("main").get_by_role("button", name="Sign in").click()
        window.page.wait_for_url(self.base + path)
        return window


def watch(page: Page, faults: list[str]) -> None:
    def hear(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "violation" in message.text:
            faults.append(f"{page.url}: {message.text}")

    def fail(error: Error) -> None:
        if not any(words in str(error) for words in FIREFOX_SAYS):
            faults.append(f"{page.url}: {error}")

    page.on("console", hear)
    page.on("pageerror", fail)
    page.add_init_script(
        "document.addEventListener('securitypolicyviolation', (e) =>"
        " console.error('violation: ' + e.violatedDirective + ' ' + e.blockedURI + ' ' + e.sourceFile))"
    )


@pytest.fixture
def faults() -> Iterator[list[str]]:
    found: list[str] = []
    yield found
    assert not found, "the pages broke their policy or raised: " + "\n".join(found)


People = Callable[..., Person]


@pytest.fixture
def person(
    request: pytest.FixtureRequest, engine: str, demo: Demo, sessions: dict[str, str], faults: list[str]
) -> Iterator[People]:
    """`person()` is somebody with a browser of their own; `at` another server. Further arguments are a context's."""
    browser: Browser = request.getfixturevalue("browser" if engine == "chromium" else "firefox")
    with contextlib.ExitStack() as stack:

        def make(at: str = demo.url, **options: Any) -> Person:
            context = browser.new_context(**{"locale": "en-GB", "reduced_motion": "reduce"} | options)
            stack.callback(context.close)
            if engine == "firefox" and not options.get("java_script_enabled", True):
                context.route("**/*.js", lambda route: route.abort())  # to switch it off there is beyond Playwright
            return Person(context, at, faults, sessions)

        yield make
