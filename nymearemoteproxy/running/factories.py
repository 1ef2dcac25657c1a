"""What serves the connections of a listener, in the process that serves them.

Owns which protocols are in each other's hands. Knows nothing of where connections come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IProtocol, IProtocolFactory

from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import FRONT, FRONT_HTTP, TCP, WEBSOCKET, Record
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.running.configuration.result import Certificates
from nymearemoteproxy.wires.arrival import ProxyFactory
from nymearemoteproxy.wires.direct import DirectFactory
from nymearemoteproxy.wires.front import FrontDoor
from nymearemoteproxy.wires.fronthttp import FrontHttp
from nymearemoteproxy.wires.introduction import IntroductionFactory
from nymearemoteproxy.wires.stream import StreamControl
from nymearemoteproxy.wires.tlsserver import TlsFactory
from nymearemoteproxy.wires.upgrade import Judge, Upgrade


class ListenerFactories:
    """Makes the factories.

    :param certificates: that are shown, until they change.
    """

    def __init__(self, reactor: Any, proxy: Proxy, certificates: Certificates) -> None:
        self._proxy = proxy
        self._certificates = certificates
        self._judge = Judge(reactor)
        self._first: Mapping[str, Callable[[Proxy, Record], IProtocol]] = {
            WEBSOCKET: self._buildUpgrade,
            TCP: StreamControl,
            FRONT: FrontDoor,
            FRONT_HTTP: FrontHttp,
        }
        self._tlsFactories: list[tuple[Listener, TlsFactory]] = []

    def factory(self, listener: Listener) -> IProtocolFactory:
        """Return what serves the connections of a listener."""
        build = self._first[listener.transport]
        factory = ProxyFactory(
            self._proxy, listener.transport, listener.secure, listener.behindProxy, build
        )
        return DirectFactory(self.secured(listener, factory))

    def secured(self, listener: Listener, factory: IProtocolFactory) -> IProtocolFactory:
        """Return a factory that speaks TLS and reads PROXY headers, where the listener does."""
        if listener.secure:
            contexts = self._certificates[listener.files]
            factory = TlsFactory(contexts, factory, self._proxy.turns)
            self._tlsFactories.append((listener, factory))
        return IntroductionFactory(factory) if listener.behindProxy else factory

    def _buildUpgrade(self, proxy: Proxy, record: Record) -> Upgrade:
        return Upgrade(proxy, record, self._judge)

    def change(self, certificates: Certificates) -> None:
        """Show these to those who come from now on."""
        self._certificates = certificates
        for listener, factory in self._tlsFactories:
            factory.contexts = certificates[listener.files]
