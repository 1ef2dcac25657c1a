"""One attempt to get a tunnel, over whatever connection.

Owns the deadline, and that an attempt ends once: with a tunnel, or with the reason why there is
none. Knows nothing of framing, nor of what the proxy's messages mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface

from nymearemoteproxy.client.connecting.reasons import whyNotConnected
from nymearemoteproxy.client.connecting.throughhttpproxy import ThroughHttpProxy
from nymearemoteproxy.client.connecting.trust import ServerCheck, TlsOptions, isNoTls
from nymearemoteproxy.client.connecting.tunneltransport import TunnelTransport
from nymearemoteproxy.client.rules.controlphase import ControlPhase
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.client.rules.httpproxies import HttpProxy
from nymearemoteproxy.client.rules.urls import ProxyUrl


class IProxyConnection(Interface):
    """A connection to a proxy, as an attempt knows it."""

    transport = Attribute("The transport that it has.")
    tunnel = Attribute("The `TunnelTransport` of the user's protocol, None before there is one.")

    def failed(problem: TunnelError) -> None:
        """There is no tunnel, perhaps since the server speaks something else than we do."""

    def refusal(words: str | None) -> TunnelError:
        """Return what it means that the server closed the connection instead of an answer.

        :param words: what it said at the end, as far as its framing lets it.
        """


@dataclass
class ProxyRoute:
    """Where a proxy is, and what it may take to get there.

    :ivar reactor: connects and waits.
    :ivar tls: whom to trust; of no use without TLS.
    :ivar timeout: seconds for connecting, and for everything up to the server's answer.
    :ivar onWaiting: called when the server has let us in and the partner is waited for.
    :ivar httpProxy: the one that makes the connections; None: they are made directly.
    :ivar isRight: a proxy has been reached with the URL.
    """

    reactor: Any
    url: ProxyUrl
    tls: TlsOptions
    timeout: float
    onWaiting: Callable[[], None]
    httpProxy: HttpProxy | None = None
    isRight: bool = False

    @property
    def where(self) -> str:
        """Where the proxy is, and by which way, for people."""
        if self.httpProxy is None:
            return self.url.where
        return f"{self.url.where} through the HTTP proxy {self.httpProxy.where}"


class Attempt:
    """One `connect`: from the first packet to the tunnel, or to the reason why there is none.

    :ivar route: the way to the proxy.
    :ivar factory: builds the user's protocol.
    :ivar control: what is said before the tunnel is up.
    :ivar check: decides over TLS whether the server is the right one; None without TLS.
    """

    def __init__(self, route: ProxyRoute, factory: Any, control: ControlPhase) -> None:
        self.route = route
        self.factory = factory
        self.control = control
        self.check = ServerCheck(route.tls, route.url.host) if route.url.isSecure else None
        self._connection: IProxyConnection | None = None
        self._connecting: Deferred[Any] | None = None
        self._deadline: Any = None
        self._isOver = False
        self._result: Deferred[Any] = Deferred(lambda _: self._give(Failure(CancelledError())))

    def start(self, connections: IProtocolFactory) -> Deferred[Any]:
        """Connect.

        :param connections: makes the connection to the proxy, an `IProxyConnection`.
        :returns: a Deferred of the user's protocol; it fails with `TunnelError`.
        """
        self.factory.doStart()
        self._deadline = self.route.reactor.callLater(self.route.timeout, self._timedOut)
        self._connecting = self._wire().connect(connections)
        self._connecting.addErrback(self._notConnected)
        return self._result

    def connected(self, connection: IProxyConnection) -> None:
        """The connection to the proxy is up, except for TLS."""
        self._connection = connection

    def accepted(self) -> None:
        """The server let us in: from now on it decides how long to wait for the partner."""
        self.route.isRight = True
        if self._deadline.active() and not self._isOver:
            self._deadline.cancel()
            self.route.onWaiting()

    def establish(self, makeTransport: Callable[[Any], TunnelTransport]) -> None:
        """The tunnel is up: connect the user's protocol to it."""
        connection = self._connection
        if self._isOver or connection is None:
            return
        if self._deadline.active():
            self._deadline.cancel()
        try:
            protocol = self.factory.buildProtocol(connection.transport.getPeer())
            if protocol is None:
                raise error.NoProtocol()
        except Exception:
            self._give(Failure())
            return
        self._isOver = True
        self.route.isRight = True
        connection.tunnel = makeTransport(protocol)
        protocol.makeConnection(connection.tunnel)
        self._result.callback(protocol)

    def fail(self, problem: TunnelError) -> None:
        """There is no tunnel to be had."""
        self._give(Failure(problem))

    def lost(self, connection: IProxyConnection, reason: Failure, words: str | None) -> None:
        """The connection ended before there was a tunnel."""
        if isinstance(reason.value, SSL.Error) and self.check is not None:
            problem = self.check.explain(reason.value)
            if isNoTls(reason.value):
                connection.failed(problem)
            else:
                self.fail(problem)
        elif self.control.waiting:
            because = f": {words}" if words else ""
            self.fail(TunnelError(f"the server closed the connection while waiting{because}"))
        else:
            connection.failed(connection.refusal(words))

    def _wire(self) -> IStreamClientEndpoint:
        reactor, url, timeout = self.route.reactor, self.route.url, self.route.timeout
        if url.scheme == "unix":
            return UNIXClientEndpoint(reactor, url.path, timeout=timeout)
        wire: IStreamClientEndpoint
        proxy = self.route.httpProxy
        if proxy is None:
            wire = HostnameEndpoint(reactor, url.host, url.port, timeout=timeout)
        else:
            wire = HostnameEndpoint(reactor, proxy.host, proxy.port, timeout=timeout)
            wire = ThroughHttpProxy(wire, proxy, url.where)
        return wire if self.check is None else wrapClientTLS(self.check, wire)

    def _timedOut(self) -> None:
        words = f"no answer from {self.route.where} within {self.route.timeout:g} s"
        self.fail(TunnelError(words, isTransient=True))

    def _notConnected(self, failure: Failure) -> None:
        problem = failure.value
        # Only an HTTP proxy has anything to say about it.
        isTransient = not isinstance(problem, TunnelError) or problem.isTransient
        words = f"cannot connect to {self.route.where}: {whyNotConnected(failure)}"
        self.fail(TunnelError(words, isTransient))

    def _give(self, failure: Failure) -> None:
        """End the attempt without a tunnel; the first reason counts."""
        if self._isOver:
            return
        self._isOver = True
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if self._connection is not None:
            self._connection.transport.abortConnection()
        elif self._connecting is not None:
            self._connecting.cancel()
        self.factory.doStop()
        self._result.errback(failure)
