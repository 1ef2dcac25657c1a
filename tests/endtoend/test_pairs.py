"""Pairs of clients at random members, while members and the Redis fail: all meet."""

from __future__ import annotations

import random
import time

from twisted.internet.threads import blockingCallFromThread

from tests.support.endtoend import inThread, reactor
from tests.support.nodes import ClusterCase, Node
from tests.support.pairs import Outing, Place, Trouble
from tests.support.redis import freePort

SEED = 7


class PairTests(ClusterCase):
    """Three members.

    :cvar count: of pairs.
    :cvar report: of the last run.
    """

    count = 300
    report = ""

    def begin(self) -> Outing:
        """Start all."""
        self.startRedis()
        self.nodes: list[Node] = []
        self.members = [Place(freePort(), freePort()) for _ in range(3)]
        for place in self.members:
            self.nodes.append(self.startAt(place))
        return Outing(self.token, self.members, SEED)

    def startAt(self, place: Place) -> Node:
        """Start a member where it was, or is to be."""
        return self.node(
            *("--set", "ProxyServer.aloneTimeout=10000"),
            places={name: f"tcp:{port}:interface=127.0.0.1" for name, port in place.ports.items()},
        )

    @inThread
    def testPairs(self) -> None:
        """Without faults, all meet at once."""
        outing = self.begin()
        blockingCallFromThread(reactor, outing.walk, self.count)
        type(self).report = outing.report()
        self.assertEqual((outing.unmet, outing.atOnce), ([], self.count), outing.report())

    @inThread
    def testFaults(self) -> None:
        """All meet; whoever has to come again was told why, or its own member was killed."""
        outing = self.begin()
        trouble = Trouble([self.kill, self.freeze, self.restartRedis, self.freezeRedis], SEED)
        trouble.start()
        try:
            blockingCallFromThread(reactor, outing.walk, self.count)
        finally:
            type(self).report = f"{outing.report()}\nFaults: {dict(trouble.done)}"
            trouble.stop()
        self.assertEqual(outing.unmet, [], self.report)
        for never in ("A STRANGER'S BYTES", "in a tunnel: end", "in a tunnel: silence"):
            self.assertEqual(outing.reasons[never], 0, self.report)

    def kill(self) -> str:
        index = random.randrange(3)
        self.members[index].life += 1
        self.nodes[index].kill()
        self.nodes[index] = self.startAt(self.members[index])
        return "member killed"

    def freeze(self) -> str:
        node = random.choice(self.nodes)
        seconds = random.choice([0.5, 3, 3, 20])
        node.freeze()
        time.sleep(seconds)
        node.thaw()
        return f"member frozen for {seconds} s"

    def restartRedis(self) -> str:
        self.redis.kill()
        self.redis.start()
        return "Redis restarted"

    def freezeRedis(self) -> str:
        self.redis.freeze()
        time.sleep(2)
        self.redis.thaw()
        return "Redis frozen for 2 s"
