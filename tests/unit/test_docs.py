"""What the documentation lists is what the code has."""

import ast
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import notifications
from notifications import protocol
from notifications.checks import FLOORS
from notifications.conf import defaults

ROOT = Path(notifications.__file__).parents[1]
MODULES = sorted(path.stem for path in (ROOT / "notifications").glob("*.py") if path.stem != "__init__")


def doc(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def rows(text: str) -> dict[str, list[str]]:
    """The rows of all tables whose first cell is code, by each name in that cell."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0].startswith("`"):
            found.update(dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells))
    return found


def test_the_settings_page_lists_every_setting_with_its_default():
    listed = {name: ast.literal_eval(cells[1].strip("`")) for name, cells in rows(doc("settings.md")).items() if name.isupper()}
    assert listed == defaults()


def test_the_settings_page_lists_every_check():
    in_code = set(re.findall(r'id="(live_notifications\.\w+)"', (ROOT / "notifications/checks.py").read_text()))
    assert in_code
    assert {name for name in rows(doc("settings.md")) if name.startswith("live_")} == in_code


def test_the_floors_that_a_check_holds_are_those_of_the_package():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {f"{package}>={floor}" for package, floor in FLOORS.items()} == {each for each in wanted if "msgspec" not in each}


@pytest.mark.parametrize("frame", [*get_args(protocol.Command), *get_args(protocol.Message)], ids=lambda frame: frame.__name__)
def test_the_protocol_page_lists_every_frame_and_its_fields(frame):
    text = doc("protocol.md")
    table = "## From page to server" if frame in get_args(protocol.Command) else "## From server to page"
    cells = rows(text.split(table)[1].split("\n## ")[0])[frame.__name__.lower()]
    for field in msgspec.structs.fields(frame):
        if (frame, field.name) != (protocol.Heartbeat, "position"):  # the server's only
            assert f"`{field.name}`" in cells[1]


def test_the_protocol_page_lists_every_close_code():
    codes = {value for name, value in vars(protocol.CloseCode).items() if name.isupper()}
    listed = {int(code) for code in re.findall(r"^\| (4\d{3}) \|", doc("protocol.md"), re.MULTILINE)}
    assert listed == codes


def test_the_protocol_page_lists_every_error_code():
    (codes,) = [get_args(field.type) for field in msgspec.structs.fields(protocol.Error) if field.name == "code"]
    assert all(f"`{code}`" in doc("protocol.md") for code in codes)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_is_public_and_it_is_there(module):
    loaded = import_module(f"notifications.{module}")
    for name in loaded.__all__:
        assert hasattr(loaded, name)


def test_every_public_name_of_the_package_can_be_had():
    for name in notifications.__all__:
        assert getattr(notifications, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        getattr(notifications, "nonsense")  # noqa: B009 - a type checker knows better


def guarantees(text: str, heading: str) -> dict[str, str]:
    """Each guarantee's name with the text below it, up to the next."""
    parts = re.split(heading, text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (" ".join(part.split()) for part in parts[2::2]), strict=True))


def test_the_guarantees_are_told_in_the_same_words_everywhere():
    readme = (ROOT / "README.md").read_text().split("## Guarantees")[1].split("\n## ")[0]
    promised = guarantees(readme, r"^\d+\. +\*\*(.+?)\.\*\* ")
    page = re.sub(r"^> ", "", doc("guarantees.md"), flags=re.MULTILINE)
    told = {name: text.split(" **Elsewhere.**")[0] for name, text in guarantees(page, r"^## \d+\. (.+)$").items()}
    assert len(promised) == 10
    assert told == promised


def test_each_guarantee_names_tests_that_exist_and_the_command_that_runs_them():
    for name, text in guarantees(doc("guarantees.md"), r"^## \d+\. (.+)$").items():
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)
        assert named, name
        command = text.rpartition(".venv/bin/python -m pytest ")[2].removesuffix(" ```").split()
        assert command == list(dict.fromkeys(file for file, _ in named)), name
        for file, test in named:
            assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file} has no {test}"


def test_the_deployment_page_explains_every_line_of_the_log():
    code = "".join(path.read_text() for path in (ROOT / "notifications").glob("*.py") if path.stem != "testing")
    logged = set(re.findall(r'logger\.(?:warning|error|info)\(\s*"([a-z_]+)', code))
    assert len(logged) > 10
    table = doc("deploy.md").split("## What to watch")[1].split("\n## ")[0]
    assert set(rows(table)) == logged


def test_no_link_between_the_pages_is_dead():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_page_of_states_shows_every_picture_there_is():
    shown = re.findall(r'src="images/states/([^"]+)"', doc("states.md"))
    assert sorted(shown) == sorted(path.name for path in (ROOT / "docs/images/states").glob("*.png"))
