"""The arithmetic of a report: medians, spreads, percentiles and paired ratios. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Spread", "number", "percentile", "ratios", "spread"]


@dataclass(frozen=True)
class Spread:
    """What several rounds say of one figure: the median, and the lowest and the highest of them all."""

    median: float
    low: float
    high: float
    rounds: int


def spread(values: Sequence[float]) -> Spread:
    """Raises `ValueError` for no values at all."""
    if not values:
        raise ValueError("no round has a figure")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all do not exceed: one that was measured, not one in between."""
    if not values:
        raise ValueError("no value was measured")
    ordered = sorted(values)
    rank = max(0, -(-round(share * len(ordered) * 1_000_000) // 1_000_000) - 1)
    return ordered[min(rank, len(ordered) - 1)]


def ratios(values: Sequence[float], reference: Sequence[float]) -> list[float]:
    """`value / reference`, round by round: what slows the machine for a while slows both of a round.

    With unequal numbers of rounds each value is held against the reference's median.
    """
    if len(values) == len(reference):
        return [value / base for value, base in zip(values, reference, strict=True) if base]
    base = spread(reference).median
    return [value / base for value in values if base]


def number(value: float) -> str:
    """Three digits that count."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
