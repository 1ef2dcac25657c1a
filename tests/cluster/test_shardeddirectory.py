"""Owns the checks of several directories that are one."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from nymearemoteproxy.cluster.directory import DirectoryError, Holder, IDirectory, Member
from nymearemoteproxy.cluster.lease import RENEWAL
from nymearemoteproxy.cluster.shardeddirectory import ShardedDirectory
from tests.support.directories import MoodyDirectory
from tests.support.memorydirectory import LeasedTable

ME = Member(b"m" * 16, "unix:/run/me", 1, "me")
MINE, HIS = Holder(ME.id, 1), Holder(b"o" * 16, 1)
PLACES = [f"key:{number}" for number in range(100)]


class ShardedDirectoryTests(SynchronousTestCase):
    """Two of them, of which one fails now and then."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.tables = [LeasedTable(self.clock.seconds), LeasedTable(self.clock.seconds)]
        self.parts = [MoodyDirectory(table, ME, self.clock) for table in self.tables]
        self.directory = ShardedDirectory(self.parts)
        self.successResultOf(self.directory.start())

    def place(self, number: int) -> str:
        """Return a place that the first or the second knows."""
        return next(place for place in PLACES if self.directory._number(place) == number)

    def test_interface(self) -> None:
        """All that a directory has."""
        verifyObject(IDirectory, self.directory)
        self.assertEqual(self.directory.secret, self.tables[0].secret)

    def test_otherSecrets(self) -> None:
        """Whichever it shows in: those of members that have them in another order are, too."""
        self.assertFalse(self.directory.hasOtherSecrets)
        self.parts[1].hasOtherSecrets = True
        self.assertTrue(self.directory.hasOtherSecrets)

    def test_spreads(self) -> None:
        """About evenly, the answers in the order of the claims."""
        self.successResultOf(self.directory.claim("key:7", HIS))
        claims = [(place, Holder(ME.id, number)) for number, place in enumerate(PLACES)]
        holders = self.successResultOf(self.directory.claimAll(claims))
        expected = [holder for _place, holder in claims]
        expected[7] = HIS
        self.assertEqual(holders, expected)
        for table in self.tables:
            known = [table.find(place) for place in PLACES]
            self.assertIn(known.count(None), range(30, 71))
        for place, holder in zip(PLACES, expected, strict=True):
            self.assertEqual(self.successResultOf(self.directory.find(place)), holder)

    def test_samePlaceAlwaysAtTheSame(self) -> None:
        """Whatever is asked, and in every process."""
        for place in PLACES:
            self.assertEqual(self.successResultOf(self.directory.claim(place, MINE)), MINE)
            self.assertEqual(self.successResultOf(self.directory.replace(place, MINE, HIS)), HIS)
            self.assertEqual(self.successResultOf(self.directory.claim(place, MINE)), HIS)
            self.successResultOf(self.directory.release(place, HIS))
            self.assertIsNone(self.successResultOf(self.directory.find(place)))
        numbers = [self.directory._number(f"key:{number}") for number in range(8)]
        self.assertEqual(numbers, [0, 0, 0, 0, 1, 1, 1, 1])

    def test_noClaims(self) -> None:
        """None are an answer, too."""
        self.assertEqual(self.successResultOf(self.directory.claimAll([])), [])

    def test_oneFails(self) -> None:
        """The places of the other are found; when it is back, all is claimed anew."""
        told: list[bool] = []
        self.directory.follow(lambda: told.append(self.directory.isAnswering))
        self.parts[1].fail()
        self.assertFalse(self.directory.isAnswering)
        good, bad = self.place(0), self.place(1)
        self.assertEqual(self.successResultOf(self.directory.claim(good, MINE)), MINE)
        self.failureResultOf(self.directory.claim(bad, MINE), DirectoryError)
        both = self.directory.claimAll([(good, MINE), (bad, MINE)])
        self.failureResultOf(both, DirectoryError)
        self.failureResultOf(self.directory.renew(), DirectoryError)
        self.parts[1].answer()
        self.assertEqual(told, [True])

    def test_lease(self) -> None:
        """It is over as soon as it is with one."""
        self.parts[1].fail()
        for _time in range(4):
            self.clock.advance(RENEWAL)
        self.assertFalse(self.parts[0].isLeaseOver())
        self.assertTrue(self.directory.isLeaseOver())

    def test_member(self) -> None:
        """Found when any knows it; gone only when all say so."""
        self.tables[0].forget(ME.id)
        self.assertEqual(self.successResultOf(self.directory.member(ME.id)), ME)
        self.tables[1].forget(ME.id)
        self.assertIsNone(self.successResultOf(self.directory.member(ME.id)))
        self.tables[1].renew(ME)
        self.parts[0].fail()
        self.assertEqual(self.successResultOf(self.directory.member(ME.id)), ME)
        self.failureResultOf(self.directory.member(HIS.member), DirectoryError)

    def test_stops(self) -> None:
        """Each of them."""
        self.successResultOf(self.directory.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([table.member(ME.id) for table in self.tables], [None, None])
