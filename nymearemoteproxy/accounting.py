"""What the server writes down about what it did: tunnels, statistics, lifetime totals.

Owns when something is written, and to which files. Knows nothing of what is in the lines.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from nymearemoteproxy.clocks import Calendar
from nymearemoteproxy.entries import EndedTunnel, Interval
from nymearemoteproxy.lifetime import Lifetime
from nymearemoteproxy.linefile import LineFile, Run, runAtOnce
from nymearemoteproxy.logs import ProxyLogger, logsDirectory
from nymearemoteproxy.privacy import Privacy
from nymearemoteproxy.proxy import IObserver, Proxy
from nymearemoteproxy.pulse import SHORTEST, Pulse, Reading
from nymearemoteproxy.records import Record
from nymearemoteproxy.settings import Settings, SettingsError
from nymearemoteproxy.tls import stateDirectory

log = ProxyLogger()

TUNNELS_TEXT = "nymea-remoteproxy-tunnels.log"
STATISTICS_TEXT = "nymea-remoteproxy-statistics.log"
"""The C++ server's files."""

TOTALS = "totals.json"

TunnelFormat = Callable[[EndedTunnel, Privacy], str | None]
IntervalFormat = Callable[[Interval], str]


@implementer(IObserver)
class TunnelLog:
    """Writes a line about every tunnel that ended.

    :param format: returns the line; None to leave it out.
    """

    def __init__(
        self, proxy: Proxy, calendar: Calendar, file: LineFile, format: TunnelFormat
    ) -> None:
        self._proxy = proxy
        self._calendar = calendar
        self._file = file
        self._format = format

    def authenticated(self, seconds: float) -> None:
        """Of no interest here."""

    def tunnelEnded(self, first: Record, second: Record | None) -> None:
        now = self._proxy.clock.seconds()
        tunnel = EndedTunnel.of(now, first, second, self._calendar.epoch)
        line = self._format(tunnel, self._proxy.privacy)
        if line is not None:
            self._file.write(line)


class StatisticsLog:
    """Writes lines about every interval, at its end; the last one is as long as it gets.

    :param interval: seconds.
    """

    def __init__(
        self, clock: IReactorTime, proxy: Proxy, calendar: Calendar, interval: float
    ) -> None:
        self._clock = clock
        self._calendar = calendar
        self._proxy = proxy
        self._interval = interval
        self._outputs: list[tuple[LineFile, IntervalFormat]] = []
        self._delay = 0.0
        self._loop = LoopingCall(self._write)
        self._loop.clock = clock

    def add(self, file: LineFile, format: IntervalFormat) -> None:
        """Write to this file, too."""
        self._outputs.append((file, format))

    def start(self, pulse: Pulse) -> None:
        """The first interval begins."""
        pulse.listeners.append(self._noteDelay)
        self._remember()
        self._loop.start(self._interval, now=False).addErrback(
            lambda failure: log.failure("statistics are no longer written", failure)
        )

    def stop(self) -> None:
        """End the last interval."""
        if self._loop.running:
            self._loop.stop()
            self._write()

    def _remember(self) -> None:
        self._began = self._clock.seconds()
        self._before = self._proxy.load()
        self._outcomes = self._proxy.outcomes.copy()

    def _noteDelay(self, reading: Reading) -> None:
        self._delay = max(self._delay, reading.delay)

    def _write(self) -> None:
        before, outcomes, began = self._before, self._outcomes, self._began
        self._remember()
        interval = Interval(
            time=self._began + self._calendar.epoch,
            seconds=max(SHORTEST, self._began - began),
            before=before,
            load=self._before,
            outcomes=self._outcomes - outcomes,
            delay=self._delay,
        )
        self._delay = 0.0
        for file, format in self._outputs:
            file.write(format(interval))


class Accounting:
    """All that the settings ask for.

    :param makeRun: returns what has a file written.
    :param proxy: goes on counting where the last one stopped.
    :raises SettingsError: a file that the settings name cannot be written.
    """

    def __init__(
        self,
        clock: IReactorTime,
        settings: Settings,
        proxy: Proxy,
        calendar: Calendar,
        makeRun: Callable[[], Run] = lambda: runAtOnce,
    ) -> None:
        self._clock = clock
        self._makeRun = makeRun
        self._calendar = calendar
        self._settings = settings
        self._proxy = proxy
        self._files: list[LineFile] = []
        self._statistics: StatisticsLog | None = None
        self._lifetime: Lifetime | None = None
        if path := settings["Accounting.tunnelLog"]:
            self._logTunnels(self._named("tunnel log", path), EndedTunnel.asJson)
        if path := settings["Accounting.statisticsLog"]:
            self._logStatistics(self._named("statistics log", path), Interval.asJson)
        if settings["ProxyServer.logEngineEnabled"]:
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
        if self._statistics is not None:
            self._statistics.stop()
        yield gatherResults([file.close() for file in self._files])
        if self._lifetime is not None:
            yield self._lifetime.stop()

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
            raise SettingsError(f"cannot write the {what} {path}: {error.strerror}") from None
        self._files.append(file)
        return file

    def _logAsText(self) -> None:
        """Write the files of the C++ server, whose settings must not keep ours from starting."""
        directory = self._settings["Accounting.textDirectory"] or logsDirectory()
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
        self._proxy.observers.append(TunnelLog(self._proxy, self._calendar, file, format))

    def _logStatistics(self, file: LineFile, format: IntervalFormat) -> None:
        if self._statistics is None:
            self._statistics = StatisticsLog(
                self._clock,
                self._proxy,
                self._calendar,
                self._settings.seconds("Accounting.statisticsInterval"),
            )
        self._statistics.add(file, format)

    def _keepTotals(self) -> None:
        path = self._settings["Accounting.totalsFile"]
        if not path:
            try:
                path = str(stateDirectory() / TOTALS)
            except RuntimeError:  # the user has no home, as in a container
                log.warn("there is no state directory, so the lifetime totals begin at 0")
                return
        self._lifetime = Lifetime(self._clock, self._proxy, path)
