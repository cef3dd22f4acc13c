"""The arithmetic and the words of `make bench`: what it says follows from what was measured, and from nothing else."""

from xml.etree import ElementTree as ET

import pytest

from benchmarks import charts, report
from benchmarks.figures import percentile, ratios, spread
from benchmarks.results import Results, unit_of
from benchmarks.subjects import REFERENCE, Subject, by_name, chosen, usual
from benchmarks.targets import TARGETS, verdicts

LIVE = Subject("live", "daphne", "pubsub", "sqlite")


def measured(plain: list[float], live: list[float]) -> Results:
    results = Results()
    for value in plain:
        results.add("broadcast", REFERENCE.name, cpu_us=value)
    for value in live:
        results.add("broadcast", LIVE.name, cpu_us=value)
    return results


def verdict_of(results: Results, name: str, subject: Subject):
    return next(each for each in verdicts(results) if each.target.name == name and each.target.subject == subject)


def test_a_percentile_is_a_value_that_was_measured():
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]
    assert percentile([7.0], 0.99) == 7.0


def test_nothing_measured_has_no_median_and_no_percentile():
    with pytest.raises(ValueError, match="round"):
        spread([])
    with pytest.raises(ValueError, match="measured"):
        percentile([], 0.5)


def test_a_spread_is_median_lowest_and_highest():
    found = spread([3.0, 1.0, 2.0])
    assert (found.median, found.low, found.high, found.rounds) == (2.0, 1.0, 3.0, 3)


def test_rounds_are_compared_in_pairs_so_that_a_slow_minute_slows_both():
    assert ratios([100.0, 300.0], [400.0, 1200.0]) == [0.25, 0.25]


def test_unequal_rounds_are_held_against_the_median():
    assert ratios([100.0], [400.0, 500.0, 600.0]) == [0.2]


def test_a_reference_of_zero_gives_no_ratio():
    assert ratios([1.0, 2.0], [0.0, 4.0]) == [0.5]


def test_a_bound_is_reached_or_missed_by_what_was_measured():
    good = verdict_of(measured([400.0, 410.0], [90.0, 95.0]), "broadcast, CPU a delivery", LIVE)
    bad = verdict_of(measured([400.0, 410.0], [190.0, 195.0]), "broadcast, CPU a delivery", LIVE)
    assert (good.word, bad.word) == ("reached", "MISSED")
    assert bad.plain == 405.0


def test_what_was_not_measured_is_said_to_be_so():
    assert {each.word for each in verdicts(Results())} == {"not measured"}


def test_a_run_of_another_size_says_that_its_verdicts_prove_nothing():
    assert "prove nothing" in report.size_line({"sockets": 100, "rounds": 1})
    assert "prove nothing" not in report.size_line({"sockets": 1000, "rounds": 5})


def test_a_share_has_a_lower_bound():
    results = Results()
    results.add("rush", LIVE.name, opened_share=0.99)
    assert verdict_of(results, "all handshakes at once, share within 5 s", LIVE).word == "MISSED"


def test_growth_compares_the_dearest_size_with_the_cheapest():
    results = Results()
    for size, cost in ((250, 100.0), (1000, 90.0), (4000, 117.0)):
        results.add(f"growth {size}", LIVE.name, cpu_us=cost)
    found = verdict_of(results, "broadcast, dearest over cheapest size", LIVE)
    assert found.reached == pytest.approx(1.3)
    assert found.word == "MISSED"


def test_no_target_is_held_against_itself():
    assert REFERENCE not in {target.subject for target in TARGETS}


def test_what_was_lost_is_printed():
    results = measured([400.0], [90.0])
    results.note(LIVE.name, "broadcast: 3 of 100 lost")
    assert any("3 of 100 lost" in line for line in report.lines(results))


def test_a_report_survives_the_way_through_json():
    results = measured([400.0, 500.0], [90.0, 100.0])
    results.note(LIVE.name, "broadcast: 3 of 100 lost")
    assert list(report.lines(Results.from_json(results.as_json()))) == list(report.lines(results))


def test_a_ratio_is_printed_with_its_spread():
    text = "\n".join(report.lines(measured([400.0, 500.0], [100.0, 100.0])))
    assert "0.23 (0.20 to 0.25)" in text


def test_every_subject_is_found_again_by_its_name():
    assert all(by_name(subject.name) == subject for subject in usual())


def test_libraries_without_a_channel_layer_are_measured_once_a_server():
    found = chosen(
        ways=["socketio"], servers=["daphne", "uvicorn"], layers=["memory", "pubsub"], databases=["sqlite", "postgres"]
    )
    assert [subject.way for subject in found] == ["channels", "socketio", "socketio"]


def test_a_figure_says_its_unit():
    assert [unit_of(figure) for figure in ("cpu_us", "p99_ms", "lost_count")] == ["µs", "ms", ""]


def test_charts_are_well_formed_and_name_everybody():
    results = measured([400.0, 500.0], [90.0, 100.0])
    for size in (250, 500):
        results.add(f"growth {size}", LIVE.name, cpu_us=100.0)
    drawn = charts.drawn(results)
    assert set(drawn) == {"broadcast", "growth"}
    for svg in drawn.values():
        ET.fromstring(svg)
    assert all(subject.title in drawn["broadcast"] for subject in (REFERENCE, LIVE))
