"""The first bytes of a link between machines: for which member it is, and that it is from one.

Several members may be behind one port, whose process hands each connection to the one that is
meant. So before TLS that member's id is sent, which is no secret, whether the asker wants a ticket
to resume from, a number, and what only a member can make of all that. The id is written in digits:
whoever can write to the directory chooses it and where we connect, and ``FLUSHALL`` and an end of
line, as bytes, are an id, and a command for another service.

TLS costs a member some hundred µs of CPU, and with groups that Python's `ssl` cannot exclude
150 ms: strangers do not get that far. Nor does who has the traffic and sends the same again, since
each number is good for one link. Who can hold the traffic up gets one handshake for each link that
does not come about, and nothing more is proven.

Owns the reading of these bytes. Knows nothing of TLS, of how they are made, nor of what becomes of
a connection that is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from nymearemoteproxy.cluster.directory import NAME_SIZE
from nymearemoteproxy.cluster.identity import (
    PREFACE_SIZE,
    MemberIdentity,
    PrefaceRefused,
    nameOf,
)
from nymearemoteproxy.wires.direct import DirectTransport


class Preface:
    """Reads them: the protocol of a direct transport until then.

    :param identity: ours: they must be for it.
    :param protocol: has the connection from the beginning, and limits the time; its `prefaced` is
        told whether a ticket is wanted, and returns what follows.
    :param refuse: is called when they are something else, with the reason for people.
    """

    def __init__(
        self, identity: MemberIdentity, protocol: Any, refuse: Callable[[str], object]
    ) -> None:
        self._identity = identity
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
        preface, rest = self._read[:PREFACE_SIZE], self._read[PREFACE_SIZE:]
        if not nameOf(self._identity.id).encode().startswith(preface[:NAME_SIZE]):
            self._refuse("it is for another member")
            return
        if len(preface) < PREFACE_SIZE:
            return
        try:
            wantsTicket = self._identity.readPreface(preface)
        except PrefaceRefused as error:
            self._refuse(str(error))
            return
        protocol = self._protocol.prefaced(wantsTicket)
        self._transport.switchProtocol(protocol)
        if rest:
            protocol.dataReceived(rest)

    def connectionLost(self, reason: Failure) -> None:
        """It is over."""
        self._protocol.connectionLost(reason)
