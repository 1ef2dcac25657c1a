"""Unix sockets for links, as transports of Twisted's.

Owns how they are read and what the kernel holds for them. Knows nothing of members, nor of what is
said on a link.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp, unix

SEND_BUFFER = 208 << 10
"""Bytes that are asked of the kernel for what was sent and is not read yet. It is what any process
may have unless an operator said otherwise (`net.core.wmem_max`), and Linux doubles it. The half,
which a Unix socket has if nobody asks, are two of our reads: whoever sends is blocked all the time,
as long as both members have something to do."""


class LocalLink(unix.Server):
    """One end of a link. It is read as TCP is.

    With each read Twisted's own asks for file descriptors that may have come along, which takes
    twice as long; a link brings none.
    """

    repstr = "<LocalLink>"

    doRead: Any = tcp.Connection.doRead

    def __init__(
        self,
        own: socket.socket,
        protocol: Any,
        peer: Any,
        port: Any,
        number: int,
        reactor: Any,
    ) -> None:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        super().__init__(own, protocol, peer, port, number, reactor)


class LocalPort(unix.Port):
    """Where links are accepted."""

    transport = LocalLink


def connected(reactor: Any, own: socket.socket, protocol: Any) -> None:
    """Give a protocol the Unix socket of a link that we have made.

    :param own: is connected and does not block; stays the caller's.
    """
    protocol.makeConnection(LocalLink(own.dup(), protocol, own.getpeername(), None, 0, reactor))
