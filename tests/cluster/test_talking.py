"""Owns the checks of what is said on a link before its records, by either side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from nymearemoteproxy.cluster.answering import Answerer, IHome
from nymearemoteproxy.cluster.asker import Asker
from nymearemoteproxy.cluster.asking import IAsking, MemberGone, MemberSilent, NobodyThere
from nymearemoteproxy.cluster.directory import DirectoryError, Holder, Member
from nymearemoteproxy.cluster.far import MOST_TOLD, NOBODY_KNOWN, describe, foreignRecord
from nymearemoteproxy.cluster.linkasking import LinkAsking
from nymearemoteproxy.cluster.linking import LinkFailed, LinkRefused
from nymearemoteproxy.cluster.links import Links
from nymearemoteproxy.cluster.liveness import CONTROL_TIMEOUT
from nymearemoteproxy.cluster.members import MOST_KNOWN, Members
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.rendezvous import Confirm, NobodyWaits, WaiterLeft
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.linkmessages import (
    LINE_SIZE,
    ControlLink,
    Denied,
    Here,
    Look,
    Meet,
    Met,
    NotHere,
    Offer,
    Visit,
    Wait,
)
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration
from nymearemoteproxy.protocol.session import Identity
from nymearemoteproxy.tunnelproxy.ends import Origin
from nymearemoteproxy.wires.direct import DirectTransport
from tests.support.memory import Pipe
from tests.support.parts import makeProxy

ME, OTHER = b"m" * 16, b"o" * 16
HOLDER = Holder(OTHER, 3)
ANNA, BERT = Identity("Anna", "a"), Identity("Bert", "b")
PLACE = "key:" + 32 * "0"
MEET = Meet(ME, PLACE, 3, ANNA, NOBODY_KNOWN)
REGISTRATION = ClientRegistration("app", UUID(int=1), UUID(int=2))
VISIT = Visit(ME, PLACE, 3, REGISTRATION, "", NOBODY_KNOWN)
LOOK = Look(ME, PLACE, 3)
OFFER = Offer(BERT, NOBODY_KNOWN)
TIMEOUT = 2.0


def connect(protocol: Any) -> Pipe:
    """Give a protocol a connection."""
    pipe = Pipe(UNIXAddress(None))
    pipe.protocol = direct = DirectTransport(protocol)
    direct.makeConnection(pipe)
    return pipe


class AskerTests(SynchronousTestCase):
    """One that asks."""

    def ask(self, ask: Any) -> None:
        """Ask this."""
        self.clock = Clock()
        self.asker = Asker(self.clock, TIMEOUT, ask)
        self.offers = 0
        self.asker.offered = self.offered
        self.pipe = connect(self.asker)
        self.assertEqual(self.pipe.take(), ask.encode())

    def offered(self) -> None:
        """Count it; nothing is said before."""
        self.offers += 1
        self.assertEqual(self.pipe.value(), b"")

    def hear(self, *answers: Any) -> None:
        """The other member says this, in one go."""
        self.pipe.receive(b"".join(answer.encode() for answer in answers))

    def assertOver(self, error: type[Exception]) -> Exception:
        """It has failed, and nothing is left."""
        failure = self.failureResultOf(self.asker.answered, error)
        self.assertTrue(self.pipe.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return failure.value  # type: ignore[no-any-return]

    def test_meet(self) -> None:
        """An offer is agreed to; the last word is the other one's, and what follows is kept."""
        self.ask(MEET)
        self.hear(Wait(), OFFER)
        self.assertEqual(self.pipe.take(), Here().encode())
        self.assertEqual(self.offers, 1)
        self.assertNoResult(self.asker.answered)
        self.pipe.receive(Met().encode() + b"records")
        self.assertIsNone(self.successResultOf(self.asker.answered))
        self.assertEqual(self.asker.offer, OFFER)
        self.assertEqual(self.asker.rest(), b"records")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_visitAndLook(self) -> None:
        """There is no offer to agree to."""
        for ask, answer in ((VISIT, Met()), (LOOK, Here())):
            self.ask(ask)
            self.hear(answer)
            self.assertIsNone(self.successResultOf(self.asker.answered))

    def test_no(self) -> None:
        """It is said why not, or that nobody is there."""
        for ask in (MEET, VISIT, LOOK):
            self.ask(ask)
            self.hear(NotHere())
            self.assertOver(NobodyThere)
            self.ask(ask)
            self.hear(Denied(Outcome.TUNNEL_EXISTS))
            refusal: Any = self.assertOver(PlaceRefused)
            self.assertIs(refusal.outcome, Outcome.TUNNEL_EXISTS)

    def test_afterAnOffer(self) -> None:
        """It can still come to nothing."""
        self.ask(MEET)
        self.hear(OFFER)
        self.hear(NotHere())
        self.assertOver(NobodyThere)

    def test_outOfTurn(self) -> None:
        """Whoever says what makes no sense is not believed."""
        for ask, answers in (
            (MEET, [Met()]),
            (MEET, [Here()]),
            (MEET, [OFFER, OFFER]),
            (MEET, [OFFER, Here()]),
            (VISIT, [OFFER]),
            (VISIT, [Here()]),
            (LOOK, [Met()]),
            (LOOK, [OFFER]),
        ):
            self.ask(ask)
            self.hear(*answers)
            self.assertOver(LinkFailed)

    def test_garbage(self) -> None:
        """No line at all, or an endless one."""
        for data in (b"\n", b"{}\n", b"x" * (LINE_SIZE + 1), MEET.encode()):
            self.ask(MEET)
            self.pipe.receive(data)
            self.assertOver(LinkFailed)

    def test_silence(self) -> None:
        """Before the first word, and before each other one; Wait is one."""
        for words in ([], [Wait()], [OFFER], [Wait(), OFFER, Wait()]):
            self.ask(MEET)
            for word in words:
                self.clock.advance(TIMEOUT - 0.1)
                self.hear(word)
            self.clock.advance(TIMEOUT - 0.1)
            self.assertNoResult(self.asker.answered)
            self.clock.advance(0.1)
            self.assertOver(LinkFailed)

    def test_closed(self) -> None:
        """Without an answer."""
        self.ask(MEET)
        self.pipe.lose(ConnectionDone())
        self.assertOver(LinkFailed)

    def test_cancelled(self) -> None:
        """The link is closed: the other member hears that nobody asks any more."""
        self.ask(MEET)
        self.hear(OFFER)
        self.asker.answered.cancel()  # which is for who has asked; it says so, too
        self.asker.abort()
        self.assertOver(CancelledError)


class FakeDirectory:
    """Knows one member, or none, or does not answer."""

    def __init__(self) -> None:
        self.found: Member | None = Member(OTHER, "unix:/x", 1)
        self.isAnswering = True
        self.asked = 0

    def member(self, id: bytes) -> Deferred[Member | None]:
        """Fire with it."""
        self.asked += 1
        if not self.isAnswering:
            return fail(DirectoryError("no"))
        return succeed(self.found)


class FakeLinker:
    """Connects, or does not."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.pipe: Pipe | None = None
        self.last: Member | None = None

    def connect(self, member: Member, protocol: Any) -> Deferred[None]:
        """Give the protocol a pipe."""
        self.last = member
        if self.error is not None:
            return fail(self.error)
        self.pipe = connect(protocol)
        return succeed(None)


class AskingTests(SynchronousTestCase):
    """How a member is found, and what its answers come to."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.proxy = makeProxy(self.clock)
        self.directory, self.linker, self.links = FakeDirectory(), FakeLinker(), Links()
        self.members = Members(self.directory, self.linker)  # type: ignore[arg-type]
        self.asking = LinkAsking(self.proxy, self.members, self.links, ME, TIMEOUT)
        self.released = 0

    def release(self) -> None:
        """Count."""
        self.released += 1

    @property
    def pipe(self) -> Pipe:
        """The link."""
        assert self.linker.pipe is not None
        return self.linker.pipe

    def meet(self) -> Deferred[Place]:
        """Ask for somebody."""
        return self.asking.meet(HOLDER, PLACE, ANNA, None)

    def visit(self, isThere: bool = True) -> Deferred[Place]:
        """Ask for a server."""
        origin = Origin(7, look=lambda: succeed(isThere))
        return self.asking.visit(HOLDER, PLACE, REGISTRATION, origin, self.release)

    def assertGuest(self, isGuest: bool, number: int = 0) -> None:
        """A client of ours is where it was connected to."""
        self.assertIs(self.successResultOf(self.asking.isGuest(number)), isGuest)

    def test_interface(self) -> None:
        """It provides what it says."""
        self.assertTrue(verifyObject(IAsking, self.asking))

    def test_meet(self) -> None:
        """The client is a guest from the offer on, until the tunnel ends."""
        met = self.meet()
        self.assertEqual(self.pipe.take(), MEET.encode())
        self.assertGuest(False)
        self.pipe.receive(OFFER.encode())
        self.assertGuest(True)
        self.pipe.receive(Met().encode())
        place = self.successResultOf(met)
        self.assertEqual(place.partner, BERT)
        self.assertEqual(len(self.links.of(OTHER)), 1)
        self.assertGuest(True)
        place.tunnel.abandon()
        self.assertGuest(False)

    def test_nameTooLong(self) -> None:
        """Where the length of messages has no limit: that client is refused, nobody is asked."""
        name = "x" * LINE_SIZE
        met = self.asking.meet(HOLDER, PLACE, Identity(name), None)
        refusal: Any = self.failureResultOf(met, PlaceRefused).value
        self.assertIs(refusal.outcome, Outcome.MESSAGE_TOO_LARGE)
        self.assertGuest(False)
        registration = replace(REGISTRATION, name=name)
        origin = Origin(7, look=lambda: succeed(True))
        visited = self.asking.visit(HOLDER, PLACE, registration, origin, self.release)
        refusal = self.failureResultOf(visited, PlaceRefused).value
        self.assertIs(refusal.outcome, Outcome.MESSAGE_TOO_LARGE)
        self.assertGuest(False, 7)
        self.assertEqual(self.released, 1)
        self.assertIsNone(self.linker.pipe)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_meetComesToNothing(self) -> None:
        """Then it is no guest."""
        met = self.meet()
        self.pipe.receive(OFFER.encode())
        self.pipe.receive(NotHere().encode())
        self.failureResultOf(met, NobodyThere)
        self.assertGuest(False)

    def test_visit(self) -> None:
        """The client is a guest as long as it is there, until its tunnel ends."""
        for isThere in (True, False):
            self.released = 0
            visited = self.visit(isThere)
            self.assertGuest(isThere)
            self.pipe.receive(Met().encode())
            place = self.successResultOf(visited)
            self.assertGuest(isThere)
            self.assertEqual(self.released, 0)
            place.tunnel.abandon()
            self.assertGuest(False)
            self.assertEqual(self.released, 1)

    def test_visitComesToNothing(self) -> None:
        """What it had is given up."""
        visited = self.visit()
        self.pipe.receive(Denied(Outcome.ALREADY_REGISTERED).encode())
        self.failureResultOf(visited, PlaceRefused)
        self.assertGuest(False)
        self.assertEqual(self.released, 1)

    def test_look(self) -> None:
        """It says yes, and the link is closed."""
        looked = self.asking.look(HOLDER, PLACE)
        self.assertEqual(self.pipe.value(), LOOK.encode())
        self.pipe.receive(Here().encode())
        self.assertIsNone(self.successResultOf(looked))
        self.assertTrue(self.pipe.lost)

    def test_refused(self) -> None:
        """Nobody listens there: it is gone, whatever the directory says."""
        self.linker.error = LinkRefused("no")
        self.failureResultOf(self.meet(), MemberGone)

    def test_unreachable(self) -> None:
        """It is gone if its lease is over, and else may come back."""
        self.linker.error = LinkFailed("no")
        self.failureResultOf(self.meet(), MemberSilent)
        self.directory.isAnswering = False
        self.failureResultOf(self.meet(), MemberSilent)
        self.directory.isAnswering, self.directory.found = True, None
        self.failureResultOf(self.meet(), MemberGone)

    def test_silent(self) -> None:
        """The same when it takes the link and says nothing."""
        met = self.meet()
        self.clock.advance(TIMEOUT)
        self.failureResultOf(met, MemberSilent)
        self.directory.found = None
        met = self.meet()
        self.clock.advance(TIMEOUT)
        self.failureResultOf(met, MemberGone)

    def test_moved(self) -> None:
        """A machine may get another address; it is looked up when there is no answer."""
        met = self.meet()
        before, self.directory.found = self.directory.found, Member(OTHER, "unix:/y", 1)
        self.clock.advance(TIMEOUT)
        self.failureResultOf(met, MemberSilent)
        self.assertEqual(self.linker.last, before)
        met = self.meet()
        self.assertEqual(self.linker.last, self.directory.found)
        met.cancel()
        self.failureResultOf(met, CancelledError)

    def test_notInTheDirectory(self) -> None:
        """One whose lease is over, or that cannot be looked for."""
        self.directory.found = None
        self.failureResultOf(self.meet(), MemberGone)
        self.directory.isAnswering = False
        self.failureResultOf(self.meet(), MemberSilent)

    def test_cancelled(self) -> None:
        """The link is closed."""
        met = self.meet()
        met.cancel()
        self.failureResultOf(met, CancelledError)
        self.assertTrue(self.pipe.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_addressIsAskedForOnce(self) -> None:
        """And of so many members only is it remembered."""
        for _ in range(2):
            self.asking.look(HOLDER, PLACE).addErrback(lambda _failure: None)
        self.assertEqual(self.directory.asked, 1)
        for number in range(MOST_KNOWN):
            id = number.to_bytes(16, "big")
            self.directory.found = Member(id, "unix:/x", 1)
            self.members.connect(id, Asker(self.clock, TIMEOUT, LOOK))
        self.assertEqual(len(self.members._known), MOST_KNOWN)
        self.assertNotIn(OTHER, self.members._known)


@implementer(IHome)
class FakeHome:
    """Decides what the test wants."""

    def __init__(self) -> None:
        self.asked: Any = None
        self.confirm: Confirm | None = None
        self.answer: Deferred[Any] = Deferred()
        self.left = 0
        self.breaches: list[tuple[bytes | None, str]] = []

    def broken(self, member: bytes | None, reason: str) -> None:
        self.breaches.append((member, reason))

    def meet(self, ask: Meet, confirm: Confirm) -> Deferred[Place]:
        self.asked, self.confirm = ask, confirm
        return self.answer

    def visit(self, ask: Visit) -> Deferred[Place]:
        self.asked = ask
        return self.answer

    def visited(self, ask: Visit) -> Callable[[], object]:
        return self._leave

    def _leave(self) -> None:
        self.left += 1

    def look(self, place: str) -> Deferred[bool]:
        self.asked = place
        return self.answer


class AnswererTests(SynchronousTestCase):
    """One that answers."""

    def setUp(self) -> None:
        self.connect()

    def connect(self, peer: bytes | None = ME) -> None:
        """A link arrives."""
        self.clock = Clock()
        self.proxy = makeProxy(self.clock)
        self.home, self.links = FakeHome(), Links()
        self.pipe = connect(Answerer(self.proxy, self.home, self.links, peer, TIMEOUT))
        self.released = 0

    def release(self) -> None:
        """Count."""
        self.released += 1

    def hear(self, *words: Any) -> None:
        """The other member says this."""
        self.pipe.receive(b"".join(word.encode() for word in words))

    def assertSaid(self, *words: Any) -> None:
        """This was said, since the last time."""
        self.assertEqual(self.pipe.take(), b"".join(word.encode() for word in words))

    def assertOver(self, *words: Any) -> None:
        """This was the last that was said; no timer is left."""
        self.assertSaid(*words)
        self.assertTrue(self.pipe.disconnecting or self.pipe.lost)
        self.pipe.lose(ConnectionDone())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def offered(self) -> Deferred[bool]:
        """Ask, and be made an offer."""
        self.hear(MEET)
        assert self.home.confirm is not None
        confirmed = self.home.confirm(BERT, None)
        self.assertSaid(OFFER)
        self.assertNoResult(confirmed)
        return confirmed

    def test_interface(self) -> None:
        """The home of the test is one."""
        self.assertTrue(verifyObject(IHome, self.home))

    def test_meet(self) -> None:
        """What follows the agreement are records."""
        confirmed = self.offered()
        self.assertEqual(self.home.asked, MEET)
        self.hear(Here())
        self.assertIs(self.successResultOf(confirmed), True)
        tunnel = Tunnel(self.release)
        self.home.answer.callback(Place(tunnel, BERT))
        self.assertSaid(Met())
        (leg,) = self.links.of(ME)
        self.assertTrue(leg.isHome)
        self.pipe.lose(ConnectionDone())
        self.assertEqual(self.released, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_visit(self) -> None:
        """There is no offer; when the link is closed the client has left."""
        self.hear(VISIT)
        self.assertEqual(self.home.asked, VISIT)
        self.home.answer.callback(Place(Tunnel(self.release)))
        self.assertSaid(Met())
        self.assertEqual(self.home.left, 0)
        self.pipe.lose(ConnectionDone())
        self.assertEqual((self.released, self.home.left), (1, 1))

    def test_look(self) -> None:
        """Yes or no."""
        for found, word in ((True, Here()), (False, NotHere())):
            self.connect()
            self.hear(LOOK)
            self.assertEqual(self.home.asked, PLACE)
            self.home.answer.callback(found)
            self.assertOver(word)

    def test_no(self) -> None:
        """It is said why not, or that nobody is here."""
        for error, word in (
            (PlaceRefused(Outcome.TUNNEL_EXISTS), Denied(Outcome.TUNNEL_EXISTS)),
            (NobodyWaits(), NotHere()),
        ):
            for ask in (MEET, VISIT):
                self.connect()
                self.hear(ask)
                self.home.answer.errback(error)
                self.assertOver(word)

    def test_takesTime(self) -> None:
        """The other member is kept patient, for as long as it takes."""
        for ask in (MEET, VISIT, LOOK):
            self.connect()
            self.hear(ask)
            for _ in range(5):
                self.clock.advance(TIMEOUT / 2)
                self.assertSaid(Wait())
            self.home.answer.errback(NobodyWaits())
            self.assertOver(NotHere())

    def test_lateAgreement(self) -> None:
        """It counts as none, and the link is cut: there is somebody, so it is asked again."""
        confirmed = self.offered()
        confirmed.addCallback(lambda _isThere: self.home.answer.errback(NobodyWaits()))
        self.clock.advance(TIMEOUT)
        self.assertTrue(self.pipe.lost)
        self.assertOver()

    def test_waiterLeavesOthers(self) -> None:
        """There is somebody else, so it is asked again."""
        self.offered()
        self.home.answer.errback(WaiterLeft())
        self.assertTrue(self.pipe.lost)
        self.assertOver()

    def test_closedAfterAnOffer(self) -> None:
        """That is no agreement."""
        confirmed = self.offered()
        self.pipe.lose(ConnectionDone())
        self.assertIs(self.successResultOf(confirmed), False)
        self.home.answer.addErrback(lambda failure: failure.trap(CancelledError))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waiterLeaves(self) -> None:
        """After the offer: a late agreement finds nobody, and harms nothing."""
        confirmed = self.offered()
        self.home.answer.errback(NobodyWaits())
        self.assertSaid(NotHere())
        self.hear(Here())
        self.assertIs(self.successResultOf(confirmed), True)
        self.assertOver()

    def test_closedTooEarly(self) -> None:
        """What was asked for is given up; what is found all the same is abandoned."""
        self.hear(VISIT)
        self.home.answer = Deferred()
        self.pipe.lose(ConnectionDone())
        self.assertEqual(self.pipe.take(), b"")
        self.connect()
        found = self.home.answer = Deferred(lambda _found: found.callback(place))
        place = Place(Tunnel(self.release))
        self.hear(VISIT)
        self.pipe.lose(ConnectionDone())
        self.assertEqual(self.released, 1)
        self.assertEqual((self.pipe.value(), self.links._links), (b"", {}))

    def test_foundTooLate(self) -> None:
        """Nobody needs an answer any more."""
        found = self.home.answer = Deferred(lambda _found: found.callback(True))
        self.hear(LOOK)
        self.pipe.lose(ConnectionDone())
        self.assertEqual(self.pipe.value(), b"")

    def test_silence(self) -> None:
        """One that asks for nothing is not waited for."""
        self.clock.advance(TIMEOUT)
        self.assertOver()

    def test_anothersId(self) -> None:
        """Who is at the other end is proven, if it is another machine's."""
        for ask in (Meet(OTHER, PLACE, 3, ANNA, NOBODY_KNOWN), ControlLink(OTHER)):
            self.connect()
            self.hear(ask)
            self.assertIsNone(self.home.asked)
            self.assertOver()
        self.connect(None)
        self.hear(ask)
        self.assertFalse(self.pipe.lost)

    def test_outOfTurn(self) -> None:
        """The link is closed."""
        for words in (
            [Here()],
            [MEET, Here()],
            [MEET, MEET],
            [VISIT, Here()],
            [LOOK, Here()],
            [ControlLink(ME), Wait()],
            [ControlLink(ME), MEET],
        ):
            for peer in (ME, None):
                self.connect(peer)
                self.hear(*words)
                self.assertOver()

    def test_twiceHere(self) -> None:
        """It is said once."""
        self.offered()
        self.hear(Here(), Here())
        self.assertOver()

    def test_garbage(self) -> None:
        """The same."""
        for data in (b"\n", b"{}\n", b"x" * (LINE_SIZE + 1), OFFER.encode()):
            self.connect()
            self.pipe.receive(data)
            self.assertOver()
            self.assertEqual([member for member, _reason in self.home.breaches], [ME])

    def test_controlLink(self) -> None:
        """Each question is answered; who asks nothing for long is gone."""
        heard: list[bytes] = []
        self.links.heard = heard.append
        self.hear(ControlLink(ME))
        for _ in range(3):
            self.clock.advance(CONTROL_TIMEOUT - 0.1)
            self.hear(Here())
            self.assertSaid(Here())
        self.assertEqual(heard, 3 * [ME])
        self.clock.advance(CONTROL_TIMEOUT)
        self.assertOver()

    def test_deafControlLink(self) -> None:
        """Answers that are not read are not collected."""
        self.hear(ControlLink(ME))
        self.pipe.full = True
        self.hear(Here())
        self.assertFalse(self.pipe.lost)
        self.hear(Here())
        self.assertTrue(self.pipe.lost)

    def test_fault(self) -> None:
        """A fault of ours costs this link, and the other member hears nothing."""
        self.hear(MEET)
        self.home.answer.errback(ZeroDivisionError())
        self.assertOver()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class FarTests(SynchronousTestCase):
    """What is told of a client."""

    def test_nobody(self) -> None:
        """One of which nothing is known."""
        self.assertEqual(describe(None), NOBODY_KNOWN)

    def test_back(self) -> None:
        """What is told can be told again."""
        record = makeProxy(Clock()).registry.admit(UNIXAddress(None), "WebSocket", True)
        assert record is not None
        record.name, record.uuid = "Anna", "a"
        far = describe(record)
        self.assertEqual(describe(foreignRecord(far, 5.0, isNeighbour=True)), far)
        self.assertEqual(foreignRecord(far, 5.0, isNeighbour=False).started, 5.0)

    def test_longName(self) -> None:
        """Who watches is not told more of it than is ever shown."""
        record = makeProxy(Clock()).registry.admit(UNIXAddress(None), "WebSocket", True)
        assert record is not None
        record.name = record.uuid = "n" * (MOST_TOLD + 1)
        far = describe(record)
        self.assertEqual((far.name, far.uuid), ("n" * MOST_TOLD, "n" * MOST_TOLD))
