"""Encryption from end to end: what two ends of a tunnel say to each other before they trust it.

Owns the names by which they agree on it (RFC 7301), and what it means how the other end begins.
Knows nothing of TLS itself, nor of certificates.
"""

from __future__ import annotations

import hashlib
import uuid

_VERSION = b"nymea-end-to-end/1"

REFUSAL = b"\x15\x03\x03\x00\x02\x02\x78"
"""What an end says to one that it cannot understand: TLS's fatal alert no_application_protocol in
clear, so that it is one to whoever speaks TLS, and ours can tell what is missing."""

OTHER_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
"""What the end with the certificate says to one that wants another server or partner: the fatal
alert unrecognized_name, which is another one than `REFUSAL`."""

OTHER_PURPOSE = (
    "the far end speaks TLS, but not for the encryption from end to end with this one; perhaps it "
    "is another server or partner"
)

FIRST_WORDS = 4096
"""Bytes of the other end's first ones that are enough to know what it speaks. A hello with keys
that withstand quantum computers has 1500, and some put the names behind these."""

_HANDSHAKE = b"\x16\x03"
_ALERT = b"\x15\x03"
_HEADER = 5  # of a record: its type, the version, and the length of what follows

SERVING_OPTION = "--end-to-end"
CALLING_OPTIONS = "--end-fingerprint or --end-ca"


def agreedName(serverUuid: str | None, nonce: str | None) -> bytes:
    """Return what the ends of a tunnel agree on.

    With that in it which is known of the tunnel, the proxy cannot lead a client to another service,
    or to the end of another pair, that has the same certificate.

    :param serverUuid: of the registered server at its end, however it is written; None: the ends
        are a pair.
    :param nonce: the pair's.
    """
    if serverUuid is not None:
        return b"%s server %s" % (_VERSION, plainUuid(serverUuid).encode("ascii"))
    digest = hashlib.sha256((nonce or "").encode()).hexdigest()
    return b"%s pair %s" % (_VERSION, digest.encode("ascii"))


def plainUuid(written: str) -> str:
    """Return a uuid in one way, however it is written.

    :raises ValueError: it is none.
    """
    return str(uuid.UUID(written))


def asksForEncryption(first: bytes) -> bool:
    """Tell whether somebody's first bytes begin encryption from end to end."""
    return first.startswith(_HANDSHAKE) and _VERSION in first[:FIRST_WORDS]


def isUnfinished(first: bytes) -> bool:
    """Tell whether somebody's first bytes are a part of TLS's first message only.

    To wait for the rest holds nobody up: nothing is answered before it is there.
    """
    if len(first) < _HEADER or not first.startswith(_HANDSHAKE):
        return False
    size = _HEADER + int.from_bytes(first[3:_HEADER], "big")
    return len(first) < min(size, FIRST_WORDS)


def isRefused(said: bytes, heard: bytes) -> bool:
    """Tell whether the far end wants encryption and we do not know of it.

    :param said: how we began; who speaks TLS through the tunnel may get the same answer from the
        service itself.
    :param heard: what came.
    """
    return heard == REFUSAL and not said.startswith(_HANDSHAKE)


def missingThere(isCalling: bool) -> str:
    """Return what the far end has to be given for encryption.

    :param isCalling: we begin.
    """
    return SERVING_OPTION if isCalling else CALLING_OPTIONS


def misfit(heard: bytes, isCalling: bool) -> str | None:
    """Return in one line why the far end's first bytes begin no handshake; None if they may.

    :param isCalling: we begin, the far end has the certificate.
    """
    missing = missingThere(isCalling)
    if heard.startswith(REFUSAL):
        return f"the far end does not encrypt from end to end; it needs {missing}"
    if isCalling and heard.startswith(OTHER_NAME):
        return OTHER_PURPOSE
    if isCalling and asksForEncryption(heard):
        return f"both ends have {CALLING_OPTIONS}; one of them needs {SERVING_OPTION} instead"
    if not _mayBecome(heard, _HANDSHAKE) and not _mayBecome(heard, _ALERT):
        return f"the far end speaks no TLS; it needs {missing}"
    if not isCalling and _isHello(heard) and not asksForEncryption(heard):
        return OTHER_PURPOSE
    return None


def _isHello(heard: bytes) -> bool:
    return heard.startswith(_HANDSHAKE) and len(heard) > _HEADER and not isUnfinished(heard)


def _mayBecome(heard: bytes, begin: bytes) -> bool:
    return heard[: len(begin)] == begin[: len(heard)]
