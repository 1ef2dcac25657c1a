"""Visitors who come to another member than their home did: the tests of one, again."""

from __future__ import annotations

from tests.support.clusters import InCluster
from tests.support.fronts import AtTheFront
from tests.support.memorylinks import Network
from tests.support.remote import again
from tests.watching import test_visitors
from tests.wires import test_front


class Settling:
    """What is under way arrives, over links, too."""

    network: Network

    def settle(self) -> None:
        self.network.run()


ALONE = {"AskingTests": None, "FaultTests": None}
"""These have a switchboard of their own, and are about one connection."""

again(globals(), test_front, AtTheFront, Settling, InCluster, others=ALONE)
again(globals(), test_visitors, test_visitors.CountedTests, Settling, InCluster)
