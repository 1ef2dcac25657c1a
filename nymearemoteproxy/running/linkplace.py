"""Where links of other machines come in.

Owns the listening there. Knows nothing of who takes a link.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from nymearemoteproxy.listening.listeners import Listener, listen


def listenForLinks(reactor: Any, listener: Listener, factory: IProtocolFactory) -> IListeningPort:
    """Listen.

    :raises ListenerError: that cannot be.
    """
    return listen(listener.description, listener.endpoint(reactor), factory)


def placeOf(port: IListeningPort) -> tuple[str, int]:
    """Return host and port that a port listens on."""
    address: Any = port.getHost()
    return address.host, address.port
