"""The reader's side: pages, the steps that a user takes, and what leads a page from any position to the present."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifications import Text, frames, inbox, inbox_changed, notify, replays
from notifications.frames import replayed
from notifications.inbox import read_page, states
from notifications.items import item, rendered
from notifications.models import Event, Inbox, Notification
from notifications.protocol import RESET_ROWS, Hidden, Item, Position, WakeUp
from notifications.replays import Cursor, replay
from notifications.signals import inbox_stepped
from notifications.steps import forget, mark, mark_seen, recount, renew_epochs

pytestmark = pytest.mark.django_db(transaction=True)


def fill(user: Any, count: int) -> list[int]:
    """That many notifications, titled by their numbers; their events' ids."""
    events = [notify("plain", to=user, title=str(number)) for number in range(1, count + 1)]
    return [event.pk for event in events if event is not None]


def shown(user: Any, **arguments: Any) -> list[int]:
    return [each.number for each in read_page(user.pk, **arguments).items]


def counts(user: Any) -> tuple[int, int]:
    page = read_page(user.pk)
    return page.unread, page.unseen


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


# a page


def test_a_page_is_filled_with_what_may_be_seen_however_much_may_not(mina):
    User.objects.filter(pk=mina.pk).update(is_staff=True)
    fill(mina, 3)
    for number in range(25):
        notify("staff.only", to=mina, title=f"secret {number}")
    assert shown(mina, limit=5) == [28, 27, 26, 25, 24]
    User.objects.filter(pk=mina.pk).update(is_staff=False)
    page = read_page(mina.pk, limit=10)
    assert ([each.number for each in page.items], page.before) == ([3, 2, 1], None)
    page = read_page(mina.pk, limit=2)  # in three rounds it does not get there: the next page goes on where it stopped
    assert (page.items, page.more, page.before) == ([], True, 23)
    assert shown(mina, limit=2, before=4) == [3, 2]


def test_a_user_without_an_inbox_has_an_empty_page(mina):
    page = read_page(mina.pk)
    assert (page.position, page.top, page.items, page.more) == ("0", 0, [], False)
    assert (page.unread, page.unseen, page.seen_upto) == (0, 0, 0)


def test_a_page_shows_the_newest_first_with_the_position_and_counts(mina):
    fill(mina, 3)
    page = read_page(mina.pk)
    assert [each.title for each in page.items] == ["3", "2", "1"]
    assert page.position == str(Position(Inbox.objects.get().epoch, 3))
    assert (page.top, page.unread, page.unseen, page.seen_upto, page.more) == (3, 3, 3, 0, False)


def test_paging_walks_through_everything_once_even_while_more_arrives(mina):
    fill(mina, 11)
    walked, before = [], None
    while True:
        page = read_page(mina.pk, before=before, limit=4)
        walked += [each.number for each in page.items]
        if not page.more:
            break
        before = page.items[-1].number
        fill(mina, 1)
    assert walked == list(range(11, 0, -1))


@pytest.mark.parametrize(("count", "more"), [(3, False), (4, False), (5, True)])
def test_a_page_says_whether_older_ones_exist(mina, count, more):
    fill(mina, count)
    assert read_page(mina.pk, limit=4).more is more


@pytest.mark.parametrize("before", [0, 1, -5])
def test_below_the_first_number_there_is_nothing(mina, before):
    fill(mina, 2)
    assert shown(mina, before=before) == []


def test_each_list_shows_what_belongs_in_it(mina):
    ids = fill(mina, 5)
    mark(mina.pk, "read", ids=[ids[0]])
    mark(mina.pk, "archive", ids=[ids[1]])
    mark(mina.pk, "delete", ids=[ids[2]])
    assert shown(mina) == [5, 4, 1]
    assert shown(mina, show="unread") == [5, 4]
    assert shown(mina, show="archived") == [2]


def test_a_page_is_in_the_language_that_is_asked_for(mina):
    notify("plain", to=mina, title=Text("shipped"))
    assert [read_page(mina.pk, language=language).items[0].title for language in ("de", "en", None)] == [
        "versandt",
        "shipped",
        "shipped",
    ]


def test_a_page_of_one_user_holds_nothing_of_another(mina, omar):
    fill(mina, 2)
    assert read_page(omar.pk).items == []
    notify("plain", to=omar, title="omar's")
    assert [each.title for each in read_page(omar.pk).items] == ["omar's"]


def test_a_page_costs_two_queries_whatever_it_shows(mina, django_assert_num_queries):
    fill(mina, 15)
    with django_assert_num_queries(2):
        assert len(read_page(mina.pk).items) == 15


def test_rows_above_the_position_are_left_to_the_stream(mina, monkeypatch):
    """The position is read before the rows: a row that commits in between comes by the socket, once."""
    fill(mina, 1)

    def states_and_then_a_commit(user_ids: Any) -> Any:
        found = states(user_ids)
        monkeypatch.undo()
        fill(mina, 1)
        return found

    monkeypatch.setattr(inbox, "states", states_and_then_a_commit)
    page = read_page(mina.pk)
    assert (page.top, [each.number for each in page.items]) == (1, [1])
    assert shown(mina) == [2, 1]


# steps


@pytest.mark.parametrize("by", ["ids", "upto"])
@pytest.mark.parametrize(
    ("actions", "lists"),
    [
        (["read"], ([3, 2, 1], [3], [])),
        (["read", "unread"], ([3, 2, 1], [3, 2, 1], [])),
        (["archive"], ([3], [3], [2, 1])),
        (["archive", "unarchive"], ([3, 2, 1], [3, 2, 1], [])),
        (["read", "archive"], ([3], [3], [2, 1])),
        (["delete"], ([3], [3], [])),
        (["archive", "delete"], ([3], [3], [])),
        (["delete", "unarchive"], ([3], [3], [])),
        (["delete", "unread", "read"], ([3], [3], [])),
    ],
)
def test_every_action_by_ids_and_up_to_a_number(mina, by, actions, lists):
    ids = fill(mina, 3)
    for action in actions:
        if by == "ids":
            mark(mina.pk, action, ids=ids[:2])
        else:
            mark(mina.pk, action, upto=2)
    assert (shown(mina), shown(mina, show="unread"), shown(mina, show="archived")) == lists
    assert counts(mina) == (len(lists[1]), len(lists[1]))


@pytest.mark.parametrize("action", ["read", "unread", "archive", "unarchive", "delete"])
@pytest.mark.parametrize("by", ["ids", "upto"])
def test_an_action_is_one_step_and_the_same_one_again_is_none(mina, action, by, steps):
    ids = fill(mina, 3)
    if action.startswith("un"):
        mark(mina.pk, "read", ids=ids)
        mark(mina.pk, "archive", ids=ids)
    top = Inbox.objects.get().top
    steps.clear()
    arguments = {"ids": ids[:2]} if by == "ids" else {"upto": 2}
    for _ in range(3):
        mark(mina.pk, action, **arguments)
    assert Inbox.objects.get().top == top + 1
    assert set(Notification.objects.filter(number__lte=2).values_list("stamp", flat=True)) == {top + 1}
    assert Notification.objects.get(number=3).stamp <= top
    ((step,),) = [wake_up.steps for wake_up in steps]
    assert (step.user, step.base, step.top) == (str(mina.pk), top, top + 1)


@pytest.mark.parametrize("action", ["read", "archive", "delete"])
def test_ids_of_others_and_missing_ids_are_passed_over_alike(mina, omar, action, steps):
    (mine,) = fill(mina, 1)
    (others,) = fill(omar, 1)
    before = list(Inbox.objects.order_by("pk").values())
    mark(mina.pk, action, ids=[others])
    mark(mina.pk, action, ids=[999_999])
    mark(mina.pk, action, ids=[])
    assert steps == []
    assert list(Inbox.objects.order_by("pk").values()) == before
    mark(mina.pk, action, ids=[others, 999_999, mine])
    assert [[row.event for row in step.rows or ()] for wake_up in steps for step in wake_up.steps] == [[mine]]
    assert counts(omar) == (1, 1)


@pytest.mark.parametrize("action", ["read", "unread", "archive", "unarchive", "delete"])
def test_a_step_tells_nothing_of_what_its_user_may_no_longer_see(mina, action, steps):
    """Whoever guesses or remembers its id learns that it is hidden, and the open pages take it away."""
    User.objects.filter(pk=mina.pk).update(is_staff=True)
    ids = [notify(kind, to=mina, title=kind).pk for kind in ("staff.only", "plain")]
    if action.startswith("un"):
        mark(mina.pk, "read", ids=ids)
        mark(mina.pk, "archive", ids=ids)
    User.objects.filter(pk=mina.pk).update(is_staff=False)
    position = read_page(mina.pk).position
    steps.clear()
    mark(mina.pk, action, ids=ids[:1])
    mark(mina.pk, action, ids=ids[1:])
    assert [(step.rows and len(step.rows), len(each.events)) for each in steps for step in each.steps] == [(None, 0), (1, 1)]
    rows = replay({mina.pk: cursor_of(position)})[mina.pk].rows
    told = [item(row, copy and rendered(copy)) for row, copy in rows or ()]
    assert told[0] == Hidden(id=ids[0], stamp=rows[0][0].stamp)
    assert isinstance(told[1], Hidden) is (action == "delete")


def test_a_user_without_an_inbox_takes_no_step(mina, steps):
    mark(mina.pk, "read", upto=5)
    mark(mina.pk, "delete", ids=[1])
    mark_seen(mina.pk, 5)
    assert steps == []
    assert not Inbox.objects.exists()


@pytest.mark.parametrize("action", ["", "reed", "read_at", "delete()"])
def test_an_unknown_action_is_refused(mina, action):
    with pytest.raises(ValueError, match="unknown action"):
        mark(mina.pk, action, upto=1)


def test_all_up_to_a_number_leaves_what_arrived_later(mina):
    fill(mina, 2)
    page = read_page(mina.pk)
    fill(mina, 1)
    mark(mina.pk, "read", upto=page.top)
    assert shown(mina, show="unread") == [3]
    assert counts(mina) == (1, 1)


def test_what_is_read_or_archived_or_deleted_is_no_longer_counted(mina):
    ids = fill(mina, 6)
    mark(mina.pk, "read", ids=ids[:1])
    mark(mina.pk, "archive", ids=ids[1:2])
    mark(mina.pk, "delete", ids=ids[2:3])
    assert counts(mina) == (3, 3)
    mark_seen(mina.pk, 5)
    assert counts(mina) == (3, 1)
    mark(mina.pk, "unarchive", ids=ids[1:2])
    mark(mina.pk, "unread", ids=ids[:1])
    assert counts(mina) == (5, 1)
    fill(mina, 1)
    assert counts(mina) == (6, 2)


def test_what_a_step_tells_is_what_the_database_holds(mina, steps):
    ids = fill(mina, 3)
    mark(mina.pk, "read", ids=ids[:1])
    mark(mina.pk, "archive", upto=2)
    mark(mina.pk, "unread", upto=3)
    mark_seen(mina.pk, 3)
    inbox = Inbox.objects.get()
    told = [step for wake_up in steps for step in wake_up.steps]
    assert [(step.base, step.top) for step in told] == [(3, 4), (4, 5), (5, 6), (6, 7)]
    assert [(step.unread, step.unseen, step.seen_upto) for step in told] == [(2, 2, 0), (1, 1, 0), (1, 1, 0), (1, 0, 3)]
    assert [step.ops for step in told] == [(), ({"archived_upto": 2},), (), ()]
    assert [step.rows if step.rows is None else len(step.rows) for step in told] == [1, 0, None, 0]
    assert (inbox.top, inbox.unread, inbox.unseen, inbox.seen_upto) == (7, 1, 0, 3)
    assert {step.epoch for step in told} == {inbox.epoch}


def test_the_sites_signal_tells_the_counts_after_each_step(mina):
    ids = fill(mina, 2)
    heard: list[tuple[Any, int, int]] = []

    def remember(user_id: Any, unread: int, unseen: int, **_: Any) -> None:
        heard.append((user_id, unread, unseen))

    inbox_changed.connect(remember)
    try:
        mark(mina.pk, "read", ids=ids[:1])
        mark_seen(mina.pk, 2)
    finally:
        inbox_changed.disconnect(remember)
    assert heard == [(mina.pk, 1, 1), (mina.pk, 1, 0)]


def test_seen_never_moves_backwards_nor_above_what_arrived(mina, steps):
    fill(mina, 3)
    mark_seen(mina.pk, 2)
    assert counts(mina) == (3, 1)
    for upto in (2, 1, 0, -1):
        mark_seen(mina.pk, upto)
    assert len(steps) == 1
    mark_seen(mina.pk, 10**6)
    inbox = Inbox.objects.get()
    assert inbox.seen_upto < inbox.top
    fill(mina, 1)
    assert counts(mina) == (4, 1)


def test_seeing_again_what_was_seen_or_read_is_no_step(mina, steps):
    fill(mina, 2)
    mark(mina.pk, "read", upto=2)
    steps.clear()
    mark_seen(mina.pk, 2)
    assert steps == []
    assert Inbox.objects.get().top == 3


# transactions


@pytest.mark.parametrize("action", ["read", "archive", "delete"])
def test_a_step_inside_a_transaction_is_taken_on_its_commit(mina, action, steps, django_assert_num_queries):
    ids = fill(mina, 2)
    with transaction.atomic():
        with django_assert_num_queries(0):  # no inbox is locked for a request's length
            mark(mina.pk, action, ids=ids[:1])
            mark_seen(mina.pk, 2)
        assert Inbox.objects.get().top == 2
        assert steps == []
    assert len(steps) == 2
    assert counts(mina) == (1, 0)


def test_a_step_inside_a_transaction_that_rolls_back_is_not_taken(mina, steps):
    fill(mina, 2)
    with transaction.atomic():
        mark(mina.pk, "read", upto=2)
        transaction.set_rollback(True)
    assert steps == []
    assert counts(mina) == (2, 2)


def test_the_first_statement_of_a_step_is_a_write(mina):
    """So that SQLite waits for its turn, instead of failing after a read."""
    fill(mina, 1)
    with CaptureQueriesContext(connection) as queries:
        mark(mina.pk, "read", upto=1)
    statements = [query["sql"] for query in queries.captured_queries if query["sql"].split()[0] not in ("BEGIN", "SAVEPOINT")]
    assert statements[0].startswith("UPDATE")


@pytest.mark.parametrize("count", [1, 60])
def test_a_step_costs_the_same_however_many_it_touches(mina, count, django_assert_max_num_queries):
    ids = fill(mina, count)
    with django_assert_max_num_queries(8):
        mark(mina.pk, "read", ids=ids)
    with django_assert_max_num_queries(8):
        mark(mina.pk, "delete", upto=count)


# replay


def answer(user: Any, cursor: Cursor) -> Any:
    return replay({user.pk: cursor})[user.pk]


def cursor_of(position: str) -> Cursor:
    parsed = Position.parse(position)
    assert parsed is not None
    return Cursor(parsed.epoch, parsed.top)


def test_a_page_that_stands_at_the_top_has_missed_nothing(mina):
    fill(mina, 2)
    page = read_page(mina.pk)
    assert answer(mina, cursor_of(page.position)).rows == []


def test_each_row_comes_at_most_once_in_its_last_state(mina):
    ids = fill(mina, 3)
    position = read_page(mina.pk).position
    for _ in range(3):
        mark(mina.pk, "read", ids=ids[:1])
        mark(mina.pk, "unread", ids=ids[:1])
    mark(mina.pk, "delete", ids=ids[1:2])
    fill(mina, 1)
    rows = [row for row, _ in answer(mina, cursor_of(position)).rows]
    assert [(row.number, row.read, row.deleted) for row in rows] == [(1, False, False), (2, False, True), (11, False, False)]
    assert [row.stamp for row in rows] == sorted(row.stamp for row in rows)


def test_a_deleted_row_comes_without_its_content(mina):
    ids = fill(mina, 1)
    mark(mina.pk, "delete", ids=ids)
    ((row, copy),) = answer(mina, Cursor("", 0)).rows
    assert (row.deleted, copy) == (True, None)


def test_a_cursor_within_a_step_goes_on_behind_its_last_row(mina):
    ids = fill(mina, 4)
    mark(mina.pk, "read", upto=4)
    epoch, top = Inbox.objects.get().epoch, Inbox.objects.get().top
    rows = answer(mina, Cursor(epoch, top, ids[1])).rows
    assert [row.event for row, _ in rows] == ids[2:]
    assert answer(mina, Cursor(epoch, top, ids[3])).rows == []


@pytest.mark.parametrize("position", ["another epoch", "above top", "below pruned", "unborn and pruned"])
def test_a_position_that_means_nothing_here_calls_for_a_fresh_page(mina, position):
    fill(mina, 5)
    epoch = Inbox.objects.get().epoch
    assert answer(mina, Cursor(epoch, 1)).rows is not None  # the premise
    assert answer(mina, Cursor("", 0)).rows is not None
    if "pruned" in position:
        Inbox.objects.update(pruned=2)
        assert answer(mina, Cursor(epoch, 2)).rows is not None
    cursor = {
        "another epoch": Cursor("other", 3),
        "above top": Cursor(epoch, 6),
        "below pruned": Cursor(epoch, 1),
        "unborn and pruned": Cursor("", 0),
    }[position]
    assert answer(mina, cursor).rows is None


def test_a_user_whose_inbox_is_gone_gets_a_fresh_page(mina):
    fill(mina, 1)
    cursor = cursor_of(read_page(mina.pk).position)
    Inbox.objects.all().delete()
    result = answer(mina, cursor)
    assert (result.rows, result.state.position) == (None, Position("", 0))


@pytest.mark.parametrize(("count", "is_reset"), [(RESET_ROWS, False), (RESET_ROWS + 1, True)])
@pytest.mark.parametrize("in_company", [False, True])
def test_past_a_thousand_rows_a_fresh_page_is_cheaper(mina, omar, count, is_reset, in_company):
    fill(omar, 2)
    many(mina, count)
    cursors = {mina.pk: Cursor("", 0)} | ({omar.pk: Cursor("", 0)} if in_company else {})
    answers = replay(cursors)
    assert (answers[mina.pk].rows is None) is is_reset
    if in_company:
        assert len(answers[omar.pk].rows or ()) == 2


@pytest.mark.parametrize("in_company", [False, True])
def test_a_live_page_is_led_through_more_than_a_thousand_rows_in_parts(mina, omar, in_company):
    fill(omar, 2)
    many(mina, RESET_ROWS + 100)
    others = {omar.pk: Cursor("", 0)} if in_company else {}
    cursor, numbers, is_partial = Cursor("", 0, is_live=True), list[int](), True
    while is_partial:
        part = replay({mina.pk: cursor, **others})[mina.pk]
        assert part.rows
        numbers += [row.number for row, _ in part.rows]
        is_partial, (row, _) = part.is_partial, part.rows[-1]
        cursor = Cursor(part.state.position.epoch, row.stamp, row.event, is_live=True)
    assert numbers == list(range(1, RESET_ROWS + 101))


@pytest.mark.parametrize("is_live", [False, True])
def test_rows_whose_events_are_gone_hide_none_behind_them(mina, is_live):
    """No constraint of the database's keeps a site's own SQL from deleting events."""
    many(mina, RESET_ROWS + 100)
    gone = list(Event.objects.order_by("pk").values_list("pk", flat=True)[:600])
    Event.objects.filter(pk__in=gone)._raw_delete("default")
    first = answer(mina, Cursor("", 0, is_live=is_live))
    if not is_live:
        assert first.rows is None  # a fresh page
        return
    assert first.is_partial
    assert first.rows
    assert {row.event for row, event in first.rows if event is None} == {row.event for row, _ in first.rows} & set(gone)
    assert all(row.deleted is (event is None) for row, event in first.rows)


def test_a_live_page_whose_old_rows_were_all_touched_again_gets_a_fresh_one(mina):
    """As by an undone "mark all as read": to be led through a whole history once more would take longer, the newest last."""
    many(mina, RESET_ROWS + 100)
    cursor = cursor_of(read_page(mina.pk).position)
    mark(mina.pk, "unread", stamp=mark(mina.pk, "read", upto=RESET_ROWS + 100))
    assert answer(mina, cursor._replace(is_live=True)).rows is None


def test_users_with_much_to_catch_up_do_not_cut_each_other_short(people):
    users = people(4)
    for user in users:
        many(user, 700)
    answers = replay({user.pk: Cursor("", 0) for user in users})
    assert [len(answers[user.pk].rows or ()) for user in users] == [700] * 4


def many(user: Any, count: int) -> None:
    """Rows as the relay makes them, without its pace."""
    events = Event.objects.bulk_create(
        [Event(kind="plain", content={"severity": "info", "title": "t"}, audience={}, pending=None) for _ in range(count)]
    )
    Notification.objects.bulk_create(
        [Notification(recipient=user, event=event, number=number, stamp=number) for number, event in enumerate(events, 1)]
    )
    Inbox.objects.create(user=user, top=count, unread=count, unseen=count)


def test_a_prune_during_the_replay_calls_for_a_fresh_page(mina, monkeypatch):
    fill(mina, 4)
    read, epoch = replays._rows_after, Inbox.objects.get().epoch

    def pruned_meanwhile(*arguments: Any) -> Any:
        Inbox.objects.update(pruned=3)
        return read(*arguments)

    monkeypatch.setattr(replays, "_rows_after", pruned_meanwhile)
    assert answer(mina, Cursor(epoch, 1)).rows is None


def test_a_prune_within_the_step_that_a_page_is_in_the_middle_of_calls_for_a_fresh_page(mina, monkeypatch):
    """Of the rows of that step those that were not sent yet are gone too, and the page may still show them."""
    ids = fill(mina, 4)
    mark(mina.pk, "delete", upto=4)
    epoch, top = Inbox.objects.values_list("epoch", "top").get()
    cursor = Cursor(epoch, top, ids[1])
    assert len(answer(mina, cursor).rows) == 2  # the premise
    read = replays._rows_after

    def pruned_meanwhile(*arguments: Any) -> Any:
        prune(mina, top)
        return read(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(replays, "_rows_after", pruned_meanwhile)
        assert answer(mina, cursor).rows is None
    assert answer(mina, cursor).rows is None
    assert answer(mina, Cursor(epoch, top)).rows == []


def prune(user: Any, upto: int) -> None:
    """Take the tombstones up to that stamp away."""
    Notification.objects.filter(recipient=user, deleted_at__isnull=False, stamp__lte=upto).delete()
    Inbox.objects.filter(pk=user.pk).update(pruned=upto)


def test_what_arrived_during_a_replay_in_parts_is_not_skipped_by_its_next_part(mina, monkeypatch):
    """A row that was marked after the state was read comes with a stamp beyond that state. What arrived before that mark has a
    lower stamp and is still to come."""
    fill(mina, 6)
    read, base = replays._rows_after, Position(Inbox.objects.get().epoch, 1)
    newer: list[int] = []

    def arrived_and_marked_meanwhile(*arguments: Any) -> Any:
        monkeypatch.undo()
        newer.extend(fill(mina, 1))
        mark(mina.pk, "read", upto=6)
        return read(*arguments)

    monkeypatch.setattr(replays, "_rows_after", arrived_and_marked_meanwhile)
    first = answer(mina, Cursor(*base))
    monkeypatch.setattr(frames, "DELTA_ROWS", 2)
    part = next(replayed(base, first, "en", {}))
    assert part.upto is not None  # the premise: more is to come
    assert set(newer) <= {row.event for row, _ in answer(mina, Cursor(base.epoch, *part.upto)).rows}


def test_what_is_committed_during_the_replay_is_left_to_the_next_one(mina, monkeypatch):
    fill(mina, 2)
    read, epoch = replays._rows_after, Inbox.objects.get().epoch

    def news_meanwhile(*arguments: Any) -> Any:
        monkeypatch.undo()
        fill(mina, 1)
        return read(*arguments)

    monkeypatch.setattr(replays, "_rows_after", news_meanwhile)
    result = answer(mina, Cursor(epoch, 1))
    assert (result.state.position.top, [row.number for row, _ in result.rows]) == (2, [2])
    assert [row.number for row, _ in answer(mina, Cursor(epoch, 2)).rows] == [3]


@pytest.mark.parametrize("action", ["read", "archive", "delete"])
def test_what_is_marked_during_the_replay_is_not_left_out_of_it(mina, monkeypatch, action):
    """The step that marked all up to a number carries no rows: a page that stands before it must have them."""
    ids = fill(mina, 3)
    read, epoch = replays._rows_after, Inbox.objects.get().epoch

    def marked_meanwhile(*arguments: Any) -> Any:
        monkeypatch.undo()
        mark(mina.pk, action, upto=2)
        return read(*arguments)

    monkeypatch.setattr(replays, "_rows_after", marked_meanwhile)
    result = answer(mina, Cursor(epoch, 1))
    assert result.state.position.top == 3
    assert {ids[1], ids[2]} <= {row.event for row, _ in result.rows}


def test_the_number_of_queries_does_not_grow_with_the_users(people, django_assert_num_queries):
    users = people(20)
    notify("plain", to=users, title="t")
    for some in (users[:1], users):
        with django_assert_num_queries(4):
            replay({user.pk: Cursor("", 0) for user in some})


def test_many_rows_of_many_users_are_read_in_batches_not_user_by_user(people, django_assert_max_num_queries, monkeypatch):
    users = people(12)
    for number in range(5):
        notify("plain", to=users, title=f"n{number}")
    cursors = {user.pk: Cursor("", 0) for user in users}
    monkeypatch.setattr(replays, "BATCH_ROWS", 30)  # of 60
    with django_assert_max_num_queries(8):  # two of states, three batches of two
        answers = replay(cursors)
    titles = {tuple(copy.content["title"] for _, copy in answers[user.pk].rows or () if copy) for user in users}
    assert titles == {("n0", "n1", "n2", "n3", "n4")}


# the promise of it all


class PageOfItems:
    """What `docs/protocol.md` tells a page to do with a delta."""

    def __init__(self, user: Any) -> None:
        self.user = user
        first = read_page(user.pk, limit=1000)
        archived = read_page(user.pk, limit=1000, show="archived")
        self.position = first.position
        self.items = {each.id: each for each in [*first.items, *archived.items]}
        self.counts = (first.unread, first.unseen, first.seen_upto)

    def catch_up(self) -> None:
        result = answer(self.user, cursor_of(self.position))
        assert result.rows is not None
        for row, copy in result.rows:
            made = item(row, None if copy is None else rendered(copy))
            known = self.items.get(made.id)
            assert known is None or known.stamp < made.stamp, "a row came that the page had"
            if isinstance(made, Hidden):
                self.items.pop(made.id, None)
            else:
                self.items[made.id] = made
        state = result.state
        self.position = str(state.position)
        self.counts = (state.unread, state.unseen, state.seen_upto)

    def state(self) -> tuple[Any, ...]:
        return self.position, dict(sorted(self.items.items())), self.counts


number = st.integers(0, 7)
action = st.sampled_from(["read", "unread", "archive", "unarchive", "delete"])
events = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 3)),
        st.tuples(action | st.just("undelete"), st.just("ids"), st.lists(number, max_size=3)),
        st.tuples(action, st.just("upto"), number),
        st.tuples(action | st.just("undelete"), st.just("stamp"), st.integers(1, 14)),
        st.tuples(st.just("seen"), number),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(events)
def test_from_any_earlier_position_what_was_missed_leads_to_the_same_as_a_fresh_page(mina, history):
    forget(mina.pk)
    Event.objects.all().delete()
    ids: list[int] = []
    pages = [PageOfItems(mina)]
    for what in history:
        match what:
            case ("arrive", count):
                ids += fill(mina, count)
            case (action, "ids", chosen):
                mark(mina.pk, action, ids=[ids[at] for at in chosen if at < len(ids)])
            case (action, "upto", upto):
                mark(mina.pk, action, upto=upto)
            case (action, "stamp", stamp):
                mark(mina.pk, action, stamp=stamp)
            case ("seen", upto):
                mark_seen(mina.pk, upto)
        pages.append(PageOfItems(mina))
    fresh = PageOfItems(mina).state()
    for page in pages:
        page.catch_up()
        assert page.state() == fresh
    rows = Notification.objects.filter(recipient=mina, deleted_at=None, archived_at=None, read_at=None)
    assert fresh[2][0] == rows.count()
    assert fresh[2][1] == rows.filter(number__gt=fresh[2][2]).count()


# repair


def test_counts_that_are_right_are_left_alone_and_nobody_is_told(mina, omar, steps):
    fill(mina, 3)
    mark(mina.pk, "read", upto=1)
    mark_seen(mina.pk, 2)
    steps.clear()
    before = states([mina.pk])
    assert not recount(mina.pk)
    assert not recount(omar.pk)  # has none, and needs none
    assert states([mina.pk, omar.pk]) == before
    assert steps == []


def test_counts_that_are_wrong_are_set_by_a_step_that_every_page_hears_of(mina, steps):
    fill(mina, 3)
    page = PageOfItems(mina)
    Inbox.objects.filter(pk=mina.pk).update(unread=7, unseen=0, seen_upto=99)
    assert recount(mina.pk)
    assert counts(mina) == (3, 0)
    (step,) = steps[0].steps
    assert (step.base, step.top, step.unread, step.unseen, step.seen_upto) == (3, 4, 3, 0, 3)
    page.catch_up()
    assert page.state() == PageOfItems(mina).state()
    assert not recount(mina.pk)


def test_a_recount_waits_for_a_step_that_is_under_way(mina):
    """It counts under the inbox's lock: else it would write what it counted before the step over the step's own count."""
    fill(mina, 3)
    Inbox.objects.filter(pk=mina.pk).update(unread=9)
    is_taken, may_commit = threading.Event(), threading.Event()

    def arrive() -> None:
        try:
            with transaction.atomic():
                Inbox.objects.filter(pk=mina.pk).update(top=F("top") + 1, unread=F("unread") + 1, unseen=F("unseen") + 1)
                event = Event.objects.create(kind="plain", content={"title": "4", "severity": "info"}, audience={}, pending=None)
                Notification.objects.create(recipient=mina, event=event, number=4, stamp=4)
                is_taken.set()
                may_commit.wait(10)
        finally:
            connection.close()

    arriving = threading.Thread(target=arrive)
    arriving.start()
    assert is_taken.wait(10)
    threading.Timer(0.5, may_commit.set).start()  # by then the recount waits, or has counted without
    assert recount(mina.pk)
    arriving.join()
    assert counts(mina) == (4, 4)
    assert shown(mina) == [4, 3, 2, 1]


@pytest.mark.parametrize("is_gone", [True, False])
def test_an_inbox_that_its_rows_stand_above_begins_a_new_life(mina, is_gone):
    fill(mina, 3)
    old = cursor_of(read_page(mina.pk).position)
    if is_gone:
        Inbox.objects.all().delete()
    else:
        Inbox.objects.update(top=2)
    assert recount(mina.pk)
    assert shown(mina) == [3, 2, 1]
    assert counts(mina) == (3, 3)
    assert answer(mina, old).rows is None  # a fresh page
    fill(mina, 1)
    assert shown(mina) == [5, 3, 2, 1]


def test_new_epochs_make_old_positions_mean_nothing_and_keep_the_rows(mina, omar, steps):
    fill(mina, 3)
    fill(omar, 1)
    old = cursor_of(read_page(mina.pk).position)
    others = states([omar.pk])
    assert renew_epochs([mina.pk, 10**6]) == 1
    assert answer(mina, old).rows is None
    assert shown(mina) == [3, 2, 1]
    assert states([omar.pk]) == others
    (step,) = steps[0].steps
    assert (step.base, step.top, step.rows, step.epoch != old.epoch) == (3, 3, None, True)


# the end


def test_forgetting_a_user_leaves_nothing_of_them_and_all_of_the_others(mina, omar):
    notify("plain", to=[mina, omar], title="t")
    forget(mina.pk)
    assert not Notification.objects.filter(recipient=mina).exists()
    assert set(states([mina.pk, omar.pk])) == {str(omar.pk)}
    assert isinstance(read_page(omar.pk).items[0], Item)


def test_a_user_is_forgotten_when_their_row_is_deleted(mina):
    fill(mina, 2)
    pk = mina.pk
    User.objects.filter(pk=pk).delete()
    assert not Notification.objects.filter(recipient_id=pk).exists()
    assert not Inbox.objects.filter(pk=pk).exists()


def test_a_forgotten_users_old_position_means_nothing_in_a_new_inbox(mina):
    fill(mina, 2)
    cursor = cursor_of(read_page(mina.pk).position)
    forget(mina.pk)
    fill(mina, 3)
    assert answer(mina, cursor).rows is None
