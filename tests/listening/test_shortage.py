"""Owns the checks of what is told when no connection can be accepted."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet import tcp
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.logs import isNoise
from nymearemoteproxy.common.tally import INTERVAL
from nymearemoteproxy.listening.shortage import Shortage


class ShortageTests(SynchronousTestCase):
    """One line at once, and one every ten seconds, whatever Twisted says."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        publisher = LogPublisher(Shortage(self.clock), self.events.append)
        # One of our own ports.
        self.log = Logger("nymearemoteproxy.cluster.localsockets.LocalPort", observer=publisher)

    def told(self) -> list[str]:
        """Return what is in the log."""
        return [formatEvent(event) for event in self.events if not isNoise(event)]

    def fails(self, listener: Any) -> None:
        """Have Twisted accept something."""
        descriptor = tcp._FileDescriptorReservation(lambda: open("/dev/null"))  # noqa: SIM115
        descriptor.reserve()
        self.addCleanup(descriptor.__enter__)
        list(tcp._accept(self.log, range(3), listener, descriptor))

    def test_descriptors(self) -> None:
        """Connections are closed."""
        self.fails(_Listener(errno.EMFILE))
        self.assertEqual(self.told(), ["no connection can be accepted: Too many open files"])
        self.fails(_Listener(errno.EMFILE))
        self.clock.advance(INTERVAL)
        self.assertEqual(
            self.told()[1:], ["3 more connections could not be accepted in the last 10 s"]
        )

    def test_memory(self) -> None:
        """They are left to the kernel."""
        self.fails(_Listener(errno.ENOMEM))
        self.assertEqual(self.told(), ["no connection can be accepted: Cannot allocate memory"])

    def test_others(self) -> None:
        """All else that they say is of no interest."""
        self.log.info("EMFILE encountered; releasing reserved file descriptor.")
        self.assertEqual(self.told(), [])


class _Listener:
    """Two connections come, and cannot be accepted; with a descriptor they can be closed."""

    def __init__(self, code: int) -> None:
        self._code = code
        self._left = 2
        self._isFree = False

    def accept(self) -> tuple[Any, Any]:
        if not self._left:
            raise BlockingIOError(errno.EAGAIN, "nobody is there")
        if not self._isFree:
            self._isFree = True
            raise OSError(self._code, "no")
        self._left -= 1
        return self, ("127.0.0.1", 1)

    def close(self) -> None:
        """It is closed."""
