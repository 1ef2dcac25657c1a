"""The HTTP request that opens a WebSocket, and with it the head of any.

The promises: whether it is taken, and as what, does not depend on how it is cut; what goes on is
the one canonical form, which is taken again as itself; a refusal is a whole response in which
nothing of the client's stands; and no more is collected than a head may have.
"""

from __future__ import annotations

import http.client
import io
import re

from fuzz.target import Planted, Target, pieces, taken
from nymearemoteproxy.protocol.httphead import MAX_HEAD, HeadReader, Refusal
from nymearemoteproxy.protocol.upgraderequest import canonical

SUBPROTOCOLS = (b"mqtt", b"chat")

_CANONICAL = re.compile(
    rb"GET / HTTP/1\.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    rb"Sec-WebSocket-Version: (?:13|8)\r\nSec-WebSocket-Key: [0-9A-Za-z+/]{22}=="
    rb"(?:\r\nSec-WebSocket-Protocol: (?:mqtt|chat))?\r\n\r\n"
)

_STATUSES = (400, 405, 414, 426, 431, 505)

Read = tuple[bytes, bytes] | bytes | None
"""A head, and what is behind it; a refusal's answer; or nothing yet."""


def check(data: bytes) -> None:
    how, data = taken(data)
    read = _read([data])
    byPieces = _read(pieces(data, how))
    if isinstance(read, bytes):
        # Of two reasons another one may be seen first.
        assert isinstance(byPieces, bytes), "it depends on how it is cut whether it is refused"
        _checkAnswer(read)
    else:
        assert read == byPieces, "it depends on how it is cut"
    if read is None:
        assert len(data) <= MAX_HEAD + len(b"\r\n\r\n")
    elif not isinstance(read, bytes):
        head, rest = read
        assert data.endswith(rest) and _CANONICAL.fullmatch(head), "not the canonical form"
        assert _read([head]) == (head, b"")


def _read(parts: list[bytes]) -> Read:
    reader = HeadReader()
    found: tuple[bytes, bytes] | None = None
    try:
        for part in parts:
            if found is not None:
                found = found[0], found[1] + part
            elif (read := reader.receive(part)) is not None:
                found = canonical(read[0], SUBPROTOCOLS), read[1]
    except Refusal as refusal:
        return refusal.answer
    return found


class _Socket:
    """What `http.client` reads an answer from."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _mode: str) -> io.BytesIO:
        """Return the answer as a file."""
        return io.BytesIO(self._answer)


def answered(answer: bytes) -> http.client.HTTPResponse:
    """Return what `http.client` reads in an answer, which ends the connection."""
    response = http.client.HTTPResponse(_Socket(answer))  # type: ignore[arg-type]
    response.begin()
    assert response.getheader("Connection") == "close"
    return response


def _checkAnswer(answer: bytes) -> None:
    response = answered(answer)
    assert response.status in _STATUSES, "another status"
    body = answer.partition(b"\r\n\r\n")[2]
    assert int(response.getheader("Content-Length", "-1")) == len(body), "no whole response"
    assert answer.isascii() and len(answer) < 500, "something of the client's is in it"


_REQUEST = (
    b"GET / HTTP/1.1\r\n",
    b"Host: h\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n",
)

TARGET = Target(
    check,
    covers=("protocol.httphead", "protocol.upgraderequest"),
    planted=(
        Planted("protocol/httphead.py", "max(0, seen - len(_END) + 1)", "seen"),
        Planted("protocol/httphead.py", "max(0, seen - 1), min(size", "seen, min(size"),
        Planted(
            "protocol/httphead.py",
            'raise bad("A header line is not NAME: VALUE")',
            'raise bad(f"{line!r}")',
        ),
        Planted(
            "protocol/upgraderequest.py",
            're.compile(rb"[0-9A-Za-z+/]{22}==")',
            're.compile(rb"[^,]{22}==")',
        ),
    ),
    words=(
        *_REQUEST,
        b"".join(_REQUEST) + b"\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Sec-WebSocket-Protocol: x, chat\r\n",
        b"HTTP/1.0",
        b"HEAD",
        b"http://h/",
        b"[::1]:80",
    ),
)
