"""The checker of the fault tests: each of its verdicts can be reached, and a page without a fault reaches none."""

from dataclasses import fields
from typing import Any

import pytest

from tests.faults.checker import Commit, Shown, Witness, judge, percentile

COMMITS = [Commit(f"a{number}", (1,), "a", at=100.0) for number in range(3)] + [Commit("b0", (2,), "b", at=100.0)]


class Here:
    websocket_url = "ws://here"


def page(*titles: str, user: int = 1) -> Witness:
    """A page of the user's that was told these, in this order, one second after their commits."""
    witness = Witness(Here, user, "session")
    witness.arrived = list(titles)
    witness.items = {number: item(number, title) for number, title in enumerate(titles, 1)}
    witness.first = {title: Shown(at=101.0, since=90.0) for title in titles}
    return witness


def item(number: int, title: str) -> dict[str, Any]:
    return {"id": number, "number": number, "stamp": number, "title": title, "archived": False}


def found(*witnesses: Witness, late_after: float = 2.0) -> dict[str, Any]:
    """What the verdict holds, without the delays."""
    verdict = judge(COMMITS, witnesses, late_after=late_after)
    return {each.name: value for each in fields(verdict) if each.name != "delays" and (value := getattr(verdict, each.name))}


def test_pages_that_show_all_once_and_in_order_are_found_without_fault():
    assert found(page("a0", "a1", "a2"), page("b0", user=2)) == {}
    assert judge(COMMITS, [page("a0", "a1", "a2")]).delays == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        (["a0", "a2"], {"lost": [(1, "a1")]}),
        (["a0", "a1", "a2", "x"], {"phantom": [(1, "x")]}),
        (["a0", "a1", "a2", "b0"], {"leaked": [(1, "b0")]}),
        (["a0", "a1", "a2", "a2"], {"duplicate": [(1, "a2"), (1, "a2")]}),
        (["a1", "a0", "a2"], {"reordered": [(1, "a0"), (1, "a0")]}),
    ],
)
def test_each_fault_has_its_verdict(titles, expected):
    assert found(page(*titles)) == expected


def test_what_was_announced_twice_is_a_duplicate_though_the_list_shows_it_once():
    witness = page("a0", "a1", "a2")
    witness.arrived.append("a0")
    assert found(witness) == {"duplicate": [(1, "a0")], "reordered": [(1, "a0")]}


def test_late_counts_from_the_commit_or_from_the_coming_back():
    assert found(page("a0", "a1", "a2"), late_after=0.5) == {"late": [(1, "a0"), (1, "a1"), (1, "a2")]}
    witness = page("a0", "a1", "a2")
    witness.first = {title: Shown(at=101.0, since=100.8) for title in witness.first}
    assert found(witness, late_after=0.5) == {}


def test_the_percentile_is_a_value_that_occurred():
    assert percentile([], 0.99) == 0.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(range(100), 0.99) == 99
