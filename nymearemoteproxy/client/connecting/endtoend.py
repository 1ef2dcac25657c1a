"""Encryption from end to end: TLS between the two ends of a tunnel, which the proxy only carries.

Owns the handshake, its bounds, and that nothing is said or heard before the other end is known to
be the right one. The TLS is Twisted's. Knows nothing of what the ends are connected to.

Twisted's TLS closes both ways: who is told that nothing will follow answers so at once. What was
written before that arrives.
"""

from __future__ import annotations

from typing import Any
from typing import Protocol as Interface

from OpenSSL import SSL, crypto
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    ISSLTransport,
    IStreamClientEndpoint,
)
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.client.connecting.trust import ServerCheck, TlsOptions, details
from nymearemoteproxy.client.connecting.tunneltransport import StreamTransport
from nymearemoteproxy.client.rules.endtoend import (
    FIRST_WORDS,
    OTHER_NAME,
    OTHER_PURPOSE,
    REFUSAL,
    misfit,
    missingThere,
)
from nymearemoteproxy.client.rules.errors import TunnelError, oneLine
from nymearemoteproxy.common.certificates import CertificateAndKey
from nymearemoteproxy.common.openssl import P256_NAME

HANDSHAKE_TIMEOUT = 30.0
"""Seconds for the handshake, which is two ways through the proxy."""

MAX_HANDSHAKE = 16 * 1024
"""Bytes that an end may send before its part of the handshake is done. A chain of certificates has
some KiB."""

LAST_WORDS_TIMEOUT = 5.0
"""Seconds in which a refusal has to be taken by the proxy."""

_FAILED = "the encryption from end to end failed"

_LEAN_DEFAULTS = 0x30500000
"""The OpenSSL from which on no group that a server takes by default costs it much."""


class Check(Interface):
    """One connection's judgement of the other end."""

    def checkServer(self, connection: SSL.Connection) -> None:
        """Look at a finished handshake; TunnelError if it is not the right one."""

    def explain(self, error: SSL.Error) -> TunnelError:
        """Return what an `error` of TLS means."""


class Side(Interface):
    """Which of the two ends this is.

    :ivar isCalling: it begins, and the other one has the certificate.
    """

    isCalling: bool

    def check(self) -> Check:
        """Return the judgement of a new connection, which makes its TLS, too."""


class CallingSide:
    """The end that begins, and knows whom it trusts.

    :param trust: whom.
    :param name: what the ends have to agree on, see `rules.endtoend`.
    :param host: what a certificate has to be for, if an authority is trusted.
    :raises ValueError: an argument is wrong; the text is one line.
    """

    isCalling = True

    def __init__(self, trust: TlsOptions, name: bytes, host: str = "") -> None:
        if trust.ca is not None and not (host and host.isascii()):
            raise ValueError("with a CA the name is needed, in ASCII, that the certificate is for")
        self._trust = trust
        self._name = name
        self._host = host

    def check(self) -> Check:
        """See `Side`."""
        return _FarEndCheck(self._trust, self._host, self._name)


class _FarEndCheck(ServerCheck):
    """Decides whether the far end is the right one, and makes the TLS that it is asked over."""

    minimum = TLSVersion.TLSv1_3
    _server = "the far end"
    _fingerprintOption = "--end-fingerprint"
    _remedy = (
        "for a certificate of its own give its --end-fingerprint, or its authority as --end-ca"
    )
    _failed = _FAILED

    def __init__(self, trust: TlsOptions, host: str, name: bytes) -> None:
        super().__init__(trust, host)
        self.protocols = [name]
        self._agreed = name
        self._indication = None

    def tune(self, context: SSL.Context) -> None:
        """See `ServerCheck`."""
        _limitGroups(context)

    def checkServer(self, connection: SSL.Connection) -> None:
        """See `ServerCheck`."""
        _checkAgreement(connection, self._agreed)
        super().checkServer(connection)


@implementer(IOpenSSLServerConnectionCreator)
class ServingSide:
    """The end that has the certificate.

    :param identity: the certificate and its key.
    :param name: what the ends have to agree on, see `rules.endtoend`.
    :raises ValueError: OpenSSL does not accept the certificate; the text is one line.
    """

    isCalling = False

    def __init__(self, identity: CertificateAndKey, name: bytes) -> None:
        self._name = name
        try:
            options = CertificateOptions(
                privateKey=crypto.load_privatekey(crypto.FILETYPE_PEM, identity.key),
                certificate=crypto.X509.from_cryptography(identity.own),
                extraCertChain=[crypto.X509.from_cryptography(each) for each in identity.chain],
                raiseMinimumTo=TLSVersion.TLSv1_3,
            )
            self._context: Any = options.getContext()
        except (SSL.Error, crypto.Error, ValueError) as problem:
            raise ValueError(
                f"OpenSSL does not accept the certificate: {oneLine(problem)}"
            ) from None
        self._context.set_alpn_select_callback(self._select)
        _limitGroups(self._context)

    def check(self) -> Check:
        """See `Side`; whoever the client is, it is the right one."""
        return self

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """Implement `IOpenSSLServerConnectionCreator`."""
        return SSL.Connection(self._context, None)

    def checkServer(self, connection: SSL.Connection) -> None:
        """See `Check`."""
        _checkAgreement(connection, self._name)

    def explain(self, error: SSL.Error) -> TunnelError:
        """See `Check`."""
        return TunnelError(f"{_FAILED}: {oneLine(details(error))}", isTransient=True)

    def _select(self, connection: SSL.Connection, offered: list[bytes]) -> Any:
        if self._name not in offered:
            # With no other answer pyOpenSSL ends the handshake here, before it costs a signature
            # and shows the certificate.
            raise TunnelError(OTHER_PURPOSE)
        return self._name


def _limitGroups(context: Any) -> None:
    """Keep an old OpenSSL from costly groups; both ends, or the first hello would be for nothing.

    See `P256_NAME`. A newer one is better left alone: it withstands quantum computers.
    """
    if SSL.OPENSSL_VERSION_NUMBER < _LEAN_DEFAULTS:
        context.set_tmp_ecdh(crypto.get_elliptic_curve(P256_NAME))


def _checkAgreement(connection: SSL.Connection, name: bytes) -> None:
    if connection.get_alpn_proto_negotiated() != name:
        raise TunnelError(OTHER_PURPOSE)


@implementer(IHandshakeListener)
class EncryptedEnd(Protocol):
    """What is above TLS at one end; subclasses say what follows the handshake.

    :param clock: measures time.
    :param side: which of the ends this is.
    :ivar layer: the TLS, to be connected to the tunnel.
    :ivar isEstablished: the other end is the right one, and what follows is its own.
    """

    transport: Any

    def __init__(self, clock: Any, side: Side) -> None:
        self.layer: Any = _LayerFactory(side, self).buildProtocol(None)
        self.isEstablished = False
        self._clock = clock
        self._isCalling = side.isCalling
        self._deadline: Any = None
        self._problem: TunnelError | None = None

    def established(self) -> None:
        """The handshake is done, and the other end is the right one."""
        raise NotImplementedError

    def failed(self, problem: TunnelError) -> None:
        """There was no handshake, or the wrong other end; the connection is gone."""
        raise NotImplementedError

    def ended(self, reason: Failure) -> None:
        """The connection is gone: with ConnectionDone if the other end has said so."""
        raise NotImplementedError

    def connectionMade(self) -> None:
        self._deadline = self._clock.callLater(HANDSHAKE_TIMEOUT, self._timedOut)

    def handshakeCompleted(self) -> None:
        """TLS is up, whoever it is with."""
        if self._problem is not None:
            return
        try:
            self.layer.check.checkServer(self.transport.getHandle())
        except TunnelError as problem:
            self._problem = problem
            self.transport.abortConnection()
            return
        self._cancelDeadline()
        self.isEstablished = True
        self.established()

    def refuse(self, problem: TunnelError, alert: bytes = REFUSAL) -> None:
        """There is no handshake to be had with what the other end speaks.

        :param alert: what it is told by the end with the certificate.
        """
        self._problem = problem
        self._cancelDeadline()
        self._deadline = self._clock.callLater(
            LAST_WORDS_TIMEOUT, self.transport.transport.abortConnection
        )
        if not self._isCalling:
            self.transport.transport.write(alert)
        self.transport.transport.loseConnection()

    @property
    def isRefused(self) -> bool:
        """Whatever else it says, the other end is not the right one."""
        return self._problem is not None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._cancelDeadline()
        reason = _reasonOfEnd(reason, self.layer.ofTunnel)
        if self.isEstablished:
            self.ended(self._reasonOf(reason))
        else:
            self.failed(self._problem or self._problemOf(reason))

    def _timedOut(self) -> None:
        self._deadline = None
        missing = missingThere(self._isCalling)
        self.refuse(
            TunnelError(
                f"no handshake with the far end within {HANDSHAKE_TIMEOUT:g} s; it needs {missing}",
                isTransient=True,
            )
        )

    def _cancelDeadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _problemOf(self, reason: Failure) -> TunnelError:
        if isinstance(reason.value, SSL.Error):
            problem: TunnelError = self.layer.check.explain(reason.value)
            return problem
        missing = missingThere(self._isCalling)
        return TunnelError(
            f"the far end was gone before the handshake; does it have {missing}?", isTransient=True
        )

    def _reasonOf(self, reason: Failure) -> Failure:
        if isinstance(reason.value, SSL.Error):
            return Failure(error.ConnectionLost(str(self.layer.check.explain(reason.value))))
        return reason


def _reasonOfEnd(ofTls: Failure, ofTunnel: Failure) -> Failure:
    """Return why TLS ended: if it just stopped, by the end of the tunnel below."""
    problem = ofTls.value
    # Twisted 22.4 knows one of OpenSSL's two ways to say it.
    isEof = isinstance(problem, SSL.Error) and str(details(problem)).startswith("unexpected eof")
    if not isEof and problem is not CONNECTION_LOST:
        return ofTls
    if ofTunnel.check(error.ConnectionDone):
        return Failure(error.ConnectionLost("it was cut off, the far end has not ended it"))
    return ofTunnel


class _Layer(TLSMemoryBIOProtocol):
    """Twisted's TLS, up to the end of the handshake with an eye on what comes."""

    factory: _LayerFactory
    wrappedProtocol: EncryptedEnd
    _heard = b""
    _size = 0
    ofTunnel = connectionDone

    @property
    def check(self) -> Check:
        return self.factory.check

    def makeConnection(self, transport: Any) -> None:
        self._below = _UnderTls(transport)
        super().makeConnection(self._below)

    def write(self, data: bytes) -> None:
        # A record has 16 KiB at most, and Twisted sends each by itself: a message of its own over
        # WebSocket, which is dear.
        self._below.collect()
        super().write(data)
        self._below.flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ofTunnel = reason
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        end = self.wrappedProtocol
        if end.isEstablished:
            super().dataReceived(data)
        elif not end.isRefused:
            try:
                self._shakeHands(data)
            except TunnelError as problem:
                end.refuse(problem, OTHER_NAME)
            except Exception:
                # Twisted does not expect each answer of OpenSSL, such as that to a farewell within
                # the handshake. Whoever brings that about must not end more than this.
                if not end.isRefused:
                    end.refuse(TunnelError("the far end's handshake is broken"))

    def _shakeHands(self, data: bytes) -> None:
        end = self.wrappedProtocol
        self._heard += data[: FIRST_WORDS - len(self._heard)]
        why = misfit(self._heard, self.factory.side.isCalling)
        if why is not None:
            end.refuse(TunnelError(why))
            return
        allowance = MAX_HANDSHAKE - self._size
        early, late = data[:allowance], data[allowance:]
        if early:
            self._size += len(early)
            super().dataReceived(early)
        if late and end.isEstablished:
            super().dataReceived(late)
        elif late and not end.isRefused:
            end.refuse(TunnelError("the far end's handshake is endless"))


class _LayerFactory(TLSMemoryBIOFactory):
    """Makes the TLS of one connection."""

    # Not the newer one, which collects small writes: back pressure needs them at once.
    protocol = _Layer
    noisy = False

    def __init__(self, side: Side, end: EncryptedEnd) -> None:
        self.side = side
        self.check = side.check()
        creator: Any = self.check
        super().__init__(creator, side.isCalling, Factory.forProtocol(lambda: end))


@implementer(ISSLTransport)
class _UnderTls:
    """The tunnel, as TLS has it for a transport.

    It is closed by the end of TLS only, and nothing is to be waited for then: a producer above can
    say nothing more.
    """

    def __init__(self, tunnel: Any) -> None:
        self._tunnel = tunnel
        self._collected: list[bytes] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tunnel, name)

    def write(self, data: bytes) -> None:
        """Send what TLS has made, or keep it until `flush`."""
        if self._collected is None:
            self._tunnel.write(data)
        else:
            self._collected.append(data)

    def collect(self) -> None:
        """Send nothing until `flush`."""
        self._collected = []

    def flush(self) -> None:
        """Send in one piece what has been collected."""
        collected, self._collected = self._collected, None
        if collected:
            self._tunnel.write(b"".join(collected))

    def loseConnection(self) -> None:
        """Close the tunnel when what was written has been sent."""
        self.flush()
        self._tunnel.unregisterProducer()
        self._tunnel.loseConnection()


@implementer(IStreamClientEndpoint)
class EncryptedEndpoint:
    """A client endpoint whose connections are encrypted from end to end.

    :param endpoint: makes the tunnels; its protocols' transports are a `TunnelTransport`.
    :param reactor: the reactor to wait with.
    :param side: which of the two ends this is.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, reactor: Any, side: Side) -> None:
        self._endpoint = endpoint
        self._reactor = reactor
        self._side = side

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Build a protocol once the tunnel is up and the other end is known to be the right one.

        :returns: a Deferred of the protocol, whose transport is a `TunnelTransport`. It fails with
            `TunnelError` when there is no tunnel or no encryption to be had; cancelling it closes
            the connection.
        """
        opening = _Securing(self._reactor, self._side, protocolFactory)
        return opening.start(self._endpoint)


class _Securing(EncryptedEnd):
    """One `connect`, and the end of TLS for the protocol that it was for."""

    _connecting: Deferred[Any]

    def __init__(self, reactor: Any, side: Side, factory: Any) -> None:
        super().__init__(reactor, side)
        self._factory = factory
        self._tunnel: StreamTransport | None = None
        self._isOver = False
        self._result: Deferred[Any] = Deferred(lambda _: self._cancelled())

    def start(self, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        """Connect."""
        self._factory.doStart()
        layers = _SingleFactory(self.layer)
        self._connecting = endpoint.connect(layers)
        self._connecting.addErrback(self._give)
        return self._result

    def established(self) -> None:
        """See `EncryptedEnd`."""
        try:
            protocol = self._factory.buildProtocol(self.transport.getPeer())
            if protocol is None:
                raise error.NoProtocol()
        except Exception:
            self._give(Failure())
            self.transport.abortConnection()
            return
        partner = self.transport.transport.partner
        self._isOver = True
        self._tunnel = StreamTransport(False, self._clock, self.transport, partner, protocol)
        protocol.makeConnection(self._tunnel)
        self._result.callback(protocol)

    def dataReceived(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.deliver(data)

    def failed(self, problem: TunnelError) -> None:
        """See `EncryptedEnd`."""
        self._give(Failure(problem))

    def ended(self, reason: Failure) -> None:
        """See `EncryptedEnd`."""
        if self._tunnel is not None:
            self._tunnel.lost(reason)
            self._factory.doStop()

    def _cancelled(self) -> None:
        self._give(Failure(CancelledError()))
        if self.transport is None:
            self._connecting.cancel()
        else:
            self.transport.abortConnection()

    def _give(self, failure: Failure) -> None:
        if not self._isOver:
            self._isOver = True
            self._factory.doStop()
            self._result.errback(failure)


class _SingleFactory(Factory):
    noisy = False

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Any:
        return self._protocol
