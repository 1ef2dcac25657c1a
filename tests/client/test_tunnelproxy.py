"""The client's ends of the tunnel proxy over real connections.

The proxy is a fake that knows nothing of the server's code, but where it says otherwise.
"""

from __future__ import annotations

import hashlib
import os
import socket
from typing import Any

from twisted.internet import error
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from nymearemoteproxy.client.connecting import proxyconnection
from nymearemoteproxy.client.connecting.heartbeat import HEARTBEAT_INTERVAL
from nymearemoteproxy.client.connecting.reasons import SILENT
from nymearemoteproxy.client.connecting.retrying import Backoff, Reports, RetryingEndpoint
from nymearemoteproxy.client.connecting.trust import TlsOptions
from nymearemoteproxy.client.endpoints import ClientEndpoint, ServerEndpoint, TunnelEndpoint
from nymearemoteproxy.client.local.delivering import Destination
from nymearemoteproxy.client.local.forwarding import Forwarder
from nymearemoteproxy.client.local.publishing import Publisher
from nymearemoteproxy.client.local.serving import LocalService
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.protocol.packets import PROXY
from nymearemoteproxy.protocol.slip import encode
from tests.support.proxies import (
    ACCEPTED,
    TOKEN,
    Certificate,
    Recorder,
    StreamProxy,
    TwoReactors,
    awaited,
    recording,
)
from tests.support.tunnelproxies import SERVER, Hasher, ProxyMixin, TunnelProxy, answer

reactor: Any = globalReactor


class EndsMixin(ProxyMixin):
    """Everything but the command itself, through a real proxy of every kind."""

    async def publish(self, service: Any) -> list[str]:
        said: list[str] = []
        port = self.listen(Factory.forProtocol(service))
        publisher = Publisher(
            reactor,
            self.serverEndpoint(name="me"),
            LocalService(
                Destination(HostnameEndpoint(reactor, "127.0.0.1", port), "the service"), 100
            ),
            SERVER,
            said.append,
            lambda: 0.0,
        )
        registered = self.proxy.registered()
        publishing = publisher.start()
        publishing.addErrback(lambda failure: failure.trap(CancelledError))
        self.addCleanup(publishing.cancel)
        await registered
        return said

    def forward(self) -> int:
        reports = Reports(lambda text: None)
        retrying = RetryingEndpoint(
            self.clientEndpoint(), reactor, reports, lambda: Backoff(lambda: 0.0)
        )
        failures: list[Failure] = []
        return self.listen(Forwarder(reactor, retrying, reports, failures.append, 100))

    async def ask(self, port: int, data: bytes) -> None:
        """Let the service behind a forwarded port hash `data`."""
        wire = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        asking = await wire.connect(recording())
        asking.transport.write(len(data).to_bytes(4, "big") + data)
        reason = await asking.lost
        self.assertEqual(type(reason), error.ConnectionDone)
        self.assertEqual(asking.data[:32], hashlib.sha256(data).digest())
        self.assertEqual(asking.data[32:] == data, True)

    @awaited
    async def test_oneClient(self) -> None:
        said = await self.publish(Hasher)
        await self.ask(self.forward(), os.urandom(3_000_000))
        self.assertEqual(said, [f"registered as server {SERVER}"])
        server, client = self.proxy.requests
        self.assertEqual(server["params"], {"serverName": "me", "serverUuid": SERVER})
        self.assertEqual(client["params"]["clientName"], "nymea-remoteproxy-client")

    @awaited
    async def test_parallel(self) -> None:
        """Many at once, each a client with a uuid of its own."""
        await self.publish(Hasher)
        port = self.forward()
        data = [os.urandom(20_000 + 100 * number) for number in range(50)]
        await gatherResults([Deferred.fromCoroutine(self.ask(port, one)) for one in data])
        uuids = {request["params"].get("clientUuid") for request in self.proxy.requests[1:]}
        self.assertEqual(len(uuids), 50)

    @awaited
    async def test_proxyRestarts(self) -> None:
        """Whoever connects while it is away has to wait."""
        said = await self.publish(Hasher)
        port = self.forward()
        await self.ask(port, b"before")
        await self.proxy.stop()
        asking = Deferred.fromCoroutine(self.ask(port, b"meanwhile"))
        self.proxy = self.makeProxy(self.proxy.port)
        registered = self.proxy.registered()
        await asking
        await registered
        self.assertEqual(said[0], said[-1])
        self.assertTrue(said[1].startswith("connection lost: "), said)

    @awaited
    async def test_serverComesLater(self) -> None:
        asked: Deferred[None] = Deferred()
        register = self.proxy.script

        def script(peer: Any) -> None:
            register(peer)
            if not asked.called:
                asked.callback(None)

        self.proxy.script = script
        asking = Deferred.fromCoroutine(self.ask(self.forward(), b"early"))
        await asked
        await self.publish(Hasher)
        await asking

    @awaited
    async def test_serviceCloses(self) -> None:
        """What it sent before comes first."""
        await self.publish(Hasher)
        client = await self.clientEndpoint().connect(recording())
        self.assertEqual(client.transport.partner.uuid, SERVER)
        client.transport.write(bytes(4))
        await client.lost
        self.assertEqual(client.data, hashlib.sha256(b"").digest())
        self.assertEqual(self.proxy.calls, ["TunnelProxy.DisconnectClient"])

    @awaited
    async def test_clientLeaves(self) -> None:
        """The service gets what the client sent before it left, and then the end."""
        service = Recorder()
        await self.publish(lambda: service)
        client = await self.clientEndpoint().connect(recording())
        data = os.urandom(1_000_000)
        client.transport.write(data)
        client.transport.loseConnection()
        reason = await service.lost
        self.assertEqual((service.data == data, type(reason)), (True, error.ConnectionDone))
        self.assertEqual(self.proxy.calls, [])

    @awaited
    async def test_refusals(self) -> None:
        for name, isTransient in (
            ("AlreadyRegistered", True),
            ("ServerNotFound", True),
            ("ForbiddenCall", False),
        ):
            self.proxy.script = lambda peer, name=name: (  # type: ignore[misc]
                peer.send(answer(name, slipEnabled=False)),
                peer.close(),
            )
            for endpoint in (self.clientEndpoint(), self.serverEndpoint()):
                problem = await self.failing(endpoint)
                self.assertIn("refused by the proxy: ", str(problem))
                self.assertEqual(problem.isTransient, isTransient)

    @awaited
    async def test_slipRightBehindTheAnswer(self) -> None:
        packets = encode(PROXY, b"{}\n") + encode(5, b"to nobody")

        def script(peer: Any) -> None:
            if self.scheme in ("ws", "wss"):
                peer.sendMessage(answer("NoError", slipEnabled=True), True, fragmentSize=1)
                peer.sendMessage(packets, True, fragmentSize=1)
            else:
                Deferred.fromCoroutine(trickle(peer))

        async def trickle(peer: Any) -> None:
            # Each byte in a turn of its own, and the client's loop turns as often.
            for byte in answer("NoError", slipEnabled=True) + packets:
                peer.send(bytes([byte]))
                turn: Deferred[None] = Deferred()
                reactor.callLater(0, turn.callback, None)
                await turn

        self.proxy.script = script
        server = await self.serverEndpoint().connect(recording())
        self.assertEqual(await server.received(len(packets)), packets)
        server.transport.abortConnection()
        await server.lost

    @awaited
    async def test_probe(self) -> None:
        """It disturbs no server, and leaves."""
        await self.publish(Hasher)
        await self.clientEndpoint().probe()
        self.assertEqual(self.proxy.calls, [])
        params = self.proxy.requests[-1]["params"]
        self.assertEqual(params["serverUuid"], "{00000000-0000-0000-0000-000000000000}")
        while len(self.proxy.connections) > 1:
            await deferLater(reactor, 0.01)

    @awaited
    async def test_connectionProblemsAreTransient(self) -> None:
        self.proxy.script = lambda peer: peer.close()
        problem = await self.failing(self.clientEndpoint())
        self.assertTrue(problem.isTransient, problem)
        self.proxy.script = lambda peer: peer.transport.abortConnection()
        problem = await self.failing(self.clientEndpoint())
        self.assertTrue(problem.isTransient, problem)
        await self.proxy.stop()
        problem = await self.failing(self.clientEndpoint())
        self.assertTrue(problem.isTransient, problem)
        self.assertIn("connection refused", str(problem))

    @awaited
    async def test_noAnswerInTime(self) -> None:
        arrived: Deferred[None] = Deferred()
        self.proxy.script = arrived.callback
        endpoint = self.clientEndpoint()
        clock = Clock()
        endpoint.route.reactor = TwoReactors(clock)
        connecting = endpoint.connect(recording())
        await arrived
        clock.advance(30)
        problem = await self.assertFailure(connecting, TunnelError)
        self.assertTrue(problem.isTransient)

    @awaited
    async def test_keepalive(self) -> None:
        options: list[int] = []
        tune = proxyconnection._tuneTcp

        def tuned(handle: Any) -> None:
            tune(handle)
            options.append(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            options.append(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))

        self.patch(proxyconnection, "_tuneTcp", tuned)
        server = await self.serverEndpoint().connect(recording())
        self.assertEqual(options, [1, 30])
        server.transport.abortConnection()
        await server.lost

    async def failing(self, endpoint: Any) -> TunnelError:
        problem: TunnelError = await self.assertFailure(endpoint.connect(recording()), TunnelError)
        self.assertTrue(str(problem).isprintable(), problem)
        return problem


class TcpTests(EndsMixin, TestCase):
    scheme = "tcp"
    timeout = 300

    @awaited
    async def test_paused(self) -> None:
        """The proxy closes its direction while it does not read: nobody waits for a producer."""
        self.proxy.payload = lambda peer, data: None
        server = await self.serverEndpoint().connect(recording())
        (peer,) = self.proxy.connections
        peer.transport.pauseProducing()
        producer = Producer()
        server.transport.registerProducer(producer, True)
        server.transport.write(bytes(16_000_000))
        await producer.paused
        peer.transport.loseWriteConnection()
        peer.transport.resumeProducing()
        reason = await server.lost
        self.assertEqual(type(reason), error.ConnectionDone)


class SecureMixin(EndsMixin):
    """What TLS adds."""

    @awaited
    async def test_verification(self) -> None:
        """A certificate that is not trusted is not trusted the next time either."""
        for tls in (
            TlsOptions(),
            TlsOptions(ca=Certificate().pem),
            TlsOptions(fingerprint="0" * 64),
        ):
            self.tls = tls
            problem = await self.failing(self.serverEndpoint())
            self.assertIn("TLS verification failed", str(problem))
            self.assertFalse(problem.isTransient)

    @awaited
    async def test_closedWhilePaused(self) -> None:
        """The proxy leaves while it does not read: nobody waits for a producer then."""
        self.proxy.payload = lambda peer, data: None
        server = await self.serverEndpoint().connect(recording())
        (peer,) = self.proxy.connections
        peer.transport.pauseProducing()
        producer = Producer()
        server.transport.registerProducer(producer, True)
        server.transport.write(bytes(16_000_000))
        await producer.paused
        peer.close()
        peer.transport.resumeProducing()
        await server.lost

    @awaited
    async def test_brokenHandshake(self) -> None:
        class NoTls(Protocol):
            transport: Any

            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        class Closing(Protocol):
            transport: Any

            def connectionMade(self) -> None:
                self.transport.loseConnection()

        for protocol in (NoTls, Closing):
            self.url = f"{self.scheme}://127.0.0.1:{self.listen(Factory.forProtocol(protocol))}"
            problem = await self.failing(self.serverEndpoint())
            self.assertTrue(problem.isTransient, problem)


class TlsTests(SecureMixin, TestCase):
    scheme = "tls"
    timeout = 300


class SecureWebSocketTests(SecureMixin, TestCase):
    scheme = "wss"
    timeout = 300


class WebSocketTests(EndsMixin, TestCase):
    scheme = "ws"
    timeout = 300

    @awaited
    async def test_closeCodes(self) -> None:
        for code, isTransient in ((1001, True), (1013, True), (1008, True), (1002, False)):
            self.proxy.script = lambda peer, code=code: peer.close(code, "some reason")  # type: ignore[misc]
            problem = await self.failing(self.serverEndpoint())
            told = f"the server closed the connection: some reason ({code})"
            self.assertEqual((str(problem), problem.isTransient), (told, isTransient))

    @awaited
    async def test_httpStatus(self) -> None:
        for status, isTransient in (
            *((status, True) for status in ("408", "425", "429", "500", "502", "503", "504")),
            *((status, False) for status in ("200", "302", "400", "401", "403", "404", "426")),
        ):
            reply = f"HTTP/1.1 {status} Some words\r\nContent-Length: 0\r\n\r\n".encode()

            class Http(Protocol):
                transport: Any
                reply: bytes

                def dataReceived(self, data: bytes) -> None:
                    self.transport.write(self.reply)

            protocol = type("Http", (Http,), {"reply": reply})
            self.url = f"ws://127.0.0.1:{self.listen(Factory.forProtocol(protocol))}"
            problem = await self.failing(self.serverEndpoint())
            self.assertIn(status, str(problem))
            self.assertEqual(problem.isTransient, isTransient)

    # Pings, by a clock of their own

    def clocked(self, **arguments: Any) -> ClientEndpoint:
        self.clock = Clock()
        self.pinged: Deferred[None] = Deferred()

        def register(peer: Any) -> None:
            def onPing(payload: bytes) -> None:
                peer.sendPong(payload)
                if not self.pinged.called:
                    self.pinged.callback(None)

            peer.onPing = onPing
            peer.send(answer("NoError"))

        self.proxy.script = register
        self.proxy.payload = lambda peer, data: None
        endpoint = self.clientEndpoint(**arguments)
        endpoint.route.reactor = TwoReactors(self.clock)
        return endpoint

    async def heard(self, client: Any) -> None:
        """The proxy says something, and the client hears it."""
        for peer in self.proxy.connections:
            peer.send(b"x")
        await client.received(len(client.data) + 1)

    @awaited
    async def test_pings(self) -> None:
        client = await self.clocked().connect(recording())
        for _ in range(3):
            self.clock.advance(HEARTBEAT_INTERVAL)
            await self.pinged
            self.pinged = Deferred()
            await self.heard(client)
        self.assertIsNone(client.reason)
        (peer,) = self.proxy.connections
        peer.transport.pauseProducing()
        self.clock.advance(HEARTBEAT_INTERVAL)
        self.assertIsNone(client.reason)
        self.clock.advance(HEARTBEAT_INTERVAL)
        reason = await client.lost
        self.assertEqual((type(reason), reason.args), (error.ConnectionLost, (SILENT,)))

    @awaited
    async def test_pongIsASignOfLife(self) -> None:
        client = await self.clocked().connect(recording())
        for _ in range(3):
            self.clock.advance(HEARTBEAT_INTERVAL)
            await self.pinged
            self.pinged = Deferred()
            # Behind the pong, but no payload of the tunnel's.
            (peer,) = self.proxy.connections
            arrived: Deferred[None] = Deferred()
            self.patch(client.transport, "deliver", lambda data, a=arrived: a.callback(None))
            peer.send(b"x")
            await arrived
        self.assertIsNone(client.reason)
        client.transport.abortConnection()
        await client.lost

    @awaited
    async def test_notReadingIsNoSilence(self) -> None:
        client = await self.clocked().connect(recording())
        client.transport.pauseProducing()
        self.clock.pump([HEARTBEAT_INTERVAL] * 5)
        self.assertIsNone(client.reason)
        client.transport.resumeProducing()
        await self.heard(client)
        client.transport.abortConnection()
        await client.lost

    @awaited
    async def test_slowProxyIsNotDead(self) -> None:
        client = await self.clocked().connect(recording())
        (peer,) = self.proxy.connections
        peer.transport.pauseProducing()
        producer = Producer()
        client.transport.registerProducer(producer, True)
        client.transport.write(bytes(16_000_000))
        await producer.paused
        self.clock.pump([HEARTBEAT_INTERVAL] * 5)
        self.assertIsNone(client.reason)
        peer.transport.resumeProducing()
        await producer.resumed
        client.transport.unregisterProducer()
        client.transport.loseConnection()
        await client.lost

    @awaited
    async def test_producerIsToldOfTheEnd(self) -> None:
        client = await self.clocked().connect(recording())
        producer = Producer()
        client.transport.registerProducer(producer, True)
        client.transport.abortConnection()
        await client.lost
        await producer.stopped

    @awaited
    async def test_closingIsNotPinged(self) -> None:
        """A slow proxy has all the time it needs to take what comes before the end."""
        client = await self.clocked().connect(recording())
        (peer,) = self.proxy.connections
        peer.transport.pauseProducing()
        client.transport.write(b"x")
        client.transport.loseConnection()
        self.clock.pump([HEARTBEAT_INTERVAL] * 5)
        self.assertIsNone(client.reason)
        peer.transport.resumeProducing()
        reason = await client.lost
        self.assertEqual(type(reason), error.ConnectionDone)

    @awaited
    async def test_silenceInsteadOfAnAnswer(self) -> None:
        endpoint = self.clocked(timeout=10 * HEARTBEAT_INTERVAL)
        arrived: Deferred[Any] = Deferred()
        self.proxy.script = arrived.callback
        connecting = endpoint.connect(recording())
        peer = await arrived
        peer.transport.pauseProducing()
        self.clock.pump([HEARTBEAT_INTERVAL] * 2)
        problem = await self.assertFailure(connecting, TunnelError)
        self.assertEqual((str(problem), problem.isTransient), (SILENT, True))

    @awaited
    async def test_silenceWhileWaiting(self) -> None:
        """A token tunnel is watched as well."""
        self.proxy.script = lambda peer: peer.send(ACCEPTED)
        waiting: Deferred[None] = Deferred()
        endpoint = TunnelEndpoint(
            reactor, self.url, TOKEN, onWaiting=lambda: waiting.callback(None)
        )
        clock = Clock()
        endpoint.route.reactor = TwoReactors(clock)
        connecting = endpoint.connect(recording())
        await waiting
        (peer,) = self.proxy.connections
        peer.transport.pauseProducing()
        clock.pump([HEARTBEAT_INTERVAL] * 2)
        problem = await self.assertFailure(connecting, TunnelError)
        self.assertIn(SILENT, str(problem))


class Producer:
    """Says when it was asked to pause, to resume and to stop for the first time."""

    def __init__(self) -> None:
        self.paused: Deferred[None] = Deferred()
        self.resumed: Deferred[None] = Deferred()
        self.stopped: Deferred[None] = Deferred()

    def pauseProducing(self) -> None:
        self._fire(self.paused)

    def resumeProducing(self) -> None:
        self._fire(self.resumed)

    def stopProducing(self) -> None:
        self._fire(self.stopped)

    @staticmethod
    def _fire(deferred: Deferred[None]) -> None:
        if not deferred.called:
            deferred.callback(None)


class UnixTests(TestCase):
    timeout = 300

    @awaited
    async def test_unix(self) -> None:
        """The proxy on a Unix socket."""
        path = self.mktemp()
        fake = TunnelProxy(self, "tcp")
        port = reactor.listenUNIX(path, Factory.forProtocol(lambda: StreamProxy(fake)))
        self.addCleanup(port.stopListening)
        server = await ServerEndpoint(reactor, f"unix:{path}", SERVER).connect(recording())
        server.transport.abortConnection()
        await server.lost
