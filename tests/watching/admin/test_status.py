"""What the status page is told of the server as a whole."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from uuid import UUID

from nymearemoteproxy.connections.records import FRONT, FRONT_HTTP, TCP, UNIX, Load, Totals
from nymearemoteproxy.protocol.frontnames import FrontNames
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.watching.admin import status
from nymearemoteproxy.watching.admin.history import COLUMNS
from nymearemoteproxy.watching.lastreload import LastReload
from nymearemoteproxy.watching.pulse import Reading
from nymearemoteproxy.watching.watched import Entrance
from tests.support.admin import NOW, AdminInMemory, JsonCase, add, addTunnel, remove


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

    def test_registered(self) -> None:
        """Servers and their clients are told apart from other tunnels, unless they leave."""
        addTunnel(self.proxy)
        server = add(self.proxy, role=Role.SERVER, transport=UNIX)
        add(self.proxy, role=Role.CLIENT)
        add(self.proxy, "closing", role=Role.CLIENT)
        seen = self.get("/api/status")
        self.assertEqual(seen["registered"], {"unix": {"servers": 1}, "WebSocket": {"clients": 1}})
        self.assertEqual(seen["connections"]["unix"], {"tunneled": 1})
        remove(self.proxy, server)
        self.assertNotIn("unix", self.get("/api/status")["registered"])

    def test_front(self) -> None:
        """How many come by the front door, and how many names it knows; where there is none, no."""
        self.assertNotIn("front", self.get("/api/status"))
        self.made = AdminInMemory(Front_listeners="tcp:0")
        proxy, names = self.made.proxy, FrontNames({"a.test": UUID(int=1), "*.test": UUID(int=1)})
        proxy.setPolicy(replace(proxy.policy, names=names))
        for transport in (TCP, FRONT, FRONT_HTTP):
            add(proxy, role=Role.CLIENT, transport=transport)
        self.assertEqual(self.get("/api/status")["front"], {"visitors": 2, "names": 2})

    def test_listeners(self) -> None:
        """Where clients come in, as long as they do."""
        self.made.places = [
            Entrance("wss://[::]:2213"),
            Entrance("ws://127.0.0.1:80", behindProxy=True),
            Entrance("https://[::]:443", isFront=True),
        ]
        self.assertEqual(
            self.get("/api/status")["listeners"],
            [
                {"url": "wss://[::]:2213", "behindProxy": False, "isFront": False},
                {"url": "ws://127.0.0.1:80", "behindProxy": True, "isFront": False},
                {"url": "https://[::]:443", "behindProxy": False, "isFront": True},
            ],
        )
        self.made.places = []
        self.assertEqual(self.get("/api/status")["listeners"], [])

    def test_certificates(self) -> None:
        """Those in use, and when each expires, in Unix time."""
        (certificate,) = self.get("/api/status")["certificates"]
        self.assertEqual(certificate["name"], "self-signed")
        self.assertGreater(certificate["expires"], time.time())

    def test_wholeHistory(self) -> None:
        """All since the start is another list of points; the date counts for it, too."""
        self.made.epoch = 1_000.0
        history = self.made.admin._history
        for second in range(10_000):
            history.add(Reading(NOW + second, Load(Totals()), 0, 0, 0))
        hour = self.get("/api/history")
        whole = self.get("/api/history", of="start")
        self.assertEqual((hour["interval"], len(hour["points"])), (5, 720))
        self.assertEqual(whole["interval"], 15)
        self.assertLess(whole["points"][0][0], hour["points"][0][0])
        times = [point[0] for point in whole["points"]]
        newer = self.get("/api/history", of="start", since=str(times[-3]))["points"]
        self.assertEqual([point[0] for point in newer], times[-2:])

    def test_lastReload(self) -> None:
        """When it was, and how many mistakes it found, which only the log names."""
        self.assertIsNone(self.get("/api/status")["reload"])
        self.made.server.lastReload = LastReload(1000, 2)
        self.assertEqual(self.get("/api/status")["reload"], {"time": 1000, "mistakes": 2})
        self.made.epoch = -250.0  # the date is set, and what was is as long ago as before
        self.assertEqual(self.get("/api/status")["reload"], {"time": 750, "mistakes": 2})

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
