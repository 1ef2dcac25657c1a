"""How often and how long to try again, and what is said meanwhile.

Owns the delays, and whether to go on. Whether trying again may help at all is said by the error
(`TunnelError.isTransient`), up to the first success; from then on it always may, whoever or
whatever has come between. Knows nothing of what is connected to what.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.client.rules.errors import TunnelError, oneLine

# Seconds between attempts, before chance has its say: the first time, and at most.
FIRST_DELAY = 1.0
MAX_DELAY = 60.0

MAX_DELAY_WAITED_FOR = 5.0
"""The most while somebody waits, who should not do so much longer than the proxy was away."""

PATIENCE = 60.0
"""Seconds that somebody who waits for the connection waits in vain: a proxy that is restarted is
back by then, and it has noticed that a server's last connection broke."""


class Backoff:
    """The delays between attempts: each twice as long as the last, up to the most.

    Half of it more or less is up to chance, so that those whom a proxy lost together do not come
    back together.

    :param random: returns a number from 0 up to 1.
    :param most: seconds, before chance.
    """

    def __init__(
        self, random: Callable[[], float] = random.random, most: float = MAX_DELAY
    ) -> None:
        self._random = random
        self._most = most
        self._delay = FIRST_DELAY

    def next(self) -> float:
        """Return the seconds to wait before the next attempt."""
        delay = self._delay * (0.5 + self._random())
        self._delay = min(2 * self._delay, self._most)
        return delay

    def reset(self) -> None:
        """Begin anew: the last attempt was a success."""
        self._delay = FIRST_DELAY


class Reports:
    """Says what is wrong once, however often it happens.

    :param say: takes one line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last: str | None = None

    def trouble(self, text: str, delay: float | None = None) -> None:
        """Say `text`, and the seconds to the next attempt if there is one."""
        if text != self._last:
            self._last = text
            following = "" if delay is None else f"; next attempt in {math.ceil(delay)} s"
            self._say(f"{text}{following}")

    def over(self) -> None:
        """It works: if it fails again, that is news."""
        self._last = None


@implementer(IStreamClientEndpoint)
class RetryingEndpoint:
    """A client endpoint that tries again as long as that may help.

    :param endpoint: makes the attempts.
    :param clock: measures the time between them.
    :param reports: is told of every failure that is followed by another attempt.
    :param backoff: makes the delays of one `connect`.
    :param patience: seconds in which a connection must be there; None: any time.
    :ivar hasWorked: there was a connection; nothing that goes wrong later is for good.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        clock: Any,
        reports: Reports,
        backoff: Callable[[], Backoff] = Backoff,
        patience: float | None = PATIENCE,
    ) -> None:
        self.endpoint = endpoint
        self.clock = clock
        self.reports = reports
        self.patience = patience
        self.hasWorked = False
        self._backoff = backoff

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connect, sooner or later.

        :returns: a Deferred of the protocol. It fails as the last attempt did; cancelling it ends
            the current one.
        """
        return _Trying(self, protocolFactory, self._backoff()).start()


class _Trying:
    """One `connect`."""

    def __init__(self, retrying: RetryingEndpoint, factory: Any, backoff: Backoff) -> None:
        self._retrying = retrying
        self._clock = retrying.clock
        self._factory = factory
        self._backoff = backoff
        self._isOver = False
        self._attempt: Deferred[Any] | None = None
        self._timer: Any = None
        self._deadline: Any = None
        self._last: Failure | None = None
        self._result: Deferred[Any] = Deferred(lambda _: self._fail(Failure(CancelledError())))

    def start(self) -> Deferred[Any]:
        if self._retrying.patience is not None:
            self._deadline = self._clock.callLater(self._retrying.patience, self._tooLate)
        self._try()
        return self._result

    def _try(self) -> None:
        self._timer = None
        self._attempt = maybeDeferred(self._retrying.endpoint.connect, self._factory)
        self._attempt.addCallbacks(self._connected, self._failed)

    def _connected(self, protocol: Any) -> None:
        self._end()
        self._retrying.hasWorked = True
        self._retrying.reports.over()
        self._result.callback(protocol)

    def _failed(self, failure: Failure) -> None:
        if self._isOver:
            return
        self._attempt = None
        self._last = failure
        problem = failure.value
        if isinstance(problem, TunnelError):
            words, mayPass = str(problem), problem.isTransient
        else:
            words, mayPass = oneLine(repr(problem)), False
        if not (mayPass or self._retrying.hasWorked):
            self._fail(failure)
            return
        delay = self._backoff.next()
        if self._deadline is not None and self._clock.seconds() + delay > self._deadline.getTime():
            self._fail(failure)
            return
        self._timer = self._clock.callLater(delay, self._try)
        self._retrying.reports.trouble(words, delay)

    def _tooLate(self) -> None:
        late = TunnelError(f"no connection within {self._retrying.patience:g} s", isTransient=True)
        self._fail(self._last or Failure(late))

    def _fail(self, failure: Failure) -> None:
        self._end()
        if self._attempt is not None:
            self._attempt.cancel()
        self._result.errback(failure)

    def _end(self) -> None:
        self._isOver = True
        for timer in (self._timer, self._deadline):
            if timer is not None and timer.active():
                timer.cancel()
