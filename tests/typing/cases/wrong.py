"""Mistakes that a type checker catches before anything runs: mypy's code for each stands behind its line."""

from django.contrib.auth.models import User

import notifications
from notifications import Action, Change, Draft, Kind, Text, aanswer, anotify, answer, notify, rule, signal_rule
from notifications.inbox import read_page
from notifications.steps import mark
from notifications.testing import ChaosLayer

joined = Kind("user.joined", severity="fatal")  # E: arg-type
Kind("user.left", "Users who left")  # E: call-arg
Text(42)  # E: arg-type

Draft(joined, to=[], title=42)  # E: arg-type
Draft(joined, to=[])  # E: call-arg
Draft(joined, to=[], title="x", colour="red")  # E: call-arg
Draft(joined, to=[], title="x").title = "y"  # E: misc
Draft(joined, to=[], title="x", actions=["Yes"])  # E: list-item
Draft(joined, to=[], title="x", actions=Action("Yes", "/yes/"))  # E: arg-type

Action("Yes")  # E: call-arg
Action("Yes", "/yes/", True)  # E: call-arg
Action("Yes", None)  # E: arg-type
Action("Yes", "/yes/").url = "/no/"  # E: misc

notify(joined, title="x")  # E: call-arg
notify(joined, to=[], title="x", severity="fatal")  # E: arg-type
notify(joined, to=[], title="x", data=[1])  # E: arg-type
notify(joined, to=[], title="x", actions=[("Yes", "/yes/")])  # E: list-item

answer(7, "Yes")  # E: call-arg
answer(None, "Yes", to=1)  # E: arg-type
answer(7, 5, to=1)  # E: arg-type


async def calls() -> None:
    anotify(joined, to=[], title="x")  # E: unused-coroutine
    aanswer(7, "Yes", to=1)  # E: unused-coroutine
    await anotify(joined, to=[], titel="x")  # E: call-arg


@rule("auth.User", created=True)  # E: arg-type
def named_by_a_string(change: Change) -> None: ...


@signal_rule("paid")  # E: arg-type
def no_signal() -> None: ...


@rule(User, created=True)
def writes_to_the_change(change: Change) -> None:
    change.new["email"] = "x"  # E: index


read_page(1, show="everything")  # E: arg-type
mark(1, "forget", upto=1)  # E: arg-type
mark(1, "read", [1])  # E: call-arg
mark(1, "read", stamp="x")  # E: arg-type
notifications.notfy()  # E: attr-defined
ChaosLayer(seed="x")  # E: arg-type
ChaosLayer(lose=0.3)  # E: call-arg
