"""The client's endpoints over real connections, against scripted proxies."""

from __future__ import annotations

import os
from typing import Any
from uuid import UUID

from twisted.internet import error
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from nymearemoteproxy.client.connecting.proxywebsocket import MAX_HTTP_HEADER_SIZE
from nymearemoteproxy.client.connecting.trust import TlsOptions
from nymearemoteproxy.client.connecting.tunneltransport import CLOSE_TIMEOUT
from nymearemoteproxy.client.endpoints import TunnelEndpoint
from nymearemoteproxy.client.rules.errors import TunnelError
from tests.support.proxies import (
    ACCEPTED,
    ESTABLISHED,
    NONCE,
    PARTNER,
    REFUSAL,
    REFUSED,
    TOKEN,
    Certificate,
    Fake,
    HalfRecorder,
    StreamProxy,
    TwoReactors,
    awaited,
    recording,
)

reactor: Any = globalReactor


class EndpointMixin:
    """Every kind of connection that the endpoint can make; subclasses say which."""

    scheme: str
    assertEqual: Any
    assertTrue: Any
    assertIn: Any
    addCleanup: Any
    assertFailure: Any
    assertIsNone: Any

    def setUp(self) -> None:
        self.fake = self.makeFake()

    def makeFake(self) -> Fake:
        return Fake(self, self.scheme)  # type: ignore[arg-type]

    def endpoint(self, **arguments: Any) -> TunnelEndpoint:
        return TunnelEndpoint(reactor, self.fake.url, TOKEN, **arguments)

    async def failing(self, **arguments: Any) -> str:
        connecting = self.endpoint(**arguments).connect(recording())
        problem = await self.assertFailure(connecting, TunnelError)
        self.assertTrue(str(problem).isprintable(), problem)
        return str(problem)

    @awaited
    async def test_echo(self) -> None:
        waited: list[None] = []
        endpoint = self.endpoint(
            nonce=NONCE, name="me", uuid="0" * 32, onWaiting=lambda: waited.append(None)
        )
        protocol = await endpoint.connect(recording())
        self.assertEqual(len(waited), 1)
        self.assertEqual(protocol.transport.partner, PARTNER)
        params = self.fake.requests[0]["params"]
        self.assertEqual(params["uuid"], f"{{{UUID(int=0)}}}")
        self.assertEqual((params["name"], params["nonce"]), ("me", NONCE))
        data = os.urandom(300_000)
        protocol.transport.write(data)
        self.assertEqual(await protocol.received(len(data)), data)
        protocol.transport.loseConnection()
        reason = await protocol.lost
        self.assertEqual(type(reason), error.ConnectionDone)

    @awaited
    async def test_newUuidForEveryConnection(self) -> None:
        endpoint = self.endpoint()
        for _ in range(2):
            protocol = await endpoint.connect(recording())
            protocol.transport.abortConnection()
            await protocol.lost
        first, second = (UUID(request["params"]["uuid"]) for request in self.fake.requests)
        self.assertEqual(first == second, False)

    @awaited
    async def test_refused(self) -> None:
        self.fake.script = lambda peer: peer.send(REFUSED)
        self.assertEqual(await self.failing(), f"refused by the server: {REFUSAL}")

    @awaited
    async def test_flushBeforeClose(self) -> None:
        received: list[bytes] = []
        self.fake.payload = lambda peer, data: received.append(data)
        protocol = await self.endpoint().connect(recording())
        data = os.urandom(3_000_000)
        left = self.fake.left()
        protocol.transport.write(data)
        protocol.transport.loseConnection()
        await protocol.lost
        await left
        self.assertEqual(b"".join(received), data)

    @awaited
    async def test_partnerLeaves(self) -> None:
        self.fake.payload = lambda peer, data: (peer.send(b"bye"), peer.close())
        protocol = await self.endpoint().connect(recording())
        protocol.transport.write(b"go")
        reason = await protocol.lost
        self.assertEqual((protocol.data, type(reason)), (b"bye", error.ConnectionDone))

    @awaited
    async def test_pausedProtocolStopsTheProxy(self) -> None:
        producing: list[str] = []
        paused: Deferred[None] = Deferred()

        class Producer:
            def pauseProducing(self) -> None:
                producing.append("paused")
                if len(producing) == 1:
                    paused.callback(None)

            def resumeProducing(self) -> None:
                producing.append("resumed")

            def stopProducing(self) -> None:
                pass

        # More than the kernel's buffers take, or the producer would not be paused.
        data = os.urandom(16_000_000)

        def flood(peer: Any, _: bytes) -> None:
            peer.transport.registerProducer(Producer(), True)
            peer.send(data)

        self.fake.payload = flood
        protocol = await self.endpoint().connect(recording())
        protocol.transport.write(b"go")
        await protocol.received(1)
        protocol.transport.pauseProducing()
        await paused
        stopped = len(protocol.data)
        await self.turns(20)
        self.assertEqual((len(protocol.data), producing), (stopped, ["paused"]))
        protocol.transport.resumeProducing()
        self.assertEqual(await protocol.received(len(data)) == data, True)
        self.assertEqual(producing, ["paused", "resumed"])
        for peer in self.fake.connections:
            peer.transport.unregisterProducer()
        protocol.transport.abortConnection()
        await protocol.lost

    @awaited
    async def test_slowProxyPausesTheProducer(self) -> None:
        protocol = await self.endpoint().connect(recording())
        for peer in self.fake.connections:
            peer.transport.pauseProducing()
        states: list[str] = []
        paused: Deferred[None] = Deferred()
        resumed: Deferred[None] = Deferred()

        class Producer:
            def pauseProducing(self) -> None:
                states.append("paused")
                paused.callback(None)

            def resumeProducing(self) -> None:
                states.append("resumed")
                resumed.callback(None)

            def stopProducing(self) -> None:
                pass

        self.fake.payload = lambda peer, data: None
        protocol.transport.registerProducer(Producer(), True)
        protocol.transport.write(bytes(16_000_000))
        await paused
        for peer in self.fake.connections:
            peer.transport.resumeProducing()
        await resumed
        self.assertEqual(states, ["paused", "resumed"])
        protocol.transport.unregisterProducer()
        protocol.transport.loseConnection()
        await protocol.lost

    @awaited
    async def test_cancelled(self) -> None:
        arrived: Deferred[None] = Deferred()

        def script(peer: Any) -> None:
            peer.send(ACCEPTED)
            arrived.callback(None)

        self.fake.script = script
        connecting = self.endpoint().connect(recording())
        await arrived
        left = self.fake.left()
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        await left

    @awaited
    async def test_noAnswerInTime(self) -> None:
        arrived: Deferred[None] = Deferred()
        self.fake.script = arrived.callback
        endpoint = self.endpoint()
        clock = Clock()
        # The deadline's clock stands still until the request has arrived; the wire's does not.
        endpoint.route.reactor = TwoReactors(clock)
        connecting = endpoint.connect(recording())
        await arrived
        clock.advance(30)
        problem = await self.assertFailure(connecting, TunnelError)
        self.assertIn("within 30 s", str(problem))

    @awaited
    async def test_factoryWithoutProtocol(self) -> None:
        factory = recording()
        factory.buildProtocol = lambda address: None
        await self.assertFailure(self.endpoint().connect(factory), error.NoProtocol)
        self.assertEqual(factory.numPorts, 0)

    async def turns(self, count: int) -> None:
        for _ in range(count):
            turn: Deferred[None] = Deferred()
            reactor.callLater(0, turn.callback, None)
            await turn


class TcpTests(EndpointMixin, TestCase):
    scheme = "tcp"

    @awaited
    async def test_payloadWithTheNotification(self) -> None:
        self.fake.script = lambda peer: peer.send(ACCEPTED + ESTABLISHED + b"\npayload")
        protocol = await self.endpoint().connect(recording())
        self.assertEqual(await protocol.received(8), b"\npayload")
        protocol.transport.abortConnection()

    @awaited
    async def test_bytewise(self) -> None:
        # Each byte leaves in a turn of its own, and the client's loop turns as often.
        async def trickle(peer: Any) -> None:
            for byte in ACCEPTED + ESTABLISHED + b"\n\npayload":
                peer.send(bytes([byte]))
                await self.turns(1)

        self.fake.script = lambda peer: Deferred.fromCoroutine(trickle(peer))
        protocol = await self.endpoint().connect(recording())
        self.assertEqual(await protocol.received(9), b"\n\npayload")
        protocol.transport.abortConnection()

    @awaited
    async def test_notAProxy(self) -> None:
        self.fake.script = lambda peer: peer.send(b"SSH-2.0-x\r\n")
        self.assertIn("not a nymea-remoteproxy: it says", await self.failing())

    @awaited
    async def test_closedWithoutAnAnswer(self) -> None:
        self.fake.script = lambda peer: peer.close()
        self.assertIn("without an answer", await self.failing())

    @awaited
    async def test_closedWhileWaiting(self) -> None:
        self.fake.script = lambda peer: (peer.send(ACCEPTED), peer.close())
        self.assertIn("while waiting", await self.failing())

    @awaited
    async def test_connectionRefused(self) -> None:
        port = reactor.listenTCP(0, recording(), interface="127.0.0.1")
        self.fake.url = f"{self.scheme}://127.0.0.1:{port.getHost().port}"
        await port.stopListening()
        self.assertIn("connection refused", await self.failing())

    @awaited
    async def test_halfClose(self) -> None:
        def answer(peer: Any) -> None:
            peer.send(b"after your end")
            peer.close()

        self.fake.closedByHalf = answer
        protocol = await self.endpoint().connect(recording(HalfRecorder))
        protocol.transport.write(b"x")
        protocol.transport.loseWriteConnection()
        await protocol.lost
        self.assertEqual((protocol.data, protocol.halves), (b"xafter your end", "wr"))


class UnixTests(TestCase):
    @awaited
    async def test_unix(self) -> None:
        path = self.mktemp()
        fake = Fake(self, "tcp")
        port = reactor.listenUNIX(path, Factory.forProtocol(lambda: StreamProxy(fake)))
        self.addCleanup(port.stopListening)
        protocol = await TunnelEndpoint(reactor, f"unix:{path}", TOKEN).connect(recording())
        protocol.transport.write(b"x")
        await protocol.received(1)
        protocol.transport.loseWriteConnection()
        await protocol.lost

    @awaited
    async def test_noSocket(self) -> None:
        connecting = TunnelEndpoint(reactor, "unix:/nowhere/at/all", TOKEN).connect(recording())
        problem = await self.assertFailure(connecting, TunnelError)
        self.assertEqual(
            str(problem), "cannot connect to unix:/nowhere/at/all: No such file or directory"
        )


class WebSocketTests(EndpointMixin, TestCase):
    scheme = "ws"

    @awaited
    async def test_authenticatesInBinary(self) -> None:
        binary: list[bool] = []

        def script(peer: Any) -> None:
            binary.append(peer.requestIsBinary)
            Fake._joinByMessages(peer)

        self.fake.script = script
        self.fake.url += "/a/path?query"
        protocol = await self.endpoint().connect(recording())
        self.assertEqual(binary, [True])
        self.assertEqual(self.fake.connections[0].http_request_uri, "/a/path?query")
        self.assertEqual(
            self.fake.connections[0].http_headers.get("sec-websocket-extensions"), None
        )
        protocol.transport.abortConnection()

    @awaited
    async def test_payloadInTheSameRead(self) -> None:
        def script(peer: Any) -> None:
            Fake._joinByMessages(peer)
            peer.sendMessage(b"\ntext \xff", isBinary=False)
            peer.sendMessage(b"", isBinary=True)
            peer.sendMessage(b"fragments", isBinary=True, fragmentSize=2)

        self.fake.script = script
        protocol = await self.endpoint().connect(recording())
        self.assertEqual(await protocol.received(16), b"\ntext \xfffragments")
        protocol.transport.abortConnection()

    @awaited
    async def test_messageIsStreamed(self) -> None:
        def script(peer: Any) -> None:
            Fake._joinByMessages(peer)
            peer.beginMessage(isBinary=True)
            peer.beginMessageFrame(2**40)
            peer.sendMessageFrameData(b"beginning")

        self.fake.script = script
        protocol = await self.endpoint().connect(recording())
        self.assertEqual(await protocol.received(9), b"beginning")
        protocol.transport.abortConnection()

    @awaited
    async def test_closeReason(self) -> None:
        self.fake.script = lambda peer: (
            peer.send(ACCEPTED),
            peer.close(1008, f"tunnel already exists {TOKEN}"),
        )
        self.assertEqual(
            await self.failing(),
            "the server closed the connection while waiting: tunnel already exists … (1008)",
        )

    @awaited
    async def test_lostByCloseCode(self) -> None:
        self.fake.script = lambda peer: (Fake._joinByMessages(peer), peer.close(1013, "shutdown"))
        protocol = await self.endpoint().connect(recording())
        reason = await protocol.lost
        self.assertEqual((type(reason), reason.args), (error.ConnectionLost, ("shutdown (1013)",)))

    @awaited
    async def test_producerFinishesFirst(self) -> None:
        received: list[bytes] = []
        self.fake.payload = lambda peer, data: received.append(data)
        protocol = await self.endpoint().connect(recording())
        producer: Any = StringTransport()
        protocol.transport.registerProducer(producer, True)
        protocol.transport.loseConnection()
        protocol.transport.write(b"still")
        protocol.transport.unregisterProducer()
        protocol.transport.write(b"too late")
        await protocol.lost
        self.assertEqual(received, [b"still"])

    @awaited
    async def test_cutOff(self) -> None:
        self.fake.payload = lambda peer, data: peer.transport.abortConnection()
        protocol = await self.endpoint().connect(recording())
        protocol.transport.write(b"x")
        self.assertEqual(type(await protocol.lost), error.ConnectionLost)

    async def answering(self, answer: bytes) -> str:
        stream = Fake(self, "tcp")  # type: ignore[arg-type]

        class Http(StreamProxy):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(answer)

        port = reactor.listenTCP(
            0, Factory.forProtocol(lambda: Http(stream)), interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        self.fake.url = f"ws://127.0.0.1:{port.getHost().port}"
        told = await self.failing()
        self.assertTrue(told.startswith("not a nymea-remoteproxy: "), told)
        return told

    @awaited
    async def test_httpErrors(self) -> None:
        self.assertIn("404", await self.answering(b"HTTP/1.1 404 Not Found\r\n\r\n"))
        await self.answering(b"HTTP/1.1 101 \xff\r\n\xff: \xfe\r\n\r\n")
        await self.answering(b"nonsense\r\n\r\n")
        self.assertIn("no end", await self.answering(b"x" * (MAX_HTTP_HEADER_SIZE + 1)))


class TlsMixin(EndpointMixin):
    """The endpoint over TLS, and whom it trusts."""

    certificate: Certificate

    def makeFake(self) -> Fake:
        self.certificate = Certificate()
        return Fake(self, self.scheme, self.certificate)  # type: ignore[arg-type]

    def endpoint(self, **arguments: Any) -> TunnelEndpoint:
        arguments.setdefault("tls", TlsOptions(ca=self.certificate.pem))
        return super().endpoint(**arguments)

    def use(self, certificate: Certificate) -> None:
        self.certificate = certificate
        self.fake = Fake(self, self.scheme, certificate)  # type: ignore[arg-type]

    async def joins(self, **arguments: Any) -> None:
        protocol = await self.endpoint(**arguments).connect(recording())
        protocol.transport.loseConnection()
        await protocol.lost

    @awaited
    async def test_systemAuthorities(self) -> None:
        told = await self.failing(tls=TlsOptions())
        self.assertEqual(
            told,
            "TLS verification failed: the certificate is self-signed and not trusted; for a "
            "certificate of the proxy's own give its --fingerprint, or its authority as --ca",
        )
        self.assertEqual(self.fake.requests, [])

    @awaited
    async def test_authority(self) -> None:
        authority = Certificate((), isAuthority=True)
        self.use(Certificate(issuer=authority))
        other = Certificate().pem
        await self.joins(tls=TlsOptions(ca=b"words\n" + other + authority.pem))
        told = await self.failing(tls=TlsOptions(ca=other))
        self.assertIn("issuer is not known", told)

    @awaited
    async def test_otherHost(self) -> None:
        for names in (["127.0.0.2", "example.org"], ["example.org"], []):
            self.use(Certificate(names))
            told = await self.failing()
            self.assertTrue(told.startswith("TLS verification failed: "), told)
            self.assertEqual(self.fake.requests, [])

    @awaited
    async def test_hostName(self) -> None:
        self.use(Certificate(["localhost"]))
        self.fake.url = f"{self.scheme}://localhost:{self.fake.port}"
        await self.joins()
        self.use(Certificate([]))
        self.fake.url = f"{self.scheme}://localhost:{self.fake.port}"
        await self.failing()

    @awaited
    async def test_expired(self) -> None:
        self.use(Certificate(days=-1))
        self.assertIn("has expired", await self.failing())

    @awaited
    async def test_notYetValid(self) -> None:
        """That passes: a clock that is not right yet."""
        self.use(Certificate(days=100))
        problem = await self.assertFailure(self.endpoint().connect(recording()), TunnelError)
        self.assertEqual(
            (str(problem), problem.isTransient),
            (
                "TLS verification failed: the certificate is not valid yet; is the clock right?",
                True,
            ),
        )

    @awaited
    async def test_fingerprint(self) -> None:
        self.use(Certificate([], days=-1))
        digits = self.certificate.fingerprint.upper()
        colons = ":".join(digits[i : i + 2] for i in range(0, 64, 2))
        for fingerprint in (digits, colons):
            await self.joins(tls=TlsOptions(fingerprint=fingerprint))
        self.fake.requests.clear()
        told = await self.failing(tls=TlsOptions(fingerprint=Certificate().fingerprint))
        # As the server spells it.
        self.assertIn(f"the server's fingerprint is {colons}, not that of --fingerprint", told)
        self.assertEqual(self.fake.requests, [])

    @awaited
    async def test_insecure(self) -> None:
        self.use(Certificate([], days=-1))
        await self.joins(tls=TlsOptions(insecure=True))

    @awaited
    async def test_noTls(self) -> None:
        plain = Fake(self, "tcp")  # type: ignore[arg-type]

        class Http(StreamProxy):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        port = reactor.listenTCP(0, Factory.forProtocol(lambda: Http(plain)), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.fake.url = f"{self.scheme}://127.0.0.1:{port.getHost().port}"
        self.assertIn("TLS failed: ", await self.failing())


class TlsTests(TlsMixin, TestCase):
    scheme = "tls"
    timeout = 300

    async def deaf(self) -> tuple[Any, Clock]:
        """Return a tunnel through a proxy that reads nothing more, and the clock of its end."""
        clock = Clock()
        endpoint = self.endpoint()
        endpoint.route.reactor = TwoReactors(clock)
        protocol = await endpoint.connect(recording())
        self.fake.connections[0].transport.pauseProducing()
        return protocol, clock

    @awaited
    async def test_closingIsNotAnswered(self) -> None:
        """It is waited for, but not for ever; that the end was wanted is what counts."""
        protocol, clock = await self.deaf()
        protocol.transport.loseConnection()
        protocol.transport.loseConnection()
        clock.advance(CLOSE_TIMEOUT - 1)
        await self.turns(10)
        self.assertIsNone(protocol.reason)
        clock.advance(1)
        self.assertEqual(type(await protocol.lost), error.ConnectionDone)
        self.assertEqual(clock.getDelayedCalls(), [])

    @awaited
    async def test_answerIsPrecededByData(self) -> None:
        """The partner still has something to say, and takes its time."""
        protocol, clock = await self.deaf()
        (peer,) = self.fake.connections
        protocol.transport.loseConnection()
        for size in (1, 2):
            clock.advance(CLOSE_TIMEOUT - 1)
            peer.send(b"x")
            await protocol.received(size)
        clock.advance(CLOSE_TIMEOUT - 1)
        await self.turns(10)
        self.assertIsNone(protocol.reason)
        peer.transport.resumeProducing()
        self.assertEqual(type(await protocol.lost), error.ConnectionDone)
        self.assertEqual(clock.getDelayedCalls(), [])

    @awaited
    async def test_closingWhileNobodyReads(self) -> None:
        """Whoever does not listen cannot tell that the proxy is silent."""
        protocol, clock = await self.deaf()
        (peer,) = self.fake.connections
        protocol.transport.loseConnection()
        clock.advance(CLOSE_TIMEOUT - 1)
        protocol.transport.pauseProducing()
        clock.pump([1, CLOSE_TIMEOUT - 1])
        peer.send(b"x")
        protocol.transport.resumeProducing()
        clock.advance(CLOSE_TIMEOUT - 1)
        self.assertEqual(await protocol.received(1), b"x")
        peer.transport.resumeProducing()
        self.assertEqual(type(await protocol.lost), error.ConnectionDone)

    @awaited
    async def test_closingWhatIsClosed(self) -> None:
        """Nothing is left behind."""
        protocol, clock = await self.deaf()
        self.fake.connections[0].transport.abortConnection()
        await protocol.lost
        protocol.transport.loseConnection()
        self.assertEqual(clock.getDelayedCalls(), [])

    @awaited
    async def test_closingWaitsForTheProducer(self) -> None:
        """As long as there is one, the proxy has no reason to close."""
        protocol, clock = await self.deaf()
        producer: Any = StringTransport()
        protocol.transport.registerProducer(producer, True)
        protocol.transport.loseConnection()
        clock.advance(2 * CLOSE_TIMEOUT)
        await self.turns(10)
        self.assertIsNone(protocol.reason)
        protocol.transport.unregisterProducer()
        clock.advance(CLOSE_TIMEOUT)
        self.assertEqual(type(await protocol.lost), error.ConnectionDone)


class SecureWebSocketTests(TlsMixin, TestCase):
    scheme = "wss"
