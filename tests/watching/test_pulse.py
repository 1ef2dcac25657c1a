"""The readings that are taken once a second."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.connections.records import Load, Totals
from nymearemoteproxy.watching.pulse import INTERVAL, Pulse, Reading


class FakeCounts:
    """Has carried something."""

    def __init__(self) -> None:
        self.totals = Totals()

    def load(self) -> Load:
        """What `Counters` does."""
        return Load(replace(self.totals))

    def count(self) -> Deferred[Load]:
        """Likewise."""
        return succeed(self.load())


class PulseTests(SynchronousTestCase):
    """With one listener."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.counters: Any = FakeCounts()
        self.pulse = Pulse(self.clock, self.counters)
        self.readings: list[Reading] = []
        self.pulse.listeners.append(self.readings.append)

    def beat(self, late: float = 0.0) -> Reading:
        """Let the next beat come; return what was read."""
        had = len(self.readings)
        self.clock.advance(INTERVAL + late)
        self.assertEqual(len(self.readings), had + 1)
        self.assertIs(self.readings[-1], self.pulse.latest)
        return self.readings[-1]

    def test_first(self) -> None:
        """There is one from the beginning."""
        self.assertEqual(self.pulse.latest, Reading(1000.0, Load(Totals()), 0.0, 0.0, 0.0))

    def test_nobodyListens(self) -> None:
        """Then nothing is done."""
        self.pulse.listeners.clear()
        self.pulse.start()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pulse.stop()

    def test_rates(self) -> None:
        """Bytes per second since the last one, apart for the tunnel proxy."""
        self.counters.totals = Totals(traffic=50_000, tunnelProxyTraffic=1)
        self.pulse.start()
        reading = self.beat()
        self.assertEqual((reading.throughput, reading.tunnelProxyThroughput), (50_000.0, 1.0))
        self.assertEqual((reading.time, reading.delay), (1001.0, 0.0))
        reading = self.beat()
        self.assertEqual((reading.throughput, reading.tunnelProxyThroughput), (0.0, 0.0))
        self.counters.totals = Totals(traffic=50_000, tunnelProxyTraffic=3001, clients=7)
        reading = self.beat(late=0.5)
        self.assertEqual((reading.throughput, reading.tunnelProxyThroughput), (0.0, 2000.0))
        self.assertEqual((reading.load.totals.clients, reading.delay), (7, 0.5))
        self.assertEqual(self.beat().delay, 0.0)

    def test_neverNegative(self) -> None:
        """Whatever the counts do."""
        self.counters.totals = Totals(traffic=500)
        self.pulse.start()
        self.beat()
        self.counters.totals = Totals(traffic=100, tunnelProxyTraffic=400)
        reading = self.beat()
        self.assertEqual((reading.throughput, reading.tunnelProxyThroughput), (0.0, 400.0))
        self.counters.totals = Totals()
        self.assertEqual(self.beat().tunnelProxyThroughput, 0.0)

    def test_failing(self) -> None:
        """Who fails is logged, every time, and harms nobody else."""
        self.pulse.listeners.insert(0, lambda _reading: 1 // 0)
        self.pulse.start()
        self.beat()
        self.beat()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_stop(self) -> None:
        """Also while a reading is told, and again."""
        self.pulse.start()
        self.beat()
        self.pulse.listeners.append(lambda _reading: self.pulse.stop())
        self.beat()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pulse.stop()

    def test_stopWhileCounting(self) -> None:
        """What is counted is told nobody."""
        counting: Deferred[Load] = Deferred()
        self.patch(self.counters, "count", lambda: counting)
        self.pulse.start()
        self.clock.advance(INTERVAL)
        self.pulse.stop()
        counting.callback(Load(Totals()))
        self.assertEqual(self.readings, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
