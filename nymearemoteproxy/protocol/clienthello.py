"""A TLS client's first message: where it ends, and what in it the server goes by.

Owns how it is cut into records and how it is laid out (RFC 8446 sections 4 and 5.1; RFC 5246, RFC
8422 and RFC 6066 for TLS 1.2), and the alert for one that cannot be read. Knows nothing of who
speaks TLS in the end: OpenSSL here, or the home that a visitor asks for. They read it again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from nymearemoteproxy.protocol.outcomes import Outcome

ALERT, HANDSHAKE = 21, 22
"""A record's type of content."""

CLIENT_HELLO = 1
"""A message's type."""

SERVER_NAME, SUPPORTED_GROUPS, KEY_SHARE = 0, 10, 51
"""Extensions' types."""

HOST_NAME = 0
"""The only type of a server's name there ever was (RFC 6066 section 3)."""

MOST_BYTES = 1 << 14
"""Of a message: what one record can hold. Browsers send two KiB, keys that withstand quantum
computers and a ticket included. It is kept for a client that has not said anything else yet, in its
records: some clients cut it into a few, lest somebody between read the server's name, and with a
byte in each there are six times as many."""

MOST_ENTRIES = 64
"""Of a list that are looked at. Browsers send twenty extensions, and less of all else."""

RECORD_SIZE = 1 << 14
"""Bytes of content that a record can have (RFC 8446 section 5.1)."""

_RECORD_HEAD, _MESSAGE_HEAD = 5, 4

_VERSION_AND_RANDOM = 2 + 32
"""Bytes in front of the lists."""

_ENTRY = struct.Struct(">HH")
"""How an extension, or a key, begins: what it is, and its length."""

_NAMES = struct.Struct(">HBH")
"""How a list of one name begins: its length, and the name's type and length."""


class Alert(IntEnum):
    """Why there is no handshake (RFC 8446 section 6.2)."""

    UNEXPECTED_MESSAGE = 10
    RECORD_OVERFLOW = 22
    ILLEGAL_PARAMETER = 47
    DECODE_ERROR = 50
    INTERNAL_ERROR = 80
    MISSING_EXTENSION = 109
    UNRECOGNIZED_NAME = 112

    def record(self) -> bytes:
        """Return the fatal alert as it is sent when nothing is encrypted yet."""
        return bytes((ALERT, 3, 3, 0, 2, 2, self))


class HelloError(Exception):
    """What the client sent is no such message, or not all that it has to be.

    :ivar alert: what it is told.
    :ivar outcome: how its connection ends.
    """

    def __init__(self, alert: Alert, outcome: Outcome = Outcome.TLS_HANDSHAKE_FAILED) -> None:
        super().__init__(alert.name)
        self.alert = alert
        self.outcome = outcome


class HelloReader:
    """Finds the message in what arrives, in however many records and pieces it comes."""

    __slots__ = ("_head", "_left", "_message", "_wanted")

    def __init__(self) -> None:
        self._message = bytearray()
        self._head = b""  # of a record, as long as it is not whole
        self._left = 0  # bytes of the record that have not come
        self._wanted = 1  # bytes of the message, after which there is something to be told of it

    def feed(self, data: bytes) -> bytes | None:
        """Take in what arrived; return the message without its head, None until it is whole.

        With a byte in each record this goes round some thousand times in a read, so all of it is
        here: a record takes half a microsecond.

        :raises HelloError: it is none, as soon as that is known.
        """
        data, self._head = self._head + data, b""
        message, left, at, size = self._message, self._left, 0, len(data)
        while at < size:
            if not left:
                if data[at] != HANDSHAKE:
                    raise HelloError(Alert.UNEXPECTED_MESSAGE)
                if size - at < _RECORD_HEAD:
                    self._head = data[at:]
                    break
                left = data[at + 3] << 8 | data[at + 4]
                at += _RECORD_HEAD
                if left > RECORD_SIZE:
                    raise HelloError(Alert.RECORD_OVERFLOW)
                if not left:  # RFC 8446 section 5.1 has none of these
                    raise HelloError(Alert.UNEXPECTED_MESSAGE)
            part = data[at : at + left]
            message += part
            left -= len(part)
            at += len(part)
            if len(message) >= self._wanted and self._isWhole():
                return bytes(message[_MESSAGE_HEAD : self._wanted])
        self._left = left
        return None

    def _isWhole(self) -> bool:
        """Look at as much of the message as was wanted; tell whether that is all of it."""
        message = self._message
        if message[0] != CLIENT_HELLO:
            raise HelloError(Alert.UNEXPECTED_MESSAGE)
        self._wanted = _MESSAGE_HEAD
        if len(message) >= _MESSAGE_HEAD:
            self._wanted += int.from_bytes(message[1:_MESSAGE_HEAD], "big")
            if self._wanted > MOST_BYTES:
                raise HelloError(Alert.ILLEGAL_PARAMETER)
        return self._wanted <= len(message)


class ClientHello(NamedTuple):
    """What a client offers for the key exchange: numbers of groups, in its order.

    :ivar shares: those that it has sent a key for; none before TLS 1.3.
    :ivar groups: all that it knows.
    """

    shares: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()


NOTHING = ClientHello()
"""What is offered by a message that cannot be read: OpenSSL tells what is wrong with it."""


def readOffers(message: bytes) -> ClientHello:
    """Return what a message offers, without its head; nothing is refused."""
    shares: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    try:
        for number, (kind, content) in enumerate(_extensions(message)):
            if number == MOST_ENTRIES:
                break
            if kind == SUPPORTED_GROUPS:
                groups = _readGroups(content)
            elif kind == KEY_SHARE:
                shares = _readShares(content)
    except (HelloError, struct.error):
        return NOTHING
    return ClientHello(shares, groups)


def readServerName(message: bytes) -> str:
    """Return the name of the server that a message is for, as it is written there.

    With an encrypted ClientHello it is that of the outer one. What is not ASCII in it is nothing
    that a name can have.

    :param message: without its head.
    :raises HelloError: there is no name, or it is not written as RFC 6066 section 3 says.
    """
    names = [content for kind, content in _extensions(message) if kind == SERVER_NAME]
    if not names:
        # RFC 8446 section 9.2, for servers that need it
        raise HelloError(Alert.MISSING_EXTENSION, Outcome.NO_SERVER_NAME)
    if len(names) > 1:
        raise HelloError(Alert.ILLEGAL_PARAMETER)
    content = names[0]
    name = content[_NAMES.size :]
    if not name or content[: _NAMES.size] != _NAMES.pack(len(content) - 2, HOST_NAME, len(name)):
        raise HelloError(Alert.DECODE_ERROR)
    return name.decode("ascii", "replace")


def _extensions(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the content of each, in the order they come.

    :raises HelloError: the message is shorter than it says, or longer.
    """
    try:
        at = _VERSION_AND_RANDOM
        at += 1 + message[at]  # the session's id
        at += 2 + int.from_bytes(message[at : at + 2], "big")  # ciphers
        at += 1 + message[at]  # ways to compress
        if at == len(message):
            return  # none at all, before TLS 1.3
        at += 2
        if at + int.from_bytes(message[at - 2 : at], "big") != len(message):
            raise HelloError(Alert.DECODE_ERROR)
        while at < len(message):
            kind, size = _ENTRY.unpack_from(message, at)
            at += _ENTRY.size + size
            if at > len(message):
                raise HelloError(Alert.DECODE_ERROR)
            yield kind, message[at - size : at]
    except (IndexError, struct.error):
        raise HelloError(Alert.DECODE_ERROR) from None


def _readGroups(content: bytes) -> tuple[int, ...]:
    count = min(len(content) // 2 - 1, MOST_ENTRIES)
    return struct.unpack_from(f">{count}H", content, 2)


def _readShares(content: bytes) -> tuple[int, ...]:
    shares: list[int] = []
    at = 2
    while at < len(content) and len(shares) < MOST_ENTRIES:
        group, size = _ENTRY.unpack_from(content, at)
        shares.append(group)
        at += _ENTRY.size + size
    return tuple(shares)
