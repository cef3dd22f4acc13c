"""A private Redis (or Valkey) without persistence: a restarted one has forgotten everything, as an empty replica would."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import redis

from tests.servers import programs
from tests.servers.process import HOST, ServerProcess

__all__ = ["RedisServer", "redis_server"]


class RedisServer(ServerProcess):
    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def command(self) -> list[str | Path]:
        options = {"bind": HOST, "port": str(self.port), "dir": str(self.directory), "save": "", "appendonly": "no"}
        return [programs.redis(), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def is_ready(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.port, socket_timeout=5)

    def flush(self) -> None:
        """Forgets everything and keeps its connections."""
        with self.client() as client:
            client.flushall()

    def connections_made(self) -> int:
        """Since its start, the one that asks included."""
        with self.client() as client:
            return int(client.info("stats")["total_connections_received"])  # type: ignore[index]


@contextlib.contextmanager
def redis_server() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="redis-") as directory, RedisServer(directory=Path(directory)) as server:
        yield server
