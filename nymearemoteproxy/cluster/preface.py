"""The first bytes of a link between machines: for which member it is.

Several members may be behind one port, whose process hands each connection to the one that is
meant. So before TLS its id is sent, which is no secret. Owns the reading of these bytes. Knows
nothing of TLS, or of what becomes of a connection that is for somebody else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from nymearemoteproxy.cluster.directory import MEMBER_SIZE
from nymearemoteproxy.wires.direct import DirectTransport


class Preface:
    """Reads them: the protocol of a direct transport until then.

    :param id: our own.
    :param protocol: what follows; it has the connection from the beginning, and limits the time.
    :param refuse: is called when the link is for somebody else.
    """

    def __init__(self, id: bytes, protocol: Any, refuse: Callable[[], object]) -> None:
        self._id = id
        self._protocol = protocol
        self._refuse = refuse
        self._read = b""

    def makeConnection(self, transport: DirectTransport) -> None:
        """Somebody is there."""
        self._transport = transport
        self._protocol.makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Some of it arrived, or all of it, and perhaps more."""
        self._read += data
        if len(self._read) < MEMBER_SIZE:
            return
        id, rest = self._read[:MEMBER_SIZE], self._read[MEMBER_SIZE:]
        if id != self._id:
            self._refuse()
            return
        self._transport.introduced(None, self._protocol)
        if rest:
            self._protocol.dataReceived(rest)

    def connectionLost(self, reason: Failure) -> None:
        """It is over."""
        self._protocol.connectionLost(reason)
