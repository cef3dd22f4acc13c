"""What a reader sees: hostile links are none, a deleted row is hidden, and everything is plain text."""

from datetime import UTC, datetime

import msgspec
import pytest
from django.utils.translation import override
from hypothesis import given, settings
from hypothesis import strategies as st

from notifications.items import encoded, item, rendered, safe_url, shared
from notifications.protocol import Button, EventCopy, Hidden, Item, Row
from tests.site.hostile import ADDRESSES, TEXTS

HOSTILE = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "\tjavascript:alert(1)",
    "java\nscript:alert(1)",
    "\x01javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "blob:https://own/1",
    "file:///etc/passwd",
    "ftp://host/",
    "//host/path",
    "///host",
    "/\\host",
    "\\\\host",
    "\\/host",
    "/\t/host",
    "/\n/host",
    "/a b",
    "/a\x00b",
    "/a\x7fb",
    "/a\r\nSet-Cookie: x",
    "https:",
    "https:host",
    "https:/host",
    "https:\\\\host",
    "http:// host",
    "https://ho\tst",
    "relative/path",
    "host.example",
    ":",
    "",
]
SAFE = [
    "/",
    "/orders/7/",
    "/orders/7/?page=2&x=%20#comments",
    "/straße/ü",
    "?page=2",
    "#top",
    "https://host.example/path",
    "HTTP://host",
    "https://host:8443/",
    "mailto:mina@host.example",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_url_is_dropped(url):
    assert safe_url(url) == ""


@pytest.mark.parametrize("url", SAFE)
def test_an_honest_url_stays_as_it_is(url):
    assert safe_url(url) == url


@settings(max_examples=60)
@given(st.text(st.sampled_from("/\\:#? \t\n\x00javscriptdhe.")))
def test_what_passes_leads_to_the_web_to_mail_or_stays_on_this_site(url):
    """Judged as a browser does: it takes tabs and line ends out, spaces and controls off the ends, and `\\` for `/`."""
    if safe_url(url):
        seen = url.translate({9: None, 10: None, 13: None}).strip("".join(map(chr, range(33)))).replace("\\", "/")
        assert seen == url or not seen.startswith("//")
        assert seen.lower().startswith(("http://", "https://", "mailto:", "/", "?", "#"))
        assert not seen.startswith("//")


NOW = datetime(2026, 11, 22, tzinfo=UTC)
CONTENT = {
    "severity": "info",
    "title": "t",
    "url": "/x/",
    "target": {"text": {"id": "shipped", "params": {}}},
    "data": {"a": [1]},
}


COMMENTS = {"id": "%(count)d comment", "plural": "%(count)d comments", "params": {"count": 2}}


def event(**content) -> EventCopy:
    return EventCopy("k", CONTENT | content, NOW)


def action(label, url="/yes/", *, primary=False) -> dict[str, object]:
    return {"label": label, "url": url, "primary": primary}


def test_a_row_is_shown_with_its_state():
    made = item(Row(event=9, number=3, stamp=5, read=True, archived=True), rendered(event()))
    assert isinstance(made, Item)
    assert (made.id, made.number, made.stamp, made.read, made.archived) == (9, 3, 5, True, True)
    assert (made.title, made.body, made.url, made.icon, made.actor) == ("t", "", "/x/", "", "")
    assert (made.data, made.created_at, made.kind, made.severity) == ({"a": [1]}, NOW, "k", "info")


numbers = st.integers(0, 2**53 - 1)
texts = st.text() | st.sampled_from([None, {"id": "shipped", "params": {}}, COMMENTS])
rows = st.builds(Row, numbers, numbers, numbers, st.booleans(), st.booleans(), st.booleans(), texts)


@settings(max_examples=60)
@given(rows, st.text(), st.text(min_size=1), st.booleans(), st.sampled_from(["en", "de"]))
def test_what_is_encoded_in_parts_is_the_item(row, title, label, is_there, language):
    copy = event(title=title, actions=[action(label), action(COMMENTS)]) if is_there else None
    with override(language):
        whole = msgspec.json.encode(item(row, copy and rendered(copy)))
    assert msgspec.json.decode(encoded(row, copy and shared(copy, language), language)) == msgspec.json.decode(whole)


def test_what_readers_share_is_in_their_language():
    text = {"id": "shipped", "params": {}}
    for content in (
        {"title": text},
        {"body": text},
        {"actor": {"text": text}},
        {"target": {"text": text}},
        {"actions": [action(text)]},
    ):
        copy = event(**{"target": None, **content})
        assert b"versandt" in shared(copy, "de")
        assert b"versandt" not in shared(copy, "en")


def test_names_and_texts_are_in_the_active_language():
    with override("de"):
        assert rendered(event())["target"] == "versandt"
    with override("en"):
        assert rendered(event())["target"] == "shipped"


def test_buttons_are_in_the_active_language_and_in_their_order():
    copy = event(actions=[action({"id": "shipped", "params": {}}, primary=True), action(COMMENTS, "/no/?x#y")])
    for language, labels in {"de": ["versandt", "2 Kommentare"], "en": ["shipped", "2 comments"]}.items():
        with override(language):
            assert rendered(copy)["actions"] == [
                Button(label=labels[0], url="/yes/", primary=True),
                Button(label=labels[1], url="/no/?x#y", primary=False),
            ]


def test_an_answer_is_in_its_readers_language_and_plural():
    for count, german, english in ((1, "1 Kommentar", "1 comment"), (2, "2 Kommentare", "2 comments")):
        row = Row(9, 3, 5, answer={**COMMENTS, "params": {"count": count}})
        for language, text in {"de": german, "en": english}.items():
            with override(language):
                assert item(row, rendered(event())).answer == text
            with override("ar"):  # what the thread speaks besides has no part in it
                assert msgspec.json.decode(encoded(row, shared(event(), language), language))["answer"] == text


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_button_whose_address_became_hostile_in_the_store_is_not_shown(address):
    made = rendered(event(actions=[action("Yes"), action("Hostile", address), action("No")]))
    assert [button.label for button in made["actions"]] == ["Yes", "No"]


@pytest.mark.parametrize("text", TEXTS)
def test_hostile_labels_and_answers_stay_the_text_that_they_are(text):
    copy, row = event(actions=[action(text)]), Row(9, 3, 5, answer=text)
    made = item(row, rendered(copy))
    assert isinstance(made, Item)
    assert [made.actions[0].label, made.answer] == [text, text]
    parts = msgspec.json.decode(encoded(row, shared(copy, "en"), "en"))
    assert [parts["actions"][0]["label"], parts["answer"]] == [text, text]


@pytest.mark.parametrize("row", [Row(9, 3, 5), Row(9, 3, 5, read=True), Row(9, 3, 5, answer="secret")])
def test_what_may_not_be_seen_is_hidden(row):
    assert b"secret" not in encoded(row, None, "en")
    assert item(row, None) == Hidden(id=9, stamp=5)


def test_what_is_deleted_is_hidden_whatever_there_is_to_show():
    assert item(Row(9, 3, 5, deleted=True), rendered(event())) == Hidden(id=9, stamp=5)


def test_a_url_that_became_hostile_in_the_store_is_dropped_when_rendered():
    assert rendered(event(url="javascript:alert(1)//orders/7/"))["url"] == ""


def test_markup_is_left_to_be_shown_as_text():
    assert rendered(event(title="<script>alert(1)</script>"))["title"] == "<script>alert(1)</script>"


def test_an_events_least_content_can_be_shown():
    made = rendered(EventCopy("k", {"severity": "info", "title": ""}, NOW))
    assert {made[name] for name in ("title", "body", "url", "icon", "actor", "target")} == {""}
    assert (made["data"], made["actions"]) == ({}, [])
