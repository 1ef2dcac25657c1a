"""What is counted of connections and told of their tunnels, without connections."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.logger import formatEvent, globalLogPublisher

from nymearemoteproxy.cluster.far import describe, foreignRecord
from nymearemoteproxy.common.logs import setVerbose
from nymearemoteproxy.common.privacy import HIDDEN, Privacy
from nymearemoteproxy.connections import records
from nymearemoteproxy.connections.limits import Bounds
from nymearemoteproxy.connections.records import TCP, Record, Totals
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from tests.support.memory import Guest
from tests.support.observed import ProxyCase


class ConnectionTests(ProxyCase):
    """What is known, counted and logged of connections."""

    def setUp(self) -> None:
        super().setUp()
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.registry = self.proxy.registry

    def admit(self, host: str = "192.0.2.7", port: int = 1) -> Record | None:
        """Let a connection in, if it may."""
        return self.registry.admit(IPv4Address("TCP", host, port), TCP, True)

    def logged(self, event: str) -> list[str]:
        """Return what the log says of such events."""
        return [formatEvent(each) for each in self.events if each.get("event") == event]

    def test_admitted(self) -> None:
        """Its record says where it comes from, and how that may be written down."""
        self.registry.setPrivacy(Privacy.NONE)
        self.clock.advance(7)
        record = self.admit()
        assert record is not None
        self.assertEqual((record.transport, record.secure, record.started), (TCP, True, 7))
        self.assertEqual(
            (record.address, record.host, record.peer), ("192.0.2.7:1", "192.0.2.7", HIDDEN)
        )
        self.assertIs(self.registry.find(record.number), record)
        self.clock.advance(1)
        self.registry.authenticated(record)
        self.assertEqual(record.trusted, 8)

    def test_refused(self) -> None:
        """Each is counted; the first of its kind is logged."""
        self.registry.gate.bounds = Bounds(connectionsPerAddress=1)
        self.admit()
        self.assertIsNotNone(self.admit("192.0.2.8"))
        for port in range(2, 5):
            self.assertIsNone(self.admit(port=port))
        outcome = Outcome.TOO_MANY_FROM_ADDRESS
        self.assertEqual(self.registry.counters.outcomes, {outcome: 3})
        self.assertEqual(
            self.logged("connection-refused"),
            [f"connection from 192.0.2.7:2 refused: {outcome.label}"],
        )
        self.clock.advance(3600)
        (sums,) = self.logged("connections-refused")
        self.assertTrue(sums.startswith("2 more connections refused in the last "), sums)
        self.assertTrue(sums.endswith(f" s: {outcome.label}"), sums)

    def test_identified(self) -> None:
        """Whom a reverse proxy names is known, counted and written down as that one."""
        self.registry.gate.bounds = Bounds(connectionsPerAddress=1)
        first, second = self.admit("127.0.0.1"), self.admit("127.0.0.1", 2)
        assert first is not None and second is not None
        self.registry.privacy = Privacy.SHORTENED
        real = IPv4Address("TCP", "192.0.2.7", 9)
        self.assertIsNone(self.registry.identified(first, real))
        self.assertEqual(
            (first.address, first.host, first.peer), ("192.0.2.7:9", "192.0.2.7", "192.0.2.0")
        )
        refusal = self.registry.identified(second, real)
        self.assertIs(refusal, Outcome.TOO_MANY_FROM_ADDRESS)
        for known in real, UNIXAddress(None):
            self.assertIs(self.registry.rename(first, known), False)
        self.assertEqual(first.host, "192.0.2.7")

    def test_ended(self) -> None:
        """One line tells of the end, and has all there is to know."""
        record = self.admit()
        assert record is not None
        record.received, record.sent = 3, 4
        self.clock.advance(2)
        self.registry.ended(record)
        self.assertEqual(
            self.logged("connection-ended"),
            [
                "connection 1 from 192.0.2.7:1 ended: connection-lost "
                "(TCP, 2.0 s, 3 bytes in, 4 bytes out)"
            ],
        )
        self.assertEqual((self.events[-1]["secure"], self.events[-1]["tunneled"]), (True, False))
        one, two = self.join()
        self.clock.advance(5)
        two.leave()
        self.assertIn(
            f" ended: {Outcome.CLIENT_LEFT.label} (TCP, 5.0 s,", self.logged("connection-ended")[1]
        )
        self.assertEqual((self.events[-1]["secure"], self.events[-1]["tunneled"]), (False, True))


class TunnelTests(ProxyCase):
    """What is counted and told of tunnels."""

    def test_joined(self) -> None:
        """A pair counts once, and each side knows when it began and with whom."""
        self.clock.advance(7)
        one, two = self.join()
        self.assertEqual(
            self.proxy.registry.counters.load().totals, Totals(connections=2, tunnels=1)
        )
        self.assertEqual(self.proxy.registry.counters.load().tunnels, 1)
        for guest, partner in (one, two), (two, one):
            self.assertEqual(guest.record.joined, 7)
            self.assertIs(guest.record.partner, partner.record)

    def test_log(self) -> None:
        """With -v the log tells of each pair once, and of each registration."""
        self.addCleanup(setVerbose, False)
        setVerbose(True)
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.join()
        self.register(Role.SERVER, "s")
        self.register(Role.CLIENT, "c", "s")
        elsewhere = Guest(self.proxy, Role.PARTNER)
        far = foreignRecord(describe(elsewhere.record), 0, isNeighbour=False)
        self.proxy.registry.joined(elsewhere.record, far)
        texts = [formatEvent(event) for event in events]
        self.assertEqual(
            [text for text in texts if " is " in text],
            [
                "connection 2 is joined to connection 1",
                "connection 3 is a server of the tunnel proxy",
                "connection 4 is a client of the tunnel proxy",
                "connection 5 is joined to one elsewhere",
            ],
        )
        self.assertFalse([text for text in texts if "None" in text])

    def test_told(self) -> None:
        """When both are gone, with the last one first; then they know nothing of each other."""
        one, two = self.join()
        one.record.received, two.record.received = 3, 4
        one.record.sent, two.record.sent = 5, 6
        self.assertEqual(self.proxy.registry.counters.load().totals.traffic, 7)
        one.leave()
        self.assertEqual(self.observer.ended, [])
        self.assertEqual(self.proxy.registry.counters.load().tunnels, 1)
        two.leave()
        self.assertEqual(self.observer.ended, [(two.record, one.record)])
        self.assertEqual((one.record.partner, two.record.partner), (None, None))
        load = self.proxy.registry.counters.load()
        self.assertEqual((load.tunnels, load.totals.traffic), (0, 7))
        self.assertEqual((load.received, load.sent), ({TCP: 7}, {TCP: 11}))

    def test_tunnelProxy(self) -> None:
        """Each end is told of by itself."""
        server = self.register(Role.SERVER, "s")
        client = self.register(Role.CLIENT, "c", "s")
        server.record.received, client.record.received = 10, 5
        load = self.proxy.registry.counters.load()
        self.assertEqual((load.servers, load.clients, load.tunnels), (1, 1, 0))
        server.leave()
        client.leave()
        self.assertEqual(self.observer.ended, [(server.record, None), (client.record, None)])
        expected = Totals(connections=2, servers=1, clients=1, tunnelProxyTraffic=15)
        self.assertEqual(self.proxy.registry.counters.load().totals, expected)

    def test_inTurns(self) -> None:
        """What is counted over many turns is the same as at once."""
        self.patch(records, "RECORDS_A_TURN", 1)
        counters = self.proxy.registry.counters
        for number, each in enumerate(self.join(), 3):
            each.record.received = number
        self.register(Role.SERVER, "s").record.received = 10
        self.join()[0].leave()
        load, totals = counters.count(), counters.countTotals()
        self.clock.pump([0] * 5)
        expected = counters.load()
        self.assertEqual(expected.totals.traffic, 7)
        self.assertEqual(self.successResultOf(load), expected)
        self.assertEqual(self.successResultOf(totals), expected.totals)

    def test_withoutTunnel(self) -> None:
        """Nothing is told of who had none."""
        Guest(self.proxy).leave()
        self.assertEqual(self.observer.ended, [])

    def test_failingObserver(self) -> None:
        """Its failure is logged; the others are told, and the connection is over."""
        self.proxy.registry.observers.insert(0, None)  # type: ignore[arg-type]
        one, two = self.join()
        gone = self.proxy.registry.dismissal.dismissIdle()
        one.leave()
        two.leave()
        self.successResultOf(gone)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertEqual(len(self.observer.ended), 1)


class PrivacyTests(ProxyCase):
    """How addresses are written down, changed while clients are here."""

    def test_manyClients(self) -> None:
        """It takes some turns with many of them."""
        self.patch(records, "RECORDS_A_TURN", 1)
        guests = [Guest(self.proxy) for _ in range(3)]
        for privacy, written in (Privacy.NONE, HIDDEN), (Privacy.FULL, "127.0.0.1:1"):
            self.proxy.registry.setPrivacy(privacy)
            self.clock.advance(0)
            self.assertEqual([guest.record.peer for guest in guests], [written] * 3)
