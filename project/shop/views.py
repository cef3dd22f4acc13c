"""The shop's pages: forms that post and redirect, so that all of it works without JavaScript."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from notifications import answer
from project.shop import notification_rules
from project.shop.forms import CommentForm, StatusForm
from project.shop.models import Bell, Comment, Order
from project.shop.people import PEOPLE, person

if TYPE_CHECKING:

    class SignedInRequest(HttpRequest):
        user: User

else:
    SignedInRequest = HttpRequest

ARRIVED = {
    "yes": (gettext_lazy("It is here. Thank you."), gettext_lazy("You said that it is here")),
    "no": (gettext_lazy("It is not here yet."), gettext_lazy("You said that it is not here")),
}
"""What a customer says to everybody in the order, and what they are shown instead of the buttons that asked."""
OTHER_LOOPBACK = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}


@require_safe
@never_cache
def welcome(request: HttpRequest) -> HttpResponse:
    """What this is and what to click: two people side by side."""
    mina, noor, *others = PEOPLE
    code = inspect.getsource(notification_rules.order_status_changed)
    context = {
        "mina": mina,
        "noor": noor,
        "others": others,
        "other_origin": other_origin(request),
        "code": code,
        "demo": settings.DEMO,
    }
    return render(request, "shop/welcome.html", context)


def other_origin(request: HttpRequest) -> str:
    """This server under its other loopback name, which has cookies of its own: two people in one browser."""
    parts = urlsplit(request.build_absolute_uri("/"))
    other = OTHER_LOOPBACK.get(parts.hostname or "", "")
    if not other or other not in settings.ALLOWED_HOSTS:
        return ""
    return f"{parts.scheme}://{other}:{parts.port}" if parts.port else f"{parts.scheme}://{other}"


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def sign_in_as(request: HttpRequest, username: str) -> HttpResponse:
    """Signs in as one of the demo's people, without a password; exists only where the setting `DEMO` is true."""
    who = person(username) if settings.DEMO else None
    if who is None:
        raise Http404
    if request.method == "POST":
        user = get_object_or_404(User, username=username, is_active=True)
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        waiting = Order.objects.visible_to(user).exclude(status__in=["delivered", "cancelled"]).first()
        return redirect("orders" if user.is_staff or waiting is None else waiting)
    return render(request, "shop/sign_in_as.html", {"who": who})


@require_safe
def bells(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/bells.html", {"bells": Bell.objects.all()})


@require_POST
@login_required
def place_order(request: SignedInRequest, slug: str) -> HttpResponse:
    order = Order.place(request.user, get_object_or_404(Bell, slug=slug))
    messages.success(request, _("Thank you. Order %(number)s is in the queue.") % {"number": order.number})
    return redirect(order)


@require_safe
@login_required
def orders(request: SignedInRequest) -> HttpResponse:
    visible = Order.objects.visible_to(request.user).select_related("customer").prefetch_related("lines__bell")
    return render(request, "shop/orders.html", {"orders": visible[:50]})


@require_safe
@login_required
def order(request: SignedInRequest, number: int) -> HttpResponse:
    return order_page(request, visible_order(request, number), CommentForm())


def order_page(request: HttpRequest, one: Order, form: CommentForm) -> HttpResponse:
    stations = [(status.value, status.label, place < one.station) for place, status in enumerate(Order.ROUTE)]
    context = {
        "order": one,
        "stations": stations,
        "comments": one.comments.select_related("author"),
        "form": form,
        "status_form": StatusForm(initial={"status": one.status}),
    }
    return render(request, "shop/order.html", context, status=422 if form.errors else 200)


def visible_order(request: HttpRequest, number: int) -> Order:
    orders = Order.objects.visible_to(request.user).numbered(number)
    return get_object_or_404(orders.select_related("customer").prefetch_related("lines__bell", "followers"))


@require_POST
@login_required
def pay(request: SignedInRequest, number: int) -> HttpResponse:
    one = visible_order(request, number)
    if one.customer != request.user:
        raise Http404
    if one.pay():
        messages.success(request, _("Paid. The workshop knows."))
    return redirect(one)


@require_POST
@login_required
def move(request: SignedInRequest, number: int) -> HttpResponse:
    if not request.user.is_staff:
        raise PermissionDenied
    one = visible_order(request, number)
    form = StatusForm(request.POST)
    if form.is_valid() and form.cleaned_data["status"] != one.status:
        one.move_to(form.cleaned_data["status"], by=request.user)
        text = _("Order %(number)s: %(status)s. %(name)s has been told.")
        words = {"number": one.number, "status": one.get_status_display(), "name": one.customer.first_name}
        messages.success(request, text % words)
    return redirect("orders" if request.POST.get("from") == "board" else one)


@require_POST
@login_required
def comment(request: SignedInRequest, number: int) -> HttpResponse:
    one = visible_order(request, number)
    form = CommentForm(request.POST, instance=Comment(order=one, author=request.user))
    if not form.is_valid():
        return order_page(request, one, form)
    with transaction.atomic():
        written = form.save()
    return redirect(f"{reverse('order', args=[one.number])}#comment-{written.pk}")


@require_POST
@login_required
def arrived(request: SignedInRequest, number: int, word: str) -> HttpResponse:
    """The buttons on the notification of a delivered order lead here; a second click says nothing twice."""
    one = visible_order(request, number)
    if one.customer != request.user or one.status != Order.Status.DELIVERED or word not in ARRIVED:
        raise Http404
    said, shown = ARRIVED[word]
    with transaction.atomic():
        if not one.comments.filter(author=request.user, body=str(said)).exists():
            Comment.objects.create(order=one, author=request.user, body=str(said))
        answer(request.POST.get("notification", ""), shown, to=request.user)
    target = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return redirect(target if is_ours else one)
