"""The write side: one INSERT in the caller's transaction, whoever calls and whomever it names; bad arguments raise at once."""

import asyncio
import contextlib
import threading
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.exceptions import SynchronousOnlyOperation
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection, connections, transaction
from django.test import AsyncClient, Client
from django.utils.functional import SimpleLazyObject, lazystr
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, override

from notifications import Text, anotify, notify
from notifications.items import rendered
from notifications.models import Event, Notification
from notifications.outbox import CONTENT_BYTES, NARROW, RECIPIENTS
from notifications.relay import relay
from notifications.signals import event_committed
from tests.site.models import Label, Order

pytestmark = pytest.mark.django_db(transaction=True)


def recipients(event: Event | None) -> set[Any]:
    relay()  # without a hub a wide event waits for the next relay
    return set(Notification.objects.filter(event=event).values_list("recipient_id", flat=True))


def stored(event: Event | None) -> dict[str, Any]:
    assert event is not None
    return Event.objects.get(pk=event.pk).content


# recipients


@pytest.fixture
def members(people, crew) -> list[User]:
    """Three people, the first two of them in the crew."""
    three = people(3)
    crew.user_set.add(*three[:2])
    return three


@pytest.mark.parametrize(
    ("to", "whom"),
    [
        (lambda m, crew: m[0], {0}),
        (lambda m, crew: m[0].pk, {0}),
        (lambda m, crew: str(m[0].pk), {0}),
        (lambda m, crew: SimpleLazyObject(lambda: m[0]), {0}),
        (lambda m, crew: [m[0], m[2].pk], {0, 2}),
        (lambda m, crew: {m[0], m[2]}, {0, 2}),
        (lambda m, crew: (user for user in m), {0, 1, 2}),
        (lambda m, crew: [m[0], m[0].pk, str(m[0].pk), m[0]], {0}),
        (lambda m, crew: User.objects.all(), {0, 1, 2}),
        (lambda m, crew: User.objects.order_by("-pk")[:2], {1, 2}),
        (lambda m, crew: User.objects.filter(pk=m[0].pk).union(User.objects.filter(pk=m[2].pk)), {0, 2}),
        (lambda m, crew: User.objects.filter(groups=crew) | User.objects.filter(groups=crew), {0, 1}),
        (lambda m, crew: User.objects.only("username"), {0, 1, 2}),
        (lambda m, crew: User.objects.none(), set()),
        (lambda m, crew: crew, {0, 1}),
        (lambda m, crew: [crew], {0, 1}),
        (lambda m, crew: Group.objects.all(), {0, 1}),
        (lambda m, crew: [crew, m[1], m[2]], {0, 1, 2}),
        (lambda m, crew: [m[0], crew, crew, Group.objects.create(name="empty")], {0, 1}),
        (lambda m, crew: [], set()),
        (lambda m, crew: 999_999, set()),
        (lambda m, crew: [m[0], 999_999, -1], {0}),
    ],
)
def test_whoever_is_named_is_notified_once(members, crew, to, whom):
    event = notify("plain", to=to(members, crew), title="t")
    assert recipients(event) == {members[number].pk for number in whom}
    assert Notification.objects.count() == len(whom)


@pytest.mark.parametrize("to", [list, tuple, set, User.objects.none, Group.objects.none, lambda: iter(())])
def test_to_nobody_there_is_no_event(to):
    assert notify("plain", to=to(), title="t") is None
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    ("to", "error"),
    [
        (lambda: None, TypeError),
        (lambda: [None], TypeError),
        (AnonymousUser, (TypeError, ValueError)),
        (lambda: SimpleLazyObject(AnonymousUser), (TypeError, ValueError)),
        (lambda: User(username="unsaved"), ValueError),
        (lambda: [User(username="unsaved")], ValueError),
        (lambda: Group(name="unsaved"), ValueError),
        (lambda: "mina", ValueError),
        (lambda: "", ValueError),
        (lambda: ["1 "[:0]], ValueError),
        (object, (TypeError, ValueError)),
        (lambda: True, TypeError),
        (lambda: [False], TypeError),
        (lambda: 1.0, TypeError),
        (lambda: b"1", TypeError),
        (lambda: [b"1"], TypeError),
        (lambda: [[1]], (TypeError, ValueError)),
        (lambda: Label(pk=1, name="a"), TypeError),
        (Label.objects.all, TypeError),
        (lambda: [User.objects.none()], (TypeError, ValueError)),
        (lambda: 10**30, ValueError),
        (lambda: [1, 10**30], ValueError),
    ],
)
def test_what_is_nobody_raises_and_leaves_nothing(to, error):
    with pytest.raises(error):
        notify("plain", to=to(), title="t")
    assert not Event.objects.exists()


def test_more_than_ten_thousand_are_named_by_a_group():
    assert RECIPIENTS == 10_000
    with pytest.raises(ValueError, match="name a group"):
        notify("plain", to=range(1, RECIPIENTS + 2), title="t")
    assert not Event.objects.exists()
    event = notify("plain", to=list(range(1, RECIPIENTS + 1)) * 2, title="t")
    assert event is not None
    assert len(event.audience["users"]) == RECIPIENTS


@pytest.mark.timeout(20)
def test_an_endless_iterable_is_refused_too():
    from itertools import count

    with pytest.raises(ValueError, match="name a group"):
        notify("plain", to=count(1), title="t")


def test_a_queryset_of_more_than_ten_thousand_is_refused(people):
    User.objects.bulk_create([User(username=f"many{number}") for number in range(RECIPIENTS + 1)])
    with pytest.raises(ValueError, match="name a group"):
        notify("plain", to=User.objects.all(), title="t")


@pytest.mark.parametrize(("count", "is_wide"), [(1, False), (NARROW, False), (NARROW + 1, True)])
def test_many_recipients_make_an_event_wide(count, is_wide):
    event = notify("plain", to=range(1, count + 1), title="t")
    assert event is not None
    assert event.wide is is_wide


def test_a_group_makes_an_event_wide_and_is_stored_as_such(members, crew):
    event = notify("plain", to=[crew, members[2]], title="t")
    assert event is not None
    assert event.wide
    assert event.audience == {"users": [members[2].pk], "groups": [crew.pk]}


@pytest.mark.parametrize("count", [1, 100, 5000])
def test_the_callers_transaction_pays_one_insert_whatever_the_number_of_recipients(count, django_assert_num_queries):
    with transaction.atomic():
        with django_assert_num_queries(1) as queries:
            notify("plain", to=range(1, count + 1), title="t")
        transaction.set_rollback(True)
    assert queries.captured_queries[0]["sql"].startswith("INSERT INTO")


# the transaction


def test_an_event_is_part_of_the_open_transaction(mina, titles):
    with transaction.atomic():
        notify("plain", to=mina, title="rolled back")
        transaction.set_rollback(True)
    with transaction.atomic():
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            notify("plain", to=mina, title="savepoint")
            _ = 1 / 0
        notify("plain", to=mina, title="kept")
        assert titles(mina) == []
    assert titles(mina) == ["kept"]
    assert Event.objects.count() == 1


def test_it_is_said_on_commit_and_once_an_event(mina):
    said: list[bool] = []

    def remember(wide: bool, **_: Any) -> None:
        said.append(wide)

    event_committed.connect(remember)
    try:
        with transaction.atomic():
            notify("plain", to=mina, title="a")
            notify("plain", to=range(1, 200), title="b")
            assert said == []
        assert said == [False, True]
    finally:
        event_committed.disconnect(remember)


def test_a_listener_that_fails_on_commit_reaches_neither_the_caller_nor_later_hooks(mina, errors):
    def fail(**_: Any) -> None:
        raise RuntimeError("a failing relay")

    hooks: list[str] = []
    event_committed.connect(fail)
    try:
        with transaction.atomic():
            notify("plain", to=mina, title="t")
            transaction.on_commit(lambda: hooks.append("ran"))
    finally:
        event_committed.disconnect(fail)
    assert hooks == ["ran"]
    assert len(errors()) == 1
    assert Event.objects.count() == 1


# content


def test_content_is_stored_once_and_whole(mina):
    order = Order.objects.create(number="7")
    event = notify(
        "order.life",
        to=mina,
        title="t",
        body="b",
        url="/x/",
        actor=mina,
        target=order,
        data={"n": [1, {"x": None}]},
        severity="warning",
        icon="bell",
    )
    assert stored(event) == {
        "severity": "warning",
        "title": "t",
        "body": "b",
        "url": "/x/",
        "icon": "bell",
        "actor": {"type": "auth.user", "id": str(mina.pk), "text": "mina"},
        "target": {"type": "site_under_test.order", "id": str(order.pk), "text": "Order 7"},
        "data": {"n": [1, {"x": None}]},
    }


def test_an_actor_with_a_full_name_is_called_by_it(mina):
    mina.first_name, mina.last_name = "Mina", "Murray"
    assert stored(notify("plain", to=mina, title="t", actor=mina))["actor"]["text"] == "Mina Murray"


def test_actor_and_target_may_be_plain_or_translated_text(mina):
    content = stored(notify("plain", to=mina, title="t", actor="The shop", target=Text("shipped")))
    assert content["actor"] == {"text": "The shop"}
    assert content["target"] == {"text": {"id": "shipped", "params": {}}}


def test_a_target_may_vanish_and_its_name_stays(mina):
    order = Order.objects.create(number="7")
    event = notify("plain", to=mina, title="t", target=order)
    order.delete()
    assert event is not None
    assert rendered(Event.objects.get(pk=event.pk).copy())["target"] == "Order 7"


def test_lazy_text_is_stored_as_its_message_id_whatever_language_the_writer_reads(mina):
    with override("de"):
        event = notify("plain", to=mina, title=gettext_lazy("shipped"), body=Text("%(count)d comment", plural="x", count=1))
    assert stored(event)["title"] == {"id": "shipped", "params": {}}
    assert event is not None
    with override("de"):
        assert rendered(event.copy())["title"] == "versandt"
    with override("en"):
        assert rendered(event.copy())["title"] == "shipped"


def test_other_lazy_and_safe_strings_are_plain_text(mina):
    event = notify("plain", to=mina, title=lazystr("lazy"), body=mark_safe("<b>safe</b>"), url=str(mark_safe("/x/")))
    assert event is not None
    made = rendered(Event.objects.get(pk=event.pk).copy())
    assert (made["title"], made["body"], made["url"]) == ("lazy", "<b>safe</b>", "/x/")


@pytest.mark.parametrize("filled", ["title", "body", "data", "text"])
def test_content_of_more_than_eight_kibibytes_is_refused(mina, filled):
    def arguments(count: int) -> dict[str, Any]:
        text = "é" * (count // 2)
        match filled:
            case "data":
                return {"title": "t", "data": {"x": text}}
            case "text":
                return {"title": Text("%(x)s", x=text)}
            case "body":
                return {"title": "t", "body": text}
        return {"title": text}

    assert CONTENT_BYTES == 8192
    with pytest.raises(ValueError, match="8192 bytes"):
        notify("plain", to=mina, **arguments(8200))
    assert not Event.objects.exists()
    assert notify("plain", to=mina, **arguments(8000)) is not None


@pytest.mark.parametrize("bad", ["\x00", "\ud800"])
def test_what_no_database_stores_is_replaced_wherever_it_stands(mina, bad):
    text = f"a{bad}b"
    event = notify(
        "plain",
        to=mina,
        title=text,
        body=Text(text, context=text, x=text),
        url=f"/{text}",
        actor=text,
        icon=text,
        data={text: [text]},
        target=Order(pk=1, number=text),
    )
    content = stored(event)
    assert content["title"] == content["actor"]["text"] == "a\ufffdb"
    assert content["target"]["text"] == "Order a\ufffdb"
    assert bad not in str(content)
    assert recipients(event) == {mina.pk}


def test_rows_are_stored_by_postgresql_only_without_nul(postgres_only):
    """The premise of the test above."""
    with pytest.raises((DatabaseError, ValueError)), transaction.atomic():
        Event.objects.create(kind="k", content={"title": "\x00"}, audience={"users": [], "groups": []}, pending=None)


@pytest.mark.parametrize("data", [{"x": object()}, {(1, 2): "tuple"}])
def test_data_that_is_no_json_is_refused(mina, data):
    with pytest.raises(TypeError, match="JSON"):
        notify("plain", to=mina, title="t", data=data)
    assert not Event.objects.exists()


def test_data_that_holds_itself_is_refused(mina):
    data: dict[str, Any] = {}
    data["x"] = data
    with pytest.raises((TypeError, ValueError)):
        notify("plain", to=mina, title="t", data=data)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//host/", "/\\host", "/a\nb", "\x00javascript:x"])
def test_a_hostile_url_is_dropped_and_the_notification_is_not(mina, caplog, url):
    event = notify("plain", to=mina, title="t", url=url)
    assert "url" not in stored(event)
    assert recipients(event) == {mina.pk}
    assert "unsafe_url" in caplog.text
    assert url not in caplog.text


@pytest.mark.parametrize("arguments", [{"kind": "no.such"}, {"title": ""}, {"severity": "x"}, {"data": [1]}])
def test_bad_arguments_raise_at_the_caller(mina, arguments):
    with pytest.raises((TypeError, ValueError)):
        notify(**({"kind": "plain", "to": mina, "title": "t"} | arguments))
    assert not Event.objects.exists()


def test_an_argument_that_does_not_exist_raises(mina):
    with pytest.raises(TypeError, match="tilte"):
        notify("plain", to=mina, tilte="t")  # type: ignore[call-arg]


# who calls


def test_from_a_thread(mina, titles):
    def work() -> None:
        try:
            notify("plain", to=mina, title="thread")
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert titles(mina) == ["thread"]


def test_from_a_coroutine_of_a_script(mina, titles):
    async def work() -> Event | None:
        from asgiref.sync import sync_to_async

        event = await anotify("plain", to=mina, title="asyncio.run")
        await sync_to_async(connections.close_all)()
        return event

    event = asyncio.run(work())
    assert titles(mina) == ["asyncio.run"]
    assert recipients(event) == {mina.pk}


async def test_from_a_coroutine_bad_arguments_raise_alike(mina):
    with pytest.raises(ValueError, match="no Kind"):
        await anotify("no.such", to=mina, title="t")


async def test_the_synchronous_call_in_a_coroutine_says_what_is_wrong(mina):
    with pytest.raises(SynchronousOnlyOperation):
        notify("plain", to=mina, title="t")


def test_from_a_management_command(mina, titles):
    class Command(BaseCommand):
        def handle(self, *args: Any, **options: Any) -> None:
            notify("plain", to=mina, title="command")

    call_command(Command(), stdout=StringIO())
    assert titles(mina) == ["command"]


def test_from_a_view(mina, titles):
    assert Client().get(f"/tell/{mina.pk}/view/").content == b"told"
    assert titles(mina) == ["view"]


async def test_from_an_async_view(mina, titles):
    from asgiref.sync import sync_to_async

    response = await AsyncClient().get(f"/atell/{mina.pk}/async-view/")
    assert response.content == b"told"
    assert await sync_to_async(titles)(mina) == ["async-view"]


def test_the_admins_transaction_is_change_and_event_in_one(mina, titles):
    """As `ATOMIC_REQUESTS`: what the view saved and what it notified are one commit."""
    User.objects.create_superuser("root", password="root")
    order = Order.objects.create(number="7", customer=mina)
    client = Client()
    assert client.login(username="root", password="root")
    with transaction.atomic():
        client.get(f"/orders/{order.pk}/paid/")
        assert titles(mina) == []
    assert titles(mina) == ["Order %(number)s is %(status)s"] or [each["id"] for each in titles(mina)]


# tables that are not there


@pytest.fixture
def without_tables(transactional_db):
    """The app is installed and its migrations are not applied."""
    name = Event._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name}_away RENAME TO {name}")


@pytest.mark.parametrize("is_atomic", [False, True])
def test_without_our_tables_the_sites_saves_succeed_and_one_line_says_why(mina, without_tables, errors, caplog, is_atomic):
    order = Order.objects.create(number="7", customer=mina)
    with transaction.atomic() if is_atomic else contextlib.nullcontext():
        for status in ("paid", "shipped"):
            order.status = status
            order.save()
        Label.objects.create(name="after")
    assert (Order.objects.get().status, Label.objects.count()) == ("shipped", 1)
    tracebacks = [record for record in caplog.records if record.exc_info]
    (line,) = errors()
    assert "migrations applied" in line
    assert tracebacks == []


def test_without_our_tables_a_call_of_notify_raises(mina, without_tables):
    with pytest.raises(DatabaseError):
        notify("plain", to=mina, title="t")
