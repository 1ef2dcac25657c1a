"""Visitors who come to another member than their home did: the tests of one, again."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone

from tests.support.clusters import InCluster
from tests.support.fronts import NAMED, AtTheFront
from tests.support.hellos import helloTo
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


class DirectoryTests(Settling, InCluster, AtTheFront):
    """What the directory has to do with a visit."""

    def test_noPlace(self) -> None:
        """It is asked for the home; no place is claimed for a uuid that is made for one visit."""
        home, told = self.register(), []
        for what in "claim", "replace", "release":
            do = getattr(self.world.table, what)

            def note(*details: Any, what: str = what, do: Any = do) -> Any:
                told.append(what)
                return do(*details)

            self.patch(self.world.table, what, note)
        for _ in range(2):  # at the other member, and at the home's own
            visitor = self.visit(helloTo(NAMED))
            self.assertEqual([what for what, _client in home.told()], ["ClientConnected"])
            visitor.lose(ConnectionDone())
            self.settle()
            self.assertEqual([what for what, _client in home.told()], ["ClientDisconnected"])
        self.assertEqual(told, [])
