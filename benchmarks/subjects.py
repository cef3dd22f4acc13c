"""Who is measured: a way of telling pages, on a server, a channel layer and a database."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import product
from typing import Final

__all__ = ["DATABASES", "LAYERS", "REFERENCE", "SERVERS", "TUNED", "WAYS", "Subject", "by_name", "chosen", "usual"]

WAYS: Final = {
    "bare": "the server alone",
    "channels": "plain Channels",
    "tuned": "plain Channels, tuned",
    "socketio": "python-socketio",
    "eventstream": "django-eventstream",
    "live": "django-live-notifications",
}
SERVERS: Final = ("daphne", "direct", "uvicorn")
"""`direct` is Daphne with the app's direct writes."""
LAYERS: Final = ("memory", "core", "pubsub")
DATABASES: Final = ("sqlite", "postgres")


@dataclass(frozen=True, order=True)
class Subject:
    way: str
    server: str = "daphne"
    layer: str = "pubsub"
    """Of others than Channels' and the app's it says no more than whether a Redis of their own is in use."""
    database: str = "sqlite"

    @property
    def name(self) -> str:
        return f"{self.way}-{self.server}-{self.layer}-{self.database}"

    @property
    def title(self) -> str:
        """For people."""
        layer = {"memory": "in-memory", "core": "core", "pubsub": "pub/sub"}[self.layer]
        layer = layer if self.is_django else "Redis"
        server = "direct writes" if self.server == "direct" else self.server
        return f"{WAYS[self.way]}, {server}, {layer}, {'PostgreSQL' if self.database == 'postgres' else 'SQLite'}"

    @property
    def is_daphne(self) -> bool:
        return self.server != "uvicorn"

    @property
    def is_django(self) -> bool:
        """Its handshake is that of a signed-in user of Django's."""
        return self.way in {"channels", "tuned", "live"}

    @property
    def is_alone(self) -> bool:
        """Its layer reaches no other process, so that all work is triggered within the server."""
        return self.layer == "memory"


REFERENCE: Final = Subject("channels")
"""Plain Channels on its best layer, as its tutorial has it: what every ratio is held against."""
TUNED: Final = Subject("tuned")
"""The same at its best: with the collector set, and one hop to an event loop for many users."""


def by_name(name: str) -> Subject:
    return Subject(*name.split("-"))


def usual() -> list[Subject]:
    """What `make bench` compares if nothing else is asked for."""
    mine = [Subject("live", server) for server in SERVERS]
    mine += [Subject("live", "daphne", database="postgres")]
    others = [TUNED, Subject("channels", "uvicorn"), Subject("socketio", "uvicorn"), Subject("eventstream", "uvicorn")]
    others += [Subject("bare"), Subject("bare", "uvicorn")]
    return [REFERENCE, *others, *mine]


def chosen(
    *, ways: Collection[str], servers: Collection[str], layers: Collection[str], databases: Collection[str]
) -> list[Subject]:
    """Every combination that makes sense: libraries with a Redis of their own know no layers and store nothing here."""
    found = [REFERENCE]
    for way, server, layer, database in product(ways, servers, layers, databases):
        is_other = way in {"bare", "socketio", "eventstream"}
        if (way == "live" or server != "direct") and not (is_other and (layer != "pubsub" or database != "sqlite")):
            found.append(Subject(way, server, layer, database))
    return list(dict.fromkeys(found))
