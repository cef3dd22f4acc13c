"""The public names used as the documentation shows: strict mypy has nothing to say, and knows what comes back."""

from typing import Any, assert_type

from django.contrib.auth.models import Group, User
from django.dispatch import Signal
from django.utils.translation import gettext_lazy as _

from notifications import Action, Change, Draft, Kind, Text, aanswer, anotify, answer, notify, rule, signal_rule
from notifications.filters import Filter
from notifications.inbox import Page, State, read_page, states
from notifications.models import Event
from notifications.protocol import Item
from notifications.steps import mark, mark_seen
from notifications.testing import ChaosLayer, deliver

paid = Signal()
joined = Kind("user.joined", label=_("New users"), severity="success", icon="check")
plain = Kind("user.plain")


@rule(User, created=True, updated={"email"}, deleted=True, m2m={"groups"})
def somebody_changed(change: Change) -> Draft | None:
    if change.action == "deleted":
        return None
    return Draft(
        joined,
        to=User.objects.filter(is_staff=True),
        actor=change.instance,
        target=change.instance,
        title=Text(_("%(name)s has joined"), name="Ada"),
        body=Text(_("one"), plural=_("many"), context="users", count=2),
        url="/users/",
        data={"number": 1},
        severity="warning",
    )


@rule(User, updated=True)
def several_drafts(change: Change) -> list[Draft]:
    actions = [Action(_("Yes"), "/yes/", primary=True), Action(Text("%(count)d time", plural="%(count)d times", count=2), "/no/")]
    return [
        Draft(joined, to=change.instance, title="a plain string", actions=actions),
        Draft("user.plain", to=[1, 2], title=_("lazy"), actions=(Action("Maybe", "/maybe/"),)),
    ]


@signal_rule(paid, sender=User)
def somebody_paid(sender: type[User], user: User, **named: Any) -> Draft:
    return Draft(joined, to=user, title="paid")


def calls(user: User, group: Group) -> None:
    assert_type(notify(joined, to=user, title="Hello"), Event | None)
    assert_type(notify("user.plain", to=[user, group], title=Text("Hello"), body="there"), Event | None)
    notify(joined, to=user, title="Do you agree?", actions=[Action("I do", "/agree/")])
    answer(7, Text(_("You agree since %(day)s"), day="Monday"), to=user)
    answer("7", _("You agree"), to=[user, 4])


async def calls_from_a_coroutine(user: User) -> None:
    assert_type(await anotify(joined, to=user, title="Hello", severity="error"), Event | None)
    await anotify(joined, to=user, title="Do you agree?", actions=[Action("I do", "/agree/")])
    await aanswer("7", "You agree", to=User.objects.filter(is_staff=True))


def inbox_of(user: User) -> None:
    page = read_page(user.pk, limit=10, show="unread", language="de")
    assert_type(page.items, list[Item])
    assert_type(read_page(user.pk, wanted=Filter(kind="user.joined", severity="error", search="Ann")), Page)
    assert_type(page.unread, int)
    assert_type(page.items[0].title, str)
    assert_type(page.items[0].actions[0].primary, bool)
    assert_type(page.items[0].answer, str)
    assert_type(states([user.pk]), dict[str, State])
    mark(user.pk, "read", upto=page.top)
    mark(user.pk, "archive", ids=[1, 2])
    assert_type(mark(user.pk, "undelete", stamp=mark(user.pk, "delete", upto=page.top)), int)
    assert_type(mark_seen(user.pk, page.top), int)


def what_became_of_them(layer: ChaosLayer) -> int:
    assert_type(deliver()[0].number, int)
    fate, seconds = ChaosLayer(seed=7, drop=0.3, delay=1, layer={"BACKEND": "a.Layer"}).fate("group", 0)
    assert_type(seconds, float)
    return layer.counts["drop"] if fate == "drop" else 0


assert_type(somebody_paid(User, User()), Draft)  # a decorated rule is still the function that it was
