"""Owns the checks of the client end, against scripted proxies that know nothing of the server."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from pathlib import Path
from typing import Any
from uuid import UUID

import txaio
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import error
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from nymearemoteproxy import __version__
from nymearemoteproxy.client import cli, copying
from nymearemoteproxy.client.controlphase import MAX_CONTROL_SIZE, Partner, TunnelError, oneLine
from nymearemoteproxy.client.endpoint import MAX_HTTP_HEADER_SIZE, TunnelEndpoint
from nymearemoteproxy.client.farend import SILENCE
from nymearemoteproxy.client.joining import Joining
from nymearemoteproxy.client.reasons import meantScheme
from nymearemoteproxy.client.trust import ServerCheck, TlsOptions
from nymearemoteproxy.client.tunneltransport import TunnelTransport
from nymearemoteproxy.client.urls import ProxyUrl
from tests.support.endtoend import CLIENT, forker

txaio.use_twisted()

reactor: Any = globalReactor

ROOT = Path(__file__).resolve().parents[2]
MISTAKE = r"\Anymea-remoteproxy-client: [^\n]+\n\Z"
TOKEN = "a-token-nobody-may-see"
NONCE = "a-nonce-nobody-may-see"
PARTNER = Partner("the\x1b[2J partner\n", "{00000000-0000-0000-0000-000000000001}")


def awaited(method: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Deferred[None]]:
    """Make a test of a coroutine: Debian 12's trial passes coroutines unrun."""

    @wraps(method)
    def test(*arguments: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(method(*arguments))

    return test


def line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


ACCEPTED = line(
    {"id": 1, "status": "success", "params": {"authenticationError": "AuthenticationErrorNoError"}}
)
REFUSAL = "Invalid token. You are not allowed to use this server."
REFUSED = line(
    {
        "id": 1,
        "status": "success",
        "params": {"authenticationError": "AuthenticationErrorAuthenticationFailed"},
        "error": REFUSAL,
    }
)
ESTABLISHED = line(
    {
        "id": 7,
        "notification": "RemoteProxy.TunnelEstablished",
        "params": {"name": PARTNER.name, "uuid": PARTNER.uuid},
    }
)


class Recorder(Protocol):
    """A user's protocol that remembers what happened to it."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.reason: Failure | None = None
        self.lost: Deferred[BaseException | None] = Deferred()
        self._wanted: list[tuple[int, Deferred[bytes]]] = []

    def received(self, size: int) -> Deferred[bytes]:
        """Fires when ``size`` bytes have come in."""
        wanted: Deferred[bytes] = Deferred()
        self._wanted.append((size, wanted))
        self._look()
        return wanted

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        # A Failure would be raised where it is awaited.
        self.lost.callback(reason.value)

    def _look(self) -> None:
        for item in [item for item in self._wanted if len(self.data) >= item[0]]:
            self._wanted.remove(item)
            item[1].callback(self.data)


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    halves = ""

    def readConnectionLost(self) -> None:
        self.halves += "r"
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        self.halves += "w"


def recording(protocol: Callable[[], Recorder] = Recorder) -> Any:
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    return factory


@implementer(IHalfCloseableProtocol)
class StreamProxy(Protocol):
    """A proxy on a stream: what ``script`` says is sent when the request is complete."""

    transport: Any

    def __init__(self, fake: Fake) -> None:
        self.fake = fake
        self.request = b""

    def connectionMade(self) -> None:
        self.fake.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        if b"\n" in self.request:
            self.fake.payload(self, data)
            return
        self.request += data
        if b"\n" in self.request:
            self.fake.requests.append(json.loads(self.request))
            self.fake.script(self)

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def close(self) -> None:
        self.transport.loseConnection()

    def readConnectionLost(self) -> None:
        self.fake.closedByHalf(self)

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.fake.gone(self)


class WebSocketProxy(WebSocketServerProtocol):  # type: ignore[misc]
    """The same on WebSocket; every ``send`` is one message."""

    fake: Fake
    request: bytes | None = None
    requestIsBinary = False

    def onOpen(self) -> None:
        self.fake.connections.append(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.request is not None:
            self.fake.payload(self, payload)
            return
        self.request = payload
        self.requestIsBinary = isBinary
        self.fake.requests.append(json.loads(payload))
        self.fake.script(self)

    def send(self, data: bytes) -> None:
        self.sendMessage(data, isBinary=True)

    def close(self, code: int = 1000, reason: str = "tunnel partner disconnected") -> None:
        self.sendCloseFrame(code, reason.encode())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.fake.gone(self)


class Fake:
    """One scripted proxy on 127.0.0.1."""

    def __init__(
        self,
        test: TestCase,
        scheme: str,
        certificate: Certificate | None = None,
        port: int = 0,
    ) -> None:
        self.scheme = scheme
        self.requests: list[dict[str, Any]] = []
        self.connections: list[Any] = []
        self.script: Callable[[Any], object] = lambda peer: peer.send(ACCEPTED + ESTABLISHED)
        self.payload: Callable[[Any, bytes], object] = lambda peer, data: peer.send(data)
        self.closedByHalf: Callable[[Any], object] = lambda peer: peer.close()
        self._leaving: list[Deferred[None]] = []
        factory: Any
        if scheme in ("ws", "wss"):
            factory = WebSocketServerFactory(reactor=reactor)
            factory.setProtocolOptions(closeHandshakeTimeout=0, openHandshakeTimeout=0)
            factory.protocol = type("WebSocketProxy", (WebSocketProxy,), {"fake": self})
            self.script = self._joinByMessages
        else:
            factory = Factory.forProtocol(lambda: StreamProxy(self))
        factory.noisy = False
        if certificate is not None:
            options = certificate.private.options()
            listening = reactor.listenSSL(port, factory, options, interface="127.0.0.1")
        else:
            listening = reactor.listenTCP(port, factory, interface="127.0.0.1")
        self._listening = listening
        self.port = listening.getHost().port
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        test.addCleanup(self.stop)

    async def _stop(self) -> None:
        # Nothing when it has been stopped already.
        await maybeDeferred(self._listening.stopListening)
        await self._allGone()

    def stop(self) -> Deferred[None]:
        """Stop listening and break off all connections; fires when that is done."""
        return Deferred.fromCoroutine(self._stop())

    def gone(self, peer: Any) -> None:
        if peer in self.connections:
            self.connections.remove(peer)
        if not self.connections:
            leaving, self._leaving = self._leaving, []
            for deferred in leaving:
                deferred.callback(None)

    def left(self) -> Deferred[None]:
        """Fires when the last connection is gone."""
        deferred: Deferred[None] = Deferred()
        self._leaving.append(deferred)
        return deferred

    async def _allGone(self) -> None:
        if self.connections:
            waiting = self.left()
            for peer in list(self.connections):
                peer.transport.abortConnection()
            await waiting

    @staticmethod
    def _joinByMessages(peer: Any) -> None:
        peer.send(ACCEPTED)
        peer.send(ESTABLISHED)


class Certificate:
    """A certificate made for a test, signed by itself or by ``issuer``."""

    def __init__(
        self,
        names: Iterable[str] = ("127.0.0.1",),
        days: int = 1,
        issuer: Certificate | None = None,
        isAuthority: bool = False,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        title = "test authority" if isAuthority else "127.0.0.1"
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name if issuer else self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - datetime.timedelta(days=10))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=isAuthority, path_length=None), critical=True)
        )
        hosts = [self._host(name) for name in names]
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        certificate = builder.sign(issuer.key if issuer else self.key, hashes.SHA256())
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)
        der = certificate.public_bytes(serialization.Encoding.DER)
        self.fingerprint = hashlib.sha256(der).hexdigest()
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.private: Any = PrivateCertificate.loadPEM(self.pem + key)

    @staticmethod
    def _host(name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)


class JoiningTests(SynchronousTestCase):
    """The control phase without any wire."""

    def joining(self) -> Joining:
        return Joining(TOKEN, NONCE, "me", "{1}")

    def test_request(self) -> None:
        request = self.joining().request
        self.assertTrue(request.endswith(b"}\n"))
        message = json.loads(request)
        self.assertEqual(message["method"], "Authentication.Authenticate")
        self.assertEqual(
            message["params"], {"uuid": "{1}", "name": "me", "token": TOKEN, "nonce": NONCE}
        )
        withoutNonce = json.loads(Joining(TOKEN, None, "me", "{1}").request)
        self.assertNotIn("nonce", withoutNonce["params"])

    def test_everyCut(self) -> None:
        stream = b" \r\n" + ACCEPTED + ESTABLISHED.replace(b"the", b'th}{\\\\\\"e') + b"payload"
        for cut in range(len(stream)):
            joining = self.joining()
            rest = joining.receive(stream[:cut])
            rest += stream[cut:] if joining.partner else joining.receive(stream[cut:])
            self.assertEqual(rest, b"\npayload")
            assert joining.partner is not None
            self.assertEqual(joining.partner.name, 'th}{\\"e' + PARTNER.name[3:])

    def test_bytewise(self) -> None:
        joining = self.joining()
        rests = [joining.receive(bytes([byte])) for byte in ACCEPTED + ESTABLISHED.rstrip()]
        self.assertEqual(set(rests), {b""})
        self.assertEqual(joining.partner, PARTNER)

    def test_otherNotificationsAreIgnored(self) -> None:
        joining = self.joining()
        joining.receive(line({"notification": "Some.Thing"}) + ACCEPTED)
        self.assertTrue(joining.waiting)
        self.assertIsNone(joining.partner)

    def failing(self, data: bytes) -> str:
        return str(self.assertRaises(TunnelError, self.joining().receive, data))

    def test_refused(self) -> None:
        self.assertEqual(self.failing(REFUSED), f"refused by the server: {REFUSAL}")
        nameless = line({"id": 1, "status": "success", "params": {"authenticationError": "X"}})
        self.assertEqual(self.failing(nameless), "refused by the server: X")
        bare = line({"id": -1, "status": "error"})
        self.assertEqual(self.failing(bare), "refused by the server: no reason given")

    def test_secretsAreNotRepeated(self) -> None:
        told = self.failing(line({"id": 1, "status": "error", "error": f"{TOKEN}\n{NONCE}\x1b[0m"}))
        self.assertEqual(told, "refused by the server: … …\\x1b[0m")

    def test_strangers(self) -> None:
        for data in (
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\xff\x00",
            b"{]}",
            b'{"a": ' + b"[" * 30000 + b"}",
            b'{"id": 1, "method": "Some.Thing"}',
            b"{" + b" " * MAX_CONTROL_SIZE,
            ESTABLISHED,
        ):
            told = self.failing(data)
            self.assertTrue(told.startswith("not a nymea-remoteproxy: "), told)
            self.assertTrue(told.isprintable(), told)

    def test_oneLine(self) -> None:
        self.assertEqual(oneLine("a\n b\x07\u202e\udc80ü"), "a b\\x07\\u202e\\udc80ü")
        self.assertEqual(len(oneLine("a" * 1000)), 240)


class UrlTests(SynchronousTestCase):
    def test_good(self) -> None:
        self.assertEqual(ProxyUrl.parse("unix:/run/x y").path, "/run/x y")
        url = ProxyUrl.parse("WSS://Example.org:2212/a?b=c")
        self.assertEqual((url.scheme, url.host, url.port), ("wss", "example.org", 2212))
        self.assertEqual(url.resource, "/a?b=c")
        self.assertEqual(ProxyUrl.parse("ws://[::1]:1").where, "[::1]:1")
        self.assertEqual(ProxyUrl.parse("tcp://h:1/").resource, "/")
        self.assertEqual(ProxyUrl.parse("ws://h:1/%20[a]?b=c:d@e").resource, "/%20[a]?b=c:d@e")

    def test_hosts(self) -> None:
        for host in (
            *("h", "h.", "A-b--c.example", "127.0.0.1", "127.1", "xn--kche-0ra.example", "1.a"),
            *("[::1]", "[2001:DB8::1]", "[::ffff:127.0.0.1]", "a" * 63, "a." * 126 + "a"),
        ):
            url = ProxyUrl.parse(f"wss://{host}:2212")
            self.assertEqual(url.host, host.lower().strip("[]"))
            self.assertEqual(url.where, f"{host.lower()}:2212")

    def test_bad(self) -> None:
        """Each is refused at the start, in one line that says why and repeats no secret."""
        for url, words in {
            "": "start with",
            "unix:": "no socket",
            "unix:a\0b": "no socket",
            "host:2212": "start with",
            "http://h:1": "start with",
            "ws:h:1": "missing",
            "ws://h": "missing",
            "ws://:1": "missing",
            "ws:///path": "missing",
            "ws://[::1]": "missing",
            "ws://h:": "port",
            "ws://h:0": "port",
            "ws://h:x": "port",
            "ws://h:+1": "port",
            "ws://h:99999": "port",
            "ws://h:" + "9" * 5000: "port",
            "ws://[::1:1": "brackets",
            "ws://::1:1": "brackets",
            "ws://[h]:1": "brackets",
            "ws://[v1.a]:1": "brackets",
            "ws://[::1]x:1": "brackets",
            "ws://x[::1]:1": "brackets",
            "ws://h:1:1": "brackets",
            "ws://[fe80::1%eth0]:1": "zone",
            "ws://[fe80::1%25eth0]:1": "zone",
            "ws://u@h:1": "user name",
            "ws://@h:1": "user name",
            "wss://me:secret@h:1": "user name",
            "wss://me:s/secret@h:1": "port",
            "ws://h:1/#f": "fragment",
            "ws://h:1#": "fragment",
            "ws://h_x:1": "name",
            "ws://a..b:1": "name",
            "ws://-a:1": "name",
            "ws://a-.b:1": "name",
            "ws://ab--c:1": "name",
            "ws://h%41:1": "name",
            f"ws://{'a' * 64}:1": "name",
            f"ws://{'a.' * 127}a:1": "name",
            "ws://h :1": "characters",
            "ws://h\n:1": "characters",
            "ws://hü:1": "characters",
            "ws://h:1/ü": "characters",
            'ws://h:1/"': "characters",
            "ws://h:1/a|b": "characters",
            "ws://h\\x:1": "characters",
            "tcp://h:1/path": "no path",
            "tls://h:1?q": "no path",
        }.items():
            problem = self.assertRaises(ValueError, TunnelEndpoint, Clock(), url, TOKEN)
            self.assertTrue(str(problem).isprintable(), url)
            self.assertIn(words, str(problem), url)
            self.assertNotIn("secret", str(problem))

    def test_dotOfTheRoot(self) -> None:
        """No certificate has it, and neither has the handshake (RFC 6066 section 3)."""
        check = ServerCheck(TlsOptions(), "example.org.")
        self.assertEqual(check.clientConnectionForTLS(None).get_servername(), b"example.org")

    def test_badArguments(self) -> None:
        for arguments in ({"uuid": "x"}, {"tls": TlsOptions()}):
            with self.assertRaises(ValueError):
                TunnelEndpoint(Clock(), "ws://h:1", TOKEN, **arguments)  # type: ignore[arg-type]

    def test_badTlsOptions(self) -> None:
        broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        for arguments in (
            {"ca": b"nothing"},
            {"ca": broken},
            {"fingerprint": "12:34"},
            {"fingerprint": "g" * 64},
            {"fingerprint": "a" * 64, "insecure": True},
        ):
            with self.assertRaises(ValueError):
                TlsOptions(**arguments)  # type: ignore[arg-type]


class MeantSchemeTests(SynchronousTestCase):
    """The URL of every kind, at a port of every kind, by what the server says there."""

    def assertMeant(self, scheme: str, said: bytes, isTls: bool, words: str) -> None:
        meant = meantScheme(scheme, said, isTls)
        self.assertEqual(meant, f"; is it {words}?" if words else "", (scheme, said, isTls))

    def test_http(self) -> None:
        """It speaks HTTP, perhaps WebSocket."""
        said = b"HTTP/1.1"
        for scheme, words in (("tcp", "ws://"), ("ws", "")):
            self.assertMeant(scheme, said, False, words)
        for scheme, words in (("tls", "wss://"), ("wss", "")):
            self.assertMeant(scheme, said, True, words)

    def test_json(self) -> None:
        """It takes streams."""
        for scheme, words in (("ws", "tcp://"), ("tcp", "")):
            self.assertMeant(scheme, b'{"id":-1', False, words)
        for scheme, words in (("wss", "tls://"), ("tls", "")):
            self.assertMeant(scheme, b'{"id":-1', True, words)

    def test_tls(self) -> None:
        for scheme, words in (("ws", "wss:// or tls://"), ("tcp", "tls:// or wss://")):
            self.assertMeant(scheme, b"\x15\x03\x03\x00\x02\x02", False, words)

    def test_noTls(self) -> None:
        for scheme, words in (("wss", "ws:// or tcp://"), ("tls", "tcp:// or ws://")):
            for said in (b"", b"HTTP/1.1"):
                self.assertMeant(scheme, said, False, words)

    def test_nothing(self) -> None:
        for scheme, words in (("ws", "wss:// or tls://"), ("tcp", "tls://, wss:// or ws://")):
            self.assertMeant(scheme, b"", False, words)
        for scheme, words in (("tls", "wss://"), ("wss", "")):
            self.assertMeant(scheme, b"", True, words)

    def test_unix(self) -> None:
        for said in (b"", b"HTTP/1.1"):
            self.assertEqual(
                meantScheme("unix", said, False),
                "; is it a socket for WebSocket? unix: is for streams",
            )
        self.assertEqual(meantScheme("unix", b"SSH-2.0-", False), "")

    def test_anythingElse(self) -> None:
        for scheme, isTls in (("ws", False), ("wss", True), ("tcp", False), ("tls", True)):
            self.assertMeant(scheme, b"SSH-2.0-", isTls, "")


class TransportTests(SynchronousTestCase):
    """What the tunnel's transport adds to the real one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wire = StringTransport()
        self.protocol = Recorder()
        self.tunnel = TunnelTransport(self.clock, self.wire, PARTNER, self.protocol)
        self.protocol.makeConnection(self.tunnel)  # type: ignore[arg-type]

    def test_nothingWhilePaused(self) -> None:
        self.tunnel.pauseProducing()
        self.assertEqual(self.wire.producerState, "paused")
        self.tunnel.deliver(b"a")
        self.tunnel.deliver(b"b")
        self.assertEqual(self.protocol.data, b"")
        self.tunnel.resumeProducing()
        self.tunnel.deliver(b"c")
        self.assertEqual((self.protocol.data, self.wire.producerState), (b"", "paused"))
        self.clock.advance(0)
        self.assertEqual((self.protocol.data, self.wire.producerState), (b"abc", "producing"))

    def test_pausedAgainBeforeDelivery(self) -> None:
        self.tunnel.pauseProducing()
        self.tunnel.deliver(b"a")
        self.tunnel.resumeProducing()
        self.tunnel.pauseProducing()
        self.clock.advance(0)
        self.assertEqual((self.protocol.data, self.wire.producerState), (b"", "paused"))

    def test_lostWhilePaused(self) -> None:
        self.tunnel.pauseProducing()
        self.tunnel.deliver(b"last")
        self.tunnel.resumeProducing()
        self.tunnel.lost(connectionDone)
        self.assertEqual((self.protocol.data, self.protocol.reason), (b"last", connectionDone))
        self.clock.advance(0)

    def test_delegation(self) -> None:
        self.tunnel.writeSequence([b"a", b"b"])
        self.assertEqual(self.wire.value(), b"ab")
        self.tunnel.registerProducer(self, True)
        self.assertIs(self.wire.producer, self)
        self.tunnel.unregisterProducer()
        self.assertEqual(self.tunnel.getPeer(), self.wire.getPeer())
        self.assertEqual(self.tunnel.getHost(), self.wire.getHost())
        self.tunnel.stopProducing()
        self.assertTrue(self.wire.disconnecting and self.tunnel.disconnecting)


class EndpointMixin:
    """Every kind of connection that the endpoint can make; subclasses say which."""

    scheme: str
    assertEqual: Any
    assertTrue: Any
    assertIn: Any
    addCleanup: Any
    assertFailure: Any

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
        endpoint.reactor = _TwoReactors(clock)
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


class _TwoReactors:
    """The real reactor with another's clock for the long delays."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def callLater(self, delay: float, *arguments: Any) -> Any:
        # HostnameEndpoint's own timeout is as long, and would be as still.
        return (self._clock if delay >= 30 else reactor).callLater(delay, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


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


class SecureWebSocketTests(TlsMixin, TestCase):
    scheme = "wss"


class FilesTests(SynchronousTestCase):
    def test_filesLeft(self) -> None:
        """A process that may have only a few files still does its work for somebody."""
        for limit, left in ((1024, 960), (20, 2)):
            self.patch(cli, "raiseFileLimit", lambda limit=limit: limit)
            self.assertEqual(cli._filesLeft(), left)

    def test_terminalOfSomebodyElse(self) -> None:
        """It cannot be opened anew, so it is used as it is."""
        near, terminal = os.openpty()
        self.addCleanup(os.close, near)
        self.addCleanup(os.close, terminal)
        own = copying._ownFile(terminal, os.O_RDONLY)
        self.addCleanup(os.close, own)
        self.assertNotEqual(own, terminal)

        def refuse(*_: object) -> int:
            raise PermissionError

        self.patch(os, "open", refuse)
        self.assertEqual(copying._ownFile(terminal, os.O_RDONLY), terminal)

    def test_noTerminal(self) -> None:
        """Of a pipe there is one only."""
        for fd in os.pipe():
            self.addCleanup(os.close, fd)
            self.assertEqual(copying._ownFile(fd, os.O_RDONLY), fd)


class CommandTests(TestCase):
    """The command as a process, since it lives by its descriptors and its exit status."""

    timeout = 60

    def setUp(self) -> None:
        self.environment = dict(os.environ, PYTHONPATH=str(ROOT), NYMEA_REMOTEPROXY_TOKEN=TOKEN)
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    async def run_(
        self, *arguments: str, shell: str = '"$@"', env: dict[str, str] | None = None
    ) -> tuple[bytes, str, int]:
        """Run the command as ``"$@"`` in ``shell``."""
        command = [sys.executable, "-m", "nymearemoteproxy.client.cli", *arguments]
        out, err, status = await getProcessOutputAndValue(
            "/bin/sh",
            ["-c", shell, "sh", *command],
            self.environment | (env or {}),
            str(self.directory),
        )
        told = err.decode()
        self.assertNotIn("Traceback", told)
        self.assertNotIn(TOKEN, told)
        return out, told, status

    def bigFile(self) -> bytes:
        data = os.urandom(5_000_000)
        (self.directory / "in").write_bytes(data)
        return data

    def copied(self) -> bytes:
        return (self.directory / "out").read_bytes()

    @awaited
    async def test_files(self) -> None:
        data = self.bigFile()
        fake = Fake(self, "tcp")
        out, told, status = await self.run_("--url", fake.url, shell='"$@" <in >out')
        self.assertEqual((status, self.copied() == data), (0, True), told)
        self.assertEqual(
            told.splitlines(),
            [
                "nymea-remoteproxy-client: waiting for the partner",
                "nymea-remoteproxy-client: tunnel established with "
                f"'the\\x1b[2J partner\\n' {PARTNER.uuid}",
                "nymea-remoteproxy-client: partner left",
            ],
        )

    @awaited
    async def test_pipes(self) -> None:
        data = self.bigFile()
        fake = Fake(self, "tcp")
        out, told, status = await self.run_("--url", fake.url, shell='cat in | "$@" | cat >out')
        self.assertEqual((status, self.copied() == data), (0, True), told)

    @awaited
    async def test_inputOverWebSocket(self) -> None:
        data = self.bigFile()
        for redirection in ('"$@" <in', 'cat in | "$@"'):
            received: list[bytes] = []
            fake = Fake(self, "ws")
            fake.payload = lambda peer, data, received=received: received.append(data)  # type: ignore[misc]
            out, told, status = await self.run_("--url", fake.url, shell=redirection)
            self.assertEqual((status, b"".join(received) == data, out), (0, True, b""), told)

    @awaited
    async def test_outputOverWebSocket(self) -> None:
        data = os.urandom(5_000_000)

        def script(peer: Any) -> None:
            Fake._joinByMessages(peer)
            peer.send(data)
            peer.close()

        # An input that never ends and never has anything.
        fifo = self.directory / "fifo"
        os.mkfifo(fifo)
        self.addCleanup(os.close, os.open(fifo, os.O_RDWR))
        for redirection in ('"$@" <fifo >out', '"$@" <fifo | cat >out'):
            fake = Fake(self, "ws")
            fake.script = script
            out, told, status = await self.run_("--url", fake.url, shell=redirection)
            self.assertEqual((status, self.copied() == data), (0, True), told)
            self.assertIn("partner left", told)

    @awaited
    async def test_null(self) -> None:
        """Who has nothing to send receives everything, until the partner leaves."""
        data = os.urandom(3_000_000)
        for scheme in ("tcp", "ws"):
            fake = Fake(self, scheme)
            join = fake.script

            def script(peer: Any, join: Callable[[Any], object] = join) -> None:
                join(peer)

                def later() -> None:
                    peer.send(data)
                    peer.close()

                reactor.callLater(1.5, later)

            fake.script = script
            out, told, status = await self.run_("--url", fake.url, shell='"$@" </dev/null >out')
            self.assertEqual((status, self.copied() == data), (0, True), told)

    @awaited
    async def test_answersBehindTheEndOfInput(self) -> None:
        """What the partner answers with short pauses still arrives; then we leave."""
        for scheme in ("tcp", "ws"):
            fake = Fake(self, scheme)

            def payload(peer: Any, _data: bytes) -> None:
                for number in range(4):
                    reactor.callLater(0.5 * number, peer.send, b"%d" % number)

            fake.payload = payload
            (self.directory / "in").write_bytes(b"question")
            out, told, status = await self.run_("--url", fake.url, shell='"$@" <in >out')
            self.assertEqual((status, self.copied()), (0, b"0123"), told)

    @awaited
    async def test_partnerLeavesFirst(self) -> None:
        """It is said when there was more to send."""
        fake = Fake(self, "ws")
        fake.payload = lambda peer, data: peer.close()
        shell = 'mkfifo in; "$@" <in & exec 3>in; echo some >&3; wait $!'
        out, told, status = await self.run_("--url", fake.url, shell=shell)
        self.assertEqual(status, 0, told)
        self.assertIn("partner left before the end of standard input", told)

    @awaited
    async def test_tls(self) -> None:
        data = self.bigFile()
        certificate = Certificate()
        (self.directory / "ca").write_bytes(certificate.pem)
        for options in (
            ["--ca", "ca"],
            ["--fingerprint", certificate.fingerprint],
            ["--insecure"],
        ):
            for scheme in ("tls", "wss"):
                received: list[bytes] = []
                fake = Fake(self, scheme, certificate)
                fake.payload = lambda peer, data, received=received: received.append(data)  # type: ignore[misc]
                out, told, status = await self.run_("--url", fake.url, *options, shell='"$@" <in')
                self.assertEqual((status, b"".join(received) == data), (0, True), told)
                self.assertEqual("warning" in told, options == ["--insecure"])
        out, told, status = await self.run_("--url", fake.url, shell='"$@" </dev/null')
        self.assertEqual(status, 1)
        self.assertIn("TLS verification failed", told)

    @awaited
    async def test_tokenFile(self) -> None:
        (self.directory / "token").write_text("# a comment\n\n  from-a-file  \nanother\n")
        fake = Fake(self, "tcp")
        fake.script = lambda peer: peer.send(REFUSED)
        out, told, status = await self.run_("--url", fake.url, "--token-file", "token")
        self.assertEqual(
            (status, told), (1, f"nymea-remoteproxy-client: refused by the server: {REFUSAL}\n")
        )
        self.assertEqual(fake.requests[0]["params"]["token"], "from-a-file")

    @awaited
    async def test_mistake(self) -> None:
        out, told, status = await self.run_("--url", "http://h:1")
        self.assertEqual((status, out), (1, b""))
        self.assertRegex(told, MISTAKE)

    def test_mistakes(self) -> None:
        url = ["--url", "tcp://127.0.0.1:1"]
        for arguments in (
            [],
            [*url, "--nothing"],
            [*url, "stray"],
            [*url, "--uuid", "x"],
            [*url, "--token", "x", "--token-file", "y"],
            [*url, "--token-file", "missing"],
            [*url, "--token-file", "."],
            [*url, "--insecure"],
            ["--url", "tls://127.0.0.1:1", "--ca", "missing"],
            ["--url", "tls://127.0.0.1:1", "--fingerprint", "12"],
            ["--url", "tls://127.0.0.1:1", "--fingerprint", "12", "--insecure"],
        ):
            status, told = forker(CLIENT).run(arguments, {"NYMEA_REMOTEPROXY_TOKEN": TOKEN})
            self.assertEqual(status, 1, arguments)
            self.assertRegex(told, MISTAKE)
            self.assertNotIn("Traceback", told)
            self.assertNotIn(TOKEN, told)
        status, told = forker(CLIENT).run(url, {"NYMEA_REMOTEPROXY_TOKEN": ""})
        self.assertEqual(status, 1)
        self.assertIn("no token", told)

    @awaited
    async def test_version(self) -> None:
        for option in ("--version", "-V"):
            out, told, status = await self.run_(option)
            self.assertEqual(
                (out.decode(), status), (f"nymea-remoteproxy-client {__version__}\n", 0)
            )

    @awaited
    async def test_missingDescriptors(self) -> None:
        for redirection in ('"$@" <&-', '"$@" >&-'):
            out, told, status = await self.run_("--url", "tcp://127.0.0.1:1", shell=redirection)
            self.assertEqual(status, 1)
            self.assertIn("is closed", told)
        fake = Fake(self, "tcp")
        shell = 'echo x | "$@" 2>&-'
        out, told, status = await self.run_("--url", fake.url, shell=shell)
        self.assertEqual((out, told, status), (b"x\n", "", 0))

    @awaited
    async def test_closedOutput(self) -> None:
        self.bigFile()
        fake = Fake(self, "tcp")
        shell = '{ "$@" <in; echo $? >status; } | head -c 10 >/dev/null'
        out, told, status = await self.run_("--url", fake.url, shell=shell)
        self.assertEqual((self.directory / "status").read_text(), "1\n")
        self.assertEqual(len(told.splitlines()), 2, told)

    @awaited
    async def test_fullDevice(self) -> None:
        data = self.bigFile()
        fake = Fake(self, "tcp")
        fake.payload = lambda peer, _: peer.send(data)
        out, told, status = await self.run_("--url", fake.url, shell='"$@" <in >/dev/full')
        self.assertEqual(status, 1)
        self.assertIn("cannot write to standard output", told)

    async def waiting(self, fake: Fake, shell: str) -> None:
        """Check what is said after the tunnel was up, when the partner leaves by itself."""
        out, told, status = await self.run_("--url", fake.url, shell=shell)
        self.assertEqual(status, 0)
        self.assertEqual(
            told.splitlines()[2:],
            [
                "nymea-remoteproxy-client: end of standard input; waiting for the partner to leave",
                "nymea-remoteproxy-client: partner left",
            ],
        )

    @awaited
    async def test_nothingToSend(self) -> None:
        """It is said at once that there is nothing to do but wait."""
        fake = Fake(self, "tcp")
        join = fake.script
        fake.script = lambda peer: (join(peer), reactor.callLater(1, peer.close))
        await self.waiting(fake, '"$@" </dev/null')

    @awaited
    async def test_partnerStaysAfterTheEnd(self) -> None:
        """It is said when it has not left soon."""
        fake = Fake(self, "tcp")
        fake.closedByHalf = lambda peer: reactor.callLater(SILENCE + 1, peer.close)
        await self.waiting(fake, 'echo question | "$@"')

    async def joined(self, **streams: Any) -> subprocess.Popen[bytes]:
        """Start the command in a process group of its own, and wait for its tunnel."""
        fake = Fake(self, "tcp")
        process = subprocess.Popen(
            [sys.executable, "-m", "nymearemoteproxy.client.cli", "--url", fake.url],
            stderr=subprocess.PIPE,
            env=self.environment,
            process_group=0,
            # A shell that runs the tests in the background has it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGQUIT, signal.SIG_DFL),
            **streams,
        )
        assert process.stderr is not None
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        while b"tunnel established" not in await deferToThread(process.stderr.readline):
            self.assertIsNone(process.poll())
        return process

    @awaited
    async def test_terminal(self) -> None:
        """It stays as it is for the shell, and Ctrl-D ends us at once."""
        near, terminal = os.openpty()
        self.addCleanup(os.close, near)
        self.addCleanup(os.close, terminal)
        process = await self.joined(stdin=terminal, stdout=terminal)
        os.write(near, b"echo\n")
        shown = b""
        while shown != b"echo\r\n" * 2:  # typed and received
            shown += await deferToThread(os.read, near, 99)
        self.assertTrue(os.get_blocking(terminal))
        os.write(near, b"\x04")
        self.assertEqual(await deferToThread(process.wait, 5), 0)

    def sharedPipes(self) -> tuple[dict[str, int], int, int]:
        """Return both ends of pipes: the command's, and ours to write and to read."""
        theirInput, ours = os.pipe()
        answers, theirOutput = os.pipe()
        for fd in (theirInput, ours, answers, theirOutput):
            self.addCleanup(os.close, fd)
        return {"stdin": theirInput, "stdout": theirOutput}, ours, answers

    @awaited
    async def test_stopped(self) -> None:
        """Who has the pipes meanwhile finds them as they were; then it goes on."""
        pipes, ours, answers = self.sharedPipes()
        process = await self.joined(**pipes)
        for _ in range(2):
            os.write(ours, b"question")
            self.assertEqual(await deferToThread(os.read, answers, 99), b"question")
            self.assertEqual([os.get_blocking(fd) for fd in pipes.values()], [False, False])
            process.send_signal(signal.SIGTSTP)
            _, status = await deferToThread(os.waitpid, process.pid, os.WUNTRACED)
            self.assertTrue(os.WIFSTOPPED(status))
            self.assertEqual([os.get_blocking(fd) for fd in pipes.values()], [True, True])
            process.send_signal(signal.SIGCONT)

    @awaited
    async def test_quit(self) -> None:
        """Others find the pipes as they were."""
        pipes, ours, answers = self.sharedPipes()
        process = await self.joined(**pipes)
        os.write(ours, b"x")
        await deferToThread(os.read, answers, 1)
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
        process.send_signal(signal.SIGQUIT)
        self.assertEqual(await deferToThread(process.wait, 5), -signal.SIGQUIT)
        self.assertEqual([os.get_blocking(fd) for fd in pipes.values()], [True, True])

    @awaited
    async def test_interrupted(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            fake = Fake(self, "tcp")
            waiting: Deferred[None] = Deferred()
            fake.script = lambda peer, waiting=waiting: (  # type: ignore[misc]
                peer.send(ACCEPTED),
                waiting.callback(None),
            )
            process = subprocess.Popen(
                [sys.executable, "-m", "nymearemoteproxy.client.cli", "--url", fake.url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environment,
            )
            await waiting
            assert process.stderr is not None
            first = await deferToThread(process.stderr.readline)
            self.assertIn(b"waiting for the partner", first)
            process.send_signal(number)
            out, err = await deferToThread(process.communicate)
            self.assertEqual((process.returncode, out, err), (128 + number, b"", b""))
