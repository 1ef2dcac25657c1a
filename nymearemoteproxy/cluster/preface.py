"""The first bytes of a link between machines: for which member it is, and that it is from one.

Several members may be behind one port, whose process hands each connection to the one that is
meant. So before TLS that member's id is sent, which is no secret, whether the asker wants a ticket
to resume from, and what only a member can make of both. The id is written in digits: whoever can
write to the directory chooses it and where we connect, and ``FLUSHALL`` and an end of line, as
bytes, are an id, and a command for another service. TLS costs a member some hundred µs of CPU,
and with groups that Python's `ssl` cannot exclude 150 ms: strangers do not get that far. Nothing
more is proven by it, for it is always the same, and who has the traffic can send it again.

Owns the reading of these bytes. Knows nothing of TLS, of how they are made, nor of what becomes of
a connection that is refused.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from nymearemoteproxy.cluster.directory import NAME_SIZE
from nymearemoteproxy.wires.direct import DirectTransport


class Preface:
    """Reads them: the protocol of a direct transport until then.

    :param expected: what they must be, without the wish for a ticket and with it; our own id comes
        first.
    :param protocol: has the connection from the beginning, and limits the time; its `prefaced` is
        told which of both it was, and returns what follows.
    :param refuse: is called when they are something else, with the reason for people.
    """

    def __init__(
        self, expected: tuple[bytes, bytes], protocol: Any, refuse: Callable[[str], object]
    ) -> None:
        self._expected = expected
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
        plain, _wishing = self._expected
        preface, rest = self._read[: len(plain)], self._read[len(plain) :]
        if not plain.startswith(preface[:NAME_SIZE]):
            self._refuse("it is for another member")
            return
        if len(preface) < len(plain):
            return
        for wantsTicket, expected in enumerate(self._expected):
            if hmac.compare_digest(preface, expected):
                protocol = self._protocol.prefaced(bool(wantsTicket))
                self._transport.switchProtocol(protocol)
                if rest:
                    protocol.dataReceived(rest)
                return
        self._refuse("it has another secret")

    def connectionLost(self, reason: Failure) -> None:
        """It is over."""
        self._protocol.connectionLost(reason)
