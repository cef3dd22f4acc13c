"""The site's word on who may see an event: `Kind.visible_to`, asked at fan-out and again whenever a row is read."""

from collections.abc import Collection
from typing import Any

from django.contrib.auth import get_user_model
from django.db import router, transaction
from django.db.models import QuerySet

from notifications.models import Event
from notifications.rules import registry

__all__ = ["is_restricted", "may_see", "restricted_kinds", "users"]


def users() -> "QuerySet[Any]":
    """All users, on the database where they are written: a replica may not know the newest."""
    user_model = get_user_model()
    return user_model._base_manager.using(router.db_for_write(user_model))


def is_restricted(event: Event) -> bool:
    kind = registry.kinds.get(event.kind)
    return kind is not None and kind.visible_to is not None


def restricted_kinds() -> list[str]:
    return [kind.name for kind in list(registry.kinds.values()) if kind.visible_to is not None]


def may_see(event: Event, user_ids: Collection[Any]) -> set[Any]:
    """Those of the users who may see the event, and nobody else, whatever the site's queryset contains. One query, if any.

    Raises what the site's code raises; it runs in a savepoint, so that its failure spoils no transaction.
    """
    kind = registry.kinds.get(event.kind)
    if kind is None or kind.visible_to is None:
        return set(user_ids)
    asked = users().filter(pk__in=user_ids)
    with transaction.atomic(using=asked.db):
        return set(user_ids) & set(kind.visible_to(asked, event).values_list("pk", flat=True))
