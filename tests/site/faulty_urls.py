"""One URL a fault: it saves an order whose rule fails in that way, beside a rule that is sound, and goes on with its work."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from notifications import Change, Draft, Kind, Text, rule
from tests.site import urls
from tests.site.models import Label, Order

__all__ = ["FAULTS", "TOLD", "urlpatterns"]

sound = Kind("sound")
unseen = Kind("unseen", visible_to=lambda users, event: broken())
Rule = Callable[[Change], Any]


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("cannot be printed")


class Lost(Order):
    class Meta:
        proxy = True

    def get_absolute_url(self) -> str:
        raise LookupError("no address")


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("the site's code fails")


def drafts_and_fails(change: Change) -> Iterator[Draft]:
    yield draft(change, title="a draft of a rule that fails")
    broken()


def query_fails(change: Change) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM no_such_table")


def draft(change: Change, **how: Any) -> Draft:
    return Draft(how.pop("kind", sound), **{"to": change.instance.customer, "title": "from a broken rule", **how})


FAULTS: dict[str, Rule] = {
    "rule raises": broken,
    "rule returns rubbish": lambda change: object(),
    "drafts then raises": drafts_and_fails,
    "query fails": query_fails,
    "recipient fails": lambda change: draft(change, to=(broken() for _ in range(1))),
    "no such recipient": lambda change: draft(change, to="nobody at all"),
    "title fails": lambda change: draft(change, title=Unprintable()),
    "no such kind": lambda change: draft(change, kind="no.such.kind"),
    "address fails": lambda change: draft(change, url=Lost.objects.get(pk=change.instance.pk).get_absolute_url()),
    "data no JSON": lambda change: draft(change, data={"thing": object()}),
    "data without end": lambda change: draft(change, data=endless()),
    "body of 1 MB": lambda change: draft(change, body="x" * 1_000_000),
}
TOLD: dict[str, Rule] = {
    "lone surrogate": lambda change: draft(change, title="half \ud800"),
    "NUL": lambda change: draft(change, title="nul \x00", body="\x00", data={"\x00": "\x00"}),
    "missing parameter": lambda change: draft(change, title=Text("%(absent)s")),
    "hostile address": lambda change: draft(change, url="javascript:alert(1)"),
    "audience fails": lambda change: draft(change, kind=unseen),
}
"""What is no error at the save: mended, or found out later, by the relay and by whoever renders it."""


def endless() -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["data"] = data
    return data


def only_for(fault: str, function: Rule) -> Rule:
    def fails(change: Change) -> Any:
        return function(change) if change.instance.number == fault else None

    fails.__qualname__ = fails.__name__ = f"fails_{fault.replace(' ', '_')}"
    return fails


for name, function in (FAULTS | TOLD).items():
    rule(Order, created=True)(only_for(name, function))


@rule(Order, created=True)
def is_sound(change: Change) -> Draft:
    return draft(change, title=f"sound beside {change.instance.number}")


def save(request: HttpRequest, user_id: int, fault: str) -> HttpResponse:
    """The site's own work: a row, a hook that another app has put behind it, another row."""
    with transaction.atomic() if "atomic" in request.GET else nullcontext():
        order = Order.objects.create(number=fault, customer_id=user_id)
        transaction.on_commit(lambda: Label.objects.create(name=f"hook of {order.pk}"))
        Label.objects.create(name=f"after {order.pk}")
    return JsonResponse({"order": order.pk, "is_atomic": connection.settings_dict["ATOMIC_REQUESTS"]})


def faults(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"fail": list(FAULTS), "told": list(TOLD)})


urlpatterns = [path("faults/", faults), path("save/<int:user_id>/<str:fault>/", save), *urls.urlpatterns]
