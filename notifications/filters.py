"""What a reader looks for in a list: kind, severity, words. `inbox.read_page()` asks the database for the first two, and what it
then shows for the words.
"""

import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from django.db import router

from notifications.models import Notification
from notifications.protocol import Item
from notifications.querysets import NotificationQuerySet
from notifications.rules import KIND_NAME, SEVERITIES, registry

__all__ = ["EVERYTHING", "SEARCH_CHARACTERS", "Filter", "kinds"]

SEARCH_CHARACTERS: Final = 100
KINDS_ROWS: Final = 2000  # of which the kinds are looked up: 3 ms


@dataclass(frozen=True)
class Filter:
    """A list shows what fits each part that is given. Raises `ValueError` for what no notification can have."""

    kind: str = ""
    """The name of a kind, whether or not it is declared: an old page may still know one that is gone."""
    severity: str = ""
    search: str = ""
    """As the reader typed it: each of its words must occur in what they see, in their language."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "search", self.search.strip())
        if self.kind and not (KIND_NAME.fullmatch(self.kind) and len(self.kind) <= 100):
            raise ValueError("kind is lower-case words joined by dots")
        if self.severity and self.severity not in SEVERITIES:
            raise ValueError("severity is one of " + ", ".join(SEVERITIES))
        if len(self.search) > SEARCH_CHARACTERS:
            raise ValueError(f"a search has at most {SEARCH_CHARACTERS} characters")

    @property
    def is_set(self) -> bool:
        return bool(self.kind or self.severity or self.search)

    @cached_property
    def words(self) -> list[str]:
        return _folded(self.search).split()

    def narrowed(self, rows: NotificationQuerySet) -> NotificationQuerySet:
        """Those of the kind and the severity. The words are for `fits()`: the database holds message ids and parameters."""
        if self.kind:
            rows = rows.filter(event__kind=self.kind)
        if self.severity:
            rows = rows.filter(event__content__severity=self.severity)
        return rows

    def fits(self, item: Item) -> bool:
        if not self.words:
            return True
        text = _folded(f"{item.title}\n{item.body}\n{item.actor}\n{item.target}")
        return all(word in text for word in self.words)


EVERYTHING: Final = Filter()


def kinds(user_id: Any) -> dict[str, str]:
    """The labels of the kinds that the user has notifications of, by name, in the labels' order. One query.

    Of an inbox with more than `KINDS_ROWS` also of those that anybody may have: it is not read to the end to learn which. A
    kind without a label says nothing to a reader.
    """
    rows = Notification.objects.using(router.db_for_write(Notification)).of(user_id)
    found = list(rows.values_list("event__kind", flat=True)[: KINDS_ROWS + 1])
    own, is_long = set(found), len(found) > KINDS_ROWS
    labels = {
        kind.name: str(kind.label)
        for kind in registry.kinds.values()
        if kind.name in own or (is_long and kind.visible_to is None)
    }
    return dict(sorted(((name, label) for name, label in labels.items() if label), key=lambda each: each[1].casefold()))


def _folded(text: str) -> str:
    """Without what a person who searches does not mean: capitals, and one letter written in two ways."""
    return unicodedata.normalize("NFKC", text).casefold()
