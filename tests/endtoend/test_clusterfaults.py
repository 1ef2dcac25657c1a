"""Members that die and freeze, as real processes, in every phase of a meeting."""

from __future__ import annotations

import select

from tests.support.endtoend import CLOSE, ESTABLISHED_FIRST, Stream, WebSocket, inThread, secret
from tests.support.nodes import ClusterCase, Node

TUNNEL_EXISTS = 1008
"""The close code of a third client."""

MOST_PIECES = 20
"""What two members say to each other before a tunnel is up is fewer pieces than this."""


class PhaseCase(ClusterCase):
    """Two clients about to meet, held at each piece of what their members say to each other."""

    def firstOf(self, *clients: Stream) -> Stream:
        """Wait until one of these hears something, or is closed."""
        ready = select.select([client.socket for client in clients], [], [], 40)[0]
        self.assertTrue(ready, "nobody hears anything")
        return next(client for client in clients if client.socket in ready)

    def goesOn(self, survivor: Stream, url: str, nonce: str) -> str:
        """Check that a client whose partner's member has died is waiting, or is closed in 5 s.

        Whoever comes next meets it, or the one that comes then.
        """
        with self.within(5, "free, or closed"):
            newcomer = self.waiter(url, nonce)
            if self.firstOf(survivor, newcomer) is newcomer:
                self.established(newcomer, survivor)
                self.moves(newcomer, survivor)
                return "waits"
            self.established(survivor)
            if self.firstOf(survivor, newcomer) is newcomer:
                self.established(newcomer)
                self.moves(newcomer, survivor)
                return "waits"
            self.cutOff(survivor)
        last = self.waiter(url, nonce)
        self.established(newcomer, last)
        self.moves(newcomer, last)
        return "closed"


class DeathInEveryPhaseTests(PhaseCase):
    """kill -9 while two members talk to each other, after each piece of it."""

    @inThread
    def testAsker(self) -> None:
        """The one at home keeps waiting, or is closed when it has been told."""
        self.startRedis()
        (home, gateway), third = self.nodeBehind(), self.node()
        fates = []
        for count in range(MOST_PIECES):
            asker, nonce = self.node(), secret("nonce")
            waiter = self.first(home, nonce)
            gateway.hold(count)
            asking = self.waiter(asker.tcp, nonce)
            if self.firstOf(waiter, asking) if not gateway.waitUntilHeld(1) else None:
                break
            asker.kill()
            gateway.release()
            fates.append(self.goesOn(waiter, third.tcp, nonce))
        self.assertIn("waits", fates)
        self.assertGreater(len(fates), 3)

    @inThread
    def testHome(self) -> None:
        """The one that asks takes the place, or is closed when it has been told."""
        self.startRedis()
        asker, third = self.launch(2)
        fates = []
        for count in range(MOST_PIECES):
            (home, gateway), nonce = self.nodeBehind(), secret("nonce")
            waiter = self.first(home, nonce)
            gateway.hold(count)
            asking = self.waiter(asker.tcp, nonce)
            if self.firstOf(waiter, asking) if not gateway.waitUntilHeld(1) else None:
                break
            home.kill()
            gateway.close()
            fates.append(self.goesOn(asking, third.tcp, nonce))
        self.assertIn("waits", fates)
        self.assertGreater(len(fates), 3)


class FreezeInEveryPhaseTests(PhaseCase):
    """SIGSTOP of the member that asks, after each piece of what is said."""

    @inThread
    def testAsker(self) -> None:
        """The one at home is free for another one, unless its tunnel was complete."""
        self.startRedis()
        (home, gateway), asker, third = self.nodeBehind(), self.node(), self.node()
        fates = []
        for count in range(MOST_PIECES):
            nonce = secret("nonce")
            waiter = self.first(home, nonce)
            gateway.hold(count)
            asking = self.webSocket(asker, nonce)
            if self.firstOf(waiter, asking) if not gateway.waitUntilHeld(1) else None:
                break
            asker.freeze()
            gateway.release()
            fates.append(self.goesOnWith(waiter, asking, third, nonce, asker))
        self.assertIn("another", fates)
        self.assertGreater(len(fates), 3)

    def goesOnWith(
        self, waiter: Stream, frozen: WebSocket, third: Node, nonce: str, asker: Node
    ) -> str:
        """Check that one of two meets the waiter, and the other one is told that it is too late."""
        with self.within(2 + 2, "a frozen member is not waited for"):
            newcomer = self.webSocket(third, nonce)
            self.established(waiter)
            opcode, payload = newcomer.frame()
        asker.thaw()
        if opcode == CLOSE:
            fate, partner = "the frozen one", frozen
            self.assertEqual(payload[:2], TUNNEL_EXISTS.to_bytes(2, "big"))
            if self.firstOf(waiter, frozen) is waiter:
                # Its time for an answer was over before it read that it was there.
                self.cutOff(waiter)
                waiter = self.waiter(third.tcp, nonce)
                self.established(waiter)
            self.established(frozen)
        else:
            fate, partner = "another", newcomer
            self.assertEqual(payload, ESTABLISHED_FIRST)
            self.assertEqual(frozen.goodbye(), (b"", TUNNEL_EXISTS))
        self.moves(waiter, partner)
        for client in (waiter, partner):
            client.close()
        return fate
