"""The direct transport, in memory: what is sent at once, what waits, and in which order."""

from __future__ import annotations

import errno
from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from nymearemoteproxy.wires.direct import FIRST_READ_SIZE, READ_SIZE, DirectFactory
from tests.support.memory import Pipe, Producer

PEER = IPv4Address("TCP", "192.0.2.1", 4000)


class Narrow(Pipe):
    """A transport whose socket takes only so many bytes at a time.

    :ivar room: how many.
    """

    room = 3

    def send(self, data: bytes) -> int:
        return super().send(data[: self.room])


@implementer(IHalfCloseableProtocol)
class Ending(Protocol):
    """Keeps what it hears."""

    data = b""
    reason: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason

    def readConnectionLost(self) -> None:
        raise AssertionError("an orderly end")

    def writeConnectionLost(self) -> None:
        """It is not told."""


def _raise(error: OSError, _data: bytes) -> int:
    raise error


class DirectCase(SynchronousTestCase):
    """Helpers."""

    def connect(self, pipe: Pipe | None = None) -> tuple[Pipe, Any]:
        """Return a lower transport and the direct one on it."""
        pipe = pipe or Pipe(PEER)
        built = DirectFactory(Factory.forProtocol(Protocol)).buildProtocol(PEER)
        pipe.protocol = built
        built.makeConnection(pipe)
        return pipe, built

    def watched(self, pipe: Pipe | None = None) -> tuple[Pipe, Any, Producer]:
        """The same, with a producer."""
        lower, direct = self.connect(pipe)
        producer = Producer()
        direct.registerProducer(producer, True)
        return lower, direct, producer


class ConnectTests(DirectCase):
    """It steps aside: what is read goes straight to the protocol."""

    def test_protocol(self) -> None:
        pipe, direct = self.connect()
        self.assertIsInstance(pipe.protocol, Protocol)
        self.assertIs(pipe.protocol.transport, direct)

    def test_switch(self) -> None:
        pipe, direct = self.connect()
        other = Protocol()
        direct.switchProtocol(other)
        self.assertIs(pipe.protocol, other)
        self.assertIs(other.transport, direct)

    def test_refused(self) -> None:
        class Refusing(Factory):
            def buildProtocol(self, addr: object) -> None:
                """Take nobody."""

        self.assertIsNone(DirectFactory(Refusing()).buildProtocol(PEER))

    def test_introduced(self) -> None:
        """A PROXY header told the client's address; who reads on has the connection already."""
        pipe, direct = self.connect()
        other = Protocol()
        client = IPv4Address("TCP", "198.51.100.1", 1)
        direct.introduced(client, other)
        self.assertIs(pipe.protocol, other)
        self.assertIsNone(other.transport)
        self.assertEqual(direct.getPeer(), client)
        direct.introduced(None, other)
        self.assertEqual(direct.getPeer(), PEER)

    def test_logPrefix(self) -> None:
        """In the log it is the factory behind it that listens."""
        factory = Factory.forProtocol(Protocol)
        self.assertEqual(DirectFactory(factory).logPrefix(), factory.logPrefix())

    def test_delegated(self) -> None:
        pipe, direct = self.connect()
        self.assertEqual(direct.getPeer(), PEER)
        self.assertEqual(direct.getHost(), pipe.getHost())
        self.assertIs(direct.lowest, direct)
        self.assertEqual(pipe.bufferSize, FIRST_READ_SIZE)
        direct.readMuch()
        self.assertEqual(pipe.bufferSize, READ_SIZE)
        direct.pauseProducing()
        self.assertEqual(pipe.producerState, "paused")
        direct.resumeProducing()
        self.assertEqual(pipe.producerState, "producing")


class WriteTests(DirectCase):
    """Order is kept, whatever the socket takes at once."""

    def test_atOnce(self) -> None:
        pipe, direct, producer = self.watched()
        direct.write(b"one")
        direct.write(b"two")
        self.assertEqual(pipe.take(), b"onetwo")
        self.assertFalse(direct.blocked)
        self.assertEqual(producer.asked, [])

    def test_partly(self) -> None:
        """What the socket does not take waits, and everything behind it."""
        pipe, direct, producer = self.watched(Narrow(PEER))
        direct.write(b"abc")
        self.assertEqual(producer.asked, [])
        direct.write(b"defg")
        self.assertTrue(direct.blocked)
        self.assertEqual(producer.asked, ["pause"])
        direct.write(b"h")
        self.assertEqual(pipe.take(), b"abcdef")
        pipe.drain()
        self.assertEqual(pipe.take(), b"gh")
        self.assertFalse(direct.blocked)
        self.assertEqual(producer.asked[-1], "resume")
        direct.write(b"i")
        self.assertEqual(pipe.take(), b"i")

    def test_full(self) -> None:
        pipe, direct, producer = self.watched()
        pipe.full = True
        direct.write(b"a")
        producer.resumeProducing()
        direct.write(b"b")
        self.assertEqual(producer.asked[-1], "pause", "whoever let it go on meanwhile")
        self.assertEqual(pipe.take(), b"")
        pipe.drain()
        self.assertEqual(pipe.take(), b"ab")

    def test_brokenSocket(self) -> None:
        """Twisted finds out and tells the protocol; the writer need not care."""
        pipe, direct, _producer = self.watched()

        def broken(_data: bytes) -> int:
            raise ConnectionResetError

        self.patch(direct, "_send", broken)
        direct.write(b"lost")
        self.assertTrue(direct.blocked)
        self.assertEqual(pipe.take(), b"")

    def test_brokenEnds(self) -> None:
        """The kernel tells of a reset once, here who sends; who reads hears of an orderly end."""
        for fault in (ConnectionResetError(), TimeoutError()):
            for switches in (False, True):
                pipe, direct = self.connect()
                self.patch(direct, "_send", partial(_raise, fault))
                direct.write(b"lost")
                heard = Ending()
                if switches:
                    direct.switchProtocol(heard)
                else:
                    pipe.protocol.protocol = heard
                pipe.protocol.dataReceived(b"came before")
                self.assertFalse(IHalfCloseableProtocol.providedBy(pipe.protocol))
                pipe.protocol.connectionLost(Failure(ConnectionDone()))
                self.assertEqual((heard.data, heard.reason.type), (b"came before", ConnectionLost))

    def test_othersAreNotBroken(self) -> None:
        """Nor is what was closed before: who reads is told how."""
        for error in (BlockingIOError(), OSError(errno.ENOBUFS, "full"), BrokenPipeError()):
            pipe, direct = self.connect()
            protocol = pipe.protocol
            self.patch(direct, "_send", partial(_raise, error))
            direct.write(b"waits")
            self.assertIs(pipe.protocol, protocol)

    def test_withoutProducer(self) -> None:
        pipe, direct = self.connect()
        pipe.full = True
        direct.write(b"a")
        pipe.drain()
        self.assertEqual(pipe.take(), b"a")

    def test_producerComesLate(self) -> None:
        """It is told at once that something waits."""
        pipe, direct = self.connect()
        pipe.full = True
        direct.write(b"a")
        producer = Producer()
        direct.registerProducer(producer, True)
        self.assertEqual(producer.asked, ["pause"])
        pipe.drain()
        self.assertEqual(producer.asked, ["pause", "resume"])

    def test_producerGoes(self) -> None:
        pipe, direct, producer = self.watched()
        direct.unregisterProducer()
        pipe.full = True
        direct.write(b"a")
        pipe.drain()
        self.assertEqual(producer.asked, [])

    def test_ownProducer(self) -> None:
        """It has none below unless something waits: a wrapper must be able to close."""
        pipe, direct, producer = self.watched()
        self.assertIsNone(pipe.producer)
        pipe.full = True
        direct.write(b"a")
        self.assertTrue(verifyObject(IPullProducer, pipe.producer))
        self.assertFalse(pipe.streaming)
        pipe.drain()
        self.assertIsNone(pipe.producer)
        pipe.full = True
        direct.write(b"b")
        pipe.lose(ConnectionDone())
        self.assertEqual(producer.asked, ["pause", "resume", "pause"])


class CloseTests(DirectCase):
    """After a farewell nothing overtakes what waits, and nothing keeps the transport open."""

    def test_closings(self) -> None:
        for close, hasHappened in (
            ("loseConnection", lambda pipe: pipe.disconnecting),
            ("loseWriteConnection", lambda pipe: pipe.halfClosed),
            ("abortConnection", lambda pipe: pipe.lost),
        ):
            pipe, direct, _producer = self.watched()
            pipe.full = True
            direct.write(b"first")
            pipe.full = False
            getattr(direct, close)()
            self.assertTrue(hasHappened(pipe), close)
            self.assertIsNone(pipe.producer, "Twisted does not close while it has a producer")
            direct.write(b"late")
            self.assertEqual(pipe.take(), b"", "it must not go past what waits")
            pipe.drain()
            self.assertEqual(pipe.take(), b"firstlate", close)

    def test_closeAfterHalfClose(self) -> None:
        pipe, direct = self.connect()
        direct.loseWriteConnection()
        direct.loseConnection()
        self.assertTrue(pipe.disconnecting)
