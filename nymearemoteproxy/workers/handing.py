"""How accepted connections get from the parent to a worker: as descriptors, through a socket.

Owns the way, and what is told with each connection. Knows nothing of who gets which.

The socket keeps messages apart (SOCK_SEQPACKET), so that each descriptor comes with what belongs to
it. It is not the `MessageChannel`: the kernel bounds what waits in it, and a worker that is stuck
must not make connections wait that another one could serve.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.logs import ProxyLogger

log = ProxyLogger()

TAKEN_A_TURN = 20
"""Connections that are taken in one turn of the reactor; each costs a tenth of a millisecond."""

MESSAGE_SIZE = 4096
"""Bytes of a message, at most; the path of a Unix socket has 108."""

RETRY = 0.1
"""Seconds until it is tried again where the kernel does not say when: too many descriptors are on
their way, of all processes of this user together (unix(7), ETOOMANYREFS)."""

_ADDRESSES: dict[int, type[IPv4Address] | type[IPv6Address]] = {
    socket.AF_INET: IPv4Address,
    socket.AF_INET6: IPv6Address,
}


def addressOf(family: int, name: Any) -> IAddress:
    """Return an address as Twisted has it for a connection that it accepts.

    :param name: as the socket module has it.
    """
    if family == socket.AF_UNIX:
        # Its name is the client's choice, which Debian 12's Twisted may fail on, and tells nobody
        # anything.
        return UNIXAddress("")
    if family == socket.AF_INET6 and name[3]:
        host = socket.getnameinfo(name, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
        name = (host, *name[1:])  # with its scope
    address: IAddress = _ADDRESSES[family]("TCP", *name)
    return address


@dataclass(frozen=True)
class Handed:
    """A connection on its way.

    :ivar number: of its record.
    :ivar listener: the index of the listener that it came by.
    :ivar family: AF_INET, AF_INET6 or AF_UNIX.
    :ivar address: the client's.
    :ivar source: what the limits per address count it as; None if they do not.
    """

    number: int
    listener: int
    family: int
    address: IAddress
    source: str | None

    def encode(self) -> bytes:
        """Return it as it is sent."""
        if isinstance(self.address, UNIXAddress):
            name: Sequence[Any] = ()
        elif isinstance(self.address, IPv6Address):
            one = self.address
            name = (one.host, one.port, one.flowInfo, one.scopeID)
        else:
            assert isinstance(self.address, IPv4Address)
            name = (self.address.host, self.address.port)
        return json.dumps([self.number, self.listener, self.family, name, self.source]).encode()

    @classmethod
    def decode(cls, data: bytes) -> Handed:
        """Return what was encoded."""
        number, listener, family, name, source = json.loads(data)
        if family == socket.AF_UNIX:
            address: IAddress = UNIXAddress("")
        else:
            address = _ADDRESSES[family]("TCP", *name)
        return cls(number, listener, family, address, source)


@implementer(IWriteDescriptor)
class Handing:
    """The parent's end.

    :param roomAgain: is called when it was full and is not any more.
    :ivar isFull: nothing can be handed over now.
    """

    def __init__(self, reactor: Any, own: socket.socket, roomAgain: Callable[[], object]) -> None:
        own.setblocking(False)
        self._reactor = reactor
        self._socket = own
        self._roomAgain = roomAgain
        self._timer: Any = None
        self.isFull = False

    def hand(self, connection: Handed, descriptor: int) -> bool:
        """Hand a connection over; tell whether there was room for it."""
        try:
            socket.send_fds(self._socket, [connection.encode()], [descriptor])
        except BlockingIOError:
            self.isFull = True
            self._reactor.addWriter(self)
            return False
        except OSError:
            # Nobody is there any more, as will be heard; or too many are on their way.
            self.isFull = True
            self._timer = self._reactor.callLater(RETRY, self._tryAgain)
            return False
        return True

    def _tryAgain(self) -> None:
        self._timer = None
        self.isFull = False
        self._roomAgain()

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "handing over"

    def doWrite(self) -> None:
        self._reactor.removeWriter(self)
        self.isFull = False
        self._roomAgain()

    def connectionLost(self, reason: Failure) -> None:
        """The other end is gone, or the reactor stops."""
        self.close()

    def close(self) -> None:
        """Hand over no more; what was, will be taken."""
        self.isFull = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket.fileno() >= 0:
            self._reactor.removeWriter(self)
            self._socket.close()


@implementer(IReadDescriptor)
class Taking:
    """The worker's end.

    :param take: is given each connection, and its descriptor, which is the caller's; None when
        this process has too many files open for it.
    :param ended: is called when no more will come.
    """

    def __init__(
        self,
        reactor: Any,
        own: socket.socket,
        take: Callable[[Handed, int | None], object],
        ended: Callable[[], object],
    ) -> None:
        own.setblocking(False)
        self._reactor = reactor
        self._socket = own
        self._take = take
        self._ended = ended

    def start(self) -> None:
        """Take them from now on."""
        self._reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "taking over"

    def doRead(self) -> None:
        for _ in range(TAKEN_A_TURN):
            try:
                data, descriptors, _flags, _from = socket.recv_fds(self._socket, MESSAGE_SIZE, 1)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self.close()
                self._ended()
                return
            self._takeOne(data, descriptors)

    def _takeOne(self, data: bytes, descriptors: Sequence[int]) -> None:
        descriptor = descriptors[0] if descriptors else None
        try:
            self._take(Handed.decode(data), descriptor)
        except Exception:
            log.failure("a connection cannot be taken over")
        finally:
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops."""
        self.close()

    def close(self) -> None:
        """Take no more."""
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()
