"""Owns the checks of what TLS says by itself, also against OpenSSL's own client."""

from __future__ import annotations

import shutil
from typing import Any
from unittest import SkipTest

from OpenSSL import SSL
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Factory, ProcessProtocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from nymearemoteproxy.wires.direct import DirectFactory
from nymearemoteproxy.wires.tlsserver import TlsFactory
from nymearemoteproxy.wires.tlstransport import MAX_UNSENT_ANSWERS
from tests.support.identities import clientContext
from tests.support.tlssessions import (
    ALERT,
    APPLICATION_DATA,
    CLIENT_HELLO,
    HANDSHAKE,
    Recorder,
    Session,
    TlsCase,
    serverContext,
    splitRecords,
)
from tests.support.wires import Inline

reactor: Any = globalReactor


class AnswerTests(TlsCase):
    """What TLS says by itself."""

    def test_keyUpdate(self) -> None:
        """One that asks for ours gets it before the next data; data around it is delivered."""
        session, forger = self.forged()
        before = forger.seal(APPLICATION_DATA, b"before")
        session.receive(before, forger.keyUpdate(), forger.seal(APPLICATION_DATA, b"after"))
        self.assertEqual(session.protocol.chunks, [b"beforeafter"])
        session.lower.sent.clear()
        session.protocol.transport.write(b"with new keys")
        self.assertEqual([len(splitRecords(sent)) for sent in session.lower.sent], [2])
        session.deliver()
        self.assertEqual(session.client.received, b"with new keys")
        self.assertOpen(session)

    def test_renegotiation(self) -> None:
        """A client of TLS 1.2 that asks for it is told no, and not cut off."""
        session = Session(context=clientContext(SSL.TLS1_2_VERSION)).shaken()
        self.assertTrue(session.client.connection.renegotiate())
        session.receive(session.client.shakeHands())
        [refusal] = splitRecords(session.lower.value())
        self.assertEqual(refusal[0], ALERT)
        session.client.shakeHands(session.lower.take())
        self.assertIn("no renegotiation", session.client.fault)
        self.assertOpen(session)
        self.assertEqual((session.protocol.handshakes, session.protocol.chunks), (1, []))

    def test_atOnce(self) -> None:
        """An answer does not wait for the next data; what came around its cause is delivered."""
        session, forger = self.forgedOld()
        parts = [(APPLICATION_DATA, b"a"), (HANDSHAKE, CLIENT_HELLO), (APPLICATION_DATA, b"b")]
        session.receive(*(forger.seal(*part) for part in parts))
        self.assertEqual(session.protocol.chunks, [b"ab"])
        self.assertEqual([record[0] for record in splitRecords(session.lower.take())], [ALERT])
        self.assertOpen(session)

    def test_keptBack(self) -> None:
        """Nothing is piled up below for a client that does not read; it comes in order later."""
        session, forger = self.forgedOld()
        session.stall()
        for _ in range(3):
            session.receive(
                forger.seal(HANDSHAKE, CLIENT_HELLO), forger.seal(APPLICATION_DATA, b"data")
            )
        self.assertEqual(session.lower.waiting, [])
        self.assertEqual(session.protocol.chunks, [b"data"] * 3)
        session.lower.drain()
        session.lower.take()
        session.protocol.transport.write(b"resumed")
        kinds = [record[0] for record in splitRecords(session.lower.take())]
        self.assertEqual(kinds, [ALERT] * 3 + [APPLICATION_DATA])
        self.assertOpen(session)

    def test_afterDraining(self) -> None:
        """What was kept back goes out when the client is heard of again, if not before."""
        session, forger = self.forgedOld()
        session.stall()
        session.receive(forger.seal(HANDSHAKE, CLIENT_HELLO))
        session.lower.drain()
        session.lower.take()
        session.receive(forger.seal(APPLICATION_DATA, b"data"))
        self.assertEqual([record[0] for record in splitRecords(session.lower.take())], [ALERT])

    def test_beforeTheGoodbye(self) -> None:
        """What was kept back goes out before it, and nothing behind it."""
        session, forger = self.forgedOld()
        session.stall()
        session.receive(forger.seal(HANDSHAKE, CLIENT_HELLO))
        session.protocol.transport.loseConnection()
        session.lower.drain()
        kinds = [record[0] for record in splitRecords(session.lower.take())]
        self.assertEqual(kinds, [APPLICATION_DATA, ALERT, ALERT])
        self.assertTrue(session.lower.halfClosed)
        self.assertOpen(session)

    def test_tooMany(self) -> None:
        """A client that wants answers and does not take them is cut off; nothing is delivered."""
        session, forger = self.forgedOld()
        session.receive(forger.seal(HANDSHAKE, CLIENT_HELLO))
        size = len(session.lower.take())
        session.stall()
        for _ in range(MAX_UNSENT_ANSWERS // size):
            session.receive(
                forger.seal(HANDSHAKE, CLIENT_HELLO), forger.seal(APPLICATION_DATA, b"good")
            )
        self.assertEqual(len(session.protocol.chunks), MAX_UNSENT_ANSWERS // size)
        self.assertOpen(session)
        session.protocol.chunks.clear()
        session.receive(
            forger.seal(HANDSHAKE, CLIENT_HELLO), forger.seal(APPLICATION_DATA, b"too much")
        )
        self.assertTrue(session.lower.aborted)
        self.assertEqual((session.protocol.chunks, session.lower.waiting), ([], []))
        session.lower.lose(ConnectionAborted())
        self.assertLost(session, ConnectionAborted)


class Command(ProcessProtocol):
    """A running program.

    :ivar ended: fires when it has ended.
    """

    transport: Any

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self._said = b""
        self._awaited: tuple[bytes, Deferred[None]] | None = None

    def until(self, text: bytes) -> Deferred[None]:
        """Fire when it says this, after all that was waited for before."""
        said: Deferred[None] = Deferred()
        self._awaited = (text, said)
        self._look()
        return said

    def _look(self) -> None:
        if self._awaited is not None:
            text, said = self._awaited
            _before, found, rest = self._said.partition(text)
            if found:
                self._said, self._awaited = rest, None
                said.callback(None)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._said += data
        self._look()

    def processEnded(self, reason: Failure) -> None:
        if self._awaited is not None:
            (text, said), self._awaited = self._awaited, None
            said.errback(AssertionError(f"no {text!r} but {self._said!r}"))
        self.ended.callback(None)

    def kill(self) -> Deferred[None]:
        """Make sure that it ends."""
        if not self.ended.called:
            self.transport.signalProcess("KILL")
        return self.ended


class Echo(Recorder):
    """Answers what it gets in capital letters.

    :ivar lost: fires when the connection is closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.write(data.upper())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.lost.callback(None)


class SocketTests(TestCase):
    """Over a real connection."""

    timeout = 300

    @inlineCallbacks
    def test_keyUpdate(self) -> Inline:
        """OpenSSL's client renews its keys, with and without asking for ours."""
        openssl = shutil.which("openssl")
        if openssl is None:
            raise SkipTest("openssl is not installed")
        echo = Echo()
        factory = Factory.forProtocol(lambda: echo)
        factory.noisy = False
        below = DirectFactory(TlsFactory(serverContext(), factory))
        port = reactor.listenTCP(0, below, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        command = Command()
        address = f"127.0.0.1:{port.getHost().port}"
        # -msg tells of the handshake's messages, as they are sent (>>>) and received (<<<).
        arguments = [openssl, "s_client", "-connect", address, "-tls1_3", "-msg"]
        reactor.spawnProcess(command, openssl, arguments)
        self.addCleanup(lambda: echo.lost if echo.transport else None)
        self.addCleanup(command.kill)
        # What it reads at once is either a command or data.
        command.transport.write(b"before\n")
        yield command.until(b"BEFORE")
        command.transport.write(b"K\n")
        yield command.until(b">>> TLS 1.3, Handshake [length 0005], KeyUpdate")
        command.transport.write(b"between\n")
        yield command.until(b"<<< TLS 1.3, Handshake [length 0005], KeyUpdate")
        yield command.until(b"BETWEEN")
        command.transport.write(b"k\n")
        yield command.until(b">>> TLS 1.3, Handshake [length 0005], KeyUpdate")
        command.transport.write(b"after\n")
        yield command.until(b"AFTER")
        command.transport.write(b"Q\n")
        yield command.ended
        yield echo.lost
        self.assertEqual(b"".join(echo.chunks), b"before\nbetween\nafter\n")
        self.assertEqual([loss.type for loss in echo.losses], [ConnectionDone])
