"""What the shop tells whoever listens."""

from django.dispatch import Signal

__all__ = ["order_paid"]

order_paid = Signal()
"""Sent inside the transaction of the payment, with `order`."""
