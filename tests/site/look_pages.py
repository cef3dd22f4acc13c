"""The pages of `look.py`, besides those of the test site: one of Bootstrap's, whose colour mode `?mode=` chooses, and some whose
parts htmx or Turbo puts in each other's place. Kinds whose labels are no words.
"""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from notifications import Kind
from tests.site import urls
from tests.site.hostile import TEXTS

__all__ = ["bootstrap", "swap", "swapped", "urlpatterns"]

for number, text in enumerate(TEXTS):
    Kind(f"hostile.k{number}", label=text)


@login_required
def bootstrap(request: HttpRequest) -> HttpResponse:
    return render(request, "bootstrap.html", {"mode": request.GET.get("mode", "light")})


@login_required
def swap(request: HttpRequest, library: str, number: int) -> HttpResponse:
    return render(request, "swaps.html", {"library": library, "number": number, "others": [1, 2, 3]})


@login_required
def swapped(request: HttpRequest) -> HttpResponse:
    return render(request, "swapped.html", {"library": "htmx"})


urlpatterns = [
    path("bootstrap/", bootstrap),
    path("swaps/htmx/part/", swapped),
    path("swaps/<slug:library>/<int:number>/", swap),
    *urls.urlpatterns,
]
