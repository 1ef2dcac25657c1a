"""What Python's `ssl` does not do by itself: certificates that are in memory, one group for keys.

Owns how something that was read or made gets to OpenSSL. Knows nothing of whose certificates they
are, nor of what they are for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

GROUP = "prime256v1"
"""The group of the key exchange: P-256, which every client of TLS 1.3 has (RFC 8446 section 9.1).
By default OpenSSL also takes ffdhe8192, with which one handshake costs the server 150 ms instead
of 0.4, and Python's `ssl` takes all or one. A client that begins with another, mostly X25519,
needs one round trip more."""


@contextlib.contextmanager
def inMemory(content: bytes) -> Iterator[str]:
    """Give something that was read a path, since `ssl` has OpenSSL read files (Linux).

    OpenSSL is not given the path that it was read from: what was checked is what is served, and a
    pipe can be read only once.
    """
    with open(os.memfd_create("certificate"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
