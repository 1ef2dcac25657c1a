"""What is counted of connections and told of their tunnels, without connections."""

from __future__ import annotations

from typing import Any

from twisted.logger import formatEvent, globalLogPublisher

from nymearemoteproxy.cluster.far import describe, foreignRecord
from nymearemoteproxy.common.logs import setVerbose
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.connections import records
from nymearemoteproxy.connections.records import TCP, Totals
from nymearemoteproxy.protocol.session import Role
from tests.support.memory import Guest
from tests.support.observed import ProxyCase


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
        before = {guest.record.peer for guest in guests}
        self.proxy.registry.setPrivacy(Privacy.NONE)
        self.clock.advance(0)
        after = {guest.record.peer for guest in guests}
        self.assertEqual((len(before), len(after), before & after), (1, 1, set()))
