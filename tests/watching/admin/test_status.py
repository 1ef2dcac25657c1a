"""What the status page is told of the server as a whole."""

from __future__ import annotations

from typing import Any

from nymearemoteproxy.connections.records import UNIX, Load, Totals
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.watching.admin import status
from nymearemoteproxy.watching.admin.history import COLUMNS
from nymearemoteproxy.watching.pulse import Reading
from tests.support.admin import NOW, JsonCase, add, addTunnel


class StatusTests(JsonCase):
    """The state of the server, and its last hour, as JSON."""

    def test_dateIsSet(self) -> None:
        """Times are by the date of now; the beginning is another one then, so pages ask anew."""
        self.made.epoch = 1_000.0
        before = self.get("/api/status")
        self.clock.advance(60)
        self.made.epoch = -2_600.04
        after = self.get("/api/status")
        self.assertEqual(after["time"], NOW + 60 - 2_600)
        self.assertEqual(after["time"] - after["started"], 60)
        self.assertNotEqual(after["started"], before["started"])

    def test_pointsOfADate(self) -> None:
        """A page that asks for what is newer than what it has is not told anything twice."""
        self.made.epoch = 1_699_000_000.123
        history = self.made.admin._history
        for second in range(20):
            load = Load(Totals())
            history.add(Reading(NOW + second * 1.03, load, 0, 0, 0))
        points = self.get("/api/history")["points"]
        self.assertGreater(len(points), 2)
        for number, (moment, *_) in enumerate(points):
            newer = self.get("/api/history", since=str(moment))["points"]
            self.assertEqual(newer, points[number + 1 :])

    def test_overview(self) -> None:
        addTunnel(self.proxy)
        add(self.proxy, "waiting", UNIX)
        self.proxy.registry.counters.outcomes[Outcome.TOKEN_REFUSED] += 2
        self.proxy.registry.counters.totals.tunnels = 77
        self.clock.advance(60)
        seen = self.get("/api/status")
        self.assertEqual(seen["name"], "Büro <b>")
        self.assertEqual(seen["condition"], "ready")
        self.assertEqual(seen["time"] - seen["started"], 60)
        self.assertEqual(
            seen["connections"],
            {"WebSocket": {"tunneled": 1}, "TCP": {"tunneled": 1}, "unix": {"waiting": 1}},
        )
        self.assertEqual((seen["tunnels"], seen["servers"], seen["clients"]), (1, 0, 0))
        self.assertEqual(seen["totals"]["tunnels"], 77)
        (outcome,) = seen["outcomes"]
        self.assertEqual((outcome["name"], outcome["count"]), ("token-refused", 2))
        self.assertEqual(outcome["group"], "refused")
        self.assertFalse(seen["tunnelProxy"])
        self.assertGreater(seen["process"]["memory"], 1 << 20)

    def test_noProc(self) -> None:
        """Where there is no /proc, the most memory it ever took is told."""

        def fail(_path: str) -> Any:
            raise FileNotFoundError

        self.patch(status, "Path", fail)
        self.assertGreater(self.get("/api/status")["process"]["memory"], 1 << 20)

    def test_history(self) -> None:
        seen = self.get("/api/history")
        self.assertEqual((seen["interval"], seen["points"]), (5, []))
        self.assertEqual(seen["columns"], list(COLUMNS))
        self.assertEqual(self.get("/api/history", since="x")["points"], [])
