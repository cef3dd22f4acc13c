"""What each socket of a hub is sent: a step at once where it fits, else what a look at the database brings.

A step is sent on to every socket whose page stands exactly where it starts; every other socket is *behind*, and one routine
brings whatever is behind forward. `stream.py` decides, `replays.py` reads, `frames.py` makes the text, `sockets.py` sends it.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from notifications.frames import Frame, Letters, Shared, answered
from notifications.inbox import Page, read_page
from notifications.logs import is_due
from notifications.protocol import CloseCode, Position, Step, asking
from notifications.replays import Replay, replay
from notifications.sockets import Socket
from notifications.stream import Verdict
from notifications.workers import Patience, Worker

__all__ = ["NOWHERE", "USERS_PER_QUERY", "Delivery"]

logger = logging.getLogger(__name__)

USERS_PER_QUERY: Final = 500
USERS_PER_LOOK: Final = 200  # of a crowd: those who have come first need not wait for the last, nor anybody else for all of them
NOWHERE: Final = Position("?", 0)  # where a page stands that says nothing we know: in an epoch that no inbox has


class Delivery:
    """`sockets` by user, a live view. For the hub's loop only."""

    def __init__(self, sockets: Mapping[str, set[Socket]], reader: Worker) -> None:
        self._sockets = sockets
        self._reader = reader
        self._behind: dict[Socket, None] = {}
        """In the order of their coming, so that nobody who comes again and again goes first."""
        self._patience = Patience()
        """What falls behind within it shares one look at the database. Hellos and joins stretch it, gaps do not."""
        self._is_behind = asyncio.Event()

    @property
    def behind(self) -> int:
        """How many sockets wait for a look at the database."""
        return len(self._behind)

    def hello(self, socket: Socket, position: Position | None, language: str) -> None:
        """The page says where it stands (None: nowhere that we know) and in which language it reads."""
        socket.language = language
        socket.is_listening = True
        socket.stream.stand_at(*(position or NOWHERE))
        self._patience.came()
        self._fell_behind(socket)

    def hear(self, steps: Iterable[Step], letters: Letters) -> None:
        """Offer the steps of a wake-up to the sockets of their users.

        All frames are made before the first leaves: a thousand sends without anything between them cost a quarter less each.
        """
        sockets: list[Socket] = []  # two lists: a thousand pairs are a thousand for the garbage collector
        texts: list[str] = []
        for step in steps:
            for socket in self._sockets.get(step.user, ()):
                if socket.is_listening:
                    frame = self._offered(socket, step, letters)
                    if frame is not None:
                        sockets.append(socket)
                        texts.append(_counted(socket, frame, step.epoch, step.top))
        for socket, text in zip(sockets, texts, strict=True):
            try:
                _push(socket, text)
            except Exception as error:  # noqa: BLE001 - whatever a server raises: the others' frames have been counted too
                _log(error)
                socket.end(CloseCode.RESTART, "lost", 0.0)  # it has not had what its stream says it has

    def lost_track(self, socket: Socket) -> None:
        """What the page has may not be all: look."""
        socket.stream.miss()
        self._fell_behind(socket)

    def look_again(self, user: str) -> None:
        """The user's group has been joined: something may have been rung before."""
        self._patience.came()
        for socket in self._sockets.get(user, ()):
            if socket.is_listening:
                self.lost_track(socket)

    def reopened(self, socket: Socket) -> None:
        """The socket can take more: an acknowledgement came, or a slow send has finished."""
        if socket.stream.is_behind and socket.stream.is_open:
            self._fell_behind(socket)

    def remove(self, socket: Socket) -> None:
        self._behind.pop(socket, None)

    async def heal(self) -> None:
        """Bring forward whatever is behind, all of the same moment in one look."""
        await self._is_behind.wait()
        await self._patience.gather()
        self._is_behind.clear()
        sockets = self._chosen()
        if self._behind:
            self._is_behind.set()  # the rest is for the next look
        try:
            await self._look(sockets)
        except Exception:
            for socket in sockets:
                self._fell_behind(socket)
            raise

    def _offered(self, socket: Socket, step: Step, letters: Letters) -> Frame | None:
        """What the socket is to be sent of this step now: nothing if it has it, or shall have it by a look."""
        stream = socket.stream
        verdict = stream.offer(step.epoch, step.base, step.top)
        if verdict is Verdict.DROP:
            return None
        frame = None
        if verdict is Verdict.SEND:
            try:
                frame = letters.frame(step, socket.language, from_nowhere=not stream.epoch)
            except Exception as error:  # noqa: BLE001 - content of another release, a broken catalogue: nobody else's fault
                _log(error)
        if frame is None:
            self.lost_track(socket)
        return frame

    def _fell_behind(self, socket: Socket) -> None:
        self._behind[socket] = None
        self._is_behind.set()

    def _chosen(self) -> list[Socket]:
        """Take out of those behind the ones that one look serves: one cursor a user. Those with a shut window are not behind:
        `reopened()` brings them back."""
        cursors: dict[str, Any] = {}
        chosen = []
        for socket in tuple(self._behind):
            user = socket.identity.user
            if not socket.stream.is_open:
                del self._behind[socket]
            elif cursors.get(user) == socket.cursor or (user not in cursors and len(cursors) < USERS_PER_LOOK):
                cursors[user] = socket.cursor
                chosen.append(socket)
                del self._behind[socket]
        return chosen

    async def _look(self, sockets: list[Socket]) -> None:
        before = {socket: (socket.cursor, socket.language) for socket in sockets}
        for socket in sockets:
            socket.stream.look()
        answers = await self._reader.run(replay, {socket.identity.user_id: socket.cursor for socket in sockets})
        torn = {(each.identity.user_id, each.language) for each in sockets if answers[each.identity.user_id].rows is None}
        pages = await self._reader.run(_read_pages, torn) if torn else {}
        # No `await` from here on: what a socket's position was a moment ago, it still is.
        frames: dict[Any, list[Frame]] = {}
        known: Shared = {}
        for socket in sockets:
            if socket not in self._sockets.get(socket.identity.user, ()):
                continue
            if before[socket] != (socket.cursor, socket.language):
                self._fell_behind(socket)  # it said hello again meanwhile
                continue
            key = (socket.identity.user_id, socket.language, socket.position, socket.stream.owes_answer)
            answer = answers[socket.identity.user_id]
            if key not in frames:
                frames[key] = _frames(socket, answer, pages, known)
            position = Position.parse(pages[key[:2]].position) if answer.rows is None else answer.state.position
            self._bring_forward(socket, frames[key], position or NOWHERE, is_partial=answer.is_partial)

    def _bring_forward(self, socket: Socket, frames: Iterable[Frame], position: Position, *, is_partial: bool) -> None:
        for frame in frames:
            if not socket.stream.is_open:
                return  # still behind; reopened() goes on from the cursor
            _push(socket, _counted(socket, frame, *position))
            if socket.stream.must_start_over:
                self.hello(socket, None, socket.language)
                return
        if is_partial or not socket.stream.caught_up():
            self._fell_behind(socket)


def _counted(socket: Socket, frame: Frame, epoch: str, top: int) -> str:
    """The frame's text as this socket is sent it next, once its stream has noted it down."""
    stream, text, size = socket.stream, frame.text, len(frame.text)
    if frame.upto is not None:
        stream.sent_part(*frame.upto, steps=frame.steps, size=size)
    else:
        stream.sent(epoch=epoch, top=top, steps=frame.steps, size=size)
    if stream.must_ask:
        ack = secrets.token_urlsafe(6)  # only somebody who has read the frame can send it back
        stream.asked(ack, now=time.monotonic())
        text = asking(text, ack)
    return text


def _push(socket: Socket, text: str) -> None:
    socket.push(text)
    if socket.stream.must_end:
        socket.end(CloseCode.RESTART, "go on from here", 0.0)


def _log(error: Exception) -> None:
    if is_due("frame_failed", type(error).__name__):
        logger.error("frame_failed error=%r", error, exc_info=error)


def _read_pages(wanted: Iterable[tuple[Any, str]]) -> dict[tuple[Any, str], Page]:
    return {(user_id, language): read_page(user_id, language=language) for user_id, language in wanted}


def _frames(socket: Socket, answer: Replay, pages: Mapping[tuple[Any, str], Page], known: Shared) -> list[Frame]:
    page = pages[socket.identity.user_id, socket.language] if answer.rows is None else None
    if page is None and answer.state.position == socket.position and not socket.stream.owes_answer:
        return []
    return answered(socket.position, answer, page, socket.language, known)
