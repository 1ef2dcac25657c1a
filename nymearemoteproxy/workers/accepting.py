"""The parent accepts connections, in the place of the port that listens.

Owns when it accepts, and what becomes of a connection that nobody can take at once. Knows nothing
of how a port listens, which stays Twisted's, nor of who is chosen to take a connection.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.tally import Tally
from nymearemoteproxy.connections.records import TCP, UNIX, WEBSOCKET, Record
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.workers.handing import Handed, addressOf

ACCEPTED_A_TURN = 20
"""Connections that are accepted at a listener in one turn of the reactor; each costs a tenth of a
millisecond."""

PAUSE = 0.5
"""Seconds until it is tried again when the system has no room for another connection."""

_GONE = (errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.EINTR)
"""Errors of `accept` that are about one connection only: it is gone, or a firewall forbids it."""

Hand = Callable[[Record, Handed, int], bool]
"""Has somebody take a connection; tells whether there was anybody."""


@implementer(IReadDescriptor)
class Acceptor:
    """Accepts at one port, and has each connection taken by somebody.

    :param port: a Twisted port that listens; its accepting ends, its closing stays its own.
    :param index: of the listener, for whoever takes a connection.
    :param hand: returns False when nobody can take a connection now: then nothing is accepted until
        `resume`.
    """

    def __init__(
        self,
        reactor: Any,
        port: Any,
        listener: Listener,
        index: int,
        registry: Registry,
        hand: Hand,
    ) -> None:
        port.stopReading()
        # A copy: the reactor knows one reader for each number.
        self._socket = socket.socket(fileno=os.dup(port.fileno()))
        self._reactor = reactor
        self._transport = WEBSOCKET if listener.webSocket else TCP
        self._secure = listener.secure
        self._index = index
        self._registry = registry
        self._hand = hand
        self._pending: tuple[Record, Handed, socket.socket] | None = None
        self._timer: Any = None
        self._troubles = Tally(
            reactor,
            "no connection can be accepted on {place}: {reason}",
            "{count} more times in the last {interval:.0f} s no connection could be accepted on "
            "{place}",
            place=listener.description,
        )

    def resume(self) -> None:
        """Accept, as somebody can take connections."""
        if self._pending is not None and not self._tryPending():
            return
        if self._timer is None and self._isOpen:
            self._reactor.addReader(self)

    def pause(self) -> None:
        """Leave newcomers to the kernel's queue until `resume`."""
        self._reactor.removeReader(self)

    def close(self) -> None:
        """Accept no more."""
        if not self._isOpen:
            return
        self.pause()
        self._socket.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pending is not None:
            (record, _handed, accepted), self._pending = self._pending, None
            accepted.close()
            record.endsWith(Outcome.SHUTDOWN)
            self._registry.ended(record)

    @property
    def _isOpen(self) -> bool:
        return self._socket.fileno() >= 0

    # As the reactor sees it

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "accepting"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops."""
        self.close()

    def doRead(self) -> None:
        for _ in range(ACCEPTED_A_TURN):
            try:
                accepted, name = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _GONE:
                    continue
                self._noRoom(error)
                return
            if not self._pass(accepted, name):
                self.pause()
                return

    def _noRoom(self, error: OSError) -> None:
        """The system has no descriptor or no memory: the kernel's queue is as good a place."""
        self._troubles.add(reason=error.strerror)
        self.pause()
        self._timer = self._reactor.callLater(PAUSE, self._tryAgain)

    def _tryAgain(self) -> None:
        self._timer = None
        self.resume()

    def _pass(self, accepted: socket.socket, name: Any) -> bool:
        """Have a connection taken, unless a limit refuses it; tell whether there was somebody."""
        address = addressOf(accepted.family, name)
        transport = self._transport
        if transport == TCP and isinstance(address, UNIXAddress):
            transport = UNIX
        record = self._registry.admit(address, transport, self._secure)
        if record is None:
            accepted.close()
            return True
        handed = Handed(record.number, self._index, accepted.family, address, record.ticket.source)
        self._pending = record, handed, accepted
        return self._tryPending()

    def _tryPending(self) -> bool:
        assert self._pending is not None
        record, handed, accepted = self._pending
        if not self._hand(record, handed, accepted.fileno()):
            return False
        self._pending = None
        accepted.close()
        return True
