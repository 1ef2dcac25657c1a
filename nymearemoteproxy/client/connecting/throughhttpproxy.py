"""A connection that an HTTP proxy makes for us.

Owns that nobody but the HTTP proxy is spoken to before it has consented. Knows nothing of what the
connection is for, nor of what the HTTP proxy's answers mean.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IAddress, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.client.rules.httpproxies import ConnectAnswer, HttpProxy


@implementer(IStreamClientEndpoint)
class ThroughHttpProxy:
    """A client endpoint that leads to a host behind an HTTP proxy.

    How long to wait for the answer is the decision of whoever connects.

    :param endpoint: leads to the HTTP proxy.
    :param proxy: the HTTP proxy.
    :param target: the ``HOST:PORT`` that it is to connect to.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, proxy: HttpProxy, target: str) -> None:
        self._endpoint = endpoint
        self._proxy = proxy
        self._target = target

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Build a protocol once the HTTP proxy has connected.

        :returns: a Deferred of the protocol, whose transport is that of the HTTP proxy. It fails
            with `TunnelError` when that one refuses, else as its endpoint does; cancelling it
            closes the connection.
        """
        factory = _AskingFactory(self._proxy, self._target, protocolFactory)
        asking: Deferred[Any] = self._endpoint.connect(factory)
        return asking.addCallback(_answered)


def _answered(asking: _Asking) -> Deferred[Any]:
    return asking.answered


class _AskingFactory(Factory):
    noisy = False

    def __init__(self, proxy: HttpProxy, target: str, wrapped: Any) -> None:
        self._proxy = proxy
        self._target = target
        self._wrapped = wrapped

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        request = self._proxy.request(self._target)
        return _Asking(request, ConnectAnswer(self._proxy), self._wrapped)

    def startFactory(self) -> None:
        self._wrapped.doStart()

    def stopFactory(self) -> None:
        self._wrapped.doStop()


class _Asking(Protocol):
    """The connection until the answer is there; then it is another protocol's.

    :ivar answered: fires with that protocol.
    """

    transport: Any

    def __init__(self, request: bytes, answer: ConnectAnswer, factory: IProtocolFactory) -> None:
        self._request = request
        self._answer = answer
        self._factory = factory
        self.answered: Deferred[Any] = Deferred(lambda _: self.transport.abortConnection())

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        if self.answered.called:
            return
        try:
            rest = self._answer.receive(data)
        except TunnelError as problem:
            self._fail(problem)
        else:
            if rest is not None:
                self._handOver(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answered.called:
            self._fail(TunnelError("it closed the connection without an answer", isTransient=True))

    def _handOver(self, rest: bytes) -> None:
        """Let the other protocol have the connection itself, with nothing of ours in between."""
        protocol: Any = self._factory.buildProtocol(self.transport.getPeer())
        if protocol is None:
            self._fail(NoProtocol())
            return
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        self.answered.callback(protocol)
        if rest:
            protocol.dataReceived(rest)

    def _fail(self, problem: Exception) -> None:
        # First the reason: a transport may tell of its end at once.
        self.answered.errback(Failure(problem))
        self.transport.abortConnection()
