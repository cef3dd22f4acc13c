"""Undo: a step names itself, and the opposite action on that step takes back what it did, and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifications import notify
from notifications.inbox import read_page
from notifications.items import item, rendered
from notifications.models import Event, Inbox, Notification
from notifications.protocol import DELTA_ROWS, Hidden, Item, WakeUp
from notifications.replays import Cursor, replay
from notifications.signals import inbox_stepped
from notifications.steps import ACTIONS, forget, mark, mark_seen, recount
from tests.site.sockets import only_on

pytestmark = pytest.mark.django_db(transaction=True)

UNDO = {"read": "unread", "archive": "unarchive", "delete": "undelete", "unread": "read", "unarchive": "archive"}


def fill(user: Any, count: int, kind: str = "plain") -> list[int]:
    """That many notifications, titled by their numbers; their events' ids."""
    events = [notify(kind, to=user, title=str(number)) for number in range(1, count + 1)]
    return [event.pk for event in events if event is not None]


def many(user: Any, count: int) -> None:
    """Rows as the relay makes them, without its pace."""
    events = Event.objects.bulk_create(
        [Event(kind="plain", content={"severity": "info", "title": "t"}, audience={}, pending=None) for _ in range(count)]
    )
    Notification.objects.bulk_create(
        [Notification(recipient=user, event=event, number=number, stamp=number) for number, event in enumerate(events, 1)]
    )
    Inbox.objects.create(user=user, top=count, unread=count, unseen=count)


def state(user: Any) -> Any:
    """All that a reader can tell of their inbox, but for stamps."""
    rows = Notification.objects.filter(recipient=user).order_by("number")
    page = read_page(user.pk)
    states = [(row.number, row.read_at is not None, row.archived_at is not None, row.deleted_at is not None) for row in rows]
    return states, (page.unread, page.unseen)


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


@pytest.mark.parametrize("by", ["ids", "upto"])
@pytest.mark.parametrize(("action", "opposite"), UNDO.items())
def test_a_step_that_is_undone_leaves_everything_as_it_was(mina, action, opposite, by):
    ids = fill(mina, 4)
    if action.startswith("un"):
        mark(mina.pk, opposite, ids=ids)
    mark_seen(mina.pk, 1)
    before = state(mina)
    stamp = mark(mina.pk, action, ids=ids[:3]) if by == "ids" else mark(mina.pk, action, upto=3)
    assert state(mina) != before
    assert mark(mina.pk, opposite, stamp=stamp)
    assert state(mina) == before
    assert not recount(mina.pk)


def test_a_step_says_its_stamp_and_nothing_is_0(mina, omar):
    ids = fill(mina, 2)
    assert mark(mina.pk, "read", ids=ids) == Inbox.objects.get().top == 3
    assert set(Notification.objects.values_list("stamp", flat=True)) == {3}
    assert mark_seen(mina.pk, 2) == 0, "nothing to be told: both were read"
    assert [mark(mina.pk, "read", **by) for by in ({"ids": ids}, {"upto": 2}, {"stamp": 3}, {"ids": []})] == [0, 0, 0, 0]
    assert [mark(omar.pk, "read", upto=5), mark(omar.pk, "undelete", ids=ids), mark_seen(omar.pk, 5)] == [0, 0, 0]
    fill(mina, 1)
    assert mark_seen(mina.pk, 4) == Inbox.objects.get().top == 5


def test_inside_a_transaction_the_step_is_yet_to_be_taken_and_says_0(mina):
    fill(mina, 2)
    stamp = mark(mina.pk, "archive", upto=2)
    with transaction.atomic():
        assert mark(mina.pk, "unarchive", stamp=stamp) == 0
        assert mark_seen(mina.pk, 2) == 0
        assert read_page(mina.pk).items == []
    assert len(read_page(mina.pk).items) == 2


def test_an_undo_leaves_alone_what_the_step_did_not_do(mina):
    ids = fill(mina, 3)
    mark(mina.pk, "read", ids=ids[:1])
    stamp = mark(mina.pk, "read", upto=3)
    mark(mina.pk, "unread", stamp=stamp)
    assert [is_read for _, is_read, _, _ in state(mina)[0]] == [True, False, False]


def test_an_undo_leaves_alone_what_has_been_touched_since(mina):
    ids = fill(mina, 3)
    stamp = mark(mina.pk, "delete", upto=2)
    mark(mina.pk, "undelete", ids=ids[:1])
    mark(mina.pk, "delete", ids=ids[:1])  # again, by a click of its own
    assert mark(mina.pk, "undelete", stamp=stamp)
    assert [is_deleted for *_, is_deleted in state(mina)[0]] == [True, False, False]


def test_an_undo_undoes_once_and_can_be_undone_itself(mina, steps):
    fill(mina, 2)
    archived = mark(mina.pk, "archive", upto=2)
    back = mark(mina.pk, "unarchive", stamp=archived)
    steps.clear()
    assert [mark(mina.pk, "unarchive", stamp=archived), mark(mina.pk, "archive", stamp=archived)] == [0, 0]
    assert steps == []
    assert mark(mina.pk, "archive", stamp=back)
    assert read_page(mina.pk).items == []


def test_an_arrival_is_a_step_too_of_which_nothing_need_be_undone(mina, steps):
    fill(mina, 3)
    steps.clear()
    assert [mark(mina.pk, action, stamp=2) for action in ("unread", "unarchive", "undelete")] == [0, 0, 0]
    assert steps == []
    mark(mina.pk, "read", stamp=2)
    assert [is_read for _, is_read, _, _ in state(mina)[0]] == [False, True, False]


def test_the_same_stamp_in_anothers_inbox_is_another_step(mina, omar):
    for user in (mina, omar):
        fill(user, 2)
    assert mark(mina.pk, "delete", upto=2) == mark(omar.pk, "delete", upto=2)
    his = state(omar)
    mark(mina.pk, "undelete", stamp=3)
    assert state(omar) == his
    assert len(read_page(mina.pk).items) == 2


@pytest.mark.parametrize("was", [["read"], ["archive"], ["read", "archive"]])
def test_what_was_deleted_comes_back_as_it_was(mina, was):
    ids = fill(mina, 2)
    for action in was:
        mark(mina.pk, action, ids=ids[:1])
    before = state(mina)
    mark(mina.pk, "delete", ids=ids)
    mark(mina.pk, "undelete", ids=ids)
    assert state(mina) == before


def test_what_comes_back_is_told_as_a_whole_item(mina, steps):
    ids = fill(mina, 2)
    stamp = mark(mina.pk, "delete", upto=2)
    top = Inbox.objects.get().top
    steps.clear()
    mark(mina.pk, "undelete", stamp=stamp)
    ((step,),) = [wake_up.steps for wake_up in steps]
    events = steps[0].events
    told = [item(row, rendered(events[row.event])) for row in step.rows or ()]
    assert [(each.id, each.title, each.stamp) for each in told if isinstance(each, Item)] == [
        (ids[0], "1", top + 1),
        (ids[1], "2", top + 1),
    ]
    assert (step.unread, step.unseen, step.ops) == (2, 2, ())


def test_what_may_no_longer_be_seen_comes_back_for_nobody_to_see(mina, steps):
    User.objects.filter(pk=mina.pk).update(is_staff=True)
    ids = fill(mina, 1, "staff.only")
    mark(mina.pk, "delete", ids=ids)
    User.objects.filter(pk=mina.pk).update(is_staff=False)
    position = Inbox.objects.get().position
    steps.clear()
    mark(mina.pk, "undelete", ids=ids)
    assert [(step.rows, wake_up.events) for wake_up in steps for step in wake_up.steps] == [(None, {})]
    ((row, copy),) = replay({mina.pk: Cursor(*position)})[mina.pk].rows or ()
    assert item(row, copy and rendered(copy)) == Hidden(id=ids[0], stamp=row.stamp)
    assert read_page(mina.pk).items == []


@pytest.mark.parametrize("gone", ["the event", "its content", "the row"])
def test_what_has_been_pruned_cannot_come_back(mina, steps, gone):
    ids = fill(mina, 2)
    stamp = mark(mina.pk, "delete", ids=ids)
    if gone == "the event":
        Event.objects.filter(pk=ids[0]).delete()
    elif gone == "its content":
        Event.objects.filter(pk=ids[0]).update(content={})
    else:
        Notification.objects.filter(event=ids[0]).delete()
    steps.clear()
    assert mark(mina.pk, "undelete", ids=ids[:1]) == 0
    assert steps == []
    mark(mina.pk, "undelete", stamp=stamp)
    assert [each.title for each in read_page(mina.pk).items] == ["2"]
    assert not recount(mina.pk)


@only_on("sqlite")
def test_what_comes_back_is_found_without_reading_all_events(mina):
    ids = fill(mina, 1)
    mark(mina.pk, "delete", ids=ids)
    with CaptureQueriesContext(connection) as queries:
        mark(mina.pk, "undelete", ids=ids)
    (update,) = [query["sql"] for query in queries if query["sql"].startswith("UPDATE") and Event._meta.db_table in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {update}")
        plan = "\n".join(str(row) for row in cursor.fetchall())
    assert "SEARCH" in plan
    assert "SCAN" not in plan, plan


def test_what_was_deleted_does_not_come_back_by_number(mina):
    with pytest.raises(ValueError, match="ids or stamp"):
        mark(mina.pk, "undelete", upto=3)


@pytest.mark.parametrize("arguments", [{}, {"ids": [1], "stamp": 1}, {"upto": 1, "stamp": 1}, {"stamp": None}])
def test_a_step_is_on_ids_or_up_to_a_number_or_on_a_step(mina, arguments):
    with pytest.raises(ValueError, match="ids, upto and stamp"):
        mark(mina.pk, "read", **arguments)


@pytest.mark.parametrize("stamp", [-1, 0, 10**6, 2**53 - 1, 10**30])
def test_a_step_that_nobody_took_is_nothing(mina, stamp, steps):
    fill(mina, 1)
    before = state(mina)
    assert [mark(mina.pk, action, stamp=stamp) for action in ACTIONS] == [0] * len(ACTIONS)
    assert steps == []
    assert state(mina) == before


@pytest.mark.parametrize("count", [DELTA_ROWS, DELTA_ROWS + 1, 1500])
@pytest.mark.parametrize(("action", "opposite"), [("read", "unread"), ("archive", "unarchive"), ("delete", "undelete")])
def test_an_undo_of_many_rows_costs_what_one_of_few_does(mina, steps, count, action, opposite, django_assert_max_num_queries):
    """Few travel with the step; many are read back by whoever holds an open page, or lead to a fresh page."""
    many(mina, count)
    before = state(mina)
    stamp = mark(mina.pk, action, upto=count)
    steps.clear()
    with django_assert_max_num_queries(8):
        mark(mina.pk, opposite, stamp=stamp)
    assert state(mina) == before
    told = [step.rows and len(step.rows) for wake_up in steps for step in wake_up.steps]
    assert told == [count if count <= DELTA_ROWS else None]
    epoch = Inbox.objects.get().epoch
    rows = replay({mina.pk: Cursor(epoch, stamp)})[mina.pk].rows
    assert (rows and len(rows)) == (count if count <= 1000 else None)


# whatever happens


class Book:
    """One inbox by the rules alone: what each step has done to whom."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self.top = 0

    def arrive(self, ids: list[int]) -> None:
        for id in ids:
            self.top += 1
            self.rows[id] = {"number": self.top, "stamp": self.top, "read_at": False, "archived_at": False, "deleted_at": False}

    def mark(self, action: Any, chosen: Any) -> int:
        column, sets, _ = ACTIONS[action]
        is_back = action == "undelete"
        rows = [row for id, row in self.rows.items() if chosen(id, row) and row["deleted_at"] is is_back]
        rows = [row for row in rows if row[column] is not sets]
        if not rows:
            return 0
        self.top += 1
        for row in rows:
            row.update({column: sets, "stamp": self.top})
        return self.top


number = st.integers(0, 7)
action = st.sampled_from(sorted(ACTIONS))
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 3)),
        st.tuples(st.just("undo"), st.integers(1, 4)),
        st.tuples(st.just("undo"), st.integers(1, 4)),
        st.tuples(action, st.just("ids"), st.lists(number, max_size=3)),
        st.tuples(action.filter(lambda action: action != "undelete"), st.just("upto"), number),
        st.tuples(action, st.just("stamp"), st.integers(0, 15)),
    ),
    min_size=3,
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(happenings)
def test_whatever_is_marked_and_undone_each_row_is_as_its_last_step_left_it_and_the_counts_are_right(mina, happenings):
    forget(mina.pk)
    book = Book()
    book.arrive(fill(mina, 3))
    taken: list[tuple[int, str]] = []
    for what in happenings:
        match what:
            case ("arrive", count):
                book.arrive(fill(mina, count))
                continue
            case ("undo", back):
                if len(taken) < back:
                    continue
                stamp, did = taken[-back]
                action, by, value = UNDO.get(did, "delete"), "stamp", stamp
            case (action, by, value):
                pass
        if by == "ids":
            known = list(book.rows)
            value = [known[at] for at in value if at < len(known)]
        choices = {
            "ids": lambda id, row, value=value: id in value,
            "upto": lambda id, row, value=value: row["number"] <= value,
            "stamp": lambda id, row, value=value: row["stamp"] == value,
        }
        stamp = book.mark(action, choices[by])
        assert mark(mina.pk, action, **{by: value}) == stamp
        if stamp:
            taken.append((stamp, action))
        rows = Notification.objects.filter(recipient=mina)
        for row in rows:
            mine = book.rows[row.event_id]
            assert row.stamp == mine["stamp"]
            assert all((getattr(row, name) is not None) is mine[name] for name in ("read_at", "archived_at", "deleted_at"))
        assert not recount(mina.pk), "the counts were wrong"
