"""The pages of `look.py`: one of Bootstrap's, whose colour mode `?mode=` chooses, besides those of the test site."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from tests.site import urls

__all__ = ["bootstrap", "urlpatterns"]


@login_required
def bootstrap(request: HttpRequest) -> HttpResponse:
    return render(request, "bootstrap.html", {"mode": request.GET.get("mode", "light")})


urlpatterns = [path("bootstrap/", bootstrap), *urls.urlpatterns]
