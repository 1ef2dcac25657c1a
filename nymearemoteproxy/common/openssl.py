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

GROUP = "prime256v1"
"""P-256, by the name that OpenSSL has for it; why this one, see above."""

X25519, P256 = 29, 23
"""Numbers of groups (RFC 8446 section 4.2.7)."""

_PREFERRED = "X25519"
"""OpenSSL computes a key in two thirds of the time that P-256 takes it."""


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
    if hasattr(default, "set_groups"):
        with contextlib.suppress(ssl.SSLError):  # it may be forbidden, as by FIPS
            default.set_groups(f"{_PREFERRED}:{GROUP}")
            return ServerContexts(default)
    default.set_ecdh_curve(GROUP)
    byGroup = {}
    with contextlib.suppress(ssl.SSLError):
        other = make()
        other.set_ecdh_curve(_PREFERRED)
        byGroup = {X25519: other, P256: default}
    return ServerContexts(default, byGroup)


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
