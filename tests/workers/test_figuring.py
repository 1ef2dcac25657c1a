"""What workers show of themselves, as their parent has it."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.figures import Figures
from nymearemoteproxy.workers.figuring import FiguresDesk, FiguresReporter, FiguresSum
from nymearemoteproxy.workers.reporting import REPORT_INTERVAL
from tests.support.mirrored import Wire


class FiguringTests(SynchronousTestCase):
    """Two workers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.total = FiguresSum()
        self.figures = [Figures(members=1), Figures(members=1)]
        self.wires, self.desks, self.reporters = [], [], []
        for number in range(2):
            self.join(number)

    def join(self, number: int) -> None:
        """A worker begins."""
        wire, desk = Wire(), FiguresDesk(self.total)
        wire.handlers.update(desk.handlers)
        reporter = FiguresReporter(self.clock, lambda: self.figures[number], wire.send)
        self.wires.append(wire)
        self.desks.append(desk)
        self.reporters.append(reporter)
        reporter.start()

    def test_sum(self) -> None:
        self.figures[0] = Figures(members=1, held=2, losses=1)
        self.figures[1] = Figures(members=1, held=3, losses=5)
        self.clock.advance(REPORT_INTERVAL)
        self.assertEqual(self.total.now, Figures(members=2, held=5, losses=6))

    def test_onlyWhatChanges(self) -> None:
        """A worker in which nothing happens has nothing to say."""
        self.clock.pump([REPORT_INTERVAL] * 20)
        self.assertEqual([len(wire.kinds) for wire in self.wires], [1, 1])
        self.figures[0] = replace(self.figures[0], held=1)
        self.clock.pump([REPORT_INTERVAL] * 20)
        self.assertEqual([len(wire.kinds) for wire in self.wires], [2, 1])

    def test_gone(self) -> None:
        """What it held is no more, what it counted stays, and the next one begins with nothing."""
        self.figures[0] = Figures(members=1, unanswered=1, held=7, claimSeconds=0.5, cuts=3)
        self.clock.advance(REPORT_INTERVAL)
        self.desks[0].lost()
        self.assertEqual(self.total.now, Figures(members=1, claimSeconds=0.5, cuts=3))
        self.reporters[0].stop()
        self.figures.append(Figures(members=1, held=1, cuts=1))
        self.join(2)
        self.assertEqual(self.total.now, Figures(members=2, held=1, claimSeconds=0.5, cuts=4))

    def test_lastWords(self) -> None:
        """What happens while it leaves is told, too."""
        self.figures[0] = replace(self.figures[0], cuts=1)
        self.reporters[0].stop()
        self.assertEqual(self.total.now.cuts, 1)
        self.figures[0] = replace(self.figures[0], cuts=2)
        self.clock.pump([REPORT_INTERVAL] * 3)
        self.assertEqual(self.total.now.cuts, 1)
