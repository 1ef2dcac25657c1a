"""Who takes which message of a worker."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.limits import Bounds, Gate
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.tunnelproxy.counts import SourceCounts
from nymearemoteproxy.workers.figuring import FiguresDesk, FiguresSum
from nymearemoteproxy.workers.group import MEMBER
from nymearemoteproxy.workers.groupcounts import CountsDesk
from nymearemoteproxy.workers.logpassing import LOG, LOST
from nymearemoteproxy.workers.mirror import Mirror
from nymearemoteproxy.workers.parentdirectory import DirectoryDesk
from nymearemoteproxy.workers.placetable import PlaceTable
from nymearemoteproxy.workers.process import ALIVE, LEAVES, SERVES


class KindTests(SynchronousTestCase):
    """The kinds of messages."""

    def test_oneMeaning(self) -> None:
        """None has two, whoever takes it."""
        clock = Clock()
        turns = Turns(clock)
        registry = Registry(clock, turns, Gate(clock, Bounds()))
        sent: list[Any] = []
        desks = (
            Mirror(registry, turns, 1, sent.append),
            DirectoryDesk(PlaceTable(), sent.append),
            CountsDesk(SourceCounts(), sent.append),
            FiguresDesk(FiguresSum()),
        )
        kinds = [ALIVE, LEAVES, LOG, LOST, MEMBER, SERVES]
        for desk in desks:
            kinds += desk.handlers
        self.assertEqual(sorted(kinds), sorted(set(kinds)))
