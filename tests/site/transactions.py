"""What sites do in a transaction: commit, roll back, raise, roll a savepoint back, save twice, delete.

Knows nothing of notifications, which may be absent: the rules of the site hear of it.
"""

import time
from collections.abc import Callable
from typing import Final

from django.contrib.auth.models import User
from django.db import transaction

from tests.site.models import Order

__all__ = ["FATES", "Deliberate", "perform", "titles"]

FATES: Final = ("commit", "rollback", "exception", "savepoint", "twice", "deleted")


class Deliberate(Exception):
    """The site's own failure, which takes its transaction with it."""


def perform(fate: str, user_id: int, name: str, *, committed: Callable[[float], None], hold: float = 0.0) -> None:
    """Work on an order named `name` (at most 20 characters) of this customer, in the transaction that the caller has opened.

    `committed` hears the time of the commit, before any other hook. `hold`: seconds of the site's other work inside. Raises
    `Deliberate` for "exception".
    """
    transaction.on_commit(lambda: committed(time.time()))
    order = Order.objects.create(number=name, customer=User.objects.get(pk=user_id))
    move = _deleted if fate == "deleted" else _savepoint if fate == "savepoint" else _paid
    move(order)
    if hold:
        time.sleep(hold)  # the rest of the site's work
    if fate == "twice":
        _move(order, "sent")
    elif fate == "rollback":
        transaction.set_rollback(True)
    elif fate == "exception":
        raise Deliberate(name)


def titles(fate: str, name: str) -> list[str]:
    """What the customer is told of it, in order."""
    statuses = {"commit": ["paid"], "savepoint": ["kept"], "twice": ["paid", "sent"]}.get(fate, [])
    return [f"Order {name} was deleted"] if fate == "deleted" else [f"Order {name} is {status}" for status in statuses]


def _paid(order: Order) -> None:
    _move(order, "paid")


def _deleted(order: Order) -> None:
    order.delete()


def _savepoint(order: Order) -> None:
    """What is done inside is undone with it; the transaction goes on."""
    with transaction.atomic():
        _move(order, "undone")
        transaction.set_rollback(True)
    order.refresh_from_db()
    _move(order, "kept")


def _move(order: Order, status: str) -> None:
    order.status = status
    order.save()
