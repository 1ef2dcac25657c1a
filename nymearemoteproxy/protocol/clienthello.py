"""What a TLS client offers with its first message, as far as the server goes by it.

Owns where that message ends and how it is laid out (RFC 8446 sections 4 and 5.1; RFC 5246 and RFC
8422 for TLS 1.2). Knows nothing of OpenSSL, which reads it again: nothing is refused here. What is
strange is taken for a message that offers nothing, and OpenSSL tells what is wrong with it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

HANDSHAKE = 22
"""A record's type of content."""

CLIENT_HELLO = 1
"""A message's type."""

SUPPORTED_GROUPS, KEY_SHARE = 10, 51
"""Extensions' types."""

MOST_BYTES = 1 << 14
"""Of a message: what one record can hold. Browsers send two KiB, keys that withstand quantum
computers and a ticket included. It is kept for a client that has not said anything else yet."""

MOST_RECORDS = 16
"""Over which it may be spread. One is usual; some clients cut it into a few, lest somebody between
read the server's name. All are looked at anew with each piece that arrives."""

MOST_ENTRIES = 64
"""Of a list that are looked at. Browsers send twenty extensions, and less of all else."""

_RECORD_HEAD, _MESSAGE_HEAD = 5, 4

_VERSION_AND_RANDOM = 2 + 32
"""Bytes in front of the lists."""

_ENTRY = struct.Struct(">HH")
"""How an extension, or a key, begins: what it is, and its length."""


class ClientHello(NamedTuple):
    """What a client offers for the key exchange: numbers of groups, in its order.

    :ivar shares: those that it has sent a key for; none before TLS 1.3.
    :ivar groups: all that it knows.
    """

    shares: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()


_NOTHING = ClientHello()


def readClientHello(data: bytes) -> ClientHello | None:
    """Return what is offered; None as long as not all of it is there.

    :param data: all that has arrived.
    """
    message, at = b"", 0
    for _record in range(MOST_RECORDS):
        if len(data) < at + _RECORD_HEAD:
            return None if at >= len(data) or data[at] == HANDSHAKE else _NOTHING
        size = int.from_bytes(data[at + 3 : at + _RECORD_HEAD])
        if data[at] != HANDSHAKE or not size:
            return _NOTHING
        at += _RECORD_HEAD
        message += data[at : at + size]
        at += size
        if message and message[0] != CLIENT_HELLO:
            return _NOTHING
        if len(message) >= _MESSAGE_HEAD:
            end = _MESSAGE_HEAD + int.from_bytes(message[1:_MESSAGE_HEAD])
            if end > MOST_BYTES:
                return _NOTHING
            if len(message) >= end:
                return _read(message[_MESSAGE_HEAD:end])
        if len(data) < at:
            return None
    return _NOTHING


def _read(message: bytes) -> ClientHello:
    """Read a message without its head."""
    shares: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    try:
        at = _VERSION_AND_RANDOM
        at += 1 + message[at]  # the session's id
        at += 2 + int.from_bytes(message[at : at + 2])  # ciphers
        at += 1 + message[at]  # ways to compress
        at += 2  # the length of all extensions: there is nothing behind them
        for _extension in range(MOST_ENTRIES):
            if at >= len(message):
                break
            kind, size = _ENTRY.unpack_from(message, at)
            at += _ENTRY.size
            if kind == SUPPORTED_GROUPS:
                groups = _readGroups(message[at : at + size])
            elif kind == KEY_SHARE:
                shares = _readShares(message[at : at + size])
            at += size
    except (IndexError, struct.error):  # it is shorter than it says
        return _NOTHING
    return ClientHello(shares, groups)


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
