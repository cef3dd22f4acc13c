"""Fills the demo shop: bells, people, orders, a conversation. Running it again changes nothing that is there."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, Permission, User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from project.shop.models import Bell, Comment, Order, OrderLine
from project.shop.people import PASSWORD, PEOPLE

BELLS = [
    ("ships-bell", "Ship's bell", "C5", 900, "Bell bronze", "Turned by hand, with a rope woven here.", "189.00"),
    ("desk-bell", "Desk bell", "A6", 30, "Spun brass", "One tap, one clear answer.", "34.00"),
    ("bicycle-bell", "Bicycle bell", "E6", 80, "Spun brass", "A long, polite ring for narrow lanes.", "42.00"),
    ("hand-bell", "Hand bell", "G5", 250, "Bell bronze", "Calls a whole garden in for supper.", "78.00"),
    ("cow-bell", "Alpine bell", "D4", 1200, "Forged steel", "Made to be found in fog.", "96.00"),
    ("singing-bowl", "Singing bowl", "F3", 15, "Bronze", "Strikes once and stays for a minute.", "120.00"),
]


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--address", default="", help="Print where the site is served and the logins, for `make demo`.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("This makes people whose password everybody knows. Set DEMO=1 if this is a demo.")
        with transaction.atomic():
            people = self.make_people()
            bells = self.make_bells()
            if not Order.objects.exists():
                self.make_orders(people, bells)
        if options["address"]:
            self.say_where(options["address"])

    def make_people(self) -> dict[str, User]:
        workshop, _ = Group.objects.get_or_create(name="Workshop")
        apps = ["shop", "live_notifications"]
        workshop.permissions.set(Permission.objects.filter(content_type__app_label__in=apps))
        users = {}
        for one in PEOPLE:
            user, is_new = User.objects.get_or_create(
                username=one.username,
                defaults={
                    "first_name": one.first_name,
                    "last_name": one.last_name,
                    "email": f"{one.username}@example.com",
                    "is_staff": one.is_staff,
                },
            )
            if is_new:
                user.set_password(PASSWORD)
                user.save(update_fields=["password"])
            if one.is_staff:
                user.groups.add(workshop)
            users[one.username] = user
        return users

    def make_bells(self) -> dict[str, Bell]:
        bells = {}
        for position, (slug, name, note, heard_at, metal, blurb, price) in enumerate(BELLS):
            values = {
                "name": name,
                "note": note,
                "heard_at": heard_at,
                "metal": metal,
                "blurb": blurb,
                "price": Decimal(price),
                "position": position,
            }
            bells[slug], _ = Bell.objects.get_or_create(slug=slug, defaults=values)
        return bells

    def make_orders(self, people: dict[str, User], bells: dict[str, Bell]) -> None:
        """Oldest first. `bulk_create` sends no signals: the seed's past is nobody's news."""
        mina, noor, teo, jonas = (people[name] for name in ("mina", "noor", "teo", "jonas"))
        now = timezone.now()
        status = Order.Status
        past = [
            (mina, status.DELIVERED, 41, 40, [("desk-bell", 1, "")]),
            (teo, status.SHIPPED, 6, 6, [("bicycle-bell", 2, "")]),
            (teo, status.PLACED, 1, None, [("hand-bell", 1, "Supper!")]),
            (mina, status.CASTING, 3, 3, [("ships-bell", 1, "S/Y Halcyon · 1962"), ("desk-bell", 1, "")]),
        ]
        orders = []
        for customer, state, days, paid_days, lines in past:
            order = Order(
                customer=customer,
                status=state,
                handled_by=noor,
                placed_at=now - timedelta(days=days, hours=2),
                paid_at=None if paid_days is None else now - timedelta(days=paid_days),
            )
            Order.objects.bulk_create([order])
            OrderLine.objects.bulk_create(
                OrderLine(order=order, bell=bells[slug], quantity=quantity, price=bells[slug].price, engraving=engraving)
                for slug, quantity, engraving in lines
            )
            orders.append(order)
        halcyon = orders[-1]
        halcyon.followers.set([teo, jonas])
        said = [
            (mina, 2, "Could the engraving have a small dot between name and year? It is for our father's boat."),
            (noor, 1, "Of course. Jonas pours on Thursday, so there is time to change the pattern."),
            (jonas, 0, "Poured this morning. It sounds a shade under C, which suits a boat."),
        ]
        Comment.objects.bulk_create(
            Comment(order=halcyon, author=author, body=body, created_at=now - timedelta(days=days, hours=1))
            for author, days, body in said
        )

    def say_where(self, address: str) -> None:
        width = max(len(one.username) for one in PEOPLE)
        lines = [f"  Open  {address}", "", f"  Logins (password for all: {PASSWORD})"]
        lines += [f"    {one.username:{width}}  {one.role}: {one.what}" for one in PEOPLE]
        self.stdout.write("\n".join(["", *lines, ""]))
