"""How a connection begins: who is let in, and what comes before the client's own first byte.

Owns the wait for the PROXY header and for the TLS handshake. Knows nothing of what is spoken then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress, IHandshakeListener, IProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import TCP, UNIX, Record
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.proxyheader import ProxyHeaderError
from nymearemoteproxy.wires.introduction import IIntroductionListener
from nymearemoteproxy.wires.phase import Phase


@implementer(IHandshakeListener, IIntroductionListener)
class Arrival(Phase, Protocol):
    """Waits for the PROXY header and then for the TLS handshake, or for one of them.

    :param behindProxy: there is a header to come.
    :param build: makes the next phase.
    """

    def __init__(
        self,
        proxy: Proxy,
        record: Record,
        behindProxy: bool,
        build: Callable[[Proxy, Record], IProtocol],
    ) -> None:
        super().__init__(proxy, record)
        self._build = build
        self._awaitsHeader = behindProxy

    @property
    def _shakesHands(self) -> bool:
        return self.record.secure and not self._awaitsHeader

    def connectionMade(self) -> None:
        self._limitTime()

    def _limitTime(self) -> None:
        timing = self.proxy.policy.timing
        self.setDeadline(timing.tlsHandshake if self._shakesHands else timing.inactive)

    def introduced(self) -> None:
        self._awaitsHeader = False
        refusal = self.proxy.registry.identified(self.record, self.transport.getPeer())
        if refusal is not None:
            self.end(refusal)
        elif self._shakesHands:
            self._limitTime()
        else:
            self.handshakeCompleted()

    def handshakeCompleted(self) -> None:
        self.next(self._build(self.proxy, self.record))

    def dataReceived(self, data: bytes) -> None:
        """Without TLS: what came with the header, in one read."""
        self.record.client.dataReceived(data)

    def deadlinePassed(self) -> None:
        isTls = self._shakesHands
        self.end(Outcome.TLS_HANDSHAKE_TIMEOUT if isTls else Outcome.INACTIVE_TIMEOUT)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ProxyHeaderError):
            self.record.endsWith(Outcome.PROXY_HEADER_INVALID)
        isTls = self._shakesHands
        self.record.endsWith(Outcome.TLS_HANDSHAKE_FAILED if isTls else Outcome.LEFT_EARLY)
        super().connectionLost(reason)


class ProxyFactory(Factory):
    """Builds the first phase of every connection that a listener accepts.

    :param transport: as in `Record`; a stream is named after its address.
    :param secure: the connections are TLS.
    :param behindProxy: a PROXY header tells the client's address.
    :param build: makes the phase that begins with the client's own first byte.
    """

    noisy = False

    def __init__(
        self,
        proxy: Proxy,
        transport: str,
        secure: bool,
        behindProxy: bool,
        build: Callable[[Proxy, Record], IProtocol],
    ) -> None:
        self._proxy = proxy
        self._transport = transport
        self._secure = secure
        self._behindProxy = behindProxy
        self._build = build

    def buildProtocol(self, addr: IAddress | None) -> Any:
        assert addr is not None
        transport = self._transport
        if transport == TCP and isinstance(addr, UNIXAddress):
            transport = UNIX
        record = self._proxy.registry.admit(addr, transport, self._secure)
        if record is None:
            return None
        if self._secure or self._behindProxy:
            return Arrival(self._proxy, record, self._behindProxy, self._build)
        return self._build(self._proxy, record)
