"""An HTTP request at the front door.

The promises: what becomes of it does not depend on how it is cut; what a home is asked is one of
few forms, is taken for itself again, and Python's own server reads the same in it; a visitor is
sent to the host it asked for, and to the target, which another reader of URLs finds there; every
answer is a whole response, with nothing else of the client's in it.
"""

from __future__ import annotations

import io
import re
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote_to_bytes, urlsplit

from fuzz.target import Planted, Target, pieces, taken
from fuzz.targets.httphead import answered
from nymearemoteproxy.protocol.fronthttp import Challenge, readChallenge
from nymearemoteproxy.protocol.httphead import MAX_HEAD, HeadReader, Refusal

_ASKED = re.compile(
    rb"(?:GET|HEAD) /\.well-known/acme-challenge/[0-9A-Za-z_-]+ HTTP/1\.[01]\r\n"
    rb"Host: (?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])\r\nConnection: close\r\n\r\n"
)

_STATUSES = (301, 400, 414, 431, 505)

_WITHOUT_LOCATION = 200
"""Bytes of an answer, at most, but for what the client has sent."""


def check(data: bytes) -> None:
    how, data = taken(data)
    read = _read([data])
    byPieces = _read(pieces(data, how))
    if isinstance(read, bytes):
        # Of two reasons another one may be seen first.
        assert isinstance(byPieces, bytes), "it depends on how it is cut whether it is answered"
        _checkAnswer(read, data)
        return
    assert read == byPieces, "it depends on how it is cut"
    if read is None:
        assert len(data) <= MAX_HEAD + len(b"\r\n\r\n")
    else:
        _checkAsked(read)


def _read(parts: list[bytes]) -> Challenge | bytes | None:
    """Return what a home is to be asked, what the visitor is answered, or nothing yet."""
    reader = HeadReader()
    try:
        for part in parts:
            if (read := reader.receive(part)) is not None:
                return readChallenge(read[0])
    except Refusal as refusal:
        return refusal.answer
    return None


class _Server(BaseHTTPRequestHandler):
    """What another server reads in a request, without a connection."""

    def __init__(self, request: bytes) -> None:
        self.rfile = io.BytesIO(request)
        self.wfile = io.BytesIO()
        self.raw_requestline = self.rfile.readline()
        self.isRead = self.parse_request()


def _checkAsked(challenge: Challenge) -> None:
    request = challenge.request
    assert _ASKED.fullmatch(request), "a home is asked for something else"
    assert _read([request]) == challenge
    server = _Server(request)
    assert server.isRead and not server.rfile.read(), "more than a request"
    assert server.command.encode() == challenge.method
    assert server.headers.items() == [("Host", challenge.host), ("Connection", "close")]
    assert server.close_connection


def _checkAnswer(answer: bytes, data: bytes) -> None:
    response = answered(answer)
    assert response.status in _STATUSES, "another status"
    assert answer.isascii()
    location = response.getheader("Location")
    assert (location is None) == (response.status != 301), "nowhere to go, or somewhere"
    if location is None:
        assert len(answer) < _WITHOUT_LOCATION, "something of the client's is in it"
        return
    assert len(answer) - len(location) < _WITHOUT_LOCATION
    assert location.isprintable() and " " not in location, "no URL"
    _, _, after = location.partition("https://")
    host, slash, target = after.partition("/")
    assert slash and re.fullmatch(r"[\w.-]+|\[[0-9A-Fa-f:.]+\]", host, re.ASCII), "another host"
    whole = rb"%s(?::[0-9]*)?[\s/?]" % re.escape(host.encode())
    assert re.search(whole, data), "a part of another host"
    assert unquote_to_bytes(target) in unquote_to_bytes(data), "another target"
    if not host.startswith("["):
        assert urlsplit(location).hostname == host.lower()


_REQUEST = (b"GET /.well-known/acme-challenge/a-_Z HTTP/1.1\r\n", b"Host: home.example\r\n")

TARGET = Target(
    check,
    covers=("protocol.fronthttp",),
    planted=(
        Planted("protocol/fronthttp.py", "[0-9A-Za-z_-]+", "[0-9A-Za-z._/-]+"),
        Planted("protocol/fronthttp.py", ".fullmatch(path)", ".match(path)"),
        Planted("protocol/fronthttp.py", ".fullmatch(authority)", ".match(authority)"),
        Planted(
            "protocol/fronthttp.py", "{quote(path, safe=punctuation)}", "{path.decode('latin-1')}"
        ),
        Planted("protocol/fronthttp.py", "min(request.version[1], 1)", "request.version[1]"),
    ),
    words=(
        *_REQUEST,
        b"".join(_REQUEST) + b"\r\n",
        b"HEAD",
        b"POST",
        b"HTTP/1.0",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"http://h/",
        b"[::1]:80",
        b"/../",
    ),
)
