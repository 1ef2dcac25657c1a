"""What Python's `ssl` does not do by itself: certificates that are in memory, groups for keys.

Owns how something that was read or made gets to OpenSSL, and which groups a server takes. Knows
nothing of whose certificates they are, nor of what they are for.

Groups
------

Clients of today begin the key exchange with X25519; P-256 is what every client of TLS 1.3 has (RFC
8446 section 9.1). A server that has not the one which a client begins with costs it a round trip
more. By default OpenSSL also takes large ones: with ffdhe8192 one handshake costs the server 150 ms
instead of 0.4. Python lets a context have all groups or one, and from 3.15 on those that are named.
Before that there are two contexts, and for each client the one that has its group. The `ssl` of
Debian 12, of Python 3.11.2, knows no X25519: there it is P-256 for all, and the round trip.

Each context has keys for tickets of its own. A client resumes a session with the context that it
had it from as long as it begins with the same group, which it does; or else there is a whole
handshake, as after a restart.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

P256_NAME, X25519_NAME = "prime256v1", "X25519"
"""What OpenSSL calls the groups. It computes a key of X25519 in two thirds of the time that P-256
takes it."""

P256, X25519 = 23, 29
"""Their numbers (RFC 8446 section 4.2.7)."""


@dataclass(frozen=True)
class ServerContexts:
    """What a server speaks TLS with.

    :ivar default: for clients that begin with nothing of what the others are for.
    :ivar byGroup: for those that have this group; what is preferred comes first. Empty if there is
        one for all.
    """

    default: ssl.SSLContext
    byGroup: Mapping[int, ssl.SSLContext] = field(default_factory=dict)

    def __iter__(self) -> Iterator[ssl.SSLContext]:
        """Return each of them, once."""
        return iter({self.default, *self.byGroup.values()})

    def choose(self, *offers: Collection[int]) -> ssl.SSLContext:
        """Return the one for a client that offers these groups.

        :param offers: the next one counts only if the one before has none of ours.
        """
        for offer in offers:
            for group, context in self.byGroup.items():
                if group in offer:
                    return context
        return self.default


def serverContexts(make: Callable[[], ssl.SSLContext]) -> ServerContexts:
    """Return contexts that take X25519 and P-256, and no other group.

    :param make: a context, which may take whatever it wants; all have to be alike.
    """
    default = make()
    isTaken = _isUsable(X25519_NAME)
    if isTaken and hasattr(default, "set_groups"):
        default.set_groups(f"{X25519_NAME}:{P256_NAME}")
        return ServerContexts(default)
    default.set_ecdh_curve(P256_NAME)
    if not isTaken:
        return ServerContexts(default)
    other = make()
    other.set_ecdh_curve(X25519_NAME)
    return ServerContexts(default, {X25519: other, P256: default})


def _isUsable(group: str) -> bool:
    """Tell whether OpenSSL can do this here, and may: it can be forbidden, as by FIPS.

    A context takes the name of any group that OpenSSL has heard of; only a client that begins with
    it shows the rest.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    try:
        context.set_ecdh_curve(group)
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO()).do_handshake()
    except ssl.SSLWantReadError:
        return True
    except ssl.SSLError:
        pass
    return False


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
