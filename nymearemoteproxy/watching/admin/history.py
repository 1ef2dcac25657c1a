"""The last hour, as the status page draws it.

Owns what is remembered of it and for how long. Knows nothing of HTTP or of the page.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from nymearemoteproxy.protocol.outcomes import Group, Outcome
from nymearemoteproxy.watching import pulse
from nymearemoteproxy.watching.pulse import Reading

INTERVAL = 5.0
"""Seconds that one point stands for: a chart of an hour has one for every pixel or two."""

POINTS = 720
"""An hour; about 300 KiB."""

DECIMALS = 1
"""Of a point's time: so many that it stays itself as a Unix time and back."""


class Point(NamedTuple):
    """What was in one interval.

    :ivar time: the moment of its end.
    :ivar throughput: bytes per second from clients of token tunnels, on average.
    :ivar tunnelProxyThroughput: the same for the tunnel proxy.
    :ivar delay: the longest delay of the event loop, in seconds.
    :ivar orderly: how many connections ended so; likewise the others.
    """

    time: float
    connections: int
    tunnels: int
    servers: int
    clients: int
    throughput: float
    tunnelProxyThroughput: float
    delay: float
    orderly: int
    lost: int
    failed: int
    refused: int


COLUMNS = Point._fields


class History:
    """Collects points from the pulse.

    :param outcomes: counts of the process's life.
    :param takeWorst: returns the longest delay of the event loop since it was called last.
    """

    def __init__(self, outcomes: Mapping[Outcome, int], takeWorst: Callable[[], float]) -> None:
        self._outcomes = outcomes
        self._takeWorst = takeWorst
        self._points: deque[Point] = deque(maxlen=POINTS)
        # What ended in each interval; the same number of entries as there are points.
        self._ended: deque[dict[Outcome, int]] = deque()
        self._seen: Counter[Outcome] = Counter(outcomes)
        self._began: float | None = None
        self._readings: list[Reading] = []
        self.lastHour: Counter[Outcome] = Counter()

    def add(self, reading: Reading) -> None:
        """The pulse took a reading."""
        if self._began is None:
            self._began = reading.time - pulse.INTERVAL
        self._readings.append(reading)
        took = reading.time - self._began
        if took > INTERVAL - pulse.INTERVAL / 2:
            self._close(self._readings)
            self._readings = []
            self._began = reading.time

    def _close(self, readings: list[Reading]) -> None:
        load, count = readings[-1].load, len(readings)
        ended = {
            outcome: now - self._seen[outcome]
            for outcome, now in self._outcomes.items()
            if now != self._seen[outcome]
        }
        self._seen = Counter(self._outcomes)
        groups: Counter[Group] = Counter()
        for outcome, number in ended.items():
            groups[outcome.group] += number
        self._points.append(
            Point(
                time=round(readings[-1].time, DECIMALS),
                connections=load.connections.total(),
                tunnels=load.tunnels,
                servers=load.servers,
                clients=load.clients,
                throughput=round(sum(each.throughput for each in readings) / count),
                tunnelProxyThroughput=round(
                    sum(each.tunnelProxyThroughput for each in readings) / count
                ),
                delay=round(self._takeWorst(), 4),
                orderly=groups[Group.ORDERLY],
                lost=groups[Group.LOST],
                failed=groups[Group.FAILED],
                refused=groups[Group.REFUSED],
            )
        )
        self._remember(ended)

    def _remember(self, ended: dict[Outcome, int]) -> None:
        self._ended.append(ended)
        self.lastHour.update(ended)
        if len(self._ended) > POINTS:
            self.lastHour.subtract(self._ended.popleft())

    def since(self, time: float) -> list[Point]:
        """Return the points after a moment, the oldest first."""
        newer: list[Point] = []
        for point in reversed(self._points):
            if point.time <= time:
                break
            newer.append(point)
        newer.reverse()
        return newer
