"""Listening sockets that systemd made, and which outlive this process.

Another process may listen on the same socket, now or after this one. So closing it must not end
it for others, and its file, its mode and its queue are not ours. Twisted sees to that for TCP only,
but for the queue. Owns how such sockets are listened on. Knows nothing of who comes in.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import unix
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

BACKLOG = 4096
"""Connections that the kernel holds until somebody accepts them, be it the next process: what
systemd asks for by default on Debian 12, where the kernel allows no more (net.core.somaxconn)."""


class _UnixPort(unix.Port):
    """Listens on a Unix socket without making its file accessible to all, or removing it."""

    _shouldShutdown = False  # as Twisted does for adopted TCP sockets

    def __init__(self, path: str | bytes, factory: IProtocolFactory, reactor: Any) -> None:
        # Twisted changes the mode of files, and removes them. A name in the abstract namespace has
        # none; nothing else is done with the name.
        super().__init__(b"\0systemd", factory, BACKLOG, reactor=reactor)


class Adopter:
    """The reactor as the endpoints of ``systemd:`` see it, who ask it for nothing else."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def adoptStreamPort(
        self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory
    ) -> IListeningPort:
        """Listen on this socket, or rather on a copy of it; see `IReactorSocket`."""
        port: Any
        if addressFamily == socket.AF_UNIX:
            port = _UnixPort._fromListeningDescriptor(self._reactor, fileDescriptor, factory)
            port.startListening()
        else:
            port = self._reactor.adoptStreamPort(fileDescriptor, addressFamily, factory)
            port.socket.listen(BACKLOG)  # it was just made shorter
        return port
