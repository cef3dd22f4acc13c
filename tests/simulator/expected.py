"""What every inbox must hold, by the simulation's own book-keeping: nothing here asks the product."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ACTIONS", "UNDO", "Expected", "State"]


@dataclass
class State:
    read: bool = False
    archived: bool = False
    deleted: bool = False
    touched: int = 0
    """The serial number of the mark that changed it last."""

    @property
    def is_unread(self) -> bool:
        return not (self.read or self.archived or self.deleted)


ACTIONS: dict[str, tuple[str, bool]] = {
    "read": ("read", True),
    "unread": ("read", False),
    "archive": ("archived", True),
    "unarchive": ("archived", False),
    "delete": ("deleted", True),
    "undelete": ("deleted", False),
}
UNDO = {
    "read": "unread",
    "unread": "read",
    "archive": "unarchive",
    "unarchive": "archive",
    "delete": "undelete",
    "undelete": "delete",
}


@dataclass
class Expected:
    """By user: the titles in the order of their commits, each with its state."""

    inboxes: dict[str, dict[str, State]]
    hidden: set[tuple[str, str]] = field(default_factory=set)
    """`(user, title)` that the site lets this user not see just now."""
    was_hidden: set[tuple[str, str]] = field(default_factory=set)
    """... and at any time: nobody is told of such a change, so a page may still show what it was given, or not yet."""
    marks: int = 0
    """How many have changed something."""

    def commit(self, title: str, users: Iterable[str]) -> None:
        for user in users:
            if (user, title) not in self.hidden:
                self.inboxes[user][title] = State()

    def mark(self, user: str, action: str, titles: Iterable[str]) -> int:
        """Returns the serial number of this mark, which `touched_by` takes; 0 if nothing changed."""
        name, value = ACTIONS[action]
        states = [self.inboxes[user][title] for title in titles]
        changed = [each for each in states if each.deleted is (action == "undelete") and getattr(each, name) is not value]
        self.marks += bool(changed)
        for state in changed:
            setattr(state, name, value)
            state.touched = self.marks
        return self.marks if changed else 0

    def touched_by(self, user: str, mark: int) -> list[str]:
        """The titles that this mark changed and no later one has."""
        return [title for title, state in self.inboxes[user].items() if state.touched == mark]

    def titles(self, user: str, is_so: Callable[[State], Any]) -> list[str]:
        """Those in this state which the user may see, newest first."""
        found = [title for title, state in self.inboxes[user].items() if is_so(state)]
        return [title for title in reversed(found) if (user, title) not in self.hidden]

    def unread(self, user: str) -> int:
        return sum(state.is_unread for state in self.inboxes[user].values())

    def copy(self) -> "Expected":
        return copy.deepcopy(self)
