"""A clock for what others are given time for: it does not count when this process stood still.

SIGSTOP, a frozen container, a debugger or a machine that swaps stop us, and not those who wait for
us: what they sent meanwhile is not read yet when the time for it seems to be over. Owns how that is
noticed. Knows nothing of who is given time. How long something took, and when it was, is still
measured by the reactor's clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from nymearemoteproxy.common.periodic import Periodic

BEAT = 1.0
"""Seconds between two signs of life of this process."""

LATEST = 1.5
"""Seconds from one of them within which the next is looked for: to be a little late is usual, so
what stands still for less may go unnoticed."""

LATE = LATEST - BEAT
"""Seconds that a standstill which is noticed counts for, as if it had been that long: no more than
that can anybody lose by it."""


@implementer(IReactorTime)
class WakingClock:
    """Tells how long this process has been there for others, from `start` to `stop`.

    Before that it is the clock that it is made of, and after it, it stays behind that by all
    standstills. It only grows, as that does.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._stoodStill = 0.0
        self._asked = clock.seconds()
        self._expected = math.inf  # when the next beat has been, if nothing holds us up
        self._beats = Periodic(clock, BEAT, self._beat, "nobody notices when this process stops")

    def start(self) -> None:
        """Look for standstills; the reactor runs."""
        self._beats.start()
        self._beat()

    def stop(self) -> None:
        """Look for none any more."""
        self._beats.stop()
        self._expected = math.inf

    def seconds(self) -> float:
        """Return a moment of this clock's, which is none of the reactor's."""
        now = self._clock.seconds()
        if now > self._expected:
            # Whoever is the first to ask, before anything is read or is called overdue.
            self._stoodStill += max(0.0, now - self._asked - LATE)
        self._asked = now
        return now - self._stoodStill

    def _beat(self) -> None:
        self.seconds()
        self._expected = self._clock.seconds() + LATEST

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object
    ) -> IDelayedCall:
        """Have something called, too early if we stand still meanwhile: it looks at the time."""
        return self._clock.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """Return those of the clock that it is made of."""
        return self._clock.getDelayedCalls()
