"""Owns the checks of what all members share, of faults, and of parts that are off."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from nymearemoteproxy.cluster.answering import IHome
from nymearemoteproxy.cluster.directory import Holder, Member
from nymearemoteproxy.cluster.membership import GUEST, Membership
from nymearemoteproxy.cluster.memorydirectory import MemoryDirectory, PlaceTable
from nymearemoteproxy.cluster.places import Kind, PlaceSeat
from nymearemoteproxy.cluster.rendezvous import ClusterRendezvous
from nymearemoteproxy.cluster.switchboard import ClusterSwitchboard, seatOf
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.rendezvous import IRendezvous, NobodyWaits, Rendezvous
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.linkmessages import Meet, Visit
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration, ServerRegistration
from nymearemoteproxy.protocol.session import Identity, makeHello
from nymearemoteproxy.tunnelproxy.ends import Origin
from nymearemoteproxy.tunnelproxy.switchboard import ISwitchboard, Switchboard, Terms
from tests.cluster.test_places import HIS, ME, SEAT, PlacesCase
from tests.cluster.test_talking import FakeDirectory, FakeLinker
from tests.support.parts import makeProxy

APP = ClientRegistration("app", UUID(int=1), UUID(int=2))


class FakeAsking:
    """Answers what the test wants."""

    def __init__(self) -> None:
        self.answer: Deferred[Any] = Deferred()
        self.asked: list[Holder] = []

    def meet(self, holder: Holder, place: str, identity: Identity, record: Any) -> Deferred[Place]:
        """Answer."""
        self.asked.append(holder)
        return self.answer

    def visit(self, holder: Holder, *_what: Any) -> Deferred[Place]:
        """Answer."""
        self.asked.append(holder)
        return self.answer


class RendezvousTests(PlacesCase):
    """The meeting place."""

    def setUp(self) -> None:
        super().setUp()
        self.local, self.asking = Rendezvous(), FakeAsking()
        self.rendezvous = ClusterRendezvous(
            self.clock,
            self.local,
            self.places,
            self.asking,  # type: ignore[arg-type]
            self.reclaiming.awake,
        )

    def join(self) -> Deferred[Place]:
        """Come."""
        return self.rendezvous.join(SEAT.digest, Identity(), lambda: succeed(True))

    def joinElsewhere(self) -> Deferred[Place]:
        """Come where somebody of another member waits."""
        joined = self.join()
        self.expect("claim", self.name, self.mine()).callback(HIS)
        self.assertEqual(self.asking.asked, [HIS])
        return joined

    def test_interface(self) -> None:
        """It provides what it says."""
        self.assertTrue(verifyObject(IRendezvous, self.rendezvous))

    def test_fault(self) -> None:
        """A fault of ours costs this client's connection."""
        joined = self.joinElsewhere()
        self.asking.answer.errback(ZeroDivisionError())
        self.failureResultOf(joined, ZeroDivisionError)

    def test_faultOfPlaces(self) -> None:
        """The same before anybody is asked."""
        self.patch(self.places, "take", lambda _seat: fail(ZeroDivisionError()))
        self.failureResultOf(self.join(), ZeroDivisionError)

    def test_faultOfNobody(self) -> None:
        """When the client has left it is only logged."""
        joined = self.join()
        joined.cancel()
        self.failureResultOf(joined, CancelledError)
        self.patch(self.places, "leave", lambda _seat: 1 / 0)
        self.expect("claim", self.name, self.mine()).callback(self.mine())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_foundForNobody(self) -> None:
        """A place that is found although it was given up is abandoned."""
        released: list[bool] = []
        place = Place(Tunnel(lambda: released.append(True)))
        self.asking.answer = Deferred(lambda answer: answer.callback(place))
        self.joinElsewhere().addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        self.assertEqual(released, [True])

    def test_visitWhileReleased(self) -> None:
        """The last one has just left."""
        joined = self.join()
        self.expect("claim", self.name, self.mine()).callback(self.mine())
        joined.cancel()
        self.failureResultOf(joined, CancelledError)
        visited = self.rendezvous.visit(
            SEAT, Identity(), lambda *_who: succeed(True), lambda: succeed(True)
        )
        self.failureResultOf(visited, NobodyWaits)


class SwitchboardTests(PlacesCase):
    """The tunnel proxy."""

    def setUp(self) -> None:
        super().setUp()
        turns = Turns(self.clock)
        self.local = Switchboard(self.clock, makeHello("test", True), Terms(), turns)
        self.switchboard = ClusterSwitchboard(
            self.local,
            self.directory,  # type: ignore[arg-type]
            self.places,
            FakeAsking(),  # type: ignore[arg-type]
            self.reclaiming.awake,
        )

    def assertRefused(self, outcome: Outcome) -> None:
        """A client is refused, and nothing is left of it."""
        registered = self.switchboard.register(APP, Origin(1))
        refusal: Any = self.failureResultOf(registered, PlaceRefused).value
        self.assertIs(refusal.outcome, outcome)
        self.assertEqual((self.switchboard._away, self.switchboard._coming), ({}, {}))
        self.assertNothingLeft()

    def test_interface(self) -> None:
        """It provides what it says."""
        self.assertTrue(verifyObject(ISwitchboard, self.switchboard))

    def test_change(self) -> None:
        """What is changed is the member's own."""
        terms = Terms(packetSize=17)
        self.switchboard.change({}, terms, {UUID(int=5)})
        self.assertIs(self.local.terms, terms)
        self.assertEqual(self.local._allowed, {UUID(int=5)})

    def test_withoutSecret(self) -> None:
        """As long as there is none nobody can be found."""
        self.directory.secret = None
        self.assertRefused(Outcome.DIRECTORY_UNAVAILABLE)

    def test_ownLeftover(self) -> None:
        """A place that is said to be ours, and is nobody's, is that of no server."""
        self.directory.isAnswering = False
        self.patch(self.directory, "find", lambda _place: succeed(self.mine()))
        self.assertRefused(Outcome.SERVER_NOT_FOUND)

    def test_sameUuidWhileCounted(self) -> None:
        """Another one went elsewhere with it while its address was counted, by another process."""
        counted: Deferred[Any] = Deferred()
        released: list[bool] = []
        self.directory.isAnswering = False
        self.patch(self.directory, "find", lambda _place: succeed(HIS))
        self.patch(self.local._counts, "take", lambda *_who: counted)
        server = self.switchboard.register(ServerRegistration("core", APP.uuid), Origin(1))
        client = self.switchboard.register(APP, Origin(2))
        self.assertNoResult(client)
        counted.callback(lambda: released.append(True))
        refusal: Any = self.failureResultOf(server, PlaceRefused).value
        self.assertIs(refusal.outcome, Outcome.ALREADY_REGISTERED)
        self.assertEqual((self.local.servers, released), (0, [True]))
        self.assertCounts(0, 1)  # the client's
        self.assertNoResult(client)

    def test_seat(self) -> None:
        """A client and a server with one uuid want the same."""
        self.assertEqual(seatOf(UUID(int=5)), PlaceSeat(Kind.UUID, UUID(int=5).bytes))


class MembershipTests(SynchronousTestCase):
    """A member without a tunnel proxy."""

    def setUp(self) -> None:
        clock = Clock()
        proxy = makeProxy(clock)
        directory = MemoryDirectory(PlaceTable(clock.seconds), Member(ME, "unix:/x", 1), clock)
        self.membership = Membership(proxy, directory, FakeLinker(), ME)  # type: ignore[arg-type]
        self.directory = FakeDirectory()

    def assertThere(self, isThere: bool, place: str) -> None:
        """Somebody is at a place."""
        self.assertIs(self.successResultOf(self.membership.look(place)), isThere)

    def test_interface(self) -> None:
        """It is a home."""
        self.assertTrue(verifyObject(IHome, self.membership))

    def test_visit(self) -> None:
        """Nobody is here."""
        far: Any = None
        visited = self.membership.visit(Visit(ME, "uuid:x", 1, APP, "", far))
        self.failureResultOf(visited, NobodyWaits)

    def test_meet(self) -> None:
        """At a place that nobody has heard of, or that is none."""
        uuid = seatOf(UUID(int=1))
        self.successResultOf(self.membership.places.take(uuid))
        for place in ("key:x", self.membership.places.name(uuid)):
            far: Any = None
            ask = Meet(ME, place, 1, Identity(), far)
            met = self.membership.meet(ask, lambda *_who: succeed(True))
            self.failureResultOf(met, NobodyWaits)

    def test_look(self) -> None:
        """Nobody is anywhere, whatever is asked for."""
        uuid = seatOf(UUID(int=1))
        for seat in (SEAT, uuid):
            self.successResultOf(self.membership.places.take(seat))
            self.assertThere(False, self.membership.places.name(seat))
        for place in ("key:x", GUEST, f"{GUEST}5", f"{GUEST}x", f"{GUEST}²", GUEST + "9" * 5000):
            self.assertThere(False, place)

    def test_lost(self) -> None:
        """Nobody is at it."""
        for seat in (SEAT, seatOf(UUID(int=1))):
            self.membership._lost(seat, HIS)
