"""What may happen very often, in few lines of log."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.tally import INTERVAL, Tally


class TallyTests(SynchronousTestCase):
    """A flood."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.tally = Tally(self.clock, "from {source}", "cow", "{more} in {interval:.0f} s")
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def texts(self) -> list[str]:
        return [formatEvent(event) for event in self.events]

    def test_once(self) -> None:
        """Nothing is added to it."""
        self.tally.add(source="a")
        self.assertEqual(self.texts(), ["from a"])
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.events), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_often(self) -> None:
        """The first at once, the others in a sum; then it begins anew."""
        for _ in range(1000):
            self.tally.add(source="a")
        self.clock.advance(INTERVAL)
        self.tally.add(source="b")
        self.assertEqual(self.texts(), ["from a", "999 more cows in 10 s", "from b"])

    def test_twice(self) -> None:
        """A single one more is no several."""
        for _ in range(2):
            self.tally.add(source="a")
        self.clock.advance(INTERVAL)
        self.assertEqual(self.texts(), ["from a", "1 more cow in 10 s"])
        self.assertEqual(self.events[-1]["count"], 1)
