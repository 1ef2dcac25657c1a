"""What a worker does with what it is told, without a parent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.running.heritage import BEGIN, RELOAD, SERVE
from nymearemoteproxy.running.working import FAILED, Worker


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

    def test_atTheStart(self) -> None:
        """A worker that cannot begin ends, and another one is tried."""
        for message in ([SERVE], [BEGIN, 1, {}]):
            self.setUp()
            self.worker._received(message)
            self.assertEqual(len(self.flushLoggedErrors()), 1)
            self.assertEqual((self.stops, self.worker.status), (1, FAILED))
