"""The doctor as tests call it: its findings and the exit status that monitoring would see."""

import json
from io import StringIO
from typing import Any, NamedTuple

from django.core.management import call_command

__all__ = ["Report", "doctor"]


class Report(NamedTuple):
    code: int
    findings: list[dict[str, str]]

    def of(self, subject: str) -> list[tuple[str, str]]:
        """Level and text of each finding about it."""
        return [(each["level"], each["text"]) for each in self.findings if each["subject"] == subject]

    @property
    def levels(self) -> dict[str, str]:
        """The worst level of each subject."""
        order = ["ok", "unknown", "warning", "broken"]
        return {
            subject: max((level for level, _ in self.of(subject)), key=order.index)
            for subject in dict.fromkeys(each["subject"] for each in self.findings)
        }


def doctor(*words: str, **options: Any) -> Report:
    out, code = StringIO(), 0
    try:
        call_command("notifications_doctor", "--json", *words, stdout=out, **options)
    except SystemExit as end:
        code = int(end.code or 0)
    told = json.loads(out.getvalue())
    assert told["code"] == code
    assert all(each["mend"] for each in told["findings"] if each["level"] in ("warning", "broken"))
    return Report(code, told["findings"])
