"""`make demo`, run as a reader of the README runs it: in a copy of the tree, in one command, once and again."""

import re
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.conftest import not_run
from tests.servers import AsgiProcess
from tests.site.people import Browser

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).resolve().parents[2]
NOT_THE_SOURCE = (".git", ".venv", ".nox", ".*_cache", ".hypothesis", "__pycache__", "node_modules", "artefacts", "*.sqlite3*")

# A shell in which a reader follows the README knows nothing of this run.
SETTINGS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DEMO", "DEBUG", "HTTPS", "PORT")
STRANGER = dict.fromkeys((*SETTINGS, "DJANGO_SETTINGS_MODULE", "PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"))

ADDRESS = re.compile(r"^  Open  (\S+)$", re.MULTILINE)
LOGIN = re.compile(r"^    (\w+) +\S+: .+$", re.MULTILINE)
PASSWORD = re.compile(r"password for all: ([^)]+)\)")

Rows = dict[str, list[tuple[object, ...]]]


class MakeDemo(AsgiProcess):
    """`make demo PORT=...`, ended as a closed terminal ends it: all that it started with it."""

    def __init__(self, copy: Path) -> None:
        super().__init__(directory=copy, env=STRANGER)

    def command(self) -> list[str | Path]:
        return ["make", "demo", f"PORT={self.port}"]

    def working_directory(self) -> Path:
        return self.directory

    def stop(self, timeout: float = 10) -> int | None:
        if self.process is not None:
            self.signal(signal.SIGTERM)
        return super().stop(timeout)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree without what git ignores, and in its `.venv` what this Python has: nothing is left to be installed."""
    if shutil.which("make") is None:
        not_run("no make")
    copy = tmp_path_factory.mktemp("copy") / "django-live-notifications"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_THE_SOURCE))
    environment = copy / ".venv"
    environment.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (environment / name).symlink_to(Path(sys.prefix, name))
    for stamp in (".demo-installed", ".tests-installed"):
        (environment / stamp).touch()
    return copy


def content(copy: Path) -> Rows:
    """All that the demo's database holds."""
    with sqlite3.connect(copy / "demo.sqlite3") as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        rows = {table: sorted(connection.execute(f'SELECT * FROM "{table}"'), key=repr) for table in tables}
    connection.close()
    return rows


def assert_the_logins_are_right(demo: MakeDemo) -> None:
    (password,) = PASSWORD.findall(demo.log)
    assert LOGIN.findall(demo.log) == ["mina", "noor", "teo", "jonas"]
    visitor = Browser(demo)
    visitor.post("/login/", "/login/", username="mina", password=password)
    assert "sessionid" in visitor.cookies
    assert "<notification-bell" in visitor.get("/orders/")


def test_make_demo_says_where_it_is_and_who_can_sign_in_there_and_does_so_again(copy, monkeypatch):
    monkeypatch.setattr("tests.servers.process.READY_SECONDS", 90)  # it migrates and hashes passwords before it answers
    with MakeDemo(copy) as demo:
        assert ADDRESS.findall(demo.log) == [f"{demo.url}/"]
        assert "Mina" in Browser(demo).get("/")
        assert_the_logins_are_right(demo)
    assert not demo.is_ready(), "it outlives its terminal"

    with sqlite3.connect(copy / "demo.sqlite3") as connection:
        connection.execute("UPDATE auth_user SET first_name = 'Wilhelmina' WHERE username = 'mina'")
        connection.execute("UPDATE shop_bell SET price = 1 WHERE slug = 'desk-bell'")
    connection.close()
    before = content(copy)
    with MakeDemo(copy) as again:
        assert again.port != demo.port
        assert ADDRESS.findall(again.log) == [f"{again.url}/"]
        assert content(copy) == before
        assert "Mina" in Browser(again).get("/")
    for word in ("Traceback", "Installing", "Warning"):
        assert word not in demo.log + again.log
