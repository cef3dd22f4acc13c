"""From committed events to numbered notifications: none lost, none twice, in order, whoever relays and whatever fails."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
import pytest
from django.contrib.auth.models import Group, User
from django.db import OperationalError, close_old_connections, connection, connections, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from notifications import Kind, express, inbox_changed, notification_created, notify, slices, turn
from notifications import relay as relay_module
from notifications.inbox import read_page
from notifications.models import Event, Inbox, Notification, RelayTurn
from notifications.outbox import NARROW
from notifications.protocol import WakeUp
from notifications.relay import GUEST_SLICES, LONGEST_REST_SECONDS, RETRY_SECONDS, TRIES, relay, relay_due, sweep
from notifications.replays import Cursor, replay
from notifications.signals import event_committed
from notifications.slices import PAIRS

pytestmark = pytest.mark.django_db(transaction=True)


WAYS = ["at once", "step by step"] if connection.vendor == "postgresql" else ["step by step"]


@pytest.fixture(params=WAYS, autouse=True)
def way(request, transactional_db) -> Iterator[str]:
    """The two ways in which PostgreSQL relays, each with the same promises.

    The first relay of a database makes the turn's row, and goes step by step.
    """
    RelayTurn.objects.get_or_create(pk=1)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "step by step":
            patch.setattr(express, "is_able", lambda alias: False)
        yield request.param


@pytest.fixture
def step_by_step() -> Iterator[None]:
    """What happens between its steps can only happen to a relay that has some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(express, "is_able", lambda alias: False)
        yield


@pytest.fixture
def fresh_session() -> None:
    connection.close()


@pytest.fixture
def prepared(mina, held) -> None:
    for _ in range(2):
        relay_one(mina)


@pytest.fixture
def held(transactional_db) -> Iterator[None]:
    """Events stay pending until the test relays them."""
    event_committed.disconnect(dispatch_uid="notifications.relay")
    try:
        yield
    finally:
        event_committed.connect(relay_module.after_commit, dispatch_uid="notifications.relay")


@pytest.fixture
def other_session(postgres_only) -> Iterator[Any]:
    """A second connection to the test database, beside Django's."""
    settings = connection.settings_dict
    with psycopg.connect(
        host=settings["HOST"],
        port=settings["PORT"],
        user=settings["USER"],
        password=settings["PASSWORD"],
        dbname=settings["NAME"],
    ) as session:
        yield session


def numbers(user: Any) -> list[int]:
    return list(Notification.objects.filter(recipient=user).order_by("number").values_list("number", flat=True))


def assert_sound(*, writers: int = 1) -> None:
    """Every inbox's numbers are 1 to top without a gap, its counts are those of its rows, and events keep their order in it.

    Of several writers an event may be committed, and relayed, after one with a later id.
    """
    by_user: dict[Any, list[Notification]] = {}
    for row in Notification.objects.order_by("number").select_related("event"):
        by_user.setdefault(row.recipient_id, []).append(row)
    for inbox in Inbox.objects.all():
        rows = by_user.pop(inbox.pk)
        assert [row.number for row in rows] == list(range(1, inbox.top + 1))
        assert [row.stamp for row in rows] == [row.number for row in rows]
        assert (inbox.unread, inbox.unseen) == (len(rows), len(rows))
        narrow = [row.event_id for row in rows if not row.event.wide]
        assert writers > 1 or narrow == sorted(narrow)
        assert len({row.event_id for row in rows}) == len(rows)
    assert by_user == {}


def settled() -> bool:
    """Nothing waits, was set aside or had to be tried again."""
    return not Event.objects.filter(Q(pending=True) | Q(set_aside_at__isnull=False) | Q(retry_at__isnull=False)).exists()


def due_now() -> None:
    """The time of every retry has come."""
    Event.objects.filter(retry_at__isnull=False).update(retry_at=timezone.now() - timedelta(seconds=1))


# numbers


def test_each_inbox_counts_its_own_steps_from_one_without_a_gap(mina, omar):
    for to in ([mina], [mina, omar], [omar], [mina], [mina, omar]):
        notify("plain", to=to, title="t")
    assert numbers(mina) == [1, 2, 3, 4]
    assert numbers(omar) == [1, 2, 3]
    assert_sound()


def test_one_writers_events_keep_the_order_of_their_commits(mina, titles, held):
    for number in range(30):
        notify("plain", to=mina, title=str(number))
    relay()
    assert titles(mina) == [str(number) for number in range(30)]


def test_an_event_is_relayed_once_however_often_it_is_looked_at(mina):
    notify("plain", to=mina, title="t")
    for _ in range(3):
        relay()
        sweep()
    assert numbers(mina) == [1]
    assert settled()


def test_a_rollback_of_the_relay_leaves_no_hole(mina, held, monkeypatch, step_by_step):
    notify("plain", to=mina, title="t")
    fan_out = slices._fan_out

    def fail(*arguments: Any) -> None:
        fan_out(*arguments)
        raise OperationalError("the connection is gone")

    monkeypatch.setattr(slices, "_fan_out", fail)
    with pytest.raises(OperationalError):
        relay()
    assert (numbers(mina), Inbox.objects.count(), Event.objects.due().count()) == ([], 0, 1)
    monkeypatch.undo()
    relay()
    assert numbers(mina) == [1]
    assert_sound()


def test_a_new_inbox_has_an_epoch_of_its_own(mina, omar):
    notify("plain", to=[mina, omar], title="t")
    epochs = set(Inbox.objects.values_list("epoch", flat=True))
    assert len(epochs) == 2
    notify("plain", to=[mina, omar], title="t")
    assert set(Inbox.objects.values_list("epoch", flat=True)) == epochs


# recipients


def test_a_recipient_who_vanished_is_dropped_and_the_others_are_served(mina, omar, held):
    notify("plain", to=[mina, omar], title="t")
    gone = mina.pk
    mina.delete()
    relay()
    assert set(Notification.objects.values_list("recipient_id", flat=True)) == {omar.pk}
    assert not Inbox.objects.filter(pk=gone).exists()
    assert not Event.objects.due().exists()


def test_a_group_that_vanished_reaches_nobody_and_ends(mina, crew, held):
    crew.user_set.add(mina)
    notify("plain", to=crew, title="t")
    crew.delete()
    relay()
    assert not Notification.objects.exists()
    assert not Event.objects.due().exists()


def test_the_members_are_those_of_the_time_of_the_relay(mina, omar, crew, held):
    crew.user_set.add(mina)
    notify("plain", to=crew, title="t")
    crew.user_set.set([omar])
    relay()
    assert list(Notification.objects.values_list("recipient_id", flat=True)) == [omar.pk]


def test_deleting_a_user_takes_the_inbox_along_and_nobody_elses(mina, omar):
    notify("plain", to=[mina, omar], title="t")
    pk = mina.pk
    with transaction.atomic():
        mina.delete()
        assert Inbox.objects.filter(pk=pk).exists()
    assert not Inbox.objects.filter(pk=pk).exists()
    assert list(Notification.objects.values_list("recipient_id", flat=True)) == [omar.pk]


def test_a_deletion_that_rolls_back_takes_nothing_along(mina):
    notify("plain", to=mina, title="t")
    with transaction.atomic():
        User.objects.get(pk=mina.pk).delete()
        transaction.set_rollback(True)
    assert numbers(mina) == [1]


# wide events


@pytest.fixture
def attempts(monkeypatch) -> list[tuple[bool, int]]:
    """Each committed slice: whether it was a wide event's, and how many pairs it held."""
    seen: list[tuple[bool, int]] = []
    tell = slices.tell

    def remember(done: Any) -> None:
        if done.events:
            seen.append((done.events[0].wide, sum(map(len, done.recipients.values()))))
        tell(done)

    monkeypatch.setattr(relay_module, "tell", remember)
    return seen


def test_ten_thousand_recipients_are_served_in_slices(people, attempts):
    users = people(10_000)
    event = notify("plain", to=users, title="t")
    assert event is not None
    assert attempts == []  # the premise: it waits for the relay
    relay()
    assert Notification.objects.filter(event=event).count() == 10_000
    assert attempts == [(True, PAIRS)] * (10_000 // PAIRS)
    assert settled()
    assert set(Inbox.objects.values_list("top", flat=True)) == {1}


@pytest.mark.parametrize("count", [PAIRS - 1, PAIRS, PAIRS + 1, 1200])
def test_a_group_is_served_member_by_member_in_slices(people, crew, attempts, count):
    users = people(count + 3)
    crew.user_set.add(*users[:count])
    event = notify("plain", to=crew, title="t")
    relay()
    reached = set(Notification.objects.filter(event=event).values_list("recipient_id", flat=True))
    assert reached == {user.pk for user in users[:count]}
    assert all(pairs <= PAIRS for _, pairs in attempts)
    assert settled()


@pytest.mark.parametrize("named", [1, PAIRS, PAIRS + 10])
def test_people_named_one_by_one_and_as_members_of_overlapping_groups_are_served_once(people, crew, named):
    users = people(1200)
    other = Group.objects.create(name="other")
    crew.user_set.add(*users[:700])
    other.user_set.add(*users[500:1100])
    notify("plain", to=[crew, other, *users[-named:]], title="t")
    relay()
    expected = {user.pk for user in users[:1100]} | {user.pk for user in users[-named:]}
    assert sorted(Notification.objects.values_list("recipient_id", flat=True)) == sorted(expected)
    assert_sound()


def test_a_wide_event_alternates_with_narrow_ones(people, mina, attempts, titles, held, monkeypatch, step_by_step):
    users = people(3 * PAIRS)
    notify("plain", to=users, title="wide")
    later = iter(range(2))
    step = relay_module.slice_of

    def busy_site(*arguments: Any) -> Any:
        for number in later:
            notify("plain", to=mina, title=f"narrow {number}")
            break
        return step(*arguments)

    monkeypatch.setattr(relay_module, "slice_of", busy_site)
    notify("plain", to=mina, title="narrow")
    relay()
    assert [wide for wide, _ in attempts] == [False, True, False, True, True]
    assert titles(mina) == ["narrow", "narrow 0", "narrow 1"]


def test_what_was_relayed_of_a_wide_event_before_a_crash_is_not_relayed_again(people, crew, held, monkeypatch):
    users = people(2 * PAIRS + 7)
    crew.user_set.add(*users)
    notify("plain", to=[*users[: PAIRS + 3], crew], title="t")
    step, done = relay_module.slice_of, []

    def killed(*arguments: Any) -> Any:
        if done:  # in its second slice
            raise SystemExit
        done.append(step(*arguments))
        return done[-1]

    monkeypatch.setattr(relay_module, "slice_of", killed)
    with pytest.raises(SystemExit):
        relay()
    assert Notification.objects.count() == PAIRS
    monkeypatch.undo()
    sweep()
    assert Notification.objects.count() == len(users)
    assert_sound()


# cost


def statements(count: int, users: list[User]) -> int:
    event = Event.objects.create(kind="plain", content={"severity": "info", "title": "t"}, audience=audience(users[:count]))
    with CaptureQueriesContext(connection) as captured:
        relay()
    assert Notification.objects.filter(event=event).count() == count
    return len(captured)


def audience(users: list[User]) -> dict[str, list[int]]:
    return {"users": [user.pk for user in users], "groups": []}


def test_the_number_of_statements_does_not_grow_with_the_recipients(people, held):
    users = people(500)
    for _ in range(2):
        relay_one(users[0])  # which prepares it
    one, hundred, many = (statements(count, users) for count in (1, 100, 500))
    assert one == hundred
    # Django splits an insert on SQLite into batches of 999 parameters; 500 of 6 columns are four
    assert many - one <= (4 if connection.vendor == "sqlite" else 0)


def test_nor_with_the_events_of_one_slice(mina, held, prepared):
    def cost(events: int) -> int:
        for _ in range(events):
            notify("plain", to=mina, title="t")
        with CaptureQueriesContext(connection) as captured:
            relay()
        return len(captured)

    assert cost(1) == cost(60)
    assert_sound()


# who may see it


def test_only_those_who_may_see_it_are_notified(people, held):
    users = people(4)
    User.objects.filter(pk__in=[users[1].pk, users[2].pk]).update(is_staff=True)
    notify("staff.only", to=users, title="t")
    relay()
    assert set(Notification.objects.values_list("recipient_id", flat=True)) == {users[1].pk, users[2].pk}


def test_who_may_see_it_is_asked_of_a_groups_members_too(people, crew, held):
    users = people(PAIRS + 5)
    crew.user_set.add(*users)
    User.objects.filter(pk=users[-1].pk).update(is_staff=True)
    notify("staff.only", to=crew, title="t")
    relay()
    assert list(Notification.objects.values_list("recipient_id", flat=True)) == [users[-1].pk]


def test_a_visible_to_that_names_a_user_twice_notifies_once(mina, own_rules):
    Kind("crews", visible_to=lambda users, event: users.filter(groups__name__in=["a", "b"]))
    mina.groups.add(Group.objects.create(name="a"), Group.objects.create(name="b"))
    notify("crews", to=mina, title="t")
    assert numbers(mina) == [1]


def test_a_visible_to_that_forgets_its_argument_adds_nobody(mina, omar, own_rules):
    Kind("everybody", visible_to=lambda users, event: User.objects.all())
    notify("everybody", to=mina, title="t")
    assert list(Notification.objects.values_list("recipient_id", flat=True)) == [mina.pk]


def test_a_kind_that_nobody_declares_any_more_is_relayed_all_the_same(mina, own_rules, held):
    """Its code is gone in this release; the event was committed before."""
    Event.objects.create(kind="gone", content={"severity": "info", "title": "t"}, audience=audience([mina]))
    relay()
    assert numbers(mina) == [1]
    assert [item.title for item in read_page(mina.pk).items] == ["t"]


# events that fail


@pytest.fixture
def failing(own_rules) -> Callable[[], Any]:
    """A kind `failing` whose `visible_to` raises what is set."""

    class Site:
        error: BaseException | None = RuntimeError("the site's own")
        asked = 0

    def visible_to(users: Any, event: Event) -> Any:
        Site.asked += 1
        if Site.error is not None:
            raise Site.error
        return users

    Kind("failing", visible_to=visible_to)
    return Site  # type: ignore[return-value]


def test_an_event_that_fails_blocks_nobody_is_retried_later_and_later_and_set_aside(mina, failing, held, titles, errors):
    first = notify("failing", to=mina, title="failing")
    notify("plain", to=mina, title="sound")
    waits = []
    for number in range(1, TRIES + 1):
        assert failing.asked == number - 1
        (relay if number % 2 else sweep)()
        assert failing.asked == number
        event = Event.objects.get(pk=first.pk)
        assert event.tries == number
        if number < TRIES:
            assert event.pending
            assert event.retry_at is not None
            waits.append((event.retry_at - timezone.now()).total_seconds())
            assert event.error == 'RuntimeError("the site\'s own")'
            relay()
            sweep()
            assert failing.asked == number, "tried before its time"
            due_now()
    assert titles(mina) == ["sound"]
    assert waits == pytest.approx([RETRY_SECONDS * 2**number for number in range(TRIES - 1)], abs=4)
    assert event.set_aside_at is not None
    assert event.pending is None
    assert list(Event.objects.set_aside()) == [event]
    assert sum("event_set_aside" in line for line in errors()) == 1
    due_now()
    relay()
    sweep()
    assert failing.asked == TRIES


def test_an_event_that_heals_is_delivered(mina, failing, held, titles):
    notify("failing", to=mina, title="t")
    relay()
    assert titles(mina) == []
    failing.error = None
    due_now()
    relay()
    assert titles(mina) == ["t"]
    assert_sound()


def test_a_query_that_fails_in_visible_to_is_its_events_fault_alone(mina, own_rules, held, titles):
    """Not the database's: other events are not held back by it."""
    Kind("broken", visible_to=lambda users, event: users.extra(where=["no_such_column = 1"]))
    broken = notify("broken", to=mina, title="broken")
    notify("plain", to=mina, title="sound")
    for look in (relay, sweep):
        look()
        due_now()
    assert titles(mina) == ["sound"]
    assert broken is not None
    assert Event.objects.get(pk=broken.pk).tries == 2


def test_a_wide_event_that_fails_blocks_nobody_either(people, mina, failing, held, titles):
    users = people(NARROW + 1)
    wide = notify("failing", to=users, title="failing")
    notify("plain", to=users, title="wide")
    notify("plain", to=mina, title="narrow")
    relay()
    assert titles(mina) == ["narrow"]
    assert titles(users[0]) == ["wide"]
    assert wide is not None
    assert Event.objects.get(pk=wide.pk).tries == 1


def test_a_broken_row_is_found_among_its_neighbours(mina, omar, held, titles):
    notify("plain", to=mina, title="before")
    Event.objects.create(kind="plain", content={"severity": "info", "title": "t"}, audience={"users": ["x"], "groups": []})
    notify("plain", to=[mina, omar], title="after")
    relay()
    assert titles(mina) == ["before", "after"]
    assert titles(omar) == ["after"]
    assert Event.objects.due().count() == 0
    assert Event.objects.get(pending=True).tries == 1
    assert_sound()


def test_a_database_that_is_away_counts_for_no_events_try(mina, held, monkeypatch, step_by_step):
    notify("plain", to=mina, title="t")

    def away(*_: Any) -> None:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(slices, "_fan_out", away)
    for _ in range(TRIES + 2):
        for look in (relay, sweep):
            with pytest.raises(OperationalError):
                look()
    assert Event.objects.get().tries == 0
    monkeypatch.undo()
    relay()
    assert numbers(mina) == [1]


def test_an_event_that_kills_its_relay_is_set_aside_in_the_end_and_its_neighbours_are_not(mina, failing, held, titles, errors):
    """Its try is counted in a commit of its own before the attempt, so that no death of a process hides it."""
    notify("plain", to=mina, title="before")
    killer = notify("failing", to=mina, title="killer")
    notify("plain", to=mina, title="after")
    failing.error = SystemExit()
    deaths = 0
    for _ in range(4 * TRIES):
        try:
            sweep()
        except SystemExit:
            deaths += 1
            assert Event.objects.get(pk=killer.pk).tries == deaths
    assert deaths == TRIES
    assert titles(mina) == ["before", "after"]
    assert list(Event.objects.set_aside()) == [Event.objects.get(pk=killer.pk)]
    assert not Event.objects.due().exists()


def test_a_relay_that_waits_for_anothers_turn_counts_nothing(mina, held, other_session):
    RelayTurn.objects.get_or_create(pk=1)
    notify("plain", to=mina, title="t")
    assert other_session.execute(f"SELECT 1 FROM {RelayTurn._meta.db_table} FOR UPDATE").fetchall()
    for _ in range(TRIES + 2):
        sweep()
    event = Event.objects.get()
    assert (event.tries, event.pending, event.set_aside_at, numbers(mina)) == (0, True, None, [])
    other_session.rollback()
    sweep()
    assert numbers(mina) == [1]


def test_who_fails_to_get_the_turn_leaves_at_once(mina, held, other_session):
    RelayTurn.objects.get_or_create(pk=1)
    notify("plain", to=mina, title="t")
    other_session.execute(f"SELECT 1 FROM {RelayTurn._meta.db_table} FOR UPDATE")
    relay()  # would hang, or end in a timeout
    assert numbers(mina) == []


def in_the_midst(monkeypatch: pytest.MonkeyPatch, commit: Callable[[], Any], failures: list[BaseException]) -> None:
    """Once, when the relay has chosen its events and holds the turn, another thread does that."""
    fan_out, others = slices._fan_out, iter(range(1))

    def meanwhile(*arguments: Any) -> Any:
        for _ in others:
            thread = in_thread(commit, failures)
            thread.join(30)
            assert not thread.is_alive()
        return fan_out(*arguments)

    monkeypatch.setattr(slices, "_fan_out", meanwhile)


def test_who_lets_the_turn_go_takes_up_what_was_committed_meanwhile(mina, held, postgres_only, titles, monkeypatch, step_by_step):
    """Whoever came for it has left: nobody else looks before the next sweep."""
    failures: list[BaseException] = []

    def commit_and_relay() -> None:
        notify("plain", to=mina, title="meanwhile")
        relay()
        assert not Notification.objects.exists()  # the premise: it was not its turn

    RelayTurn.objects.get_or_create(pk=1)
    notify("plain", to=mina, title="first")
    in_the_midst(monkeypatch, commit_and_relay, failures)
    relay()
    assert failures == []
    assert titles(mina) == ["first", "meanwhile"]


def test_a_request_that_does_not_get_the_turn_tells_the_hubs(mina, postgres_only, held, rung, monkeypatch):
    """Who has the turn may be another request, which works for a moment and looks no more."""
    failures: list[BaseException] = []

    def commit_as_a_request_does() -> None:
        notify("plain", to=mina, title="meanwhile")
        relay_module.after_commit(using="default", wide=False)
        assert rung == [WakeUp(pending=True)]

    RelayTurn.objects.get_or_create(pk=1)
    notify("plain", to=mina, title="first")
    in_the_midst(monkeypatch, commit_as_a_request_does, failures)
    relay()
    assert failures == []


def test_the_turn_row_that_somebody_removed_is_made_again(mina):
    RelayTurn.objects.all().delete()
    notify("plain", to=mina, title="t")
    assert numbers(mina) == [1]
    assert RelayTurn.objects.count() == 1


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_a_transaction_that_lost_a_deadlock_or_serialization_is_repeated(mina, held, monkeypatch, sqlstate):
    notify("plain", to=mina, title="t")
    step, losses = relay_module.slice_of, iter(range(relay_module.REPEATS - 1))

    def lose(*arguments: Any) -> Any:
        for _ in losses:
            error = OperationalError("lost")
            error.__cause__ = type("Cause", (Exception,), {"sqlstate": sqlstate})()
            raise error
        return step(*arguments)

    monkeypatch.setattr(relay_module, "slice_of", lose)
    monkeypatch.setattr(relay_module.time, "sleep", lambda seconds: None)
    relay()
    assert numbers(mina) == [1]


def test_a_real_deadlock_with_the_sites_own_statement_is_survived(mina, omar, held, other_session):
    first, second = sorted((mina.pk, omar.pk))
    notify("plain", to=[first, second], title="first")
    relay()
    notify("plain", to=[first, second], title="second")
    lock = f"SELECT 1 FROM {Inbox._meta.db_table} WHERE user_id = %s FOR UPDATE"
    other_session.execute("SET deadlock_timeout = '60s'")  # so that the relay's side is the one that notices
    other_session.execute(lock, [second])
    thread = in_thread(relay)
    while not waiting_for_locks():
        thread.join(0.01)
        assert thread.is_alive()
    other_session.execute(lock, [first])
    other_session.rollback()
    thread.join(60)
    assert not thread.is_alive()
    assert numbers(mina) == numbers(omar) == [1, 2]
    assert_sound()


def waiting_for_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
        return int(cursor.fetchone()[0])


def relay_one(user: Any) -> int:
    """The number of statements that it took."""
    notify("plain", to=user, title="t")
    with CaptureQueriesContext(connection) as queries:
        relay()
    return len(queries)


def in_thread(work: Callable[[], Any], failures: list[BaseException] | None = None) -> threading.Thread:
    def run() -> None:
        try:
            work()
        except BaseException as error:
            if failures is None:
                raise
            failures.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


# in one round trip, where that can be


AT_ONCE, STEP_BY_STEP, PREPARING = 3, 7, 4  # statements of a relay, the looks before and after it included


def test_the_usual_notification_takes_one_statement_between_two_looks(mina, fresh_session, held, postgres_only, way):
    """Which a session prepares that comes again."""
    costs = [relay_one(mina) for _ in range(4)]
    assert numbers(mina) == [1, 2, 3, 4]
    assert costs == ([AT_ONCE, PREPARING, AT_ONCE, AT_ONCE] if way == "at once" else [STEP_BY_STEP] * 4)


@pytest.mark.parametrize("loss", ["DISCARD ALL", "DEALLOCATE ALL"])
def test_a_session_that_has_lost_the_prepared_statement_prepares_it_anew(mina, held, postgres_only, way, prepared, loss):
    """As when a pooler gives another session for it, or cleans up in between."""
    with connection.cursor() as cursor:
        cursor.execute(loss)
    costs = [relay_one(mina) for _ in range(4)]  # the first step by step, where it was to go at once
    assert numbers(mina) == [1, 2, 3, 4, 5, 6]
    assert costs[1:] == ([AT_ONCE, PREPARING, AT_ONCE] if way == "at once" else [STEP_BY_STEP] * 3)
    assert_sound()


def test_a_statement_that_another_has_prepared_in_the_session_is_used(mina, held, postgres_only, way, prepared, monkeypatch):
    monkeypatch.setattr(express, "_sessions", WeakKeyDictionary())
    costs = [relay_one(mina) for _ in range(3)]
    assert numbers(mina) == [1, 2, 3, 4, 5]
    assert costs == ([AT_ONCE, PREPARING, AT_ONCE] if way == "at once" else [STEP_BY_STEP] * 3)


def test_a_column_that_was_altered_meanwhile_costs_one_relay_the_short_way(mina, held, postgres_only, way, prepared):
    table = Event._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} ALTER kind TYPE text")
        try:
            costs = [relay_one(mina) for _ in range(4)]
        finally:
            cursor.execute(f"ALTER TABLE {table} ALTER kind TYPE varchar(100)")
    assert numbers(mina) == [1, 2, 3, 4, 5, 6]
    assert costs[1:] == ([AT_ONCE, PREPARING, AT_ONCE] if way == "at once" else [STEP_BY_STEP] * 3)
    assert_sound()


def test_behind_a_transaction_pooler_nothing_is_prepared(mina, held, postgres_only, monkeypatch, way):
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    costs = [relay_one(mina) for _ in range(3)]
    assert numbers(mina) == [1, 2, 3]
    assert costs == [AT_ONCE if way == "at once" else STEP_BY_STEP] * 3


def test_none_of_the_usual_sort_overtakes_one_of_another(mina, held, own_rules, titles):
    """Its kind asks the site who may see it, so it is not for the short way; nor is what stands with it, then."""
    Kind("some.see", label="Some", visible_to=lambda users, event: users)
    for number in range(6):
        notify("plain" if number % 2 else "some.see", to=mina, title=str(number))
    relay()
    assert titles(mina) == [str(number) for number in range(6)]
    assert_sound()


def test_events_beyond_a_slice_wait_for_the_next_one(people, held, attempts):
    users = people(40)
    for number in range(30):
        notify("plain", to=users, title=str(number))
    relay()
    assert settled()
    assert sum(count for _, count in attempts) == 30 * 40
    assert max(count for _, count in attempts) <= PAIRS
    assert all(numbers(user) == list(range(1, 31)) for user in users)
    assert_sound()


def test_in_a_transaction_of_the_callers_it_goes_step_by_step(mina, held):
    notify("plain", to=mina, title="t")
    with transaction.atomic():
        assert not express.is_able("default")
        relay()
        assert numbers(mina) == [1]


def test_nor_does_it_go_at_once_in_one_that_django_does_not_know_of(mina, held, postgres_only):
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            assert not express.is_able("default")
        finally:
            cursor.execute("ROLLBACK")


def test_a_group_is_served_on_whatever_row_it_stands(mina, omar, crew, held):
    """`notify()` makes none such: a hand or a restored database has."""
    notify("plain", to=mina, title="before")
    audience = {"users": [mina.pk], "groups": [crew.pk]}
    Event.objects.create(kind="plain", content={"severity": "info", "title": "t"}, audience=audience)
    crew.user_set.add(omar)
    relay()
    assert (numbers(mina), numbers(omar)) == ([1, 2], [1])
    assert_sound()


def test_a_locked_table_is_waited_for_no_longer_where_the_statement_is_prepared(
    mina, fresh_session, held, other_session, monkeypatch
):
    """As while an index is made. To prepare is to lock the tables too."""
    monkeypatch.setattr(turn, "POSTGRES_LIMITS", "SET LOCAL lock_timeout = '500ms'; ")
    relay_one(mina)
    notify("plain", to=mina, title="t")
    other_session.execute(f"LOCK TABLE {Inbox._meta.db_table} IN SHARE MODE")
    started = time.monotonic()
    with pytest.raises(OperationalError):
        relay()
    assert time.monotonic() - started < 1.4
    other_session.rollback()
    relay()
    assert numbers(mina) == [1, 2]


def test_a_relay_that_failed_for_another_reason_stays_prepared(mina, held, postgres_only, way, prepared, monkeypatch):
    with connection.cursor() as cursor, monkeypatch.context() as patch:
        patch.setattr(turn, "POSTGRES_LIMITS", "SELECT 1 / 0; ")
        if way == "at once":
            assert express.deliver_at_once("default", PAIRS) == ([], [])
        cursor.execute("SELECT 1")
    assert [relay_one(mina) for _ in range(2)] == [AT_ONCE if way == "at once" else STEP_BY_STEP] * 2


def test_an_inbox_that_the_site_keeps_locked_is_waited_for_once(mina, held, other_session, monkeypatch):
    notify("plain", to=mina, title="first")
    relay()
    notify("plain", to=mina, title="second")
    monkeypatch.setattr(turn, "POSTGRES_LIMITS", "SET LOCAL lock_timeout = '1s'; ")
    other_session.execute(f"SELECT 1 FROM {Inbox._meta.db_table} FOR UPDATE")
    started = time.monotonic()
    with pytest.raises(OperationalError):
        relay()
    assert time.monotonic() - started < 1.9
    other_session.rollback()
    relay()
    assert numbers(mina) == [1, 2]


# relays at the same time


@pytest.mark.parametrize("looks", [relay, sweep])
def test_relays_at_the_same_time_never_lose_double_or_reorder(people, titles, held, looks):
    users = people(8)
    for number in range(120):
        notify("plain", to=users[number % 8 :], title=str(number))
    failures: list[BaseException] = []
    start = threading.Barrier(3)

    def work() -> None:
        start.wait(30)
        looks()

    for thread in [in_thread(work, failures) for _ in range(3)]:
        thread.join(60)
    looks()
    assert failures == []
    assert settled()
    assert [len(numbers(user)) for user in users] == [sum(number % 8 <= at for number in range(120)) for at in range(8)]
    assert titles(users[0]) == [str(number) for number in range(0, 120, 8)]
    assert_sound()


def test_writers_at_the_same_time_each_keep_their_order(people):
    users = people(3)
    failures: list[BaseException] = []

    def write(name: str) -> Callable[[], None]:
        def work() -> None:
            for number in range(25):
                notify("plain", to=users, title=f"{name} {number}")

        return work

    for thread in [in_thread(write(name), failures) for name in "abc"]:
        thread.join(90)
    sweep()
    assert failures == []
    assert_sound(writers=3)
    for user in users:
        rows = Notification.objects.filter(recipient=user).order_by("number").select_related("event")
        titles = [row.event.content["title"].split() for row in rows]
        assert len(titles) == 75
        for name in "abc":
            assert [int(number) for who, number in titles if who == name] == list(range(25))


@pytest.mark.parametrize("look", [relay_due, sweep], ids=["relay", "sweep"])
def test_who_relays_while_more_keeps_coming_returns_and_says_so(mina, held, titles, look):
    """Else a hub under a lasting load would neither rest nor say that it is there."""
    coming = iter(range(50))

    def one_more(**_: Any) -> None:
        for number in coming:
            notify("plain", to=mina, title=f"later {number}")
            return

    notify("plain", to=mina, title="first")
    notification_created.connect(one_more)
    try:
        for _ in range(3):
            before = titles(mina)
            assert look().is_more_due
            assert len(before) < len(titles(mina)) <= len(before) + 2
    finally:
        notification_created.disconnect(one_more)
    assert not look().is_more_due  # nothing came meanwhile
    assert titles(mina) == ["first", *(f"later {number}" for number in range(len(titles(mina)) - 1))]


def test_who_relayed_many_events_at_length_rests_who_relayed_one_does_not(mina, held, monkeypatch):
    """One news is shown at once, however slow the machine is; a busy one is left to the writers for a while."""
    monkeypatch.setattr("notifications.relay.RESTS", 1e9)
    notify("plain", to=mina, title="one")
    assert relay_due().rest == 0
    for number in range(3):
        notify("plain", to=mina, title=str(number))
    assert 0 < relay_due().rest < LONGEST_REST_SECONDS
    for number in range(20):
        notify("plain", to=mina, title=str(number))
    assert sweep().rest == LONGEST_REST_SECONDS


# telling


def test_the_hubs_are_told_of_each_step_with_its_event_once(people, rung, held):
    users = people(3)
    for number in range(2):
        notify("plain", to=users, title=str(number))
    relay()
    (wake_up,) = rung
    assert isinstance(wake_up, WakeUp)
    assert sorted(step.user for step in wake_up.steps) == sorted(str(user.pk) for user in users)
    assert {(step.base, step.top, step.unread, step.unseen) for step in wake_up.steps} == {(0, 2, 2, 2)}
    assert [event.content["title"] for event in wake_up.events.values()] == ["0", "1"]
    assert {row.event for step in wake_up.steps for row in step.rows or ()} == set(wake_up.events)


def test_nothing_is_told_of_a_relay_that_rolled_back(mina, rung, held, monkeypatch, step_by_step):
    notify("plain", to=mina, title="t")

    def fail(*_: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(slices, "_fan_out", fail)
    with pytest.raises(OperationalError):
        relay()
    assert rung == []


def test_a_wide_event_without_a_hub_only_rings_that_something_is_pending(people, rung):
    notify("plain", to=people(NARROW + 1), title="t")
    assert rung == [WakeUp(pending=True)]
    assert not Notification.objects.exists()


def test_a_narrow_event_without_a_hub_takes_no_wide_one_along(people, mina, rung, titles):
    """It is somebody's request that relays it: the wide one stays for the hubs, who know of it."""
    wide = notify("plain", to=people(NARROW + 1), title="wide")
    notify("plain", to=mina, title="narrow")
    assert titles(mina) == ["narrow"]
    assert Notification.objects.count() == 1
    assert list(Event.objects.filter(pending=True)) == [wide]
    assert any(wake_up.pending for wake_up in rung)
    relay()
    assert Notification.objects.count() == NARROW + 2


def test_a_request_without_a_hub_works_off_no_backlog(mina, rung, held):
    """After an outage: what is more than a moment's work is left for the hubs, and they are told."""
    backlog = PAIRS * (GUEST_SLICES + 1)
    audience = {"users": [mina.pk], "groups": []}
    content = {"severity": "info", "title": "t"}
    Event.objects.bulk_create(Event(kind="plain", content=content, audience=audience) for _ in range(backlog))
    relay_module.after_commit(using="default", wide=False)
    assert numbers(mina) == list(range(1, PAIRS * GUEST_SLICES + 1))
    assert Event.objects.filter(pending=True).count() == PAIRS
    assert rung[-1] == WakeUp(pending=True)


def test_the_sites_signals_tell_what_happened_and_cannot_break_the_relay(mina, omar, errors):
    created: list[tuple[str, list[int]]] = []
    changed: list[tuple[Any, int, int]] = []

    def on_created(event: Event, recipient_ids: list[int], **_: Any) -> None:
        created.append((event.content["title"], sorted(recipient_ids)))
        raise RuntimeError("the site's own")

    def on_changed(user_id: Any, unread: int, unseen: int, **_: Any) -> None:
        changed.append((user_id, unread, unseen))
        raise RuntimeError("the site's own")

    notification_created.connect(on_created)
    inbox_changed.connect(on_changed)
    try:
        notify("plain", to=[mina, omar], title="t")
        notify("plain", to=mina, title="u")
    finally:
        notification_created.disconnect(on_created)
        inbox_changed.disconnect(on_changed)
    assert created == [("t", sorted([mina.pk, omar.pk])), ("u", [mina.pk])]
    assert sorted(changed) == sorted([(mina.pk, 1, 1), (omar.pk, 1, 1), (mina.pk, 2, 2)])
    assert len(errors()) == 5
    assert numbers(mina) == [1, 2]


# what may be seen later


def test_who_may_see_it_is_asked_again_when_it_is_read_and_replayed(mina, omar):
    User.objects.filter(pk=mina.pk).update(is_staff=True)
    notify("staff.only", to=mina, title="secret")
    notify("plain", to=mina, title="plain")
    assert [item.title for item in read_page(mina.pk).items] == ["plain", "secret"]
    User.objects.filter(pk=mina.pk).update(is_staff=False)
    page = read_page(mina.pk)
    assert [item.title for item in page.items] == ["plain"]
    rows = replay({mina.pk: Cursor("", 0)})[mina.pk].rows
    assert rows is not None
    assert [copy and copy.content["title"] for _, copy in rows] == [None, "plain"]


def test_a_visible_to_that_forgets_its_argument_shows_nothing_to_others(mina, omar, own_rules):
    Kind("omars", visible_to=lambda users, event: User.objects.filter(username="omar"))
    Event.objects.create(pk=77, kind="omars", content={"severity": "info", "title": "secret"}, audience={}, pending=None)
    notify("plain", to=mina, title="plain")
    Notification.objects.filter(recipient=mina).update(event_id=77)
    assert read_page(mina.pk).items == []


@pytest.mark.parametrize("is_atomic", [False, True])
def test_a_visible_to_that_raises_at_reading_hides_its_event_and_breaks_no_page(mina, omar, failing, is_atomic):
    failing.error = None
    notify("failing", to=[mina, omar], title="hidden")
    notify("plain", to=[mina, omar], title="shown")
    failing.error = RuntimeError("the site's own")
    with transaction.atomic() if is_atomic else connection.wrap_database_errors:
        assert [item.title for item in read_page(mina.pk).items] == ["shown"]
        answers = replay({mina.pk: Cursor("", 0), omar.pk: Cursor("", 0)})
        for user in (mina, omar):
            rows = answers[user.pk].rows
            assert rows is not None
            assert [copy and copy.content["title"] for _, copy in rows] == [None, "shown"]


def test_a_query_that_fails_in_visible_to_does_not_poison_the_pages_transaction(mina, own_rules):
    is_broken = []

    def visible_to(users: Any, event: Event) -> Any:
        return users.extra(where=["no_such_column = 1"]) if is_broken else users

    Kind("broken", visible_to=visible_to)
    notify("broken", to=mina, title="hidden")
    notify("plain", to=mina, title="shown")
    is_broken.append(True)
    with transaction.atomic():
        assert [item.title for item in read_page(mina.pk).items] == ["shown"]
        assert User.objects.filter(pk=mina.pk).exists()


def test_this_threads_connection_is_its_own():
    """The premise of the tests with threads."""
    seen: list[Any] = []
    in_thread(lambda: seen.append(connections["default"])).join()
    close_old_connections()
    assert seen[0] is not connections["default"]
