"""How fast bytes may pass: a token bucket that says how long to wait.

Owns the arithmetic, and how much is read at a time so that the waits are short. Knows nothing of
what waits, nor how.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

BURST = 0.02
"""Seconds of the rate that may pass at once: about what a pause lasts, so that nobody sees bursts,
and more than the reactor is late with a timer, so that none of the rate is lost."""

SMALLEST_PORTION = 512
"""Bytes. At rates at which this takes longer than `BURST` the pauses are longer; reading less at a
time would cost more than it smooths."""


class ByteBucket:
    """A token bucket for bytes, which may be overdrawn.

    What a read brings is known when it is there, so it is taken first, and whoever took it waits
    until it is made up for. Several who share a bucket wait for what was taken before, too: they go
    on one after another, and together are no faster than one.

    :param rate: bytes a second, more than 0.
    :ivar rate: that.
    """

    __slots__ = ("rate", "_clock", "_level", "_time")

    def __init__(self, clock: IReactorTime, rate: float) -> None:
        self.rate = rate
        self._clock = clock
        self._level = rate * BURST
        self._time = clock.seconds()

    def take(self, size: int) -> float:
        """Take so many bytes.

        :returns: seconds to wait before anything more is taken; 0 = none.
        """
        now = self._clock.seconds()
        level = min(self.rate * BURST, self._level + (now - self._time) * self.rate) - size
        self._level, self._time = level, now
        return max(0.0, -level / self.rate)


def portion(rate: float, seconds: float = BURST) -> int:
    """Return how many bytes to relay at a time, at most.

    :param rate: bytes a second.
    :param seconds: that they are to last.
    """
    return max(SMALLEST_PORTION, int(rate * seconds))
