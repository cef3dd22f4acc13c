"""What came of an action: shown to people instead of the buttons, in their languages, on every page and device of theirs.

The site's view that a button posts to says it here; `steps.py` takes the steps.
"""

from typing import Any, Final

import msgspec
from asgiref.sync import sync_to_async
from django.utils.functional import Promise

from notifications.outbox import user_ids
from notifications.protocol import LARGEST_NUMBER
from notifications.rules import Text, stored_text
from notifications.steps import set_answer

__all__ = ["ANSWER_BYTES", "aanswer", "answer"]

ANSWER_BYTES: Final = 1024  # a line or two; each row that is told or replayed carries its own


def answer(notification: int | str, text: str | Promise | Text, *, to: Any) -> None:
    """Show `text` instead of the buttons to those of `to` who have the notification, which is read then.

    `notification`: its id, as the button has posted it; one that is missing, no number, or of others only is passed over. `to`:
    a user, a queryset of users, or an iterable of users and ids. Each inbox takes one step, in a short transaction of its own
    and in the order of the user ids. An answer takes the place of an earlier one.

    Inside an open transaction it happens on commit. Raises `TypeError` or `ValueError` for bad arguments, among them groups,
    more than 10,000 users, and a text that is empty or, with its parameters, of more than 1 KiB.
    """
    stored, users, event_id = _stored(text), user_ids(to), _event_id(notification)
    if users and event_id is not None:
        set_answer(users, event_id, stored)


async def aanswer(notification: int | str, text: str | Promise | Text, *, to: Any) -> None:
    """`answer()` from a coroutine."""
    await sync_to_async(answer)(notification, text, to=to)


def _stored(text: str | Promise | Text) -> Any:
    if not isinstance(text, str | Promise | Text):
        raise TypeError(f"an answer is text, not {type(text).__name__}")
    encoded = msgspec.json.encode(stored_text(text))
    if len(encoded) > ANSWER_BYTES:
        raise ValueError(f"an answer holds at most {ANSWER_BYTES} bytes, this one {len(encoded)}")
    stored = msgspec.json.decode(encoded)  # as the database will give it back
    if not (stored if isinstance(stored, str) else stored["id"]):
        raise ValueError("an answer needs a text")
    return stored


def _event_id(notification: int | str) -> int | None:
    """The id; None for a string or number that nothing can have, since whoever posts a form may write what they like."""
    if isinstance(notification, bool) or not isinstance(notification, int | str):
        raise TypeError(f"a notification is named by its id, not by {type(notification).__name__}")
    text = str(notification)
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_NUMBER))):
        return None
    return int(text)
