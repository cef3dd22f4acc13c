"""What the fault tests share: the figures that they reach, which `make faults` prints."""

import os
import random
from collections.abc import Callable, Collection

import pytest


class Missed(AssertionError):
    """A figure beyond its bound. `tests/run.py` knows it by its name."""


class Figures:
    """Each figure is recorded before it is judged, so that a failing test tells it too."""

    def __init__(self, record_property: Callable[[str, object], None]) -> None:
        self.record = record_property
        """`record(name, value)`: a figure without a bound."""

    def at_most(self, name: str, value: float, bound: float, unit: str = "s") -> None:
        self.record(name, f"{value:.3g} {unit} (at most {bound:g})")
        if not value <= bound:
            raise Missed(f"{name}: {value:.3g} {unit}, at most {bound:g} is promised")

    def at_least(self, name: str, value: float, bound: float, unit: str = "") -> None:
        self.record(name, f"{value:.3g} {unit} (at least {bound:g})")
        if not value >= bound:
            raise Missed(f"{name}: {value:.3g} {unit}, at least {bound:g} is promised")

    def none(self, name: str, found: Collection[object]) -> None:
        """Zero means zero: nothing was lost, leaked, closed ..."""
        self.record(name, len(found))
        assert not found, f"{name}: {len(found)}, such as {list(found)[:5]}"


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Figures:
    return Figures(record_property)


@pytest.fixture
def chance(figures: Figures) -> random.Random:
    """Randomness of one test's own. Its seed is recorded; `FAULT_SEED` in the environment replays it."""
    seed = int(os.environ.get("FAULT_SEED") or random.randrange(2**32))
    figures.record("seed", seed)
    print(f"FAULT_SEED={seed}")  # noqa: T201 - stands beside what pytest shows of a failure
    return random.Random(seed)
