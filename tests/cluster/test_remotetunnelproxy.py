"""Servers and clients of the tunnel proxy that come to two members: the tests of one, again."""

from __future__ import annotations

import os

from tests.support.remote import again
from tests.support.served import TRANSPORTS, Served
from tests.support.servedclusters import LinkedByTls, LinkedByUnix, ServedInCluster
from tests.tunnelproxy import (
    test_access,
    test_lengthprefixed,
    test_lifetimes,
    test_pressure,
    test_registering,
    test_relaying,
)


class MoreOnTheWay:
    """A link holds some hundred KiB that nobody has read."""

    size = 1_000_000


OTHERS = {f"{name.capitalize()}DeafServerTests": MoreOnTheWay for name in TRANSPORTS}
"""What differs between members."""

OVER_TLS = (
    "TlsDeafClientTests",
    "WssDeafClientTests",
    "TcpLeftBehindTests",
    "UnixLivenessTests",
    "WssServerTests",
    "TcpClientTests",
    "TcpHalfCloseTests",
    "UnixGarbageTests",
    "WsWithTlsTests",
    "UnixWithWssTests",
    "WsAccountTests",
)
"""What is done between machines as well; what is above the transport is the same."""

# A build of the Debian package has them in memory only: debian/rules.
if not os.environ.get("NYMEA_BRIEF"):
    for _tests in (
        test_access,
        test_lengthprefixed,
        test_lifetimes,
        test_pressure,
        test_registering,
        test_relaying,
    ):
        again(globals(), _tests, Served, LinkedByUnix, ServedInCluster, others=OTHERS)
        again(
            globals(), _tests, Served, LinkedByTls, ServedInCluster, prefix="Distant", only=OVER_TLS
        )
