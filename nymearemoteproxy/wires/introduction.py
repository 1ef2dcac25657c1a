"""Behind a reverse proxy: each connection begins with a PROXY header, before TLS and all else.

Owns who reads it, and to whom it is told. Knows nothing of how it is written, nor of what follows.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from zope.interface import Interface

from nymearemoteproxy.protocol.proxyheader import ProxyHeader, ProxyHeaderError, Source
from nymearemoteproxy.wires.direct import DirectTransport


class IIntroductionListener(Interface):
    """A protocol that wants to know at once whose the connection is."""

    def introduced() -> None:
        """The header has come, and the transport knows the client's address."""


class Introduction:
    """Reads the header: the protocol of a direct transport until then.

    The connection's own protocol has the connection from the beginning, and sees to it that the
    time is limited; it must not write before the client does. If what comes is no header the
    connection is lost, with a `ProxyHeaderError` as the reason.

    :param protocol: what follows, TLS or not.
    """

    __slots__ = ("_transport", "_protocol", "_header", "_fault")

    _transport: DirectTransport

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._header = ProxyHeader()
        self._fault: Failure | None = None

    def makeConnection(self, transport: DirectTransport) -> None:
        """The reverse proxy is there."""
        self._transport = transport
        self._protocol.makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Some of the header arrived, or all of it, and perhaps more."""
        try:
            rest = self._header.feed(data)
        except ProxyHeaderError as error:
            self._fault = Failure(error.with_traceback(None))
            self._transport.abortConnection()
            return
        if rest is None:
            return
        protocol = self._protocol
        self._transport.introduced(_address(self._header.source), protocol)
        if IIntroductionListener.providedBy(protocol):
            protocol.introduced()
        if rest and not self._transport.blocked:  # that is: unless it has been closed
            protocol.dataReceived(rest)

    def connectionLost(self, reason: Failure) -> None:
        """The connection is closed, and the header has not come."""
        self._protocol.connectionLost(self._fault or reason)


def _address(source: Source | None) -> IAddress | None:
    if source is None:
        return None
    host, port = source
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)


class IntroductionFactory(WrappingFactory):
    """Has the PROXY header read on the connections of another factory."""

    noisy = False

    def logPrefix(self) -> str:
        """In the log it is the factory behind it that listens."""
        return f"{self.wrappedFactory.logPrefix()} (PROXY)"

    def buildProtocol(self, addr: IAddress | None) -> Any:
        protocol = self.wrappedFactory.buildProtocol(addr)
        return None if protocol is None else Introduction(protocol)
