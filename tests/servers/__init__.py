"""Private servers for tests: real processes on free ports, in temporary directories, each ended by its own handle.

    with redis_server() as redis, daphne_process({"REDIS_URL": redis.url}) as site:
        requests go to site.url; site.kill(), site.restart(); redis.suspend(), redis.resume(), redis.flush()

A program that this machine lacks raises `Missing`; `tests/conftest.py` turns that into a test that was not run.
"""

from tests.servers.asgi import AsgiProcess, daphne_process, uvicorn_process
from tests.servers.postgres import PostgresServer, postgres_server
from tests.servers.process import NotReady, ServerProcess, free_port
from tests.servers.programs import Missing
from tests.servers.proxy import TcpProxy, tcp_proxy
from tests.servers.redis import RedisServer, redis_server
from tests.servers.wsgi import WsgiProcess, wsgi_process

__all__ = [
    "AsgiProcess",
    "Missing",
    "NotReady",
    "PostgresServer",
    "RedisServer",
    "ServerProcess",
    "TcpProxy",
    "WsgiProcess",
    "daphne_process",
    "free_port",
    "postgres_server",
    "redis_server",
    "tcp_proxy",
    "uvicorn_process",
    "wsgi_process",
]
