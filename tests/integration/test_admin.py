"""The operator sees what waits and what was set aside, can have it tried again, and can change nothing by hand."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from notifications import Text, notify
from notifications.models import Event, Notification
from notifications.relay import sweep

pytestmark = pytest.mark.django_db(transaction=True)

EVENTS = "/admin/live_notifications/event/"
NOTIFICATIONS = "/admin/live_notifications/notification/"


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator(transactional_db) -> Client:
    return signed_in(User.objects.create_superuser("root", password="root"))


@pytest.fixture
def set_aside(mina) -> Event:
    notify("plain", to=mina, title="delivered")
    return Event.objects.create(
        kind="plain",
        content={"severity": "info", "title": Text("shipped").as_json()},
        audience={"users": [mina.pk], "groups": []},
        pending=None,
        set_aside_at=timezone.now(),
        tries=5,
        error="RuntimeError('<b>bad</b>')",
    )


def try_again(client: Client, event: Event):
    return client.post(EVENTS, {"action": "try_again", "_selected_action": [event.pk]}, follow=True)


def test_events_are_listed_with_their_title_and_state(operator, set_aside):
    page = operator.get(EVENTS).content.decode()
    assert "shipped" in page
    assert "delivered" in page
    assert "set aside" in page
    assert "relayed" in page
    waiting = Event.objects.create(kind="plain", content=set_aside.content, audience=set_aside.audience)
    assert "waiting" in operator.get(f"{EVENTS}?pk={waiting.pk}").content.decode()


def test_those_set_aside_can_be_listed_alone(operator, set_aside):
    rows = operator.get(f"{EVENTS}?set_aside_at__isempty=0").context["cl"].result_list
    assert list(rows) == [set_aside]


def test_an_event_is_shown_with_its_error_as_text(operator, set_aside):
    page = operator.get(f"{EVENTS}{set_aside.pk}/change/")
    assert page.status_code == 200
    assert "&lt;b&gt;bad&lt;/b&gt;" in page.content.decode()


def test_tried_again_it_is_delivered(operator, set_aside, mina, titles):
    assert titles(mina) == ["delivered"]
    assert "1 event waits again." in try_again(operator, set_aside).content.decode()
    event = Event.objects.get(pk=set_aside.pk)
    assert (event.pending, event.tries, event.set_aside_at, event.error) == (True, 0, None, "")
    sweep()
    assert Notification.objects.filter(event=set_aside, recipient=mina).count() == 1


def test_trying_again_what_was_delivered_delivers_nothing_twice(operator, set_aside, mina):
    delivered = Event.objects.exclude(pk=set_aside.pk).get()
    assert "0 events wait again." in try_again(operator, delivered).content.decode()
    assert not Event.objects.due().exists()
    sweep()
    assert Notification.objects.filter(recipient=mina).count() == 1


def test_notifications_are_listed_without_a_query_a_row(operator, people, django_assert_max_num_queries):
    notify("plain", to=people(30), title="t")
    with django_assert_max_num_queries(14):
        page = operator.get(NOTIFICATIONS)
    assert len(page.context["cl"].result_list) == 30


@pytest.mark.parametrize("model", ["event", "notification"])
def test_nothing_can_be_added_changed_or_deleted_by_hand(operator, set_aside, model):
    pk = set_aside.pk if model == "event" else Notification.objects.get().pk
    before = list(Event.objects.values()), list(Notification.objects.values())
    name = f"admin:live_notifications_{model}"
    assert operator.get(reverse(f"{name}_add")).status_code == 403
    assert operator.post(reverse(f"{name}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    assert operator.post(reverse(f"{name}_change", args=[pk]), {"kind": "other", "number": 9}).status_code == 403
    operator.post(reverse(f"{name}_changelist"), {"action": "delete_selected", "_selected_action": [pk], "post": "yes"})
    assert (list(Event.objects.values()), list(Notification.objects.values())) == before


@pytest.mark.parametrize(("permissions", "may"), [([], False), (["view_event"], False), (["view_event", "change_event"], True)])
def test_trying_again_is_a_permission(set_aside, permissions, may):
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    response = try_again(signed_in(user), set_aside)
    assert response.status_code == (200 if permissions else 403)
    assert (Event.objects.get(pk=set_aside.pk).pending is True) is may


def test_deleting_a_user_in_the_admin_asks_nothing_of_ours_and_takes_their_inbox(operator, mina):
    notify("plain", to=mina, title="t")
    response = operator.post(f"/admin/auth/user/{mina.pk}/delete/", {"post": "yes"})
    assert response.status_code == 302
    assert not User.objects.filter(username="mina").exists()
    assert not Notification.objects.exists()


def test_tables_speak_in_plain_words():
    assert str(Event(pk=3, kind="order.status")) == "order.status 3"
    assert str(Notification(recipient_id=5, number=7)) == "5 #7"
