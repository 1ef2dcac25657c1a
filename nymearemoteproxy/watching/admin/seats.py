"""Who is connected to the admin endpoint: its seats, TLS handshakes, and the time that each has.

Owns what clients may use of connections and time. Knows nothing of what is spoken on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.delays import Delay, Delays
from nymearemoteproxy.common.tally import Tally
from nymearemoteproxy.common.unixpeers import UnixPeer, peerOf
from nymearemoteproxy.connections.limits import (
    MOST_ADMIN_CONNECTIONS,
    Bounds,
    Bucket,
    Gate,
    sourceOf,
)
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.wires.transports import tuneTcp

MOST_FROM_ADDRESS = MOST_ADMIN_CONNECTIONS // 2
"""At a time, so that one host cannot keep the others out; also from loopback, where any user of the
machine may be. Whoever comes beyond that takes the seat of another connection."""

HANDSHAKES = 50
"""TLS handshakes a second. One takes two milliseconds, so that these take a tenth of a processor; a
browser needs six at once, Prometheus one for each scrape. Those of the known are not counted."""

HANDSHAKES_FROM_ADDRESS = 20
"""The same from one address, so that one host cannot keep the others out."""

CLOSE = 5.0
"""Seconds for a client to take the last words and close."""


@implementer(IPushProducer, ITransport)
class Seat(ProtocolWrapper):
    """A seat that a connection has taken: between our own transports and a protocol of Twisted's.

    It adds what such a protocol needs of a transport, and limits the time of every step, whoever's
    turn it is. The protocol says when a step begins, and for no byte the time begins anew.

    :param source: what the limits count the client as; None on a Unix socket.
    :ivar disconnecting: nothing more is read, not even what has arrived; the name is Twisted's.
    :ivar isWaiting: the next step is the client's.
    :ivar peer: the process at the other end of a Unix socket; None if it is none.
    """

    disconnecting = False
    factory: Seats
    transport: Any

    def __init__(self, factory: Seats, protocol: Any, source: str | None) -> None:
        super().__init__(factory, protocol)  # type: ignore[arg-type]  # 22.4 has no generic one
        self.source = source
        self.isWaiting = True
        self.peer: UnixPeer | None = None
        self._timer: Delay | None = None

    def works(self, seconds: float) -> None:
        """From now on the client waits for us, no longer than that."""
        self.isWaiting = False
        self._limit(seconds)

    def waits(self, seconds: float) -> None:
        """From now on we wait for the client, no longer than that."""
        self.isWaiting = True
        self.factory.advanced(self)
        self._limit(seconds)

    def _limit(self, seconds: float) -> None:
        self._cancel()
        self._timer = self.factory.delays.start(seconds, self._expired)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.remove(self._expired)
            self._timer = None

    def _expired(self) -> None:
        self._timer = None
        self.abortConnection()

    # The protocol of our transport

    def makeConnection(self, transport: Any) -> None:
        """The client is there.

        The base class would claim to provide what the transport does, and so be told what is for
        the transport.
        """
        tuneTcp(transport, 0, 0)
        self.peer = peerOf(transport.lowest.getHandle())
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        self.wrappedProtocol.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        """The client sent something."""
        if not self.disconnecting:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The connection is closed."""
        self.disconnecting = True
        self._cancel()
        super().connectionLost(reason)

    # The transport of the protocol

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send all of it, now or later."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Send what waits and close, soon."""
        if not self.disconnecting:
            self.waits(CLOSE)
            self.disconnecting = True
            self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Close at once."""
        self.disconnecting = True
        self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """Read nothing for now."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()


class Seats(WrappingFactory):
    """Gives the connections of another factory seats, as many as there are.

    When all are taken, the connection that has waited longest for its client makes room for a new
    one: so neither those that are idle nor those that send slowly keep others out. Whoever is known
    makes room for a stranger only where there is no other stranger.

    :param factory: of the protocols that the connections are for.
    :param delays: for the time limits.
    :param isKnown: tells of a source whether somebody there is no stranger.
    :param secure: every connection costs a TLS handshake.
    :ivar protocols: those that are taken, in the order of their last steps; the name is Twisted's.
    """

    noisy = False
    protocols: dict[Any, int]

    def __init__(
        self,
        factory: IProtocolFactory,
        clock: IReactorTime,
        delays: Delays,
        isKnown: Callable[[str | None], bool],
        secure: bool = False,
    ) -> None:
        super().__init__(factory)
        self.delays = delays
        self._isKnown = isKnown
        self._secure = secure
        bounds = Bounds(attemptsPerSecondPerAddress=HANDSHAKES_FROM_ADDRESS, exempt=())
        self._gate = Gate(clock, bounds)
        self._handshakes = Bucket(clock, HANDSHAKES, HANDSHAKES)
        self._crowd = Tally(
            clock,
            "admin endpoint: too many connections from {source}, idle ones are closed",
            "connection",
            "admin endpoint: {more} closed for others in the last {interval:.0f} s",
        )
        self._flood = Tally(
            clock,
            "admin endpoint: too many TLS handshakes a second, a connection from {source} is "
            "refused",
            "TLS connection",
            "admin endpoint: {more} refused in the last {interval:.0f} s",
        )

    def logPrefix(self) -> str:
        """In the log."""
        return "admin"

    def buildProtocol(self, addr: IAddress | None) -> Any:
        host = getattr(addr, "host", None)
        source = sourceOf(host, ())
        if self._secure and not self._mayShakeHands(host):
            self._flood.add(source=source or "the Unix socket")
            return None
        crowd = Counter(each.source for each in self.protocols)
        if len(self.protocols) >= MOST_ADMIN_CONNECTIONS:
            # Of those who have most: a crowd from a few addresses does not displace anybody else.
            strangers = [each for each in crowd if not self._isKnown(each)] or [*crowd]
            most = max(crowd[each] for each in strangers)
            self._makeRoom("all addresses", [each for each in strangers if crowd[each] == most])
        elif source is not None and crowd[source] >= MOST_FROM_ADDRESS:
            self._makeRoom(source, [source])
        return Seat(self, self.wrappedFactory.buildProtocol(addr), source)

    def _mayShakeHands(self, host: str | None) -> bool:
        ticket = self._gate.enter(host)
        if isinstance(ticket, Outcome):
            return False
        self._gate.leave(ticket)
        if self._isKnown(sourceOf(host, ())):
            return True
        if self._handshakes.isEmpty():
            return False
        self._handshakes.take()
        return True

    def _makeRoom(self, source: str, crowd: Sequence[str | None]) -> None:
        """Close the one that waits longest for its client, or that we work on longest.

        :param source: where too many come from, for the log.
        :param crowd: whose connections may be closed.
        """
        self._crowd.add(source=source)
        seats = [each for each in self.protocols if each.source in crowd]
        longest = next((each for each in seats if each.isWaiting), seats[0])
        self.unregisterProtocol(longest)
        longest.abortConnection()

    def advanced(self, seat: Seat) -> None:
        """The connection has done a step."""
        if seat in self.protocols:
            self.protocols[seat] = self.protocols.pop(seat)

    def unregisterProtocol(self, seat: Seat) -> None:
        """The seat is free, or soon will be."""
        self.protocols.pop(seat, None)

    def closeAll(self) -> None:
        """Close every connection, when the client has taken what waits for it."""
        for seat in list(self.protocols):
            seat.loseConnection()
