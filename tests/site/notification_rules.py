"""What the host project declares, in the README's words."""

from typing import Any

from django.utils.translation import gettext_noop as _

from notifications import Change, Draft, Kind, Text, rule, signal_rule
from tests.site.models import Order, Ticket, order_paid

plain = Kind("plain")
order_status = Kind("order.status", label="Order status")
order_life = Kind("order.life", label="Orders")
staff_only = Kind("staff.only", visible_to=lambda users, event: users.filter(is_staff=True))


@rule(Order, updated={"status"})
def status_changed(change: Change) -> Draft | None:
    if change.instance.customer is None:
        return None
    return Draft(
        order_status,
        to=change.instance.customer,
        target=change.instance,
        title=Text(_("Order %(number)s is %(status)s"), number=change.instance.number, status=change.new["status"]),
        url=change.instance.get_absolute_url(),
    )


@rule(Order, deleted=True)
def order_deleted(change: Change) -> Draft | None:
    if change.instance.customer is None:
        return None
    return Draft(order_life, to=change.instance.customer, target=change.instance, title=f"{change.instance} was deleted")


@rule(Ticket, updated={"state"})
def ticket_moved(change: Change) -> Draft:
    return Draft(plain, to=change.instance.owner, title=f"Ticket is {change.new['state']}")


@signal_rule(order_paid)
def paid(sender: Any, order: Order, **_: Any) -> Draft:
    return Draft(order_life, to=order.customer, title=f"{order} is paid", severity="success")
