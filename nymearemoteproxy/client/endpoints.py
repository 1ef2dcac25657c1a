"""The way through a proxy: Twisted client endpoints whose connections are tunnels.

Owns what each kind of tunnel needs, and who we are in it. Knows nothing of standard input and
output, nor of the global reactor.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from nymearemoteproxy.client.connecting.attempt import Attempt, ProxyRoute
from nymearemoteproxy.client.connecting.proxystream import streamFactory
from nymearemoteproxy.client.connecting.proxywebsocket import webSocketFactory
from nymearemoteproxy.client.connecting.trust import TlsOptions
from nymearemoteproxy.client.rules.controlphase import ControlPhase
from nymearemoteproxy.client.rules.errors import oneLine
from nymearemoteproxy.client.rules.httpproxies import HttpProxy
from nymearemoteproxy.client.rules.joining import Joining
from nymearemoteproxy.client.rules.registering import Probe, RegisteringClient, RegisteringServer
from nymearemoteproxy.client.rules.urls import ProxyUrl

DEFAULT_NAME = "nymea-remoteproxy-client"

DEFAULT_TIMEOUT = 30.0
"""Seconds. The server gives each step up to the answer 5 to 8 seconds."""


@implementer(IStreamClientEndpoint)
class ProxyEndpoint:
    """A client endpoint whose connections go through a proxy; subclasses say to whom.

    :param reactor: the reactor to connect and wait with.
    :param url: ``ws://HOST[:PORT][/path]``, ``wss://…``, ``tcp://HOST:PORT``, ``tls://…`` or
        ``unix:PATH``.
    :param tls: whom to trust; only for wss and tls.
    :param timeout: seconds for connecting, and for everything up to the server's answer.
    :param onWaiting: called when the server has let us in and the partner is waited for.
    :param httpProxy: an HTTP proxy that makes the connections; None: they are made directly,
        whatever the environment says.
    :ivar route: the way to the proxy.
    :raises ValueError: an argument is wrong; the text is one line.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        tls: TlsOptions | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        onWaiting: Callable[[], None] = lambda: None,
        httpProxy: HttpProxy | None = None,
    ) -> None:
        parsed = ProxyUrl.parse(url)
        if tls is not None and not parsed.isSecure:
            raise ValueError(f"there is no TLS to check in a {parsed.scheme} URL")
        if httpProxy is not None and parsed.scheme == "unix":
            raise ValueError("no HTTP proxy leads to a Unix socket")
        self.route = ProxyRoute(reactor, parsed, tls or TlsOptions(), timeout, onWaiting, httpProxy)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Build a protocol once the tunnel is up.

        :returns: a Deferred of the protocol, whose transport is a `TunnelTransport`. It fails with
            `TunnelError` when there is no tunnel to be had; cancelling it closes the connection.
        """
        return self._attempt(protocolFactory, self.control())

    def control(self) -> ControlPhase:
        """Return the control phase of a new connection."""
        raise NotImplementedError

    def _attempt(self, protocolFactory: IProtocolFactory, control: ControlPhase) -> Deferred[Any]:
        attempt = Attempt(self.route, protocolFactory, control)
        isWebSocket = self.route.url.isWebSocket
        return attempt.start(webSocketFactory(attempt) if isWebSocket else streamFactory(attempt))


class TunnelEndpoint(ProxyEndpoint):
    """A client endpoint whose connections are tunnels: to whoever gives the same token and nonce.

    How long to wait for the partner is the server's decision. What is not told here is told of
    `ProxyEndpoint`.

    :param token: what the server lets us in for.
    :param nonce: keeps several tunnels with the same token apart.
    :param name: what the partner sees as our name.
    :param uuid: what the partner sees as our uuid; without it every connection gets a new random
        one.
    :raises ValueError: an argument is wrong; the text is one line.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        token: str,
        nonce: str | None = None,
        name: str = DEFAULT_NAME,
        uuid: str | None = None,
        tls: TlsOptions | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        onWaiting: Callable[[], None] = lambda: None,
        httpProxy: HttpProxy | None = None,
    ) -> None:
        super().__init__(reactor, url, tls, timeout, onWaiting, httpProxy)
        self._token = token
        self._nonce = nonce
        self._name = name
        self._uuid = None if uuid is None else _parseUuid(uuid)

    def control(self) -> ControlPhase:
        """Return the control phase of a new connection."""
        return Joining(self._token, self._nonce, self._name, self._uuid or _randomUuid())


class ClientEndpoint(ProxyEndpoint):
    """A client endpoint whose connections lead to a server that is registered with a tunnel proxy.

    What is not told here is told of `ProxyEndpoint`.

    :param serverUuid: the server's uuid.
    :param name: what the server sees as our name.
    :param uuid: what the server sees as our uuid; without it every connection gets a new random
        one.
    :param token: what the proxy lets us in for, if it wants one.
    :raises ValueError: an argument is wrong; the text is one line.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        serverUuid: str,
        name: str = DEFAULT_NAME,
        uuid: str | None = None,
        tls: TlsOptions | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        token: str | None = None,
        httpProxy: HttpProxy | None = None,
    ) -> None:
        super().__init__(reactor, url, tls, timeout, httpProxy=httpProxy)
        self.serverUuid = _parseUuid(serverUuid)
        self._name = name
        self._uuid = None if uuid is None else _parseUuid(uuid)
        self._token = token

    def control(self) -> ControlPhase:
        """Return the control phase of a new connection."""
        uuid = self._uuid or _randomUuid()
        return RegisteringClient(self._name, uuid, self.serverUuid, self._token)

    def probe(self) -> Deferred[Any]:
        """Find out whether the proxy leads to servers at all; none of them hears of it.

        :returns: a Deferred that fails with `TunnelError` when it does not, or when that is not
            known.
        """
        factory = Factory.forProtocol(_Farewell)
        factory.noisy = False
        return self._attempt(factory, Probe(self._name, _randomUuid()))


class _Farewell(Protocol):
    """Has nothing to do."""

    transport: Any

    def connectionMade(self) -> None:
        self.transport.loseConnection()


class ServerEndpoint(ProxyEndpoint):
    """A client endpoint whose connections register a server, and carry its packets.

    Their transport's `partner` tells in which framing. What is not told here is told of
    `ProxyEndpoint`.

    :param uuid: what clients find the server by.
    :param name: the server's name, for the proxy's statistics.
    :param token: what the proxy lets us in for, if it wants one.
    :param front: whether visitors may come by the proxy's front door; None: as its names say.
    :param onWithoutFront: called when visitors may come and the proxy that the server has been
        registered with is too old to let any in.
    :raises ValueError: an argument is wrong; the text is one line.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        uuid: str,
        name: str = DEFAULT_NAME,
        tls: TlsOptions | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        token: str | None = None,
        httpProxy: HttpProxy | None = None,
        front: bool | None = None,
        onWithoutFront: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(reactor, url, tls, timeout, httpProxy=httpProxy)
        self.uuid = _parseUuid(uuid)
        self._name = name
        self._token = token
        self._front = front
        self._onWithoutFront = onWithoutFront

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """See `ProxyEndpoint`."""
        control = self.control()

        def registered(protocol: Any) -> Any:
            if control.isWithoutFront:
                self._onWithoutFront()
            return protocol

        return self._attempt(protocolFactory, control).addCallback(registered)

    def control(self) -> RegisteringServer:
        """Return the control phase of a new connection."""
        return RegisteringServer(self._name, self.uuid, self._token, self._front)


def _parseUuid(text: str) -> str:
    try:
        return f"{{{uuids.UUID(text)}}}"
    except ValueError:
        raise ValueError(f"{oneLine(ascii(text))} is no uuid") from None


def _randomUuid() -> str:
    return f"{{{uuids.uuid4()}}}"
