"""The wire contract between two members: the tests of one, again."""

from __future__ import annotations

import os

from tests.support.remote import again
from tests.support.served import Served
from tests.support.servedclusters import LinkedByTls, LinkedByUnix, ServedInCluster
from tests.wires import test_wires

OVER_TLS = (
    "TcpWithWssTests",
    "WsWithUnixTests",
    "WssWithWsTests",
    "TlsTests",
    "WsTests",
    "TcpHalfClosedWsTests",
    "UnixHalfClosedTcpTests",
    "WssStalledTests",
    "TcpStalledTests",
    "TlsStalledLeaverTests",
    "TcpGarbageTests",
)
"""What is done between machines as well; what is above the transport is the same."""

# A build of the Debian package has them in memory only: debian/rules.
if not os.environ.get("NYMEA_BRIEF"):
    again(globals(), test_wires, Served, LinkedByUnix, ServedInCluster)
    again(
        globals(), test_wires, Served, LinkedByTls, ServedInCluster, prefix="Distant", only=OVER_TLS
    )
