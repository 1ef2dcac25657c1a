"""The two kinds of time.

``clock.seconds()``, everywhere in this project, is a *moment*: good for how long something takes
and for when something is due, and nothing to show to anybody. It only grows, whatever becomes of
the machine's date. *Unix time* is the date: seconds since 1970, for people, files and other
programs. Owns how the one becomes the other. Knows nothing of what either is for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime

JUMP = 0.1
"""Seconds by which the date must be another one to have been set: NTP corrects what is less without
setting it, and a busy machine takes less to look at two clocks."""


def useMonotonicClock(reactor: Any) -> None:
    """Have a reactor measure by a clock that nobody can set; before anything is scheduled on it.

    Twisted's follow the date: when that is set forward, all that waits is overdue at once, and when
    it is set back, nothing is due until it has caught up. Under twistd the reactor is there before
    us, and every release asks its own attribute `seconds` for the time, whatever kind it is.
    """
    reactor.seconds = time.monotonic


class Calendar:
    """Tells what date a moment has.

    :param clock: whose moments they are.
    :param unixTime: returns the Unix time.
    """

    def __init__(self, clock: IReactorTime, unixTime: Callable[[], float]) -> None:
        self._clock = clock
        self._unixTime = unixTime
        self._epoch = self._difference()

    @property
    def epoch(self) -> float:
        """What to add to a moment for its Unix time, by what the date is now.

        It stays the same until the date is set: those who watch take a connection that began at
        another time for another connection.
        """
        difference = self._difference()
        if abs(difference - self._epoch) > JUMP:
            self._epoch = difference
        return self._epoch

    def _difference(self) -> float:
        return self._unixTime() - self._clock.seconds()
