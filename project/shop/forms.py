from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from project.shop.models import Comment, Order

__all__ = ["CommentForm", "StatusForm"]


class CommentForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Comment
        fields = ("body",)
        labels = {"body": _("Write to everybody in this order")}  # noqa: RUF012
        widgets = {"body": forms.Textarea(attrs={"rows": 2, "placeholder": _("Will it be in time for Saturday?")})}  # noqa: RUF012


class StatusForm(forms.Form):
    status = forms.ChoiceField(label=_("Status"), choices=Order.Status.choices)
