"""One WebSocket: handshake, hello, commands, limits. The hub delivers; here the connection is owned.

The reader never waits for the database: commands that need it queue, at most 32 a socket, and run one after the other beside it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from notifications import direct, steps
from notifications.authority import Refusal
from notifications.hub import HEARTBEAT_SECONDS, Hub
from notifications.items import site_language
from notifications.logs import is_due
from notifications.protocol import (
    COMMAND_BYTES,
    SUBPROTOCOL,
    Ack,
    Bye,
    CloseCode,
    Done,
    Error,
    Heartbeat,
    Hello,
    Message,
    Position,
    Seen,
    Undelete,
    Welcome,
    decode_command,
    encode,
)
from notifications.session import is_own_origin, session_key
from notifications.signals import socket_closed, socket_opened
from notifications.sockets import Socket
from notifications.transports import Transport

__all__ = ["NotificationConsumer"]

logger = logging.getLogger(__name__)

COMMANDS_PER_SECOND: Final = 10.0
COMMANDS_AT_ONCE: Final = 30.0
COMMANDS_WAITING: Final = 32
BAD_COMMANDS: Final = 3
GOODBYE_SECONDS: Final = 1.0  # for a peer that does not read
LINGER_SECONDS: Final = 1.0  # for the peer's own close frame; then the line is cut
ABUSE: Final = (CloseCode.TOO_MANY_COMMANDS, CloseCode.BAD_COMMANDS, CloseCode.SLOW)  # nothing more is read after these


class NotificationConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Protocol v1 for one socket. It takes no channel of its own from the layer: the hub alone is a member of groups."""

    channel_layer_alias = None

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Read until one side closes. Channels' own loop and `dispatch` would cost a task and a thread hop a message."""
        self.scope, self.base_send = scope, send
        self.transport = Transport(send)
        self.hub = Hub.running()
        self.socket: Socket | None = None
        self.close_code = 0  # once it is set the socket has ended
        self.bad_commands = 0
        self.allowance, self.allowed_at = COMMANDS_AT_ONCE, time.monotonic()
        self.waiting: deque[Any] = deque()
        self.command_task: asyncio.Task[None] | None = None
        self.reader = asyncio.current_task()
        self.is_reading = False
        self.goodbye: asyncio.Task[None] | None = None
        try:
            while not self.close_code:
                self.is_reading = True
                message = await receive()
                self.is_reading = False
                await self.dispatch(message)
        except StopConsumer:
            pass
        except asyncio.CancelledError:
            if not self.close_code:  # end() interrupts the reader; anybody else means it
                raise
        finally:
            self._leave()
        if self.goodbye is not None:
            await asyncio.wait({self.goodbye})

    async def dispatch(self, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "websocket.connect":
                await self.connect()
            case "websocket.receive":
                self.read(message.get("text"), message.get("bytes"))
            case "websocket.disconnect":
                self.close_code = self.close_code or message.get("code") or 1005
                raise StopConsumer

    # --- handshake ---

    async def connect(self) -> None:
        if not is_own_origin(self.scope):
            await self.close()  # before accept: HTTP 403
            self.close_code = CloseCode.FORBIDDEN
            return
        self.transport.take_little()
        offered = self.scope.get("subprotocols") or []
        key = session_key(self.scope["headers"])
        found = await self.hub.admit(key)
        await self.accept(SUBPROTOCOL if SUBPROTOCOL in offered else offered[0] if offered else None)
        if offered and SUBPROTOCOL not in offered:
            self.end(CloseCode.BAD_COMMANDS, f"this server speaks {SUBPROTOCOL}", None)
        elif isinstance(found := self.hub.seated(found), Refusal):
            self.end(*found)
        else:
            self.socket = Socket(
                found, key, send=self._send_text, end=self.end, transport=self.transport, write=direct.writer(self.base_send)
            )
            self.hub.add(self.socket)
            socket_opened.send_robust(sender=type(self), user_id=found.user_id)

    # --- commands ---

    def read(self, text: str | None, data: bytes | None) -> None:
        """Take one frame from the page. Never waits."""
        socket = self.socket
        if socket is None:
            return
        socket.last_heard = time.monotonic()
        socket.heard += len(text or data or "")
        if text is None:
            self._refuse("binary", f"{SUBPROTOCOL} speaks text frames")
        elif len(text) > COMMAND_BYTES or len(text.encode(errors="replace")) > COMMAND_BYTES:
            self._refuse("too_large", f"a command has at most {COMMAND_BYTES} bytes")
        else:
            self._obey(socket, text)

    def _obey(self, socket: Socket, text: str) -> None:
        try:
            command = decode_command(text)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            self._refuse("unknown_command" if "$.type" in str(error) else "bad_command", str(error)[:200])
            return
        if isinstance(command, Ack) and socket.stream.acknowledged(command.ack):
            self.hub.delivery.reopened(socket)
        elif not self._is_allowed():
            self.end(CloseCode.TOO_MANY_COMMANDS, "too many commands", 5.0)
        elif isinstance(command, Hello):
            self.say(Welcome(heartbeat_seconds=HEARTBEAT_SECONDS, spread_seconds=self.hub.spread))
            self.hub.delivery.hello(socket, Position.parse(command.position), site_language(command.language))
        elif isinstance(command, Heartbeat | Ack):
            return
        elif not socket.is_listening:
            self.say(Error(command.ref, "hello_first", "say hello first"))
        elif len(self.waiting) >= COMMANDS_WAITING:
            self.say(Error(command.ref, "busy", f"{COMMANDS_WAITING} commands wait already"))
        else:
            self.waiting.append(command)
            if self.command_task is None:
                self.command_task = asyncio.get_running_loop().create_task(self._work(socket.identity.user_id))

    def _refuse(self, code: Any, message: str) -> None:
        self.bad_commands += 1
        self.say(Error("", code, message))
        if self.bad_commands >= BAD_COMMANDS:
            self.end(CloseCode.BAD_COMMANDS, "bad commands", None)

    def _is_allowed(self) -> bool:
        now = time.monotonic()
        self.allowance = min(COMMANDS_AT_ONCE, self.allowance + (now - self.allowed_at) * COMMANDS_PER_SECOND)
        self.allowed_at = now
        self.allowance -= 1
        return self.allowance >= 0

    async def _work(self, user_id: Any) -> None:
        """Carry out the waiting commands in their order. Goes on after a close: what the page was told to be done, is."""
        try:
            while self.waiting:
                command = self.waiting.popleft()
                try:
                    async with self.hub.step_of(user_id):
                        stamp = await self.hub.reader.run(_carry_out, user_id, command)
                except Exception as error:  # noqa: BLE001 - the database is away or the hub has stopped: told, not raised
                    if is_due("command_failed", type(error).__name__):
                        logger.warning("command_failed error=%r", error)
                    self.say(Error(command.ref, "unavailable", "try again"))
                else:
                    self.say(Done(command.ref, stamp))
        finally:
            self.command_task = None

    # --- the connection ---

    def say(self, message: Message) -> None:
        if self.socket is not None and not self.close_code:
            self.socket.push(encode(message))

    def end(self, code: int, reason: str, retry_after: float | None) -> None:
        """Say goodbye and close. Does not wait; the first call decides."""
        if self.close_code:
            return
        self.close_code = code
        socket = self.socket
        self._leave()
        if code in ABUSE:
            self.transport.stop_reading()  # a server that awaits the peer's agreement goes on reading its flood meanwhile
        self.goodbye = asyncio.get_running_loop().create_task(self._say_goodbye(Bye(code, reason, retry_after), socket))

    async def _say_goodbye(self, bye: Bye, socket: Socket | None) -> None:
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._send_text(encode(bye))
                await self.close(code=bye.code)
        except Exception as error:  # noqa: BLE001 - the peer has gone first, or does not read
            logger.debug("goodbye_unheard error=%r", error)
        finally:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self.transport.cut)
            if socket is not None:
                socket.is_open = False
            if self.is_reading and self.reader is not None:
                self.reader.cancel()

    async def _send_text(self, frame: str) -> None:
        await self.base_send({"type": "websocket.send", "text": frame})

    def _leave(self) -> None:
        if self.socket is not None:
            self.hub.remove(self.socket)
            socket_closed.send_robust(sender=type(self), user_id=self.socket.identity.user_id, code=self.close_code)
            self.socket = None


def _carry_out(user_id: Any, command: Any) -> int:
    if isinstance(command, Seen):
        return steps.mark_seen(user_id, command.upto)
    upto = None if isinstance(command, Undelete) else command.upto
    action: Any = type(command).__name__.lower()
    return steps.mark(user_id, action, ids=command.ids, upto=upto, stamp=command.stamp)
