"""Actions and answers: what a notification asks, who is shown what came of it, and in which words."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, transaction
from django.test import Client
from django.utils.translation import gettext_lazy, override

from notifications import Action, Text, aanswer, answer, notify, ringer, statements
from notifications import steps as steps_module
from notifications.answers import ANSWER_BYTES
from notifications.inbox import read_page, states
from notifications.items import item, rendered
from notifications.models import Event, Inbox, Notification
from notifications.outbox import CONTENT_BYTES, RECIPIENTS
from notifications.protocol import Button, Hidden, Item, WakeUp
from notifications.replays import Cursor, replay
from notifications.signals import inbox_stepped
from notifications.steps import mark, mark_seen, recount
from tests.integration.page_reader import press, read, rows
from tests.site.client import Page
from tests.site.hostile import ADDRESSES, TEXTS
from tests.site.sockets import whatever_the_database

pytestmark = pytest.mark.django_db(transaction=True)

YES, NO = Action("Yes", "/reply/1/", primary=True), Action("No", "/reply/2/")
COMMENTS = Text("%(count)d comment", plural="%(count)d comments", count=2)


def ask(to: Any, title: str = "Is it yours?", *, kind: str = "plain", **more: Any) -> int:
    """A notification with two buttons; its event's id."""
    event = notify(kind, to=to, title=title, actions=[YES, NO], **more)
    assert event is not None
    return int(event.pk)


def shown(user: Any, **how: Any) -> dict[str, str]:
    """The answers on the user's page by title."""
    return {each.title: each.answer for each in read_page(user.pk, **how).items}


def everything() -> Any:
    return [list(model.objects.order_by("pk").values()) for model in (Inbox, Notification)]  # type: ignore[attr-defined]


@pytest.fixture
def steps() -> Iterator[list[WakeUp]]:
    """What the users' steps told, in order."""
    told: list[WakeUp] = []

    def remember(wake_up: WakeUp, **_: Any) -> None:
        told.append(wake_up)

    inbox_stepped.connect(remember)
    try:
        yield told
    finally:
        inbox_stepped.disconnect(remember)


# actions


def test_an_items_buttons_are_the_drafts_actions_in_the_readers_language(mina):
    label = Text("%(count)d comment", plural="%(count)d comments", count=1)
    notify("plain", to=mina, title="t", actions=[Action(gettext_lazy("shipped"), "/a/", primary=True), Action(label, "/b/?c#d")])
    for language, labels in {"de": ["versandt", "1 Kommentar"], "en": ["shipped", "1 comment"]}.items():
        (shown,) = read_page(mina.pk, language=language).items
        assert shown.actions == [
            Button(label=labels[0], url="/a/", primary=True),
            Button(label=labels[1], url="/b/?c#d", primary=False),
        ]
        assert shown.answer == ""


def test_a_notification_without_actions_stores_none(mina):
    event = notify("plain", to=mina, title="t")
    assert "actions" not in Event.objects.get(pk=event.pk).content
    assert read_page(mina.pk).items[0].actions == []


def test_actions_count_among_the_eight_kibibytes(mina):
    with pytest.raises(ValueError, match=f"{CONTENT_BYTES} bytes"):
        notify("plain", to=mina, title="t", actions=[Action("x" * 4000, "/"), Action("y" * 4200, "/")])
    assert notify("plain", to=mina, title="t", actions=[Action("x" * 4000, "/"), Action("y" * 4000, "/")])


@pytest.mark.parametrize("bad", ["\x00", "\ud800"])
def test_what_no_database_stores_is_replaced_in_labels_addresses_and_answers(mina, bad):
    text = f"a{bad}b"
    address = f"/a{bad}b" if bad != "\x00" else "/a"  # which is no path at all
    event = notify("plain", to=mina, title="t", actions=[Action(text, address), Action(Text(text, x=text), "/")])
    answer(event.pk, Text(text, x=text), to=mina)
    (shown,) = read_page(mina.pk).items
    assert [button.label for button in shown.actions] == ["a\ufffdb", "a\ufffdb"]
    assert bad not in json.dumps([shown.actions[0].url, shown.answer], ensure_ascii=False)
    assert shown.answer == "a\ufffdb"


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_button_whose_address_was_made_hostile_in_the_store_is_gone_from_page_and_replay(mina, address):
    event = Event.objects.get(pk=ask(mina))
    event.content["actions"][0]["url"] = address if "\x00" not in address else "/\\x"
    event.save()
    assert [button.label for button in read_page(mina.pk).items[0].actions] == ["No"]
    ((_, copy),) = replay({mina.pk: Cursor("", 0)})[mina.pk].rows or ()
    assert copy is not None
    assert [button.label for button in rendered(copy)["actions"]] == ["No"]


# who is shown an answer


def test_an_answer_is_shown_to_those_who_are_named_and_have_it(mina, omar, people, steps):
    nina, otto = people(2)
    event, other = ask([mina, omar, nina]), ask([mina, omar])
    before = states([omar.pk])
    steps.clear()
    answer(event, "It is Mina's", to=[mina, nina, otto])
    assert [each.answer for each in read_page(mina.pk).items] == ["", "It is Mina's"]
    assert shown(nina) == {"Is it yours?": "It is Mina's"}
    assert [each.answer for each in read_page(omar.pk).items] == ["", ""]
    assert states([omar.pk]) == before
    assert not Inbox.objects.filter(pk=otto.pk).exists()
    assert [step.user for wake_up in steps for step in wake_up.steps] == sorted([str(mina.pk), str(nina.pk)], key=int)
    assert Notification.objects.filter(event=other, answer__isnull=False).count() == 0


@pytest.mark.parametrize(
    "to",
    [
        lambda user: user,
        lambda user: user.pk,
        lambda user: str(user.pk),
        lambda user: [user],
        lambda user: {user.pk, 10**6},
        lambda user: (each for each in (user, user.pk)),
        lambda user: User.objects.filter(pk=user.pk),
    ],
)
def test_whoever_is_named_as_for_a_notification(mina, to):
    answer(str(ask(mina)), "Yes", to=to(mina))
    assert shown(mina) == {"Is it yours?": "Yes"}


@pytest.mark.parametrize(
    "notification",
    [10**9, -1, 0, 2**63, 10**30, "", "x", "1e3", "-1", " 1", "1.0", "٣", "9" * 5000, "1; DROP TABLE", "\x00", "²"],
)
def test_what_names_no_notification_is_passed_over(mina, notification, steps):
    ask(mina)
    before = everything()
    steps.clear()
    answer(notification, "Yes", to=mina)
    assert everything() == before
    assert steps == []


def test_anothers_notification_and_a_missing_one_are_passed_over_alike(mina, omar, steps, django_assert_num_queries):
    ask(mina)
    his = ask(omar)
    before = everything()
    steps.clear()
    for notification in (his, 10**9):
        with django_assert_num_queries(1):
            answer(notification, "Yes", to=mina)
    assert everything() == before
    assert steps == []


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ({"text": ""}, ValueError, "needs a text"),
        ({"text": Text("")}, ValueError, "needs a text"),
        ({"text": None}, TypeError, "text"),
        ({"text": b"Yes"}, TypeError, "text"),
        ({"text": 5}, TypeError, "text"),
        ({"text": "é" * (ANSWER_BYTES // 2)}, ValueError, f"{ANSWER_BYTES} bytes"),
        ({"text": Text("%(x)s", x="x" * ANSWER_BYTES)}, ValueError, f"{ANSWER_BYTES} bytes"),
        ({"notification": None}, TypeError, "id"),
        ({"notification": True}, TypeError, "id"),
        ({"notification": 1.0}, TypeError, "id"),
        ({"to": None}, TypeError, "name users"),
        ({"to": "x"}, ValueError, "id of a user"),
        ({"to": [True]}, TypeError, "name users"),
        ({"to": User(username="unsaved")}, ValueError, "not saved"),
        ({"to": Group(pk=1)}, TypeError, "name users"),
        ({"to": range(RECIPIENTS + 1)}, ValueError, "10000 recipients"),
    ],
)
def test_bad_arguments_raise_at_the_caller_and_change_nothing(mina, arguments, error, word):
    event = ask(mina)
    before = everything()
    with pytest.raises(error, match=word):
        answer(**({"notification": event, "text": "Yes", "to": mina} | arguments))
    assert everything() == before


def test_the_longest_answer_is_stored_whole(mina):
    text = "x" * (ANSWER_BYTES - 2)  # and its quotes
    answer(ask(mina), text, to=mina)
    assert shown(mina) == {"Is it yours?": text}


def test_nobody_is_nobody(mina):
    event = ask(mina)
    answer(event, "Yes", to=[])
    assert shown(mina) == {"Is it yours?": ""}


# what comes of it


def test_an_answer_is_one_step_that_reads_the_notification_and_is_told(mina, steps):
    ask(mina, "first")
    event = ask(mina, "asked")
    mark_seen(mina.pk, 1)
    steps.clear()
    answer(event, COMMENTS, to=mina)
    ((step,),) = [wake_up.steps for wake_up in steps]
    (row,) = step.rows or ()
    assert (step.base, step.top, step.unread, step.unseen) == (3, 4, 1, 0)
    assert (row.event, row.stamp, row.read, row.answer) == (event, 4, True, COMMENTS.as_json())
    with override("de"):
        told = item(row, rendered(steps[0].events[event]))
    assert isinstance(told, Item)
    assert (told.title, told.answer, told.read) == ("asked", "2 Kommentare", True)
    assert not recount(mina.pk)


def test_between_processes_an_answer_goes_as_it_is(mina, steps):
    answer(ask(mina), COMMENTS, to=mina)
    assert ringer.opened(ringer.sealed(steps[-1])) == steps[-1]


@pytest.mark.parametrize("state", [["read"], ["archive"], ["read", "archive"]])
def test_what_was_read_or_archived_stays_so_and_the_counts_stay_right(mina, state):
    event = ask(mina)
    for action in state:
        mark(mina.pk, action, ids=[event])
    answer(event, "Yes", to=mina)
    row = Notification.objects.get()
    assert (row.read_at is not None, row.archived_at is not None) == (True, "archive" in state)
    assert shown(mina, show="archived" if "archive" in state else "active") == {"Is it yours?": "Yes"}
    assert not recount(mina.pk)


def test_the_same_answer_again_is_no_step_and_another_takes_its_place(mina, steps):
    event = ask(mina)
    steps.clear()
    for _ in range(2):
        answer(event, COMMENTS, to=mina)
    assert len(steps) == 1
    answer(event, "No, Omar's", to=mina)
    assert shown(mina) == {"Is it yours?": "No, Omar's"}
    mark(mina.pk, "unread", ids=[event])
    answer(event, "No, Omar's", to=mina)
    assert Notification.objects.get().read_at is not None
    assert not recount(mina.pk)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1.5, 10**30, None, True])
def test_whatever_number_an_answer_names_it_is_stored_and_known_again(mina, steps, number):
    """JSON, and so PostgreSQL, has no word for some of them."""
    event = ask(mina)
    steps.clear()
    for _ in range(2):
        answer(event, Text("%(x)s", x=number), to=mina)
    assert len(steps) == 1
    assert shown(mina)["Is it yours?"]
    assert ringer.opened(ringer.sealed(steps[0])) == steps[0]


def test_an_answer_to_what_its_reader_has_deleted_is_told_to_nobody_and_there_when_it_comes_back(mina, steps):
    event = ask(mina)
    stamp = mark(mina.pk, "delete", ids=[event])
    before = states([mina.pk])
    steps.clear()
    answer(event, "Yes", to=mina)
    assert steps == []
    assert states([mina.pk]) == before
    assert mark(mina.pk, "undelete", stamp=stamp)
    (shown,) = read_page(mina.pk).items
    assert (shown.answer, shown.read) == ("Yes", True)
    assert not recount(mina.pk)


def test_an_answer_is_not_undone_with_the_reading_that_it_brought(mina):
    event = ask(mina)
    answer(event, "Yes", to=mina)
    mark(mina.pk, "unread", stamp=Inbox.objects.get().top)
    assert shown(mina) == {"Is it yours?": "Yes"}
    assert read_page(mina.pk).unread == 1


def test_who_may_no_longer_see_it_is_not_shown_the_answer_either(mina, steps):
    User.objects.filter(pk=mina.pk).update(is_staff=True)
    event = ask(mina, kind="staff.only")
    User.objects.filter(pk=mina.pk).update(is_staff=False)
    position = Inbox.objects.get().position
    steps.clear()
    answer(event, "a secret", to=mina)
    assert [(step.rows, wake_up.events) for wake_up in steps for step in wake_up.steps] == [(None, {})]
    assert b"a secret" not in ringer.sealed(steps[0])
    ((row, copy),) = replay({mina.pk: Cursor(*position)})[mina.pk].rows or ()
    assert item(row, copy and rendered(copy)) == Hidden(id=event, stamp=row.stamp)
    assert shown(mina) == {}
    User.objects.filter(pk=mina.pk).update(is_staff=True)
    assert shown(mina) == {"Is it yours?": "a secret"}  # the premise


def test_each_reader_has_it_in_their_language_and_plural(mina, omar):
    for count, german, english in ((1, "1 Kommentar", "1 comment"), (5, "5 Kommentare", "5 comments")):
        event = ask([mina, omar], f"t{count}")
        with override("de"):  # who answers speaks German, which is nobody else's business
            answer(event, Text("%(count)d comment", plural="%(count)d comments", count=count), to=[mina, omar])
        assert shown(mina, language="de")[f"t{count}"] == german
        assert shown(omar, language="en")[f"t{count}"] == english


def test_a_plain_or_lazy_answer_is_taken_like_any_text(mina):
    event = ask(mina)
    with override("de"):
        answer(event, gettext_lazy("shipped"), to=mina)
    assert shown(mina, language="en") == {"Is it yours?": "shipped"}
    assert shown(mina, language="de") == {"Is it yours?": "versandt"}


# transactions, processes, databases


def test_inside_a_transaction_it_happens_on_commit(mina, steps, django_assert_num_queries):
    event = ask(mina)
    steps.clear()
    with transaction.atomic():
        with django_assert_num_queries(0):  # no inbox is locked for a request's length
            answer(event, "Yes", to=mina)
        assert steps == []
    assert shown(mina) == {"Is it yours?": "Yes"}
    with transaction.atomic():
        answer(event, "taken back", to=mina)
        transaction.set_rollback(True)
    assert shown(mina) == {"Is it yours?": "Yes"}


def test_each_inbox_is_a_transaction_of_its_own_in_the_relays_order(people, monkeypatch):
    users = people(4)
    event = ask(users)
    answered: list[tuple[Any, int]] = []

    def remember(wake_up: WakeUp, **_: Any) -> None:
        done = Notification.objects.filter(event=event, answer__isnull=False).count()
        answered.append((int(wake_up.steps[0].user), done))
        assert not connection.in_atomic_block

    inbox_stepped.connect(remember)
    try:
        answer(event, "Yes", to=list(reversed(users)))
    finally:
        inbox_stepped.disconnect(remember)
    assert answered == [(user.pk, number) for number, user in enumerate(sorted(users, key=lambda user: user.pk), 1)]


def test_an_answer_costs_five_statements_an_inbox(people, django_assert_max_num_queries):
    users = people(3)
    event = ask(users)
    with django_assert_max_num_queries(1 + 3 * (5 + 2)):  # and the transaction's begin and end
        answer(event, "Yes", to=users)


async def test_from_a_coroutine(mina):
    event = await sync_to_async(ask)(mina)
    await aanswer(event, "Yes", to=mina)
    assert await sync_to_async(shown)(mina) == {"Is it yours?": "Yes"}
    with pytest.raises(ValueError, match="needs a text"):
        await aanswer(event, "", to=mina)
    with pytest.raises(SynchronousOnlyOperation):
        answer(event, "No", to=mina)


@pytest.mark.parametrize("way", ["by ready SQL", "by the ORM"])
def test_what_arrives_has_no_answer(mina, omar, monkeypatch, way):
    if way == "by the ORM":  # as on databases that have no upsert of ours

        def deliver(alias: str, arrivals: Any, finished: Any) -> Any:
            advanced = statements._advance_by_orm(alias, [(user_id, len(events)) for user_id, events in arrivals])
            statements._insert(connection, advanced, dict(arrivals))
            statements._finish(connection, finished)
            return advanced

        monkeypatch.setattr("notifications.slices.deliver", deliver)
    ask([mina, omar])
    assert Notification.objects.filter(answer__isnull=True).count() == 2
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {Notification._meta.db_table} WHERE answer IS NULL")
        assert cursor.fetchone() == (2,)
    assert shown(mina) == {"Is it yours?": ""}


@pytest.mark.parametrize("text", TEXTS)
def test_a_hostile_answer_is_kept_and_told_as_the_text_that_it_is(mina, steps, text):
    answer(ask(mina), text, to=mina)
    assert shown(mina) == {"Is it yours?": text}
    assert ringer.opened(ringer.sealed(steps[-1])) == steps[-1]


def test_a_failure_of_one_inbox_leaves_the_answers_before_it(people, monkeypatch):
    users = people(2)
    event = ask(users)
    take = steps_module._answer

    def fail_at_the_second(user_id: Any, *arguments: Any) -> int:
        if user_id == users[1].pk:
            raise RuntimeError("the database is away")
        return take(user_id, *arguments)

    monkeypatch.setattr(steps_module, "_answer", fail_at_the_second)
    with pytest.raises(RuntimeError):
        answer(event, "Yes", to=users)
    assert [shown(user) for user in users] == [{"Is it yours?": "Yes"}, {"Is it yours?": ""}]


# on pages


@pytest.fixture
def reader(mina) -> Client:
    """Mina's, and as strict about CSRF as a real site."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(mina)
    return client


def button(row: Any, label: str) -> Any:
    (found,) = [each for each in row.all("button", data_part="action") if each.text == label]
    return found


def test_without_javascript_a_button_posts_to_the_site_and_its_answer_stands_in_its_place(reader, mina):
    event = ask(mina)
    (row,) = rows(read(reader.get("/notifications/")))
    buttons = row.all("button", data_part="action")
    assert [each.text for each in buttons] == ["Yes", "No"]
    assert [each.attributes["formaction"] for each in buttons] == ["/reply/1/", "/reply/2/"]
    assert [each.attributes.get("class") for each in buttons] == ["notifications-primary", None]
    assert {(each.attributes["name"], each.attributes["value"]) for each in buttons} == {("notification", str(event))}
    assert {each.up("form").attributes["method"] for each in buttons} == {"post"}
    assert "hidden" in row.one(data_part="answer").attributes

    (row,) = rows(read(press(reader, button(row, "No"))))
    assert row.all("button", data_part="action") == []
    assert row.one(data_part="answer").text == "2 comments"
    assert "hidden" not in row.one(data_part="answer").attributes
    assert "data-unread" not in row.attributes


def test_a_button_needs_its_token(reader, mina):
    assert reader.post("/reply/1/", {"notification": ask(mina)}).status_code == 403
    assert shown(mina) == {"Is it yours?": ""}


def test_the_pattern_for_rows_that_come_later_has_one_hidden_button_and_no_address(reader, mina):
    ask(mina)
    pattern = read(reader.get("/notifications/")).one("template").one("article").one("button", data_part="action")
    assert "hidden" in pattern.attributes
    assert "formaction" not in pattern.attributes
    assert pattern.text == ""


@pytest.mark.parametrize("text", TEXTS)
def test_hostile_labels_and_answers_are_shown_as_text(reader, mina, text):
    words = " ".join(text.split())
    event = notify(
        "plain", to=mina, title="t", actions=[Action(text, "/reply/1/"), Action("x", "/'\"><script>alert(1)</script>")]
    )
    page = read(reader.get("/notifications/"))
    (row,) = rows(page)
    assert row.all("button", data_part="action")[0].text == words
    assert row.all("button", data_part="action")[1].attributes["formaction"] == "/'\"><script>alert(1)</script>"
    count = len(page.all("script"))
    answer(event.pk, text, to=mina)
    page = read(reader.get("/notifications/"))
    assert rows(page)[0].one(data_part="answer").text == words
    assert len(page.all("script")) == count
    assert not any(name.startswith("on") for each in page.all() for name in each.attributes)
    data = json.loads(reader.get("/notifications/items/").content)["items"][0]
    assert (data["answer"], data["actions"][0]["label"]) == (text, text)


@whatever_the_database
async def test_an_answer_comes_to_every_open_page_in_its_own_language(live_site, mina, teo, mina_session, teo_session):
    event = await sync_to_async(ask)([mina, teo])
    async with (
        Page(live_site, mina_session, language="de") as german,
        Page(live_site, mina_session) as english,
        Page(live_site, teo_session) as his,
    ):
        for page in (german, english, his):
            await page.until(lambda page: event in page.items)
            assert page.items[event]["actions"][0] == {"label": "Yes", "url": "/reply/1/", "primary": True}
        await aanswer(event, COMMENTS, to=mina)
        await german.until(lambda page: page.items[event]["answer"] == "2 Kommentare")
        await english.until(lambda page: page.items[event]["answer"] == "2 comments")
        for page in (german, english):
            assert (page.items[event]["read"], page.unread, page.gaps) == (True, 0, 0)
        await aanswer(event, "Teo's", to=[teo, mina])
        for page in (german, english, his):
            await page.until(lambda page: page.items[event]["answer"] == "Teo's")
        assert [delta["items"] for delta in his.kinds("delta") if delta["items"]][-1][0]["id"] == event
    later = Page(live_site, mina_session, language="de")  # the reset's way
    await later.connect()
    await later.until(lambda page: event in page.items and page.items[event]["answer"] == "Teo's")
    await later.disconnect()
