"""What happens between two clients on a fake clock, again with one in each of two members."""

from __future__ import annotations

from tests.connections import test_presence
from tests.support.clusters import InCluster
from tests.support.inmemory import InMemory
from tests.support.remote import again
from tests.wires import (
    test_backpressure,
    test_farewells,
    test_faults,
    test_gaps,
    test_keepalive,
    test_logging,
    test_turns,
)



class Turning:
    """What takes turns does so in both members, and between them everything arrives."""

    def turn(self, times: int = 1) -> None:
        """Let so many turns pass, in each of them."""
        for _ in range(2 * times):
            self.network.run()
            super().turn()  # type: ignore[misc]
        self.network.run()


OTHERS: dict[str, type | None] = {
    "RefusalTests": None,  # limits are each member's own
    "Turnwise": None,
    "InTheTunnelTests": Turning,
    "RegisteredTests": Turning,
    "BeforeTheTunnelTests": Turning,
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
