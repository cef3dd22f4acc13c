"""What was measured: a list of values, one a round, by work, subject and figure; and what has to be said about it. Pure."""

from collections import defaultdict
from typing import Any, Final

__all__ = ["UNITS", "Results", "unit_of"]

UNITS: Final = {"us": "µs", "ms": "ms", "seconds": "s", "kb": "KB", "each": "", "count": "", "share": "", "bytes": "bytes"}
"""By the last word of a figure's name."""


class Results:
    def __init__(self) -> None:
        self.values: dict[str, dict[str, dict[str, list[float]]]] = {}
        self.notes: dict[str, dict[str, None]] = defaultdict(dict)
        """By subject, in order, each once."""

    def add(self, work: str, subject: str, **figures: float) -> None:
        for figure, value in figures.items():
            self.values.setdefault(work, {}).setdefault(subject, {}).setdefault(figure, []).append(value)

    def note(self, subject: str, text: str) -> None:
        self.notes[subject][text] = None

    def of(self, work: str, subject: str, figure: str) -> list[float]:
        """The values of all rounds; none if it was not measured."""
        return self.values.get(work, {}).get(subject, {}).get(figure, [])

    def figures(self, work: str) -> list[str]:
        """Those of a work, in the order in which they were first added."""
        return list(dict.fromkeys(figure for figures in self.values.get(work, {}).values() for figure in figures))

    def as_json(self) -> dict[str, Any]:
        return {"values": self.values, "notes": {subject: list(notes) for subject, notes in self.notes.items()}}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Results":
        results = cls()
        results.values = told["values"]
        for subject, notes in told["notes"].items():
            for note in notes:
                results.note(subject, note)
        return results


def unit_of(figure: str) -> str:
    return UNITS.get(figure.rpartition("_")[2], "")
