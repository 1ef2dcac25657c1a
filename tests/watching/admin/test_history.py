"""The last hour."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.connections.records import Load, Totals
from nymearemoteproxy.protocol.outcomes import Group, Outcome
from nymearemoteproxy.watching.admin import history
from nymearemoteproxy.watching.admin.history import COLUMNS, INTERVAL, History, Point, Whole
from nymearemoteproxy.watching.pulse import Reading
from tests.support.admin import NOW

EMPTY = Point(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


class HistoryTests(SynchronousTestCase):
    """The last hour."""

    def setUp(self) -> None:
        self.outcomes: Counter[Outcome] = Counter({Outcome.CLIENT_LEFT: 1000})
        self.worst = 0.0
        self.history = History(self.outcomes, lambda: self.worst)
        self.time = NOW

    def beat(self, times: int = 1, throughput: float = 0, **counts: int) -> None:
        """Let the pulse beat."""
        for _time in range(times):
            self.time += 1
            load = Load(Totals(), connections=Counter({("TCP", "tunneled"): 2}), **counts)
            self.history.add(Reading(self.time, load, throughput, 2 * throughput, 0))

    def points(self, since: float = 0) -> list[dict[str, Any]]:
        return [dict(zip(COLUMNS, point, strict=True)) for point in self.history.since(since)]

    def test_onePoint(self) -> None:
        """Rates are averages, numbers are those at the end, delays the worst."""
        self.beat(4, throughput=100, tunnels=1)
        self.assertEqual(self.points(), [])
        self.outcomes[Outcome.CLIENT_LEFT] += 2
        self.outcomes[Outcome.PING_TIMEOUT] += 1
        self.outcomes[Outcome.TOKEN_REFUSED] += 4
        self.outcomes[Outcome.INTERNAL_ERROR] += 3
        self.worst = 0.123456
        self.beat(throughput=200, tunnels=3, servers=4, clients=5)
        self.assertEqual(
            self.points(),
            [
                {
                    "time": NOW + 5,
                    "connections": 2,
                    "tunnels": 3,
                    "servers": 4,
                    "clients": 5,
                    "throughput": 120,
                    "tunnelProxyThroughput": 240,
                    "delay": 0.1235,
                    "orderly": 2,
                    "lost": 1,
                    "failed": 3,
                    "refused": 4,
                }
            ],
        )

    def test_since(self) -> None:
        self.beat(25)
        times = [point["time"] - NOW for point in self.points()]
        self.assertEqual(times, [5, 10, 15, 20, 25])
        self.assertEqual(len(self.points(NOW + 15)), 2)
        self.assertEqual(self.points(NOW + 25), [])

    def test_anHour(self) -> None:
        """It forgets what is older, also of the outcomes."""
        self.outcomes[Outcome.PING_TIMEOUT] += 7
        self.beat(5)
        self.assertEqual(self.history.lastHour[Outcome.PING_TIMEOUT], 7)
        self.outcomes[Outcome.PING_TIMEOUT] += 2
        self.beat(3595)
        self.assertEqual(len(self.points()), 720)
        self.assertEqual(self.history.lastHour[Outcome.PING_TIMEOUT], 9)
        self.beat(5)
        self.assertEqual(len(self.points()), 720)
        self.assertEqual(self.points()[0]["time"], NOW + 10)
        self.assertEqual(self.history.lastHour[Outcome.PING_TIMEOUT], 2)
        self.assertEqual(len(self.history._ended), 720)

    def test_busyServer(self) -> None:
        """When the pulse is late, a point stands for fewer beats."""
        for _time in range(4):
            self.time += 5
            self.beat()
        self.assertEqual(len(self.points()), 3)

    def test_groups(self) -> None:
        """The points have a column for each group of outcomes."""
        self.assertLessEqual({group.value for group in Group}, set(COLUMNS))

    def test_isSmall(self) -> None:
        """An hour in which everything happens all the time."""
        for _time in range(721):
            for outcome in Outcome:
                self.outcomes[outcome] += 1
            self.beat(5, throughput=1e9)
        size = len(json.dumps(self.history.since(0)))
        self.assertLess(size, 120_000)
        self.assertEqual(INTERVAL * history.POINTS, 3600)


class WholeTests(SynchronousTestCase):
    """All since the start."""

    def setUp(self) -> None:
        self.whole = Whole()
        self.count = 0

    def add(self, number: int, **values: float) -> None:
        """Let so many intervals of the hour pass."""
        for _interval in range(number):
            self.count += 1
            self.whole.add(EMPTY._replace(time=self.count * INTERVAL, orderly=1, **values))

    def test_young(self) -> None:
        """At first there is all of it."""
        self.add(719, connections=3)
        self.assertEqual((self.whole.interval, len(self.whole.since(0))), (5, 719))
        self.assertEqual(
            self.whole.since(3590), [EMPTY._replace(time=3595, orderly=1, connections=3)]
        )

    def test_longer(self) -> None:
        """Then intervals become longer, and nothing that ended is lost or counted twice."""
        for days in (0.04, 0.2, 1, 4):
            self.add(int(days * 17_280) - self.count)
            points = self.whole.since(0)
            self.assertLess(len(points), history.POINTS)
            self.assertGreater(len(points), history.POINTS // 7)
            parts = self.whole.interval / INTERVAL
            self.assertEqual({point.orderly for point in points}, {parts})
            self.assertEqual(points[0].time, self.whole.interval)
            self.assertGreaterEqual(points[-1].time, (self.count - parts) * INTERVAL)

    def test_shared(self) -> None:
        """What several intervals were: the mean of rates, the most of all else."""
        self.add(720)
        self.add(1, throughput=100, connections=2, delay=0.5)
        self.assertEqual(self.whole.since(3600), [])
        self.add(1, throughput=101, connections=1)
        self.add(1, throughput=105, tunnelProxyThroughput=3)
        (point,) = self.whole.since(3600)
        self.assertEqual((point.throughput, point.tunnelProxyThroughput), (102, 1))
        self.assertEqual((point.connections, point.delay), (2, 0.5))

    def test_veryOld(self) -> None:
        """In the end the first days are forgotten."""
        self.patch(history, "LENGTHS", (1, 3))
        self.whole = Whole()
        self.add(3 * 1000)
        points = self.whole.since(0)
        self.assertEqual(len(points), history.POINTS - 1)
        self.assertEqual(points[-1].time, 3 * 1000 * INTERVAL)
