"""The last hour."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.connections.records import Load, Totals
from nymearemoteproxy.protocol.outcomes import Group, Outcome
from nymearemoteproxy.watching.admin import history
from nymearemoteproxy.watching.admin.history import COLUMNS, INTERVAL, History
from nymearemoteproxy.watching.pulse import Reading
from tests.support.admin import NOW


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
