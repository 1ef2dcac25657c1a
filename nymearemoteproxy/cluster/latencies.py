"""How long answers took.

Owns the bounds that they are sorted by. Knows nothing of what was asked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds: a Redis near by takes half a millisecond, and after one second it is not waited for,
which a process that is busy may notice late."""


class Latencies:
    """Counts answers.

    :ivar buckets: how many there were, by the position in `BOUNDS` of the first bound that is not
        less; those that took longer have the one behind the last.
    :ivar seconds: that all of them took.
    """

    def __init__(self) -> None:
        self.buckets: Counter[int] = Counter()
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """One came after so long."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds
