"""The four people of the demo, by name."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

__all__ = ["PASSWORD", "PEOPLE", "Person", "person"]

PASSWORD = "ring-the-bell"  # noqa: S105  printed by `seed_demo`, for a site on 127.0.0.1


@dataclass(frozen=True)
class Person:
    username: str
    first_name: str
    last_name: str
    is_staff: bool
    role: Promise
    what: Promise


PEOPLE = [
    Person("mina", "Mina", "Castell", False, _("customer"), _("Waits for a ship's bell and wants to know when it leaves.")),
    Person("noor", "Noor", "Rahimi", True, _("workshop"), _("Runs the workshop, moves orders along and answers questions.")),
    Person("teo", "Teo", "Castell", False, _("customer"), _("Mina's brother, follows her order and pays half of it.")),
    Person("jonas", "Jonas", "Falk", True, _("workshop"), _("Casts the bells and knows which one is still warm.")),
]


def person(username: str) -> Person | None:
    return next((one for one in PEOPLE if one.username == username), None)
