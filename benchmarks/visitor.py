"""What a visitor says first, by which a proxy finds the home: a TLS handshake's first record.

Owns the name of the home. Knows nothing of who listens.
"""

from __future__ import annotations

import contextlib
import ssl

HOME = "home.example"


def clientHello() -> bytes:
    """Return the record."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOME).do_handshake()
    return outgoing.read()
