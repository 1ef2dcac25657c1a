"""Owns the checks of what the parent knows of its workers' connections."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from nymearemoteproxy.common import turns
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections import records
from nymearemoteproxy.connections.accounts import AccountBounds
from nymearemoteproxy.connections.denylist import DenyList
from nymearemoteproxy.connections.limits import Bounds, Ticket
from nymearemoteproxy.connections.records import TCP, IClient, Record, Totals
from nymearemoteproxy.connections.registry import IRegistry
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role, State
from nymearemoteproxy.watching.actions import TooLateError
from nymearemoteproxy.workers import mirror, reporting
from nymearemoteproxy.workers.facts import MOST_TOLD
from nymearemoteproxy.workers.reporting import REPORT_INTERVAL, JudgementReporter
from tests.support.acting import ActedOn
from tests.support.memory import oneTurn
from tests.support.mirrored import Member, Together
from tests.support.observed import Observer

PROPERTY = settings(max_examples=200, deadline=None, database=None)
ADDRESS = IPv4Address("TCP", "192.0.2.1", 4000)


@implementer(IClient)
class Visitor:
    """A connection of a worker."""

    def __init__(self, member: Member, address: Any = ADDRESS) -> None:
        record = member.accept(address, TCP)
        assert record is not None
        record.client = self
        self.record = record
        self.member = member
        self.stage = "connecting"
        self.asked: list[str] = []

    def shutDown(self) -> None:
        self.asked.append("shutDown")

    def dismiss(self, outcome: Outcome) -> None:
        self.asked.append(f"dismiss: {outcome.label}")

    def abort(self) -> None:
        self.asked.append("abort")

    def isJoinedBy(self, role: Role, partner: Visitor | None = None) -> None:
        """Its tunnel begins."""
        self.record.role, self.stage = role, "tunneled"
        self.member.registry.joined(self.record, None if partner is None else partner.record)

    def leave(self) -> None:
        """Close the connection."""
        self.record.endsWith(Outcome.CLIENT_LEFT)
        self.member.ended(self.record)


class MirrorCase(SynchronousTestCase):
    """Two workers and their parent."""

    bounds = Bounds()

    def setUp(self) -> None:
        self.make()

    def make(self) -> None:
        """Make them."""
        self.clock = Clock()
        self.group = Together(self.clock, self.bounds)
        self.parent = self.group.parent
        self.first, self.second = self.group.workers
        self.observer = Observer()
        self.parent.observers.append(self.observer)

    def guest(self, serverUuid: str) -> Record:
        """Return the record of a client elsewhere, as a member makes it."""
        guest = Record(0, TCP, False, "", "", "", Ticket(None), 0)
        guest.role, guest.serverUuid, guest.joined = Role.CLIENT, serverUuid, 1.0
        return guest

    def startReports(self) -> None:
        """Have traffic reported."""
        for worker in self.group.workers:
            worker.registry.start()
            self.addCleanup(worker.registry.stop)

    def seen(self, visitor: Visitor) -> Any:
        """Return what the parent knows of it."""
        return self.parent.find(visitor.record.number)

    def wait(self, count: int = 5) -> None:
        """Let some turns of the reactor pass."""
        for _ in range(count):
            self.clock.advance(0)

    def limitAccounts(self, bounds: AccountBounds) -> None:
        """Have all of them go by these limits."""
        self.group.limit(Bounds(), bounds, DenyList())

    def logged(self) -> list[dict[str, Any]]:
        """Return what is logged from now on."""
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        return events


class FactTests(MirrorCase):
    """What the parent learns, and when."""

    def test_interfaces(self) -> None:
        verifyObject(IRegistry, self.parent)
        verifyObject(IRegistry, self.first.registry)
        verifyObject(IClient, self.seen(Visitor(self.first)).client)

    def test_begin(self) -> None:
        """Numbers are unique among all workers."""
        visitors = [Visitor(worker) for worker in (self.first, self.second, self.first)]
        self.assertEqual([visitor.record.number for visitor in visitors], [1, 2, 3])
        for visitor, worker in zip(visitors, (1, 2, 1), strict=True):
            here, there = visitor.record, self.seen(visitor)
            self.assertEqual((here.worker, there.worker), (worker, worker))
            for name in ("address", "host", "peer", "transport", "secure", "started"):
                self.assertEqual(getattr(here, name), getattr(there, name))
            self.assertEqual(here.ticket.source, there.ticket.source)
            self.assertEqual(there.client.stage, "connecting")

    def test_end(self) -> None:
        """All that is known goes along, and only the parent logs it."""
        visitor = Visitor(self.first)
        record, mirrored = visitor.record, self.seen(visitor)
        record.name, record.uuid, record.subject = "a name", "a uuid", "an account"
        record.received, record.sent = 5, 7
        events = self.logged()
        visitor.leave()
        self.assertEqual(
            (mirrored.name, mirrored.uuid, mirrored.subject), ("a name", "a uuid", "an account")
        )
        self.assertEqual((mirrored.received, mirrored.sent), (5, 7))
        self.assertIs(mirrored.outcome, Outcome.CLIENT_LEFT)
        self.assertEqual((len(self.parent.records), self.parent.gate.connections), (0, 0))
        self.assertEqual(self.parent.counters.outcomes, {Outcome.CLIENT_LEFT: 1})
        (event,) = events
        self.assertEqual((event["event"], event["received"]), ("connection-ended", 5))

    def test_endBeforeTheTunnel(self) -> None:
        """It was registered, and gone before its tunnel was there."""
        visitor = Visitor(self.first)
        visitor.record.role, visitor.record.received = Role.SERVER, 5
        visitor.leave()
        self.assertEqual(self.parent.counters.load().totals.tunnelProxyTraffic, 5)

    def test_nameOnce(self) -> None:
        """It may be long."""
        self.startReports()
        visitor = Visitor(self.first)
        visitor.record.name, visitor.record.received = MOST_TOLD * "n", 1
        self.clock.advance(REPORT_INTERVAL)
        visitor.isJoinedBy(Role.PARTNER)
        seen = self.seen(visitor)
        visitor.leave()
        self.assertEqual(seen.name, visitor.record.name)
        self.assertLess(self.first.up.size, 2 * MOST_TOLD)

    def test_endsByOperator(self) -> None:
        """Whoever asks for it again is too late, also before the worker has closed it."""
        visitor = Visitor(self.first)
        actions = ActedOn(self.clock, self.parent).actions
        actions.endConnection(visitor.record.number, "anna")
        with self.assertRaises(TooLateError):
            actions.endConnection(visitor.record.number, "anna")
        self.wait()
        self.assertEqual(visitor.asked, ["dismiss: ended-by-operator"])

    def test_reportedBeforeItHears(self) -> None:
        """What a worker tells meanwhile does not undo that a connection has to end."""
        self.startReports()
        one, two = Visitor(self.first), Visitor(self.first)
        for visitor in one, two:
            self.seen(visitor).client.dismiss(Outcome.ENDED_BY_OPERATOR)
        one.stage, one.record.received = "authenticating", 1
        self.clock.advance(REPORT_INTERVAL)
        two.isJoinedBy(Role.PARTNER)
        self.wait()
        self.assertEqual([self.seen(each).client.stage for each in (one, two)], ["closing"] * 2)

    def test_endWithoutReason(self) -> None:
        visitor = Visitor(self.first)
        self.first.registry.ended(visitor.record)
        self.assertEqual(self.parent.counters.outcomes, {Outcome.CONNECTION_LOST: 1})

    def test_anyText(self) -> None:
        """Whatever a client calls itself; of very much of it, a part."""
        visitor = Visitor(self.first)
        mirrored = self.seen(visitor)
        visitor.record.name, visitor.record.uuid = '\ud800"\n\0', "\N{PILE OF POO}" * 100_000
        visitor.leave()
        self.assertEqual(mirrored.name, '\ud800"\n\0')
        self.assertEqual(mirrored.uuid, "\N{PILE OF POO}" * MOST_TOLD)
        self.assertLess(self.first.up.size, 10_000)

    def test_traffic(self) -> None:
        """Once a second, of those where something has changed."""
        self.startReports()
        one, two = Visitor(self.first), Visitor(self.first)
        one.stage, one.record.received, one.record.sent = "waiting", 3, 4
        one.record.name = "me"
        self.clock.advance(REPORT_INTERVAL)
        self.assertEqual(self.first.up.kinds, ["traffic"])
        seen = self.seen(one)
        self.assertEqual(
            (seen.client.stage, seen.received, seen.sent, seen.name), ("waiting", 3, 4, "me")
        )
        self.assertEqual(self.parent.counters.load().received, {TCP: 3})
        self.clock.advance(REPORT_INTERVAL)
        self.assertEqual(self.first.up.kinds, ["traffic"])
        two.record.received = 1
        self.clock.advance(REPORT_INTERVAL)
        self.assertEqual(self.first.up.kinds, ["traffic"] * 2)
        self.assertEqual(self.seen(two).received, 1)
        two.stage = "closing"
        self.clock.advance(REPORT_INTERVAL)
        self.assertEqual(self.seen(two).client.stage, "closing")

    def test_manyInSlices(self) -> None:
        """The next one is sent when the parent has taken the one before."""
        self.patch(records, "RECORDS_A_TURN", 2)
        visitors = [Visitor(self.first) for _ in range(6)]
        for visitor in visitors:
            visitor.record.received = 1
        visitors[2].record.received = visitors[3].record.received = 0
        self.startReports()
        self.first.down.hold()
        self.clock.advance(REPORT_INTERVAL)
        self.assertEqual(self.first.up.kinds, ["traffic"])
        self.clock.advance(5 * REPORT_INTERVAL)
        self.assertEqual(self.first.up.kinds, ["traffic"])
        visitors[5].leave()
        self.first.down.release()
        self.wait()
        self.assertEqual(self.first.up.kinds, ["traffic", "ended", "traffic"])
        self.assertEqual([self.seen(each).received for each in visitors[:5]], [1, 1, 0, 0, 1])

    def test_late(self) -> None:
        """What is told of a connection that is over has no effect."""
        visitor = Visitor(self.first)
        number = visitor.record.number
        self.parent.ended(self.seen(visitor))
        self.startReports()
        visitor.record.received = 1
        self.clock.advance(REPORT_INTERVAL)
        self.limitAccounts(AccountBounds(tunnels=1))
        visitor.record.subject = "somebody"
        self.first.registry.named(visitor.record, Role.PARTNER)
        self.first.registry.authenticated(visitor.record)
        visitor.isJoinedBy(Role.PARTNER)
        self.first.registry.identified(visitor.record, IPv4Address("TCP", "192.0.2.7", 1))
        visitor.leave()
        self.assertIsNone(self.parent.find(number))
        self.assertEqual((self.parent.gate.connections, self.parent.gate.unauthenticated), (0, 0))

    def test_accounts(self) -> None:
        """A tunnel is counted whichever is heard first, that it began or whose the partner is."""
        self.limitAccounts(AccountBounds(tunnels=1))
        self.second.up.hold()
        one, two = Visitor(self.first), Visitor(self.second)
        for visitor, partner in (one, two), (two, one):
            visitor.record.subject = "somebody"
            self.assertIsNone(visitor.member.registry.named(visitor.record, Role.PARTNER))
            visitor.isJoinedBy(Role.PARTNER, partner)
        three = Visitor(self.first)
        three.record.subject = "somebody"
        self.second.up.release()
        self.first.registry.named(three.record, Role.PARTNER)
        self.wait()
        self.assertEqual((one.asked, two.asked), ([], []))
        self.assertEqual(three.asked, ["dismiss: too-many-tunnels"])
        for visitor in one, two:
            visitor.leave()
        self.assertIsNone(self.parent.named(self.seen(three), Role.PARTNER))

    def test_withoutAccountLimits(self) -> None:
        """Nobody asks the parent."""
        visitor = Visitor(self.first)
        visitor.record.subject = "somebody"
        self.first.registry.named(visitor.record, Role.PARTNER)
        self.assertNotIn("named", self.first.up.kinds)

    def test_notItsOwn(self) -> None:
        """A worker tells of its own connections only."""
        visitor = Visitor(self.first)
        self.second.registry._send(("ended", visitor.record.number, "shutdown", 0, 0, None, None))
        self.assertIsNotNone(self.seen(visitor))

    def test_judgement(self) -> None:
        """How long the authentication backend took is the parent's to know, if anybody asks it."""
        self.first.registry.observers.append(JudgementReporter(self.first.up.send))
        self.first.registry.observers.tell(lambda observer: observer.authenticated(0.25))
        self.assertEqual(self.observer.seconds, [0.25])

    def test_privacy(self) -> None:
        """Both sides write addresses as they are told to."""
        visitor = Visitor(self.first)
        for registry in (self.parent, self.first.registry):
            registry.setPrivacy(Privacy.NONE)
        self.assertEqual(visitor.record.peer, self.seen(visitor).peer)
        self.assertNotIn("192", visitor.record.peer)

    def test_notTakenOver(self) -> None:
        """A connection that a worker cannot use."""
        record = self.first.admit(ADDRESS, TCP)
        assert record is not None
        self.first.registry.expect(record.number, record.ticket.source)
        self.first.registry.giveUp(record.number, Outcome.CONNECTION_LOST)
        self.assertEqual(len(self.parent.records), 0)
        self.assertEqual(self.parent.counters.outcomes[Outcome.CONNECTION_LOST], 1)

    def test_halfTakenOver(self) -> None:
        """One that fails when it is among the worker's already is cut off, and ends like others."""
        visitor = Visitor(self.first)
        self.first.registry.giveUp(visitor.record.number, Outcome.INTERNAL_ERROR)
        self.assertEqual(visitor.asked, ["abort"])
        visitor.leave()
        self.assertEqual(self.parent.counters.outcomes, {Outcome.INTERNAL_ERROR: 1})

    def test_halfTakenOverByNobody(self) -> None:
        """There may be nobody yet who could cut it off: then it has ended."""
        visitor = Visitor(self.first)
        visitor.abort = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
        other = self.first.accept(ADDRESS, TCP)
        assert other is not None and other.client is None
        for record in (visitor.record, other):
            self.first.registry.giveUp(record.number, Outcome.INTERNAL_ERROR)
        self.assertEqual(self.parent.counters.outcomes, {Outcome.INTERNAL_ERROR: 2})
        for registry in (self.parent, self.first.registry):
            self.assertEqual(len(registry.records), 0)


class LimitTests(MirrorCase):
    """Limits hold for all workers together."""

    bounds = Bounds(connectionsPerAddress=2, unauthenticated=3, exempt=())

    def test_perAddress(self) -> None:
        one = Visitor(self.first)
        Visitor(self.second)
        for worker in self.group.workers:
            self.assertIsNone(worker.accept(ADDRESS, TCP))
        one.leave()
        Visitor(self.second)

    def test_authenticated(self) -> None:
        visitors = [Visitor(self.first, UNIXAddress(None)) for _ in range(3)]
        self.assertIsNone(self.second.accept(UNIXAddress(None), TCP))
        self.first.registry.authenticated(visitors[0].record)
        Visitor(self.second, UNIXAddress(None))

    def test_identified(self) -> None:
        """The parent refuses when it hears the client's real address."""
        self.first.registry.gate.bounds = self.second.registry.gate.bounds = self.bounds
        real = IPv6Address("TCP", "2001:db8::1", 5)
        for worker in (self.first, self.second, self.first):
            visitor = Visitor(worker, UNIXAddress(None))
            self.assertIsNone(worker.registry.identified(visitor.record, real))
            self.assertEqual(visitor.record.address, "[2001:db8::1]:5")
            self.assertEqual(visitor.record.ticket.source, "2001:db8::/64")
        seen = self.seen(visitor)
        self.assertEqual((seen.address, seen.peer), ("[2001:db8::1]:5", "[2001:db8::1]:5"))
        self.assertEqual(visitor.asked, ["abort"])
        visitor.leave()
        self.assertEqual(self.parent.counters.outcomes, {Outcome.TOO_MANY_FROM_ADDRESS: 1})

    def test_refusedTooLate(self) -> None:
        """It has left meanwhile."""
        self.first.down.hold()
        for _ in range(3):
            visitor = Visitor(self.first, UNIXAddress(None))
            self.first.registry.identified(visitor.record, ADDRESS)
        visitor.leave()
        self.first.down.release()
        self.assertEqual(visitor.asked, [])
        self.assertEqual(self.parent.counters.outcomes, {Outcome.CLIENT_LEFT: 1})


class GroupTunnelTests(MirrorCase):
    """Tunnels, between two workers above all."""

    def pair(self) -> tuple[Visitor, Visitor]:
        """Return two clients that are about to have a tunnel."""
        return Visitor(self.first), Visitor(self.second)

    def test_oneTunnel(self) -> None:
        one, two = self.pair()
        one.isJoinedBy(Role.PARTNER, two)
        self.assertIs(self.seen(two).role, Role.PARTNER)
        for _ in range(2):
            load = self.parent.counters.load()
            self.assertEqual((load.tunnels, load.totals.tunnels), (1, 1))
            self.assertIs(self.seen(one).partner, self.seen(two))
            self.assertIs(self.seen(two).partner, self.seen(one))
            self.assertIs(self.seen(one).client.stage, State.TUNNELED.value)
            two.isJoinedBy(Role.PARTNER, one)

    def test_written(self) -> None:
        """Of a tunnel between two workers is told once, with what both have carried."""
        one, two = self.pair()
        one.isJoinedBy(Role.PARTNER, two)
        two.isJoinedBy(Role.PARTNER, one)
        sides = [self.seen(one), self.seen(two)]
        one.record.received, two.record.received = 3, 4
        one.leave()
        self.assertEqual(self.observer.ended, [])
        two.leave()
        self.assertEqual(self.observer.ended, [(sides[1], sides[0])])
        self.assertEqual(self.parent.counters.load().totals, Totals(2, tunnels=1, traffic=7))

    def joinedElsewhere(self, one: Visitor) -> Record:
        """Have a client meet one of another machine; return that one's record."""
        far = Record(0, TCP, False, "192.0.2.1:1", "192.0.2.1", "", one.record.ticket, 0)
        far.name, far.uuid = "far", "f"
        one.record.role = Role.PARTNER
        return far

    def test_partnerElsewhere(self) -> None:
        """A client of another machine has no connection here, but the tunnel is counted here."""
        one = Visitor(self.first)
        far = self.joinedElsewhere(one)
        far.partner = one.record
        self.first.registry.joined(one.record, far)
        seen = self.seen(one)
        partner = seen.partner
        assert partner is not None
        self.assertEqual((partner.name, partner.uuid, partner.address), ("far", "f", far.address))
        self.assertIs(partner.role, Role.PARTNER)
        self.assertEqual(self.parent.counters.load().tunnels, 1)
        far.received, far.sent = 5, 6
        far.endsWith(Outcome.CLIENT_LEFT)
        one.leave()
        self.assertEqual(self.observer.ended, [(seen, partner)])
        self.assertEqual((partner.received, partner.sent), (5, 6))
        self.assertIs(partner.outcome, Outcome.CLIENT_LEFT)
        self.assertEqual(self.parent.counters.totals.tunnels, 1)

    def test_longPartnerElsewhere(self) -> None:
        """No more of it is told than of our own clients."""
        one = Visitor(self.first)
        far = self.joinedElsewhere(one)
        far.name = far.uuid = "x" * (MOST_TOLD + 1)
        far.partner = one.record
        size = self.first.up.size
        self.first.registry.joined(one.record, far)
        self.assertLess(self.first.up.size - size, 2 * MOST_TOLD + 500)
        partner = self.seen(one).partner
        assert partner is not None
        self.assertEqual((len(partner.name), len(partner.uuid)), (MOST_TOLD, MOST_TOLD))

    def test_workerDiesWithIt(self) -> None:
        """Of a tunnel with another machine there is one line, too, when the worker is killed."""
        one = Visitor(self.first)
        far = self.joinedElsewhere(one)
        far.partner = one.record
        self.first.registry.joined(one.record, far)
        seen = self.seen(one)
        partner = seen.partner
        self.first.die()
        self.clock.advance(0)
        self.assertEqual(self.observer.ended, [(seen, partner)])
        self.assertIs(seen.outcome, Outcome.WORKER_LOST)

    def test_countedElsewhere(self) -> None:
        """Where the other machine is the tunnel's home nothing of it is counted or told here."""
        one = Visitor(self.first)
        far = self.joinedElsewhere(one)
        self.first.registry.joined(one.record, far)
        self.assertEqual(self.parent.counters.load().tunnels, 0)
        one.leave()
        self.assertEqual(self.observer.ended, [])
        self.assertEqual(self.parent.counters.totals.tunnels, 0)

    def test_takenPartner(self) -> None:
        """A tunnel is not taken apart by whoever tells of one with the same partner."""
        one, two = self.pair()
        three = Visitor(self.first)
        one.isJoinedBy(Role.PARTNER, two)
        three.isJoinedBy(Role.PARTNER, two)
        self.assertIs(self.seen(two).partner, self.seen(one))
        self.assertIsNone(self.seen(three).partner)

    def test_tunnelProxy(self) -> None:
        server, client = self.pair()
        server.record.uuid = client.record.serverUuid = "s"
        server.isJoinedBy(Role.SERVER)
        client.isJoinedBy(Role.CLIENT)
        load = self.parent.counters.load()
        self.assertEqual((load.servers, load.clients, load.tunnels), (1, 1, 0))
        gone = self.parent.dismissal.dismissIdle()
        self.assertEqual((server.asked, client.asked), ([], []))
        client.leave()
        self.assertEqual(server.asked, ["shutDown"])
        server.leave()
        self.successResultOf(gone)

    def test_guestsElsewhere(self) -> None:
        """A server with clients of other machines is not sent away before the last one leaves."""
        server, idle = Visitor(self.first), Visitor(self.first)
        server.record.uuid, idle.record.uuid = "s", "i"
        server.isJoinedBy(Role.SERVER)
        idle.isJoinedBy(Role.SERVER)
        guests = [self.guest("s"), self.guest("s")]
        for guest in guests:
            self.first.registry.dismissal.joined(guest)
        self.parent.dismissal.dismissIdle()
        self.assertEqual((server.asked, idle.asked), ([], ["shutDown"]))
        self.first.registry.dismissal.ended(guests[0])
        self.assertEqual(server.asked, [])
        self.first.registry.dismissal.ended(guests[1])
        self.assertEqual(server.asked, ["shutDown"])
        self.assertEqual(self.parent.counters.load().clients, 0)

    def test_guestsOfADeadWorker(self) -> None:
        """They are gone with it, and keep no server of another worker's."""
        server, another = Visitor(self.second), self.guest("s")
        server.record.uuid = "s"
        server.isJoinedBy(Role.SERVER)
        for _ in range(2):
            self.first.registry.dismissal.joined(another)
        self.second.registry.dismissal.joined(self.guest("s"))
        self.first.die()
        self.parent.dismissal.dismissIdle()
        self.assertEqual(server.asked, [])
        self.second.registry.dismissal.ended(self.guest("s"))
        self.assertEqual(server.asked, ["shutDown"])

    @PROPERTY
    @given(st.data())
    def test_anyOrder(self, data: Any) -> None:
        """However the messages of the two workers are mixed: one tunnel, told of once."""
        self.make()
        one, two = self.pair()
        sides = {self.seen(one), self.seen(two)}
        self.first.up.hold()
        self.second.up.hold()
        one.isJoinedBy(Role.PARTNER, two)
        two.isJoinedBy(Role.PARTNER, one)
        one.record.received, two.record.received = 3, 4
        for visitor in data.draw(st.permutations((one, two))):
            visitor.leave()
        wires = [self.first.up] * 2 + [self.second.up] * 2
        for wire in data.draw(st.permutations(wires)):
            wire.flush(1)
        self.assertEqual([set(ended) for ended in self.observer.ended], [sides])
        self.assertEqual(self.parent.counters.load().totals, Totals(2, tunnels=1, traffic=7))
        self.assertEqual({side.partner for side in sides}, {None})


class LeavingTests(MirrorCase):
    """Who is asked to leave, and meanwhile does something else."""

    def patient(self) -> Member:
        """Return a worker in which turns are a matter of time."""
        return Member(self.clock, Turns(self.clock), self.parent, 3)

    def test_hasGotATunnel(self) -> None:
        """A client that the parent takes for idle stays."""
        one, two = Visitor(self.first), Visitor(self.second)
        self.first.up.hold()
        self.second.up.hold()
        one.isJoinedBy(Role.PARTNER, two)
        two.isJoinedBy(Role.PARTNER, one)
        self.parent.dismissal.dismissIdle()
        self.first.up.release()
        self.second.up.release()
        self.assertEqual((one.asked, two.asked), ([], []))

    def test_hasGotAGuest(self) -> None:
        """As does a server whose first client, here or elsewhere, the parent has not heard of."""
        for isHere in (False, True):
            server, client = Visitor(self.first), Visitor(self.first)
            server.record.uuid = client.record.serverUuid = f"s{isHere}"
            server.isJoinedBy(Role.SERVER)
            self.first.up.hold()
            if isHere:
                client.isJoinedBy(Role.CLIENT)
            else:
                guest = self.guest(server.record.uuid)
                self.first.registry.dismissal.joined(guest)
            self.parent.dismissal.dismissIdle()
            self.first.up.release()
            self.assertEqual(server.asked, [])
            if isHere:
                client.leave()
            else:
                self.first.registry.dismissal.ended(guest)
            self.assertEqual(server.asked, ["shutDown"])

    def test_hasRegistered(self) -> None:
        """A server that the parent does not know as one yet goes, since it has no client."""
        server = Visitor(self.first)
        server.record.uuid = "s"
        self.first.up.hold()
        server.isJoinedBy(Role.SERVER)
        self.parent.dismissal.dismissIdle()
        self.assertEqual(server.asked, ["shutDown"])

    def test_everybodyGoes(self) -> None:
        """Whatever they have got meanwhile, and once."""
        one, two = Visitor(self.first), Visitor(self.second)
        self.first.up.hold()
        one.isJoinedBy(Role.PARTNER, two)
        self.parent.dismissal.dismissAll()
        self.first.up.release()
        self.assertEqual((one.asked, two.asked), (["shutDown"], ["shutDown"]))

    def test_onItsWay(self) -> None:
        """It is asked as soon as it is there."""
        worker = self.patient()
        for leave, asked in (("dismissAll", "shutDown"), ("abortAll", "abort")):
            record = worker.admit(ADDRESS, TCP)
            assert record is not None
            getattr(self.parent.dismissal, leave)()
            worker.registry.expect(record.number, None)
            here = worker.registry.admit(ADDRESS, TCP, False)
            here.client = visitor = Visitor.__new__(Visitor)
            visitor.asked = []
            self.wait()
            self.assertEqual(visitor.asked, [asked])
            here.endsWith(Outcome.SHUTDOWN)
            worker.registry.ended(here)

    def test_isOver(self) -> None:
        """One that has ended is not asked, nor kept in mind."""
        visitor = Visitor(self.first)
        self.first.up.hold()
        visitor.leave()
        self.parent.dismissal.dismissAll()
        self.first.mirror.send(("next",))  # nor is anything reported that this could be for
        self.assertEqual(visitor.asked, [])
        self.assertEqual((self.first.registry._asked, self.first.registry._early), ({}, {}))

    def test_leavesWithAnother(self) -> None:
        """As the partner does that is told first."""
        worker = self.patient()
        one, two = Visitor(worker), Visitor(worker)
        one.shutDown = two.leave  # type: ignore[method-assign]
        self.parent.dismissal.dismissAll()
        self.wait()
        self.assertEqual(two.asked, [])

    def test_manyInTurns(self) -> None:
        """Many are asked in one read, which takes more than one turn; some have left meanwhile."""
        self.patch(turns, "TURN", 0)
        self.patch(reporting, "GOODBYES_A_TURN", 2)
        worker = self.patient()
        visitors = [Visitor(worker) for _ in range(6)]
        worker.down.hold()
        self.parent.dismissal.dismissAll()
        worker.down.release()
        self.assertEqual([each.asked for each in visitors], [[]] * 6)
        oneTurn(self.clock)
        self.assertEqual([each.asked for each in visitors], [["shutDown"]] * 2 + [[]] * 4)
        for leaving in visitors[1:4]:
            leaving.leave()
        oneTurn(self.clock)
        asked = [each.asked for each in visitors]
        self.assertEqual(asked, [["shutDown"]] * 2 + [[]] * 2 + [["shutDown"]] * 2)


class LostTests(MirrorCase):
    """A worker dies."""

    def test_itsConnections(self) -> None:
        """End, a few in a turn, and no others."""
        self.patch(mirror, "ENDS_A_TURN", 2)
        visitors = [Visitor(self.first) for _ in range(5)]
        other = Visitor(self.second)
        visitors[4].isJoinedBy(Role.PARTNER, other)
        sides = {self.seen(visitors[4]), self.seen(other)}
        gone = self.first.die()
        self.assertEqual(len(self.parent.records), 4)
        late = Visitor(Member(self.clock, self.parent._turns, self.parent, 1))
        self.wait()
        self.successResultOf(gone)
        self.assertEqual(set(self.parent.records), {self.seen(other), self.seen(late)})
        self.assertEqual(self.parent.counters.outcomes, {Outcome.WORKER_LOST: 5})
        self.assertEqual(self.first.mirror.connections, 0)
        self.assertEqual(self.observer.ended, [])
        other.leave()
        self.assertEqual([set(ended) for ended in self.observer.ended], [sides])

    def test_whileAllLeave(self) -> None:
        """The last ones were its own."""
        Visitor(self.first)
        gone = self.parent.dismissal.dismissAll()
        self.first.die()
        self.successResultOf(gone)
