"""What is done again and again, as long as the server runs.

Owns when the next time is, and that a failure is never the last time. Knows nothing of what it is
that is done.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from nymearemoteproxy.common.logs import ProxyLogger

log = ProxyLogger()


class Periodic:
    """Does something at an interval, whatever comes of it.

    The next time is not before the last one is over. What fails is logged, and not again before it
    has worked in between.

    :param interval: seconds.
    :param act: may return a Deferred.
    :param problem: what a failure means, for the log.
    :param onTheGrid: the times are multiples of the interval after the start, and those that were
        missed are left out; otherwise each is an interval after the last one began.
    :ivar delay: seconds by which the last time came late, since the reactor was busy.
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval: float,
        act: Callable[[], object],
        problem: str,
        onTheGrid: bool = False,
    ) -> None:
        self.delay = 0.0
        self._clock = clock
        self._interval = interval
        self._act = act
        self._problem = problem
        self._onTheGrid = onTheGrid
        self._due = 0.0
        self._timer: IDelayedCall | None = None
        self._isFailing = False
        self.running = False

    def start(self) -> None:
        """The first time is in one interval."""
        self.running = True
        self._due = self._clock.seconds() + self._interval
        self._timer = self._clock.callLater(self._interval, self._run)

    def stop(self) -> None:
        """Not again, even if it is being done."""
        self.running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        began = self._clock.seconds()
        self.delay = max(0.0, began - self._due)
        done = maybeDeferred(self._act)
        done.addCallbacks(self._worked, self._failed)
        done.addCallback(self._again, began)

    def _worked(self, _result: object) -> None:
        self._isFailing = False

    def _failed(self, failure: Failure) -> None:
        if not self._isFailing:
            self._isFailing = True
            log.failure("{problem}; it is tried again", failure, problem=self._problem)

    def _again(self, _result: object, began: float) -> None:
        if not self.running:
            return
        now, interval = self._clock.seconds(), self._interval
        if self._onTheGrid:
            self._due += max(1, (now - self._due) // interval + 1) * interval
        else:
            self._due = began + interval
        if self._due <= now:
            self._due = now + interval  # it takes longer than that: leave some time for the rest
        self._timer = self._clock.callLater(self._due - now, self._run)
