from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import include, path
from django.views.decorators.http import require_POST

from notifications import Text, anotify, answer, notify
from tests.site.counting import statements
from tests.site.models import Order
from tests.site.transactions import perform


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


@require_POST
@login_required
def reply(request: HttpRequest, count: int) -> HttpResponse:
    """Where the buttons of a notification lead."""
    said = Text("%(count)d comment", plural="%(count)d comments", count=count)
    answer(request.POST.get("notification", ""), said, to=request.user)
    return redirect("live_notifications:inbox")


def transact(request: HttpRequest, fate: str, user_id: int, name: str) -> HttpResponse:
    """Under `ATOMIC_REQUESTS`. The answer says when its transaction was committed, if it was."""
    answer = HttpResponse(fate)
    perform(fate, user_id, name, committed=lambda at: answer.headers.__setitem__("Committed-At", repr(at)))
    return answer


def counted(request: HttpRequest) -> JsonResponse:
    """The statements of this process so far."""
    return JsonResponse(statements)


urlpatterns = [
    path("admin/", admin.site.urls),
    path("", page),
    path("async/", async_page),
    path("orders/<int:pk>/<str:status>/", change_order),
    path("tell/<int:user_id>/<str:title>/", tell),
    path("atell/<int:user_id>/<str:title>/", async_tell),
    path("reply/<int:count>/", reply),
    path("transact/<str:fate>/<int:user_id>/<str:name>/", transact),
    path("statements/", counted),
    path("", include("tests.site.shop")),
    path("notifications/", include("notifications.urls")),
]
