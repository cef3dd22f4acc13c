"""What `manage.py notifications_doctor` finds out about settings, database, pending events and counts.

Every finding says what is so, and one that is not well says how to mend it. `roll_call.py` asks the channel layer and the hubs,
`visitor.py` looks from outside.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

from django.contrib.auth import get_user_model
from django.core import checks as django_checks
from django.db import DatabaseError, connections, router, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Exists, IntegerField, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from notifications.checks import messages
from notifications.models import Event, Inbox, Notification
from notifications.outbox import event_alias
from notifications.steps import recount, renew_epochs

__all__ = ["Finding", "Level", "counts", "database", "first_line", "new_epochs", "pending", "settings"]

Level: TypeAlias = Literal["ok", "unknown", "warning", "broken"]
WAITING_SECONDS: Final = 30.0  # for which no event waits where a relay is at work: a sweep comes every 5 s
WIDE_SECONDS: Final = 600.0  # the same for one of many recipients that is on its way
SWEEP_SECONDS: Final = 10.0  # given to what was committed this moment, long after its transaction began
INBOXES: Final = 500  # looked at by one statement


@dataclass(frozen=True)
class Finding:
    """`unknown`: could not be examined from here. `warning`: works, less well than promised. `broken`: a promise is not kept."""

    subject: str
    level: Level
    text: str
    mend: str = ""


def settings() -> Iterator[Finding]:
    """The system checks, but for the one that can only guess what `database()` asks."""
    found = [each for each in messages() if each.level >= django_checks.WARNING and not str(each.id).endswith("W009")]
    for each in found:
        level: Level = "broken" if each.level >= django_checks.ERROR else "warning"
        yield Finding("settings", level, f"{each.msg} ({each.id})", str(each.hint))
    if not found:
        yield Finding("settings", "ok", "no system check has anything to say")


def database() -> Iterator[Finding]:
    """Reachable, migrated, written to and read from, and in the mode that the app counts on."""
    alias = event_alias()
    vendor = connections[alias].vendor
    try:
        missing = _missing_migrations(alias)
        if missing:
            text = f"{alias!r} lacks migrations: {', '.join(missing)}"
            yield Finding("database", "broken", text, "Run: manage.py migrate live_notifications")
            return
        started = time.monotonic()
        is_same, isolation = _write_and_read(alias)
        took = f"{(time.monotonic() - started) * 1000:.0f} ms"
        journal = _ask(alias, "PRAGMA journal_mode") if vendor == "sqlite" else "wal"
    except DatabaseError as error:
        mend = "Look at DATABASES, whether the server runs, and whether this user may write."
        yield Finding("database", "broken", f"{alias!r} cannot be used: {first_line(error)}", mend)
        return
    if not is_same:
        yield Finding("database", "broken", f"{alias!r} gives text back changed", "Create the database with encoding UTF-8.")
    if isolation != "read committed":
        yield Finding(
            "database",
            "warning",
            f"{alias!r} begins transactions as {isolation}: of two steps of one inbox at the same moment one fails",
            'Remove "isolation_level" from its OPTIONS, and default_transaction_isolation from PostgreSQL.',
        )
    if journal not in ("wal", "memory"):
        yield Finding(
            "database",
            "warning",
            f"{alias!r} keeps no write-ahead log: whoever writes waits for all who read",
            'Add "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL" to its OPTIONS.',
        )
    yield Finding("database", "ok", f"{alias!r} ({vendor}) is migrated; a row was written and read in {took}")


def _missing_migrations(alias: str) -> list[str]:
    executor = MigrationExecutor(connections[alias])
    newest = [key for key in executor.loader.graph.leaf_nodes() if key[0] == Event._meta.app_label]
    ours = [migration for migration, _ in executor.migration_plan(newest) if migration.app_label == Event._meta.app_label]
    return [migration.name for migration in ours]


def _write_and_read(alias: str) -> tuple[bool, str]:
    """Whether a row comes back as it was written, and under which isolation. Rolled back: no relay ever sees it."""
    isolation = "read committed"
    with transaction.atomic(using=alias):
        event = Event(kind="doctor", content={"title": "é 漢 😀"}, audience={"users": [], "groups": []}, pending=None)
        event.save(using=alias)
        is_same = Event.objects.using(alias).get(pk=event.pk).content == event.content
        if connections[alias].vendor == "postgresql":
            isolation = _ask(alias, "SHOW transaction_isolation")
        transaction.set_rollback(True, using=alias)
    return is_same, isolation


def pending() -> Iterator[Finding]:
    """Whether committed events are relayed."""
    events = Event.objects.using(event_alias())
    waiting = events.filter(pending=True).count()
    stuck = _still_there(_overdue())
    if stuck:
        oldest = timezone.now() - min(event.created_at for event in stuck)
        yield Finding(
            "pending",
            "broken",
            f"{waiting} events wait, the oldest for {oldest.total_seconds():.0f} s, and nobody relays them",
            "Start a server process, or manage.py relay_notifications; in their logs look for relay_stopped and hub_failed.",
        )
    failed = events.filter(pending=True, tries__gt=0).exclude(error="").order_by("-tries").first()
    if failed is not None:
        text = f"event {failed.pk} ({failed.kind}) has failed {failed.tries} times: {first_line(failed.error)}"
        yield Finding("pending", "warning", text, "Mend what the error names (often the kind's visible_to); it is tried again.")
    aside = events.set_aside().count()
    if aside:
        mend = 'See the admin: Events, "set aside at: not empty"; mend what the error names, then "Try again".'
        yield Finding("pending", "warning", f"{aside} events were set aside after their last try: nobody gets them", mend)
    if not stuck:
        yield Finding("pending", "ok", f"{waiting} events wait, none for longer than it takes")


def counts(*, repairs: bool = False) -> Iterator[Finding]:
    """Each inbox against its rows. `repairs`: what is wrong is counted anew, by steps that open pages hear of."""
    looked = 0
    wrong: dict[Any, str] = {}
    for inboxes in _slices():
        looked += len(inboxes)
        wrong.update((inbox.pk, what) for inbox in inboxes if (what := _drift(inbox)))
    wrong.update((user_id, "has rows and no inbox") for user_id in _without_inbox())
    if not wrong:
        yield Finding("counts", "ok", f"{looked} inboxes agree with their rows")
    elif repairs:
        mended = sum(recount(user_id) for user_id in wrong)
        yield Finding("counts", "ok", f"{mended} of {looked} inboxes did not agree with their rows and were counted anew")
    else:
        named = "; ".join(f"user {user_id}: {what}" for user_id, what in list(wrong.items())[:3])
        text = f"{len(wrong)} of {looked} inboxes do not agree with their rows, such as {named}"
        yield Finding("counts", "broken", text, "Run: manage.py notifications_doctor --repair")


def new_epochs() -> Iterator[Finding]:
    changed = sum(renew_epochs([inbox.pk for inbox in inboxes]) for inboxes in _slices())
    yield Finding("epochs", "ok", f"{changed} inboxes have a new epoch: whatever page comes, begins anew")


def _overdue() -> QuerySet[Event]:
    now = timezone.now()
    untouched = Q(users_done=0, groups_after="", created_at__lt=now - timedelta(seconds=WAITING_SECONDS))
    return Event.objects.using(event_alias()).due().filter(untouched | Q(created_at__lt=now - timedelta(seconds=WIDE_SECONDS)))


def _still_there(overdue: QuerySet[Event]) -> list[Event]:
    """Those of the oldest that a sweep does not take. An event is as old as its transaction, and may be visible only now."""
    oldest = list(overdue.order_by("created_at")[:10])
    end = time.monotonic() + SWEEP_SECONDS
    while oldest and time.monotonic() < end:
        time.sleep(0.5)  # a relay elsewhere tells nobody: it can only be asked for
        oldest = list(overdue.filter(pk__in=[event.pk for event in oldest]))
    return oldest


def _slices() -> Iterator[list[Any]]:
    """All inboxes, each with what its rows say. One statement a slice, so that a step under way is seen wholly or not at all."""
    rows: Any = Notification.objects.filter(recipient_id=OuterRef("pk")).order_by()
    unread = rows.active().unread()
    inboxes: Any = Inbox.objects.using(event_alias()).annotate(
        real_unread=_counted(unread),
        real_unseen=_counted(unread.filter(number__gt=OuterRef("seen_upto"))),
        highest=Coalesce(Subquery(rows.values("recipient").annotate(n=Max("stamp")).values("n")), 0),
    )
    after: Any = None
    while True:
        later = inboxes if after is None else inboxes.filter(pk__gt=after)
        found = list(later.order_by("pk")[:INBOXES])
        if not found:
            return
        yield found
        after = found[-1].pk


def _counted(rows: Any) -> Coalesce:
    return Coalesce(Subquery(rows.values("recipient").annotate(n=Count("pk")).values("n"), output_field=IntegerField()), 0)


def _drift(inbox: Any) -> str:
    """In words what is wrong with the inbox; nothing if all is right."""
    if (inbox.unread, inbox.unseen) != (inbox.real_unread, inbox.real_unseen):
        return f"unread {inbox.unread}, unseen {inbox.unseen} instead of {inbox.real_unread} and {inbox.real_unseen}"
    if inbox.highest > inbox.top:
        return f"row {inbox.highest} above the inbox's {inbox.top}"
    return f"seen up to {inbox.seen_upto} of {inbox.top}" if inbox.seen_upto > inbox.top else ""


def _without_inbox() -> Iterable[Any]:
    """Users who have rows and no inbox. Only where users live in the same database: none else can join the two."""
    alias = event_alias()
    users = get_user_model()._default_manager
    if router.db_for_read(users.model) != alias:
        return []
    rows, inboxes = Notification.objects.filter(recipient_id=OuterRef("pk")), Inbox.objects.filter(pk=OuterRef("pk"))
    return list(users.using(alias).filter(Exists(rows), ~Exists(inboxes)).values_list("pk", flat=True))


def _ask(alias: str, question: str) -> str:
    with connections[alias].cursor() as cursor:
        cursor.execute(question)
        return str(cursor.fetchone()[0]).lower()


def first_line(error: object) -> str:
    """The first line of an error, or its name where it says nothing."""
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
