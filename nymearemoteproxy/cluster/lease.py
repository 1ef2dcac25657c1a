"""How long a member counts as alive to the others.

Owns when a member's entry is renewed, and when it is over. Knows nothing of where the entry is.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.cluster.directory import unheeded
from nymearemoteproxy.common.periodic import Periodic

LEASE = 15.0
"""Seconds after which a member that was not renewed is gone; nobody takes its places before."""

RENEWAL = 5.0
"""Seconds between two renewals: two may fail before anybody takes a place away."""


def boottime() -> float:
    """Return the seconds since the machine's start, those in which it slept among them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """One member's, renewed again and again.

    :param renew: sends a renewal.
    :param now: returns seconds by a clock that goes on while the machine sleeps.
    """

    def __init__(
        self, clock: IReactorTime, renew: Callable[[], Deferred[None]], now: Callable[[], float]
    ) -> None:
        self._renew = renew
        self._now = now
        self._sent: float | None = None
        self._periodic = Periodic(clock, RENEWAL, self._again, "A lease was not renewed")

    def start(self) -> None:
        """Renew it from now on; the first time is in one interval."""
        self._periodic.start()

    def stop(self) -> None:
        """Renew it no longer."""
        self._periodic.stop()

    def sending(self) -> float:
        """Return the time for `renewed`: it counts from when a renewal was sent, not answered."""
        return self._now()

    def renewed(self, sent: float, isThereAlready: bool) -> bool:
        """Note that a renewal succeeded.

        :param isThereAlready: whether the entry was there before.
        :returns: True when it should have been there: what else was held may be lost, too.
        """
        isLost = self._sent is not None and not isThereAlready
        self._sent = max(sent, self._sent or sent)
        return isLost

    def isOver(self) -> bool:
        """Tell whether the others may take this member for gone."""
        return self._sent is None or self._now() - self._sent > LEASE

    def _again(self) -> Deferred[None]:
        return unheeded(self._renew())
