"""Whether a proxy is still there.

Owns when it is asked, and when its silence means that it is gone. Knows nothing of what is sent to
ask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

HEARTBEAT_INTERVAL = 30.0
"""Seconds. A proxy takes a server that says nothing for 60 s for dead, and so do many reverse
proxies and NAT routers with any connection."""


class Heartbeat:
    """Asks at every interval, and reports a proxy that said nothing at all since the last time.

    :param clock: measures the interval.
    :param ask: sends something that the proxy answers.
    :param dead: called once, when the proxy counts as dead.
    """

    def __init__(self, clock: Any, ask: Callable[[], object], dead: Callable[[], object]) -> None:
        self._clock = clock
        self._ask = ask
        self._dead = dead
        self._hasHeard = False
        self._holds: set[str] = set()
        self._timer: Any = None

    def start(self) -> None:
        """Ask for the first time after one interval, and from then on at every one."""
        self._hasHeard = True
        self._wait()

    def stop(self) -> None:
        """Ask and report no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def heard(self) -> None:
        """The proxy said something."""
        self._hasHeard = True

    def hold(self, why: str) -> None:
        """Until `release` silence means nothing: the proxy is not heard, or cannot hear us."""
        self._holds.add(why)

    def release(self, why: str) -> None:
        """What `hold` said is over; the answer may still be on its way."""
        self._holds.discard(why)
        self._hasHeard = True

    def _due(self) -> None:
        self._timer = None
        if self._hasHeard or self._holds:
            self._hasHeard = False
            self._wait()
            self._ask()
        else:
            self._dead()

    def _wait(self) -> None:
        self._timer = self._clock.callLater(HEARTBEAT_INTERVAL, self._due)
