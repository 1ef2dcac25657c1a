"""Listening at ``::``, which is every address of this machine, IPv4 ones as well.

By itself the kernel says whether it is (net.ipv6.bindv6only), and Twisted leaves that to it. Where
it is not, a server would be there for IPv6 only, without a word. Owns that it is said. Knows
nothing of who comes in.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IListeningPort, IProtocolFactory


class _DualPort(tcp.Port):
    def createInternetSocket(self) -> socket.socket:
        made: socket.socket = super().createInternetSocket()
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # before it is bound
        return made


class DualStack:
    """The reactor as endpoints see it: the same but for ``::``."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Listen; see `IReactorTCP`."""
        if not _isEveryAddress(interface):
            listening: IListeningPort = self._reactor.listenTCP(port, factory, backlog, interface)
            return listening
        dual = _DualPort(port, factory, backlog, interface, self._reactor)
        dual.startListening()
        return dual


def _isEveryAddress(interface: str) -> bool:
    """Tell whether this is ``::``, however it is spelled."""
    try:
        return ipaddress.IPv6Address(interface).is_unspecified
    except ValueError:
        return False
