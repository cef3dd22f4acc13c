"""Mistakes that a type checker catches before anything runs: mypy's code for each stands behind its line."""

from django.contrib.auth.models import User

import notifications
from notifications import Change, Draft, Kind, Text, anotify, notify, rule, signal_rule
from notifications.inbox import mark, read_page
from notifications.testing import ChaosLayer

joined = Kind("user.joined", severity="fatal")  # E: arg-type
Kind("user.left", "Users who left")  # E: call-arg
Text(42)  # E: arg-type

Draft(joined, to=[], title=42)  # E: arg-type
Draft(joined, to=[])  # E: call-arg
Draft(joined, to=[], title="x", colour="red")  # E: call-arg
Draft(joined, to=[], title="x").title = "y"  # E: misc

notify(joined, title="x")  # E: call-arg
notify(joined, to=[], title="x", severity="fatal")  # E: arg-type
notify(joined, to=[], title="x", data=[1])  # E: arg-type


async def calls() -> None:
    anotify(joined, to=[], title="x")  # E: unused-coroutine
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
notifications.notfy()  # E: attr-defined
ChaosLayer(seed="x")  # E: arg-type
ChaosLayer(lose=0.3)  # E: call-arg
