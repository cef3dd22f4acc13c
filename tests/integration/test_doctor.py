"""`manage.py notifications_doctor` from inside: what can be wrong is named, with what mends it; a sound site is well."""

import json
import os
import subprocess
import sys
import threading
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from notifications import doctor as doctor_module
from notifications import notify
from notifications import relay as relay_module
from notifications.models import Event, Inbox, Notification
from notifications.signals import event_committed
from notifications.steps import mark, mark_seen
from tests.servers import free_port
from tests.site.asgi import application
from tests.site.doctor import doctor

pytestmark = pytest.mark.django_db(transaction=True)

WELL = {"settings": "ok", "database": "ok", "layer": "ok", "hubs": "unknown", "pending": "ok", "counts": "ok"}


@pytest.fixture(autouse=True)
def sound_site(settings, own_rules, monkeypatch):
    assert application is not None
    settings.DEBUG = True  # an in-memory layer is right for development
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    monkeypatch.setattr(doctor_module, "SWEEP_SECONDS", 1.0)


@pytest.fixture
def held():
    """Nobody relays."""
    event_committed.disconnect(dispatch_uid="notifications.relay")
    try:
        yield
    finally:
        event_committed.connect(relay_module.after_commit, dispatch_uid="notifications.relay")


def age(event: Event, seconds: float) -> None:
    Event.objects.filter(pk=event.pk).update(created_at=timezone.now() - timedelta(seconds=seconds))


def test_a_sound_site_is_well(mina, people):
    for user in [mina, *people(3)]:
        for number in range(4):
            notify("plain", to=user, title=str(number))
        mark(user.pk, "read", upto=1)
        mark_seen(user.pk, 2)
    report = doctor()
    assert (report.code, report.levels) == (0, WELL)
    assert not Event.objects.filter(kind="doctor").exists()  # its row was rolled back


def test_it_speaks_one_line_a_finding(mina):
    out = StringIO()
    call_command("notifications_doctor", stdout=out, no_color=True)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(WELL)
    assert lines[-1] == "ok       counts: 0 inboxes agree with their rows"


def test_what_the_checks_say_it_says_too(settings):
    settings.NOTIFICATIONS_NO_SUCH_THING = 1
    report = doctor()
    assert report.code == 1
    assert "live_notifications.W001" in report.of("settings")[0][1]
    settings.NOTIFICATIONS_WATERMARK_SECONDS = -1
    assert doctor().code == 2
    settings.SILENCED_SYSTEM_CHECKS = ["live_notifications.W001", "live_notifications.E002"]
    assert doctor().code == 0


def test_a_migration_that_was_not_applied(mina):
    ours = MigrationRecorder.Migration.objects.filter(app="live_notifications")
    names = list(ours.values_list("name", flat=True))
    ours.delete()
    try:
        report = doctor()
    finally:
        for name in names:
            MigrationRecorder(connection).record_applied("live_notifications", name)
    assert report.code == 2
    assert report.of("database") == [("broken", f"'default' lacks migrations: {', '.join(names)}")]
    assert report.levels["counts"] == "unknown"


def test_a_database_that_does_not_take_rows(mina, monkeypatch):
    monkeypatch.setattr(Event._meta, "db_table", "no_such_table")
    report = doctor()
    assert report.code == 2
    assert "cannot be used" in report.of("database")[0][1]


def test_transactions_that_are_isolated_too_well(mina, postgres_only):
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_isolation TO 'repeatable read'")
        try:
            report = doctor()
        finally:
            cursor.execute("SET default_transaction_isolation TO 'read committed'")
    assert report.code == 1
    assert "repeatable read" in report.of("database")[0][1]


def test_sqlite_without_a_write_ahead_log(mina, monkeypatch):
    if connection.vendor != "sqlite":
        return
    assert doctor_module._ask("default", "PRAGMA journal_mode") == "wal"  # what was asked in all other tests
    monkeypatch.setattr(doctor_module, "_ask", lambda alias, question: "delete")
    assert doctor().levels["database"] == "warning"


def test_events_that_nobody_relays(mina, held):
    event = notify("plain", to=mina, title="t")
    assert event is not None
    assert doctor().code == 0  # it has just come
    age(event, 100)
    report = doctor()
    assert report.code == 2
    assert "1 events wait, the oldest for 10" in report.of("pending")[0][1]
    relay_module.relay()
    assert doctor().code == 0


def test_an_event_that_is_old_and_taken_at_once_is_well(mina, held, monkeypatch):
    """As of a transaction that took its time: the row is as old as that, and was not to be seen."""
    monkeypatch.setattr(doctor_module, "SWEEP_SECONDS", 10.0)
    event = notify("plain", to=mina, title="t")
    assert event is not None
    age(event, 100)
    sweep = threading.Timer(1, relayed_elsewhere)
    sweep.start()
    try:
        assert doctor().code == 0
    finally:
        sweep.join()


def relayed_elsewhere() -> None:
    try:
        relay_module.sweep()
    finally:
        connection.close()


def test_an_event_on_its_way_to_many_has_more_time(mina, held):
    event = notify("plain", to=mina, title="t")
    assert event is not None
    Event.objects.update(users_done=1, wide=True)
    age(event, 100)
    assert doctor().code == 0
    age(event, 1000)
    assert doctor().code == 2


def test_events_that_fail_and_events_that_were_set_aside(mina, held):
    for title in ("fails", "gave up"):
        notify("plain", to=mina, title=title)
    first, second = Event.objects.order_by("pk")
    later = timezone.now() + timedelta(seconds=60)
    Event.objects.filter(pk=first.pk).update(tries=2, retry_at=later, error="LookupError('no such thing')\nmore")
    Event.objects.filter(pk=second.pk).update(pending=None, set_aside_at=timezone.now())
    report = doctor()
    assert report.code == 1
    failing, aside, _ = report.of("pending")
    assert failing == ("warning", f"event {first.pk} (plain) has failed 2 times: LookupError('no such thing')")
    assert aside[1].startswith("1 events were set aside")


DRIFTS = {
    "unread": {"unread": 9},
    "unseen": {"unseen": 0},
    "top": {"top": 1},
    "seen": {"seen_upto": 99, "unseen": 0},
}


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS)
def test_counts_that_drifted_are_found_and_counted_anew(mina, omar, drift):
    for user in (mina, omar):
        for number in range(3):
            notify("plain", to=user, title=str(number))
    Inbox.objects.filter(pk=mina.pk).update(**drift)
    report = doctor()
    assert report.code == 2
    assert report.of("counts")[0][1].startswith(f"1 of 2 inboxes do not agree with their rows, such as user {mina.pk}: ")
    report = doctor("--repair")
    assert (report.code, report.of("counts")) == (
        0,
        [("ok", "1 of 2 inboxes did not agree with their rows and were counted anew")],
    )
    assert doctor().levels == WELL


def test_rows_without_an_inbox_are_found_and_get_one(mina):
    notify("plain", to=mina, title="t")
    Inbox.objects.all().delete()
    assert doctor().of("counts")[0][1].endswith(f"user {mina.pk}: has rows and no inbox")
    assert doctor("--repair").code == 0
    assert Inbox.objects.get().unread == 1


def test_many_inboxes_are_looked_at_in_slices(people, monkeypatch, django_assert_max_num_queries):
    users = people(7)
    notify("plain", to=users, title="t")
    monkeypatch.setattr(doctor_module, "INBOXES", 3)
    Inbox.objects.filter(pk=users[-1].pk).update(unread=5)
    with django_assert_max_num_queries(6):
        (finding,) = doctor_module.counts()
    assert finding.text.startswith(f"1 of 7 inboxes do not agree with their rows, such as user {users[-1].pk}: unread 5")


def test_a_new_epoch_for_all_inboxes(people):
    users = people(3)
    notify("plain", to=users, title="t")
    before = dict(Inbox.objects.values_list("pk", "epoch"))
    assert doctor("--new-epoch").of("epochs")[0][1].startswith("3 inboxes")
    after = dict(Inbox.objects.values_list("pk", "epoch"))
    assert all(after[pk] != epoch for pk, epoch in before.items())
    assert Notification.objects.count() == 3


def test_an_examination_that_fails_keeps_none_of_the_others(mina, monkeypatch):
    monkeypatch.setattr(doctor_module, "_overdue", lambda: 1 / 0)
    report = doctor()
    assert report.code == 2
    assert report.of("doctor") == [("broken", "the examination failed: ZeroDivisionError: division by zero")]
    assert report.levels["counts"] == "ok"


def test_a_session_without_an_address_is_refused():
    with pytest.raises(CommandError, match="--url"):
        call_command("notifications_doctor", session="key")


def test_an_address_without_a_scheme_is_refused():
    with pytest.raises(CommandError, match="https://"):
        call_command("notifications_doctor", url="shop.example.com")


def test_where_nothing_runs_each_thing_is_named_and_the_status_is_2():
    """As an operator calls it, in a process of its own, with neither database nor Redis."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.site.settings",
        "DATABASE_URL": f"postgres://nobody@127.0.0.1:{free_port()}/nothing",
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    command = [sys.executable, "-m", "django", "notifications_doctor", "--json", "--url", f"http://127.0.0.1:{free_port()}/"]
    done = subprocess.run(command, env=env, cwd=Path(__file__).parents[2], check=False, capture_output=True, text=True)
    found = {each["subject"]: each["level"] for each in json.loads(done.stdout)["findings"]}
    wanted = {"settings": "ok", "database": "broken", "layer": "broken", "url": "broken", "hubs": "unknown", "counts": "unknown"}
    assert (done.returncode, found, done.stderr) == (2, wanted, "")
