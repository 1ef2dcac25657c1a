"""A TLS client's first message, written by hand (RFC 8446 sections 4.1.2 and 5.1).

And what another reader makes of one, as the home does that it is passed on to.
"""

from __future__ import annotations

import contextlib

from OpenSSL import SSL

UNRECOGNIZED, MISSING, UNEXPECTED, INTERNAL, UNREADABLE = (
    b"\x15\x03\x03\x00\x02\x02" + bytes([number]) for number in (112, 109, 10, 80, 50)
)
"""Fatal alerts (RFC 8446 section 6.2)."""


def listed(width: int, content: bytes) -> bytes:
    """Return a vector, whose length has so many bytes (RFC 8446 section 3.4)."""
    return len(content).to_bytes(width, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    """Return one of what a client offers."""
    return kind.to_bytes(2, "big") + listed(2, content)


def serverName(name: bytes) -> bytes:
    """Return the extension that says who is meant (RFC 6066 section 3)."""
    return extension(0, listed(2, b"\0" + listed(2, name)))


def hello(*extensions: bytes) -> bytes:
    """Return a message."""
    body = b"\x03\x03" + bytes(32) + listed(1, bytes(32)) + listed(2, bytes(8)) + listed(1, b"\0")
    return b"\x01" + listed(3, body + listed(2, b"".join(extensions)))


def records(message: bytes, *cuts: int) -> bytes:
    """Return the records that hold it, cut at these places."""
    bounds = [0, *sorted(cuts), len(message)]
    parts = [message[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]
    return b"".join(b"\x16\x03\x01" + listed(2, part) for part in parts if part)


def helloTo(name: str) -> bytes:
    """Return all that a client sends first that wants this server."""
    return records(hello(serverName(name.encode("ascii"))))


def namesInOpenSsl(data: bytes) -> list[bytes | None]:
    """Return the server's name in what a client sends, None for none; nothing if it is refused."""
    names: list[bytes | None] = []
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_tlsext_servername_callback(lambda asked: names.append(asked.get_servername()))
    server = SSL.Connection(context, None)
    server.set_accept_state()
    server.bio_write(data)
    with contextlib.suppress(SSL.Error):
        server.do_handshake()
    return names
