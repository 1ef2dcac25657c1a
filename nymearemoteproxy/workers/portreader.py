"""The parent accepts connections, in the place of the port that listens.

Owns when it accepts, and what it does when the system has no room. Knows nothing of how a port
listens, which stays Twisted's, nor of what a connection is for.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.tally import Tally

log = ProxyLogger()

ACCEPTED_A_TURN = 20
"""Connections that are accepted at a listener in one turn of the reactor; each costs a tenth of a
millisecond."""

PAUSE = 0.5
"""Seconds until it is tried again when the system has no room for another connection."""

_GONE = (errno.ECONNABORTED, errno.EPERM, errno.EPROTO)
"""Errors of `accept` that are about one connection only: it is gone, or a firewall forbids it."""


@implementer(IReadDescriptor)
class PortReader:
    """Accepts at one port; a subclass says what becomes of a connection.

    :param port: a Twisted port that listens; its accepting ends, its closing stays its own.
    :param place: where that is, for people.
    :ivar family: of its connections: AF_INET, AF_INET6 or AF_UNIX.
    """

    def __init__(self, reactor: Any, port: Any, place: str) -> None:
        port.stopReading()
        # A copy: the reactor knows one reader for each number.
        self._socket = socket.socket(fileno=os.dup(port.fileno()))
        self.family = int(self._socket.family)
        self._reactor = reactor
        self._timer: Any = None
        self._troubles = Tally(
            reactor,
            "no connection can be accepted on {place}: {reason}",
            "time",
            "{more} in the last {interval:.0f} s no connection could be accepted on {place}",
            place=place,
        )

    def accepted(self, accepted: socket.socket, name: Any) -> bool:
        """A connection is there; tell whether another one may be accepted now."""
        raise NotImplementedError

    def resume(self) -> None:
        """Accept."""
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
            if not self._accepted(accepted, name):
                self.pause()
                return

    def _accepted(self, accepted: socket.socket, name: Any) -> bool:
        try:
            return self.accepted(accepted, name)
        except Exception:
            # It costs this connection: the reactor would never read from the port again.
            log.failure("a connection cannot be accepted")
            accepted.close()
            return True

    def _noRoom(self, error: OSError) -> None:
        """The system has no descriptor or no memory: the kernel's queue is as good a place."""
        self._troubles.add(reason=error.strerror)
        self.pause()
        self._timer = self._reactor.callLater(PAUSE, self._tryAgain)

    def _tryAgain(self) -> None:
        self._timer = None
        self.resume()
