"""A command of the site's that tells a user something, and ends."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from notifications import notify


class Command(BaseCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", type=int)
        parser.add_argument("title")

    def handle(self, *args: Any, **options: Any) -> None:
        notify("plain", to=options["user"], title=options["title"])
