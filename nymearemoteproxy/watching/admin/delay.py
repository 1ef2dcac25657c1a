"""How late the event loop comes to what is due.

Owns a timer of its own: the pulse beats once a second, and would miss most stalls. Knows nothing of
what else is measured.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.common.periodic import Periodic

PERIOD = 0.05
"""Seconds between samples. A stall of 100 ms, which people notice, delays one of them by at least
half of that. Idle, it costs a quarter of a percent of a processor."""


DELAY_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""Seconds; beyond 0.1 people who type through a tunnel notice."""


class DelaySampler:
    """Measures all the time.

    :param report: is told of every sample, in seconds.
    :ivar worst: since `takeWorst` was called last.
    """

    def __init__(self, clock: IReactorTime, report: Callable[[float], object]) -> None:
        self._report = report
        self._samples = Periodic(clock, PERIOD, self._sample, "the event loop is not measured")
        self.worst = 0.0

    def start(self) -> None:
        """Begin."""
        self._samples.start()

    def stop(self) -> None:
        """Measure no more."""
        self._samples.stop()

    def takeWorst(self) -> float:
        """Return the longest delay since the last call."""
        worst, self.worst = self.worst, 0.0
        return worst

    def _sample(self) -> None:
        delay = self._samples.delay
        self.worst = max(self.worst, delay)
        self._report(delay)
