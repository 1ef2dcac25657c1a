"""What is done again and again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.periodic import Periodic


class PeriodicTests(SynchronousTestCase):
    """Every ten seconds."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.times: list[float] = []
        self.result: Any = None

    def start(self, onTheGrid: bool = False) -> Periodic:
        periodic = Periodic(self.clock, 10, self.act, "it is not done", onTheGrid)
        periodic.start()
        return periodic

    def act(self) -> Any:
        self.times.append(self.clock.seconds())
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def test_again(self) -> None:
        self.start()
        self.clock.pump([5] * 6)
        self.assertEqual(self.times, [10, 20, 30])

    def test_late(self) -> None:
        """How late is told; the next time is an interval later."""
        periodic = self.start()
        self.clock.advance(13)
        self.assertEqual(periodic.delay, 3)
        self.clock.advance(10)
        self.assertEqual((self.times, periodic.delay), ([13, 23], 0))

    def test_onTheGrid(self) -> None:
        """Whatever is late does not make the rest late."""
        self.start(onTheGrid=True)
        for late in (13, 7, 35, 5):
            self.clock.advance(late)
        self.assertEqual(self.times, [13, 20, 55, 60])

    def test_aFailureIsNotTheLastTime(self) -> None:
        """It is logged once, until it has worked in between."""
        self.start()
        self.result = ValueError("for a test")
        self.clock.pump([10] * 3)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.result = None
        self.clock.advance(10)
        self.result = ValueError("for a test")
        self.clock.advance(10)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.times, [10, 20, 30, 40, 50])

    def test_oneAtATime(self) -> None:
        """It is not begun anew before it is over, and then there is a pause."""
        first = self.result = Deferred()
        self.start()
        self.clock.advance(10)
        self.clock.advance(14)
        self.assertEqual(self.times, [10])
        self.result = None
        first.callback(None)
        self.clock.pump([5] * 4)
        self.assertEqual(self.times, [10, 34, 44])

    def test_failsLater(self) -> None:
        """The same for a Deferred."""
        failing = self.result = Deferred()
        self.start()
        self.clock.advance(10)
        failing.errback(ValueError("for a test"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.result = None
        self.clock.advance(10)
        self.assertEqual(self.times, [10, 20])

    def test_stop(self) -> None:
        """Also while it is being done, and when it was never started."""
        periodic = self.start()
        self.result = Deferred()
        self.clock.advance(10)
        periodic.stop()
        self.result.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.start().stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        Periodic(self.clock, 1, self.act, "").stop()
