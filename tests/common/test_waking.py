"""Owns the checks of the clock that does not count standstills, and of who goes by it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.delays import Delays
from nymearemoteproxy.common.waking import BEAT, LATE, WakingClock

PROPERTY = settings(max_examples=100, deadline=None, database=None)


class WakingClockTests(SynchronousTestCase):
    """Time passes as for the clock below, but for standstills."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.waking = WakingClock(self.clock)

    def test_whileItRuns(self) -> None:
        """Nothing is missing, if beats are as late as they usually are."""
        self.waking.start()
        for _ in range(100):
            self.clock.advance(BEAT + LATE / 2)
            self.assertEqual(self.waking.seconds(), self.clock.seconds())

    def test_standsStill(self) -> None:
        """Of a standstill it counts no more than until it is noticed, whoever asks first."""
        self.waking.start()
        for lasts in 2.0, 60.0, 1e6:
            before = self.waking.seconds()
            self.clock.rightNow += lasts  # no timer runs before somebody asks
            self.assertEqual(self.waking.seconds() - before, LATE)
            self.assertEqual(self.waking.seconds() - before, LATE)
            self.clock.advance(0)  # now the beat does
            self.clock.advance(BEAT)
            self.assertEqual(self.waking.seconds() - before, LATE + BEAT)

    def test_goesOn(self) -> None:
        """Who asked just before loses no more by a standstill than who asked long ago."""
        self.waking.start()
        self.clock.advance(0.9 * BEAT)
        before = self.waking.seconds()
        self.clock.rightNow += 60
        self.assertAlmostEqual(self.waking.seconds() - before, LATE)

    def test_busy(self) -> None:
        """A turn that takes long is none, as long as somebody asks in it now and then."""
        self.waking.start()
        for _ in range(20):
            self.clock.rightNow += LATE
            self.assertEqual(self.waking.seconds(), self.clock.seconds())

    def test_onlyWhileStarted(self) -> None:
        """Before that nobody would notice, and nobody may be expected to; likewise after it."""
        self.clock.advance(60)
        self.assertEqual(self.waking.seconds(), self.clock.seconds())
        self.waking.start()
        self.clock.advance(60)
        self.waking.stop()
        missing = self.clock.seconds() - self.waking.seconds()
        self.assertEqual(missing, 60 - LATE)
        self.clock.advance(60)
        self.assertEqual(self.clock.seconds() - self.waking.seconds(), missing)
        self.assertEqual(self.waking.getDelayedCalls(), [])

    @PROPERTY
    @given(st.lists(st.floats(0.0, 10.0), max_size=30))
    def test_grows(self, steps: list[float]) -> None:
        """It never goes back, nor faster than the clock below, and is never stuck."""
        self.setUp()
        self.waking.start()
        last = self.waking.seconds()
        for step in steps:
            self.clock.advance(step)
            now = self.waking.seconds()
            self.assertLessEqual(last, now)
            self.assertLessEqual(now - last, step + 1e-6)
            self.assertGreaterEqual(now - last, min(step, LATE) - 1e-6)
            last = now
        self.assertLessEqual(last, self.clock.seconds())
        self.waking.stop()

    def test_delays(self) -> None:
        """A time limit has what was left of it when all stood still."""
        self.waking.start()
        ended: list[float] = []
        Delays(self.waking).start(10, lambda: ended.append(self.clock.seconds()))
        self.clock.pump([BEAT] * 4)
        self.clock.advance(60)
        self.assertEqual(ended, [])
        self.clock.pump([BEAT / 2] * 20)
        self.assertEqual(ended, [1000 + 4 + 60 + 10 - 4 - LATE])
