"""Owns the checks of the places: each state, and whatever the directory says in it, and when."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from nymearemoteproxy.cluster import leftovers, places, reclaiming
from nymearemoteproxy.cluster.directory import DirectoryError, Holder, IDirectory
from nymearemoteproxy.cluster.leftovers import Leftovers
from nymearemoteproxy.cluster.places import Kind, Places, PlaceSeat
from nymearemoteproxy.cluster.reclaiming import AGAIN, REFRESH, Reclaiming

ME, OTHER = b"m" * 16, b"o" * 16
SEAT, UUID = PlaceSeat(Kind.KEY, b"key"), PlaceSeat(Kind.UUID, b"key")
HIS = Holder(OTHER, 7)


@implementer(IDirectory)
class Dictated:
    """A directory that answers what the test dictates.

    :ivar asked: what it was asked and has not answered: the command, and its answer to be.
    """

    def __init__(self) -> None:
        self.secret: bytes | None = b"secret"
        self.isAnswering = True
        self.isLasting = False
        self.hasOtherSecrets = False
        self.isOver = False
        self.commands = self.failures = self.outages = 0
        self.asked: list[tuple[tuple[Any, ...], Deferred[Any]]] = []
        self.returned: Any = None

    def follow(self, returned: Any) -> None:
        self.returned = returned

    def isLeaseOver(self) -> bool:
        return self.isOver

    def _ask(self, *command: Any) -> Deferred[Any]:
        if not self.isAnswering:
            return fail(DirectoryError("no"))
        self.asked.append((command, Deferred()))
        return self.asked[-1][1]

    def renew(self) -> Deferred[None]:
        return self._ask("renew")

    def claim(self, place: str, holder: Holder) -> Deferred[Holder]:
        return self._ask("claim", place, holder)

    def claimAll(self, claims: Any) -> Deferred[list[Holder]]:
        return self._ask("claimAll", *claims)

    def replace(self, place: str, old: Holder, new: Holder) -> Deferred[Holder]:
        return self._ask("replace", place, old, new)

    def release(self, place: str, holder: Holder) -> Deferred[None]:
        return self._ask("release", place, holder)

    def find(self, place: str) -> Deferred[Holder | None]:
        return succeed(None)

    def member(self, id: bytes) -> Deferred[None]:
        return succeed(None)

    def comeBack(self) -> None:
        """Answer again, and say so."""
        self.isAnswering = True
        self.returned()

    def fail(self) -> None:
        """Fail from now on."""
        self.isAnswering = False
        asked, self.asked = self.asked, []
        for _command, answer in asked:
            answer.errback(DirectoryError("no"))


class PlacesCase(SynchronousTestCase):
    """Places, and a directory that does what the test wants."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = Dictated()
        self.told: list[tuple[PlaceSeat, Holder]] = []
        directory: Any = self.directory
        self.leftovers = Leftovers(directory)
        self.places = Places(self.clock, directory, ME, self.leftovers, self.lost)
        self.reclaiming = Reclaiming(self.clock, directory, self.places, self.leftovers)
        self.name = self.places.name(SEAT)

    def lost(self, seat: PlaceSeat, holder: Holder) -> None:
        """Note it."""
        self.told.append((seat, holder))

    def expect(self, *command: Any) -> Deferred[Any]:
        """The directory was asked this, and nothing else; return the answer to be."""
        ((asked, answer),) = self.directory.asked
        self.directory.asked.clear()
        self.assertEqual(asked, command)
        return answer

    def mine(self, claim: int = 1) -> Holder:
        """Return what this member is by a claim."""
        return Holder(ME, claim)

    def held(self) -> None:
        """Hold the place, by the first claim."""
        taken = self.places.take(SEAT)
        self.expect("claim", self.name, self.mine()).callback(self.mine())
        self.assertIsNone(self.successResultOf(taken))

    def unlisted(self) -> None:
        """Have the place without the directory's knowing, by a claim that was not answered."""
        taken = self.places.take(SEAT)
        self.directory.fail()
        self.assertIsNone(self.successResultOf(taken))

    def contested(self) -> None:
        """Have the place that another member has."""
        self.unlisted()
        self.answers(HIS)
        self.assertEqual(self.told, [(SEAT, HIS)])

    def answers(self, *holders: Holder) -> None:
        """The directory answers again, and says who holds the places that are claimed."""
        self.directory.comeBack()
        (command, answer) = self.directory.asked.pop(0)
        self.assertEqual(command[0], "claimAll")
        answer.callback(list(holders))

    def assertCounts(self, held: int, unlisted: int) -> None:
        """So many places."""
        self.assertEqual((self.places.held, self.places.unlisted), (held, unlisted))

    def assertNothingLeft(self) -> None:
        """It knows of no place, and the directory is asked nothing."""
        places = self.places
        self.assertEqual((places._spots, places._seats, places._unlisted), ({}, {}, {}))
        self.assertEqual(self.directory.asked, [])


class NameTests(PlacesCase):
    """What the directory is told."""

    def test_directory(self) -> None:
        """The one of the test is one."""
        self.assertTrue(verifyObject(IDirectory, self.directory))

    def test_names(self) -> None:
        """They depend on the kind, the digest and the secret, and tell none."""
        names = {self.name, self.places.name(UUID), self.places.name(PlaceSeat(Kind.KEY, b"x"))}
        self.directory.secret = b"other"
        names.add(self.places.name(SEAT))
        self.assertEqual(len(names), 4)
        for name in names:
            self.assertRegex(name, r"^(key|uuid):[0-9a-f]{32}$")

    def test_digestIsNotShown(self) -> None:
        """Not even by accident."""
        self.assertNotIn("digest", repr(SEAT))


class TakingTests(PlacesCase):
    """Taking and leaving."""

    def test_free(self) -> None:
        """It is ours, until it is left."""
        self.held()
        self.assertCounts(1, 0)
        self.assertEqual(self.places.seat(self.name), SEAT)
        self.assertIsNone(self.successResultOf(self.places.take(SEAT)))
        self.places.leave(SEAT)
        self.expect("release", self.name, self.mine()).callback(None)
        self.assertNothingLeft()

    def test_anothers(self) -> None:
        """It is said whose, and nothing is left."""
        taken = [self.places.take(SEAT), self.places.take(SEAT)]
        settled = self.places.settled(SEAT)
        self.assertNoResult(settled)
        self.expect("claim", self.name, self.mine()).callback(HIS)
        for each in taken:
            self.assertEqual(self.successResultOf(each), HIS)
        self.assertIsNone(self.successResultOf(settled))
        self.assertFalse(self.places.isOurs(HIS))
        self.assertNothingLeft()

    def test_ownOlderClaim(self) -> None:
        """One that was given up, and was done all the same, is replaced."""
        taken = self.places.take(SEAT)
        self.places._claims = 5
        self.expect("claim", self.name, self.mine(1)).callback(self.mine(0))
        self.assertTrue(self.places.isOurs(self.mine(0)))
        self.assertNoResult(taken)
        self.expect("replace", self.name, self.mine(0), self.mine(1)).callback(self.mine(1))
        self.assertIsNone(self.successResultOf(taken))
        self.assertCounts(1, 0)

    def test_fails(self) -> None:
        """It is treated as ours."""
        taken, settled = self.places.take(SEAT), self.places.settled(SEAT)
        self.directory.fail()
        self.assertIsNone(self.successResultOf(taken))
        self.assertIsNone(self.successResultOf(settled))
        self.assertCounts(0, 1)
        self.assertIsNone(self.successResultOf(self.places.take(SEAT)))

    def test_isNotAsked(self) -> None:
        """While it is known not to answer; others may know the name nevertheless."""
        self.directory.isAnswering = False
        self.assertIsNone(self.successResultOf(self.places.take(SEAT)))
        self.assertEqual(self.places.seat(self.name), SEAT)
        self.places.leave(SEAT)
        self.assertNothingLeft()
        self.assertEqual(len(self.leftovers), 0)

    def test_withoutSecret(self) -> None:
        """As long as none is known there are no names."""
        self.directory.secret = None
        self.assertIsNone(self.successResultOf(self.places.take(SEAT)))
        self.assertCounts(0, 1)
        self.places.leave(SEAT)
        self.assertNothingLeft()

    def test_leaveWhatIsNotOurs(self) -> None:
        """Nothing happens; nor while a claim or a release is under way."""
        self.places.leave(SEAT)
        self.assertNothingLeft()
        taken = self.places.take(SEAT)
        self.places.leave(SEAT)
        self.expect("claim", self.name, self.mine()).callback(self.mine())
        self.assertIsNone(self.successResultOf(taken))
        self.places.leave(SEAT)
        self.places.leave(SEAT)
        self.expect("release", self.name, self.mine())

    def test_takeWhileReleased(self) -> None:
        """All of them together claim it anew, when that is done."""
        self.held()
        self.places.leave(SEAT)
        taken = [self.places.take(SEAT), self.places.take(SEAT)]
        self.assertIsNone(self.successResultOf(self.places.settled(SEAT)))  # no claim
        self.expect("release", self.name, self.mine()).callback(None)
        self.expect("claim", self.name, self.mine(2)).callback(self.mine(2))
        for each in taken:
            self.assertIsNone(self.successResultOf(each))

    def test_releaseFails(self) -> None:
        """It is done when the directory answers again."""
        self.held()
        self.places.leave(SEAT)
        self.directory.fail()
        self.assertNothingLeft()
        self.directory.comeBack()
        self.expect("release", self.name, self.mine()).callback(None)
        self.directory.returned()
        self.assertNothingLeft()

    def test_releaseFailsAgain(self) -> None:
        """And again, until it works."""
        self.held()
        self.places.leave(SEAT)
        for _ in range(2):
            self.directory.fail()
            self.directory.comeBack()
        self.expect("release", self.name, self.mine()).callback(None)
        self.assertEqual(len(self.leftovers), 0)

    def test_leftAgainMeanwhile(self) -> None:
        """A place that is left once more while it is freed is freed for that, too."""
        self.unlisted()
        self.places.leave(SEAT)
        self.directory.comeBack()
        first = self.expect("release", self.name, self.mine())
        self.leftovers.add(self.name, self.mine(2))
        first.callback(None)
        self.expect("release", self.name, self.mine(2)).callback(None)
        self.assertNothingLeft()

    def test_leftTwice(self) -> None:
        """Two claims of one place that were given up: either may be done all the same."""
        for _ in range(2):
            self.directory.isAnswering = True
            self.unlisted()
            self.places.leave(SEAT)
        self.directory.comeBack()
        asked, self.directory.asked = self.directory.asked, []
        expected = [("release", self.name, self.mine(number)) for number in (1, 2)]
        self.assertEqual([command for command, _answer in asked], expected)
        for _command, answer in asked:
            answer.callback(None)
        self.assertNothingLeft()
        self.assertEqual(len(self.leftovers), 0)

    def test_leftoversHaveABound(self) -> None:
        """The rest is found by whoever comes."""
        self.patch(leftovers, "MOST_LEFTOVERS", 2)
        for number in range(3):
            self.leftovers.add(str(number), self.mine(number))
        self.assertEqual(len(self.leftovers), 2)

    def test_lateClaimIsFreed(self) -> None:
        """One that was given up, and whose client has left, may be done all the same."""
        self.unlisted()
        self.places.leave(SEAT)
        self.directory.comeBack()
        self.expect("release", self.name, self.mine()).callback(None)
        self.assertNothingLeft()

    def test_firstLeavesAtOnce(self) -> None:
        """The others want it anew; and whoever only waits for the claim has to do with nothing."""
        one = self.places.take(SEAT)
        one.addCallback(lambda _none: self.places.leave(SEAT))
        other, settled = self.places.take(SEAT), self.places.settled(SEAT)
        self.expect("claim", self.name, self.mine()).callback(self.mine())
        self.assertIsNone(self.successResultOf(settled))
        self.assertNoResult(other)
        self.expect("release", self.name, self.mine()).callback(None)
        self.expect("claim", self.name, self.mine(2)).callback(HIS)
        self.assertEqual(self.successResultOf(other), HIS)
        self.assertNothingLeft()

    def test_seize(self) -> None:
        """From one that has it no more."""
        taken = self.places.seize(SEAT, HIS)
        self.expect("replace", self.name, HIS, self.mine()).callback(self.mine())
        self.assertIsNone(self.successResultOf(taken))
        self.assertCounts(1, 0)

    def test_seizeTooLate(self) -> None:
        """Another one did."""
        taken = self.places.seize(SEAT, HIS)
        third = Holder(b"t" * 16, 1)
        self.expect("replace", self.name, HIS, self.mine()).callback(third)
        self.assertEqual(self.successResultOf(taken), third)
        self.assertNothingLeft()

    def test_newSecretMeanwhile(self) -> None:
        """A claim under way was about another name: it is made again."""
        taken = self.places.take(SEAT)
        self.directory.secret = b"other"
        self.directory.returned()
        self.assertEqual(self.places.seat(self.places.name(SEAT)), SEAT)
        self.expect("claim", self.name, self.mine()).callback(self.mine())
        self.assertNoResult(taken)
        self.expect("claim", self.places.name(SEAT), self.mine()).callback(self.mine())
        self.assertIsNone(self.successResultOf(taken))
        self.places.leave(SEAT)
        self.expect("release", self.places.name(SEAT), self.mine()).callback(None)
        self.assertNothingLeft()


class LeavingAllTests(PlacesCase):
    """The member stops: everybody is gone."""

    def test_nothing(self) -> None:
        self.successResultOf(self.places.leaveAll())

    def test_held(self) -> None:
        """What somebody has not left yet is left for him, who may still do so."""
        self.held()
        left = self.places.leaveAll()
        self.places.leave(SEAT)
        self.assertNoResult(left)
        self.expect("release", self.name, self.mine()).callback(None)
        self.successResultOf(left)
        self.assertNothingLeft()

    def test_claimUnderWay(self) -> None:
        """It is done by the time it is answered, and so it is taken back."""
        self.places.take(SEAT)
        left = self.places.leaveAll()
        self.expect("claim", self.name, self.mine()).callback(self.mine())
        self.assertNoResult(left)
        self.expect("release", self.name, self.mine()).callback(None)
        self.successResultOf(left)
        self.assertNothingLeft()

    def test_wantedWhileReleased(self) -> None:
        self.held()
        self.places.leave(SEAT)
        self.places.take(SEAT)
        left = self.places.leaveAll()
        self.expect("release", self.name, self.mine()).callback(None)
        self.expect("claim", self.name, self.mine(2)).callback(self.mine(2))
        self.assertNoResult(left)
        self.expect("release", self.name, self.mine(2)).callback(None)
        self.successResultOf(left)
        self.assertNothingLeft()

    def test_anothers(self) -> None:
        """A claim that came too late leaves nothing to take back."""
        self.places.take(SEAT)
        left = self.places.leaveAll()
        self.expect("claim", self.name, self.mine()).callback(HIS)
        self.successResultOf(left)
        self.assertNothingLeft()

    def test_leftovers(self) -> None:
        """What was not answered before is taken back as well."""
        self.unlisted()
        self.directory.isAnswering = True
        left = self.places.leaveAll()
        self.expect("release", self.name, self.mine()).callback(None)
        self.successResultOf(left)
        self.assertEqual(len(self.leftovers), 0)

    def test_fails(self) -> None:
        """A directory that does not answer is not waited for: there it ends with the entry."""
        self.places.take(SEAT)
        left = self.places.leaveAll()
        self.directory.fail()
        self.successResultOf(left)
        self.assertNothingLeft()


class ClaimingAnewTests(PlacesCase):
    """The directory answers again, was emptied, or has another secret."""

    def test_held(self) -> None:
        """It is ours still."""
        self.held()
        self.answers(self.mine())
        self.assertCounts(1, 0)

    def test_lasting(self) -> None:
        """A directory that loses nothing is told of what it does not know, and nothing else."""
        self.directory.isLasting = True
        self.held()
        self.directory.fail()
        self.assertIsNone(self.successResultOf(self.places.take(PlaceSeat(Kind.UUID, b"other"))))
        self.directory.comeBack()
        self.assertIsNone(self.successResultOf(self.reclaiming.awake()))  # nobody waits for that
        other = self.places.name(PlaceSeat(Kind.UUID, b"other"))
        self.expect("claimAll", (other, self.mine(2))).callback([self.mine(2)])
        self.assertCounts(2, 0)

    def test_unlisted(self) -> None:
        """It is ours from now on."""
        self.unlisted()
        self.answers(self.mine())
        self.assertCounts(1, 0)
        self.assertEqual(self.told, [])

    def test_anothers(self) -> None:
        """Whoever is here is told, again and again; it is counted once, and ours once free."""
        self.contested()
        self.assertCounts(0, 1)
        self.reclaiming.start()
        for _ in range(3):
            self.clock.advance(AGAIN)
            self.expect("claimAll", (self.name, self.mine())).callback([HIS])
        self.assertEqual(len(self.told), 4)
        self.assertEqual(self.places.losses, 1)
        self.clock.advance(AGAIN)
        self.expect("claimAll", (self.name, self.mine())).callback([self.mine()])
        self.assertCounts(1, 0)
        self.clock.advance(AGAIN)
        self.assertEqual(self.directory.asked, [])
        self.reclaiming.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lostAgain(self) -> None:
        """A place that was held can be another's when the directory was emptied."""
        self.held()
        self.answers(HIS)
        self.answers(self.mine())
        self.answers(HIS)
        self.assertEqual(self.places.losses, 2)

    def test_retake(self) -> None:
        """From one that has it no more; or another one was faster."""
        for result, held in ((self.mine(), 1), (Holder(b"t" * 16, 1), 0)):
            self.setUp()
            self.contested()
            self.assertTrue(self.places.isContested(SEAT))
            self.places.retake(SEAT, HIS)
            self.expect("replace", self.name, HIS, self.mine()).callback(result)
            self.assertCounts(held, 1 - held)
            self.assertIs(self.places.isContested(SEAT), not held)
            self.assertEqual(len(self.told), 2 - held)

    def test_retakeOfWhatIsNot(self) -> None:
        """It was left, or is held, by now."""
        self.places.retake(SEAT, HIS)
        self.held()
        self.places.retake(SEAT, HIS)
        self.assertEqual(self.directory.asked, [])
        self.assertCounts(1, 0)

    def test_leftWhileRetaken(self) -> None:
        """It is freed, and later if that command was not answered."""
        for fails in (False, True):
            self.setUp()
            self.contested()
            self.places.retake(SEAT, HIS)
            replaced = self.directory.asked[0][1]
            self.places.leave(SEAT)
            if fails:
                self.directory.fail()
                self.directory.comeBack()
            else:
                self.directory.asked.clear()
                replaced.callback(self.mine())
            self.expect("release", self.name, self.mine()).callback(None)
            self.assertNothingLeft()

    def test_leaveContested(self) -> None:
        """It is not ours to free."""
        self.contested()
        self.places.leave(SEAT)
        self.assertNothingLeft()
        self.assertEqual(len(self.leftovers), 0)

    def test_ownOlderClaim(self) -> None:
        """It is replaced by the one that counts; whoever was faster has the place."""
        for result, held in ((self.mine(1), 1), (HIS, 0)):
            self.setUp()
            self.unlisted()
            self.answers(self.mine(0))
            self.expect("replace", self.name, self.mine(0), self.mine(1)).callback(result)
            self.assertCounts(held, 1 - held)

    def test_ownOlderClaimFails(self) -> None:
        """It will answer again, and say so."""
        self.unlisted()
        self.answers(self.mine(0))
        self.directory.fail()
        self.answers(self.mine(1))
        self.assertCounts(1, 0)

    def test_fails(self) -> None:
        """It stays as it is."""
        self.held()
        self.unlistedToo = self.places.take(UUID)
        self.directory.fail()
        self.directory.comeBack()
        self.directory.fail()
        self.assertCounts(1, 1)
        self.answers(self.mine(1), self.mine(2))
        self.assertCounts(2, 0)

    def test_leftMeanwhile(self) -> None:
        """What is claimed for nobody is freed."""
        self.unlisted()
        self.directory.comeBack()
        claimed = self.expect("claimAll", (self.name, self.mine()))
        self.places.leave(SEAT)
        claimed.callback([self.mine()])
        commands = [command for command, _answer in self.directory.asked]
        self.assertIn(("release", self.name, self.mine()), commands)
        for _command, answer in self.directory.asked:
            answer.callback(None)
        self.directory.asked.clear()
        self.assertNothingLeft()

    def test_olderClaimLeftMeanwhile(self) -> None:
        """One that was given up is there for nobody, too."""
        self.unlisted()
        self.directory.comeBack()
        claimed = self.expect("claimAll", (self.name, self.mine()))
        self.places.leave(SEAT)
        claimed.callback([self.mine(0)])
        commands = [command for command, _answer in self.directory.asked]
        self.assertIn(("release", self.name, self.mine(0)), commands)

    def test_laterClaimIsSomebodys(self) -> None:
        """Of a place that was left meanwhile, and taken again, nothing is freed."""
        self.unlisted()
        self.directory.comeBack()
        claimed = self.expect("claimAll", (self.name, self.mine()))
        self.places.leave(SEAT)
        taken = self.places.take(SEAT)
        self.expect("claim", self.name, self.mine(2)).callback(self.mine(2))
        self.assertIsNone(self.successResultOf(taken))
        claimed.callback([self.mine(2)])
        self.expect("release", self.name, self.mine()).callback(None)  # in case
        self.assertCounts(1, 0)

    def test_releaseOfWhatWasLeftFails(self) -> None:
        """It is done when the directory answers again."""
        self.contested()
        self.reclaiming.start()
        self.clock.advance(AGAIN)
        claimed = self.expect("claimAll", (self.name, self.mine()))
        self.places.leave(SEAT)
        claimed.callback([self.mine()])
        self.directory.fail()
        self.directory.comeBack()
        self.expect("release", self.name, self.mine()).callback(None)
        self.assertNothingLeft()

    def test_contestedLeftWhileItFails(self) -> None:
        """A claim that was not answered may be done yet, when the other one has left."""
        for isLeftFirst in (True, False):
            self.setUp()
            self.contested()
            self.reclaiming.start()
            self.clock.advance(AGAIN)
            self.assertEqual(len(self.directory.asked), 1)
            if isLeftFirst:
                self.places.leave(SEAT)
            self.directory.fail()
            self.places.leave(SEAT)
            self.directory.comeBack()
            self.expect("release", self.name, self.mine()).callback(None)
            self.assertNothingLeft()

    def test_leftWhenItBecameFree(self) -> None:
        """One that was another's until now."""
        self.contested()
        self.reclaiming.start()
        self.clock.advance(AGAIN)
        claimed = self.expect("claimAll", (self.name, self.mine()))
        self.places.leave(SEAT)
        claimed.callback([self.mine()])
        self.expect("release", self.name, self.mine()).callback(None)
        self.assertNothingLeft()

    def test_leftAnothersMeanwhile(self) -> None:
        """There is nothing to free."""
        self.held()
        self.directory.returned()
        claimed = self.expect("claimAll", (self.name, self.mine()))
        self.places.leave(SEAT)
        released = self.expect("release", self.name, self.mine())
        claimed.callback([HIS])
        self.assertEqual(self.told, [])
        released.callback(None)
        self.assertNothingLeft()

    def test_whileClaimed(self) -> None:
        """A claim under way is left alone, and nothing is asked for nothing."""
        taken = self.places.take(SEAT)
        answer = self.expect("claim", self.name, self.mine())
        self.directory.returned()
        self.assertEqual(self.directory.asked, [])
        answer.callback(self.mine())
        self.assertIsNone(self.successResultOf(taken))

    def test_inChunks(self) -> None:
        """No command is too long."""
        self.patch(places, "CLAIMS_AT_ONCE", 2)
        self.directory.isAnswering = False
        for number in range(5):
            self.places.take(PlaceSeat(Kind.KEY, bytes([number])))
        self.directory.comeBack()
        sizes = []
        while self.directory.asked:
            (command, answer) = self.directory.asked.pop()
            sizes.append(len(command) - 1)
            answer.callback([holder for _name, holder in command[1:]])
        self.assertEqual(sizes, [2, 2, 1])
        self.assertCounts(5, 0)

    def test_eachHasItsTurn(self) -> None:
        """However many another member has."""
        self.patch(reclaiming, "CLAIMS_AT_ONCE", 2)
        self.directory.isAnswering = False
        for number in range(5):
            self.places.take(PlaceSeat(Kind.KEY, bytes([number])))
        self.directory.isAnswering = True
        self.reclaiming.start()
        names: list[str] = []
        for _ in range(3):
            self.clock.advance(AGAIN)
            ((command, answer),) = self.directory.asked
            self.directory.asked.clear()
            names += [name for name, _holder in command[1:]]
            answer.callback([HIS] * (len(command) - 1))
        self.assertEqual(len(set(names[:5])), 5)

    def test_newSecret(self) -> None:
        """All names are other ones."""
        self.held()
        self.directory.secret = b"other"
        self.directory.returned()
        name = self.places.name(SEAT)
        self.expect("claimAll", (name, self.mine())).callback([self.mine()])
        self.assertIsNone(self.places.seat(self.name))
        self.assertEqual(self.places.seat(name), SEAT)

    def test_refresh(self) -> None:
        """Three times a day everything is claimed anew, unless the directory fails."""
        self.held()
        self.reclaiming.start()
        self.directory.isAnswering = False
        self.clock.advance(AGAIN)
        self.directory.isAnswering = True
        self.clock.advance(REFRESH)
        self.expect("claimAll", (self.name, self.mine())).callback([self.mine()])
        self.clock.advance(AGAIN)
        self.assertEqual(self.directory.asked, [])


class AwakeTests(PlacesCase):
    """After a sleep."""

    def test_notNeeded(self) -> None:
        """The lease is not over, or nobody could tell."""
        self.successResultOf(self.reclaiming.awake())
        self.directory.isOver, self.directory.isAnswering = True, False
        self.successResultOf(self.reclaiming.awake())

    def test_looksBeforeItActs(self) -> None:
        """First the lease, then the places, then whatever waits; all wait for one look."""
        self.held()
        self.directory.isOver = True
        awake = [self.reclaiming.awake(), self.reclaiming.awake()]
        self.expect("renew").callback(None)
        for each in awake:
            self.assertNoResult(each)
        self.expect("claimAll", (self.name, self.mine())).callback([HIS])
        for each in awake:
            self.successResultOf(each)
        self.assertEqual(self.told, [(SEAT, HIS)])

    def test_fault(self) -> None:
        """One of ours; whoever waits goes on all the same."""
        self.held()
        self.directory.isOver = True
        self.patch(self.places, "_lost", lambda *_what: 1 / 0)
        awake = self.reclaiming.awake()
        self.expect("renew").callback(None)
        self.expect("claimAll", (self.name, self.mine())).callback([HIS])
        self.successResultOf(awake)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_fails(self) -> None:
        """Everything goes on without it."""
        self.directory.isOver = True
        awake = self.reclaiming.awake()
        self.directory.fail()
        self.successResultOf(awake)
