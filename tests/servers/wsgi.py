"""A plain WSGI server in a process of its own: one thread a request, and neither WebSocket nor event streams.

python -m tests.servers.wsgi MODULE:NAME PORT
"""

import contextlib
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from tests.servers.asgi import AsgiProcess, serving
from tests.servers.process import HOST

__all__ = ["WsgiProcess", "wsgi_process"]


class WsgiProcess(AsgiProcess):
    """Another kind of application, served and asked in the same way."""

    def command(self) -> list[str | Path]:
        return [sys.executable, "-m", "tests.servers.wsgi", self.application, str(self.port)]


def wsgi_process(
    env: Mapping[str, str | None] | None = None, *, application: str, settings: str, port: int | None = None
) -> contextlib.AbstractContextManager[AsgiProcess]:
    """A server of the WSGI application `module:name` with these environment variables on top of our own, answering requests."""
    return serving(WsgiProcess, env, application=application, settings=settings, port=port, options=())


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Silent(WSGIRequestHandler):
    def log_message(self, *words: object) -> None:
        return


def main(application: str, port: int) -> None:
    module, _, name = application.partition(":")
    with make_server(HOST, port, getattr(import_module(module), name), Server, Silent) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
