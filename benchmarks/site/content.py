"""The notification that everybody sends: 300 bytes of JSON, with the number by which the client knows it again."""

import json
from typing import Any, Final

__all__ = ["BODY", "BYTES", "content"]

BYTES: Final = 300
_FRAME: Final = {"n": 1_000_000, "kind": "bench.news", "title": "Order is 1000000", "body": "", "url": "/orders/1/"}
BODY: Final = "x" * (BYTES - len(json.dumps(_FRAME)))


def content(number: int) -> dict[str, Any]:
    return {"n": number, "kind": "bench.news", "title": f"Order is {number}", "body": BODY, "url": "/orders/1/"}
