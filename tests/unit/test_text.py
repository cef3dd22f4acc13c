"""A text is stored as message id and parameters, and read in its reader's language, whatever the translators did to it."""

import json

import pytest
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, gettext_noop, ngettext_lazy, override, pgettext_lazy
from hypothesis import given, settings
from hypothesis import strategies as st

from notifications import Text
from notifications.rules import clean, render_text

ORDER = gettext_noop("Order %(number)s is %(status)s")


def stored(text: Text):
    """As the database gives it back."""
    return json.loads(json.dumps(text.as_json()))


def in_german(text: Text) -> str:
    with override("de"):
        return render_text(stored(text))


def in_english(text: Text) -> str:
    with override("en"):
        return render_text(stored(text))


def test_a_text_is_read_in_its_readers_language():
    text = Text(ORDER, number="7", status="new")
    assert in_german(text) == "Bestellung 7 ist new"
    assert in_english(text) == "Order 7 is new"


def test_a_text_made_while_a_language_is_active_is_not_bound_to_it():
    with override("de"):
        text = Text(gettext_lazy("Order %(number)s is %(status)s"), number="7", status=gettext_lazy("shipped"))
    assert in_german(text) == "Bestellung 7 ist versandt"
    assert in_english(text) == "Order 7 is shipped"


def test_a_parameter_may_be_a_text_of_its_own():
    text = Text(ORDER, number=Text("%(count)d comment", plural="%(count)d comments", count=2), status=Text("shipped"))
    assert in_german(text) == "Bestellung 2 Kommentare ist versandt"


@pytest.mark.parametrize(
    ("count", "english", "german"),
    [(0, "0 comments", "0 Kommentare"), (1, "1 comment", "1 Kommentar"), (5, "5 comments", "5 Kommentare")],
)
def test_the_number_chooses_the_plural_form_of_the_readers_language(count, english, german):
    text = Text("%(count)d comment", plural="%(count)d comments", count=count)
    assert (in_english(text), in_german(text)) == (english, german)


def test_context_tells_homonyms_apart():
    assert in_german(Text("Lead", context="dog")) == "Leine"
    assert in_german(Text("Lead", context="metal")) == "Blei"
    assert in_german(Text("Lead")) == "Lead"


def test_context_and_plural_go_together():
    assert in_german(Text("%(count)d seat", plural="%(count)d seats", context="seat", count=3)) == "3 Sitzplätze"


def test_a_translation_that_names_another_parameter_falls_back_to_the_message_id():
    assert in_german(Text("Hello %(name)s", name="Mina")) == "Hello Mina"


def test_a_translation_with_a_torn_format_falls_back_to_the_message_id():
    assert in_german(Text("%(part)d of all", part=3)) == "3 of all"


@pytest.mark.parametrize(("count", "shown"), [(1, "1 reply"), (3, "3 replies")])
def test_a_broken_translation_of_a_plural_falls_back_to_the_right_form(count, shown):
    assert in_german(Text("%(count)d reply", plural="%(count)d replies", count=count)) == shown


@pytest.mark.parametrize("msgid", ["100%", "50% of %(n)s", "%(missing)s", "%(n)d", "%", "%(n", "%s %s", "%(n)c"])
def test_a_message_id_that_does_not_fit_its_parameters_is_shown_as_it_is(msgid):
    assert in_english(Text(msgid, n="x" * 3)) == msgid


def test_a_percent_sign_without_parameters_is_no_format():
    assert in_english(Text("100% done, 5%(of) it")) == "100% done, 5%(of) it"


def test_an_empty_message_id_is_not_the_catalogues_header():
    assert in_german(Text("")) == ""


@settings(max_examples=40)
@given(
    st.text(),
    st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.floats() | st.text(), max_size=3),
)
def test_rendering_never_raises(msgid, params):
    params.pop("msgid", None)
    text = Text(msgid, **{name: value for name, value in params.items() if name not in ("plural", "context")})
    assert isinstance(render_text(text.as_json()), str)


@pytest.mark.parametrize("value", [10**30, float("inf"), float("nan"), -1])
@pytest.mark.parametrize("conversion", ["d", "c", "f", "x"])
def test_a_number_out_of_a_conversions_range_does_not_raise(value, conversion):
    assert isinstance(render_text(Text(f"%(n){conversion}", n=value).as_json()), str)


def test_a_plain_string_is_taken_as_it_is():
    with override("de"):
        assert render_text("shipped") == "shipped"
        assert render_text("100% %(x)s") == "100% %(x)s"


@pytest.mark.parametrize("count", [None, "1", 1.5])
def test_a_plural_needs_a_whole_number(count):
    with pytest.raises(TypeError, match="count"):
        Text("a", plural="b", count=count)
    with pytest.raises(TypeError, match="count"):
        Text("a", plural="b")


@pytest.mark.parametrize("msgid", [None, 5, b"bytes", ["a"], Text("a")])
def test_a_text_is_made_of_a_string(msgid):
    with pytest.raises(TypeError, match="made of a string"):
        Text(msgid)


@pytest.mark.parametrize("value", [object(), [1], {"a": 1}, b"bytes", {1}, Exception("x")])
def test_a_parameter_that_cannot_be_stored_is_refused_by_name(value):
    with pytest.raises(TypeError, match="parameter thing"):
        Text("%(thing)s", thing=value)


@pytest.mark.parametrize(
    "value", ["s", 1, 1.5, True, None, lazystr("lazy"), gettext_lazy("shipped"), Text("x"), mark_safe("<b>")]
)
def test_what_json_knows_can_be_a_parameter(value):
    assert stored(Text("%(thing)s", thing=value))["params"].keys() == {"thing"}


def test_safe_markup_is_stored_as_plain_text():
    assert type(Text("%(x)s", x=mark_safe("<b>")).as_json()["params"]["x"]) is str


def test_lazy_plurals_and_contexts_say_how_to_write_them():
    """`pgettext_lazy` hides its context, so its message id alone is kept; `ngettext_lazy` without its number has no text."""
    assert Text(pgettext_lazy("dog", "Lead")).as_json()["id"] == "Lead"
    assert isinstance(Text(ngettext_lazy("%d comment", "%d comments", 3)).as_json()["id"], str)


@pytest.mark.parametrize("bad", ["\x00", "\ud800"])
def test_what_no_database_stores_is_replaced(bad):
    assert clean(f"a{bad}b") == "a\ufffdb"
    text = Text(f"a{bad} %(x)s", plural=f"b{bad} %(x)s", context=f"c{bad}", count=1, x=f"d{bad}")
    assert bad not in json.dumps(text.as_json(), ensure_ascii=False)


@settings(max_examples=40)
@given(st.text(st.characters(categories=None)))
def test_clean_text_can_be_stored_everywhere(text):
    cleaned = clean(text)
    cleaned.encode()
    assert "\x00" not in cleaned
    assert len(cleaned) == len(text)
