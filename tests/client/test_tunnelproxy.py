"""Owns the checks of the client's ends of the tunnel proxy over real connections.

The proxy is a fake that knows nothing of the server's code, but where it says otherwise.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Any

from twisted.internet import error
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from nymearemoteproxy.client import endpoint as endpoints
from nymearemoteproxy.client.controlphase import TunnelError
from nymearemoteproxy.client.endpoint import ClientEndpoint, ServerEndpoint, TunnelEndpoint
from nymearemoteproxy.client.forwarding import Forwarder
from nymearemoteproxy.client.heartbeat import INTERVAL
from nymearemoteproxy.client.publishing import Publisher
from nymearemoteproxy.client.reasons import SILENT
from nymearemoteproxy.client.retrying import Backoff, Reports, RetryingEndpoint
from nymearemoteproxy.client.serving import Service
from nymearemoteproxy.client.trust import TlsOptions
from nymearemoteproxy.protocol.slip import PROXY, PacketReader, encode
from tests.client.test_endpoint import (
    ACCEPTED,
    ROOT,
    TOKEN,
    Certificate,
    Fake,
    Recorder,
    StreamProxy,
    _TwoReactors,
    awaited,
    line,
    recording,
)
from tests.support.endtoend import CLIENT, Server, forker

reactor: Any = globalReactor

SERVER = "{00000000-0000-0000-0000-00000000000d}"


def answer(name: str, **params: object) -> bytes:
    error = {"tunnelProxyError": f"TunnelProxyError{name}"}
    return line({"id": 1, "status": "success", "params": error | params})


class TunnelProxy(Fake):
    """A small tunnel proxy without any care for slow clients.

    :ivar calls: what servers have called, besides Ping.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.calls: list[str] = []
        self.script = self.register
        self.payload = self.relay
        self._servers: dict[str, Any] = {}
        self._registering: list[Deferred[None]] = []
        self._addresses = 0

    def registered(self) -> Deferred[None]:
        """Fires when the next server has registered."""
        deferred: Deferred[None] = Deferred()
        self._registering.append(deferred)
        return deferred

    def register(self, peer: Any) -> None:
        params = self.requests[-1]["params"]
        uuid = params["serverUuid"]
        peer.clients = {}
        peer.server = None
        if "serverName" in params:
            peer.reader = PacketReader(0)
            self._servers[uuid] = peer
            peer.uuid = uuid
            peer.send(answer("NoError", slipEnabled=True))
            registering, self._registering = self._registering, []
            for deferred in registering:
                deferred.callback(None)
        elif uuid in self._servers:
            self._addresses += 1
            peer.server, peer.address = self._servers[uuid], self._addresses
            peer.server.clients[peer.address] = peer
            self._notify(
                peer.server,
                "ClientConnected",
                clientName=params["clientName"],
                clientUuid=params["clientUuid"],
                clientPeerAddress="127.0.0.1",
                socketAddress=peer.address,
            )
            peer.send(answer("NoError"))
        else:
            peer.send(answer("ServerNotFound"))
            peer.close()

    def relay(self, peer: Any, data: bytes) -> None:
        if peer.server is not None:
            peer.server.send(encode(peer.address, data))
            return
        for address, payload in peer.reader.receive(data):
            if address == PROXY:
                call = json.loads(payload)
                self._called(peer, call["id"], call["method"], call["params"])
            elif address in peer.clients:
                peer.clients[address].send(payload)

    def gone(self, peer: Any) -> None:
        super().gone(peer)
        server = getattr(peer, "server", None)
        if server is not None and server.clients.pop(peer.address, None):
            self._notify(server, "ClientDisconnected", socketAddress=peer.address)
        if getattr(peer, "uuid", None) in self._servers:
            del self._servers[peer.uuid]
            for client in list(peer.clients.values()):
                client.close()

    def _called(self, peer: Any, requestId: int, method: str, params: dict[str, Any]) -> None:
        if method != "TunnelProxy.Ping":
            self.calls.append(method)
            params = {"tunnelProxyError": "TunnelProxyErrorNoError"} | params
            peer.clients[params.pop("socketAddress")].close()
        response = {"id": requestId, "status": "success", "params": params}
        peer.send(encode(PROXY, line(response)))

    @staticmethod
    def _notify(peer: Any, name: str, **params: Any) -> None:
        message = {"id": 0, "notification": f"TunnelProxy.{name}", "params": params}
        peer.send(encode(PROXY, line(message)))


class Hasher(Protocol):
    """A service: says the hash of a whole message, whose size comes first, and closes."""

    transport: Any

    def __init__(self) -> None:
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        size = int.from_bytes(self._data[:4], "big")
        if len(self._data) >= 4 + size:
            self.transport.write(hashlib.sha256(self._data[4:]).digest() + self._data[4:])
            self.transport.loseConnection()


class ProxyMixin:
    """A fake proxy; subclasses say what kind."""

    scheme: str
    certificate: Certificate | None = None
    tls: TlsOptions | None = None
    assertEqual: Any
    assertTrue: Any
    assertFalse: Any
    assertIn: Any
    assertIs: Any
    assertIsNone: Any
    assertFailure: Any
    addCleanup: Any
    patch: Any

    def setUp(self) -> None:
        if self.scheme in ("wss", "tls"):
            self.certificate = Certificate()
            self.tls = TlsOptions(ca=self.certificate.pem)
        self.proxy = self.makeProxy()
        self.url = self.proxy.url

    def makeProxy(self, port: int = 0) -> TunnelProxy:
        return TunnelProxy(self, self.scheme, self.certificate, port)

    def clientEndpoint(self, **arguments: Any) -> ClientEndpoint:
        return ClientEndpoint(reactor, self.url, SERVER, tls=self.tls, **arguments)

    def serverEndpoint(self, **arguments: Any) -> ServerEndpoint:
        return ServerEndpoint(reactor, self.url, SERVER, tls=self.tls, **arguments)

    def listen(self, factory: Any) -> int:
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number


class EndsMixin(ProxyMixin):
    """Everything but the command itself, through a real proxy of every kind."""

    async def publish(self, service: Any) -> list[str]:
        said: list[str] = []
        port = self.listen(Factory.forProtocol(service))
        publisher = Publisher(
            reactor,
            self.serverEndpoint(name="me"),
            Service(HostnameEndpoint(reactor, "127.0.0.1", port), f"127.0.0.1:{port}", 100),
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
        """Let the service behind a forwarded port hash ``data``."""
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
        endpoint.reactor = _TwoReactors(clock)
        connecting = endpoint.connect(recording())
        await arrived
        clock.advance(30)
        problem = await self.assertFailure(connecting, TunnelError)
        self.assertTrue(problem.isTransient)

    @awaited
    async def test_keepalive(self) -> None:
        options: list[int] = []
        tune = endpoints._tuneTcp

        def tuned(handle: Any) -> None:
            tune(handle)
            options.append(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            options.append(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))

        self.patch(endpoints, "_tuneTcp", tuned)
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
    timeout = 60

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
    timeout = 60


class SecureWebSocketTests(SecureMixin, TestCase):
    scheme = "wss"
    timeout = 60


class WebSocketTests(EndsMixin, TestCase):
    scheme = "ws"
    timeout = 60

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
        endpoint.reactor = _TwoReactors(self.clock)
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
            self.clock.advance(INTERVAL)
            await self.pinged
            self.pinged = Deferred()
            await self.heard(client)
        self.assertIsNone(client.reason)
        (peer,) = self.proxy.connections
        peer.transport.pauseProducing()
        self.clock.advance(INTERVAL)
        self.assertIsNone(client.reason)
        self.clock.advance(INTERVAL)
        reason = await client.lost
        self.assertEqual((type(reason), reason.args), (error.ConnectionLost, (SILENT,)))

    @awaited
    async def test_pongIsASignOfLife(self) -> None:
        client = await self.clocked().connect(recording())
        for _ in range(3):
            self.clock.advance(INTERVAL)
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
        self.clock.pump([INTERVAL] * 5)
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
        self.clock.pump([INTERVAL] * 5)
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
        self.clock.pump([INTERVAL] * 5)
        self.assertIsNone(client.reason)
        peer.transport.resumeProducing()
        reason = await client.lost
        self.assertEqual(type(reason), error.ConnectionDone)

    @awaited
    async def test_silenceInsteadOfAnAnswer(self) -> None:
        endpoint = self.clocked(timeout=10 * INTERVAL)
        arrived: Deferred[Any] = Deferred()
        self.proxy.script = arrived.callback
        connecting = endpoint.connect(recording())
        peer = await arrived
        peer.transport.pauseProducing()
        self.clock.pump([INTERVAL] * 2)
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
        endpoint.reactor = _TwoReactors(clock)
        connecting = endpoint.connect(recording())
        await waiting
        (peer,) = self.proxy.connections
        peer.transport.pauseProducing()
        clock.pump([INTERVAL] * 2)
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
    timeout = 60

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


class Process(ProcessProtocol):
    """The command as a process.

    :ivar told: the lines on standard error so far.
    :ivar status: fires with the exit status.
    """

    transport: Any

    def __init__(self, test: TestCase, *arguments: str) -> None:
        self.out = b""
        self.told: list[str] = []
        self.status: Deferred[int] = Deferred()
        self._rest = b""
        self._wanted: list[tuple[str, int, Deferred[str]]] = []
        command = [sys.executable, "-m", "nymearemoteproxy.client.cli", *arguments]
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        environment.pop("NYMEA_REMOTEPROXY_TOKEN", None)
        reactor.spawnProcess(self, command[0], command, environment)
        test.addCleanup(self.end)

    def line(self, words: str, start: int = 0) -> Deferred[str]:
        """Fires with the first line, from number ``start`` on, that has ``words`` in it."""
        wanted: Deferred[str] = Deferred()
        self._wanted.append((words, start, wanted))
        self._look()
        return wanted

    def end(self) -> Deferred[int] | None:
        if self.status.called:
            return None
        self.transport.signalProcess("TERM")
        return self.status

    def outReceived(self, data: bytes) -> None:
        self.out += data

    def errReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.told += [line.decode() for line in lines]
        self._look()

    def processEnded(self, reason: Failure) -> None:
        problem: Any = reason.value
        self.status.callback(problem.exitCode or 0)

    def _look(self) -> None:
        for item in list(self._wanted):
            words, start, wanted = item
            found = [line for line in self.told[start:] if words in line]
            if found:
                self._wanted.remove(item)
                wanted.callback(found[0])


class StuckTests(ProxyMixin, TestCase):
    """Nobody reads standard error, or the terminal is in Ctrl-S."""

    scheme = "ws"
    timeout = 60

    def setUp(self) -> None:
        super().setUp()
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.reader)
        self.addCleanup(os.close, self.writer)
        self.filled = fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 1)
        os.write(self.writer, bytes(self.filled))

    async def serve(self) -> subprocess.Popen[bytes]:
        """Offer a service, and use it twice."""
        port = self.listen(Factory.forProtocol(Hasher))
        registered = self.proxy.registered()
        arguments = ["--url", self.url, "--serve", SERVER, "--forward", f"127.0.0.1:{port}", "-v"]
        server = subprocess.Popen(
            [sys.executable, "-m", "nymearemoteproxy.client.cli", *arguments],
            env=dict(os.environ, PYTHONPATH=str(ROOT)),
            stderr=self.writer,
        )
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        await registered
        for _ in range(2):
            client = await self.clientEndpoint().connect(recording())
            client.transport.write(bytes(4))
            await client.lost
            self.assertEqual(client.data, hashlib.sha256(b"").digest())
        return server

    @awaited
    async def test_order(self) -> None:
        """The service is reached, and what was said meanwhile can be read later."""
        await self.serve()
        told = b""
        while b"client 2: " not in told:
            told += await deferToThread(os.read, self.reader, 1 << 16)
        said = re.findall("connecting to|registered|client [0-9]", told[self.filled :].decode())
        self.assertEqual(said, ["connecting to", "registered", "client 1", "client 2"])

    @awaited
    async def test_end(self) -> None:
        """It does not wait for a reader for ever."""
        server = await self.serve()
        server.terminate()
        self.assertEqual(await deferToThread(server.wait, 30), 128 + signal.SIGTERM)


class CommandTests(ProxyMixin, TestCase):
    """The command as a process."""

    scheme = "ws"
    timeout = 60

    def server(self, service: Any, *arguments: str) -> Process:
        port = self.listen(Factory.forProtocol(service))
        forward = ["--forward", f"127.0.0.1:{port}"]
        return Process(self, "--url", self.url, "--serve", SERVER, *forward, *arguments)

    def client(self, *arguments: str) -> Process:
        return Process(self, "--url", self.url, "--server-uuid", SERVER, *arguments)

    async def ask(self, listening: str, data: bytes) -> None:
        port = int(listening.rpartition(":")[2])
        asking = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(recording())
        asking.transport.write(len(data).to_bytes(4, "big") + data)
        await asking.lost
        self.assertEqual(asking.data[:32], hashlib.sha256(data).digest())

    @awaited
    async def test_serveAndListen(self) -> None:
        server = self.server(Hasher, "--name", "a name")
        registered = await server.line("registered")
        self.assertEqual(registered, f"nymea-remoteproxy-client: registered as server {SERVER}")
        self.assertEqual(self.proxy.requests[0]["params"]["serverName"], "a name")
        client = self.client("--listen", "0")
        listening = await client.line("listening on 127.0.0.1:")
        await self.ask(listening, os.urandom(1_000_000))
        # The proxy restarts, and somebody connects meanwhile.
        await self.proxy.stop()
        await server.line("connection lost: ")
        asking = Deferred.fromCoroutine(self.ask(listening, b"meanwhile"))
        await client.line("connection refused; next attempt in ")
        self.proxy = self.makeProxy(self.proxy.port)
        await server.line("registered", start=1)
        await asking
        for process in (server, client):
            process.transport.signalProcess("TERM")
            self.assertEqual(await process.status, 128 + signal.SIGTERM)
            self.assertEqual([line for line in process.told if "Traceback" in line], [])
        # That it was ended is no connection lost.
        self.assertIn("registered", server.told[-1])

    @awaited
    async def test_unixService(self) -> None:
        directory = tempfile.TemporaryDirectory()  # a path of trial's may be too long for a socket
        self.addCleanup(directory.cleanup)
        path = f"{directory.name}/service"
        port = reactor.listenUNIX(path, Factory.forProtocol(Hasher))
        self.addCleanup(port.stopListening)
        forward = ["--forward", f"unix:{path}"]
        server = Process(self, "--url", self.url, "--serve", SERVER, "--verbose", *forward)
        await server.line("registered")
        client = await self.clientEndpoint().connect(recording())
        client.transport.write(bytes(4))
        await client.lost
        self.assertEqual(client.data, hashlib.sha256(b"").digest())
        await server.line("client 1: ")

    @awaited
    async def test_standardInputAndOutput(self) -> None:
        registered = await self.publish()
        client = self.client("--uuid", "c" * 32, "--name", "me")
        await client.line("tunnel established with " + SERVER)
        params = self.proxy.requests[1]["params"]
        self.assertEqual(params["clientUuid"], "{cccccccc-cccc-cccc-cccc-cccccccccccc}")
        client.transport.write(bytes(4))
        self.assertEqual(await client.status, 0)
        self.assertEqual(client.out, hashlib.sha256(b"").digest())
        self.assertIn("partner left", client.told[-1])
        registered.transport.signalProcess("TERM")
        await registered.status

    async def publish(self) -> Process:
        server = self.server(Hasher)
        await server.line("registered")
        return server

    @awaited
    async def test_clientWaitsForTheServer(self) -> None:
        client = self.client()
        await client.line("the server is not connected to the proxy; next attempt in ")
        await self.publish()
        await client.line("tunnel established")
        client.transport.write(bytes(4))
        self.assertEqual(await client.status, 0)

    @awaited
    async def test_tunnelLost(self) -> None:
        """Once there was a tunnel its end is the end."""
        await self.publish()
        client = self.client()
        await client.line("tunnel established")
        for peer in self.proxy.connections:
            if peer.server is not None:
                peer.transport.abortConnection()
        self.assertEqual(await client.status, 1)
        self.assertIn("the tunnel was lost", client.told[-1])

    @awaited
    async def test_noTunnelProxy(self) -> None:
        """All find out at once, also who only listens so far."""
        response = line({"id": 1, "status": "error", "error": "Unknown namespace."})
        self.proxy.script = lambda peer: peer.send(response)
        for process in (self.server(Hasher), self.client(), self.client("--listen", "0")):
            self.assertEqual(await process.status, 1)
            self.assertIn("the tunnel proxy is not switched on there", process.told[-1])

    @awaited
    async def test_listensWhileTheProxyIsAway(self) -> None:
        port = self.proxy.port
        await self.proxy.stop()
        client = self.client("--listen", "0")
        listening = await client.line("listening on 127.0.0.1:")
        asking = Deferred.fromCoroutine(self.ask(listening, b"early"))
        await client.line("connection refused; next attempt in ")
        self.proxy = self.makeProxy(port)
        await self.publish()
        await asking

    @awaited
    async def test_serviceIsDown(self) -> None:
        """The server says where, and the client that it was no success."""
        listening = reactor.listenTCP(0, recording(), interface="127.0.0.1")
        unused = listening.getHost().port
        await listening.stopListening()
        server = Process(
            self, "--url", self.url, "--serve", SERVER, "--forward", f"127.0.0.1:{unused}"
        )
        await server.line("registered")
        client = self.client()
        self.assertEqual(await client.status, 1)
        self.assertEqual(
            client.told[-1],
            "nymea-remoteproxy-client: the service closed the connection without a word; does it "
            "run?",
        )
        await server.line(
            f"cannot connect to the service at 127.0.0.1:{unused}: connection refused"
        )

    @awaited
    async def test_silentService(self) -> None:
        """Who has said all and leaves need not have an answer."""
        server = self.server(Recorder)
        await server.line("registered")
        client = self.client()
        await client.line("tunnel established")
        client.transport.write(b"x")
        client.transport.closeStdin()
        self.assertEqual(await client.status, 0)

    @awaited
    async def test_permanentMistakes(self) -> None:
        for response, words in (
            (answer("ForbiddenCall", slipEnabled=False), "does not allow the uuid"),
            (answer("InvalidUuid", slipEnabled=False), "does not accept the uuid"),
        ):
            self.proxy.script = lambda peer, response=response: peer.send(response)  # type: ignore[misc]
            server, client = self.server(Hasher), self.client()
            listener = self.client("--listen", "0")
            port = int((await listener.line("listening")).rpartition(":")[2])
            asking = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(recording())
            for process in (server, client, listener):
                self.assertEqual(await process.status, 1)
                self.assertIn(words, process.told[-1])
            await asking.lost

    @awaited
    async def test_portInUse(self) -> None:
        port = self.listen(recording())
        for where in (f"127.0.0.1:{port}", f"{port}"):
            client = self.client("--listen", where)
            self.assertEqual(await client.status, 1)
            told = f"nymea-remoteproxy-client: cannot listen on 127.0.0.1:{port}: "
            self.assertEqual(client.told, [told + "Address already in use"])

    @awaited
    async def test_noAddressOfOurs(self) -> None:
        client = self.client("--listen", "[2001:db8::1]:0")
        self.assertEqual(await client.status, 1)
        self.assertIn("cannot listen on [2001:db8::1]:0: ", client.told[0])

    def test_mistakes(self) -> None:
        serve = ["--serve", SERVER, "--forward", "h:1"]
        client = ["--server-uuid", SERVER]
        for arguments in (
            ["--serve", SERVER],
            ["--forward", "h:1"],
            ["--listen", "0"],
            ["--serve", "x", "--forward", "h:1"],
            ["--serve", SERVER, "--forward", "h"],
            ["--server-uuid", "x"],
            [*serve, "--token", "t"],
            [*serve, "--token-file", "t"],
            [*serve, "--nonce", "n"],
            [*serve, "--uuid", SERVER],
            [*serve, "--listen", "0"],
            [*serve, *client],
            [*client, "--token", "t"],
            [*client, "--nonce", "n"],
            [*client, "--uuid", "x"],
            [*client, "--listen", "x"],
            [*client, "--listen", "0", "--uuid", SERVER],
            [*client, "--insecure"],
        ):
            status, told = forker(CLIENT).run(["--url", "ws://127.0.0.1:1", *arguments], {})
            self.assertEqual((status, told.count("\n")), (1, 1), told)
            self.assertNotIn("no token", told)


class WrongSchemeTests(TestCase):
    """Every kind of URL at every kind of port of the real server."""

    timeout = 60

    @awaited
    async def test_everyCombination(self) -> None:
        """It is asked whether the right one is meant."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        where = "interface=127.0.0.1"
        arguments = ["--accept-any-token", "--set", "ProxyServer.webSocketHandshakeTimeout=500"]
        for kind in ("--websocket", "--stream"):
            arguments += [kind, f"tcp:0:{where}", kind, f"ssl:0:{where}"]
        server = await deferToThread(Server, arguments, listeners=4, stateHome=directory.name)
        self.addCleanup(deferToThread, server.stop)
        urls = {url.partition(":")[0]: url for url in server.urls}

        async def attempt(scheme: str, url: str) -> None:
            tls = TlsOptions(insecure=True) if scheme in ("wss", "tls") else None
            url = scheme + url[url.index(":") :]
            connecting = TunnelEndpoint(reactor, url, TOKEN, tls=tls).connect(recording())
            problem = await self.assertFailure(connecting, TunnelError)
            _, _, meant = str(problem).partition("; is it ")
            told[scheme, right] = meant

        told: dict[tuple[str, str], str] = {}
        for right, url in urls.items():
            await gatherResults(
                [Deferred.fromCoroutine(attempt(scheme, url)) for scheme in urls if scheme != right]
            )
        self.assertEqual(len(told), 12)
        for (scheme, right), meant in told.items():
            self.assertIn(f"{right}://", meant, scheme)
