"""What the members of a group show of themselves: each worker tells its parent, which adds it up.

Owns when something is told, and what becomes of it when a worker is gone. Knows nothing of what the
figures mean.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSet
from typing import Any

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.cluster.figures import Figures, readFigures
from nymearemoteproxy.common.periodic import Periodic
from nymearemoteproxy.workers.reporting import REPORT_INTERVAL, Handlers, Send

FIGURES = "figures"
"""Message of a worker: what it shows of itself now."""


class FiguresReporter:
    """A worker's: tells once a second what has changed.

    :param read: returns its figures.
    :param send: sends a message to the parent.
    """

    def __init__(self, clock: IReactorTime, read: Callable[[], Figures], send: Send) -> None:
        self._read = read
        self._send = send
        self._told = Figures()
        self._reports = Periodic(
            clock, REPORT_INTERVAL, self._report, "what goes on between workers is not reported"
        )

    def start(self) -> None:
        """Tell it now, and from now on."""
        self._report()
        self._reports.start()

    def stop(self) -> None:
        """Tell what has changed since, and no more."""
        self._reports.stop()
        self._report()

    def _report(self) -> None:
        figures = self._read()
        if figures != self._told:
            self._told = figures
            self._send((FIGURES, figures.write()))


class FiguresSum:
    """The parent's: the figures of all workers.

    What one that is gone has counted stays in it.
    """

    def __init__(self) -> None:
        self._past = Figures()
        self._desks: MutableSet[FiguresDesk] = set()

    @property
    def now(self) -> Figures:
        """The sum."""
        return sum((desk.figures for desk in self._desks), self._past)

    def add(self, desk: FiguresDesk) -> None:
        """There is one more worker."""
        self._desks.add(desk)

    def remove(self, desk: FiguresDesk) -> None:
        """A worker is gone."""
        self._desks.remove(desk)
        self._past += desk.figures.past


class FiguresDesk:
    """The parent's, for one worker.

    :param total: of all of them.
    :ivar figures: the last ones.
    :ivar handlers: take its messages.
    """

    def __init__(self, total: FiguresSum) -> None:
        self.figures = Figures()
        self.handlers: Handlers = {FIGURES: self._figures}
        self._total = total
        total.add(self)

    def lost(self) -> None:
        """The worker is gone."""
        self._total.remove(self)

    def _figures(self, written: dict[str, Any]) -> None:
        self.figures = readFigures(written)
