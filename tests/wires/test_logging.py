"""Owns the checks of what the log says of refusals and of the traffic's shape."""

from __future__ import annotations

from nymearemoteproxy.common.logs import setVerbose
from nymearemoteproxy.common.tally import INTERVAL
from nymearemoteproxy.connections.limits import Bounds
from nymearemoteproxy.protocol.outcomes import Outcome
from tests.support.inmemory import InMemory
from tests.support.wires import maskedFrame


class RefusalTests(InMemory):
    """A flood of refused connections is counted, and logged in sums."""

    bounds = Bounds(connections=1)

    def test_log(self) -> None:
        self.accept("TCP")
        for _ in range(3):
            self.assertIsNone(self.accept("TCP").protocol)
        self.assertOutcomesLogged(["connection-refused"])
        self.clock.advance(INTERVAL)
        self.assertOutcomesLogged(["connection-refused", "connections-refused"])
        self.assertEqual(self.events[-1]["count"], 2)
        self.assertIsNone(self.accept("TCP").protocol)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.proxy.registry.counters.outcomes[Outcome.TOO_MANY_CONNECTIONS], 4)

    def assertOutcomesLogged(self, names: list[str]) -> None:
        """Check the names of the events that were logged about refusals."""
        logged = [event["event"] for event in self.events if "refused" in event.get("event", "")]
        self.assertEqual(logged, names)


class TraceTests(InMemory):
    """Twice verbose shows the shape of the traffic and nothing of its content."""

    traceTraffic = True

    def test_shape(self) -> None:
        setVerbose(True)
        self.addCleanup(setVerbose, False)
        one, two = self.join("WebSocket", "TCP")
        one.receive(maskedFrame(2, b"content"))
        two.receive(b"content")
        shapes = [event["shape"] for event in self.events if "shape" in event]
        self.assertEqual(shapes, ["opcode 2, 7 bytes, last", "7 bytes"])
        for event in self.events:
            self.assertNotIn("secret", str(event))
