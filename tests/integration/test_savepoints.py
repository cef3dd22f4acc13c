"""A savepoint that is made when its block first needs one keeps each promise of `transaction.atomic()`, for fewer statements."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, Error, connection, transaction
from django.test.utils import CaptureQueriesContext

from notifications import Change, Draft, Kind, rule
from notifications.models import Event
from notifications.savepoints import LazySavepoint
from tests.site.models import Label, Order

pytestmark = pytest.mark.django_db(transaction=True)

INSERT = "INSERT INTO site_under_test_label (name) VALUES (%s) RETURNING id"


class Refused(Exception):
    pass


@dataclass
class Scene:
    """What a story does in one kind of block, and what came of it."""

    block: Callable[[], Any]
    heard: list[str] = field(default_factory=list)
    """The hooks for the commit that ran."""
    let_out: list[str] = field(default_factory=list)
    """The errors that came out of blocks, and after each block whether the transaction is marked for rollback."""

    @contextlib.contextmanager
    def tried(self) -> Iterator[Any]:
        """The block, whose error ends here."""
        with self.noted(), self.block() as point:
            yield point
        self.let_out.append(f"marked={connection.needs_rollback} depth={len(connection.savepoint_ids)}")

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        try:
            yield
        except (Refused, KeyboardInterrupt, ValueError, Error) as error:
            self.let_out.append(type(error).__name__)

    def write(self, name: str) -> None:
        Label.objects.create(name=name)
        self.hook(name)

    def hook(self, name: str) -> None:
        transaction.on_commit(partial(self.heard.append, name))

    def write_last(self, point: LazySavepoint | None, name: str | None, statement: str = INSERT) -> None:
        with connection.cursor() as cursor:
            execute = partial(point.execute_last, cursor) if isinstance(point, LazySavepoint) else cursor.execute
            execute(statement, [name])
            assert [type(value) for value in cursor.fetchone()] == [int]
        self.hook(str(name))


Story = Callable[[Scene], None]


def lazy() -> LazySavepoint:
    return LazySavepoint("default")


def lived(story: Story, block: Callable[[], Any]) -> Any:
    """All that can be seen of a story in a transaction that writes before it and after it."""
    Label.objects.all().delete()
    scene = Scene(block)
    with scene.noted(), transaction.atomic():
        scene.write("before")
        story(scene)
        with scene.noted():
            scene.write("after")
    assert (connection.execute_wrappers, connection.savepoint_ids, connection.run_on_commit) == ([], [], [])
    return sorted(Label.objects.values_list("name", flat=True)), scene.heard, scene.let_out


def broken_query() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM no_such_table")


# the stories: each is told once with `transaction.atomic()` and once with ours


def nothing_is_sent(scene: Scene) -> None:
    with scene.tried():
        pass


def a_row_is_written(scene: Scene) -> None:
    with scene.tried():
        scene.write("in the block")


def fails_after_a_write(scene: Scene) -> None:
    with scene.tried():
        scene.write("in the block")
        raise Refused


def fails_without_a_statement(scene: Scene) -> None:
    with scene.tried():
        scene.hook("in the block")
        raise Refused


def is_interrupted(scene: Scene) -> None:
    with scene.tried():
        scene.write("in the block")
        raise KeyboardInterrupt


def hooks_of_blocks_in_sequence(scene: Scene) -> None:
    for number in range(4):
        with scene.tried():
            scene.hook(f"hook {number}")
            if number > 1:
                scene.write(f"row {number}")
            if number % 2:
                raise Refused


def inner_fails(scene: Scene) -> None:
    with scene.tried():
        scene.write("outer")
        with scene.tried():
            scene.write("inner")
            raise Refused
        scene.write("outer goes on")


def inner_alone_writes_and_fails(scene: Scene) -> None:
    with scene.tried():
        scene.hook("outer")
        with scene.tried():
            scene.write("inner")
            raise Refused
        scene.hook("outer goes on")


def outer_fails_after_inner(scene: Scene) -> None:
    with scene.tried():
        with scene.tried():
            scene.write("inner")
        raise Refused


def outer_fails_when_only_hooks_were_left(scene: Scene) -> None:
    with scene.tried():
        with scene.tried():
            scene.hook("inner")
        raise Refused


def mixed_with_atomic(scene: Scene) -> None:
    with scene.tried(), transaction.atomic(), scene.block():
        with scene.noted(), transaction.atomic():
            with scene.tried():
                scene.write("kept by the block, undone by atomic")
            raise Refused
        scene.write("kept")
        with scene.tried():
            broken_query()


def atomic_inside_fails(scene: Scene) -> None:
    with scene.tried():
        with scene.noted(), transaction.atomic():
            scene.write("in atomic")
            raise Refused
        scene.write("in the block")


def unsaved_atomic_fails(scene: Scene) -> None:
    with scene.tried(), transaction.atomic(savepoint=False):
        scene.hook("in atomic")
        raise Refused


def unsaved_atomic_is_caught(scene: Scene) -> None:
    with scene.tried(), scene.noted(), transaction.atomic(savepoint=False):
        scene.hook("in atomic")
        raise Refused


def unsaved_atomic_is_caught_after_a_write(scene: Scene) -> None:
    with scene.tried():
        scene.write("in the block")
        with scene.noted(), transaction.atomic(savepoint=False):
            raise Refused


def unsaved_atomic_is_caught_before_a_statement(scene: Scene) -> None:
    with scene.tried():
        with scene.noted(), transaction.atomic(savepoint=False):
            raise Refused
        scene.write("in the block")


def a_save_that_sends_nothing_is_caught(scene: Scene) -> None:
    with scene.tried():
        with scene.noted():
            Order(amount="many").save()  # type: ignore[misc]
        scene.write("in the block")


def a_save_that_sends_nothing_is_caught_before_the_last(scene: Scene) -> None:
    with scene.tried() as point:
        with scene.noted():
            Order(amount="many").save()  # type: ignore[misc]
        scene.write_last(point, "last")


def rollback_is_asked_for(scene: Scene) -> None:
    with scene.tried():
        scene.hook("in the block")
        transaction.set_rollback(True)


def rollback_is_asked_for_after_a_write(scene: Scene) -> None:
    with scene.tried():
        scene.write("in the block")
        transaction.set_rollback(True)


def rollback_is_asked_for_and_taken_back(scene: Scene) -> None:
    with scene.tried():
        transaction.set_rollback(True)
        with scene.noted():
            scene.write("in between")
        transaction.set_rollback(False)
        scene.write("in the block")
        raise Refused


def marked_before(scene: Scene) -> None:
    transaction.set_rollback(True)
    for error in (None, Refused):
        with scene.tried():
            scene.hook("in the block")
            if error:
                raise error
    with scene.tried():
        scene.write("in the block")


def a_database_error(scene: Scene) -> None:
    with scene.tried():
        scene.write("in the block")
        broken_query()


def a_database_error_is_the_first_thing(scene: Scene) -> None:
    with scene.tried():
        broken_query()


def a_database_error_is_caught(scene: Scene) -> None:
    with scene.tried(), scene.noted():
        broken_query()


def a_database_error_is_caught_in_atomic(scene: Scene) -> None:
    with scene.tried():
        with scene.noted(), transaction.atomic():
            broken_query()
        scene.write("in the block")


def many_at_once_and_then_fails(scene: Scene) -> None:
    with scene.tried(), connection.cursor() as cursor:
        cursor.executemany("INSERT INTO site_under_test_label (name) VALUES (%s)", [("one",), ("two",)])
        raise Refused


def an_iterator_fails_between_rows(scene: Scene) -> None:
    with scene.tried():
        for label in Label.objects.iterator(chunk_size=1):
            scene.write(f"beside {label}")
            raise Refused


def a_savepoint_by_hand(scene: Scene) -> None:
    with scene.tried():
        point = transaction.savepoint()
        scene.write("undone by hand")
        transaction.savepoint_rollback(point)
        scene.write("in the block")


def rolls_back_past_itself(scene: Scene) -> None:
    point = transaction.savepoint()
    with scene.tried():
        scene.write("in the block")
        transaction.savepoint_rollback(point)


def closes_the_connection(scene: Scene) -> None:
    with scene.tried():
        scene.write("in the block")
        connection.close()


def closes_the_connection_without_a_statement(scene: Scene) -> None:
    with scene.tried():
        connection.close()


def sites_own_error_is_undone_by_hand_after_the_block(scene: Scene) -> None:
    """On PostgreSQL the transaction is aborted when the block begins."""
    point = transaction.savepoint()
    with scene.noted():
        broken_query()
    with scene.noted(), scene.block():
        broken_query()
    scene.let_out.append(f"marked={connection.needs_rollback}")
    transaction.savepoint_rollback(point)


def sites_own_error_is_undone_by_hand_after_the_last(scene: Scene) -> None:
    point = transaction.savepoint()
    with scene.noted():
        broken_query()
    with scene.noted(), scene.block() as block:
        scene.write_last(block, None)
    scene.let_out.append(f"marked={connection.needs_rollback}")
    transaction.savepoint_rollback(point)


def the_last_alone(scene: Scene) -> None:
    for name in ("first", "second"):
        with scene.tried() as point:
            scene.write_last(point, name)


def the_last_after_a_write(scene: Scene) -> None:
    with scene.tried() as point:
        scene.write("in the block")
        scene.write_last(point, "last")


def the_last_in_nested_blocks(scene: Scene) -> None:
    with scene.tried():
        with scene.tried() as point:
            scene.write_last(point, "inner")
        raise Refused


def the_last_is_refused(scene: Scene) -> None:
    with scene.tried() as point:
        scene.write_last(point, None)


def the_last_is_refused_after_a_write(scene: Scene) -> None:
    with scene.tried() as point:
        scene.write("in the block")
        scene.write_last(point, None)


def the_last_is_too_long(scene: Scene) -> None:
    with scene.tried() as point:
        scene.write_last(point, "x" * 51)


def the_last_is_refused_by_the_driver(scene: Scene) -> None:
    with scene.tried() as point:
        scene.write_last(point, "\0")


def the_last_is_refused_by_the_driver_after_a_write(scene: Scene) -> None:
    with scene.tried() as point:
        scene.write("in the block")
        scene.write_last(point, "\0")


def the_last_finds_no_table(scene: Scene) -> None:
    with scene.tried() as point:
        scene.write_last(point, "last", "INSERT INTO no_such_table (name) VALUES (%s) RETURNING id")


def the_last_is_stopped_by_a_wrapper(scene: Scene) -> None:
    def stop(*_: Any) -> None:
        raise Refused

    with scene.tried() as point, connection.execute_wrapper(stop):
        scene.write_last(point, "last")


def a_statement_is_stopped_by_a_wrapper(scene: Scene) -> None:
    def stop(execute: Any, sql: str, *others: Any) -> Any:
        if "INSERT" in sql or "live_notifications" in sql:
            raise Refused
        return execute(sql, *others)

    with scene.tried(), connection.execute_wrapper(stop):
        scene.write("in the block")


STORIES = [value for name, value in list(globals().items()) if getattr(value, "__annotations__", {}).get("scene") is Scene]
OF_THE_LAST = [story for story in STORIES if "last" in story.__name__]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_story_ends_as_with_atomic(story):
    assert lived(story, lazy) == lived(story, transaction.atomic)


@pytest.fixture
def bound_on_the_server(postgres_only: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connection.settings_dict["OPTIONS"], "server_side_binding", True)
        connection.close()
        yield
    connection.close()


@pytest.mark.parametrize("story", OF_THE_LAST, ids=lambda story: story.__name__)
def test_a_story_of_the_last_statement_ends_as_with_atomic_where_the_server_binds(story, bound_on_the_server):
    assert lived(story, lazy) == lived(story, transaction.atomic)


def test_the_stories_tell_what_they_say():
    """The premise of comparing them: rows, hooks and marks differ as they should."""
    assert lived(fails_after_a_write, lazy) == (["after", "before"], ["before", "after"], ["Refused", "marked=False depth=0"])
    assert lived(a_row_is_written, lazy)[:2] == (["after", "before", "in the block"], ["before", "in the block", "after"])
    assert lived(hooks_of_blocks_in_sequence, lazy)[:2] == (
        ["after", "before", "row 2"],
        ["before", "hook 0", "hook 2", "row 2", "after"],
    )
    assert lived(marked_before, lazy)[:2] == ([], [])
    assert lived(a_save_that_sends_nothing_is_caught_before_the_last, lazy) == (
        ["after", "before"],
        ["before", "after"],
        ["ValueError", "TransactionManagementError", "marked=False depth=0"],
    )


# what is sent


@contextlib.contextmanager
def sent() -> Iterator[list[str]]:
    """The first words of what goes to the database, one string for each time."""
    words: list[str] = []
    with CaptureQueriesContext(connection) as queries:
        yield words
    words += ["; ".join(part.split()[0] for part in query["sql"].split("; ")) for query in queries.captured_queries]


def test_a_block_without_a_statement_sends_none():
    with transaction.atomic(), sent() as words:
        with lazy(), lazy():
            transaction.on_commit(list)
        with contextlib.suppress(Refused), lazy():
            transaction.on_commit(list)
            raise Refused
    assert words == []


def test_a_block_makes_its_savepoint_once_and_releases_it():
    with transaction.atomic(), sent() as words, lazy():
        Label.objects.count()
        Label.objects.count()
    assert words == ["SAVEPOINT", "SELECT", "SELECT", "RELEASE"]


def test_a_block_that_fails_leaves_no_savepoint_behind():
    with transaction.atomic(), sent() as words, contextlib.suppress(Refused), lazy():
        Label.objects.count()
        raise Refused
    assert words == ["SAVEPOINT", "SELECT", "ROLLBACK", "RELEASE"]


def test_nested_blocks_make_the_outer_savepoint_first():
    with transaction.atomic(), sent() as words, lazy():
        with lazy():
            pass
        with lazy(), lazy():
            Label.objects.count()
    assert words == ["SAVEPOINT", "SAVEPOINT", "SAVEPOINT", "SELECT", "RELEASE", "RELEASE", "RELEASE"]


def test_nested_savepoints_have_names_of_their_own_and_sequent_ones_share_one():
    """Of two with one name MySQL keeps the later; and a statement that comes again is one that the driver has parsed."""
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        for _ in range(2):
            with lazy(), lazy():
                Label.objects.count()
    names = [query["sql"] for query in queries.captured_queries if query["sql"].startswith("SAVEPOINT")]
    assert (len(names), len(set(names[:2])), names[:2]) == (4, 2, names[2:])


def test_in_autocommit_only_the_blocks_own_statements_are_sent():
    with sent() as words:
        with contextlib.suppress(Refused), lazy():
            Label.objects.create(name="stays")
            raise Refused
        with lazy() as point, connection.cursor() as cursor:
            point.execute_last(cursor, INSERT, ["last"])
            key = cursor.fetchone()[0]
    assert words == ["INSERT", "INSERT"]
    assert [label.name for label in Label.objects.order_by("pk")] == ["stays", "last"]
    assert Label.objects.get(pk=key).name == "last"


def test_savepoint_last_statement_and_release_are_sent_at_once(postgres_only):
    with transaction.atomic(), sent() as words, lazy() as point, connection.cursor() as cursor:
        point.execute_last(cursor, INSERT, ["last"])
        (key,) = cursor.fetchone()
    assert words == ["SAVEPOINT; INSERT; RELEASE"]
    assert Label.objects.get(pk=key).name == "last"


def test_after_an_earlier_statement_the_last_takes_the_release_along(postgres_only):
    with transaction.atomic(), sent() as words, lazy() as point, connection.cursor() as cursor:
        Label.objects.count()
        point.execute_last(cursor, INSERT, ["last"])
        (key,) = cursor.fetchone()
    assert words == ["SAVEPOINT", "SELECT", "INSERT; RELEASE"]
    assert Label.objects.get(pk=key).name == "last"


def one_by_one() -> None:
    with transaction.atomic(), sent() as words, lazy() as point, connection.cursor() as cursor:
        point.execute_last(cursor, INSERT, ["last"])
        (key,) = cursor.fetchone()
    assert words == ["SAVEPOINT", "INSERT", "RELEASE"]
    assert Label.objects.get(pk=key).name == "last"


def test_where_the_server_binds_the_last_is_sent_by_itself(bound_on_the_server):
    one_by_one()


def test_on_sqlite_the_last_is_sent_by_itself():
    if connection.vendor != "sqlite":
        pytest.skip("SQLite's own behaviour")
    one_by_one()


# transactions that the site ends by hand


@pytest.mark.parametrize("block", [lazy, transaction.atomic])
def test_without_autocommit_a_block_that_fails_leaves_the_transaction_as_it_was(block):
    heard: list[str] = []
    transaction.set_autocommit(False)
    try:
        Label.objects.create(name="before")
        with block():
            transaction.on_commit(partial(heard.append, "kept"))
        with contextlib.suppress(DatabaseError), block():
            Label.objects.create(name="in the block")
            transaction.on_commit(partial(heard.append, "dropped"))
            broken_query()
        with block() as point:
            Scene(block).write_last(point, "last")
        Label.objects.create(name="after")
        transaction.commit()
        transaction.set_autocommit(True)
    finally:
        connection.close()
    assert sorted(Label.objects.values_list("name", flat=True)) == ["after", "before", "last"]
    assert heard == ["kept"]


# a connection that is lost


def kill() -> None:
    """End this connection as an administrator or a failover would."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
    other.close()


def lost_in(block: Callable[[], Any], when: str, *, goes_on: bool) -> Any:
    scene = Scene(block)
    is_lost_early = when != "after a statement"
    with scene.noted(), transaction.atomic():
        scene.write("before")
        if is_lost_early and block is transaction.atomic:  # whose savepoint comes at once, and ours with the first statement
            kill()
        with scene.noted(), scene.block() as point:
            if when == "after a statement":
                scene.write("in the block")
            kill()
            if when == "before the last":
                scene.write_last(point, "last")
            scene.write("lost")
        scene.let_out.append(f"marked={connection.needs_rollback}")
        if goes_on:
            scene.write("after")
    state = connection.in_atomic_block, connection.closed_in_transaction, connection.connection is None, connection.savepoint_ids
    connection.close()
    return scene.heard, scene.let_out, state, Label.objects.count()


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("when", ["before a statement", "before the last"])
def test_a_connection_that_is_lost_in_the_block_ends_as_with_atomic(when, goes_on, postgres_only):
    ours = lost_in(lazy, when, goes_on=goes_on)
    assert ours == lost_in(transaction.atomic, when, goes_on=goes_on)
    assert (ours[0], ours[1][0], ours[3]) == ([], "OperationalError", 0)


@pytest.mark.parametrize("when", ["before a statement", "after a statement", "before the last"])
def test_the_site_is_told_of_a_connection_that_was_lost_though_its_error_was_swallowed(when, postgres_only):
    """After a statement `atomic()` would end without a word, and nothing be saved."""
    assert lost_in(lazy, when, goes_on=False)[1] == ["OperationalError", "marked=False", "OperationalError"]


# through the rules


@pytest.fixture
def rules(own_rules: None) -> None:
    Kind("sound")


@pytest.mark.usefixtures("rules")
def test_a_rule_that_queries_and_then_fails_leaves_the_save_and_the_other_rules(mina, titles, errors):
    @rule(Order, created=True)
    def first(change: Change) -> None:
        Label.objects.create(name="from a rule")
        broken_query()

    rule(Order, created=True)(lambda change: Draft("sound", to=mina, title="sound"))
    with transaction.atomic():
        Order.objects.create()
        Label.objects.create(name="after")
    assert len(errors()) == 1
    assert (Order.objects.count(), [str(label) for label in Label.objects.all()]) == (1, ["after"])
    assert titles(mina) == ["sound"]


@pytest.mark.usefixtures("rules")
def test_a_rule_that_swallows_the_error_of_a_save_leaves_the_sites_transaction(mina, titles, errors):
    @rule(Order, created=True)
    def first(change: Change) -> Draft:
        with contextlib.suppress(ValueError):
            Label(id="no number", name="from a rule").save()  # type: ignore[misc]
        return Draft("sound", to=mina, title="from a rule that is marked for rollback")

    rule(Order, created=True)(lambda change: Draft("sound", to=mina, title="sound"))
    with transaction.atomic():
        Order.objects.create()
        Label.objects.create(name="after")
    assert len(errors()) == 1
    assert (Order.objects.count(), [str(label) for label in Label.objects.all()]) == (1, ["after"])
    assert titles(mina) == ["sound"]


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize("queries", [False, True])
@pytest.mark.parametrize("drafts", [1, 2])
def test_an_event_that_cannot_be_written_leaves_the_save(queries, drafts, mina, errors, postgres_only):
    @rule(Order, created=True)
    def tell(change: Change) -> list[Draft]:
        if queries:
            Label.objects.create(name="from a rule")
        return [Draft("sound", to=mina, title="t")] * drafts

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Event._meta.db_table} RENAME TO away")
        Order.objects.create()
        cursor.execute(f"ALTER TABLE away RENAME TO {Event._meta.db_table}")
        Label.objects.create(name="after")
    (line,) = errors()
    assert "rule_failed" in line
    assert (Order.objects.count(), [str(label) for label in Label.objects.all()]) == (1, ["after"])
    assert not Event.objects.exists()
