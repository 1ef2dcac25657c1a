"""What was in the last hour, and since the start, as the status page draws it.

Owns what is remembered of it and for how long. Knows nothing of HTTP or of the page.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from nymearemoteproxy.protocol.outcomes import Group, Outcome
from nymearemoteproxy.watching import pulse
from nymearemoteproxy.watching.pulse import Reading

INTERVAL = 5.0
"""Seconds that one point stands for: a chart of an hour has one for every pixel or two."""

POINTS = 720
"""An hour; about 300 KiB."""

LENGTHS = (1, 3, 12, 60, 180, 720, 2880, 17_280)
"""Of intervals since the start, in those of the hour: 5 s, 15 s, 1 min, 5 min, 15 min, 1 h, 4 h, a
day. Each is a multiple of the one before, and the last ones are enough for two years."""

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

MEANS = ("throughput", "tunnelProxyThroughput")
MOST = ("connections", "tunnels", "servers", "clients", "delay")
SUMS = ("orderly", "lost", "failed", "refused")
"""What a longer interval tells of those that it is made of; of its end, the last one."""


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
        self.whole = Whole()

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
        point = Point(
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
        self._points.append(point)
        self.whole.add(point)
        self._remember(ended)

    def _remember(self, ended: dict[Outcome, int]) -> None:
        self._ended.append(ended)
        self.lastHour.update(ended)
        if len(self._ended) > POINTS:
            self.lastHour.subtract(self._ended.popleft())

    def since(self, time: float) -> list[Point]:
        """Return the points of the last hour after a moment, the oldest first."""
        return _after(self._points, time)


class Whole:
    """All the time since the start, in intervals that become longer as it goes by.

    :ivar interval: seconds that one point stands for at the moment.
    """

    def __init__(self) -> None:
        self._points: list[Point] = []
        self._lengths = list(LENGTHS)
        self._begun: Point | None = None
        self._parts = 0

    @property
    def interval(self) -> float:
        return self._lengths[0] * INTERVAL

    def add(self, point: Point) -> None:
        """An interval of the hour is over."""
        self._begun = point if self._begun is None else _together((self._begun, point))
        self._parts += 1
        if self._parts < self._lengths[0]:
            return
        self._points.append(_averaged(self._begun, self._parts))
        self._begun, self._parts = None, 0
        if len(self._points) == POINTS:
            self._lengthen()

    def _lengthen(self) -> None:
        if len(self._lengths) == 1:
            del self._points[0]
            return
        parts = self._lengths[1] // self._lengths[0]
        del self._lengths[0]
        self._points = [
            _averaged(_together(self._points[first : first + parts]), parts)
            for first in range(0, POINTS, parts)
        ]

    def since(self, time: float) -> list[Point]:
        """Return the points after a moment, the oldest first."""
        return _after(self._points, time)


def _together(points: Sequence[Point]) -> Point:
    """Return what was in several intervals; of what is to be a mean, the sum."""
    sums = {name: _sum(points, name) for name in (*MEANS, *SUMS)}
    most = {name: max(getattr(point, name) for point in points) for name in MOST}
    return points[-1]._replace(**sums, **most)


def _averaged(point: Point, parts: int) -> Point:
    """Return what was in so many intervals, with the means instead of the sums of them."""
    return point._replace(**{name: round(getattr(point, name) / parts) for name in MEANS})


def _sum(points: Iterable[Point], name: str) -> int:
    total: int = sum(getattr(point, name) for point in points)
    return total


def _after(points: Sequence[Point], time: float) -> list[Point]:
    newer: list[Point] = []
    for point in reversed(points):
        if point.time <= time:
            break
        newer.append(point)
    newer.reverse()
    return newer
