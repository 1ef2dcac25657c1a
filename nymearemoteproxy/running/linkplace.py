"""Where links of other machines come in.

Owns the listening there. Knows nothing of who takes a link.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from nymearemoteproxy.cluster.accepting import LINK_BACKLOG
from nymearemoteproxy.listening.listeners import Listener, ListenerError, close, listen


def listenForLinks(reactor: Any, listener: Listener, factory: IProtocolFactory) -> IListeningPort:
    """Listen.

    :raises ListenerError: that cannot be.
    """
    mistake = f"[Cluster] listen: {listener.description}: other machines come by TCP only"
    if listener.plain.startswith("unix:"):
        raise ListenerError(mistake)
    port = listen(listener.description, _roomy(listener).endpoint(reactor), factory)
    if not isinstance(port.getHost(), (IPv4Address, IPv6Address)):  # systemd may give any socket
        close(port)
        raise ListenerError(mistake)
    return port


def _roomy(listener: Listener) -> Listener:
    """Return it with a backlog for many links at once, unless it says which it has."""
    if not listener.plain.startswith("tcp") or "backlog" in listener.plain:
        return listener
    return replace(listener, plain=f"{listener.plain}:backlog={LINK_BACKLOG}")


def placeOf(port: IListeningPort) -> tuple[str, int]:
    """Return host and port that a port listens on."""
    address: Any = port.getHost()
    return address.host, address.port
