"""Owns the checks of the client's end of TLS, and of sessions that are resumed, in memory."""

from __future__ import annotations

import contextlib
import ssl
from functools import partial
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.openssl import P256_NAME, inMemory
from nymearemoteproxy.wires import tlsclient
from nymearemoteproxy.wires.direct import DirectTransport
from nymearemoteproxy.wires.tlsclient import TlsClientTransport, TlsSessions
from nymearemoteproxy.wires.tlsserver import TlsServerTransport
from nymearemoteproxy.wires.tlstransport import TlsTransport
from tests.support.identities import Identity
from tests.support.tlssessions import (
    NOISE,
    Listener,
    Lower,
    Recorder,
    serverContext,
    splitRecords,
)


def trusting() -> ssl.SSLContext:
    """Return a client that trusts everybody, and begins with the server's group."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ecdh_curve(P256_NAME)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Server:
    """An independent server, in memory.

    :ivar said: what the client sent it, decrypted.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.said = b""

    def answer(self, data: bytes) -> bytes:
        """Take what the client sent; return what there is to be said."""
        self.incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            while data := self.tls.read(1 << 16):
                self.said += data
        return self.outgoing.read()

    def say(self, data: bytes) -> bytes:
        """Return data, encrypted."""
        self.tls.write(data)
        return self.outgoing.read()


class Attempted:
    """A client's connection, and its server.

    :ivar tls: the client's end.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        server: ssl.SSLContext,
        protocol: Recorder | None = None,
        name: str = "localhost",
        preface: bytes = b"",
        greeting: bytes = b"",
        sessions: TlsSessions | None = None,
    ) -> None:
        self.protocol = protocol or Listener()
        self.server = Server(server)
        sessions = TlsSessions() if sessions is None else sessions
        self.tls = TlsClientTransport(
            context, sessions, name, self.protocol, preface=preface, greeting=greeting
        )
        self.lower = Lower()
        self.lower.protocol = direct = DirectTransport(self.tls)
        direct.makeConnection(self.lower)

    def exchange(self) -> bytes:
        """Let the server have what was sent; return its answer, not received yet."""
        return self.server.answer(self.lower.take())

    def shaken(self) -> Attempted:
        """Shake hands; the client also gets the ticket."""
        while answer := self.exchange():
            self.lower.receive(answer)
        return self

    @property
    def isResumed(self) -> bool:
        return bool(self.server.tls.session_reused)


class ClientTests(SynchronousTestCase):
    """The client's end."""

    def setUp(self) -> None:
        self.context = trusting()

    def attempt(
        self,
        protocol: Recorder | None = None,
        name: str = "localhost",
        preface: bytes = b"",
        greeting: bytes = b"",
    ) -> Attempted:
        return Attempted(self.context, serverContext().default, protocol, name, preface, greeting)

    def test_beginsAtOnce(self) -> None:
        """The first thing to be sent is a ClientHello that names the server."""
        attempt = self.attempt(name="a.member")
        [hello] = splitRecords(attempt.lower.value())
        self.assertEqual((hello[0], hello[5]), (22, 1))
        self.assertIn(b"a.member", hello)
        self.assertIs(attempt.protocol.transport, attempt.tls)
        self.assertEqual(attempt.protocol.handshakes, 0)

    def test_bothWays(self) -> None:
        attempt = self.attempt()
        attempt.protocol.onHandshake = lambda: attempt.tls.write(b"first")
        attempt.shaken()
        self.assertEqual((attempt.protocol.handshakes, attempt.server.said), (1, b"first"))
        attempt.tls.write(NOISE)
        attempt.exchange()
        self.assertTrue(attempt.server.said == b"first" + NOISE)
        attempt.lower.receive(attempt.server.say(NOISE))
        self.assertTrue(b"".join(attempt.protocol.chunks) == NOISE)

    def test_piecewise(self) -> None:
        """However the server's bytes arrive."""
        server, sessions = serverContext().default, TlsSessions()
        attempt = Attempted(self.context, server, sessions=sessions)
        while answer := attempt.exchange():
            for octet in answer:
                attempt.lower.receive(bytes([octet]))
        self.assertEqual(attempt.protocol.handshakes, 1)
        attempt.lower.receive(attempt.server.say(b"data"))
        self.assertEqual(attempt.protocol.chunks, [b"data"])
        again = Attempted(self.context, server, sessions=sessions)
        self.assertTrue(again.shaken().isResumed)

    def test_preface(self) -> None:
        """It is in clear, in one piece with the ClientHello."""
        attempt = self.attempt(preface=b"for you")
        [first] = attempt.lower.sent
        self.assertEqual(first[:7], b"for you")
        self.assertEqual(len(splitRecords(first[7:])), 1)

    def test_greeting(self) -> None:
        """It is in one piece with the end of the handshake, and with what the protocol says."""
        for word in (b"", b"first"):
            attempt = self.attempt(greeting=b"it is me")
            if word:
                attempt.protocol.onHandshake = partial(attempt.tls.write, word)
            hello = attempt.lower.take()
            answer = attempt.server.answer(hello)
            attempt.lower.sent.clear()
            for half in (answer[:100], answer[100:]):
                self.assertEqual(attempt.lower.sent, [], "the server has not proven itself")
                attempt.lower.receive(half)
            self.assertEqual(len(attempt.lower.sent), 1)
            attempt.exchange()
            self.assertEqual(attempt.server.said, b"it is me" + word)

    def test_refused(self) -> None:
        """The client does not trust the server: it says so, and the protocol hears why."""
        context = ssl.create_default_context()
        context.set_ecdh_curve(P256_NAME)
        attempt = Attempted(context, serverContext().default, greeting=bytes(100))
        while not attempt.lower.disconnecting:
            attempt.lower.receive(attempt.exchange())
        self.assertEqual(attempt.protocol.handshakes, 0)
        _hello, alert = attempt.lower.sent
        self.assertLess(len(alert), 100, "there is no greeting")
        error = self.assertRaises(ssl.SSLError, attempt.exchange)
        self.assertIn("unknown ca", str(error).lower().replace("_", " "))
        attempt.lower.lose(ConnectionDone())
        [loss] = attempt.protocol.losses
        self.assertIsInstance(loss.value, ssl.SSLCertVerificationError)

    def test_garbage(self) -> None:
        attempt = self.attempt()
        attempt.lower.receive(b"220 mail.example ESMTP\r\n")
        self.assertTrue(attempt.lower.disconnecting)
        attempt.lower.lose(ConnectionDone())
        self.assertIsInstance(attempt.protocol.losses[0].value, ssl.SSLError)

    def test_serverLeaves(self) -> None:
        attempt = self.attempt()
        attempt.lower.lose(ConnectionDone())
        self.assertEqual([loss.type for loss in attempt.protocol.losses], [ConnectionLost])

    def test_abortAtOnce(self) -> None:
        """A protocol that does not want the connection: nothing is sent."""

        class Unwilling(Recorder):
            """Aborts."""

            def connectionMade(self) -> None:
                self.transport.abortConnection()

        attempt = self.attempt(Unwilling())
        self.assertTrue(attempt.lower.aborted)
        self.assertEqual((attempt.lower.value(), attempt.lower.waiting), (b"", []))

    def test_goodbyes(self) -> None:
        """Both directions are over, and neither end misses close_notify."""
        attempt = self.attempt().shaken()
        attempt.tls.loseConnection()
        self.assertTrue(attempt.lower.halfClosed)
        attempt.server.incoming.write(attempt.lower.take())
        self.assertEqual(attempt.server.tls.read(), b"", "it has said goodbye")
        attempt.server.tls.unwrap()
        attempt.lower.receive(attempt.server.outgoing.read())
        self.assertTrue(attempt.lower.disconnecting)
        attempt.lower.lose(ConnectionDone())
        self.assertEqual([loss.type for loss in attempt.protocol.losses], [ConnectionDone])


class SessionTests(SynchronousTestCase):
    """What later connections are resumed with."""

    def setUp(self) -> None:
        self.context = trusting()
        self.sessions = TlsSessions()

    def attempt(self, name: str) -> Attempted:
        return Attempted(self.context, serverContext().default, name=name, sessions=self.sessions)

    def test_resumed(self) -> None:
        """From the second connection on; several may be at once."""
        self.assertFalse(self.attempt("a").shaken().isResumed)
        first, second = self.attempt("a"), self.attempt("a")
        for attempt in (first, second, self.attempt("a")):
            self.assertTrue(attempt.shaken().isResumed)
            attempt.lower.receive(attempt.server.say(b"data"))
            self.assertEqual(attempt.protocol.chunks, [b"data"])

    def test_eachPeerHasItsOwn(self) -> None:
        self.attempt("a").shaken()
        self.assertFalse(self.attempt("b").shaken().isResumed)

    def test_looksOnce(self) -> None:
        """Each look costs as much as a fair part of a handshake."""

        class Looks:
            """An SSLObject whose session is looked at."""

            def __init__(self, tls: Any) -> None:
                self._tls = tls

            @property
            def session(self) -> Any:
                looks.append(self)
                return self._tls.session

            def __getattr__(self, name: str) -> Any:
                return getattr(self._tls, name)

        for expected in (1, 0):  # whole, resumed
            looks: list[Looks] = []
            attempt = self.attempt("a")
            tls: Any = attempt.tls
            tls._tls = Looks(tls._tls)
            attempt.shaken()
            for _ in range(3):
                attempt.lower.receive(attempt.server.say(b"data"))
            self.assertEqual(len(looks), expected)
            self.assertEqual(attempt.isResumed, not expected)

    def test_bounded(self) -> None:
        """The one not used for the longest time goes."""
        self.patch(tlsclient, "MOST_SESSIONS", 2)
        for name in ("a", "b"):
            self.attempt(name).shaken()
        self.attempt("a")
        self.attempt("c").shaken()
        self.assertEqual(len(self.sessions), 2)
        known = [name for name in "abc" if self.sessions.last(name) is not None]
        self.assertEqual(known, ["a", "c"])

    def test_forgottenByTheServer(self) -> None:
        """The one that comes then shakes hands as at first, and the next one wants a ticket."""
        self.attempt("a").shaken()
        anew = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own = Identity("server")
        with inMemory(own.pem + own.keyPem) as path:
            anew.load_cert_chain(path)
        attempt = Attempted(self.context, anew, name="a", sessions=self.sessions).shaken()
        self.assertEqual((attempt.isResumed, "a" in self.sessions), (False, False))
        Attempted(self.context, anew, name="a", sessions=self.sessions).shaken()
        attempt = Attempted(self.context, anew, name="a", sessions=self.sessions).shaken()
        self.assertTrue(attempt.isResumed)

    def test_serversPathIsItsOwn(self) -> None:
        """What the server's end does with each read is not touched by all this."""
        for name in ("dataReceived", "write", "_decrypt", "_read"):
            self.assertIs(getattr(TlsServerTransport, name), getattr(TlsTransport, name))
