"""Examine the running installation from end to end: what is wrong, and how to mend it. For people and for monitoring."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from notifications.doctor import Finding, counts, database, first_line, new_epochs, pending, settings
from notifications.roll_call import hubs, layer
from notifications.visitor import visit

CODES: Final = {"ok": 0, "unknown": 0, "warning": 1, "broken": 2}


class Command(BaseCommand):
    help = (
        "Examine the running installation: settings, database, channel layer, server processes, pending events, counts; with "
        "--url also the way through the proxy. Ends with 0 if all is well, 1 if something works less well than promised, 2 if "
        "something is broken."
    )
    requires_system_checks = ()  # they are among the findings

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", metavar="https://SITE/", help="the site as browsers reach it: try its pages and its socket")
        parser.add_argument(
            "--session", default="", metavar="KEY", help="a signed-in user's session cookie; - reads it from input"
        )
        parser.add_argument(
            "--idle-seconds", type=float, default=70.0, metavar="N", help="keep a quiet socket open (default: 70)"
        )
        parser.add_argument("--json", action="store_true", help="print the findings as one JSON object")
        parser.add_argument("--repair", action="store_true", help="count inboxes anew that do not agree with their rows")
        parser.add_argument("--new-epoch", action="store_true", help="after a restored database: every page begins anew")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["session"] and not options["url"]:
            raise CommandError("--session belongs to --url")
        if options["url"] and not options["url"].startswith(("http://", "https://")):
            raise CommandError("--url begins with http:// or https://")
        if options["session"] == "-":
            options["session"] = sys.stdin.readline().strip()
        findings = []
        for finding in examined(**options):
            findings.append(finding)
            if not options["json"]:
                self.say(finding)
        code = max(CODES[finding.level] for finding in findings)
        if options["json"]:
            self.stdout.write(json.dumps({"code": code, "findings": [asdict(finding) for finding in findings]}, indent=1))
        if code:
            sys.exit(code)

    def say(self, finding: Finding) -> None:
        style = {"ok": self.style.SUCCESS, "warning": self.style.WARNING, "broken": self.style.ERROR}.get(finding.level, str)
        mend = f" -> {finding.mend}" if finding.mend else ""
        self.stdout.write(f"{style(f'{finding.level:8}')} {finding.subject}: {finding.text}{mend}")


def examined(*, url: str | None, session: str, idle_seconds: float, repair: bool, new_epoch: bool, **_: Any) -> Iterator[Finding]:
    """All findings, each as soon as it is known. The hubs come after the visit, since Daphne's first begins with a request."""
    yield from _each(settings)
    found = list(_each(database))
    yield from found
    yield from _each(layer)
    seen = list(_each(lambda: visit(url, session=session, idle_seconds=idle_seconds))) if url else []
    yield from seen
    is_reached = any(finding.subject == "socket" and finding.level == "ok" for finding in seen)
    yield from _each(lambda: hubs(is_reached=is_reached))
    if any(finding.level == "broken" for finding in found):
        yield Finding("counts", "unknown", "cannot be looked at without the database")
        return
    yield from _each(pending)
    if new_epoch:
        yield from _each(new_epochs)
    yield from _each(lambda: counts(repairs=repair))


def _each(examine: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from examine()
    except Exception as error:  # noqa: BLE001 - one examination that fails says so and keeps none of the others
        text = f"the examination failed: {type(error).__name__}: {first_line(error)}"
        yield Finding("doctor", "broken", text, "Mend what the error names; if it is the doctor's own, report it.")
