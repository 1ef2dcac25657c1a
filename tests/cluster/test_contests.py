"""Owns the checks of contested places: what is made of each answer of their holder."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from nymearemoteproxy.cluster import contests as module
from nymearemoteproxy.cluster.asking import MemberGone, MemberSilent, NobodyThere
from nymearemoteproxy.cluster.contests import Contests
from nymearemoteproxy.cluster.directory import Holder
from nymearemoteproxy.cluster.places import Kind, PlaceSeat
from tests.cluster.test_places import HIS, SEAT, UUID, PlacesCase


class ContestsTests(PlacesCase):
    """Holders that answer what the test wants."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[Deferred[None]] = []
        self.really: list[PlaceSeat] = []
        self.contests = Contests(self.places, self, self.really.append)  # type: ignore[arg-type]

    def look(self, holder: Holder, place: str) -> Deferred[None]:
        """Ask a holder."""
        self.assertEqual(holder, HIS)
        self.asked.append(Deferred())
        return self.asked[-1]

    def test_nobodyThere(self) -> None:
        """The place is ours."""
        for answer in (NobodyThere(), MemberGone()):
            self.setUp()
            self.contested()
            self.contests.doubt(SEAT, HIS)
            self.asked[0].errback(answer)
            self.expect("replace", self.name, HIS, self.mine()).callback(self.mine())
            self.assertCounts(1, 0)
            self.assertEqual(self.really, [])

    def test_somebodyThere(self) -> None:
        """It is lost."""
        self.contested()
        self.contests.doubt(SEAT, HIS)
        self.asked[0].callback(None)
        self.assertEqual(self.really, [SEAT])

    def test_silent(self) -> None:
        """It is asked again, as often as we are told, and once at a time."""
        self.contested()
        for number in range(1, 4):
            self.contests.doubt(SEAT, HIS)
            self.contests.doubt(SEAT, HIS)
            self.assertEqual(len(self.asked), number)
            self.asked[-1].errback(MemberSilent())
        self.assertCounts(0, 1)
        self.assertEqual((self.really, self.directory.asked), ([], []))

    def test_freedMeanwhile(self) -> None:
        """Whoever has the place when the answer comes keeps it."""
        self.contested()
        self.contests.doubt(SEAT, HIS)
        self.answers(self.mine())
        self.asked[0].callback(None)
        self.assertCounts(1, 0)
        self.assertEqual(self.really, [])

    def test_leftMeanwhile(self) -> None:
        """Nothing is to be done, nor asked."""
        self.contested()
        self.contests.doubt(SEAT, HIS)
        self.places.leave(SEAT)
        self.asked[0].errback(NobodyThere())
        self.contests.doubt(SEAT, HIS)
        self.assertEqual(len(self.asked), 1)
        self.assertNothingLeft()

    def test_fewAtATime(self) -> None:
        """Others wait for their turn."""
        self.patch(module, "QUESTIONS", 1)
        self.contests = Contests(self.places, self, self.really.append)  # type: ignore[arg-type]
        self.directory.isAnswering = False
        other = PlaceSeat(Kind.KEY, b"other")
        for seat in (SEAT, UUID, other):
            self.places.take(seat)
        self.answers(HIS, HIS, HIS)
        for seat in (SEAT, UUID, other):
            self.contests.doubt(seat, HIS)
            self.assertEqual(len(self.asked), 1)
        for number in (1, 2, 3):
            self.assertEqual(len(self.asked), number)
            self.asked[-1].callback(None)
        self.assertEqual(self.really, [SEAT, UUID, other])
        self.assertEqual(self.contests._doubted, set())
