"""Visitors who come to another member than their home did: the tests of one, again."""

from __future__ import annotations

from tests.support.clusters import InCluster
from tests.support.fronts import AtTheFront
from tests.support.memorylinks import Network
from tests.support.remote import again
from tests.watching import test_visitors
from tests.wires import test_front, test_fronthttp


class Settling:
    """What is under way arrives, over links, too."""

    network: Network

    def settle(self) -> None:
        self.network.run()


ALONE = dict.fromkeys(["AskingTests", "FaultTests", "HttpAskingTests", "HttpPressureTests"])
"""These have a switchboard of their own, or are about one connection."""

for tests in test_front, test_fronthttp:
    again(globals(), tests, AtTheFront, Settling, InCluster, others=ALONE)
again(globals(), test_visitors, test_visitors.CountedTests, Settling, InCluster)
