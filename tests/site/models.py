"""Models that the tests' rules watch."""

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.dispatch import Signal

order_paid = Signal()


class Label(models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    number = models.CharField(max_length=20, default="1")
    status = models.CharField(max_length=20, default="new")
    amount = models.IntegerField(default=0)
    due = models.DateField(null=True)
    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True)
    labels: Any = models.ManyToManyField(Label, related_name="orders")

    def __str__(self) -> str:
        return f"Order {self.number}"

    def get_absolute_url(self) -> str:
        return f"/orders/{self.pk}/"


class ExpressOrder(Order):
    class Meta:
        proxy: ClassVar[bool] = True


class GiftOrder(Order):
    """A subclass with a table of its own."""

    wish = models.CharField(max_length=100, default="")


class Labelled(models.Model):
    labels: Any = models.ManyToManyField(Label)
    name = models.CharField(max_length=20, default="")

    class Meta:
        abstract = True


class Box(Labelled):
    parts: Any = models.ManyToManyField("self", symmetrical=False, related_name="wholes")

    def __str__(self) -> str:
        return self.name


class Ticket(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    state = models.CharField(max_length=20, default="open")

    def __str__(self) -> str:
        return str(self.pk)
