"""A real Daphne or uvicorn that serves the test site, or any other ASGI application, in a process of its own."""

import contextlib
import http.client
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.servers.process import HOST, ServerProcess

__all__ = ["AsgiProcess", "DaphneProcess", "UvicornProcess", "daphne_process", "uvicorn_process"]

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = "tests.site.asgi:application"
SETTINGS = "tests.site.settings"


class AsgiProcess(ServerProcess):
    def __init__(
        self,
        *,
        directory: Path,
        port: int | None = None,
        env: Mapping[str, str | None] | None = None,
        application: str = APPLICATION,
        options: tuple[str, ...] = (),
    ) -> None:
        super().__init__(directory=directory, port=port, env=env)
        self.application = application
        """`module:name`, importable from the repository's root."""
        self.options = options
        """Further words of the server's command line."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def websocket_url(self) -> str:
        return f"ws://{HOST}:{self.port}"

    def working_directory(self) -> Path:
        return ROOT

    def is_ready(self) -> bool:
        """Any answer over HTTP will do, 404 and 500 too: the tests say what it should be."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", "/", headers={"User-Agent": "is it up"})
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True


class DaphneProcess(AsgiProcess):
    def command(self) -> list[str | Path]:
        endpoint = f"tcp:port={self.port}:interface={HOST}:backlog=2048"  # as docs/deploy.md has it
        return [sys.executable, "-m", "daphne", "-e", endpoint, *self.options, self.application]


class UvicornProcess(AsgiProcess):
    def command(self) -> list[str | Path]:
        return [sys.executable, "-m", "uvicorn", "--host", HOST, "--port", str(self.port), *self.options, self.application]


def daphne_process(
    env: Mapping[str, str | None] | None = None,
    *,
    application: str = APPLICATION,
    settings: str = SETTINGS,
    port: int | None = None,
    options: tuple[str, ...] = (),
) -> contextlib.AbstractContextManager[AsgiProcess]:
    """A Daphne with these environment variables (`DATABASE_URL`, `REDIS_URL` ...) on top of our own, answering requests.

    `settings`: the module that the application runs under; what pytest-django has put into our environment means nothing to it.
    """
    return serving(DaphneProcess, env, application=application, settings=settings, port=port, options=options)


def uvicorn_process(
    env: Mapping[str, str | None] | None = None,
    *,
    application: str = APPLICATION,
    settings: str = SETTINGS,
    port: int | None = None,
    options: tuple[str, ...] = (),
) -> contextlib.AbstractContextManager[AsgiProcess]:
    """The same with uvicorn."""
    return serving(UvicornProcess, env, application=application, settings=settings, port=port, options=options)


@contextlib.contextmanager
def serving(
    server: Callable[..., AsgiProcess],
    env: Mapping[str, str | None] | None,
    *,
    application: str,
    settings: str,
    port: int | None,
    options: tuple[str, ...],
) -> Iterator[AsgiProcess]:
    with tempfile.TemporaryDirectory(prefix="asgi-") as directory:
        env = {"DJANGO_SETTINGS_MODULE": settings, **(env or {})}
        process = server(directory=Path(directory), port=port, env=env, application=application, options=options)
        with process:
            yield process
