"""What the server writes down about what it did: tunnels, statistics, lifetime totals.

Owns when something is written, and to which files. Knows nothing of what is in the lines.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from nymearemoteproxy.accounting.entries import EndedTunnel, Interval
from nymearemoteproxy.accounting.lifetime import Lifetime
from nymearemoteproxy.accounting.linefile import LineFile, Run, runAtOnce
from nymearemoteproxy.common.clocks import Calendar
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.paths import logsDirectory, stateDirectory
from nymearemoteproxy.common.periodic import Periodic
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.connections.counters import Counters
from nymearemoteproxy.connections.observers import IObserver
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import Load, Record
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.watching.pulse import Pulse, Reading

log = ProxyLogger()

TUNNELS_TEXT = "nymea-remoteproxy-tunnels.log"
STATISTICS_TEXT = "nymea-remoteproxy-statistics.log"
"""The C++ server's files."""

TOTALS = "totals.json"

SHORTEST = 0.001
"""Seconds of an interval, which rates are divided by, even if the server ends as it begins."""

TUNNELS_A_TURN = 50
"""Tunnels that are written about in one turn of the reactor: below a millisecond."""

TunnelFormat = Callable[[EndedTunnel, Privacy], str | None]
IntervalFormat = Callable[[Interval], str]


@implementer(IObserver)
class TunnelLog:
    """Writes a line about every tunnel that ended, soon.

    :param format: returns the line; None to leave it out.
    """

    def __init__(
        self, proxy: Proxy, calendar: Calendar, file: LineFile, format: TunnelFormat
    ) -> None:
        self._proxy = proxy
        self._calendar = calendar
        self._file = file
        self._format = format
        self._ended: deque[EndedTunnel] = deque()
        self._isWriting = False

    def authenticated(self, seconds: float) -> None:
        """Of no interest here."""

    def tunnelEnded(self, first: Record, second: Record | None) -> None:
        now = self._proxy.clock.seconds()
        self._ended.append(EndedTunnel.of(now, first, second, self._calendar.epoch))
        if not self._isWriting:
            self._isWriting = True
            self._proxy.turns.run(self._writing())

    def _writing(self) -> Generator[None, None, None]:
        # Thousands end at once when the network is cut somewhere.
        while self._ended:
            self._write(TUNNELS_A_TURN)
            yield
        self._isWriting = False

    def _write(self, most: int) -> None:
        for _ in range(min(len(self._ended), most)):
            tunnel = self._ended.popleft()
            try:
                line = self._format(tunnel, self._proxy.registry.privacy)
                if line is not None:
                    self._file.write(line)
            except Exception:
                log.failure("the end of a tunnel cannot be written down")

    def stop(self) -> None:
        """Write those that wait."""
        self._write(len(self._ended))


class StatisticsLog:
    """Writes lines about every interval, at its end; the last one is as long as it gets.

    :param interval: seconds.
    """

    def __init__(
        self, clock: IReactorTime, counters: Counters, calendar: Calendar, interval: float
    ) -> None:
        self._clock = clock
        self._calendar = calendar
        self._counters = counters
        self._outputs: list[tuple[LineFile, IntervalFormat]] = []
        self._delay = 0.0
        self._ends = Periodic(
            clock, interval, self._end, "statistics are not written", onTheGrid=True
        )

    def add(self, file: LineFile, format: IntervalFormat) -> None:
        """Write to this file, too."""
        self._outputs.append((file, format))

    def start(self, pulse: Pulse) -> None:
        """The first interval begins."""
        pulse.listeners.append(self._noteDelay)
        self._began = self._clock.seconds()
        self._before = self._counters.load()  # nobody is here yet
        self._outcomes = self._counters.outcomes.copy()
        self._ends.start()

    def stop(self) -> None:
        """End the last interval."""
        if self._ends.running:
            self._ends.stop()
            counters = self._counters
            self._write(self._clock.seconds(), counters.load(), counters.outcomes)

    def _noteDelay(self, reading: Reading) -> None:
        self._delay = max(self._delay, reading.delay)

    def _end(self) -> Deferred[None]:
        now, outcomes = self._clock.seconds(), self._counters.outcomes.copy()

        def counted(load: Load) -> None:
            if self._ends.running:
                self._write(now, load, outcomes)

        return self._counters.count().addCallback(counted)

    def _write(self, now: float, load: Load, outcomes: Counter[Outcome]) -> None:
        interval = Interval(
            time=now + self._calendar.epoch,
            seconds=max(SHORTEST, now - self._began),
            before=self._before,
            load=load,
            outcomes=outcomes - self._outcomes,
            delay=self._delay,
        )
        self._began, self._before, self._outcomes = now, load, outcomes
        self._delay = 0.0
        for file, format in self._outputs:
            file.write(format(interval))


class AccountingError(Exception):
    """A file cannot be written; the text is one line for the operator."""


@dataclass(frozen=True)
class Books:
    """What is to be written down, and in which files.

    :ivar tunnelLog: path of the lines about tunnels; empty = there are none.
    :ivar statisticsLog: path of the lines about intervals; empty = there are none.
    :ivar interval: of the statistics, in seconds.
    :ivar isText: the C++ server's two files are written, too.
    :ivar textDirectory: where these are; empty = where log files are.
    :ivar totalsFile: path of the lifetime totals; empty = in the state directory.
    """

    tunnelLog: str = ""
    statisticsLog: str = ""
    interval: float = 60.0
    isText: bool = False
    textDirectory: str = ""
    totalsFile: str = ""


class Bookkeeping:
    """All that is written down.

    :param makeRun: returns what has a file written.
    :param proxy: goes on counting where the last one stopped.
    :raises AccountingError: a file that is named cannot be written.
    """

    def __init__(
        self,
        clock: IReactorTime,
        books: Books,
        proxy: Proxy,
        calendar: Calendar,
        makeRun: Callable[[], Run] = lambda: runAtOnce,
    ) -> None:
        self._clock = clock
        self._makeRun = makeRun
        self._calendar = calendar
        self._books = books
        self._proxy = proxy
        self._files: list[LineFile] = []
        self._tunnels: list[TunnelLog] = []
        self._statistics: StatisticsLog | None = None
        self._lifetime: Lifetime | None = None
        if books.tunnelLog:
            self._logTunnels(self._named("tunnel log", books.tunnelLog), EndedTunnel.asJson)
        if books.statisticsLog:
            statistics = self._named("statistics log", books.statisticsLog)
            self._logStatistics(statistics, Interval.asJson)
        if books.isText:
            self._logAsText()
        self._keepTotals()

    def start(self, pulse: Pulse) -> None:
        """The reactor runs.

        :param pulse: is listened to when there are statistics; to be started after this.
        """
        if self._statistics is not None:
            self._statistics.start(pulse)
        if self._lifetime is not None:
            self._lifetime.start()

    @inlineCallbacks
    def stop(self) -> Any:
        """All connections are closed: write what is left to write."""
        steps: list[Callable[[], object]] = [each.stop for each in self._tunnels]
        if self._statistics is not None:
            steps.append(self._statistics.stop)
        steps.append(self._closeFiles)
        if self._lifetime is not None:
            steps.append(self._lifetime.stop)
        for step in steps:
            try:
                yield step()
            except Exception:
                log.failure("not everything could be written at the end")

    def _closeFiles(self) -> Deferred[Any]:
        """Close them side by side: none waits for another one's disk."""
        closed = [maybeDeferred(file.close) for file in self._files]
        return gatherResults(closed, consumeErrors=True)

    def reopen(self) -> None:
        """The files were renamed: go on with new ones."""
        for file in self._files:
            file.reopen()

    def _named(self, what: str, path: str) -> LineFile:
        """Open a file that the operator asked for."""
        file = LineFile(self._clock, path, self._makeRun())
        try:
            file.open()
        except OSError as error:
            raise AccountingError(f"cannot write the {what} {path}: {error.strerror}") from None
        self._files.append(file)
        return file

    def _logAsText(self) -> None:
        """Write the files of the C++ server, whose settings must not keep ours from starting."""
        directory = self._books.textDirectory or logsDirectory()
        tunnels, statistics = (
            LineFile(self._clock, os.path.join(directory, name), self._makeRun())
            for name in (TUNNELS_TEXT, STATISTICS_TEXT)
        )
        try:
            tunnels.open()
            statistics.open()
        except OSError as error:
            tunnels.close()
            log.warn(
                "logEngineEnabled has no effect, {directory} cannot be written: {reason}",
                directory=directory,
                reason=error.strerror,
            )
            return
        self._files += (tunnels, statistics)
        self._logTunnels(tunnels, EndedTunnel.asText)
        self._logStatistics(statistics, Interval.asText)

    def _logTunnels(self, file: LineFile, format: TunnelFormat) -> None:
        tunnels = TunnelLog(self._proxy, self._calendar, file, format)
        self._tunnels.append(tunnels)
        self._proxy.registry.observers.append(tunnels)

    def _logStatistics(self, file: LineFile, format: IntervalFormat) -> None:
        if self._statistics is None:
            self._statistics = StatisticsLog(
                self._clock, self._proxy.registry.counters, self._calendar, self._books.interval
            )
        self._statistics.add(file, format)

    def _keepTotals(self) -> None:
        path = self._books.totalsFile
        if not path:
            try:
                path = str(stateDirectory() / TOTALS)
            except RuntimeError:  # the user has no home, as in a container
                log.warn("there is no state directory, so the lifetime totals begin at 0")
                return
        self._lifetime = Lifetime(self._clock, self._proxy.registry.counters, path, self._makeRun())
