"""What a type checker tells the users of the public names: `cases/right.py` is accepted, each line of `cases/wrong.py` is not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = Path(__file__).parent / "cases"
EXPECTED = re.compile(r"# E: (?P<code>[\w-]+)")
REPORTED = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: .*\[(?P<code>[\w-]+)\]$", re.MULTILINE)


@pytest.fixture(scope="module")
def reported() -> dict[str, set[tuple[int, str]]]:
    """Line and code of every error that mypy, strict, finds in the cases; by file."""
    files = [str(CASES / "right.py"), str(CASES / "wrong.py")]
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", "--no-pretty", *files]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, set[tuple[int, str]]] = {"right.py": set(), "wrong.py": set()}
    for error in REPORTED.finditer(done.stdout):
        found.setdefault(Path(error["file"]).name, set()).add((int(error["line"]), error["code"]))
    return found


def test_right_use_is_accepted(reported: dict[str, set[tuple[int, str]]]) -> None:
    assert reported["right.py"] == set()


def test_each_wrong_use_is_reported_where_it_stands_and_nothing_else(reported: dict[str, set[tuple[int, str]]]) -> None:
    lines = enumerate((CASES / "wrong.py").read_text().splitlines(), start=1)
    expected = {(number, code) for number, line in lines for code in EXPECTED.findall(line)}
    assert expected
    assert reported["wrong.py"] == expected
