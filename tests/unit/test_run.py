"""What `tests/run.py` makes of a report: a figure that was missed is not a thing that was lost."""

import subprocess
import sys
from pathlib import Path

from tests import run
from tests.servers import free_port

REPORT = """<testsuites><testsuite>
<testcase classname="tests.faults.test_a" name="test_slow[one two]">
<failure message="tests.faults.conftest.Missed: p95: 2 s"/></testcase>
<testcase classname="tests.faults.test_a" name="test_lost"><failure message="AssertionError: lost: 1"/></testcase>
<testcase classname="tests.faults.test_a" name="test_broken"><error message="tests.faults.conftest.Missed"/></testcase>
<testcase classname="tests.faults.test_b" name="test_well"/>
</testsuite></testsuites>"""


def test_only_what_missed_a_figure_may_be_measured_again(tmp_path: Path):
    report = tmp_path / "junit.xml"
    report.write_text(REPORT)
    outcome = run.read_junit(report)
    assert (outcome.passed, outcome.failed) == (1, 3)
    assert outcome.missed == ["tests/faults/test_a.py::test_slow[one two]"]


def test_the_share_that_the_host_took_away(monkeypatch):
    monkeypatch.setattr(run, "ticks", lambda: [60, 0, 20, 50, 0, 0, 0, 70])
    assert run.stolen_since([10, 0, 20, 50, 0, 0, 0, 20]) == 0.5
    monkeypatch.setattr(run, "ticks", list)
    assert run.stolen_since([]) == 0.0  # a kernel that does not say


def test_a_port_is_given_to_one_only_before_anybody_listens_on_it():
    """Else two test processes that were given the same one at the same time would both talk to the server that came first."""
    ask = f"""
import random
chosen = iter([{free_port()}, {free_port()}, 0])
random.randint = lambda *_: next(chosen)
from tests.servers import free_port
print(free_port())
"""
    done = subprocess.run([sys.executable, "-c", ask], cwd=run.ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 0  # for which the kernel chooses one: neither of the others was free
