"""Every language of the app is whole: all that the code says, with its parameters and plurals, and compiled as written.

So is the German of the demo.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from gettext import GNUTranslations, c2py
from pathlib import Path

import pytest
from django.conf.locale import LANG_INFO
from django.utils.translation import ngettext, override
from django.utils.translation.template import templatize

import notifications

APP = Path(notifications.__file__).parent
ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = sorted(path.name for path in (APP / "locale").iterdir())
PARAMETER = re.compile(r"%(?:\(\w+\))?.|\{\w*\}")
STRING = r"""u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
IN_TEMPLATE = re.compile(rf"\b(?:(?:_|gettext)\(|pgettext\({STRING}, ){STRING}\)")  # the context, if there is one, and the text
COUNTS = [*range(1001), 10**6, 10**6 + 1, 2 * 10**6]


@dataclass
class Message:
    """One entry of a `.po` file. `parts` by keyword: `msgctxt`, `msgid`, `msgid_plural`, `msgstr` or `msgstr[0]` and on."""

    flags: str = ""
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        context = self.parts.get("msgctxt")
        return self.parts["msgid"] if context is None else f"{context}\x04{self.parts['msgid']}"

    @property
    def forms(self) -> list[str]:
        return [text for keyword, text in self.parts.items() if keyword.startswith("msgstr")]


def messages(text: str) -> Iterator[Message]:
    """The entries of a `.po` file. An obsolete one (`#~`) has no business here, nor has a line of no known form."""
    for block in re.split(r"\n\s*\n", text.strip()):
        message, keyword = Message(), ""
        for line in block.splitlines():
            if line.startswith("#") and not line.startswith("#~"):
                message.flags += line.removeprefix("#,") if line.startswith("#,") else ""
                continue
            parsed = re.fullmatch(r'(?:(msgctxt|msgid|msgid_plural|msgstr(?:\[\d\])?) )?(".*")', line)
            assert parsed, line
            keyword = parsed[1] or keyword
            assert parsed[1] is None or keyword not in message.parts, block
            message.parts[keyword] = message.parts.get(keyword, "") + ast.literal_eval(parsed[2])
        yield message


@dataclass
class Catalogue:
    language: str
    header: str
    messages: list[Message]

    @property
    def plural_forms(self) -> tuple[int, str]:
        """The header's word on how many there are, and the formula that chooses."""
        (found,) = re.findall(r"^Plural-Forms: nplurals=(\d+); plural=(.+);$", self.header, re.MULTILINE)
        return int(found[0]), found[1]


def catalogue(language: str, folder: Path = APP / "locale") -> Catalogue:
    head, *rest = messages((folder / language / "LC_MESSAGES/django.po").read_text(encoding="utf-8"))
    assert head.id == ""
    return Catalogue(language, head.parts["msgstr"], rest)


@pytest.fixture(params=LANGUAGES)
def one(request) -> Catalogue:
    return catalogue(request.param)


@pytest.fixture(scope="module")
def in_code() -> set[tuple[str, str | None]]:
    return {*said_by_modules(APP), *said_by_templates(APP / "templates")}


def said_by_modules(folder: Path) -> Iterator[tuple[str, str | None]]:
    """Singular and plural of what the Python code has translated. What is put together at run time is a site's own text."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            texts = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if node.func.id in ("_", "gettext", "gettext_lazy", "gettext_noop") and texts:
                yield texts[0], None
            elif node.func.id in ("ngettext", "ngettext_lazy") and texts:
                yield texts[0], texts[1]
            else:
                assert "pgettext" not in node.func.id or not texts, f"{path}: this test knows no contexts yet"


def said_by_templates(folder: Path) -> Iterator[tuple[str, str | None]]:
    for path in folder.rglob("*.html"):
        code = templatize(path.read_text(encoding="utf-8"))
        assert not re.search(r"\bnp?gettext\(", code), f"{path}: this test knows no plurals in templates yet"
        for context, text in IN_TEMPLATE.findall(code):
            yield "\x04".join(ast.literal_eval(each) for each in (context, text) if each), None


def test_there_are_languages_and_django_knows_them():
    assert {"ar", "de", "es", "fr", "ko"} <= set(LANGUAGES) <= set(LANG_INFO)


def test_a_language_has_all_that_the_code_says_and_nothing_else(one, in_code):
    assert ("Mark all as read", None) in in_code
    assert ("%(count)d event waits again.", "%(count)d events wait again.") in in_code
    told = [(each.id, each.parts.get("msgid_plural")) for each in one.messages]
    assert sorted(told, key=str) == sorted(in_code, key=str)  # a list: no message twice


def test_the_german_of_the_demo_has_all_that_it_says_and_nothing_else():
    folder = ROOT / "project/locale"
    in_demo = {*said_by_modules(ROOT / "project"), *said_by_templates(ROOT / "templates")}
    german = catalogue("de", folder)
    assert ("Order %(number)s", None) in in_demo
    assert sorted(each.id for each in german.messages) == sorted(text for text, _ in in_demo)
    with (folder / "de/LC_MESSAGES/django.mo").open("rb") as file:
        assert GNUTranslations(file)._catalog == {"": german.header} | {each.id: each.parts["msgstr"] for each in german.messages}


def test_a_button_is_called_what_it_shows(one):
    """Somebody who speaks to the page says the word that they see."""
    said = {each.id: each.forms[0].casefold() for each in one.messages}
    for undo in ("Undo archive", "Undo delete", "Undo mark all as read"):
        assert said["Undo"] in said[undo]


def test_no_message_is_untranslated_or_fuzzy(one):
    for message in one.messages:
        assert message.forms, message
        assert all(form.strip() == form != "" for form in message.forms), message
        assert "fuzzy" not in message.flags, message
    assert f"Language: {one.language}\n" in one.header


def test_every_form_has_the_parameters_of_its_message(one):
    with_parameters = 0
    for message in one.messages:
        wanted = sorted(PARAMETER.findall(message.parts["msgid"]))
        style = "python-brace-format" if any("{" in each for each in wanted) else "python-format"
        with_parameters += bool(wanted)
        for text in [message.parts.get("msgid_plural"), *message.forms]:
            assert text is None or sorted(PARAMETER.findall(text)) == wanted, message
        assert message.flags.strip() == (style if wanted else ""), message
    assert with_parameters


def test_a_message_with_a_plural_has_as_many_forms_as_the_header_says(one):
    number, formula = one.plural_forms
    choose = c2py(formula)
    plurals = [message for message in one.messages if "msgid_plural" in message.parts]
    assert plurals
    for message in plurals:
        assert [key for key in message.parts if key.startswith("msgstr")] == [f"msgstr[{index}]" for index in range(number)]
    assert {choose(count) for count in COUNTS} == set(range(number))


def test_what_is_compiled_is_what_is_written(one):
    written = {"": one.header}
    for message in one.messages:
        if "msgid_plural" in message.parts:
            written.update({(message.id, index): form for index, form in enumerate(message.forms)})
        else:
            written[message.id] = message.parts["msgstr"]
    with (APP / "locale" / one.language / "LC_MESSAGES/django.mo").open("rb") as file:
        compiled = GNUTranslations(file)
    assert compiled._catalog == written
    choose = c2py(one.plural_forms[1])
    assert [compiled.plural(count) for count in COUNTS] == [choose(count) for count in COUNTS]


@pytest.mark.parametrize(
    ("language", "count", "text"),
    [
        ("de", 1, "1 Ereignis wartet wieder."),
        ("de", 0, "0 Ereignisse warten wieder."),
        ("fr", 0, "0 événement est de nouveau en attente."),
        ("fr", 2, "2 événements sont de nouveau en attente."),
        ("es", 1, "1 evento vuelve a estar en espera."),
        ("es", 0, "0 eventos vuelven a estar en espera."),
        ("es", 1000000, "1000000 de eventos vuelven a estar en espera."),
        ("ko", 1, "이벤트 1개가 다시 대기합니다."),
        ("ko", 2, "이벤트 2개가 다시 대기합니다."),
        ("ar", 0, "0 حدث في الانتظار مجددًا."),
        ("ar", 2, "2 حدثان في الانتظار مجددًا."),
        ("ar", 3, "3 أحداث في الانتظار مجددًا."),
        ("ar", 11, "11 حدثًا في الانتظار مجددًا."),
        ("ar", 100, "100 حدث في الانتظار مجددًا."),
        ("ar", 103, "103 أحداث في الانتظار مجددًا."),
    ],
)
def test_the_number_chooses_the_form_by_the_readers_grammar(language, count, text):
    with override(language):
        assert ngettext("%(count)d event waits again.", "%(count)d events wait again.", count) % {"count": count} == text
