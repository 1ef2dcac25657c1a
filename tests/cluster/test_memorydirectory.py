"""Owns the checks of the directory in memory that tests take for one behind a network."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from nymearemoteproxy.cluster.directory import DirectoryError, Holder, IDirectory, Member
from nymearemoteproxy.cluster.lease import LEASE, RENEWAL
from tests.support.directories import TIMEOUT, MoodyDirectory
from tests.support.memorydirectory import LeasedTable

ME = Member(b"m" * 16, "unix:/run/me", 1, "me")
OTHER = Member(b"o" * 16, "unix:/run/other", 1, "other")
MINE, HIS = Holder(ME.id, 1), Holder(OTHER.id, 1)


class TableTests(SynchronousTestCase):
    """Members whose lease ends."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.table = LeasedTable(self.clock.seconds)

    def test_leaseEnds(self) -> None:
        """At its time, and not before."""
        self.assertFalse(self.table.renew(ME))
        self.clock.advance(LEASE - 0.1)
        self.assertEqual(self.table.member(ME.id), ME)
        self.assertTrue(self.table.renew(ME))
        self.clock.advance(LEASE)
        self.assertIsNone(self.table.member(ME.id))
        self.assertFalse(self.table.renew(ME))


class MemoryDirectoryTests(SynchronousTestCase):
    """A member's view of the table, and how it fails for tests."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.table = LeasedTable(self.clock.seconds)
        self.directory = MoodyDirectory(self.table, ME, self.clock)
        self.told = 0
        self.directory.follow(self._tell)

    def _tell(self) -> None:
        self.told += 1

    def test_interface(self) -> None:
        """All that a directory has."""
        self.assertTrue(verifyObject(IDirectory, self.directory))
        self.assertEqual(self.directory.secret, self.table.secret)

    def test_renewsAgainAndAgain(self) -> None:
        """Until it stops; then the entry and the places are gone."""
        self.assertTrue(self.directory.isLeaseOver())
        self.directory.start()
        self.successResultOf(self.directory.claim("a", MINE))
        for _time in range(10):
            self.clock.advance(RENEWAL)
        self.assertFalse(self.directory.isLeaseOver())
        self.assertEqual(self.table.member(ME.id), ME)
        self.assertEqual(self.told, 0)
        self.successResultOf(self.directory.stop())
        self.assertIsNone(self.table.member(ME.id))
        self.assertIsNone(self.table.find("a"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_entryWasGone(self) -> None:
        """Then all places have to be claimed anew."""
        self.directory.start()
        self.table.forget(ME.id)
        self.successResultOf(self.directory.renew())
        self.assertEqual(self.told, 1)

    def test_leaseIsOver(self) -> None:
        """When no renewal succeeds; the next that does brings it back."""
        self.directory.start()
        self.directory.fail()
        for _time in range(3):
            self.clock.advance(RENEWAL)
        self.assertFalse(self.directory.isLeaseOver())
        self.clock.advance(0.1)
        self.assertTrue(self.directory.isLeaseOver())
        self.directory.answer()
        self.successResultOf(self.directory.renew())
        self.assertFalse(self.directory.isLeaseOver())

    def test_fails(self) -> None:
        """At once, and tells when it answers again."""
        self.directory.fail()
        self.failureResultOf(self.directory.claim("a", MINE), DirectoryError)
        self.assertEqual(self.told, 0)
        self.directory.answer()
        self.assertEqual(self.told, 1)
        self.assertEqual(self.successResultOf(self.directory.claim("a", HIS)), HIS)

    def test_hangs(self) -> None:
        """It fails by its deadline, and is done when nobody waits for it any more."""
        self.directory.hang()
        claimed = self.directory.claim("a", MINE)
        self.assertNoResult(claimed)
        self.clock.advance(TIMEOUT)
        self.failureResultOf(claimed, DirectoryError)
        self.failureResultOf(self.directory.find("a"), DirectoryError)
        self.directory.answer()
        self.assertEqual(self.successResultOf(self.directory.find("a")), MINE)
        self.assertEqual(self.told, 1)

    def test_hangsForAMoment(self) -> None:
        """What is answered within the deadline did not fail."""
        self.directory.hang()
        claimed = self.directory.claim("a", MINE)
        self.clock.advance(TIMEOUT / 2)
        self.directory.answer()
        self.assertEqual(self.successResultOf(claimed), MINE)
        self.clock.advance(TIMEOUT)
        self.assertTrue(self.directory.isAnswering)
        self.assertEqual(self.told, 0)
