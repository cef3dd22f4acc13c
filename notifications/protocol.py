"""Wire protocol v1: commands, messages and close codes as typed structs, and what processes tell each other.

Pure: no ORM, layer or clock. `docs/protocol.md` is this file in words. Between browser and server flow `Command`s and
`Message`s as JSON text frames; between processes flows a `WakeUp` inside one signed blob (`ringer.py`).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

__all__ = [
    "COMMAND_BYTES",
    "DELTA_BYTES",
    "DELTA_ROWS",
    "NO_POSITION",
    "RESET_ROWS",
    "SUBPROTOCOL",
    "Ack",
    "Archive",
    "Button",
    "Bye",
    "CloseCode",
    "Command",
    "Delete",
    "Delta",
    "Done",
    "Error",
    "EventCopy",
    "Heartbeat",
    "Hello",
    "Hidden",
    "Item",
    "Message",
    "Position",
    "Presence",
    "Read",
    "Reset",
    "Row",
    "Seen",
    "SessionCheck",
    "Step",
    "Unarchive",
    "Undelete",
    "Unread",
    "WakeUp",
    "Welcome",
    "asking",
    "decode_command",
    "delta",
    "encode",
    "hello",
    "printed",
]

SUBPROTOCOL: Final = "notifications.v1.json"
COMMAND_BYTES: Final = 4096
DELTA_ROWS: Final = 200
DELTA_BYTES: Final = 64 * 1024
RESET_ROWS: Final = 1000
LARGEST_NUMBER: Final = 2**53 - 1  # the largest whole number that a browser holds exactly
IDS_PER_COMMAND: Final = 200


class CloseCode:
    """Why a socket ends. 4000 to 4399 and 4429: come back after `retry_after`; the other 44xx: do not."""

    SLOW: Final = 4008
    RESTART: Final = 4012
    LATER: Final = 4013
    TOO_MANY_SOCKETS: Final = 4029
    BAD_COMMANDS: Final = 4400
    SIGNED_OUT: Final = 4401
    FORBIDDEN: Final = 4403
    TOO_MANY_COMMANDS: Final = 4429


class Position(NamedTuple):
    """Where a page stands in an inbox. On the wire one opaque string, which a client only compares for equality."""

    epoch: str
    top: int

    def __str__(self) -> str:
        return printed(self.epoch, self.top)

    @classmethod
    def parse(cls, text: str) -> "Position | None":
        """The position that `str()` printed; None for anything else, which the server answers with a reset."""
        if text == "0":
            return NO_POSITION
        epoch, dot, top = text.partition(".")
        if not (epoch.isalnum() and dot and text.isascii() and top.isdigit() and len(top) < 20):
            return None
        return cls(epoch, int(top))


def printed(epoch: str, top: int) -> str:
    """The position as it is on the wire."""
    return f"{epoch}.{top}" if epoch else "0"


NO_POSITION: Final = Position("", 0)  # of a user who has no inbox yet

# --- commands: browser to server ---------------------------------------------------------------------------------

Number = Annotated[int, Meta(ge=0, le=LARGEST_NUMBER)]
Ids = Annotated[list[Number], Meta(min_length=1, max_length=IDS_PER_COMMAND)]
Ref = Annotated[str, Meta(max_length=64)]
Word = Annotated[str, Meta(max_length=64)]


class Tagged(Struct, tag=str.lower, tag_field="type"):
    """A frame: its `type` is the class's name in lower case."""


class Hello(Tagged):
    position: Annotated[str, Meta(max_length=64)] = ""
    language: Annotated[str, Meta(max_length=35)] = ""


class Ack(Tagged):
    ack: Word


class Mark(Tagged):
    """A step by the user on the notifications with these `ids`, or on all that arrived up to number `upto`, or on those that the
    step `stamp` touched and nothing has touched since: so a step is undone.
    """

    ids: Ids | None = None
    upto: Number | None = None
    stamp: Number | None = None
    ref: Ref = ""

    def __post_init__(self) -> None:
        if (self.ids, self.upto, self.stamp).count(None) != 2:
            raise ValueError("give one of ids, upto and stamp")


class Read(Mark):
    pass


class Unread(Mark):
    pass


class Archive(Mark):
    pass


class Unarchive(Mark):
    pass


class Delete(Mark):
    pass


class Undelete(Tagged):
    """Not by number: what was deleted in many steps would come back in one."""

    ids: Ids | None = None
    stamp: Number | None = None
    ref: Ref = ""

    def __post_init__(self) -> None:
        if (self.ids is None) == (self.stamp is None):
            raise ValueError("give either ids or stamp")


class Seen(Tagged):
    upto: Number
    ref: Ref = ""


class Heartbeat(Tagged):
    """Both ways: the server's beat tells where the inbox stands; the page's answer needs no position."""

    position: Annotated[str, Meta(max_length=64)] = ""


Command = Hello | Ack | Read | Unread | Archive | Unarchive | Delete | Undelete | Seen | Heartbeat

# --- messages: server to browser ---------------------------------------------------------------------------------


class Button(Struct, frozen=True, kw_only=True):
    """What a notification asks its reader to do: a POST to `url`, a path of this site."""

    label: str
    url: str
    primary: bool


class Item(Struct, frozen=True, kw_only=True):
    """One notification as its reader sees it: texts in the reader's language, plain text, never HTML."""

    id: int
    number: int
    stamp: int
    kind: str
    severity: str
    title: str
    body: str
    url: str
    icon: str
    actor: str
    target: str
    data: dict[str, Any]
    actions: list[Button]
    answer: str
    """What came of an action, to be shown instead of the buttons; empty while nothing has."""
    created_at: datetime
    read: bool
    archived: bool


class Hidden(Struct, frozen=True, kw_only=True):
    """A notification that its user may no longer see: deleted, or taken out of view by the site."""

    id: int
    stamp: int
    hidden: Literal[True] = True


class Welcome(Tagged):
    """`spread_seconds`: after a cut without a goodbye the first try comes at a random moment within it."""

    heartbeat_seconds: int
    spread_seconds: float
    version: int = 1


class Delta(Tagged):
    """What leads from `base` to `position`. With `more`, `position` still equals `base` and another delta follows."""

    base: str
    position: str
    items: list[Item | Hidden]
    ops: tuple[dict[str, int], ...]
    unread: int
    unseen: int
    seen_upto: int
    more: bool = False


class Reset(Tagged):
    """Forget what you have: this is the newest page. `more`: older notifications exist."""

    position: str
    items: list[Item]
    unread: int
    unseen: int
    seen_upto: int
    more: bool


class Done(Tagged):
    """`stamp`: the step that the command took; 0 if it changed nothing."""

    ref: str
    stamp: int


class Error(Tagged):
    ref: str
    code: Literal["bad_command", "unknown_command", "too_large", "binary", "hello_first", "busy", "unavailable"]
    message: str


class Bye(Tagged):
    """The last message: Daphne drops the reason of a close frame, so it is said here. `retry_after` in seconds."""

    code: int
    reason: str
    retry_after: float | None


Message = Welcome | Delta | Reset | Done | Error | Heartbeat | Bye

# --- wake-ups: process to process --------------------------------------------------------------------------------
# A hub decodes thousands of these a second. What the garbage collector need not follow (`gc=False`, tuples) does not bring on its
# look at everything, which stops a process of a thousand sockets for a tenth of a second.


class EventCopy(Struct, array_like=True, frozen=True, gc=False):
    """An event's content as its inbox items are rendered from."""

    kind: str
    content: dict[str, Any]
    created_at: datetime


class Row(Struct, array_like=True, frozen=True, gc=False):
    """The state of one notification after a step."""

    event: int
    number: int
    stamp: int
    read: bool = False
    archived: bool = False
    deleted: bool = False
    answer: str | dict[str, Any] | None = None
    """A text as `rules.render_text()` takes it."""


class Step(Struct, array_like=True, frozen=True, gc=False):
    """Consecutive steps of one inbox: from `base` to `top`. `rows` None: too much to carry, read it back."""

    user: str
    epoch: str
    base: int
    top: int
    unread: int
    unseen: int
    seen_upto: int
    rows: tuple[Row, ...] | None
    ops: tuple[dict[str, int], ...] = ()


class SessionCheck(Struct, array_like=True, frozen=True):
    """`session` (a hash of its key, or empty for all of the user's) has ended, or with `ask` may have ended. `user` empty:
    that session, whosever it was."""

    user: str
    session: str = ""
    ask: bool = False


class Presence(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hub's answer to a roll call. `process` is `host:pid`."""

    hub: str
    process: str
    sockets: int = 0
    behind: int = 0


class WakeUp(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`events`: content by event id, each once. `pending`: events wait for a relay. `echo`: a hub listens to itself.

    `roll_call`: every hub is asked to say by `present` that it is there. A field that an older release does not know, it ignores.
    """

    steps: list[Step] = []
    events: dict[int, EventCopy] = {}
    sessions: list[SessionCheck] = []
    pending: bool = False
    echo: str = ""
    roll_call: bool = False
    present: list[Presence] = []


_decoder = msgspec.json.Decoder(Command)
_encoder = msgspec.json.Encoder()


def decode_command(frame: str) -> Command:
    """The command in a text frame. Raises `msgspec.DecodeError` (its subclass `ValidationError` for wrong fields)."""
    command: Command = _decoder.decode(frame)
    return command


def hello(*, position: str, language: str) -> Hello:
    """What a page says that has no socket to say it by. Raises `msgspec.ValidationError`."""
    return msgspec.convert({"type": "hello", "position": position, "language": language}, Hello)


def encode(message: Message) -> str:
    """The text frame of a message."""
    return _encoder.encode(message).decode()


def delta(
    *,
    base: str,
    position: str,
    items: Iterable[bytes],
    ops: tuple[dict[str, int], ...],
    unread: int,
    unseen: int,
    seen_upto: int,
    more: bool = False,
) -> str:
    """The text frame of a `Delta` whose items are JSON already, in a quarter of the time. Positions are an inbox's own."""
    return (
        f'{{"type":"delta","base":"{base}","position":"{position}","items":[{b",".join(items).decode()}],'
        f'"ops":{_encoder.encode(ops).decode() if ops else "[]"},"unread":{unread},"unseen":{unseen},"seen_upto":{seen_upto},'
        f'"more":{"true" if more else "false"}}}'
    )


def asking(frame: str, ack: str) -> str:
    """The frame of a delta or reset with an `ack` that the page shall send back."""
    return f'{frame[:-1]},"ack":"{ack}"}}'
