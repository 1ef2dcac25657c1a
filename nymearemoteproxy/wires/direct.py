"""Writing without delay: what can go to the kernel at once does.

Twisted's transports keep what is written until the reactor has polled, which costs two calls of
epoll_ctl and a turn of the reactor for every write. Owns the choice between sending and leaving it
to Twisted, and what that means for producers. Knows nothing of TLS, framing or tunnels.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
)
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

READ_SIZE = 6 * (16384 + 22)
"""Bytes read at a time, at most: six full records of TLS 1.3, so that reads of a burst do not cut
records. With the usual 64 KiB a message of 64 KiB and what WebSocket and TLS add to it would take
two reads; from 128 KiB on glibc takes every buffer from the kernel anew, which costs more than
larger reads save."""

FIRST_READ_SIZE = 1 << 12
"""The same before anybody has said that more is to come: few clients say so much, and whoever does
makes little work at a time."""


@implementer(IPullProducer)
class _Drain:
    """Hears from Twisted's transport that its buffer is empty."""

    __slots__ = ("_owner",)

    def __init__(self, owner: DirectTransport) -> None:
        self._owner = owner

    def resumeProducing(self) -> None:
        self._owner.drained()

    def stopProducing(self) -> None:
        """The transport is gone; its protocol is told too."""


class _Rest:
    """Stands before the protocol of a connection, and hands on no more than so many bytes.

    :ivar protocol: of the connection.
    """

    __slots__ = ("protocol", "_left", "_exceeded")

    def __init__(self, protocol: Any, size: int, exceeded: Callable[[], object]) -> None:
        self.protocol = protocol
        self._left = size
        self._exceeded = exceeded

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._exceeded()
        else:
            self.protocol.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        self.protocol.connectionLost(reason)


@implementer(IHalfCloseableProtocol)
class _HalfCloseableRest(_Rest):
    """The same, where the protocol wants to know of the end of one direction."""

    __slots__ = ()

    def readConnectionLost(self) -> None:
        self.protocol.readConnectionLost()

    def writeConnectionLost(self) -> None:
        self.protocol.writeConnectionLost()


class _Broken:
    """Stands before the protocol of a connection that broke: no end of it is orderly any more.

    TCP tells of a reset once. When who sends was told, who reads gets what had come before, and
    then an end like any other.
    """

    __slots__ = ("protocol",)

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol

    def dataReceived(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        isOrderly = reason.check(ConnectionDone)
        self.protocol.connectionLost(Failure(ConnectionLost()) if isOrderly else reason)


class DirectTransport:
    """A stream transport of Twisted's, as our protocols see it.

    It must see every byte that is written, so it is there from the beginning: a listener is given
    it as the protocol of the connection, and it hands the connection on to the real one.

    It is what our protocols need of a transport, and no more.

    A producer is paused as soon as the kernel does not take something at once, and resumed when all
    is sent: no more is buffered for a client than what its partner sends in one read.

    :param protocol: the first one of the connection.
    :ivar blocked: something waits to be sent, or the connection is being closed.
    """

    __slots__ = ("blocked", "_lowest", "_send", "_producer", "_protocol", "_peer")

    _lowest: Any

    def __init__(self, protocol: Any) -> None:
        self.blocked = False
        self._producer: IPushProducer | None = None
        self._protocol = protocol
        self._peer: IAddress | None = None

    def makeConnection(self, transport: Any) -> None:
        """Take the place between this transport and the protocol."""
        self._lowest = transport
        self._send = self.getHandle().send
        self._lowest.bufferSize = FIRST_READ_SIZE
        self._lowest.protocol = protocol = self._protocol
        del self._protocol
        protocol.makeConnection(self)

    def switchProtocol(self, protocol: Any) -> None:
        """Hand the connection to another protocol; what is read goes straight to it."""
        isBroken = isinstance(self._lowest.protocol, _Broken)
        self._lowest.protocol = _Broken(protocol) if isBroken else protocol
        protocol.makeConnection(self)

    def introduced(self, peer: IAddress | None, protocol: Any) -> None:
        """A PROXY header was read: hand the rest to a protocol that has the connection already.

        :param peer: the client's address; None when the socket's is all that is known.
        """
        self._peer = peer
        self._lowest.protocol = protocol

    # Writing

    def write(self, data: bytes) -> None:
        """Send it now, or as soon as possible."""
        if self.blocked:
            self._lowest.write(data)
            if self._producer is not None:
                self._producer.pauseProducing()
            return
        try:
            sent = self._send(data)
        except (BlockingIOError, BrokenPipeError):
            sent = 0  # full, or closed by the peer before, of which who reads is told
        except OSError as error:
            sent = 0
            if error.errno != errno.ENOBUFS:  # Twisted finds that out as well, and ends it
                self._lowest.protocol = _Broken(self._lowest.protocol)
        if sent < len(data):
            self._lowest.registerProducer(_Drain(self), False)
            self.blocked = True
            self._lowest.write(data[sent:])
            if self._producer is not None:
                self._producer.pauseProducing()

    def drained(self) -> None:
        """All is sent; Twisted also asks when it is told whom to ask, with nothing buffered yet."""
        if self.blocked:
            self.blocked = False
            self._lowest.unregisterProducer()
            if self._producer is not None:
                self._producer.resumeProducing()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Have a push producer, and no other, paused while something waits to be sent."""
        self._producer = producer
        if self.blocked:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Pause and resume nobody."""
        self._producer = None

    # Closing

    def loseConnection(self) -> None:
        """Send what waits, then close."""
        self._noMoreSending()
        self._lowest.loseConnection()

    def loseWriteConnection(self) -> None:
        """Send what waits, then the end of the stream."""
        self._noMoreSending()
        self._lowest.loseWriteConnection()

    def abortConnection(self) -> None:
        """Close at once."""
        self._noMoreSending()
        self._lowest.abortConnection()

    def _noMoreSending(self) -> None:
        self.blocked = True
        self._lowest.unregisterProducer()  # while it has one it does not close

    # What is Twisted's own

    def pauseProducing(self) -> None:
        """Read nothing for now."""
        self._lowest.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        self._lowest.resumeProducing()

    def readMuch(self) -> None:
        """Read as much at a time as is good for speed, from now on."""
        self._lowest.bufferSize = READ_SIZE

    def readAtMost(self, size: int) -> None:
        """Read no more bytes than this at a time, from now on."""
        self._lowest.bufferSize = min(size, self._lowest.bufferSize)

    def limitRest(self, size: int, exceeded: Callable[[], object]) -> None:
        """Hand on no more than so many bytes, from now on; to be called once.

        :param exceeded: is called instead, for each read that brings more.
        """
        protocol = self._lowest.protocol
        # That is all that Twisted asks for.
        kind = _HalfCloseableRest if IHalfCloseableProtocol.providedBy(protocol) else _Rest
        self._lowest.protocol = kind(protocol, size, exceeded)

    def getPeer(self) -> IAddress:
        """The client's address, which may be the one a PROXY header told."""
        address: IAddress = self._peer or self._lowest.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Our address."""
        address: IAddress = self._lowest.getHost()
        return address

    def getHandle(self) -> Any:
        """The socket."""
        return self._lowest.getHandle()

    @property
    def lowest(self) -> DirectTransport:
        """What is below TLS: itself."""
        return self


class DirectFactory(WrappingFactory):
    """Gives the connections of another factory direct transports."""

    noisy = False

    def logPrefix(self) -> str:
        """In the log it is the factory behind it that listens."""
        prefix: str = self.wrappedFactory.logPrefix()
        return prefix

    def buildProtocol(self, addr: IAddress | None) -> Any:
        protocol = self.wrappedFactory.buildProtocol(addr)
        return None if protocol is None else DirectTransport(protocol)
