"""A meeting, at each of its moments of which something happens to one of the two members."""

from __future__ import annotations

import os
from collections.abc import Callable
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from tests.support.stories import Client, Land, Node, checkEmpty

SERVER, APP = UUID(int=1), UUID(int=2)
STRIDE = int(os.environ.get("MOMENTS_STRIDE", "5"))
"""Every fifth moment is tried, or every single one, which takes minutes."""

MOST = 200
"""Events that there are at most from the first client's coming to the end of the tunnel."""


class MomentTests(SynchronousTestCase):
    """One client waits at the first member, another one comes to the second, and one leaves."""

    def meet(self, moment: int, leaver: int, act: Callable[[Land, Node], None], who: int) -> bool:
        """Let it happen at one moment; return whether the story was over before."""
        land = self.land = Land(3)
        nodes = self.nodes = list(land.nodes.values())
        events = land.network._events
        count = 0

        def run() -> None:
            nonlocal count
            while events:
                events.popleft()()
                count += 1
                if count == moment:
                    act(land, nodes[who])

        land.network.run = run  # type: ignore[method-assign]
        self.tell(nodes, leaver)
        return count < moment

    def tell(self, nodes: list[Node], leaver: int) -> None:
        """Let the two meet, and leave."""
        clients = [self.land.join(node, "k", str(number)) for number, node in enumerate(nodes[:2])]
        for client in clients:
            client.send(b"hello\n")
        clients[leaver].leave()
        self.land.advance(0.01)

    def check(self, act: Callable[[Land, Node], None], after: Callable[[Land, Node], None]) -> None:
        """Try the moments."""
        tried = 0
        for leaver in (0, 1):
            for who in (0, 1):
                for moment in range(1 + (2 * leaver + who) % STRIDE, MOST, STRIDE):
                    if self.meet(moment, leaver, act, who):
                        break
                    tried += 1
                    after(self.land, self.nodes[who])
                    checkEmpty(self, self.land)
                else:
                    self.fail("it does not end")
        self.assertGreater(tried, 100 / STRIDE)

    def assertFree(self, land: Land) -> None:
        """Whoever has the key and was not told waits, or is in one tunnel; and the key is free."""
        third = self.nodes[2]
        left = [c for c in land.clients if c.isWaiting and not c.node.isFrozen]
        self.assertLessEqual(len(left), 1, [(c.label, c.pipe.value()) for c in left])
        self.assertFalse([c for c in land.clients if c.isUp and not c.node.isFrozen])
        clients = [*left, *(land.join(third, "k") for _ in range(2 - len(left)))]
        land.advance(5)
        self.assertTrue(all(c.isUp for c in clients), [(c.label, c.outcome) for c in clients])
        clients[0].leave()
        land.advance(1)
        self.assertTrue(all(c.isTold for c in clients))

    def test_dies(self) -> None:
        """Its own client is gone; the other one waits, or is told within 5 s."""

        def after(land: Land, node: Node) -> None:
            land.advance(5)
            self.assertFree(land)

        self.check(lambda _land, node: node.die(), after)

    def test_freezes(self) -> None:
        """After its lease and two questions it is as if it were dead; then it comes back."""

        def after(land: Land, node: Node) -> None:
            land.advance(21)
            self.assertFree(land)
            node.thaw()
            land.advance(1)
            server = f"{{{SERVER}}}"  # which has its place again when it is free
            self.assertEqual([c.key for c in land.clients if c.isUp and c.key != server], [])

        self.check(lambda _land, node: node.freeze(), after)

    def test_freezesForAWhile(self) -> None:
        """Nothing is lost that was there: the one that did not leave waits, or is told."""

        def after(land: Land, node: Node) -> None:
            land.advance(4)
            node.thaw()
            land.advance(6)
            self.assertFree(land)

        self.check(lambda _land, node: node.freeze(), after)

    def test_cutOff(self) -> None:
        """The two members do not reach each other for a while."""

        def after(land: Land, node: Node) -> None:
            land.advance(4)
            land.heal()
            land.advance(6)
            self.assertFree(land)

        self.check(lambda land, _node: land.cut(*self.nodes[:2]), after)

    def test_directory(self) -> None:
        """It hangs for a while, for one of them or for all; what was asked is done late."""

        def hangForOne(land: Land, node: Node) -> None:
            land.withoutDirectory.add(node)

        def hang(land: Land, node: Node) -> None:
            land.isHanging = True

        def fail(land: Land, node: Node) -> None:
            land.isFailing = True

        def after(land: Land, node: Node) -> None:
            land.advance(4)
            land.restore()
            land.advance(6)
            self.assertFree(land)

        for act in (hangForOne, hang, fail):
            self.check(act, after)

    def test_emptied(self) -> None:
        """The directory forgets everything."""

        def after(land: Land, node: Node) -> None:
            land.advance(6)
            self.assertFree(land)

        self.check(lambda land, _node: land.empty(), after)


class RegistrationMomentTests(MomentTests):
    """The same with a server at the first member, and a client at the second one."""

    def tell(self, nodes: list[Node], leaver: int) -> None:
        """Let the two meet, and leave."""
        clients = [self.land.serve(nodes[0], SERVER), self.land.visit(nodes[1], SERVER, APP)]
        clients[leaver].leave()
        self.land.advance(0.01)

    def assertFree(self, land: Land) -> None:
        """A server that is left is found, both uuids are free otherwise, and it works again."""
        third = self.nodes[2]
        for client in land.clients:
            registered = client.isTold or client.isMet or client.isGone or client.node.isDead
            self.assertTrue(registered or client.node.isFrozen, client.pipe.value())
        uuid = f"{{{SERVER}}}"
        there = [c for c in land.clients if c.isUp and c.key == uuid and not c.node.isFrozen]
        self.assertLessEqual(len(there), 1)
        server: Client = there[0] if there else land.serve(third, SERVER)
        for client in list(land.clients):
            if client is not server and not client.node.isFrozen:
                client.leave()
        land.advance(5)
        self.assertTrue(server.isUp, server.outcome)
        for node in self.nodes:
            if not (node.isDead or node.isFrozen):
                app = land.visit(node, SERVER, APP)
                land.advance(4)
                self.assertTrue(app.isUp, (app.outcome, app.pipe.value()))
                app.leave()
        server.leave()
        land.advance(1)
