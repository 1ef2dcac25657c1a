"""What all connections share, without connections."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from nymearemoteproxy.authentication.backend import Verdict
from nymearemoteproxy.common.addresses import describeAddress, describePlace
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.connections import dismissal, records
from nymearemoteproxy.connections.dismissal import ABORT_TIMEOUT
from nymearemoteproxy.connections.observers import IObserver
from nymearemoteproxy.connections.records import TCP, Record, Totals
from nymearemoteproxy.protocol.session import Role
from tests.support.memory import Guest
from tests.support.parts import makeProxy
from tests.wires.test_time import InMemory

PROPERTY = settings(max_examples=200, deadline=None, database=None)


class DescribeTests(SynchronousTestCase):
    """Addresses for people."""

    def test_host(self) -> None:
        for host, expected in (
            ("192.0.2.7", ("192.0.2.7", "192.0.2.7:1")),
            ("::ffff:192.0.2.7", ("192.0.2.7", "192.0.2.7:1")),
            ("::ffff:0:192.0.2.7", ("::ffff:0:192.0.2.7", "[::ffff:0:192.0.2.7]:1")),
            ("fe80::1%eth0", ("fe80::1%eth0", "[fe80::1%eth0]:1")),
        ):
            kind = IPv6Address if ":" in host else IPv4Address
            self.assertEqual(describeAddress(kind("TCP", host, 1)), expected)

    def test_unixClient(self) -> None:
        """It has no host, whatever its own socket is called."""
        for name in (None, b"/run/x", b"\0\x1b[2J"):
            self.assertEqual(describeAddress(UNIXAddress(name)), (None, "unix"))

    def test_unixPlace(self) -> None:
        """With a path, in the abstract namespace, or unnamed."""
        for name, expected in (
            (b"/run/x", "unix:/run/x"),
            ("/run/x", "unix:/run/x"),
            (b"\0nymea", "unix:@nymea"),
            (b"/run/\xff", "unix:/run/\\xff"),
            (None, "unix:"),
        ):
            self.assertEqual(describePlace("tcp", UNIXAddress(name)), expected)


@implementer(IObserver)
class Observer:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.ended: list[tuple[Record, Record | None]] = []
        self.seconds: list[float] = []

    def authenticated(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def tunnelEnded(self, first: Record, second: Record | None) -> None:
        self.ended.append((first, second))


class ProxyCase(SynchronousTestCase):
    """A proxy to which clients come that are none."""

    def setUp(self) -> None:
        self.make()

    def make(self) -> None:
        """Make it."""
        self.clock = Clock()
        self.proxy = makeProxy(self.clock)
        self.observer = Observer()
        self.proxy.registry.observers.append(self.observer)

    def join(self) -> tuple[Guest, Guest]:
        """Return two clients with a tunnel."""
        one, two = Guest(self.proxy, Role.PARTNER), Guest(self.proxy, Role.PARTNER)
        self.proxy.registry.joined(one.record, two.record)
        self.proxy.registry.joined(two.record, one.record)
        return one, two

    def register(self, role: Role, uuid: str, serverUuid: str = "") -> Guest:
        """Return a server or client of the tunnel proxy."""
        guest = Guest(self.proxy, role, uuid, serverUuid)
        self.proxy.registry.joined(guest.record, None)
        return guest


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

    def test_told(self) -> None:
        """When both are gone, with the last one first; then they know nothing of each other."""
        one, two = self.join()
        one.record.received, two.record.received = 3, 4
        self.assertEqual(self.proxy.registry.counters.load().totals.traffic, 7)
        one.leave()
        self.assertEqual(self.observer.ended, [])
        self.assertEqual(self.proxy.registry.counters.load().tunnels, 1)
        two.leave()
        self.assertEqual(self.observer.ended, [(two.record, one.record)])
        self.assertEqual((one.record.partner, two.record.partner), (None, None))
        load = self.proxy.registry.counters.load()
        self.assertEqual((load.tunnels, load.totals.traffic), (0, 7))
        self.assertEqual((load.received, load.sent), ({TCP: 7}, {TCP: 0}))

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

    def test_withoutTunnel(self) -> None:
        """Nothing is told of who had none."""
        Guest(self.proxy).leave()
        self.assertEqual(self.observer.ended, [])

    def test_failingObserver(self) -> None:
        """Its failure is logged; the others are told, and the connection is over."""
        self.proxy.registry.observers.insert(0, None)  # type: ignore[arg-type]
        one, two = self.join()
        gone = self.proxy.registry.dismissal.idle()
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


class AuthenticationTests(InMemory):
    """What is told of authentications."""

    def test_time(self) -> None:
        """How long each took; an observer that fails keeps nobody out."""
        observer = Observer()
        self.proxy.registry.observers += [None, observer]  # type: ignore[list-item]
        self.backend.answers = False
        client = self.open("TCP")
        self.authenticate(client)
        self.clock.advance(0.25)
        self.assertEqual(observer.seconds, [])
        self.backend.pending.pop().callback(Verdict(True))
        self.assertEqual(client.take(), b'{"id":1,"status":"success"}\n')
        self.assertEqual(observer.seconds, [0.25])
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        client.lose(ConnectionDone())


class DrainTests(ProxyCase):
    """Who is told to leave, and when."""

    def test_nobody(self) -> None:
        """All are gone at once."""
        self.successResultOf(self.proxy.registry.dismissal.idle())

    def test_tokens(self) -> None:
        """Who has a tunnel is not disturbed, and who has none is told at once."""
        one, two = self.join()
        other = Guest(self.proxy)
        gone = self.proxy.registry.dismissal.idle()
        self.assertEqual([each.asked for each in (one, two, other)], [[], [], ["shutDown"]])
        other.leave()
        one.leave()
        self.assertNoResult(gone)
        two.leave()
        self.successResultOf(gone)
        self.assertEqual([each.asked for each in (one, two)], [[], []])

    def test_servers(self) -> None:
        """A server is told when its last client has left."""
        idle = self.register(Role.SERVER, "idle")
        busy = self.register(Role.SERVER, "busy")
        first, second = (self.register(Role.CLIENT, uuid, "busy") for uuid in "ab")
        gone = self.proxy.registry.dismissal.idle()
        self.assertEqual([idle.asked, busy.asked], [["shutDown"], []])
        first.leave()
        self.assertEqual(busy.asked, [])
        second.leave()
        self.assertEqual(busy.asked, ["shutDown"])
        busy.leave()
        self.assertNoResult(gone)
        idle.leave()
        self.successResultOf(gone)

    def test_serverLeavesFirst(self) -> None:
        """Nobody is told twice, or told when gone."""
        server = self.register(Role.SERVER, "s")
        client = self.register(Role.CLIENT, "c", "s")
        gone = self.proxy.registry.dismissal.idle()
        server.leave()
        client.leave()
        self.successResultOf(gone)
        self.assertEqual((server.asked, client.asked), ([], []))

    def test_leftMeanwhile(self) -> None:
        """One that leaves as another is told is not told any more."""
        one, two = Guest(self.proxy), Guest(self.proxy)
        one.shutDown = two.leave  # type: ignore[method-assign]
        gone = self.proxy.registry.dismissal.idle()
        self.assertEqual(two.asked, [])
        one.leave()
        self.successResultOf(gone)

    def test_stoppedMeanwhile(self) -> None:
        """Both who drains and who stops hear that all are gone."""
        one, two = self.join()
        drained = self.proxy.registry.dismissal.idle()
        stopped = self.proxy.registry.dismissal.all()
        self.assertEqual((one.asked, two.asked), (["shutDown"], ["shutDown"]))
        one.leave()
        two.leave()
        self.successResultOf(drained)
        self.successResultOf(stopped)

    def test_oneFails(self) -> None:
        """A fault of one, even in being cut off, keeps no other from being told."""

        def fail() -> None:
            raise ZeroDivisionError

        one, two, three = (Guest(self.proxy) for _ in range(3))
        one.shutDown = two.shutDown = two.abort = fail  # type: ignore[method-assign]
        gone = self.proxy.registry.dismissal.all()
        self.assertEqual([each.asked for each in (one, two, three)], [["abort"], [], ["shutDown"]])
        self.proxy.registry.dismissal.abort()
        self.assertEqual(three.asked, ["shutDown", "abort"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)
        self.clock.advance(ABORT_TIMEOUT)
        self.successResultOf(gone)

    def test_lastServerFails(self) -> None:
        """Its last client leaves all the same."""
        server = self.register(Role.SERVER, "s")
        client = self.register(Role.CLIENT, "c", "s")
        self.proxy.registry.dismissal.idle()

        def fail() -> None:
            raise ZeroDivisionError

        server.shutDown = fail  # type: ignore[method-assign]
        client.leave()
        self.assertEqual(server.asked, ["abort"])
        self.flushLoggedErrors(ZeroDivisionError)

    def test_stubborn(self) -> None:
        """Who does not leave, however asked, keeps nobody waiting."""
        guest = Guest(self.proxy)
        gone = self.proxy.registry.dismissal.idle()
        self.proxy.registry.dismissal.abort()
        self.assertEqual(guest.asked, ["shutDown", "abort"])
        self.clock.advance(ABORT_TIMEOUT)
        self.successResultOf(gone)

    def test_nobodyWaits(self) -> None:
        """Then there is nothing to be done later."""
        self.proxy.registry.dismissal.abort()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_inTurns(self) -> None:
        """Many are told over several turns, and those who get a tunnel meanwhile stay."""
        self.patch(dismissal, "GOODBYES_A_TURN", 1)
        waiting = [Guest(self.proxy) for _ in range(4)]
        idle, found = (self.register(Role.SERVER, uuid) for uuid in ("idle", "found"))
        gone = self.proxy.registry.dismissal.idle()
        self.assertEqual([each.asked for each in waiting], [["shutDown"], [], [], []])
        one, two = waiting[2:]
        one.record.role = two.record.role = Role.PARTNER
        self.proxy.registry.joined(one.record, two.record)
        self.proxy.registry.joined(two.record, one.record)
        client = self.register(Role.CLIENT, "c", "found")
        self.clock.advance(0)
        self.assertEqual(
            [each.asked for each in (*waiting, idle, found)],
            [["shutDown"], ["shutDown"], [], [], ["shutDown"], []],
        )
        client.leave()
        self.assertEqual(found.asked, ["shutDown"])
        for guest in (*waiting, idle, found):
            self.assertNoResult(gone)
            guest.leave()
        self.successResultOf(gone)

    def test_raises(self) -> None:
        """Whoever cannot be told keeps nobody else from being told."""
        one, two = Guest(self.proxy), Guest(self.proxy)
        one.shutDown = None  # type: ignore[assignment]
        self.proxy.registry.dismissal.all()
        self.assertEqual(two.asked, ["shutDown"])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    @PROPERTY
    @given(st.data())
    def test_anyOrder(self, data: Any) -> None:
        """However many there are, and however they leave: servers go last, and all have gone."""
        self.make()
        servers = {
            uuid: self.register(Role.SERVER, uuid)
            for uuid in data.draw(st.lists(st.sampled_from("stuv"), unique=True))
        }
        guests = [*servers.values()]
        clients: dict[str, list[Guest]] = {uuid: [] for uuid in servers}
        if servers:
            for number, uuid in enumerate(data.draw(st.lists(st.sampled_from(sorted(servers))))):
                client = self.register(Role.CLIENT, f"c{number}", uuid)
                clients[uuid].append(client)
                guests.append(client)
        for _ in range(data.draw(st.integers(0, 2))):
            guests += self.join()
        guests += [Guest(self.proxy) for _ in range(data.draw(st.integers(0, 2)))]
        left: set[Guest] = set()
        gone: Deferred[None] | None = None
        drainAt = data.draw(st.integers(0, len(guests)))
        for number, guest in enumerate(data.draw(st.permutations(guests))):
            if number == drainAt:
                gone = self.proxy.registry.dismissal.idle()
            guest.leave()
            left.add(guest)
            if gone is None:
                continue
            for uuid, server in servers.items():
                if server not in left:
                    hasClients = any(each not in left for each in clients[uuid])
                    self.assertEqual(server.asked, [] if hasClients else ["shutDown"])
            self.assertEqual(gone.called, len(left) == len(guests))
        if gone is None:
            gone = self.proxy.registry.dismissal.idle()
        self.successResultOf(gone)
        for some in clients.values():
            self.assertFalse(any(client.asked for client in some))
