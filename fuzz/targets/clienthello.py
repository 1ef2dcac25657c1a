"""A TLS client's first message: what is offered with it, and whom it is for.

The promises: where the message ends, or why it is none, does not depend on how it is cut, and is
known before much has come; what is offered is bounded and was sent; what is written is read; and
OpenSSL reads no other name, and takes none that is refused, but for an empty one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from fuzz.target import Planted, Target, pieces
from nymearemoteproxy.protocol.clienthello import (
    KEY_SHARE,
    MOST_ENTRIES,
    RECORD_SIZE,
    SERVER_NAME,
    SUPPORTED_GROUPS,
    Alert,
    ClientHello,
    HelloError,
    HelloReader,
    readOffers,
    readServerName,
)
from tests.support.hellos import extension, hello, listed, namesInOpenSsl, records

_RECORD = b"\x16\3\1" + RECORD_SIZE.to_bytes(2, "big") + bytes(RECORD_SIZE)
"""As much as a record can have. Three are more than a message, and a record that was begun."""

_OPENSSL_LONGEST = 255
"""Bytes of a name."""


def check(data: bytes) -> None:
    found, end = _find(pieces(data, 0))
    for parts in ([data], pieces(data, 1 + len(data) % 255)):
        assert _find(parts)[0] == found, "it depends on how it is cut"
    if found is None:
        assert _find([data, *[_RECORD] * 3])[0] is not None, "it is waited for without end"
    elif isinstance(found, bytes):
        _checkOffers(found)
        name = _nameIn(found)
        if not isinstance(name, Alert):
            assert _inOpenSsl(data[:end]) in ([], [name]), "OpenSSL reads another name"
    _checkWritten(data)
    _checkName(data[-300:])


def _find(parts: Iterable[bytes]) -> tuple[bytes | Alert | None, int]:
    """Return the message, or why it is none; and how many parts had come by then."""
    reader = HelloReader()
    for count, part in enumerate(parts, 1):
        try:
            message = reader.feed(part)
        except HelloError as error:
            return error.alert, count
        if message is not None:
            return message, count
    return None, 0


def _nameIn(message: bytes) -> str | Alert | None:
    """Return the server's name, None without one, or why it cannot be read."""
    try:
        return readServerName(message)
    except HelloError as error:
        return None if error.alert is Alert.MISSING_EXTENSION else error.alert


def _inOpenSsl(data: bytes) -> list[str | None]:
    names = namesInOpenSsl(data)
    return [None if name is None else name.decode("ascii", "replace") for name in names]


def _checkOffers(message: bytes) -> None:
    for offered in readOffers(message):
        assert len(offered) <= MOST_ENTRIES, "a list has no bound"
        assert all(number.to_bytes(2, "big") in message for number in offered)


def _checkWritten(data: bytes) -> None:
    """Write a message that offers what the bytes say, in records of several sizes."""
    groups = struct.unpack(f">{len(data[:40]) // 2}H", data[: len(data[:40]) // 2 * 2])
    shares = groups[: len(data) % 4]
    keys = b"".join(struct.pack(">HH", group, 3) + b"key" for group in shares)
    message = hello(
        extension(SUPPORTED_GROUPS, listed(2, struct.pack(f">{len(groups)}H", *groups))),
        extension(SERVER_NAME, data[:50]),
        extension(KEY_SHARE, listed(2, keys)),
    )
    written = records(message, *range(1, len(message), 1 + len(data) % 90))
    assert _find([written])[0] == message[4:], "what is written is not read"
    assert _find([written[:-1]])[0] is None, "it is not waited for all of it"
    assert readOffers(message[4:]) == ClientHello(shares, groups)


def _checkName(content: bytes) -> None:
    """What is in the extension is a name for both readers, or for none."""
    message = hello(extension(SERVER_NAME, content))
    name = _nameIn(message[4:])
    isTaken = isinstance(name, str) and "\0" not in name and len(name) <= _OPENSSL_LONGEST
    expected = [[name]] if isTaken else [[], [""]]
    assert _inOpenSsl(records(message)) in expected, "OpenSSL reads another name"


TARGET = Target(
    check,
    covers=("protocol.clienthello",),
    planted=(
        Planted(
            "protocol/clienthello.py", "except (IndexError, struct.error)", "except IndexError"
        ),
        Planted(
            "protocol/clienthello.py", "self._wanted <= len(message)", "self._wanted < len(message)"
        ),
        Planted(
            "protocol/clienthello.py",
            "at += _ENTRY.size + size\n    return",
            "at += _ENTRY.size\n    return",
        ),
        Planted(
            "protocol/clienthello.py",
            "data, self._head = self._head + data",
            "data, self._head = data",
        ),
        Planted(
            "protocol/clienthello.py",
            "len(content) - 2, HOST_NAME, len(name)",
            "len(content) - 2, content[2], len(name)",
        ),
    ),
    words=(
        b"\x16\3\1",
        b"\0\x0a\0\4\0\2\0\x1d",
        b"\0\x33\0\6\0\4\0\x1d\0\0",
        b"\0\0\0\x0e\0\x0c\0\0\x09a.example",
        b"\xfe\x0d",
    ),
)
