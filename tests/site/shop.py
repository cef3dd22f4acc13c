"""What the requests of a site do, with or without the app: a signed-in customer's order, as a page.

Imports nothing of notifications, so it is also the URLs and the application of the site without them.
"""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.site.settings")
application = get_asgi_application()

from django.contrib.auth.decorators import login_required  # noqa: E402 - models can be imported from here on
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.template.loader import render_to_string  # noqa: E402
from django.urls import path  # noqa: E402

from tests.site.models import Order  # noqa: E402
from tests.site.transactions import perform  # noqa: E402

__all__ = ["application", "urlpatterns"]


@login_required
def checkout(request: HttpRequest, fate: str, name: str) -> HttpResponse:
    """Under `ATOMIC_REQUESTS`. The answer says when its transaction was committed, if it was."""
    answer = HttpResponse()
    user_id: int = request.user.pk  # type: ignore[assignment]
    earlier = list(Order.objects.filter(customer=user_id).order_by("-pk")[:5])
    perform(fate, user_id, name, committed=lambda at: answer.headers.__setitem__("Committed-At", repr(at)))
    answer.content = render_to_string("checkout.html", {"orders": earlier}, request)
    return answer


urlpatterns = [path("checkout/<str:fate>/<str:name>/", checkout)]
