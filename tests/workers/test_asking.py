"""Owns the checks of what a worker asks its parent: counts per address, and the directory."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from nymearemoteproxy.cluster.directory import DirectoryError, Holder, IDirectory, Member
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration, ServerRegistration
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.tunnelproxy.counts import ICounts, SourceCounts
from nymearemoteproxy.tunnelproxy.ends import Origin
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard, Terms
from nymearemoteproxy.workers.groupcounts import AskedCounts, CountsDesk
from nymearemoteproxy.workers.parentdirectory import DirectoryDesk, ParentDirectory
from nymearemoteproxy.workers.placetable import PlaceTable
from nymearemoteproxy.workers.questions import NoAnswer, Questions, answering
from tests.support.mirrored import Wire

PROPERTY = settings(max_examples=200, deadline=None, database=None)
TIMEOUT = 1.0
HERE, THERE = "192.0.2.1", "192.0.2.2"
SECRET = b"s" * 32


class Asker:
    """A worker and what answers it in the parent."""

    def __init__(self, clock: Clock) -> None:
        self.up, self.down = Wire(), Wire()
        self.questions = Questions(clock, self.up.send, TIMEOUT)
        self.down.handlers.update(self.questions.handlers)

    def cut(self) -> None:
        self.up.cut()
        self.down.cut()


class CountingAsker(Asker):
    def __init__(self, clock: Clock, counts: SourceCounts) -> None:
        super().__init__(clock)
        self.counts = AskedCounts(self.questions, self.up.send)
        self.desk = CountsDesk(counts, self.down.send)
        self.up.handlers.update(self.desk.handlers)


class DirectoryAsker(Asker):
    def __init__(self, clock: Clock, table: PlaceTable, me: Member) -> None:
        super().__init__(clock)
        self.directory = ParentDirectory(self.questions, me, SECRET)
        self.desk = DirectoryDesk(table, self.down.send)
        self.up.handlers.update(self.desk.handlers)


class QuestionTests(SynchronousTestCase):
    """Questions and answers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.asker = Asker(self.clock)
        self.questions = self.asker.questions
        answers = {"double": lambda number: 2 * number}
        self.asker.up.handlers.update(answering(self.asker.down.send, answers))
        self.returned = 0
        self.questions.follow(self.note)

    def note(self) -> None:
        self.returned += 1

    def test_answered(self) -> None:
        """Each question with its own answer; no timer is left when their time is over."""
        self.asker.down.hold()
        asked = [self.questions.ask("double", number) for number in range(3)]
        self.asker.down.release()
        self.assertEqual([self.successResultOf(each) for each in asked], [0, 2, 4])
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_eachInTime(self) -> None:
        """Each has its own time, also those that were asked after one which was answered."""
        self.questions.ask("double", 1)
        self.clock.advance(TIMEOUT / 2)
        self.asker.up.hold()
        later = [self.questions.ask("double", 2)]
        self.clock.advance(TIMEOUT / 4)
        later.append(self.questions.ask("double", 3))
        self.clock.advance(TIMEOUT / 2)
        self.assertTrue(self.questions.isAnswering)
        self.clock.advance(TIMEOUT / 4)
        self.failureResultOf(later[0], NoAnswer)
        self.assertFalse(self.questions.isAnswering)
        self.assertNoResult(later[1])
        self.clock.advance(TIMEOUT / 4)
        self.failureResultOf(later[1], NoAnswer)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """From then on nothing is asked until the answer has come."""
        self.asker.up.hold()
        first = self.questions.ask("double", 1)
        self.clock.advance(TIMEOUT / 2)
        second = self.questions.ask("double", 2)
        self.clock.advance(TIMEOUT / 2)
        self.failureResultOf(first, NoAnswer)
        self.assertFalse(self.questions.isAnswering)
        self.failureResultOf(self.questions.ask("double", 3), NoAnswer)
        self.assertEqual(self.asker.up.kinds, ["double"] * 2)
        self.asker.up.release()
        self.assertEqual(self.successResultOf(second), 4)
        self.assertTrue(self.questions.isAnswering)
        self.assertEqual(self.returned, 1)
        self.assertEqual(self.successResultOf(self.questions.ask("double", 4)), 8)
        self.assertEqual(self.returned, 1)

    def test_fault(self) -> None:
        """A fault of the parent's is one question's."""
        self.failureResultOf(self.questions.ask("double", None), NoAnswer)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertTrue(self.questions.isAnswering)
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lateFault(self) -> None:
        self.asker.up.hold()
        asked = self.questions.ask("double", None)
        self.clock.advance(TIMEOUT)
        self.failureResultOf(asked, NoAnswer)
        self.asker.up.release()
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertTrue(self.questions.isAnswering)


class CountTests(SynchronousTestCase):
    """Limits per address, with two workers."""

    def setUp(self) -> None:
        self.make()

    def make(self) -> None:
        """Make them."""
        self.clock = Clock()
        self.counts = SourceCounts()
        self.workers = [CountingAsker(self.clock, self.counts) for _ in range(2)]
        self.one, self.two = self.workers

    def take(self, worker: CountingAsker, limit: int = 1, source: str | None = HERE) -> Any:
        return self.successResultOf(worker.counts.take(Role.SERVER, source, limit))

    def test_interface(self) -> None:
        verifyObject(ICounts, self.counts)
        verifyObject(ICounts, self.one.counts)

    def test_together(self) -> None:
        release = self.take(self.one)
        self.assertIsNone(self.take(self.two))
        self.assertIsNotNone(self.take(self.two, source=THERE))
        self.assertIsNotNone(self.successResultOf(self.two.counts.take(Role.CLIENT, HERE, 1)))
        release()
        self.assertIsNotNone(self.take(self.two))
        self.assertIsNone(self.take(self.one))

    def test_exempt(self) -> None:
        """Nobody is asked."""
        for worker in self.workers * 2:
            self.take(worker, source=None)()
        self.assertEqual(self.one.up.kinds, [])
        self.assertTrue(self.counts.isEmpty)

    def test_noLimit(self) -> None:
        """Nobody waits, but it is counted: there may be a limit tomorrow."""
        self.one.up.hold()
        release = self.take(self.one, limit=0)
        self.one.up.release()
        self.assertIsNone(self.take(self.two))
        release()
        self.assertTrue(self.counts.isEmpty)

    def test_noAnswer(self) -> None:
        """Nobody is refused; what was counted late all the same is given back."""
        self.take(self.two)
        self.one.up.hold()
        counted = [self.one.counts.take(Role.SERVER, source, 1) for source in (HERE, THERE)]
        self.clock.advance(TIMEOUT)
        releases: list[Any] = [self.successResultOf(each) for each in counted]
        releases.append(self.take(self.one))
        self.one.up.release()
        self.assertIsNone(self.take(self.two, source=THERE))
        for release in releases:
            release()
        self.assertIsNone(self.take(self.one))
        self.assertIsNotNone(self.take(self.two, source=THERE))

    @PROPERTY
    @given(st.lists(st.tuples(st.integers(0, 1), st.booleans()), max_size=30), st.integers(0, 1))
    def test_anyOrder(self, steps: list[tuple[int, bool]], dies: int) -> None:
        """Never more than there may be, and a dead worker's are free."""
        self.make()
        held: list[list[Any]] = [[], []]
        for number, takes in steps:
            mine = held[number]
            if takes:
                release = self.take(self.workers[number], limit=3)
                self.assertEqual(release is None, len(held[0]) + len(held[1]) == 3)
                if release is not None:
                    mine.append(release)
            elif mine:
                mine.pop()()
        self.workers[dies].cut()
        self.workers[dies].desk.lost()
        for release in held[1 - dies]:
            release()
        self.assertTrue(self.counts.isEmpty)


class SwitchboardTests(SynchronousTestCase):
    """Registrations while the parent is asked."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.counts = SourceCounts()
        self.workers = [CountingAsker(self.clock, self.counts) for _ in range(2)]
        terms = Terms(serversPerAddress=1, clientsPerAddress=1)
        self.boards = [
            Switchboard(self.clock, {}, terms, Turns(self.clock), worker.counts)
            for worker in self.workers
        ]

    def register(self, board: int, uuid: int, server: int = 0, source: str = HERE) -> Any:
        """Register a server, or a client of one."""
        registration: Any = ServerRegistration("x", UUID(int=uuid))
        if server:
            registration = ClientRegistration("x", UUID(int=uuid), UUID(int=server))
        return self.boards[board].register(registration, Origin(uuid, source, source))

    def assertRefused(self, asked: Deferred[Place], outcome: Outcome) -> None:
        self.assertIs(self.failureResultOf(asked, PlaceRefused).value.outcome, outcome)

    def test_together(self) -> None:
        """Two workers have room for as many as one."""
        server = self.successResultOf(self.register(0, 1))
        self.assertRefused(self.register(1, 2), Outcome.TOO_MANY_SERVERS_FROM_ADDRESS)
        client = self.successResultOf(self.register(0, 3, server=1))
        self.successResultOf(self.register(1, 2, source=THERE))
        self.assertRefused(self.register(1, 4, server=2), Outcome.TOO_MANY_CLIENTS_FROM_ADDRESS)
        client.tunnel.abandon()
        self.successResultOf(self.register(1, 4, server=2))
        server.tunnel.abandon()
        self.successResultOf(self.register(1, 5))

    def test_usedMeanwhile(self) -> None:
        """Of two with one uuid the second is refused, and counted no more."""
        wire = self.workers[0].up
        wire.hold()
        first, second = self.register(0, 1), self.register(0, 1, source=THERE)
        self.assertNoResult(first)
        wire.release()
        self.successResultOf(first)
        self.assertRefused(second, Outcome.ALREADY_REGISTERED)
        self.successResultOf(self.register(1, 2, source=THERE))

    def test_goneMeanwhile(self) -> None:
        """The server has left when the answer comes."""
        server = self.successResultOf(self.register(0, 1))
        wire = self.workers[0].up
        wire.hold()
        client = self.register(0, 2, server=1)
        server.tunnel.abandon()
        wire.release()
        self.assertRefused(client, Outcome.SERVER_NOT_FOUND)
        self.assertTrue(self.counts.isEmpty)


ME, OTHER = (
    Member(bytes([number]) * 16, f"unix:/run/{number}", 1, str(number)) for number in (1, 2)
)
MINE, HIS = Holder(ME.id, 1), Holder(OTHER.id, 7)


class DirectoryTests(SynchronousTestCase):
    """Two workers and the table of their parent."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.table = PlaceTable()
        self.one = DirectoryAsker(self.clock, self.table, ME)
        self.two = DirectoryAsker(self.clock, self.table, OTHER)
        for each in (self.one, self.two):
            self.successResultOf(each.directory.renew())
        self.mine, self.his = self.one.directory, self.two.directory

    def test_interface(self) -> None:
        verifyObject(IDirectory, self.mine)
        self.assertEqual((self.mine.secret, self.mine.isAnswering), (SECRET, True))

    def test_members(self) -> None:
        """They last."""
        self.assertEqual(self.successResultOf(self.mine.member(OTHER.id)), OTHER)
        self.assertIsNone(self.successResultOf(self.mine.member(b"x" * 16)))
        self.clock.advance(1_000_000)
        self.assertEqual(self.successResultOf(self.mine.member(OTHER.id)), OTHER)
        self.assertFalse(self.mine.isLeaseOver())

    def test_places(self) -> None:
        ask = self.successResultOf
        self.assertEqual(ask(self.mine.claim("p", MINE)), MINE)
        self.assertEqual(ask(self.his.claim("p", HIS)), MINE)
        self.assertEqual(ask(self.his.claimAll([("p", HIS), ("q", HIS)])), [MINE, HIS])
        self.assertEqual(ask(self.mine.find("q")), HIS)
        self.assertIsNone(ask(self.mine.find("r")))
        ask(self.mine.release("q", MINE))
        self.assertEqual(ask(self.mine.replace("q", HIS, MINE)), MINE)
        ask(self.mine.release("q", MINE))
        self.assertIsNone(ask(self.his.find("q")))

    def test_dies(self) -> None:
        """What it held is free, and nothing else."""
        self.mine.claim("p", MINE)
        self.mine.claim("old", Holder(b"x" * 16, 1))  # before it was entered, or never
        self.his.claim("q", HIS)
        self.one.cut()
        self.one.desk.lost()
        for place, holder in ("p", None), ("old", None), ("q", HIS):
            self.assertEqual(self.successResultOf(self.his.find(place)), holder)
        self.assertIsNone(self.successResultOf(self.his.member(ME.id)))

    def test_noAnswer(self) -> None:
        """All fails in time; then places are claimed anew."""
        told: list[bool] = []
        self.mine.follow(lambda: told.append(self.mine.isAnswering))
        self.one.up.hold()
        claim = self.mine.claim("p", MINE)
        self.clock.advance(TIMEOUT)
        self.failureResultOf(claim, DirectoryError)
        self.assertFalse(self.mine.isAnswering)
        self.failureResultOf(self.mine.find("p"), DirectoryError)
        self.one.up.release()
        self.assertEqual(told, [True])
        self.assertEqual(self.successResultOf(self.mine.find("p")), MINE)
