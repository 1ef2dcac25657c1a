"""Owns the checks of how it is found out that another member is gone."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.asking import MemberGone, MemberSilent, MemberUnknown
from nymearemoteproxy.cluster.linking import LinkFailed
from nymearemoteproxy.cluster.links import Links
from nymearemoteproxy.cluster.liveness import (
    CONTROL_TIMEOUT,
    CUTS_A_TURN,
    HEARTBEAT,
    LINKS_A_TURN,
    RECONNECT,
    Liveness,
)
from nymearemoteproxy.protocol.linkmessages import LINE_SIZE, ControlLink, Here
from nymearemoteproxy.wires.direct import DirectTransport
from tests.support.memory import Pipe
from tests.support.parts import makeProxy

ME, OTHER = b"m" * 16, b"o" * 16


class FakeLink:
    """A link that carries nothing."""

    member = OTHER

    def __init__(self, links: Links, isHome: bool = True) -> None:
        self.isHome = isHome
        self.isCut = False
        self.checks = 0
        self._links = links

    def cut(self) -> None:
        """Leave, as a link does."""
        self.isCut = True
        self._links.remove(self, isBroken=True)  # type: ignore[arg-type]

    def breakOff(self) -> None:
        """End without a word."""
        self._links.remove(self, isBroken=True)  # type: ignore[arg-type]

    def checkTransport(self) -> None:
        """Count."""
        self.checks += 1


class FakeMembers:
    """Connects, unless the test says otherwise."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hangs = False
        self.pipes: list[Pipe] = []
        self.tries = 0

    def describe(self, id: bytes) -> str:
        """Return the one member's name."""
        return "the other one"

    def connect(self, id: bytes, protocol: Any) -> Deferred[None]:
        """Give the protocol a pipe."""
        self.tries += 1
        connected: Deferred[None] = Deferred()
        if self.hangs:
            return connected
        if self.error is not None:
            return fail(self.error)
        pipe = Pipe(UNIXAddress(None))
        pipe.protocol = direct = DirectTransport(protocol)
        direct.makeConnection(pipe)
        self.pipes.append(pipe)
        connected.callback(None)
        return connected


class LivenessTests(SynchronousTestCase):
    """One member, and links to another one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.links, self.members = Links(), FakeMembers()
        self.liveness = Liveness(makeProxy(self.clock), self.links, self.members, ME)  # type: ignore[arg-type]

    def link(self) -> FakeLink:
        """Open one."""
        link = FakeLink(self.links)
        self.links.add(link)  # type: ignore[arg-type]
        return link

    @property
    def pipe(self) -> Pipe:
        """The control link."""
        return self.members.pipes[-1]

    def answer(self) -> None:
        """The other member answers."""
        self.pipe.receive(Here().encode())

    def advance(self, seconds: float, answers: bool = False) -> None:
        """Let time pass, a little at a time; the other member answers, or does not."""
        for _ in range(round(seconds * 8)):
            self.clock.advance(0.125)
            if answers and self.pipe.take():
                self.answer()

    def test_noLinks(self) -> None:
        """Then nobody is asked, and nothing is left when the last one is closed."""
        link = self.link()
        self.link()
        self.assertEqual(self.members.tries, 1)
        self.assertEqual(self.pipe.value(), ControlLink(ME).encode() + Here().encode())
        self.links.remove(link)  # type: ignore[arg-type]
        self.assertFalse(self.pipe.lost)
        (last,) = self.links.of(OTHER)
        self.links.remove(last)
        self.assertTrue(self.pipe.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lives(self) -> None:
        """It is asked again and again, and so are links that are not read."""
        link = self.link()
        self.advance(60, answers=True)
        self.assertEqual(link.checks, 13)
        self.assertFalse(link.isCut)
        self.assertEqual(self.members.tries, 1)

    def test_silent(self) -> None:
        """Its links are cut, and counted."""
        links = [self.link() for _ in range(3 * CUTS_A_TURN + 1)]
        self.answer()
        self.advance(CONTROL_TIMEOUT - 0.125)
        self.assertFalse(any(link.isCut for link in links))
        self.advance(1)
        self.assertTrue(all(link.isCut for link in links))
        self.assertEqual((self.liveness.deaths, self.links.cuts), (1, len(links)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cutInTurns(self) -> None:
        """Others are served meanwhile; one that has left by itself is not counted."""
        links = [self.link() for _ in range(CUTS_A_TURN + 2)]
        self.liveness.gone(OTHER, "test", 0)
        self.assertEqual(sum(link.isCut for link in links), CUTS_A_TURN)
        self.links.remove(links[-1])  # type: ignore[arg-type]
        self.clock.advance(0)
        self.assertEqual(self.links.cuts, CUTS_A_TURN + 1)
        self.assertFalse(links[-1].isCut)

    def test_checkedInTurns(self) -> None:
        """The same with looking."""
        links = [self.link() for _ in range(LINKS_A_TURN + 1)]
        self.liveness.check(OTHER)
        self.assertEqual(sum(link.checks for link in links), LINKS_A_TURN + 1)
        self.clock.advance(0)
        self.assertEqual(sum(link.checks for link in links), LINKS_A_TURN + 2)

    def test_refused(self) -> None:
        """Nobody listens there: at once, be it with the first link."""
        self.members.error = MemberGone()
        self.assertTrue(self.link().isCut)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_controlLinkLost(self) -> None:
        """It is opened again at once; if nobody listens there, that is the end."""
        link = self.link()
        self.advance(3, answers=True)
        self.pipe.lose(ConnectionDone())
        self.assertEqual(self.members.tries, 2)
        self.advance(3, answers=True)
        self.assertFalse(link.isCut)
        self.members.error = MemberGone()
        self.pipe.lose(ConnectionDone())
        self.assertTrue(link.isCut)

    def test_controlLinkLostAgain(self) -> None:
        """Whoever closes it each time is not asked each time."""
        self.link()
        self.pipe.lose(ConnectionDone())
        self.assertEqual(self.members.tries, 1)
        self.clock.advance(HEARTBEAT)
        self.assertEqual(self.members.tries, 2)

    def test_killed(self) -> None:
        """All of its links have ended before anybody asks; it is told and counted all the same."""
        links = [self.link() for _ in range(3)]
        self.members.error = MemberGone()
        for link in links:
            link.breakOff()
        self.assertEqual((self.liveness.deaths, self.links.cuts), (1, 3))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_brokenBeforeItsControlLink(self) -> None:
        """Those that ended by themselves are counted with those that are cut."""
        one, two = self.link(), self.link()
        self.advance(RECONNECT)
        self.members.error = MemberGone()
        one.breakOff()
        self.pipe.lose(ConnectionDone())
        self.assertTrue(two.isCut)
        self.assertEqual((self.liveness.deaths, self.links.cuts), (1, 2))

    def test_onlyTheLinksBroke(self) -> None:
        """The member is there: nothing is told."""
        for error in (None, MemberUnknown(), MemberSilent(), LinkFailed("no")):
            self.setUp()
            link = self.link()
            self.members.error = error
            link.breakOff()
            self.assertEqual((self.liveness.deaths, self.links.cuts), (0, 0))
            self.assertTrue(self.pipe.lost)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unreachable(self) -> None:
        """It is tried again, until it was silent for too long."""
        for error in (MemberSilent(), LinkFailed("no"), MemberUnknown()):
            self.setUp()
            self.members.error = error
            link = self.link()
            self.advance(CONTROL_TIMEOUT - 0.125)
            self.assertEqual(self.members.tries, 3)
            self.assertFalse(link.isCut)
            self.advance(1)
            self.assertTrue(link.isCut)

    def test_heardElsewhere(self) -> None:
        """It is not known where it is, but it says itself that it is there, until it does not."""
        self.members.error = MemberUnknown()
        link = self.link()
        for _ in range(4):
            self.advance(CONTROL_TIMEOUT - 1)
            self.links.heard(OTHER)
        self.advance(CONTROL_TIMEOUT - 0.125)
        self.assertFalse(link.isCut)
        self.advance(1)
        self.assertTrue(link.isCut)
        self.links.heard(OTHER)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_endsWhileConnecting(self) -> None:
        """Nothing is left."""
        self.members.hangs = True
        link = self.link()
        self.clock.advance(HEARTBEAT)
        self.assertEqual(self.members.tries, 1)
        self.links.remove(link)  # type: ignore[arg-type]
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_weSlept(self) -> None:
        """What the others said meanwhile was not read yet."""
        link = self.link()
        self.answer()
        self.clock.advance(3600)
        self.assertFalse(link.isCut)
        self.advance(CONTROL_TIMEOUT + HEARTBEAT)
        self.assertTrue(link.isCut)

    def test_comesBack(self) -> None:
        """A link that is made while the others are cut is looked after like any other."""
        for _ in range(CUTS_A_TURN + 1):
            self.link()
        self.clock.advance(1)
        self.members.error = MemberGone()
        self.pipe.lose(ConnectionDone())
        new = self.link()
        self.clock.advance(0)
        self.assertEqual(self.links.of(OTHER), [new])
        self.assertFalse(new.isCut)
        self.clock.advance(HEARTBEAT)
        self.assertTrue(new.isCut)
        self.assertEqual(self.liveness.deaths, 2)

    def test_isCutOnce(self) -> None:
        """However often it is found out meanwhile."""
        for _ in range(CUTS_A_TURN + 1):
            self.link()
        peer = self.liveness._peers[OTHER]
        peer._gone("one")
        peer._gone("two")
        self.assertEqual(self.liveness.deaths, 1)
        self.clock.advance(0)
        self.assertEqual(self.links.of(OTHER), [])

    def test_garbage(self) -> None:
        """Its control link is closed."""
        self.link()
        self.pipe.receive(b"x" * (LINE_SIZE + 1))
        self.assertTrue(self.pipe.lost)
