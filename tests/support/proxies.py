"""Scripted proxies that know nothing of the server, and what the client's tests have in common."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from typing import Any

import txaio
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from nymearemoteproxy.client.rules.controlphase import Partner

txaio.use_twisted()

reactor: Any = globalReactor

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
        """Fires when `size` bytes have come in."""
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
    """A proxy on a stream: what `script` says is sent when the request is complete."""

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
        if b"\n" in self.request and self.fake.requested(self, json.loads(self.request)):
            self.request = b""

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
    """The same on WebSocket; every `send` is one message."""

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
        if self.fake.requested(self, json.loads(payload)):
            self.request = None

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

    def requested(self, peer: Any, request: dict[str, Any]) -> bool:
        """Follow the script; tell whether another request is to come, since this was a question."""
        if request["method"] == "RemoteProxy.Introspect":
            peer.send(line({"id": request["id"], "status": "error", "error": "Unknown method."}))
            return True
        self.requests.append(request)
        self.script(peer)
        return False

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
    """A certificate made for a test, signed by itself or by `issuer`."""

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


class TwoReactors:
    """The real reactor with another's clock for the delays from 30 seconds up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def callLater(self, delay: float, *arguments: Any) -> Any:
        # HostnameEndpoint's own timeout is as long, and would be as still.
        return (self._clock if delay >= 30 else reactor).callLater(delay, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)
