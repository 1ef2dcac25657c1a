"""How long something took, again and again.

Owns how that is counted. Knows nothing of what it was.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

CLAIM_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds: a Redis near by takes half a millisecond, and after one second it is not waited for,
which a process that is busy may notice late."""


class Latencies:
    """Counts them.

    :param bounds: seconds, rising.
    :ivar buckets: how many there were, by the position of the first bound that is not less; those
        that took longer have the one behind the last.
    :ivar seconds: that all of them took.
    """

    def __init__(self, bounds: Sequence[float] = CLAIM_BOUNDS) -> None:
        self.buckets: Counter[int] = Counter()
        self.seconds = 0.0
        self._bounds = bounds

    def add(self, seconds: float) -> None:
        """It took so long."""
        self.buckets[bisect_left(self._bounds, seconds)] += 1
        self.seconds += seconds
