"""For the tests of sites: deliver what is pending in the test's own connection, so that a plain `TestCase` is enough."""

from typing import Any

from notifications.models import Notification
from notifications.outbox import event_alias
from notifications.relay import relay

__all__ = ["deliver"]


def deliver() -> list[Notification]:
    """Relay every pending event now and return the notifications that this made, in the order in which they were made.

    In a `TestCase` nothing commits, so nothing is relayed by itself: call this where the site's user would have waited.
    Raises what the relay raises; an event that fails by itself stays pending and is logged.
    """
    alias = event_alias()
    before: Any = Notification.objects.using(alias).order_by("-pk").values_list("pk", flat=True).first()
    relay(alias)
    made = Notification.objects.using(alias).filter(pk__gt=before or 0).select_related("event", "recipient")
    return list(made.order_by("pk"))
