"""How connections over TLS end when the client never answers a close_notify.

Many do not, Qt's `QSslSocket` among them: they wait for the end of the stream. In memory on a clock
that stands still from the goodbye on, and with the real process, whose patience would outlast the
test.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import ssl
import threading
from uuid import UUID

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory

from nymearemoteproxy.authentication.backend import Verdict
from nymearemoteproxy.common.delays import Delays
from nymearemoteproxy.protocol.jsonrpc import CALLS_A_TURN
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.watching.admin.seats import Seats
from nymearemoteproxy.watching.admin.web import Answer, HttpFactory
from nymearemoteproxy.wires.arrival import ProxyFactory
from nymearemoteproxy.wires.tlsserver import TlsFactory
from nymearemoteproxy.wires.transports import MOST_DROPPED
from tests.support.endtoend import (
    ESTABLISHED_FIRST,
    FIRST,
    PATIENCE,
    SIGTERM,
    TLS,
    EndToEnd,
    Server,
    Stream,
    accepted,
    authenticate,
    call,
    inThread,
    join,
    refused,
    secret,
    tunnel,
)
from tests.support.inmemory import TIMING, UPGRADE, InMemory
from tests.support.memory import Pipe
from tests.support.tlssessions import PEER, serverContext
from tests.support.visitors import TlsVisitor
from tests.support.wires import maskedFrame, slip

RIGHT, WRONG = "secret token", "wrong token"

CORE, APP = str(UUID(int=1)), str(UUID(int=2))

SIZE = 8 << 20
"""Bytes: more than all the buffers on the way hold."""


FLOOD = bytes(1 << 16)


def hellos(count: int) -> bytes:
    """Return so many calls."""
    return b"".join(call("RemoteProxy.Hello", number) for number in range(count))


class MemoryFarewellTests(InMemory):
    """Everything is told at once; each way to end is one test, over both versions of TLS."""

    versions = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)

    terms = Terms()

    def setUp(self) -> None:
        super().setUp()
        self.backend.authenticate = self._judge  # type: ignore[method-assign]

    def _judge(self, token: str) -> Deferred[Verdict]:
        return succeed(Verdict(token != WRONG))

    def visit(self, version: int, kind: str = "TCP") -> TlsVisitor:
        """Let a client of TLS connect."""
        factory = ProxyFactory(self.nextProxy(), kind, True, False, self.builders[kind])
        return self.connect(version, factory)

    def connect(self, version: int, factory: Factory) -> TlsVisitor:
        """The same, to whatever listens."""
        return TlsVisitor(self.attach(TlsFactory(serverContext(), factory), PEER), version)

    def ask(self, visitor: TlsVisitor, token: str = RIGHT) -> bytes:
        """Authenticate; return what is said to that."""
        visitor.send(authenticate(token))
        self.clock.advance(0)
        return visitor.take()

    def joined(self, version: int) -> tuple[TlsVisitor, Pipe]:
        """Return a client in a tunnel, and its partner's connection, which is plain TCP."""
        visitor, partner = self.visit(version), self.accept("TCP")
        self.ask(visitor)
        self.authenticate(partner)
        visitor.take()
        partner.take()
        return visitor, partner

    def registered(self, version: int) -> tuple[TlsVisitor, TlsVisitor]:
        """Return the server of a tunnel proxy and a client of it."""
        core, app = self.visit(version), self.visit(version)
        core.send(call("TunnelProxy.RegisterServer", serverName="", serverUuid=CORE))
        self.assertIn(b"NoError", core.take())
        self.clock.advance(TIMING.notificationGap)
        app.send(call("TunnelProxy.RegisterClient", clientName="", clientUuid=APP, serverUuid=CORE))
        self.assertIn(b"NoError", app.take())
        core.take()
        return core, app

    def assertTold(self, visitor: TlsVisitor, outcome: Outcome, said: bytes = b"") -> None:
        """It hears the last words and the end, and closes in its own way; that is no fault."""
        self.assertIn(said, visitor.take())
        self.assertTrue(visitor.isTold)
        self.assertFalse(visitor.pipe.disconnecting or visitor.pipe.lost, "it may be reset")
        self.assertEqual(visitor.pipe.producerState, "producing", "its own end would be missed")
        before = self.proxy.registry.counters.outcomes[outcome]
        visitor.pipe.lose(ConnectionDone())
        self.assertEqual(self.proxy.registry.counters.outcomes[outcome], before + 1)

    def test_refused(self) -> None:
        for version in self.versions:
            visitor = self.visit(version)
            visitor.send(authenticate(WRONG))
            self.clock.advance(0)
            self.assertTold(visitor, Outcome.TOKEN_REFUSED, refused(FIRST))

    def test_invalid(self) -> None:
        for version in self.versions:
            visitor = self.visit(version)
            visitor.send(b"no JSON")
            self.assertTold(visitor, Outcome.INVALID_JSON, b'"status":"error"')

    def test_inactive(self) -> None:
        for version in self.versions:
            visitor = self.visit(version)
            self.clock.advance(TIMING.inactive)
            self.assertTold(visitor, Outcome.INACTIVE_TIMEOUT)

    def test_alone(self) -> None:
        for version in self.versions:
            visitor = self.visit(version)
            self.assertEqual(self.ask(visitor), accepted(FIRST))
            self.clock.advance(TIMING.alone)
            self.assertTold(visitor, Outcome.ALONE_TIMEOUT)

    def test_third(self) -> None:
        for version in self.versions:
            self.joined(version)
            third = self.visit(version)
            third.send(authenticate(RIGHT))
            self.clock.advance(0)
            self.assertTold(third, Outcome.TUNNEL_EXISTS, accepted(FIRST))
            self.proxy.registry.dismissal.abortAll()

    def test_partnerLeaves(self) -> None:
        for version in self.versions:
            visitor, partner = self.joined(version)
            partner.receive(b"last words")
            partner.lose(ConnectionDone())
            self.assertTold(visitor, Outcome.PARTNER_LEFT, b"last words")

    def test_partnerOverTlsLeaves(self) -> None:
        """Neither waits for the other."""
        for version in self.versions:
            one, two = self.visit(version), self.visit(version)
            self.ask(one)
            self.ask(two)
            two.leave()
            self.assertTrue(two.pipe.disconnecting)
            self.assertTold(one, Outcome.PARTNER_LEFT, b"Tunnel.Established")

    def test_partnerEndsItsSending(self) -> None:
        """What the client says after our goodbye reaches it, and then its end does."""
        for version in self.versions:
            visitor, partner = self.joined(version)
            partner.receive(b"question")
            partner.protocol.readConnectionLost()
            self.assertEqual(visitor.take(), b"question")
            self.assertTrue(visitor.isTold)
            visitor.send(b"answer")
            self.assertEqual(partner.take(), b"answer")
            self.assertFalse(partner.halfClosed)
            self.assertTold(visitor, Outcome.PARTNER_LEFT)
            self.assertTrue(partner.disconnecting)
            partner.lose(ConnectionDone())

    def test_disconnectedByServer(self) -> None:
        for version in self.versions:
            core, app = self.registered(version)
            core.send(slip(1, b"last words"))
            core.send(slip(0, call("TunnelProxy.DisconnectClient", socketAddress=1)))
            self.clock.advance(0)
            self.assertTold(app, Outcome.DISCONNECTED_BY_SERVER, b"last words")
            core.pipe.lose(ConnectionDone())

    def test_serverLost(self) -> None:
        for version in self.versions:
            core, app = self.registered(version)
            core.send(slip(1, b"last words"))
            core.pipe.lose(ConnectionDone())
            self.assertTold(app, Outcome.PARTNER_LEFT, b"last words")

    def test_stopping(self) -> None:
        """All who are there; when they have closed, the server need not wait any longer."""
        for version in self.versions:
            fresh, waiting = self.visit(version), self.visit(version)
            self.assertEqual(self.ask(waiting, "other"), accepted(FIRST))
            visitor, partner = self.joined(version)
            core, app = self.registered(version)
            gone = self.proxy.registry.dismissal.dismissAll()
            partner.lose(ConnectionDone())
            for each in (visitor, core, app):
                self.assertTold(each, Outcome.SHUTDOWN)
            for each in (fresh, waiting):
                self.assertNoResult(gone)
                self.assertTold(each, Outcome.SHUTDOWN_WAITING)
            self.successResultOf(gone)

    def test_webSocket(self) -> None:
        """When both have sent a close frame, whoever was first."""
        for version in self.versions:
            ours = self.visit(version, "WebSocket")
            ours.send(UPGRADE)
            ours.take()
            self.clock.advance(TIMING.inactive)
            self.assertEqual(ours.take()[0], 0x88)
            self.assertFalse(ours.isTold)
            ours.send(maskedFrame(8, b"\x03\xe8"))
            self.assertTold(ours, Outcome.INACTIVE_TIMEOUT)
            theirs = self.visit(version, "WebSocket")
            theirs.send(UPGRADE + maskedFrame(8, b""))
            self.assertTold(theirs, Outcome.LEFT_EARLY)

    def test_webSocketRefused(self) -> None:
        """An HTTP error."""
        for version in self.versions:
            visitor = self.visit(version, "WebSocket")
            visitor.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTold(visitor, Outcome.WEBSOCKET_HANDSHAKE_FAILED, b"HTTP/1.1 4")

    def test_callsBeforeTheirs(self) -> None:
        """A client that says goodbye right behind its calls gets all answers, in whatever turn."""
        for version in self.versions:
            visitor = self.visit(version)
            client = visitor._client
            count = 3 * CALLS_A_TURN
            visitor.pipe.receive(client.encrypt(hellos(count)) + client.close())
            self.clock.advance(0)
            self.assertEqual(visitor.take().count(b"\n"), count)
            self.assertTrue(visitor.pipe.disconnecting)

    def test_admin(self) -> None:
        """The admin endpoint, when the last response is sent."""
        for version in self.versions:
            http = HttpFactory(self.clock, lambda _question: Answer(200, b"words"))
            factory = Seats(http, self.clock, Delays(self.clock), isKnown=lambda _source: False)
            visitor = self.connect(version, factory)
            visitor.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.clock.advance(0)
            self.assertTrue(visitor.take().endswith(b"words"))
            self.assertTrue(visitor.isTold)
            self.assertFalse(visitor.pipe.disconnecting or visitor.pipe.lost)
            visitor.pipe.lose(ConnectionDone())

    def test_stubborn(self) -> None:
        """A client that does not close either is given the time that everybody has."""
        for version in self.versions:
            visitor = self.visit(version)
            visitor.send(b"no JSON")
            self.goneAfterAborting(visitor.pipe)


class Mute(Stream):
    """A client over TLS on a real socket that never answers a close_notify.

    The end of the stream is for it what TCP calls so.

    :ivar isTold: a close_notify has come.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, tls=False)
        self.isTold = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = TLS.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        while not self._isShaken():
            self._incoming.write(self.socket.recv(1 << 16))

    def _isShaken(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.socket.sendall(self._outgoing.read())
        return True

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self.socket.sendall(self._outgoing.read())

    def _more(self) -> bool:
        data = self.socket.recv(1 << 16)
        self._incoming.write(data)
        records = [self._received]
        with contextlib.suppress(ssl.SSLWantReadError):
            while record := self._tls.read(1 << 14):
                records.append(record)
            self.isTold = True
        self._received = b"".join(records)
        return data != b""


class SocketFarewellTests(EndToEnd):
    """The real process; it would wait for an hour."""

    def launch(self) -> Server:
        """Start a server that listens for streams over TLS and over TCP."""
        self.token = secret()
        return self.start(
            *("--websocket", "tcp:0:interface=127.0.0.1"),
            *("--stream", "tls:tcp:0:interface=127.0.0.1"),
            *("--stream", "tcp:0:interface=127.0.0.1"),
            *("--token", self.token),
            *("--set", "ProxyServer.closeTimeout=3600000"),
            *("--set", "ProxyServer.shutdownTimeout=3600000"),
            listeners=3,
        )

    def join(self, server: Server, **more: str) -> Mute:
        """Return a client that waits for its partner."""
        client = Mute(server.url("tls"))
        self.keep(client)
        client.send(authenticate(self.token, **more))
        self.assertEqual(client.line(), accepted(FIRST))
        return client

    def assertTold(self, client: Mute, last: bytes = b"") -> None:
        """It gets the last words and the end, without a reset."""
        rest = client.read(len(last)) + client.rest()
        self.assertEqual(hashlib.sha256(rest).digest(), hashlib.sha256(last).digest())
        self.assertTrue(client.isTold)

    @inThread
    def testRefused(self) -> None:
        server = self.launch()
        client = Mute(server.url("tls"))
        client.send(authenticate(secret("wrong")))
        self.assertTold(client, refused(FIRST))
        client.close()
        self.assertEqual(server.ended(client), "token-refused")

    @inThread
    def testLastWordsBehindBackPressure(self) -> None:
        """More than the kernel takes: the end comes right behind.

        The connection stays open for what the client still has to say.
        """
        server = self.launch()
        client = self.join(server)
        partner = join(server.url("tcp"), self.token)
        self.assertEqual(client.line(), ESTABLISHED_FIRST)
        self.assertEqual(partner.line(), ESTABLISHED_FIRST)
        words = os.urandom(SIZE)
        sending = threading.Thread(target=self._sayAll, args=(partner, words), daemon=True)
        sending.start()
        received = client.read(SIZE // 2)
        self.assertTold(client, words[len(received) :])
        sending.join(PATIENCE)
        self.assertEqual(received, words[: len(received)])
        client.send(b"answer")
        self.assertEqual(partner.read(6), b"answer")
        client.close()
        self.assertEqual(partner.rest(), b"")
        partner.close()
        self.assertEqual(server.ended(client), "partner-left")

    @staticmethod
    def _sayAll(partner: Stream, words: bytes) -> None:
        partner.send(words)
        partner.socket.shutdown(socket.SHUT_WR)

    @inThread
    def testFlood(self) -> None:
        """Who goes on sending when the partner has left is cut off, in a second and not an hour."""
        server = self.launch()
        for scheme in "tcp", "tls":
            client, partner = tunnel(server.url(scheme), self.token)
            partner.close()
            with self.assertRaises(OSError):
                for _ in range(4 * MOST_DROPPED // len(FLOOD)):
                    client.socket.sendall(FLOOD)
            self.assertEqual(server.ended(client), "partner-left")
            ended = server.find(rf"from {re.escape(client.peer)} ended: .*")[-1][0]
            taken = int(re.search(r"([0-9]+) bytes in", ended)[1])  # type: ignore[index]
            self.assertLess(taken, MOST_DROPPED + SIZE)  # some goes on its way to the partner
            server.waitFor(f"is cut off: it sent more than {MOST_DROPPED} bytes behind its end")
            client.close()

    @inThread
    def testStopping(self) -> None:
        """The process ends as soon as those who were there have closed."""
        server = self.launch()
        clients = [Mute(server.url("tls")), self.join(server, nonce=secret("nonce"))]
        clients += [self.join(server), self.join(server)]
        for client in clients[2:]:
            self.assertEqual(client.line(), ESTABLISHED_FIRST)
        server.signal(SIGTERM)
        for client in clients:
            self.assertTold(client)
            client.close()
        self.assertEqual(server.wait(), 0)
