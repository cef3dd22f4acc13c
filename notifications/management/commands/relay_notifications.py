"""Relay what is pending, where no server process with a hub does it: under plain WSGI, or beside Celery workers."""

import time
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, InterfaceError, connections

from notifications.outbox import event_alias
from notifications.relay import Relayed, sweep

SHORTEST_SECONDS: Final = 0.1  # between two looks, so that no interval makes them a busy loop


class Command(BaseCommand):
    help = "Relay pending notification events, then go on looking for more until it is stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="relay what is pending now, then end")
        parser.add_argument("--interval", type=float, default=5.0, metavar="SECONDS", help="time between looks (default: 5)")

    def handle(self, *args: Any, **options: Any) -> None:
        while True:
            swept = Relayed()
            try:
                swept = sweep()
            except (DatabaseError, InterfaceError) as error:  # it restarts, or a deploy has not migrated it yet: live on
                if options["once"]:
                    raise
                self.stderr.write(f"The database {event_alias()!r} is away: {error}")
                connections[event_alias()].close()
            if options["once"]:
                return
            time.sleep(swept.rest if swept.is_more_due else max(options["interval"], SHORTEST_SECONDS))  # the pace of its sweep
