"""A connection that another process accepted becomes one of this process.

Owns that it is the same as if it had been accepted here. Knows nothing of how it got here.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory

from nymearemoteproxy.workers.handing import Handed


class _Known(Factory):
    """Builds what another factory does, for the address that is known already.

    For a Unix socket Twisted would give it our own.
    """

    noisy = False

    def __init__(self, factory: IProtocolFactory, address: IAddress) -> None:
        self._factory = factory
        self._address = address

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._factory.buildProtocol(self._address)


def adopt(reactor: Any, connection: Handed, descriptor: int, factory: IProtocolFactory) -> None:
    """Serve a connection here.

    :param descriptor: stays the caller's.
    :param factory: of the listener that it came by.
    """
    os.set_blocking(descriptor, False)
    family = socket.AddressFamily(connection.family)
    reactor.adoptStreamConnection(descriptor, family, _Known(factory, connection.address))
