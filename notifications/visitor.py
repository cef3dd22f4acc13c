"""What `manage.py notifications_doctor --url` sees from outside, by the way that a page takes: HTTP, handshake, an open socket.

A proxy that forwards no upgrade, changes the host or cuts what is quiet shows only here. Enough of a WebSocket client for that.
"""

import base64
import http.client
import json
import secrets
import ssl
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from django.conf import settings
from django.db import DatabaseError
from django.urls import reverse

from notifications.doctor import Finding, first_line
from notifications.hub import HEARTBEAT_SECONDS
from notifications.inbox import State, states
from notifications.protocol import SUBPROTOCOL, CloseCode, Position
from notifications.session import authenticate

__all__ = ["visit"]

ANSWER_SECONDS: Final = 10.0
FOREIGN: Final = "https://elsewhere.invalid"
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
UPGRADE: Final = (
    "nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;"
)
TIMES: Final = (
    "The server says goodbye before it closes, so something between cuts what is quiet: give it more than 60 s "
    "(nginx: proxy_read_timeout 75s; proxy_send_timeout 75s)."
)
HEADERS: Final = (
    "Let the proxy pass Host and X-Forwarded-Proto on, set SECURE_PROXY_SSL_HEADER, and give the address that pages have; "
    "other origins go into CSRF_TRUSTED_ORIGINS."
)


class Ended(Exception):
    """The other side closed; `code` is None where it did so without a word."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"closed with {code}" if code else "cut without a word")
        self.code = code


class Place(NamedTuple):
    """Where the site is, and who visits it."""

    url: str
    session: str

    @property
    def origin(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def path(self, name: str) -> str:
        path, prefix = reverse(f"live_notifications:{name}"), urlsplit(self.url).path.rstrip("/")
        return path if path.startswith(f"{prefix}/") else prefix + path

    def ask(self, name: str, headers: Mapping[str, str]) -> tuple[http.client.HTTPResponse, Any]:
        """The answer, and the socket that it came over."""
        parts = urlsplit(self.url)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.netloc, timeout=ANSWER_SECONDS, context=context
            )
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=ANSWER_SECONDS)
        cookie = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={self.session}"} if self.session else {}
        try:
            connection.request("GET", self.path(name), headers={"User-Agent": "notifications_doctor", **cookie, **headers})
            return connection.getresponse(), connection.sock
        except (OSError, http.client.HTTPException):
            connection.close()
            raise


class Line:
    """An open WebSocket. Messages are short, so a frame is never split by the server; what is read is read to its end."""

    def __init__(self, answer: http.client.HTTPResponse, sock: Any) -> None:
        self._answer = answer  # its buffer may hold the first frames
        self._sock = sock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._answer.close()
        self._sock.close()

    def say(self, **command: str) -> None:
        self._send(TEXT, json.dumps(command).encode())

    def hear(self, until: float) -> dict[str, Any] | None:
        """The next message, answered as a page does; None if none has come by `until`, after which nothing can be heard.

        Raises `Ended`.
        """
        while True:
            try:
                self._sock.settimeout(max(until - time.monotonic(), 0.001))
                opcode, payload = self._frame()
            except TimeoutError:
                return None
            except OSError as error:
                raise Ended(None) from error
            if opcode == CLOSE:
                raise Ended(int.from_bytes(payload[:2], "big") or None)
            if opcode == PING:
                self._send(PONG, payload)
            if opcode == TEXT:
                message: dict[str, Any] = json.loads(payload)
                if message["type"] == "heartbeat":
                    self.say(type="heartbeat")
                if message.get("ack"):
                    self.say(type="ack", ack=message["ack"])
                return message

    def _frame(self) -> tuple[int, bytes]:
        first, length = self._exactly(2)
        if length in (126, 127):
            length = int.from_bytes(self._exactly(2 if length == 126 else 8), "big")
        return first & 0x0F, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = self._answer.fp.read(count)
        if len(data) < count:
            raise Ended(None)
        return bytes(data)

    def _send(self, opcode: int, payload: bytes) -> None:
        mask = secrets.token_bytes(4)
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2, "big")
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        try:
            self._sock.sendall(bytes([0x80 | opcode]) + length + mask + masked)
        except OSError as error:
            raise Ended(None) from error


def visit(url: str, *, session: str = "", idle_seconds: float = 0.0) -> Iterator[Finding]:
    """By the site's address as pages have it. `session`: a signed-in user's cookie, without which no socket stays open."""
    place = Place(url, session)
    try:
        yield from _page(place)
        yield from _foreign_socket(place)
        line = yield from _own_socket(place)
        if line is not None:
            with line:
                yield from _stay(place, line, idle_seconds)
    except (OSError, http.client.HTTPException) as error:
        mend = "Look at the address, its certificate, the proxy and the server."
        yield Finding("url", "broken", f"{url} cannot be reached: {first_line(error)}", mend)


def _stay(place: Place, line: Line, idle_seconds: float) -> Iterator[Finding]:
    """Open the socket as a page does, then stay, as quiet as a page whose reader has gone for coffee."""
    try:
        if place.session:
            line.say(type="hello", position="", language=settings.LANGUAGE_CODE)
        until = time.monotonic() + ANSWER_SECONDS
        while (message := line.hear(until)) is not None and message["type"] not in ("reset", "delta", "bye"):
            pass
    except Ended as end:
        yield Finding("socket", "broken", f"opens, and is {end} before it has said anything", "See the log of the server.")
        return
    if message is None:
        yield Finding("socket", "broken", f"opens, and says nothing in {ANSWER_SECONDS:g} s", "See the log of the server.")
    elif message["type"] == "bye" and message["code"] == CloseCode.SIGNED_OUT and not place.session:
        yield Finding("socket", "ok", "opens, and says that nobody is signed in")
        yield Finding("time-outs", "unknown", "only a signed-in page's socket stays open: give --session")
    elif message["type"] == "bye":
        text = f"opens, and is closed with {message['code']}: {message['reason']}"
        yield Finding("socket", "broken", text, "docs/protocol.md says what that code means.")
    else:
        yield Finding("socket", "ok", "opens, and brings the inbox")
        yield from _same_inbox(place, message["position"])
        if idle_seconds:
            yield _idle(line, idle_seconds)


def _same_inbox(place: Place, position: str) -> Iterator[Finding]:
    """Whether the server at the address works on the database that this command sees."""
    try:
        identity = authenticate([place.session]).get(place.session)
        if identity is not None:
            state = states([identity.user_id]).get(identity.user, State())
            shown = Position.parse(position)
            if shown is not None and shown.epoch == state.position.epoch:
                return
    except DatabaseError:  # database() says it
        return
    text = (
        "shows an inbox that this command's database does not have" if identity else "knows a session that this command does not"
    )
    yield Finding("socket", "broken", text, "Run this command with the settings and the environment of the server processes.")


def _idle(line: Line, seconds: float) -> Finding:
    started, beats = time.monotonic(), 0
    try:
        while (message := line.hear(started + seconds)) is not None:
            beats += message["type"] == "heartbeat"
            if message["type"] == "bye":
                raise Ended(message["code"])  # noqa: TRY301 - a goodbye is an end, whether or not the close comes through
    except Ended as end:
        after = time.monotonic() - started
        if end.code is None:
            return Finding("time-outs", "broken", f"the quiet socket was cut after {after:.0f} s without a word", TIMES)
        return Finding("time-outs", "warning", f"the server closed the socket with {end.code} after {after:.0f} s", "Try again.")
    if not beats and seconds > HEARTBEAT_SECONDS + 5:
        mend = "Something holds frames back: turn the proxy's buffering off for this path."
        return Finding("time-outs", "broken", f"no heartbeat came through in {seconds:g} s", mend)
    return Finding("time-outs", "ok", f"the quiet socket stayed open for {seconds:g} s, with {beats} heartbeats")


def _page(place: Place) -> Iterator[Finding]:
    answer, sock = place.ask("items", {"Accept": "application/json"})
    _hang_up(answer, sock)
    status, where = answer.status, place.origin + place.path("items")
    wanted = 200 if place.session else 401
    if status == 401 and place.session:
        yield Finding(
            "http", "broken", f"{where} takes the session for nobody's", "Give the session cookie of a signed-in browser."
        )
    elif status in (301, 302, 307, 308):
        target = answer.headers.get("Location", "")
        yield Finding("http", "broken", f"{where} leads to {target}", "Give the address that pages have in the end as --url.")
    elif status != wanted:
        mend = (
            "404: include notifications.urls; 400: ALLOWED_HOSTS; 502 to 504: the proxy finds no server; 500: see the site's log."
        )
        yield Finding("http", "broken", f"{where} answers {status}", mend)
    elif "no-store" not in answer.headers.get("Cache-Control", ""):
        yield Finding("http", "broken", f"{where} may be cached", "Let the proxy keep the Cache-Control that the site sends.")
    else:
        yield Finding("http", "ok", f"{where} answers {status}")


def _foreign_socket(place: Place) -> Iterator[Finding]:
    answer, sock = _handshake(place, FOREIGN)
    _hang_up(answer, sock)
    if answer.status == 101:
        mend = "Look for a proxy that sets Origin itself, and for what stands in CSRF_TRUSTED_ORIGINS."
        yield Finding("socket", "broken", f"a page of {FOREIGN} may open it", mend)


def _hang_up(answer: http.client.HTTPResponse, sock: Any) -> None:
    answer.close()
    if sock is not None:  # else the server has closed it
        sock.close()


def _own_socket(place: Place) -> Generator[Finding, None, Line | None]:
    answer, sock = _handshake(place, place.origin)
    where = place.origin.replace("http", "ws", 1) + place.path("socket")
    mends = {
        403: HEADERS,
        404: "Wrap asgi.py's application in live_application, and let the proxy send this path to the ASGI server.",
        426: f"The upgrade was lost on the way. {UPGRADE}",
    }
    if answer.status == 101 and answer.headers.get("Sec-WebSocket-Protocol") == SUBPROTOCOL:
        return Line(answer, sock)
    _hang_up(answer, sock)
    if answer.status != 101:
        mend = mends.get(answer.status, "See the log of the proxy and of the server.")
        yield Finding("socket", "broken", f"{where} answers {answer.status} instead of 101", mend)
    else:
        mend = "Let the proxy pass Sec-WebSocket-Protocol on, both ways."
        yield Finding("socket", "broken", f"{where} does not pick {SUBPROTOCOL}", mend)
    return None


def _handshake(place: Place, origin: str) -> tuple[http.client.HTTPResponse, Any]:
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Origin": origin, "Sec-WebSocket-Key": key}
    return place.ask("socket", {**headers, "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": SUBPROTOCOL})
