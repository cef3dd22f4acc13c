"""Signals. The public ones are for the site; the private ones carry, on commit, what was written to those who tell it on.

All arguments arrive by keyword; receivers of the public ones run after commit and cannot break the sender: an error in
one is logged and the others still run.
"""

from django.dispatch import Signal

__all__ = ["inbox_changed", "notification_created", "socket_closed", "socket_opened"]

notification_created = Signal()
"""After a relay's commit, once an event and chunk of recipients: `event`, `recipient_ids` (list of user primary keys)."""

inbox_changed = Signal()
"""After an inbox took steps: `user_id`, `unread`, `unseen`."""

socket_opened = Signal()
"""A socket, or an event stream in its place, has been authenticated: `user_id`. Sent in the server's event loop: receivers must
not block."""

socket_closed = Signal()
"""A socket that was opened is gone: `user_id`, `code` (int). Sent in the server's event loop."""

event_committed = Signal()
"""Private. An event waits for the relay: `using`, `wide` (bool)."""

inbox_stepped = Signal()
"""Private. A user's own step is committed: `wake_up`."""
