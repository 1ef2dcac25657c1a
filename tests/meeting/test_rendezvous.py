"""Owns the checks of the meeting place and of the tunnel, with legs that only take notes."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from nymearemoteproxy.meeting.place import Look, Place, PlaceRefused
from nymearemoteproxy.meeting.rendezvous import IRendezvous, NobodyWaits, Rendezvous, WaiterLeft
from nymearemoteproxy.meeting.tunnel import NOBODY as NO_PARTNER
from nymearemoteproxy.meeting.tunnel import ILeg, Tunnel
from nymearemoteproxy.protocol.frames import Frames
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Identity

KEY, OTHER_KEY = b"key", b"other key"
ANNA = Identity("Anna", "{11111111-2222-3333-4444-55555555aaaa}")
BERT = Identity("Bert", "{11111111-2222-3333-4444-55555555bbbb}")
NOBODY = Identity()


@implementer(ILeg)
class FakeLeg:
    """A leg that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.whenFinished: Callable[[], object] | None = None

    def enter(self, tunnel: Tunnel) -> None:
        self.told.append(("enter", tunnel))

    def open(self, partner: ILeg) -> None:
        self.told.append(("open", partner))

    def begin(self) -> None:
        self.told.append("begin")

    def sendBytes(self, data: bytes) -> None:
        self.told.append(data)

    def sendFrames(self, frames: Frames) -> None:
        self.told.append(frames)

    def pauseReading(self) -> None:
        self.told.append("pauseReading")

    def resumeReading(self) -> None:
        self.told.append("resumeReading")

    def finish(self, outcome: Outcome) -> None:
        self.told.append(outcome)
        if self.whenFinished is not None:
            self.whenFinished()

    def partnerLost(self) -> None:
        self.told.append("partnerLost")


class RendezvousCase(SynchronousTestCase):
    """A meeting place."""

    def setUp(self) -> None:
        self.rendezvous = Rendezvous()

    def join(
        self, key: bytes, identity: Identity, look: Look = lambda: succeed(True)
    ) -> Deferred[Place]:
        """Join; unless told otherwise, whoever waits is there when it is looked."""
        return self.rendezvous.join(key, identity, look)

    def assertCounts(self, waiting: int, tunnels: int) -> None:
        """So many wait, so many tunnels are up."""
        self.assertEqual((self.rendezvous.waiting, self.rendezvous.tunnels), (waiting, tunnels))

    def assertRefused(self, joined: Deferred[Place], outcome: Outcome) -> None:
        """There was no place."""
        refusal = self.failureResultOf(joined, PlaceRefused).value
        self.assertIs(refusal.outcome, outcome)
        self.assertEqual(str(refusal), outcome.label)


class RendezvousTests(RendezvousCase):
    """Who meets whom."""

    def tunnel(self, key: bytes = KEY) -> Tunnel:
        """Return a tunnel that is up, its legs attached."""
        self.join(key, NOBODY)
        tunnel = self.successResultOf(self.join(key, NOBODY)).tunnel
        tunnel.attach(FakeLeg())
        tunnel.attach(FakeLeg())
        return tunnel

    def test_interface(self) -> None:
        """It provides what it says."""
        self.assertTrue(verifyObject(IRendezvous, self.rendezvous))

    def test_meeting(self) -> None:
        """The first waits, the second does not; each learns of the other, and of one tunnel."""
        first = self.join(KEY, ANNA)
        self.assertNoResult(first)
        self.assertCounts(1, 0)
        second = self.successResultOf(self.join(KEY, BERT))
        meeting = self.successResultOf(first)
        self.assertEqual((meeting.partner, second.partner), (BERT, ANNA))
        self.assertIs(meeting.tunnel, second.tunnel)
        self.assertCounts(0, 1)

    def test_keysDiffer(self) -> None:
        """Who has another key waits elsewhere."""
        first = self.join(KEY, ANNA)
        other = self.join(OTHER_KEY, BERT)
        self.assertNoResult(first)
        self.assertNoResult(other)
        self.assertCounts(2, 0)
        self.successResultOf(self.join(OTHER_KEY, NOBODY))
        self.assertNoResult(first)
        self.assertCounts(1, 1)

    def test_tunnelExists(self) -> None:
        """A third one is refused, and the tunnel is not disturbed."""
        tunnel = self.tunnel()
        self.assertRefused(self.join(KEY, ANNA), Outcome.TUNNEL_EXISTS)
        self.assertCounts(0, 1)
        for leg in tunnel._legs:
            self.assertEqual(len(leg.told), 3)  # type: ignore[attr-defined]

    def test_afterTheTunnel(self) -> None:
        """Once the tunnel is no longer up its key is free: the next one waits, as before."""
        tunnel = self.tunnel()
        tunnel.ended(tunnel._legs[0])
        self.assertRefused(self.join(KEY, ANNA), Outcome.TUNNEL_EXISTS)
        tunnel.lost(tunnel._legs[0])
        self.assertCounts(0, 0)
        first = self.join(KEY, ANNA)
        self.assertNoResult(first)
        second = self.successResultOf(self.join(KEY, BERT))
        self.assertIsNot(second.tunnel, tunnel)
        tunnel.lost(tunnel._legs[1])
        self.assertCounts(0, 1)

    def test_duplicateUuid(self) -> None:
        """Who meets itself would loop: both are refused, and the place is free again."""
        for one, two in (
            (ANNA.uuid, ANNA.uuid),
            (ANNA.uuid, ANNA.uuid.strip("{}")),
            (ANNA.uuid.upper(), ANNA.uuid),
        ):
            first = self.join(KEY, Identity("one", one))
            second = self.join(KEY, Identity("two", two))
            self.assertRefused(first, Outcome.DUPLICATE_UUID)
            self.assertRefused(second, Outcome.DUPLICATE_UUID)
            self.assertCounts(0, 0)

    def test_sameName(self) -> None:
        """Names need not differ."""
        self.join(KEY, Identity("Phone", ANNA.uuid))
        self.successResultOf(self.join(KEY, Identity("Phone", BERT.uuid)))

    def test_firstApi(self) -> None:
        """Clients of the first API have no uuid, which is nobody's duplicate."""
        for one, two in ((NOBODY, NOBODY), (NOBODY, ANNA), (ANNA, NOBODY)):
            self.rendezvous = Rendezvous()
            first = self.join(KEY, one)
            self.assertIs(self.successResultOf(self.join(KEY, two)).partner, one)
            self.assertIs(self.successResultOf(first).partner, two)

    def test_firstApiMeetsOddUuid(self) -> None:
        """Whatever a client of API 0.3 calls its uuid, it is none of the first API's."""
        self.join(KEY, NOBODY)
        self.successResultOf(self.join(KEY, Identity("odd", "{}")))

    def test_cancelled(self) -> None:
        """Who gives up frees its place at once, and only its own."""
        first = self.join(KEY, ANNA)
        other = self.join(OTHER_KEY, ANNA)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertCounts(1, 0)
        self.assertNoResult(self.join(KEY, BERT))
        self.assertNoResult(other)
        self.assertCounts(2, 0)

    def test_cancelledTooLate(self) -> None:
        """Once paired there is nothing to give up."""
        first = self.join(KEY, ANNA)
        second = self.join(KEY, BERT)
        third = self.join(KEY, BERT)
        for joined in (first, second, third):
            joined.cancel()
        self.assertRefused(third, Outcome.TUNNEL_EXISTS)
        self.assertCounts(0, 1)

    def test_thirdWhileTheFirstLearns(self) -> None:
        """In the very moment of pairing the tunnel is up already for everybody else."""
        refused: list[Deferred[Place]] = []
        first = self.join(KEY, ANNA)
        first.addCallback(lambda _: refused.append(self.join(KEY, ANNA)))
        self.join(KEY, BERT)
        self.assertRefused(refused[0], Outcome.TUNNEL_EXISTS)

    def test_rejoinWhenRefused(self) -> None:
        """Who is refused as a duplicate may come back at once, under its key."""
        again: list[Deferred[Place]] = []
        first = self.join(KEY, ANNA)
        first.addErrback(lambda _: again.append(self.join(KEY, ANNA)))
        self.assertRefused(self.join(KEY, ANNA), Outcome.DUPLICATE_UUID)
        self.assertNoResult(again[0])
        self.assertCounts(1, 0)


class ClashTests(RendezvousCase):
    """The same uuid comes once more: it is looked whether the one who waits is still there."""

    def setUp(self) -> None:
        super().setUp()
        self.looks: list[Deferred[bool]] = []
        self.first = self.join(KEY, ANNA, self.look)
        self.first.addErrback(lambda failure: failure.trap(CancelledError, PlaceRefused))
        self.second = self.join(KEY, ANNA, self.look)

    def look(self) -> Deferred[bool]:
        """It takes time to look."""
        self.looks.append(Deferred())
        return self.looks[-1]

    def firstIsGone(self) -> None:
        """What the wires do: the connection is closed, and its place given up."""
        self.first.cancel()
        self.looks[0].callback(False)

    def test_wait(self) -> None:
        """Until it is known nobody is refused, and it is looked once."""
        self.assertNoResult(self.first)
        self.assertNoResult(self.second)
        self.assertEqual(len(self.looks), 1)
        self.assertCounts(2, 0)

    def test_bothAreThere(self) -> None:
        """They are one client that would meet itself: both are refused."""
        self.looks[0].callback(True)
        self.assertRefused(self.second, Outcome.DUPLICATE_UUID)
        self.assertCounts(0, 0)

    def test_firstIsGone(self) -> None:
        """The second has the place, and meets who comes next."""
        self.firstIsGone()
        self.assertNoResult(self.second)
        third = self.successResultOf(self.join(KEY, BERT))
        self.assertEqual(third.partner, ANNA)
        self.assertIs(self.successResultOf(self.second).tunnel, third.tunnel)

    def test_firstLeavesMeanwhile(self) -> None:
        """It need not be known by looking."""
        self.first.cancel()
        self.assertCounts(1, 0)
        self.successResultOf(self.join(KEY, BERT))
        self.successResultOf(self.second)
        self.looks[0].callback(False)
        self.assertCounts(0, 1)

    def test_firstLeavesWhenSeen(self) -> None:
        """That it was there then means nothing any more."""
        self.first.cancel()
        self.looks[0].callback(True)
        self.assertIsNone(self.successResultOf(self.looks[0]))
        self.assertNoResult(self.second)
        self.assertCounts(1, 0)

    def test_secondLeavesMeanwhile(self) -> None:
        """The first one waits on."""
        self.second.cancel()
        self.failureResultOf(self.second, CancelledError)
        self.looks[0].callback(True)
        self.assertCounts(1, 0)
        self.assertEqual(self.successResultOf(self.join(KEY, BERT)).partner, ANNA)
        self.assertEqual(self.successResultOf(self.first).partner, BERT)  # type: ignore[union-attr]

    def test_partnerComesMeanwhile(self) -> None:
        """It meets the one that is there, not the one that may be dead."""
        third = self.join(KEY, BERT)
        self.assertNoResult(third)
        self.firstIsGone()
        self.assertIs(self.successResultOf(third).tunnel, self.successResultOf(self.second).tunnel)

    def test_partnerOfTwoWhoAreThere(self) -> None:
        """It waits for somebody else."""
        third = self.join(KEY, BERT)
        self.looks[0].callback(True)
        self.assertRefused(self.second, Outcome.DUPLICATE_UUID)
        self.assertNoResult(third)
        self.assertCounts(1, 0)

    def test_comesThreeTimes(self) -> None:
        """One after the other is looked at."""
        third = self.join(KEY, ANNA, self.look)
        self.firstIsGone()
        self.assertEqual(len(self.looks), 2)
        self.looks[1].callback(True)
        self.assertRefused(self.second, Outcome.DUPLICATE_UUID)
        self.assertRefused(third, Outcome.DUPLICATE_UUID)

    def test_otherKeys(self) -> None:
        """They are not concerned."""
        self.join(OTHER_KEY, ANNA)
        self.successResultOf(self.join(OTHER_KEY, BERT))
        self.assertCounts(2, 1)


class VisitTests(RendezvousCase):
    """One that another process holds meets who waits here, if it is still there."""

    def setUp(self) -> None:
        super().setUp()
        self.offers: list[tuple[Identity, object, Deferred[bool]]] = []
        self.looks: list[Deferred[bool]] = []
        self.freed: list[bytes] = []
        self.rendezvous.freed = self.freed.append

    def confirm(self, identity: Identity, record: object) -> Deferred[bool]:
        """It takes time to ask."""
        self.offers.append((identity, record, Deferred()))
        return self.offers[-1][2]

    def look(self) -> Deferred[bool]:
        """It takes time to look."""
        self.looks.append(Deferred())
        return self.looks[-1]

    def visit(self, identity: Identity = BERT) -> Deferred[Place]:
        """Come from elsewhere."""
        return self.rendezvous.visit(KEY, identity, self.confirm, self.look)

    def visited(self) -> tuple[Tunnel, Deferred[Place]]:
        """Return a tunnel between two processes."""
        first = self.rendezvous.join(KEY, ANNA, lambda: succeed(True), "record")
        second = self.visit()
        self.offers.pop()[2].callback(True)
        tunnel = self.successResultOf(second).tunnel
        self.assertEqual(self.successResultOf(first), Place(tunnel, BERT))
        return tunnel, first

    def test_nobodyWaits(self) -> None:
        """It cannot wait here."""
        self.failureResultOf(self.visit(), NobodyWaits)
        self.assertFalse(self.rendezvous.isInUse(KEY))

    def test_agreed(self) -> None:
        """Nobody is told before it has agreed; then both are."""
        first = self.rendezvous.join(KEY, ANNA, lambda: succeed(True), "record")
        second = self.visit()
        (offer,) = self.offers
        self.assertEqual(offer[:2], (ANNA, "record"))
        self.assertNoResult(first)
        self.assertNoResult(second)
        offer[2].callback(True)
        place = self.successResultOf(second)
        self.assertEqual(place.partner, ANNA)
        self.assertEqual(self.successResultOf(first), Place(place.tunnel, BERT))
        place.tunnel.abandon()
        self.assertEqual(self.freed, [KEY])

    def test_notThere(self) -> None:
        """The one here waits on, and whoever comes next is first."""
        first = self.join(KEY, ANNA)
        second = self.visit()
        third = self.join(KEY, BERT)
        self.assertNoResult(third)
        self.offers[0][2].callback(False)
        self.failureResultOf(second, NobodyWaits)
        self.successResultOf(first)
        self.successResultOf(third)

    def test_waiterLeaves(self) -> None:
        """There is nobody to meet then."""
        first = self.join(KEY, ANNA)
        second = self.visit()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(second, NobodyWaits)
        self.assertEqual(self.freed, [KEY])

    def test_waiterLeavesOthers(self) -> None:
        """Another one here waits then, so it is asked again; a late answer means nothing.

        Whoever was not offered anybody yet meets that one.
        """
        first = self.join(KEY, ANNA)
        second, fourth = self.visit(), self.visit()
        third = self.join(KEY, NOBODY)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(second, WaiterLeft)
        self.assertEqual(len(self.offers), 2)
        self.offers[1][2].callback(False)
        self.failureResultOf(fourth, NobodyWaits)
        self.assertNoResult(third)
        self.offers[0][2].callback(True)
        self.assertIsNone(self.successResultOf(self.offers[0][2]))
        self.assertNoResult(third)
        self.assertCounts(1, 0)
        self.assertEqual(self.freed, [])

    def test_visitorGivesUp(self) -> None:
        """The one here waits on."""
        first = self.join(KEY, ANNA)
        second = self.visit()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertCounts(1, 0)
        self.offers[0][2].callback(False)
        self.assertNoResult(first)
        self.assertCounts(1, 0)
        self.successResultOf(self.join(KEY, BERT))

    def test_sameUuid(self) -> None:
        """It is looked, here, whether the one here is dead."""
        first = self.join(KEY, ANNA, self.look)
        second = self.visit(ANNA)
        self.looks[0].callback(True)
        self.assertRefused(first, Outcome.DUPLICATE_UUID)
        self.assertRefused(second, Outcome.DUPLICATE_UUID)
        self.assertEqual(self.freed, [KEY])

    def test_sameUuidOfADeadOne(self) -> None:
        """It waits where it has come to."""
        first = self.join(KEY, ANNA, self.look)
        second = self.visit(ANNA)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.looks[0].callback(False)
        self.failureResultOf(second, NobodyWaits)
        self.assertEqual(self.freed, [KEY])

    def test_thirdIsRefused(self) -> None:
        """When it is known that the one elsewhere is still in the tunnel, and not before."""
        self.visited()
        thirds = [self.join(KEY, NOBODY), self.visit(NOBODY)]
        for third in thirds:
            self.assertNoResult(third)
        self.assertEqual(len(self.looks), 1)
        self.looks[0].callback(True)
        for third in thirds:
            self.assertRefused(third, Outcome.TUNNEL_EXISTS)
        self.assertCounts(0, 1)

    def test_thirdFindsItGone(self) -> None:
        """The key is free, though the tunnel does not know of its end; that frees nothing more."""
        tunnel, _first = self.visited()
        third = self.join(KEY, NOBODY)
        self.looks[0].callback(False)
        self.assertNoResult(third)
        self.assertCounts(1, 0)
        self.assertEqual(self.freed, [])
        tunnel.abandon()
        self.assertCounts(1, 0)

    def test_visitorFindsItGone(self) -> None:
        """The key is nobody's any more."""
        self.visited()
        third = self.visit(NOBODY)
        self.looks[0].callback(False)
        self.failureResultOf(third, NobodyWaits)
        self.assertEqual(self.freed, [KEY])

    def test_endsWhileLooked(self) -> None:
        """Whoever came meanwhile need not wait for the answer."""
        tunnel, _first = self.visited()
        third = self.join(KEY, NOBODY)
        tunnel.abandon()
        self.assertNoResult(third)
        fourth = self.successResultOf(self.join(KEY, NOBODY))
        self.assertIs(self.successResultOf(third).tunnel, fourth.tunnel)
        self.looks[0].callback(False)
        self.assertCounts(0, 1)

    def test_thirdGivesUp(self) -> None:
        """While it is looked."""
        self.visited()
        third = self.join(KEY, NOBODY)
        third.cancel()
        self.failureResultOf(third, CancelledError)
        self.looks[0].callback(True)
        self.assertCounts(0, 1)
        self.join(KEY, NOBODY)
        self.assertEqual(len(self.looks), 2)


class TunnelTests(SynchronousTestCase):
    """How a tunnel begins and ends."""

    def setUp(self) -> None:
        self.released = 0
        self.tunnel = Tunnel(self.release)
        self.first, self.second = FakeLeg(), FakeLeg()

    def release(self) -> None:
        """Count how often the key is given back."""
        self.released += 1

    def attach(self) -> None:
        """Attach both, and forget what they were told of it."""
        for leg in (self.first, self.second):
            self.tunnel.attach(leg)
        for leg in (self.first, self.second):
            leg.told.clear()

    def test_attach(self) -> None:
        """With the second leg both are opened, each towards the other, before either begins."""
        self.tunnel.attach(self.first)
        self.assertEqual(self.first.told, [("enter", self.tunnel)])
        self.second.told = self.first.told
        self.tunnel.attach(self.second)
        self.assertEqual(
            self.first.told[1:],
            [("enter", self.tunnel), ("open", self.second), ("open", self.first)] + 2 * ["begin"],
        )
        self.assertEqual(self.released, 0)

    def test_lostAlone(self) -> None:
        """Who comes to a tunnel that the other has left already is sent away."""
        self.tunnel.attach(self.first)
        self.tunnel.lost(self.first)
        self.assertEqual(self.released, 1)
        self.tunnel.attach(self.second)
        self.assertEqual(self.second.told[1:], [Outcome.PARTNER_LEFT, "partnerLost"])

    def test_abandoned(self) -> None:
        """A client that is gone before its leg was made takes the other along."""
        self.tunnel.attach(self.first)
        self.tunnel.abandon()
        self.assertEqual(self.first.told[1:], [Outcome.PARTNER_LEFT, "partnerLost"])
        self.assertEqual(self.released, 1)
        self.tunnel.attach(self.second)
        self.assertEqual(self.second.told[1:], [Outcome.PARTNER_LEFT, "partnerLost"])
        self.tunnel.lost(self.first)
        self.assertEqual(self.released, 1)

    def test_ended(self) -> None:
        """The other side is told that nothing more comes, once; the tunnel is still up."""
        self.attach()
        for _ in range(2):
            self.tunnel.ended(self.first)
            self.assertEqual(self.second.told, [Outcome.PARTNER_LEFT])
            self.assertEqual(self.first.told, [])
            self.assertEqual(self.released, 0)

    def test_lost(self) -> None:
        """Who is lost can neither send nor take: the other side is told both."""
        self.attach()
        self.tunnel.lost(self.first)
        self.assertEqual(self.second.told, [Outcome.PARTNER_LEFT, "partnerLost"])
        self.assertEqual(self.first.told, [])
        self.assertEqual(self.released, 1)

    def test_lostAfterEnded(self) -> None:
        """The end is told once, the loss when it comes."""
        self.attach()
        self.tunnel.ended(self.first)
        self.tunnel.lost(self.first)
        self.assertEqual(self.second.told, [Outcome.PARTNER_LEFT, "partnerLost"])
        self.assertEqual(self.released, 1)

    def test_everyOrder(self) -> None:
        """In every order of events each side is finished once at most, and the key given once.

        A side that is lost is not told that the other one ends: it could not say goodbye.
        """
        events = list(itertools.product(("ended", "lost"), (0, 1)))
        for length in range(1, 5):
            for order in itertools.product(events, repeat=length):
                self.setUp()
                self.attach()
                legs = (self.first, self.second)
                for name, place in order:
                    getattr(self.tunnel, name)(legs[place])
                gone = any(name == "lost" for name, _at in order)
                self.assertEqual(self.released, int(gone), order)
                for place, leg in enumerate(legs):
                    other = 1 - place
                    own = order.index(("lost", place)) if ("lost", place) in order else length
                    finished = leg.told.count(Outcome.PARTNER_LEFT)
                    self.assertEqual(finished, any(at == other for _, at in order[:own]), order)
                    lost = "partnerLost" in leg.told
                    self.assertEqual(lost, ("lost", other) in order, order)
                    if lost and finished:
                        self.assertLess(
                            leg.told.index(Outcome.PARTNER_LEFT), leg.told.index("partnerLost")
                        )

    def test_finishEndsTheOther(self) -> None:
        """A leg may end within being told of the other's end: who is lost is told no end."""
        self.attach()
        self.second.whenFinished = lambda: self.tunnel.lost(self.second)
        self.tunnel.lost(self.first)
        self.assertEqual(self.second.told, [Outcome.PARTNER_LEFT, "partnerLost"])
        self.assertEqual(self.first.told, ["partnerLost"])
        self.assertEqual(self.released, 1)

    def test_finishEndsTheOtherInOrder(self) -> None:
        """The same when the first side has only ended: it is told the other's end, once."""
        self.attach()
        self.second.whenFinished = lambda: self.tunnel.lost(self.second)
        self.tunnel.ended(self.first)
        self.assertEqual(self.second.told, [Outcome.PARTNER_LEFT])
        self.assertEqual(self.first.told, [Outcome.PARTNER_LEFT, "partnerLost"])
        self.assertEqual(self.released, 1)

    def test_keyGivenUp(self) -> None:
        """Before the tunnel has heard of its end: it goes on, and gives the key up once."""
        self.attach()
        self.tunnel.giveUpKey()
        self.assertEqual(self.released, 1)
        self.assertEqual(self.first.told + self.second.told, [])
        self.tunnel.lost(self.first)
        self.assertEqual(self.released, 1)

    def test_abandonedWithoutLegs(self) -> None:
        """Nobody is there to be told, but whoever comes later is."""
        self.tunnel.abandon()
        self.assertEqual(self.released, 1)
        self.tunnel.attach(self.first)
        self.assertEqual(self.first.told[1:], [Outcome.PARTNER_LEFT, "partnerLost"])


class NobodyTests(SynchronousTestCase):
    """The partner that is no more."""

    def test_takesAnything(self) -> None:
        """Whatever it is told, nothing happens."""
        self.assertTrue(verifyObject(ILeg, NO_PARTNER))
        NO_PARTNER.enter(Tunnel(lambda: self.fail("released")))
        NO_PARTNER.open(FakeLeg())
        NO_PARTNER.begin()
        NO_PARTNER.sendBytes(b"x")
        NO_PARTNER.sendFrames([b"\x81\x01", b"x"])
        NO_PARTNER.pauseReading()
        NO_PARTNER.resumeReading()
        NO_PARTNER.finish(Outcome.PARTNER_LEFT)
        NO_PARTNER.partnerLost()
