"""The HTTP request that opens a WebSocket: what its head must look like, and what answers others.

Owns the rules of RFC 9112, RFC 9110 and RFC 6455 about it, for a server that serves nothing but
WebSocket. Bytes go in; what comes out is a head written anew from what was checked, so that whoever
reads it next cannot understand the client's bytes in another way. Knows nothing of transports or
time.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from email.utils import formatdate
from http import HTTPStatus

from nymearemoteproxy.protocol.outcomes import Outcome

MAX_HEAD = 16 * 1024
"""Bytes of a request before its empty line; twice what common servers take for one header."""

MAX_FIELDS = 100
"""Header lines; what Apache takes. Browsers send some 15, and a chain of proxies adds a few."""

VERSIONS = (b"13", b"8")
"""Of the WebSocket protocol; 8 is the last draft before RFC 6455, with the same frames."""

_END = b"\r\n\r\n"

# RFC 9112 section 2.2: lines end with CRLF, and a CR of its own is nothing. Of other control
# characters there is only HTAB, in values (RFC 9110 section 5.5). The last CR may wait for its LF.
# A search for one set, which is looked at closer where it is found, takes a third of the time that
# one for alternatives does.
_MISPLACED = re.compile(
    rb"[\x00-\x08\n-\x1f\x7f](?:(?<=[^\r\n])|(?<=\n)(?<!\r\n)|(?<=\r)(?!\n|\Z))"
)

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 section 5.6.2
_NAME = re.compile(_TOKEN)
TOKEN = re.compile(_TOKEN.decode("ascii"))
"""What a subprotocol may be: RFC 6455 section 4.1, item 10."""

# RFC 9112 section 3: single spaces, and a version whose name is in capitals. A target should be
# ASCII, but Qt 5 writes QUrl::path(), decoded, in Latin-1; nothing is decided by it either.
_REQUEST_LINE = re.compile(rb"(%s) ([\x21-\x7e\x80-\xff]+) HTTP/(\d)\.(\d)" % _TOKEN)

# RFC 9110 section 7.2 and RFC 3986 section 3.2.2, and wider in two places. Qt 5 writes a host as
# QUrl::host() gives it: an IPv6 address without its brackets, and an international name in Latin-1
# with "?" for what is not in it. Nothing is decided by a host, so that this does no harm.
_AUTHORITY = (
    rb"(?:\[[0-9A-Za-z:.%_~-]+\]"
    rb"|(?:[0-9A-Fa-f]*:){2}[0-9A-Fa-f:.]*(?:%[0-9A-Za-z._~-]+)?"
    rb"|[0-9A-Za-z._~%!$&'()*+,;=?\x80-\xff-]+"
    rb")(?::[0-9]*)?"
)
_HOST = re.compile(_AUTHORITY)

# RFC 9112 sections 3.2.1 and 3.2.2; the forms without a path are for other methods. Browsers leave
# some characters as they are that RFC 3986 has no place for, such as "|" and "[".
_TARGET = re.compile(rb"(?:(?i:https?|wss?)://%s(?=[/?]|\Z)|(?=/))[^\"#<>]*" % _AUTHORITY)

_KEY = re.compile(rb"[0-9A-Za-z+/]{22}==")  # 16 bytes, RFC 6455 section 4.1

_CANONICAL = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: %s\r\nSec-WebSocket-Key: %s%s" + _END
)

_UPGRADE = "Upgrade: websocket"  # RFC 9110 section 15.5.22
_SUPPORTED = "Sec-WebSocket-Version: 13, 8"  # RFC 6455 section 4.2.2
_WHAT_THIS_IS = (
    "This is nymea-remoteproxy. It is for programs that speak WebSocket, not for browsers"
)

Fields = dict[bytes, list[bytes]]
"""Header values in the order they came, by name in lower case."""


class Refusal(Exception):
    """The request gets an HTTP error.

    :param text: its content; the answer to HEAD has none.
    :ivar answer: the whole response, but for its date. Nothing in it comes from the client.
    :ivar outcome: why the connection ends.
    """

    def __init__(
        self,
        status: HTTPStatus,
        text: str,
        *headers: str,
        outcome: Outcome = Outcome.WEBSOCKET_HANDSHAKE_FAILED,
    ) -> None:
        super().__init__(text)
        body = f"{text}.\n" if text else ""
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *headers, "Connection: close"]
        if body:
            lines += "Content-Type: text/plain", f"Content-Length: {len(body)}"
        self.answer = "".join(f"{line}\r\n" for line in (*lines, "")).encode() + body.encode()
        self.outcome = outcome

    def dated(self, unixTime: float) -> bytes:
        """Return the whole response, with its date as RFC 9110 section 6.6.1 wants it."""
        line, end, rest = self.answer.partition(b"\r\n")
        return line + end + f"Date: {formatdate(unixTime, usegmt=True)}\r\n".encode() + rest


def _bad(text: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, text)


def _upgradeRequired(text: str) -> Refusal:
    return Refusal(HTTPStatus.UPGRADE_REQUIRED, text, _UPGRADE, _SUPPORTED)


class HeadReader:
    """Collects a head; each byte is looked at once, in however many pieces they come.

    :param subprotocols: those that are accepted.
    """

    def __init__(self, subprotocols: Collection[bytes] = ()) -> None:
        self._data = bytearray()
        self._subprotocols = subprotocols

    def receive(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take in what arrived.

        :returns: None until the head is whole; then a head that says the same in the one form there
            is for it, and what is behind the client's.
        :raises Refusal: it is no request for a WebSocket, as soon as that is certain.
        """
        seen = len(self._data)
        self._data += data
        end = self._data.find(_END, max(0, seen - len(_END) + 1))
        size = len(self._data) if end < 0 else end
        # What is before the empty line, with the CRLF that ends its last line.
        if _MISPLACED.search(self._data, max(0, seen - 1), min(size, MAX_HEAD) + len(b"\r\n")):
            raise _bad("There is a control character, or a line that does not end with CR LF")
        if size > MAX_HEAD:
            raise self._tooLarge()
        if end < 0:
            return None
        head = bytes(self._data[:end])
        return canonical(head, self._subprotocols), bytes(self._data[end + len(_END) :])

    def _tooLarge(self) -> Refusal:
        """RFC 9112 section 3 wants a status of its own for a target that is too long."""
        hasLine = b"\r\n" in self._data[:MAX_HEAD]
        return Refusal(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            if hasLine
            else HTTPStatus.REQUEST_URI_TOO_LONG,
            f"A request may have {MAX_HEAD} bytes before its empty line",
            outcome=Outcome.MESSAGE_TOO_LARGE,
        )


def canonical(head: bytes, subprotocols: Collection[bytes]) -> bytes:
    """Check a request's head up to its empty line; write anew what counts of it.

    Of the subprotocols it offers that is the first one that is accepted, if there is one.

    Not in it: the host and the target, for all are the same here; the origin, since tokens say who
    may in and not the page a script came from; extensions, of which none is accepted.

    :raises Refusal: it asks for no WebSocket, or not in the right way.
    """
    # RFC 9112 section 2.2: an empty line before the request is to be ignored.
    requestLine, *lines = head.removeprefix(b"\r\n").split(b"\r\n")
    _checkRequestLine(requestLine)
    fields = _split(lines)
    _checkHost(fields)
    _checkNoContent(fields)
    _checkUpgrade(fields)
    return _CANONICAL % (_version(fields), _key(fields), _subprotocol(fields, subprotocols))


def _checkRequestLine(line: bytes) -> None:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _bad("The first line is not METHOD TARGET HTTP/1.1")
    method, target, major, minor = match.groups()
    if method != b"GET":
        # RFC 9110 sections 8.6 and 9.3.2: an answer to HEAD has no content, and no length unless it
        # is that of the answer to GET.
        text = "" if method == b"HEAD" else _WHAT_THIS_IS
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, text, "Allow: GET")
    if major != b"1":
        raise Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "The version has to be HTTP/1.1")
    if not _TARGET.fullmatch(target):
        raise _bad("The target is neither a path nor a whole URL without a fragment")
    if minor == b"0":  # it knows no Upgrade: RFC 9110 section 7.8; a higher one is as good as 1
        raise _upgradeRequired(f"{_WHAT_THIS_IS}. The version has to be HTTP/1.1")


def _split(lines: list[bytes]) -> Fields:
    """Take header lines apart: RFC 9112 section 5, without the folding of section 5.2."""
    if len(lines) > MAX_FIELDS:
        raise Refusal(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"A request may have {MAX_FIELDS} header lines",
            outcome=Outcome.MESSAGE_TOO_LARGE,
        )
    fields: Fields = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name):
            raise _bad("A header line is not NAME: VALUE")
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    return fields


def _only(fields: Fields, name: str) -> bytes | None:
    """Return the value of a header that may be there once."""
    values = fields.get(name.lower().encode())
    if values is None:
        return None
    if len(values) > 1:
        raise _bad(f"There is more than one {name} header")
    return values[0]


def _members(fields: Fields, name: bytes) -> list[bytes]:
    """Return the members of a list (RFC 9110 section 5.6.1)."""
    return [member.strip(b" \t") for value in fields.get(name, ()) for member in value.split(b",")]


def _words(fields: Fields, name: bytes) -> list[bytes]:
    """Return the members of a list in lower case, for that of their letters does not matter."""
    return [member.lower() for member in _members(fields, name)]


def _checkHost(fields: Fields) -> None:
    """RFC 9112 section 3.2: exactly one, which may be empty."""
    host = _only(fields, "Host")
    if host is None:
        raise _bad("There is no Host header")
    if host and not _HOST.fullmatch(host):
        raise _bad("The Host header is not HOST or HOST:PORT")


def _checkNoContent(fields: Fields) -> None:
    """What follows are frames, and nobody may take them for content: RFC 9112 section 11.2."""
    if b"transfer-encoding" in fields or _only(fields, "Content-Length") not in (None, b"0"):
        raise _bad("The request has content")


def _checkUpgrade(fields: Fields) -> None:
    """RFC 6455 section 4.2.1, items 3 and 4; without either it is an ordinary request."""
    if b"websocket" not in _words(fields, b"upgrade"):
        raise _upgradeRequired(f"{_WHAT_THIS_IS}. There is no Upgrade: websocket header")
    if b"upgrade" not in _words(fields, b"connection"):
        raise _upgradeRequired(f"{_WHAT_THIS_IS}. There is no Connection: Upgrade header")


def _version(fields: Fields) -> bytes:
    """RFC 6455 section 4.2.2, item 4."""
    version = _only(fields, "Sec-WebSocket-Version")
    if version not in VERSIONS:
        raise _upgradeRequired("The Sec-WebSocket-Version has to be 13")
    return version


def _key(fields: Fields) -> bytes:
    """RFC 6455 section 4.2.1, item 5."""
    key = _only(fields, "Sec-WebSocket-Key")
    if key is None or not _KEY.fullmatch(key):
        raise _bad("The Sec-WebSocket-Key is not 16 bytes in base64")
    return key


def _subprotocol(fields: Fields, accepted: Collection[bytes]) -> bytes:
    """Return a header line with the first offered one that is accepted, or nothing."""
    for offered in _members(fields, b"sec-websocket-protocol"):
        if offered in accepted:
            return b"\r\nSec-WebSocket-Protocol: " + offered
    return b""
