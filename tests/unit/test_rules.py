"""A wrong declaration raises where it stands; a right one is what it says."""

import functools

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.dispatch import Signal
from django.urls import clear_script_prefix, reverse, set_script_prefix
from django.utils.translation import gettext_lazy
from hypothesis import given, settings
from hypothesis import strategies as st

from notifications import Action, Draft, Kind, Text, rule, signal_rule
from notifications.rules import is_own_path, registry
from tests.site.hostile import ADDRESSES
from tests.site.models import Box, ExpressOrder, GiftOrder, Labelled, Order


def nothing(change):
    return None


async def later(change):
    return None


def same(users, event):
    return users


# Kind


@pytest.mark.parametrize(
    "name", ["", "Order", "order status", "order..status", ".order", "order.", "order-status", "x" * 101, "a\n"]
)
def test_a_kinds_name_is_lower_case_words_joined_by_dots(name):
    with pytest.raises(ImproperlyConfigured, match="name"):
        Kind(name)
    assert name not in registry.kinds


def test_a_kinds_name_is_a_string():
    with pytest.raises(ImproperlyConfigured, match="name"):
        Kind(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a", "orders.status", "shop2.order_line.added", "x" * 100])
def test_a_good_name_registers_its_kind(name):
    kind = Kind(name)
    assert registry.kind(name) is kind


def test_a_kinds_severity_is_one_of_four():
    with pytest.raises(ImproperlyConfigured, match="severity 'fatal' is none of info, success, warning, error"):
        Kind("k", severity="fatal")  # type: ignore[arg-type]


def test_who_may_see_a_kind_is_asked_of_a_function():
    with pytest.raises(ImproperlyConfigured, match="visible_to"):
        Kind("k", visible_to="staff")  # type: ignore[arg-type]


def test_a_kind_declared_twice_alike_is_one_kind():
    kinds = [Kind("k", label=gettext_lazy("shipped"), visible_to=same) for _ in range(2)]
    assert kinds[0] == kinds[1]
    assert registry.kind("k") == kinds[0]


@pytest.mark.parametrize("other", [{"severity": "error"}, {"label": "L"}, {"icon": "bell"}, {"visible_to": same}])
def test_a_name_that_another_kind_has_is_refused(other):
    first = Kind("k")
    with pytest.raises(ImproperlyConfigured, match="declared twice"):
        Kind("k", **other)
    assert registry.kind("k") is first


# Draft


def test_a_draft_names_its_kind_by_itself_or_by_name():
    kind = Kind("k")
    assert Draft(kind, to=1, title="t").kind is Draft("k", to=1, title="t").kind is kind


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ({"kind": "nobody.knows.it"}, ValueError, "no Kind"),
        ({"kind": 7}, TypeError, "kind"),
        ({"kind": None}, TypeError, "kind"),
        ({"title": ""}, ValueError, "title"),
        ({"title": Text("")}, ValueError, "title"),
        ({"title": None}, TypeError, "title"),
        ({"title": b"bytes"}, TypeError, "title"),
        ({"title": 5}, TypeError, "title"),
        ({"body": None}, TypeError, "body"),
        ({"body": ["a"]}, TypeError, "body"),
        ({"url": None}, TypeError, "url"),
        ({"url": 5}, TypeError, "url"),
        ({"icon": None}, TypeError, "icon"),
        ({"data": [1]}, TypeError, "data"),
        ({"data": "text"}, TypeError, "data"),
        ({"severity": "fatal"}, ValueError, "severity"),
        ({"severity": ""}, ValueError, "severity"),
        ({"actions": [Action("Yes", "/yes/")] * 4}, ValueError, "at most 3 actions"),
        ({"actions": ["Yes"]}, TypeError, "class Action"),
        ({"actions": "Yes"}, TypeError, "class Action"),
        ({"actions": [{"label": "Yes", "url": "/yes/"}]}, TypeError, "class Action"),
        ({"actions": Action("Yes", "/yes/")}, TypeError, "iterable"),
        ({"actions": None}, TypeError, "iterable"),
    ],
)
def test_what_cannot_be_a_notification_is_no_draft(arguments, error, word):
    Kind("k")
    good = {"kind": "k", "to": 1, "title": "t"}
    Draft(**good)  # the premise: it is the changed argument that is refused
    with pytest.raises(error, match=word):
        Draft(**(good | arguments))


def test_a_drafts_recipients_must_be_named():
    Kind("k")
    with pytest.raises(TypeError, match="to"):
        Draft("k", title="t")  # type: ignore[call-arg]


def test_a_draft_keeps_the_actions_that_it_was_made_with():
    Kind("k")
    three = [Action(str(number), "/") for number in range(3)]
    draft = Draft("k", to=1, title="t", actions=(each for each in three))
    three.clear()
    assert [action.label for action in draft.actions] == ["0", "1", "2"]


# Action


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ({"label": ""}, ValueError, "label"),
        ({"label": Text("")}, ValueError, "label"),
        ({"label": None}, TypeError, "label"),
        ({"label": b"Yes"}, TypeError, "label"),
        ({"label": 5}, TypeError, "label"),
        ({"url": None}, TypeError, "url"),
        ({"url": b"/yes/"}, TypeError, "url"),
        *(({"url": address}, ValueError, "path of this site") for address in ADDRESSES),
    ],
)
def test_what_cannot_be_a_button_is_no_action(arguments, error, word):
    good = {"label": "Yes", "url": "/yes/"}
    Action(**good)  # the premise
    with pytest.raises(error, match=word):
        Action(**(good | arguments))


@pytest.mark.parametrize("url", ["/", "/orders/7/confirm/", "/orders/7/?slot=2&x=%20", "/straße/ü#top", "/a\\b", "/a//b"])
def test_an_action_posts_to_a_path_of_this_site(url):
    assert Action("Yes", url).url == url


def test_an_actions_label_may_be_translated_later_and_it_is_not_primary_unless_said():
    assert not Action(gettext_lazy("shipped"), "/x/").primary
    assert Action(Text("shipped"), "/x/", primary=True).primary


@pytest.mark.parametrize("prefix", ["javascript:alert(1)//", "data:text/html,x/", "https://evil.example/"])
def test_a_forged_script_prefix_stops_no_rule_and_leads_nowhere_else(prefix):
    """Daphne sets it from a request header: whoever acts so that others are told could else keep it from them."""
    set_script_prefix(prefix)
    try:
        assert reverse("live_notifications:inbox").startswith(prefix), "the premise"
        assert Action("Yes", reverse("live_notifications:inbox")).url == "/notifications/"
        with pytest.raises(ValueError, match="path of this site"):
            Action("Yes", "https://another.example/")
    finally:
        clear_script_prefix()


@settings(max_examples=200)
@given(st.text(st.sampled_from("/\\:#?. \t\n\r\x00\x7fa@e")))
def test_from_what_passes_a_browser_stays_on_this_site(url):
    """Judged as a browser does: it takes tabs and line ends out, spaces and controls off the ends, and `\\` for `/`."""
    if is_own_path(url):
        seen = url.translate({9: None, 10: None, 13: None}).strip("".join(map(chr, range(33)))).replace("\\", "/")
        assert seen.startswith("/")
        assert not seen.startswith("//")


# rule


@pytest.mark.parametrize("model", [None, "shop.Order", object, Order(), 5])
def test_a_rule_is_on_a_model_class(model):
    with pytest.raises(ImproperlyConfigured, match="model class"):
        rule(model, created=True)


@pytest.mark.parametrize("listens", [{}, {"updated": ()}, {"updated": set()}, {"created": False, "deleted": False, "m2m": ()}])
def test_a_rule_that_listens_to_nothing_is_refused(listens):
    with pytest.raises(ImproperlyConfigured, match="created=, updated=, deleted= or m2m="):
        rule(Order, **listens)


@pytest.mark.parametrize("name", ["statsu", "labels", "orders", "", "__str__", 5])
def test_updated_names_columns_of_the_model(name):
    with pytest.raises(ImproperlyConfigured, match="no column field"):
        rule(Order, updated={"status", name})


@pytest.mark.parametrize("arguments", [{"updated": "status"}, {"m2m": "labels"}])
def test_fields_are_named_in_a_set_and_not_in_a_string(arguments):
    with pytest.raises(ImproperlyConfigured, match="in a set"):
        rule(Order, **arguments)


@pytest.mark.parametrize("name", ["status", "customer", "nothing", "box"])
def test_m2m_names_many_to_many_fields_of_the_model(name):
    with pytest.raises(ImproperlyConfigured, match="no many-to-many field"):
        rule(Order, m2m={name})


def test_the_far_side_of_a_many_to_many_field_is_no_field_of_the_model():
    rule(Box, m2m={"parts"})
    with pytest.raises(ImproperlyConfigured, match="no many-to-many field"):
        rule(Box, m2m={"wholes"})


@pytest.mark.parametrize("function", [later, None, "text", functools.partial(later, None)])
def test_a_rule_is_a_plain_function(function):
    with pytest.raises(ImproperlyConfigured, match="plain function"):
        rule(Order, created=True)(function)
    with pytest.raises(ImproperlyConfigured, match="plain function"):
        signal_rule(Signal())(function)


@pytest.mark.parametrize("signal", [None, "order_paid", Signal])
def test_a_signal_rule_is_on_a_signal(signal):
    with pytest.raises(ImproperlyConfigured, match="is not a signal"):
        signal_rule(signal)


def test_a_refused_declaration_leaves_nothing_behind():
    before = list(registry.model_rules), list(registry.signal_rules)
    for declare in (
        lambda: rule(Order, updated={"nothing"})(nothing),
        lambda: rule(Order, created=True)(later),
        lambda: signal_rule(Signal())(later),
    ):
        with pytest.raises(ImproperlyConfigured):
            declare()
    assert (registry.model_rules, registry.signal_rules) == before


def test_the_decorated_function_stays_itself():
    assert rule(Order, created=True)(nothing) is nothing
    assert signal_rule(Signal())(nothing) is nothing


def test_a_foreign_key_may_be_named_by_its_column():
    rule(Order, updated=["customer_id"])(nothing)
    assert registry.model_rules[-1].updated == {"customer"}


def test_updated_true_watches_every_column():
    rule(GiftOrder, updated=True)(nothing)
    assert registry.model_rules[-1].updated >= {"status", "number", "customer", "wish"}


@pytest.mark.parametrize("model", [Order, ExpressOrder, GiftOrder])
def test_inherited_fields_can_be_watched(model):
    rule(model, updated={"status"}, m2m={"labels"})(nothing)
    assert registry.model_rules[-1].model is model


def test_an_abstract_model_may_be_watched_for_all_its_children():
    rule(Labelled, updated={"name"}, created=True, deleted=True)(nothing)
    assert registry.model_rules[-1].model is Labelled


def test_a_rule_is_named_by_its_function():
    rule(Order, created=True)(nothing)
    assert registry.model_rules[-1].name.endswith("test_rules.nothing")


def test_django_models_are_what_the_rules_tests_stand_on():
    assert issubclass(ExpressOrder, Order)
    assert ExpressOrder._meta.proxy
    assert not GiftOrder._meta.proxy
    assert isinstance(Order._meta.get_field("labels"), models.ManyToManyField)
