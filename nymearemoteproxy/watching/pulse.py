"""Once a second: what goes on, and how fast.

Owns the one timer of all that watches the server, so that the connections are counted once for all
of them, and without holding up anybody. Knows nothing of who watches, or why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.common.periodic import Periodic
from nymearemoteproxy.connections.counters import Counters
from nymearemoteproxy.connections.observers import Observers
from nymearemoteproxy.connections.records import Load

INTERVAL = 1.0
"""Seconds: what clients of the monitor socket expect, and live views need."""


@dataclass(frozen=True)
class Reading:
    """One beat of the pulse.

    :ivar time: the moment when it began to be taken.
    :ivar throughput: bytes per second that clients of token tunnels sent since the last beat.
    :ivar tunnelProxyThroughput: the same for servers and clients of the tunnel proxy.
    :ivar delay: seconds by which the beat came late, since the reactor was busy.
    """

    time: float
    load: Load
    throughput: float
    tunnelProxyThroughput: float
    delay: float


class Pulse:
    """Takes readings, as long as anybody wants them.

    :ivar listeners: called with every reading; what they raise is logged.
    :ivar latest: the last reading; the first is taken at the start.
    """

    def __init__(self, clock: IReactorTime, counters: Counters) -> None:
        self.listeners: Observers[Callable[[Reading], object]] = Observers()
        self._clock = clock
        self._counters = counters
        self._beats = Periodic(clock, INTERVAL, self._beat, "the connections are not counted")
        self.latest = Reading(clock.seconds(), counters.load(), 0.0, 0.0, 0.0)

    def start(self) -> None:
        """Begin, if there is anybody who listens."""
        if self.listeners:
            self._beats.start()

    def stop(self) -> None:
        """Take no more readings."""
        self._beats.stop()

    def _beat(self) -> Deferred[None]:
        return self._counters.count().addCallback(
            self._read, self._clock.seconds(), self._beats.delay
        )

    def _read(self, load: Load, time: float, delay: float) -> None:
        if not self._beats.running:
            return  # it was stopped meanwhile
        last = self.latest
        totals, before = load.totals, last.load.totals
        elapsed = time - last.time
        self.latest = reading = Reading(
            time=time,
            load=load,
            throughput=max(0, totals.traffic - before.traffic) / elapsed,
            tunnelProxyThroughput=max(0, totals.tunnelProxyTraffic - before.tunnelProxyTraffic)
            / elapsed,
            delay=delay,
        )
        self.listeners.tell(lambda listener: listener(reading))
