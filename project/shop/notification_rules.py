"""Which changes of the shop people hear about. Found by itself in every installed app, as `admin.py` is."""

from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from notifications import Action, Draft, Kind, Text, rule, signal_rule
from project.shop.models import Comment, Order
from project.shop.signals import order_paid

order_status = Kind("order.status", label=_("Order status"), icon="truck")
order_comment = Kind("order.comment", label=_("Comments on orders"), icon="comment")
order_money = Kind("order.paid", label=_("Payments"), severity="success", icon="check")

TITLES = {
    "placed": _("Order %(number)s is back in the queue"),
    "casting": _("Order %(number)s is in the workshop"),
    "shipped": _("Order %(number)s is on its way"),
    "delivered": _("Order %(number)s has arrived"),
    "cancelled": _("Order %(number)s is cancelled"),
}


@rule(Order, updated={"status"})
def order_status_changed(change):
    order = change.instance
    return Draft(
        order_status,
        to=order.customer,
        actor=order.handled_by,
        title=Text(TITLES[change.new["status"]], number=order.number),
        url=order.get_absolute_url(),
        actions=is_it_here(order),
    )


def is_it_here(order: Order) -> list[Action]:
    if order.status != Order.Status.DELIVERED:
        return []
    yes, no = (reverse("order-arrived", args=[order.number, word]) for word in ("yes", "no"))
    return [Action(_("It is here"), yes, primary=True), Action(_("It is not here"), no)]


@rule(Comment, created=True)
def order_commented(change):
    comment = change.instance
    return Draft(
        order_comment,
        to=comment.readers(),
        actor=comment.author,
        title=Text(_("%(name)s on order %(number)s"), name=comment.author.first_name, number=comment.order.number),
        body=comment.body,
        url=f"{comment.order.get_absolute_url()}#comment-{comment.pk}",
    )


@signal_rule(order_paid)
def workshop_hears_of_payment(sender, order, **kwargs):
    return Draft(
        order_money,
        to=Group.objects.get(name="Workshop"),
        actor=order.customer,
        title=Text(_("Order %(number)s is paid"), number=order.number),
        url=order.get_absolute_url(),
    )
