from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import include, path

from notifications import anotify, notify
from tests.site.models import Order


@login_required
def page(request: HttpRequest) -> HttpResponse:
    return render(request, "page.html")


async def async_page(request: HttpRequest) -> HttpResponse:
    await request.auser()
    return render(request, "page.html")


def change_order(request: HttpRequest, pk: int, status: str) -> HttpResponse:
    order = Order.objects.get(pk=pk)
    order.status = status
    order.save()
    return JsonResponse({"status": order.status})


def tell(request: HttpRequest, user_id: int, title: str) -> HttpResponse:
    notify("plain", to=user_id, title=title)
    return HttpResponse("told")


async def async_tell(request: HttpRequest, user_id: int, title: str) -> HttpResponse:
    await anotify("plain", to=user_id, title=title)
    return HttpResponse("told")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("", page),
    path("async/", async_page),
    path("orders/<int:pk>/<str:status>/", change_order),
    path("tell/<int:user_id>/<str:title>/", tell),
    path("atell/<int:user_id>/<str:title>/", async_tell),
    path("notifications/", include("notifications.urls")),
]
