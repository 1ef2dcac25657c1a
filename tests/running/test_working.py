"""What a worker does with what it is told, without a parent."""

from __future__ import annotations

import errno
import os
import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.running.heritage import BEGIN, RELOAD, SERVE
from nymearemoteproxy.running.working import FAILED, Crew, Worker
from nymearemoteproxy.workers.handing import Handed
from nymearemoteproxy.workers.linkdoor import LINKS
from nymearemoteproxy.workers.process import CONFIRM, CONFIRMED


class FaultTests(SynchronousTestCase):
    """Faults of ours."""

    def setUp(self) -> None:
        self.worker: Any = Worker.__new__(Worker)
        self.worker.status = self.stops = 0
        self.worker._isStopping = False
        self.worker._reactor = SimpleNamespace(stop=self.stop)
        self.worker._crew = SimpleNamespace(
            reload=lambda _files: 1 / 0, ready=lambda: 1 / 0, handlers={"fact": lambda: 1 / 0}
        )

    def stop(self) -> None:
        """Count."""
        self.stops += 1

    def test_whileItServes(self) -> None:
        """Its connections stay: all workers are told of a reload, and would end together."""
        for message in ([RELOAD, {}], ["fact"]):
            self.worker._received(message)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual((self.stops, self.worker.status), (0, 0))

    def test_confirms(self) -> None:
        """It says when a reload is done, also if that fails: it would be given nobody any more."""
        said: list[Any] = []
        self.worker.channel = SimpleNamespace(send=said.append)
        for message in ([RELOAD, {}], [CONFIRM]):
            self.worker._received(message)
        self.assertEqual(said, [[CONFIRMED]])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_atTheStart(self) -> None:
        """A worker that cannot begin ends, and another one is tried."""
        for message in ([SERVE], [BEGIN, 1, {}]):
            self.setUp()
            self.worker._received(message)
            self.assertEqual(len(self.flushLoggedErrors()), 1)
            self.assertEqual((self.stops, self.worker.status), (1, FAILED))


class TakeTests(SynchronousTestCase):
    """A connection that cannot be taken over costs itself only, and its parent hears of its end."""

    def setUp(self) -> None:
        self.ended: list[Any] = []
        self.reasons: list[str] = []
        self.crew: Any = Crew.__new__(Crew)
        self.crew._registry = SimpleNamespace(
            expect=lambda _number, _source: None,
            giveUp=lambda *details: self.ended.append(details),
        )
        self.crew._untaken = SimpleNamespace(add=lambda reason: self.reasons.append(reason))
        self.crew._factories, self.crew._links = [object()], object()
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        self.descriptor = read

    def take(self, fault: Exception, listener: int = 0, descriptor: int | None = -1) -> None:
        """Take one over when Twisted fails at it."""

        def fail(*_details: Any) -> None:
            raise fault

        self.crew._reactor = SimpleNamespace(adoptStreamConnection=fail)
        address = IPv4Address("TCP", "192.0.2.1", 1)
        handed = Handed(7, listener, socket.AF_INET, address, None)
        self.crew.take(handed, self.descriptor if descriptor == -1 else descriptor)

    def test_system(self) -> None:
        """Too many files are open, or it is gone."""
        self.take(OSError(errno.ENOTCONN, "it is gone"))
        self.take(ZeroDivisionError(), descriptor=None)
        self.assertEqual(self.ended, [(7, Outcome.CONNECTION_LOST)] * 2)
        self.assertEqual(self.reasons, ["it is gone", os.strerror(errno.EMFILE)])

    def test_fault(self) -> None:
        """Anything else is a fault of ours."""
        self.take(ZeroDivisionError())
        self.assertEqual(self.ended, [(7, Outcome.INTERNAL_ERROR)])
        self.take(ZeroDivisionError(), listener=5)
        self.assertEqual(self.ended, [(7, Outcome.INTERNAL_ERROR)] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, IndexError)), 2)

    def test_link(self) -> None:
        """One of another machine is no connection that the parent knows."""
        self.take(OSError(errno.ENOTCONN, "it is gone"), LINKS)
        self.take(ZeroDivisionError(), LINKS)
        self.assertEqual(self.ended, [])
        self.assertEqual(self.reasons, ["it is gone"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
