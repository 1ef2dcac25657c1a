"""How fast bytes may pass, as a rule without anything that passes."""

from __future__ import annotations

import heapq

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.rates import BURST, SMALLEST_PORTION, ByteBucket, portion

PROPERTY = settings(max_examples=200, deadline=None, database=None)


class BucketTests(SynchronousTestCase):
    """One bucket, and who takes from it."""

    def setUp(self) -> None:
        self.clock = Clock()

    def bucket(self, rate: float) -> ByteBucket:
        """Return a bucket on the fake clock."""
        return ByteBucket(self.clock, rate)

    def taken(self, bucket: ByteBucket, seconds: float, *sizes: int) -> list[tuple[float, int]]:
        """Let several take from a bucket, each always as much; return when who took something."""
        due = [(0.0, number) for number in range(len(sizes))]
        taken = []
        while due[0][0] < seconds:
            when, number = heapq.heappop(due)
            self.clock.advance(when - self.clock.seconds())
            taken.append((when, number))
            heapq.heappush(due, (when + bucket.take(sizes[number]), number))
        return taken

    def test_rate(self) -> None:
        """Who always takes as much as there is gets the rate, and pauses are short."""
        size = portion(1_000_000)
        times = [when for when, _number in self.taken(self.bucket(1_000_000), 10, size)]
        self.assertApproximates(len(times) * size, 10_000_000, 2 * size)
        pauses = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
        self.assertLess(max(pauses), BURST + 1e-6)

    def test_within(self) -> None:
        """Who takes less never waits."""
        bucket = self.bucket(1000)
        for _ in range(1000):
            self.assertEqual(bucket.take(9), 0)
            self.clock.advance(0.01)

    def test_saved(self) -> None:
        """Who has taken nothing for long has saved a burst and no more."""
        bucket = self.bucket(1000)
        self.clock.advance(3600)
        self.assertEqual(bucket.take(int(1000 * BURST)), 0)
        self.assertApproximates(bucket.take(100), 0.1, 1e-9)

    def test_shared(self) -> None:
        """Several share evenly, one after the other, and together get the rate."""
        size = 1000
        taken = self.taken(self.bucket(100_000), 10, *[size] * 5)
        self.assertApproximates(len(taken) * size, 1_000_000, 10 * size)
        counts = [sum(number == each for _when, number in taken) for each in range(5)]
        self.assertLessEqual(max(counts) - min(counts), 1 + 100_000 * BURST / size)
        times = [when for when, _number in taken[5:]]
        gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
        self.assertApproximates(max(gaps), size / 100_000, 1e-6)

    @PROPERTY
    @given(
        st.floats(1e3, 1e9),
        st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 0.015)), min_size=1),
    )
    def test_lateTimers(self, rate: float, steps: list[tuple[int, float]]) -> None:
        """However late each wait ends, it is never more than the rate and a burst."""
        self.clock = Clock()
        bucket, total = self.bucket(rate), 0
        for size, late in steps:
            total += size
            pause = bucket.take(size)
            if pause:
                self.clock.advance(pause + late)
            most = rate * (self.clock.seconds() + BURST)
            self.assertLessEqual(total, most * (1 + 1e-9) + 1e-3)

    def test_portion(self) -> None:
        """It lasts as long as it is to, but is not too small to be worth a read."""
        self.assertEqual(portion(1_000_000, 0.05), 50_000)
        self.assertEqual(portion(1), SMALLEST_PORTION)
