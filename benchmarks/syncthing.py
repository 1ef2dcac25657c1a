"""Syncthing's relay protocol, version 1: the messages by which two devices come to a session.

https://docs.syncthing.net/specs/relay-v1 has it. Owns how they are written and read. Knows nothing
of connections.
"""

from __future__ import annotations

import hashlib
import ssl
import struct
from collections.abc import Awaitable, Callable

MAGIC = 0x9E79BC40
PROTOCOL = "bep-relay"
"""What is negotiated by ALPN where messages are exchanged over TLS."""

JOIN_RELAY, JOIN_SESSION, RESPONSE, CONNECT, INVITATION = 2, 3, 4, 5, 6
"""Types of messages; the others are pings, pongs, and that the relay is full."""
SUCCESS, ALREADY_CONNECTED = 0, 2
"""Codes of a response."""

_HEADER = struct.Struct(">III")
_NUMBER = struct.Struct(">I")
_ALIGNED = 4
"""XDR fills up to a multiple of so many bytes (RFC 4506 section 3)."""
LONGEST = 1024
"""Bytes of a message; the longest one, an invitation, has 136."""

Take = Callable[[int], Awaitable[bytes]]
"""Returns so many of the next bytes."""


class RelayError(ConnectionError):
    """The relay refuses, or says what is no message; the text says what."""


class FullError(RelayError):
    """The session has both its devices already."""


def deviceId(certificate: str) -> bytes:
    """Return by what a relay knows a device.

    :param certificate: PEM, with or without a key before it.
    """
    text = certificate[certificate.index("-----BEGIN CERTIFICATE-----") :]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).digest()


def message(kind: int, field: bytes | None = None) -> bytes:
    """Return a message with one field of bytes, or none."""
    content = b"" if field is None else _NUMBER.pack(len(field)) + field + _filling(len(field))
    return _HEADER.pack(MAGIC, kind, len(content)) + content


def _filling(size: int) -> bytes:
    return bytes(-size % _ALIGNED)


async def _read(take: Take, wanted: int) -> bytes:
    """Return the content of the next message.

    :raises RelayError: it is not of this type.
    """
    magic, kind, size = _HEADER.unpack(await take(_HEADER.size))
    if magic != MAGIC or size > LONGEST:
        raise RelayError(f"the relay says what is no message: {magic:#x}, {size} bytes")
    content = await take(size)
    if kind != wanted:
        raise RelayError(f"the relay sends a message of type {kind}: {content!r}")
    return content


async def succeeded(take: Take) -> None:
    """Read a response.

    :raises RelayError: it tells of no success.
    """
    content = await _read(take, RESPONSE)
    (code,) = _NUMBER.unpack_from(content)
    if code != SUCCESS:
        kind = FullError if code == ALREADY_CONNECTED else RelayError
        raise kind(f"the relay refuses: {content!r}")


async def invitationKey(take: Take) -> bytes:
    """Read an invitation; return the key of the session.

    :raises RelayError: it is none.
    """
    content = await _read(take, INVITATION)
    _device, rest = _field(content)
    key, _address = _field(rest)
    return key


def _field(content: bytes) -> tuple[bytes, bytes]:
    """Return the bytes that stand first, and what follows."""
    (size,) = _NUMBER.unpack_from(content)
    end = _NUMBER.size + size
    if end > len(content):
        raise RelayError(f"a message of the relay ends too early: {content!r}")
    return content[_NUMBER.size : end], content[end + len(_filling(size)) :]
