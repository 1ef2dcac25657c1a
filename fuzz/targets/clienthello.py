"""What a TLS client offers with its first message.

The promises: nothing raises; what was read stays so whatever follows, and with what is left of it
nothing else is read; the lists are bounded; what is offered was sent.
"""

from __future__ import annotations

import struct

from fuzz.target import Planted, Target
from nymearemoteproxy.protocol.clienthello import (
    CLIENT_HELLO,
    HANDSHAKE,
    KEY_SHARE,
    MOST_BYTES,
    MOST_ENTRIES,
    MOST_RECORDS,
    SUPPORTED_GROUPS,
    ClientHello,
    readClientHello,
)

_MOST_WAITED_FOR = MOST_BYTES + (1 << 16) * MOST_RECORDS


def check(data: bytes) -> None:
    read = None
    for end in range(len(data) + 1):
        now = readClientHello(data[:end])
        assert read is None or now == read, "what follows changes what was read"
        read = now
    if read is None:
        assert len(data) < _MOST_WAITED_FOR
        return
    for numbers in read:
        assert len(numbers) <= MOST_ENTRIES, "a list has no bound"
        assert all(number.to_bytes(2, "big") in _unframed(data) for number in numbers)
    _checkWritten(data)


def _unframed(data: bytes) -> bytes:
    """Return what is in the records."""
    content, at = b"", 0
    while at < len(data):
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        content += data[at + 5 : at + 5 + size]
        at += 5 + size
    return content


def _checkWritten(data: bytes) -> None:
    """Write a message that offers what the bytes say, in records of several sizes."""
    groups = struct.unpack(f">{len(data[:40]) // 2}H", data[: len(data[:40]) // 2 * 2])
    shares = groups[: len(data) % 4]
    keys = b"".join(struct.pack(">HH", group, 3) + b"key" for group in shares)
    extensions = _extension(SUPPORTED_GROUPS, struct.pack(f">{len(groups)}H", *groups))
    extensions += _extension(0, data[:50]) + _extension(KEY_SHARE, keys)
    body = bytes(34) + b"\0" + b"\0\2\x13\1" + b"\1\0" + struct.pack(">H", len(extensions))
    body += extensions
    message = bytes([CLIENT_HELLO]) + len(body).to_bytes(3, "big") + body
    size = len(message) // (1 + len(data) % (MOST_RECORDS - 1)) + 1
    records = b"".join(
        struct.pack(">BHH", HANDSHAKE, 0x0301, len(message[at : at + size]))
        + message[at : at + size]
        for at in range(0, len(message), size)
    )
    assert readClientHello(records) == ClientHello(shares, groups), "what is written is not read"
    assert readClientHello(records[:-1]) is None, "it is not waited for all of it"


def _extension(kind: int, content: bytes) -> bytes:
    if kind:
        content = struct.pack(">H", len(content)) + content
    return struct.pack(">HH", kind, len(content)) + content


TARGET = Target(
    check,
    covers=("protocol.clienthello",),
    planted=(
        Planted(
            "protocol/clienthello.py", "except (IndexError, struct.error)", "except IndexError"
        ),
        Planted(
            "protocol/clienthello.py", "if len(message) >= end:", "if len(message) >= end - 1:"
        ),
        Planted(
            "protocol/clienthello.py",
            "at += _ENTRY.size + size\n    return",
            "at += _ENTRY.size\n    return",
        ),
    ),
    words=(b"\x16\3\1", b"\0\x0a\0\4\0\2\0\x1d", b"\0\x33\0\6\0\4\0\x1d\0\0"),
)
