"""The head of an HTTP request: what it must look like, and what answers others.

Owns the rules of RFC 9112 and RFC 9110 about it, for servers that read one request of each
connection. Bytes go in; what comes out is its parts. Knows nothing of transports or time, nor of
what is asked for.
"""

from __future__ import annotations

import re
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

from nymearemoteproxy.protocol.outcomes import Outcome

MAX_HEAD = 16 * 1024
"""Bytes of a request before its empty line; twice what common servers take for one header."""

MAX_FIELDS = 100
"""Header lines; what Apache takes. Browsers send some 15, and a chain of proxies adds a few."""

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
# ASCII, but Qt 5 writes QUrl::path(), decoded, in Latin-1.
_REQUEST_LINE = re.compile(rb"(%s) ([\x21-\x7e\x80-\xff]+) HTTP/(\d)\.(\d)" % _TOKEN)

# RFC 9110 section 7.2 and RFC 3986 section 3.2.2, and wider in two places. Qt 5 writes a host as
# QUrl::host() gives it: an IPv6 address without its brackets, and an international name in Latin-1
# with "?" for what is not in it. Who decides something by a host has to look closer.
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

Fields = dict[bytes, list[bytes]]
"""Header values in the order they came, by name in lower case."""


class Refusal(Exception):
    """The request gets an answer of ours, and is heard no further.

    :param text: its content; empty for none, as the answer to HEAD has it.
    :ivar answer: the whole response, but for its date.
    :ivar outcome: why the connection ends; None if the request is not what this listener is for.
    """

    def __init__(
        self, status: HTTPStatus, text: str, *headers: str, outcome: Outcome | None = None
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


def bad(text: str) -> Refusal:
    """Return what answers a request that breaks a rule."""
    return Refusal(HTTPStatus.BAD_REQUEST, text)


class Request(NamedTuple):
    """The parts of a head.

    :ivar target: as it was written, `checkTarget` looks at it.
    :ivar version: major and minor.
    """

    method: bytes
    target: bytes
    version: tuple[int, int]
    fields: Fields

    def only(self, name: str) -> bytes | None:
        """Return the value of a header that may be there once.

        :raises Refusal: it is there more often.
        """
        values = self.fields.get(name.lower().encode())
        if values is None:
            return None
        if len(values) > 1:
            raise bad(f"There is more than one {name} header")
        return values[0]

    def members(self, name: str) -> list[bytes]:
        """Return the members of a list (RFC 9110 section 5.6.1)."""
        values = self.fields.get(name.lower().encode(), ())
        return [member.strip(b" \t") for value in values for member in value.split(b",")]

    def checkTarget(self) -> None:
        """Return if it is a path, or a whole URL (RFC 9112 section 3.2), in HTTP/1.

        :raises Refusal: it is another form, or the version is another one.
        """
        if self.version[0] != 1:
            raise Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "The version has to be HTTP/1.1")
        if not _TARGET.fullmatch(self.target):
            raise bad("The target is neither a path nor a whole URL without a fragment")

    def host(self) -> bytes:
        """Return the Host header, which may be empty (RFC 9112 section 3.2).

        :raises Refusal: there is not exactly one, or it is none.
        """
        host = self.only("Host")
        if host is None:
            raise bad("There is no Host header")
        if host and not _HOST.fullmatch(host):
            raise bad("The Host header is not HOST or HOST:PORT")
        return host

    def checkNoContent(self) -> None:
        """Return if nobody can take what follows for content (RFC 9112 section 6.3).

        :raises Refusal: somebody can.
        """
        if b"transfer-encoding" in self.fields or self.only("Content-Length") not in (None, b"0"):
            raise bad("The request has content")


class HeadReader:
    """Collects a head; each byte is looked at once, in however many pieces they come."""

    def __init__(self) -> None:
        self._data = bytearray()

    def receive(self, data: bytes) -> tuple[Request, bytes] | None:
        """Take in what arrived.

        :returns: None until the head is whole; then its parts, and what is behind it.
        :raises Refusal: it is no head of a request, as soon as that is certain.
        """
        seen = len(self._data)
        self._data += data
        end = self._data.find(_END, max(0, seen - len(_END) + 1))
        size = len(self._data) if end < 0 else end
        # What is before the empty line, with the CRLF that ends its last line.
        if _MISPLACED.search(self._data, max(0, seen - 1), min(size, MAX_HEAD) + len(b"\r\n")):
            raise bad("There is a control character, or a line that does not end with CR LF")
        if size > MAX_HEAD:
            raise self._tooLarge()
        if end < 0:
            return None
        return parse(bytes(self._data[:end])), bytes(self._data[end + len(_END) :])

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


def parse(head: bytes) -> Request:
    """Take a head apart, which ends before its empty line, and whose lines end with CRLF.

    :raises Refusal: a line is not written as it has to be, or there are too many.
    """
    # RFC 9112 section 2.2: an empty line before the request is to be ignored.
    requestLine, *lines = head.removeprefix(b"\r\n").split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(requestLine)
    if match is None:
        raise bad("The first line is not METHOD TARGET HTTP/1.1")
    method, target, major, minor = match.groups()
    return Request(method, target, (int(major), int(minor)), _split(lines))


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
            raise bad("A header line is not NAME: VALUE")
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    return fields
