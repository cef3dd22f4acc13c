"""Bells, orders and what people say about them. Plain Django: nothing here knows of notifications."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from project.shop.signals import order_paid

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

__all__ = ["FIRST_NUMBER", "Bell", "Comment", "Order", "OrderLine"]

FIRST_NUMBER = 1040


class Bell(models.Model):
    slug = models.SlugField(_("slug"), unique=True)
    name = models.CharField(_("name"), max_length=60)
    note = models.CharField(_("note"), max_length=8)
    heard_at = models.PositiveIntegerField(_("heard at (metres)"))
    """How far it carries. The drawing's rings are spaced by it."""
    metal = models.CharField(_("metal"), max_length=40)
    blurb = models.CharField(_("blurb"), max_length=160)
    price = models.DecimalField(_("price"), max_digits=7, decimal_places=2)
    position = models.PositiveSmallIntegerField(_("position"), default=0)

    class Meta:
        verbose_name = _("bell")
        verbose_name_plural = _("bells")
        ordering: ClassVar = ["position", "name"]

    def __str__(self) -> str:
        return self.name

    @property
    def drawing(self) -> list[str]:
        """Templates to try; a bell that staff adds in the admin gets the plain drawing."""
        return [f"shop/drawings/{self.slug}.svg", "shop/drawings/desk-bell.svg"]

    @property
    def rings(self) -> list[int]:
        """Radii, largest first: one ring for every doubling of the distance it is heard at."""
        return [72 + 15 * ring for ring in range(max(1, int(self.heard_at / 10).bit_length()))][::-1]


class OrderQuerySet(models.QuerySet["Order"]):
    def numbered(self, number: int) -> OrderQuerySet:
        return self.filter(pk=number - FIRST_NUMBER)

    def visible_to(self, user: User | AnonymousUser) -> OrderQuerySet:
        """Staff sees every order, everybody else those they placed or follow."""
        if not user.is_authenticated:
            return self.none()
        if user.is_staff:
            return self
        return self.filter(Q(customer=user) | Q(followers=user)).distinct()


class Order(models.Model):
    class Status(models.TextChoices):
        PLACED = "placed", _("Placed")
        CASTING = "casting", _("In the workshop")
        SHIPPED = "shipped", _("On its way")
        DELIVERED = "delivered", _("Delivered")
        CANCELLED = "cancelled", _("Cancelled")

    ROUTE: ClassVar = [Status.PLACED, Status.CASTING, Status.SHIPPED, Status.DELIVERED]

    customer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="orders", verbose_name=_("customer")
    )
    followers = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="followed_orders", verbose_name=_("followers")
    )
    """People beside the customer who read along and are told of comments."""
    status = models.CharField(_("status"), max_length=12, choices=Status, default=Status.PLACED)
    handled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        verbose_name=_("handled by"),
    )
    """Who changed the order last."""
    placed_at = models.DateTimeField(_("placed at"), default=timezone.now)
    paid_at = models.DateTimeField(_("paid at"), null=True, blank=True)

    objects = OrderQuerySet.as_manager()

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return str(_("Order %(number)s")) % {"number": self.number}

    def get_absolute_url(self) -> str:
        return reverse("order", args=[self.number])

    @property
    def number(self) -> int:
        """What people call the order by: nobody likes to be the first customer."""
        return FIRST_NUMBER + int(self.pk)

    @property
    def total(self) -> Decimal:
        return sum((line.total for line in self.lines.all()), Decimal())

    @property
    def is_open(self) -> bool:
        return self.status not in {self.Status.DELIVERED, self.Status.CANCELLED}

    @property
    def next_status(self) -> Order.Status | None:
        """The next station of the route, for the staff's one-click button."""
        if self.status not in self.ROUTE or self.status == self.ROUTE[-1]:
            return None
        return self.ROUTE[self.ROUTE.index(self.Status(self.status)) + 1]

    @property
    def station(self) -> int:
        """How many stations of the route are reached; 0 for a cancelled order."""
        return self.ROUTE.index(self.Status(self.status)) + 1 if self.status in self.ROUTE else 0

    @classmethod
    def place(cls, customer: User, bell: Bell) -> Order:
        with transaction.atomic():
            order = cls.objects.create(customer=customer, handled_by=customer)
            OrderLine.objects.create(order=order, bell=bell, price=bell.price)
        return order

    def move_to(self, status: str, by: User) -> None:
        self.status = status
        self.handled_by = by
        with transaction.atomic():
            self.save(update_fields=["status", "handled_by"])

    def pay(self) -> bool:
        """Whether this call paid the order: a second click does not pay again."""
        with transaction.atomic():
            now = timezone.now()
            if not Order.objects.filter(pk=self.pk, paid_at=None).update(paid_at=now):
                return False
            self.paid_at = now
            order_paid.send(sender=Order, order=self)
        return True


class OrderLine(models.Model):
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines", verbose_name=_("order"))
    bell = models.ForeignKey(Bell, on_delete=models.PROTECT, related_name="+", verbose_name=_("bell"))
    quantity = models.PositiveSmallIntegerField(_("quantity"), default=1)
    price = models.DecimalField(_("price"), max_digits=7, decimal_places=2)
    engraving = models.CharField(_("engraving"), max_length=60, blank=True)

    class Meta:
        verbose_name = _("line")
        verbose_name_plural = _("lines")

    def __str__(self) -> str:
        return f"{self.quantity} × {self.bell}"

    @property
    def total(self) -> Decimal:
        return self.price * self.quantity


class Comment(models.Model):
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="comments", verbose_name=_("order"))
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", verbose_name=_("author"))
    body = models.TextField(_("comment"), max_length=1000)
    created_at = models.DateTimeField(_("written at"), default=timezone.now)

    class Meta:
        verbose_name = _("comment")
        verbose_name_plural = _("comments")
        ordering: ClassVar = ["created_at", "id"]

    def __str__(self) -> str:
        return self.body[:60]

    def readers(self) -> models.QuerySet[User]:
        """Everybody in the order's conversation except who wrote this."""
        order = self.order
        return (
            User.objects.filter(Q(pk=order.customer_id) | Q(followed_orders=order) | Q(pk__in=order.comments.values("author")))
            .exclude(pk=self.author_id)
            .distinct()
        )
