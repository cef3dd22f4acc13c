"""The wheel, installed into a fresh site by the README's steps and nothing else, works there."""

import gzip
import http.cookiejar
import json
import os
import shlex
import subprocess
import sys
import urllib.parse
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import minify
import pytest
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from hatch_build import shorten
from tests.conftest import not_run
from tests.servers import AsgiProcess, Missing, free_port, programs
from tests.wheel.readme import installation_steps

pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "django-live-notifications"
ADMIN = {"USERNAME": "ada", "PASSWORD": "correct horse battery", "EMAIL": "ada@example.com"}
FRAME_SECONDS = 20
STATIC = "notifications/static/notifications"
LARGEST = {".js": 14_000, ".css": 5_000}
"""Bytes that a page loads of each kind, gzipped, each file by itself."""

# A shell in which a reader follows the README knows nothing of this repository.
STRANGER = dict.fromkeys(("DJANGO_SETTINGS_MODULE", "PYTHONPATH", "DATABASE_URL", "REDIS_URL", "VIRTUAL_ENV"))


def run(*command: str | Path, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name not in STRANGER}
    env |= {f"DJANGO_SUPERUSER_{name}": value for name, value in ADMIN.items()}
    done = subprocess.run(command, cwd=cwd, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with the pinned hatchling of this environment: an isolated build would fetch whatever is newest today."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and what the wheel itself asks for, in the versions that we test with.

    A real installation rather than a path to our own packages: an undeclared dependency has to fail here.
    """
    folder = tmp_path_factory.mktemp("environment")
    pinned = folder / "constraints.txt"
    freeze = run(sys.executable, "-m", "pip", "freeze", "--exclude-editable", cwd=folder)
    pinned.write_text("".join(line for line in freeze.splitlines(keepends=True) if "==" in line))
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--quiet"]
    run(*pip, "install", "--no-compile", "--constraint", pinned, wheel, cwd=folder)
    return python


@pytest.fixture(scope="module")
def site(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `django-admin startproject mysite` makes, and then every step of the README up to the one that serves it."""
    folder = tmp_path_factory.mktemp("site")
    run(python, "-m", "django", "startproject", "mysite", folder, cwd=folder)
    for step in installation_steps((ROOT / "README.md").read_text()):
        if step.action == "run":
            for line in step.text.splitlines():
                run_line(line, python, folder)
        elif step.action == "append":
            with (folder / step.path).open("a") as file:
                file.write(f"\n{step.text}")
        else:
            (folder / step.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / step.path).write_text(step.text)
    return folder


def run_line(line: str, python: Path, folder: Path) -> None:
    """A line of the README's shell, but for three: the wheel is installed already, nobody types, and the server comes later."""
    words = shlex.split(line)
    assert words[0] == "python", f"the README's commands begin with `python`: {line}"
    if words[1:] == ["-m", "pip", "install", PACKAGE] or words[1:] == ["manage.py", "runserver"]:
        return
    unattended = ["--noinput"] if words[2] == "createsuperuser" else []
    run(python, *words[1:], *unattended, cwd=folder)


class Runserver(AsgiProcess):
    """`python manage.py runserver`, on a port of our own."""

    def __init__(self, python: Path, site: Path) -> None:
        super().__init__(directory=site, port=free_port(), env=STRANGER)
        self.python = python

    def command(self) -> list[str | Path]:
        return [self.python, "manage.py", "runserver", str(self.port)]

    def working_directory(self) -> Path:
        return self.directory


@pytest.fixture(scope="module")
def server(python: Path, site: Path) -> Iterator[Runserver]:
    with Runserver(python, site) as server:
        yield server


class Browser:
    """As much of a browser as it takes to sign in and fill in a form."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def get(self, path: str) -> str:
        with self.opener.open(self.url + path, timeout=FRAME_SECONDS) as response:
            return str(response.read().decode())

    def fill_in(self, path: str, **fields: str) -> str:
        self.get(path)  # for the token
        token = next(cookie.value or "" for cookie in self.jar if cookie.name == "csrftoken")
        data = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": token}).encode()
        with self.opener.open(self.url + path, data, timeout=FRAME_SECONDS) as response:
            return str(response.read().decode())

    @property
    def cookies(self) -> str:
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.jar)


class Elements(HTMLParser):
    """The start tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def signed_in(server: Runserver) -> Browser:
    browser = Browser(server.url)
    page = browser.fill_in("/admin/login/?next=/admin/", username=ADMIN["USERNAME"], password=ADMIN["PASSWORD"])
    assert "Site administration" in page
    return browser


def test_the_wheel_carries_the_app_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tree = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "notifications").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == tree
    assert "notifications/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    for kind in ("migrations/0001_initial.py", "templates/notifications/", "static/notifications/", "locale/"):
        assert any(name.startswith(f"notifications/{kind}") for name in names), kind


@pytest.mark.parametrize("kind", LARGEST)
def test_what_a_page_loads_is_small(wheel: Path, kind: str, record_property) -> None:
    """Without the themes: a page has one of them at the most."""
    files = shipped(wheel, kind)
    assert len(files) == len(list((ROOT / STATIC).glob(f"*{kind}")))
    size = sum(len(gzip.compress(content, 9)) for content in files.values())
    record_property(f"{kind} in the wheel, gzipped", size)
    assert size <= LARGEST[kind]


def test_the_wheel_explains_nothing_to_a_browser_and_the_repository_all(wheel: Path) -> None:
    for kind in LARGEST:
        for name, content in shipped(wheel, kind).items():
            assert b"/**" in (ROOT / name).read_bytes() or b"/*" in (ROOT / name).read_bytes(), "the premise"
            assert not any(line.strip().startswith((b"/*", b"*", b"//")) for line in content.splitlines()), name


def test_the_scripts_that_ship_pass_the_clients_own_tests(wheel: Path, tmp_path: Path) -> None:
    try:
        node = programs.node()
    except Missing as missing:
        not_run(missing)
    zipfile.ZipFile(wheel).extractall(tmp_path)
    env = os.environ | {"CLIENT": str(tmp_path / STATIC)}
    tests = sorted(str(path) for path in (ROOT / "tests/js").glob("*.test.*js"))
    done = subprocess.run([node, "--test", *tests], cwd=ROOT, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert tests


@pytest.mark.parametrize(("strip", "works"), [(shorten, True), (partial(minify.string, "application/javascript"), False)])
def test_no_constant_moves_behind_what_needs_it(strip, works: bool, tmp_path: Path) -> None:
    """The second line is why the first takes care; once it turns red, the minifier has learnt it."""
    script = "export const f = (given) => { const none = String(1); const { ref = none } = given; return ref };"
    (tmp_path / "script.mjs").write_text(f"{strip(script)}\nif (f({{}}) !== '1') throw new Error();")
    done = subprocess.run([programs.node(), tmp_path / "script.mjs"], check=False, capture_output=True, text=True)
    assert (done.returncode == 0) is works, done.stderr


def shipped(wheel: Path, kind: str) -> dict[str, bytes]:
    archive = zipfile.ZipFile(wheel)
    names = [name for name in archive.namelist() if Path(name).parent == Path(STATIC) and name.endswith(kind)]
    return {name: archive.read(name) for name in names}


def test_the_fresh_site_passes_its_own_checks(python: Path, site: Path) -> None:
    run(python, "manage.py", "check", "--fail-level", "WARNING", cwd=site)
    run(python, "manage.py", "makemigrations", "--check", cwd=site)


def test_the_page_has_a_bell_and_every_file_that_it_asks_for(signed_in: Browser) -> None:
    page = Elements(signed_in.get("/admin/"))
    assert page.named("notification-bell")
    assert page.named("notification-toasts")
    ours = [script["src"] for script in page.named("script") if "notifications/" in script.get("src", "")]
    ours += [link["href"] for link in page.named("link") if "notifications/" in link.get("href", "")]
    assert any(name.endswith(".js") for name in ours)
    assert any(name.endswith(".css") for name in ours)
    for name in ours:
        assert signed_in.get(name)


def test_a_change_in_the_admin_arrives_at_the_open_page(server: Runserver, signed_in: Browser) -> None:
    assert "ada has joined" in Elements(signed_in.get("/notifications/")).text
    (stream,) = Elements(signed_in.get("/admin/")).named("notification-stream")
    with connect(
        server.websocket_url + urllib.parse.urlsplit(stream["url"]).path,
        origin=Origin(server.url),
        subprotocols=[Subprotocol("notifications.v1.json")],
        additional_headers={"Cookie": signed_in.cookies},
        open_timeout=FRAME_SECONDS,
    ) as socket:
        socket.send(json.dumps({"type": "hello", "position": stream["position"], "language": "en"}))
        assert json.loads(socket.recv(FRAME_SECONDS))["type"] == "welcome"

        words = "a long enough password"
        signed_in.fill_in("/admin/auth/user/add/", username="grace", password1=words, password2=words, usable_password="true")

        titles: list[str] = []
        while not titles:
            frame = json.loads(socket.recv(FRAME_SECONDS))
            titles = [item["title"] for item in frame.get("items", [])]
        assert titles == ["grace has joined"]
        assert frame["unread"] == 2
    assert "grace has joined" in Elements(signed_in.get("/notifications/")).text
