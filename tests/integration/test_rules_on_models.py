"""From Django's model signals to a `Change`: exactly what a save changed in the database, and nothing else."""

import contextlib
import datetime as dt
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import CharField, F
from django.db.models.signals import post_save, pre_save
from django.dispatch import Signal

from notifications import Change, Draft, Kind, rule, signal_rule
from notifications.models import Event
from tests.site.models import Box, ExpressOrder, GiftOrder, Label, Labelled, Order, Ticket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_rules")]

Heard = list[Change]


def hears(model: Any, **when: Any) -> Heard:
    """What a rule declared so is called with."""
    changes: Heard = []

    def remember(change: Change) -> None:
        changes.append(change)

    rule(model, **when)(remember)
    return changes


def moved(changes: Heard) -> list[tuple[Any, Any]]:
    return [(dict(change.old), dict(change.new)) for change in changes]


# created


def test_a_created_row_is_a_change_with_its_values():
    changes = hears(Order, created=True)
    order = Order.objects.create(number="7", amount=3)
    (change,) = changes
    assert (change.action, change.instance, change.old) == ("created", order, {})
    assert (change.new["number"], change.new["amount"], change.new["customer"]) == ("7", 3, None)
    assert change.fields == change.new.keys()
    order.save()
    assert len(changes) == 1


def test_a_foreign_key_is_given_as_a_primary_key(mina):
    changes = hears(Order, created=True, updated={"customer"})
    order = Order.objects.create(customer=mina)
    order.customer = None
    order.save()
    assert changes[0].new["customer"] == mina.pk
    assert moved(changes[1:]) == [({"customer": mina.pk}, {"customer": None})]


def test_get_or_create_and_related_managers_are_heard(mina):
    changes = hears(Order, created=True)
    Order.objects.get_or_create(number="7")
    Order.objects.get_or_create(number="7")
    mina.order_set.create(number="8")
    assert [change.new["number"] for change in changes] == ["7", "8"]


# updated


def test_a_watched_field_that_changed_is_told_with_its_old_and_new_value():
    changes = hears(Order, updated={"status", "amount"})
    order = Order.objects.create()
    assert changes == []
    order.status = "paid"
    order.number = "8"
    order.save()
    (change,) = changes
    assert (change.action, change.instance, change.fields) == ("updated", order, {"status"})
    assert moved(changes) == [({"status": "new"}, {"status": "paid"})]


def test_a_save_that_changes_nothing_is_no_change():
    changes = hears(Order, updated=True)
    order = Order.objects.create()
    order.save()
    order.status = "new"
    order.save()
    assert changes == []
    order.status = "paid"
    order.save()
    assert len(changes) == 1


def test_updated_true_means_any_column():
    changes = hears(Order, updated=True)
    order = Order.objects.create()
    order.number, order.amount = "8", 2
    order.save()
    assert moved(changes) == [({"number": "1", "amount": 0}, {"number": "8", "amount": 2})]


def test_the_old_value_comes_from_the_database_and_not_from_when_the_copy_was_loaded():
    changes = hears(Order, updated={"status"})
    first = Order.objects.create()
    stale = Order.objects.get(pk=first.pk)
    first.status = "paid"
    first.save()
    stale.status = "shipped"
    stale.save()
    assert moved(changes) == [({"status": "new"}, {"status": "paid"}), ({"status": "paid"}, {"status": "shipped"})]


def test_a_stale_copy_that_writes_the_old_value_back_is_a_change():
    changes = hears(Order, updated={"status"})
    first = Order.objects.create()
    stale = Order.objects.get(pk=first.pk)
    first.status = "paid"
    first.save()
    stale.save()
    assert moved(changes)[-1] == ({"status": "paid"}, {"status": "new"})


def test_refresh_from_db_does_not_hide_a_change():
    changes = hears(Order, updated={"status"})
    order = Order.objects.create()
    order.status = "paid"
    order.refresh_from_db()
    order.save()
    assert changes == []
    order.status = "paid"
    order.save()
    assert moved(changes) == [({"status": "new"}, {"status": "paid"})]


@pytest.mark.parametrize("load", ["only", "defer"])
def test_a_deferred_field_that_was_set_is_a_change_and_one_that_was_not_is_none(load):
    changes = hears(Order, updated={"status", "amount"})
    Order.objects.create()
    rows = Order.objects.only("number") if load == "only" else Order.objects.defer("status", "amount")
    order = rows.get()
    order.number = "8"
    order.save()
    assert changes == []
    order.status = "paid"
    order.save()
    assert moved(changes) == [({"status": "new"}, {"status": "paid"})]


def test_update_fields_decides_what_was_saved():
    changes = hears(Order, updated={"status", "amount"})
    order = Order.objects.create()
    order.status, order.amount = "paid", 5
    order.save(update_fields=["amount"])
    assert moved(changes) == [({"amount": 0}, {"amount": 5})]
    order.save(update_fields=["number"])
    assert len(changes) == 1
    order.save(update_fields=["status"])
    assert moved(changes)[1:] == [({"status": "new"}, {"status": "paid"})]


def test_update_fields_may_name_a_foreign_keys_column(mina):
    changes = hears(Order, updated={"customer"})
    order = Order.objects.create()
    order.customer = mina
    order.save(update_fields=["customer_id"])
    assert moved(changes) == [({"customer": None}, {"customer": mina.pk})]


def test_an_expression_is_told_as_the_value_that_the_database_made_of_it():
    changes = hears(Order, updated={"amount"})
    order = Order.objects.create(amount=5)
    order.amount = F("amount") + 2
    order.save()
    assert moved(changes) == [({"amount": 5}, {"amount": 7})]


def test_an_expression_that_changes_nothing_is_no_change():
    changes = hears(Order, updated={"amount"})
    order = Order.objects.create(amount=5)
    order.amount = F("amount")
    order.save()
    assert changes == []


def test_a_value_in_another_python_type_is_the_same_value():
    changes = hears(Order, updated={"due", "amount"})
    order = Order.objects.create(due=dt.date(2026, 11, 22), amount=5)
    order.due, order.amount = "2026-11-22", "5"  # type: ignore[assignment]
    order.save()
    assert changes == []
    order.due = "2026-11-23"  # type: ignore[assignment]
    order.save()
    assert len(changes) == 1


def test_two_saves_of_one_transaction_are_two_changes():
    changes = hears(Order, updated={"status"})
    order = Order.objects.create()
    with transaction.atomic():
        for status in ("paid", "shipped"):
            order.status = status
            order.save()
    assert moved(changes) == [({"status": "new"}, {"status": "paid"}), ({"status": "paid"}, {"status": "shipped"})]


def test_a_row_that_is_written_over_under_its_key_is_an_update():
    changes = hears(Order, updated={"status"}, created=True)
    order = Order.objects.create()
    Order(pk=order.pk, status="paid").save()
    assert [change.action for change in changes] == ["created", "updated"]
    assert changes[1].old == {"status": "new"}


def test_a_model_whose_key_is_made_in_python_is_created_and_updated(mina):
    changes = hears(Ticket, created=True, updated={"state"})
    ticket = Ticket.objects.create(owner=mina)
    ticket.state = "closed"
    ticket.save()
    assert [change.action for change in changes] == ["created", "updated"]


def test_each_rule_hears_the_fields_that_it_watches():
    statuses, amounts, both = hears(Order, updated={"status"}), hears(Order, updated={"amount"}), hears(Order, updated=True)
    order = Order.objects.create()
    order.status, order.amount = "paid", 1
    order.save()
    assert [change.fields for changes in (statuses, amounts, both) for change in changes] == [
        {"status"},
        {"amount"},
        {"status", "amount"},
    ]


def test_a_save_that_failed_leaves_no_change_for_the_next_one():
    changes = hears(Order, updated={"status"})
    order = Order.objects.create()

    def refuse(**_: Any) -> None:
        raise RuntimeError("refused")

    pre_save.connect(refuse, sender=Order)
    order.status = "paid"
    try:
        with pytest.raises(RuntimeError):
            order.save()
    finally:
        pre_save.disconnect(refuse, sender=Order)
    order.save(update_fields=["amount"])
    assert Order.objects.get().status == "new"
    assert changes == []


@pytest.mark.parametrize("comes_first", [False, True])
def test_a_receiver_of_the_sites_that_saves_again_hides_no_change(comes_first):
    changes = hears(Order, updated={"status"})

    def save_again(instance: Order, **_: Any) -> None:
        if instance.status == "paid" and instance.amount == 0:
            instance.amount = 1
            instance.save()

    order = Order.objects.create()
    ours = list(post_save.receivers)
    post_save.connect(save_again, sender=Order)
    if comes_first:  # as that of an app installed before this one
        post_save.receivers.insert(0, post_save.receivers.pop())
        post_save.sender_receivers_cache.clear()
    try:
        order.status = "paid"
        order.save()
    finally:
        post_save.receivers[:] = ours
        post_save.sender_receivers_cache.clear()
    assert (Order.objects.get().amount, order.status) == (1, "paid")
    assert moved(changes) == [({"status": "new"}, {"status": "paid"})]


def test_a_field_with_sql_of_its_own_is_read_by_it(monkeypatch):
    monkeypatch.setattr(CharField, "select_format", lambda field, compiler, sql, params: (f"UPPER({sql})", params), raising=False)
    changes = hears(Order, updated={"status"})
    order = Order.objects.create(status="new")
    order.status = "paid"
    order.save()
    assert [change.old for change in changes] == [{"status": "NEW"}]


def test_only_a_model_that_a_rule_watches_for_updates_pays_for_it(django_assert_num_queries):
    label, order = Label.objects.create(name="a"), Order.objects.create()
    hears(Order, created=True, deleted=True)
    with django_assert_num_queries(2):
        label.save()
        order.save()
    hears(Order, updated={"status"})
    with transaction.atomic(), django_assert_num_queries(2):  # the update, and the old values
        order.save()


# what Django itself does not tell


def test_queryset_update_and_bulk_writes_are_silent_as_the_documentation_says(mina):
    changes = hears(Order, created=True, updated=True, deleted=True)
    order = Order.objects.create()
    assert len(changes) == 1  # the premise
    Order.objects.update(status="paid")
    Order.objects.bulk_create([Order()])
    order.status = "shipped"
    Order.objects.bulk_update([order], ["status"])
    assert len(changes) == 1


def test_loaddata_is_passed_over(tmp_path):
    changes = hears(Order, created=True, updated=True, m2m={"labels"})
    Order.objects.create(pk=1)
    assert len(changes) == 1
    Label.objects.create(pk=1, name="a")
    rows = [
        {"model": "site_under_test.order", "pk": pk, "fields": {"status": "loaded", "labels": labels}}
        for pk, labels in ((1, []), (2, []))
    ]
    (tmp_path / "orders.json").write_text(json.dumps(rows))
    call_command("loaddata", tmp_path / "orders.json", verbosity=0)
    assert Order.objects.filter(status="loaded").count() == 2
    assert len(changes) == 1


# proxies and subclasses


def test_a_rule_on_a_model_holds_for_its_proxy_and_its_subclass():
    changes = hears(Order, created=True, updated={"status"})
    for model in (Order, ExpressOrder, GiftOrder):
        row = model.objects.create()
        row.status = "paid"
        row.save()
    assert [(change.action, type(change.instance)) for change in changes] == [
        (action, model) for model in (Order, ExpressOrder, GiftOrder) for action in ("created", "updated")
    ]


@pytest.mark.parametrize("model", [ExpressOrder, GiftOrder])
def test_a_rule_on_a_proxy_or_subclass_hears_nothing_of_its_parent(model):
    changes = hears(model, created=True, updated={"status"}, deleted=True, m2m={"labels"})
    order = Order.objects.create()
    order.status = "paid"
    order.save()
    order.labels.add(Label.objects.create(name="a"))
    order.delete()
    assert changes == []
    row = model.objects.create()
    row.status = "paid"
    row.save()
    assert [change.action for change in changes] == ["created", "updated"]


def test_a_field_of_the_subclass_own_table_is_watched():
    changes = hears(GiftOrder, updated={"wish", "status"})
    gift = GiftOrder.objects.create()
    gift.wish, gift.status = "a bell", "paid"
    gift.save()
    assert changes[0].fields == {"wish", "status"}


def test_a_rule_on_an_abstract_model_holds_for_its_children():
    changes = hears(Labelled, created=True, updated={"name"}, deleted=True)
    box = Box.objects.create(name="a")
    box.name = "b"
    box.save()
    box.delete()
    assert [change.action for change in changes] == ["created", "updated", "deleted"]


# deleted


def test_a_deleted_row_is_told_with_its_last_values_and_its_key(mina):
    changes = hears(Order, deleted=True)
    pk = Order.objects.create(number="7", customer=mina).pk
    keys = []
    rule(Order, deleted=True)(lambda change: keys.append(change.instance.pk))
    Order.objects.get().delete()
    (change,) = changes
    assert (change.action, change.new) == ("deleted", {})
    assert (change.old["number"], change.old["customer"], keys) == ("7", mina.pk, [pk])


def test_deletions_by_a_queryset_and_by_cascade_are_told_each(mina):
    changes = hears(Order, deleted=True)
    for number in "123":
        Order.objects.create(number=number, customer=mina if number == "3" else None)
    Order.objects.filter(number__in="12").delete()
    assert len(changes) == 2
    mina.delete()
    assert sorted(change.old["number"] for change in changes) == ["1", "2", "3"]


@pytest.mark.parametrize("by", ["child", "parent", "child queryset", "parent queryset"])
def test_a_row_of_two_tables_is_deleted_once(by):
    changes = hears(Order, deleted=True)
    gift = GiftOrder.objects.create(number="7")
    Order.objects.create(number="8")
    match by:
        case "child":
            gift.delete()
        case "parent":
            Order.objects.get(pk=gift.pk).delete()
        case "child queryset":
            GiftOrder.objects.all().delete()
        case "parent queryset":
            Order.objects.filter(number="7").delete()
    assert Order.objects.count() == 1
    assert [change.old["number"] for change in changes] == ["7"]


# many-to-many


@pytest.fixture
def labels() -> list[Label]:
    return [Label.objects.create(name=name) for name in "abc"]


def sets(changes: Heard) -> list[tuple[set[Any], set[Any]]]:
    assert all(change.action == "m2m" for change in changes)
    return [(set(change.old["labels"]), set(change.new["labels"])) for change in changes]


def test_what_was_added_and_removed_is_told_as_the_whole_set_before_and_after(labels):
    a, b, c = labels
    changes = hears(Order, m2m={"labels"})
    order = Order.objects.create()
    order.labels.add(a, b)
    order.labels.add(b, c)
    order.labels.remove(a, c)
    order.labels.add(b)
    assert sets(changes) == [
        (set(), {a.pk, b.pk}),
        ({a.pk, b.pk}, {a.pk, b.pk, c.pk}),
        ({a.pk, b.pk, c.pk}, {b.pk}),
    ]
    assert all(change.instance == order and change.fields == {"labels"} for change in changes)


def test_removing_what_is_not_there_is_no_change(labels):
    a, b, _ = labels
    changes = hears(Order, m2m={"labels"})
    order = Order.objects.create()
    order.labels.add(a)
    order.labels.remove(b)
    b.orders.remove(order)
    order.labels.remove()
    assert sets(changes) == [(set(), {a.pk})]
    order.labels.remove(a, b)
    assert sets(changes)[1:] == [({a.pk}, set())]


def test_clear_is_a_change_if_there_was_something(labels):
    changes = hears(Order, m2m={"labels"})
    order = Order.objects.create()
    order.labels.clear()
    assert changes == []
    order.labels.set(labels)
    order.labels.clear()
    everything = {label.pk for label in labels}
    assert sets(changes) == [(set(), everything), (everything, set())]


def test_clear_is_heard_by_every_rule_on_the_field(labels):
    heard = [hears(Order, m2m={"labels"}), hears(Order, m2m={"labels"}), hears(ExpressOrder, m2m={"labels"})]
    order = ExpressOrder.objects.create()
    order.labels.set(labels)
    order.labels.clear()
    assert [len(changes) for changes in heard] == [2, 2, 2]


def test_set_leads_from_the_old_set_to_the_new_one(labels):
    a, b, c = labels
    changes = hears(Order, m2m={"labels"})
    order = Order.objects.create()
    order.labels.set([a, b])
    order.labels.set([b, c])
    order.labels.set([b, c])
    steps = sets(changes)
    assert steps[0][0] == set()
    assert steps[-1][1] == {b.pk, c.pk}
    assert all(before[1] == after[0] for before, after in itertools.pairwise(steps))
    assert len(steps) == 3  # Django removes and adds
    order.labels.set([a], clear=True)
    assert sets(changes)[3:] == [({b.pk, c.pk}, set()), (set(), {a.pk})]


def test_from_the_far_side_each_row_of_the_rules_model_is_told_of_its_own_set(labels):
    a, b, _ = labels
    changes = hears(Order, m2m={"labels"})
    first, second = Order.objects.create(number="1"), Order.objects.create(number="2")
    second.labels.add(b)
    changes.clear()
    a.orders.add(first, second)
    assert {change.instance.number: step for change, step in zip(changes, sets(changes), strict=True)} == {
        "1": (set(), {a.pk}),
        "2": ({b.pk}, {a.pk, b.pk}),
    }
    changes.clear()
    a.orders.remove(first)
    assert (changes[0].instance, sets(changes)) == (first, [({a.pk}, set())])
    changes.clear()
    a.orders.clear()
    assert (changes[0].instance, sets(changes)) == (second, [({a.pk, b.pk}, {b.pk})])
    changes.clear()
    a.orders.set([first])
    assert (changes[0].instance, sets(changes)) == (first, [(set(), {a.pk})])


def test_a_field_to_its_own_model_is_told_from_both_sides():
    changes = hears(Box, m2m={"parts"})
    whole, part = Box.objects.create(name="whole"), Box.objects.create(name="part")
    whole.parts.add(part)
    assert (changes[-1].instance, changes[-1].new["parts"]) == (whole, {part.pk})
    part.wholes.clear()
    assert (changes[-1].instance, changes[-1].old["parts"], changes[-1].new["parts"]) == (whole, {part.pk}, frozenset())
    assert len(changes) == 2


def test_another_field_of_the_model_is_not_heard(labels):
    changes = hears(Box, m2m={"parts"})
    box = Box.objects.create()
    box.labels.set(labels)
    assert changes == []
    box.parts.add(box)
    assert len(changes) == 1


def test_a_rule_on_an_abstract_models_field_is_either_heard_or_refused(labels):
    from django.core.exceptions import ImproperlyConfigured

    try:
        changes = hears(Labelled, m2m={"labels"})
    except ImproperlyConfigured:
        return
    box = Box.objects.create()
    box.labels.add(labels[0])
    box.labels.clear()
    assert sets(changes) == [(set(), {labels[0].pk}), ({labels[0].pk}, set())]


def test_an_inherited_field_is_heard_with_the_row_that_it_was_moved_on(labels):
    changes = hears(Order, m2m={"labels"})
    gift = GiftOrder.objects.create()
    gift.labels.add(labels[0])
    assert (type(changes[0].instance), sets(changes)) == (GiftOrder, [(set(), {labels[0].pk})])


# signals of the site's own


@pytest.fixture
def rang() -> Signal:
    return Signal()


def tell(signal: Signal, to: Any, *, sender: Any = None) -> None:
    Kind("rang")

    def draft(sender: Any, title: str = "rang", **_: Any) -> Draft:
        return Draft("rang", to=to, title=title)

    signal_rule(signal, sender=sender)(draft)


def test_a_signal_of_the_sites_own_notifies(rang, mina, titles):
    tell(rang, mina)
    rang.send(sender=Order, title="once")
    rang.send_robust(sender=None, title="twice")
    assert titles(mina) == ["once", "twice"]


def test_a_signal_sent_from_a_coroutine_notifies(rang, mina, titles):
    import asyncio

    tell(rang, mina)
    asyncio.run(asend(rang, title="async"))
    assert titles(mina) == ["async"]


async def asend(signal: Signal, **named: Any) -> None:
    from asgiref.sync import sync_to_async

    await signal.asend(sender=None, **named)
    await sync_to_async(connections.close_all)()


def test_a_rule_may_listen_to_one_sender_only(rang, mina, titles):
    tell(rang, mina, sender=Order)
    rang.send(sender=Ticket, title="not this one")
    rang.send(sender=Order, title="this one")
    assert titles(mina) == ["this one"]


def test_a_signals_argument_named_using_need_be_no_database(rang, mina, titles):
    tell(rang, mina)
    rang.send(sender=None, using="card", title="paid by card")
    assert titles(mina) == ["paid by card"]


def test_a_signal_rule_that_raises_does_not_reach_the_sender(rang, mina, titles, errors):
    def fail(sender: Any, **_: Any) -> None:
        raise RuntimeError("the rule's own")

    signal_rule(rang)(fail)
    tell(rang, mina)
    rang.send(sender=None)
    assert titles(mina) == ["rang"]
    assert len(errors()) == 1


def test_a_declaration_made_later_than_start_up_is_heard(mina, titles):
    """As is one in a module that is imported late."""
    Kind("late")
    Order.objects.create(customer=mina)
    rule(Order, created=True)(lambda change: Draft("late", to=change.instance.customer, title="late"))
    assert titles(mina) == []
    Order.objects.create(customer=mina)
    assert titles(mina) == ["late"]


# in the way of nobody


@pytest.fixture
def careless(mina) -> Callable[[Any], Order]:
    """Saves an order whose first rule does what is given and whose second one is sound."""
    Kind("sound")

    def save(what: Any) -> Order:
        def first(change: Change) -> Any:
            return what(change) if callable(what) else what

        rule(Order, created=True)(first)
        rule(Order, created=True)(lambda change: Draft("sound", to=mina, title="sound"))
        return Order.objects.create()

    return save


def draft_to(to: Any) -> Callable[[Change], Draft]:
    return lambda change: Draft("sound", to=to() if callable(to) else to, title="to nobody")


def anonymous() -> Any:
    from django.contrib.auth.models import AnonymousUser

    return AnonymousUser()


def unsaved() -> Any:
    from django.contrib.auth.models import User

    return User(username="unsaved")


def a_bad_draft(change: Change) -> Draft:
    return Draft("no.such.kind", to=1, title="t")


def a_good_and_then_a_bad_draft(change: Change) -> Any:
    yield Draft("sound", to=1, title="good")
    raise KeyError("bad")


@pytest.mark.parametrize(
    "what",
    [
        lambda change: 1 / 0,
        "nonsense",
        5,
        {"title": "t"},
        [1],
        [None, "x"],
        object(),
        a_bad_draft,
        a_good_and_then_a_bad_draft,
        draft_to(None),
        draft_to(anonymous),
        draft_to(unsaved),
        draft_to("mina"),
        draft_to(b"1"),
        draft_to([[1]]),
        draft_to(1.0),
        draft_to(True),
        draft_to(lambda: Label(name="a label")),
        draft_to(Label.objects.all),
        draft_to(lambda: Order.objects.get(pk=0)),
    ],
)
def test_a_careless_rule_costs_its_own_notification_and_one_line_in_the_log(careless, what, errors, mina, titles):
    order = careless(what)
    (line,) = errors()
    assert "rule_failed" in line
    assert "first" in line
    assert Order.objects.get() == order
    assert titles(mina) == ["sound"]


@pytest.mark.parametrize("to", [[], ()])
def test_naming_nobody_is_no_error(careless, to, errors, mina, titles):
    careless(draft_to(to))
    assert errors() == []
    assert titles(mina) == ["sound"]


@pytest.mark.parametrize("to", [999_999, [999_999]])
def test_naming_somebody_who_is_gone_costs_one_line_in_the_log(careless, to, errors, mina, titles):
    careless(draft_to(to))
    (line,) = errors()
    assert "recipients_missing" in line
    assert titles(mina) == ["sound"]


@pytest.mark.parametrize("is_atomic", [False, True])
def test_a_database_error_in_a_rule_does_not_poison_the_sites_transaction(careless, is_atomic, errors, mina, titles):
    def broken_query(change: Change) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")

    if is_atomic:
        with transaction.atomic():
            careless(broken_query)
            Label.objects.create(name="after")
        assert Label.objects.count() == 1
    else:
        careless(broken_query)
    assert len(errors()) == 1
    assert Order.objects.count() == 1
    assert titles(mina) == ["sound"]


def test_on_postgresql_the_same_error_without_a_savepoint_would_poison_it(postgres_only):
    """The premise of the test above."""
    with transaction.atomic():
        with pytest.raises(Exception, match="no_such_table"), connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")
        with pytest.raises(Exception, match="aborted"):
            Label.objects.count()
        transaction.set_rollback(True)


def test_a_rule_that_writes_and_then_raises_has_written_nothing(careless, errors):
    def write_and_raise(change: Change) -> None:
        Label.objects.create(name="from a rule")
        raise IntegrityError("bad")

    with transaction.atomic():
        careless(write_and_raise)
    assert len(errors()) == 1
    assert not Label.objects.exists()


def test_a_rule_that_fails_on_every_save_logs_once_a_minute(mina, errors):
    rule(Order, created=True)(lambda change: 1 / 0)
    for _ in range(3):
        Order.objects.create()
    assert len(errors()) == 1
    assert Order.objects.count() == 3


def test_several_drafts_of_one_rule_are_several_notifications_in_order(mina, omar, titles):
    Kind("k")
    rule(Order, created=True)(
        lambda change: [Draft("k", to=mina, title="first"), None, Draft("k", to=[mina, omar], title="second")]
    )
    rule(Order, created=True)(lambda change: (Draft("k", to=omar, title=title) for title in ("third", "fourth")))
    Order.objects.create()
    assert titles(mina) == ["first", "second"]
    assert titles(omar) == ["second", "third", "fourth"]


def test_a_change_that_rolls_back_notifies_nobody(mina, titles):
    Kind("k")
    rule(Order, created=True)(lambda change: Draft("k", to=mina, title=change.instance.number))
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        Order.objects.create(number="exception")
        _ = 1 / 0
    with transaction.atomic():
        Order.objects.create(number="rolled back")
        transaction.set_rollback(True)
    with transaction.atomic():
        Order.objects.create(number="kept")
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            Order.objects.create(number="savepoint")
            _ = 1 / 0
        point = transaction.savepoint()
        Order.objects.create(number="savepoint by hand")
        transaction.savepoint_rollback(point)
    assert titles(mina) == ["kept"]
    assert [event.content["title"] for event in Event.objects.all()] == ["kept"]


def test_nobody_hears_before_the_commit(mina, titles):
    Kind("k")
    rule(Order, created=True)(lambda change: Draft("k", to=mina, title="t"))
    with transaction.atomic():
        Order.objects.create()
        assert Event.objects.count() == 1
        assert titles(mina) == []
    assert titles(mina) == ["t"]
