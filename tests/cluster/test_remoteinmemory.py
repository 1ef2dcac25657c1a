"""What happens between two clients on a fake clock, again with one in each of two members."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost

from nymearemoteproxy.protocol.outcomes import Outcome
from tests.connections import test_presence
from tests.support.clusters import InCluster
from tests.support.inmemory import InMemory
from tests.support.memory import Pipe
from tests.support.memorylinks import Network
from tests.support.remote import again
from tests.wires import (
    test_backpressure,
    test_farewells,
    test_faults,
    test_gaps,
    test_keepalive,
    test_limited,
    test_logging,
    test_turns,
)


class Turning:
    """What takes turns does so in both members, and between them everything arrives."""

    network: Network

    def turn(self, times: int = 1) -> None:
        """Let so many turns pass, in each of them."""
        for _ in range(2 * times):
            self.network.run()
            super().turn()
        self.network.run()

    def settle(self) -> None:
        """The other member needs turns, too."""
        self.turn(5)

    def assertHeldBack(self, _sender: Pipe) -> None:
        """A link has room for these few messages; `assertHeldUp` sees what happens with more."""


class LaterInTheGap:
    """A reader's gap holds back the end of its partner, too."""

    clock: Any

    def test_partnerLostInTheGap(self) -> None:
        """The end stands on the link behind what the partner sent, which is not read in the gap."""
        one, two = self.join("TCP", "TCP", uuid="2", name="two")
        one.receive(b"last words")
        one.lose(ConnectionLost())
        self.clock.advance(0.015)
        self.assertEqual((two.take(), two.halfClosed), (b"", False))
        self.clock.advance(0.006)
        self.assertEqual((two.take(), two.halfClosed), (b"last words", True))
        two.lose(ConnectionDone())
        self.assertOutcomes(Outcome.CONNECTION_LOST, Outcome.PARTNER_LEFT)


class EachForItself:
    """Each member finds out whether its own clients are there."""

    def test_gone(self) -> None:
        """Two are asked here."""
        pipe = self.wait("TCP")
        (record,) = self.proxy.registry.records
        pipe.lose(ConnectionError())
        looked = self.proxy.registry.presence.look(record)
        self.assertEqual(self.successResultOf(looked), [False, False])


class AnyOfMany:
    """Who is the first depends on the way to the home."""

    def test_firstOfManyRegisters(self) -> None:
        """One of them has the place, and no other, whichever it is."""
        self.serve("WebSocket")
        new = [self.serve("TCP") for _ in range(3)]
        self.clock.pump([0.06] * 60)
        answers = sorted(b"NoError" in pipe.take() for pipe in new)
        self.assertEqual(answers, [False, False, True])


OTHERS: dict[str, type | None] = {
    "RefusalTests": None,  # limits are each member's own
    "Turnwise": None,
    "InTheTunnelTests": Turning,
    "RegisteredTests": Turning,
    "GapTests": LaterInTheGap,
    "PartnerTests": EachForItself,
    "RegistrationTests": AnyOfMany,
}

for _tests in (
    test_backpressure,
    test_farewells,
    test_faults,
    test_gaps,
    test_keepalive,
    test_logging,
    test_turns,
    test_presence,
):
    again(globals(), _tests, InMemory, InCluster, others=OTHERS)

again(
    globals(),
    test_limited,
    InMemory,
    InCluster,
    prefix="RemoteLimited",
    only=("RateTests", "TimeTests", "TunnelProxyTests"),
)
