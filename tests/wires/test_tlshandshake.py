"""Owns the checks of how connections over TLS begin, or are refused."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.wires.tlsserver import TlsFactory
from nymearemoteproxy.wires.tlstransport import SLICE_SIZE
from tests.support.identities import clientContext
from tests.support.tlssessions import (
    ALERT,
    NOISE,
    PEER,
    PROTOCOL_VERSION,
    VERSIONS,
    Listener,
    Recorder,
    Session,
    TlsCase,
    serverContext,
    splitRecords,
)


class HandshakeTests(TlsCase):
    """How connections begin."""

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3, however the bytes arrive; the protocol is told once."""
        for name, version in VERSIONS.items():
            for step in (1, 1 << 16):
                session = Session(context=clientContext(version))
                self.assertIs(session.protocol.transport, session.transport)
                said = session.client.shakeHands()
                while said:
                    self.assertEqual(session.protocol.handshakes, 0)
                    for place in range(0, len(said), step):
                        session.receive(said[place : place + step])
                    said = session.client.shakeHands(session.lower.take())
                self.assertEqual(session.protocol.handshakes, 1)
                self.assertEqual(session.client.connection.get_protocol_version_name(), name)
                self.assertEqual(session.protocol.chunks, [])
                self.assertTalks(session)
                self.assertEqual(session.protocol.handshakes, 1)
                self.assertOpen(session)

    def test_notListening(self) -> None:
        """Only who says that it listens is told."""
        session = Session(Recorder()).shaken()
        self.assertTalks(session)
        self.assertEqual(session.protocol.handshakes, 0)

    def test_writeInHandshakeCompleted(self) -> None:
        session = Session()
        session.protocol.onHandshake = lambda: session.protocol.transport.write(b"welcome")
        session.shaken()
        self.assertEqual(session.client.received, b"welcome")

    def test_switch(self) -> None:
        """The next protocol gets what came with the last bytes of the handshake."""
        session = Session()
        first, second = session.protocol, Listener()
        first.onHandshake = lambda: first.transport.switchProtocol(second)
        end = session.nearlyShaken()
        session.receive(end, session.client.encrypt(b"one"), session.client.encrypt(b"two"))
        self.assertEqual(second.chunks, [b"onetwo"])
        self.assertIs(second.transport, session.transport)
        session.receive(session.client.encrypt(b"more"))
        self.assertEqual(second.chunks, [b"onetwo", b"more"])
        session.lower.lose(ConnectionLost())
        self.assertEqual((first.handshakes, second.handshakes), (1, 0))
        self.assertEqual((first.chunks, first.losses, len(second.losses)), ([], [], 1))

    def test_muchBehind(self) -> None:
        """More than OpenSSL is given at a time came with the last bytes of the handshake."""
        for size in (SLICE_SIZE, 3 * SLICE_SIZE):
            session = Session()
            end = session.nearlyShaken()
            session.receive(end, session.client.encrypt(NOISE[:size]))
            self.assertEqual([len(chunk) for chunk in session.protocol.chunks], [size])
            self.assertTrue(session.protocol.chunks == [NOISE[:size]])
            self.assertOpen(session)

    def test_everythingAtOnce(self) -> None:
        """The end of the handshake, data and close_notify in one read."""
        session = Session()
        end = session.nearlyShaken()
        session.receive(end, session.client.encrypt(b"all"), session.client.close())
        self.assertEqual((session.protocol.handshakes, session.protocol.chunks), (1, [b"all"]))
        self.assertTrue(session.lower.disconnecting)
        session.deliver()
        self.assertTrue(session.client.closed)
        session.lower.lose(ConnectionDone())
        self.assertLost(session, ConnectionDone)

    def test_abortInHandshakeCompleted(self) -> None:
        """What came behind the handshake is not delivered."""
        session = Session()
        session.protocol.onHandshake = session.protocol.abort
        end = session.nearlyShaken()
        session.receive(end, session.client.encrypt(b"data"))
        self.assertEqual((session.protocol.handshakes, session.protocol.chunks), (1, []))
        self.assertTrue(session.lower.aborted)

    def test_loseInHandshakeCompleted(self) -> None:
        """What came behind the handshake is delivered, as it is whenever we close first."""
        session = Session()
        session.protocol.onHandshake = session.protocol.lose
        end = session.nearlyShaken()
        session.receive(end, session.client.encrypt(b"data"))
        self.assertEqual(session.protocol.chunks, [b"data"])
        self.assertFalse(session.lower.disconnecting, "the client has not said goodbye")
        session.deliver()
        self.assertTrue(session.client.closed)
        session.receive(session.client.close())
        session.lower.lose(ConnectionDone())
        self.assertLost(session, ConnectionDone)

    def test_alpn(self) -> None:
        """Protocols that the client offers do not matter."""
        for protocols in ([b"h2"], [b"h2", b"http/1.1"], [b"mqtt"]):
            context = clientContext()
            context.set_alpn_protos(protocols)
            session = Session(context=context).shaken()
            self.assertEqual(session.client.connection.get_alpn_proto_negotiated(), b"")
            self.assertTalks(session)

    def test_resumption(self) -> None:
        """A client that comes back is spared the certificate; pyOpenSSL could not tell."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.maximum_version = version
            ticket = None
            for resumed in (False, True):
                session = Session()
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                client = context.wrap_bio(incoming, outgoing, session=ticket)
                for _ in range(3):
                    with contextlib.suppress(ssl.SSLWantReadError):
                        client.do_handshake()
                        # Where the client is done first its data comes with its last bytes.
                        client.write(b"early")
                    session.receive(outgoing.read())
                    incoming.write(session.lower.take())
                    if session.protocol.handshakes:
                        break
                if not session.protocol.chunks:
                    client.do_handshake()
                    client.write(b"early")
                    session.receive(outgoing.read())
                session.protocol.transport.write(b"data")
                incoming.write(session.lower.take())
                self.assertEqual(client.read(), b"data")
                self.assertEqual(session.protocol.chunks, [b"early"])
                self.assertEqual(client.session_reused, resumed, version)
                ticket = client.session

    def test_noTls(self) -> None:
        """Something else than TLS."""
        for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"\xff" * (1 << 16)):
            session = Session()
            session.receive(garbage)
            self.assertFailed(session)
            self.assertEqual((session.protocol.handshakes, session.protocol.chunks), (0, []))

    def test_badHandshake(self) -> None:
        """A record of TLS that holds no handshake: an alert tells."""
        session = Session()
        session.receive(b"\x16\x03\x01\x00\x20" + b"\xff" * 32)
        [alert] = splitRecords(session.lower.take())
        self.assertEqual((alert[0], alert[5:6]), (ALERT, b"\x02"))
        self.assertFailed(session)
        self.assertEqual(session.protocol.handshakes, 0)

    def test_badEnd(self) -> None:
        """The last bytes of the handshake are damaged: the protocol hears nothing of it."""
        session = Session()
        end = bytearray(session.nearlyShaken())
        end[-1] ^= 1
        session.receive(bytes(end))
        session.deliver()
        self.assertIn("alert", session.client.fault)
        self.assertFailed(session)
        self.assertEqual(session.protocol.handshakes, 0)

    def test_oldVersion(self) -> None:
        """TLS 1.1 is refused, and the client told why.

        The version is changed by hand: the client's OpenSSL may not know it any more.
        """
        session = Session(context=clientContext(SSL.TLS1_2_VERSION))
        hello = bytearray(session.client.shakeHands())
        self.assertEqual(hello[9:11], b"\x03\x03")
        hello[9:11] = b"\x03\x02"
        session.receive(bytes(hello))
        [alert] = splitRecords(session.lower.take())
        self.assertEqual((alert[0], alert[5:]), (ALERT, PROTOCOL_VERSION))
        self.assertFailed(session, "unsupported protocol")

    def test_clientLeaves(self) -> None:
        """The connection ends before the handshake is done, however far that was."""
        for version in VERSIONS.values():
            session = Session(context=clientContext(version))
            session.lower.lose(ConnectionDone())
            self.assertLost(session, ConnectionLost)
            session = Session(context=clientContext(version))
            session.receive(session.client.shakeHands()[:-1])
            session.lower.lose(ConnectionDone())
            self.assertLost(session, ConnectionLost)
            session = Session(context=clientContext(version))
            session.receive(session.nearlyShaken()[:-1])
            session.lower.lose(ConnectionDone())
            self.assertLost(session, ConnectionLost)
            self.assertEqual(session.protocol.handshakes, 0)

    def test_weLeave(self) -> None:
        """There is nobody to say goodbye to yet."""
        for leave in ("loseConnection", "abortConnection"):
            session = Session()
            session.receive(session.client.shakeHands())
            session.lower.take()
            getattr(session.protocol.transport, leave)()
            self.assertTrue(session.lower.aborted, leave)
            self.assertEqual(session.lower.take(), b"")
            session.lower.lose(ConnectionAborted())
            self.assertLost(session, ConnectionAborted)


class FactoryTests(SynchronousTestCase):
    """Connections that a limit refuses."""

    def test_refused(self) -> None:
        """No TLS is made for them: there is nothing here to make it with."""

        class Refusing(Factory):
            """Takes nobody."""

            def buildProtocol(self, addr: object) -> None:
                asked.append(addr)

        asked: list[object] = []
        nothing: Any = None
        self.assertIsNone(TlsFactory(nothing, Refusing()).buildProtocol(PEER))
        self.assertEqual(asked, [PEER])

    def test_silent(self) -> None:
        """It does not log that it starts."""
        self.assertFalse(TlsFactory(serverContext(), Factory()).noisy)
