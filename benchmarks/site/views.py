"""The site's one page: work that is done within the server process."""

import json

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from benchmarks.site.work import perform

__all__ = ["do"]


@csrf_exempt
def do(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"answer": perform(json.loads(request.body))})
