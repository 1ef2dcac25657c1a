"""Owns the checks of the keepalive: who is pinged when, and who counts as gone."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from nymearemoteproxy.connections.keepalive import IWatched, Keepalive

PROPERTY = settings(max_examples=100, deadline=None, database=None)

INTERVAL, TIMEOUT = 30, 10


@implementer(IWatched)
class Client:
    """A client that notes when it was pinged.

    :ivar arriving: until when its ping is on its way to it.
    """

    def __init__(self, clock: Clock, answers: bool = False) -> None:
        self.clock = clock
        self.answers = answers
        self.received = 0
        self.blocked = False
        self.arriving = 0.0
        self.pings: list[float] = []
        self.timedOut: list[float] = []
        self.checks: list[float] = []

    def checkTransport(self) -> None:
        self.checks.append(self.clock.seconds())

    def signsOfLife(self) -> int:
        return self.received

    def isDeaf(self) -> bool:
        return self.blocked

    def ping(self) -> Callable[[], bool]:
        self.pings.append(self.clock.seconds())
        if self.answers:
            self.clock.callLater(0, self.speak)
        return lambda: self.clock.seconds() <= self.arriving

    def speak(self) -> None:
        """Send something."""
        self.received += 1

    def pingTimedOut(self) -> None:
        self.timedOut.append(self.clock.seconds())


class KeepaliveTests(SynchronousTestCase):
    """The time of pings and answers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.keepalive = Keepalive(self.clock, INTERVAL, TIMEOUT)

    def client(self, answers: bool = False) -> Client:
        """Return a client that is watched."""
        client = Client(self.clock, answers)
        self.keepalive.add(client)
        return client

    def runFor(self, seconds: int) -> None:
        """Let time pass, second by second."""
        self.clock.pump([1] * seconds)

    def assertSilent(self) -> None:
        """No timer runs."""
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silent(self) -> None:
        """Who does not answer a ping is gone, and not watched any more."""
        client = self.client()
        self.runFor(INTERVAL - 1)
        self.assertEqual(client.pings, [])
        self.runFor(200)
        self.assertEqual(client.pings, [INTERVAL])
        self.assertEqual(client.timedOut, [INTERVAL + TIMEOUT])
        self.assertSilent()

    def test_answers(self) -> None:
        """Who answers is pinged again, an interval after the answer was seen."""
        client = self.client(answers=True)
        self.runFor(3 * (INTERVAL + TIMEOUT))
        self.assertEqual(client.pings, [30, 70, 110])
        self.assertEqual(client.timedOut, [])

    def test_anyByteIsAnAnswer(self) -> None:
        """At the last moment, too."""
        client = self.client()
        self.runFor(INTERVAL + TIMEOUT - 1)
        client.speak()
        self.runFor(1)
        self.assertEqual(client.timedOut, [])
        self.runFor(INTERVAL)
        self.assertEqual(client.pings, [30, 70])

    def test_pingOnItsWay(self) -> None:
        """Who is sent much over a slow line has the whole time when the ping gets through."""
        client = self.client()
        client.arriving = INTERVAL + 3 * TIMEOUT
        self.runFor(INTERVAL + 4 * TIMEOUT - 1)
        self.assertEqual((client.pings, client.timedOut), ([INTERVAL], []))
        self.runFor(1)
        self.assertEqual(client.timedOut, [INTERVAL + 4 * TIMEOUT])
        self.assertSilent()

    def test_answerAfterALongWay(self) -> None:
        client = self.client()
        client.arriving = INTERVAL + 3 * TIMEOUT
        self.runFor(INTERVAL + 4 * TIMEOUT - 1)
        client.speak()
        self.runFor(1 + INTERVAL)
        self.assertEqual(client.pings, [INTERVAL, 2 * INTERVAL + 4 * TIMEOUT])
        self.assertEqual(client.timedOut, [])

    def test_bytesBeforeThePing(self) -> None:
        """They do not count as an answer to it."""
        client = self.client()
        client.received = 1000
        self.runFor(INTERVAL + TIMEOUT)
        self.assertEqual(client.timedOut, [40])

    def test_blockedIsCheckedInstead(self) -> None:
        """A client that cannot be pinged has its transport looked at, as often."""
        client = self.client()
        client.blocked = True
        self.clock.pump([1] * (3 * INTERVAL))
        self.assertEqual(client.checks, [INTERVAL, 2 * INTERVAL, 3 * INTERVAL])
        self.assertEqual(client.pings, [])

    def test_blockedWhenPingIsDue(self) -> None:
        """Who does not take what it was sent is not pinged until it does."""
        client = self.client()
        client.blocked = True
        self.runFor(5 * INTERVAL + 1)
        self.assertEqual(client.pings, [])
        client.blocked = False
        self.runFor(INTERVAL)
        self.assertEqual(client.pings, [6 * INTERVAL])

    def test_blockedWhenAnswerIsDue(self) -> None:
        """Its answer may be on its way."""
        client = self.client()
        self.runFor(INTERVAL)
        client.blocked = True
        self.runFor(TIMEOUT)
        self.assertEqual(client.timedOut, [])
        client.blocked = False
        self.runFor(INTERVAL + TIMEOUT)
        self.assertEqual(client.pings, [30, 70])
        self.assertEqual(client.timedOut, [80])

    def test_blockedClientDelaysNobody(self) -> None:
        """While one does not take its data, the others are pinged at their own time."""
        slow = self.client()
        slow.blocked = True
        self.runFor(5)
        other = self.client(answers=True)
        self.runFor(3 * INTERVAL)
        self.assertEqual(other.pings, [5 + 30, 5 + 70])

    def test_remove(self) -> None:
        """Who is removed is not pinged, and has no timer; also between ping and answer."""
        for seconds in (0, INTERVAL - 1, INTERVAL, INTERVAL + TIMEOUT - 1):
            client = self.client()
            self.runFor(seconds)
            pings = list(client.pings)
            self.keepalive.remove(client)
            self.assertSilent()
            self.runFor(100)
            self.assertEqual((client.pings, client.timedOut), (pings, []))

    def test_removeTwiceOrNever(self) -> None:
        """Removing who is not watched does nothing, to others no more."""
        client = self.client()
        stranger = Client(self.clock)
        self.keepalive.remove(stranger)
        self.runFor(INTERVAL)
        self.assertEqual(client.pings, [30])
        self.keepalive.remove(client)
        self.keepalive.remove(client)
        self.assertSilent()

    def test_removeFirst(self) -> None:
        """The timer of one that was removed serves the next."""
        first = self.client()
        self.runFor(7)
        second = self.client()
        self.keepalive.remove(first)
        self.runFor(INTERVAL)
        self.assertEqual((first.pings, second.pings), ([], [37]))

    def test_removeWhenTimedOut(self) -> None:
        """Who is told of the silence may end, and take the partner along, there and then."""
        first, second = self.client(), self.client()

        def end() -> None:
            self.keepalive.remove(first)
            self.keepalive.remove(second)

        first.pingTimedOut = end  # type: ignore[method-assign]
        self.runFor(100)
        self.assertEqual(second.timedOut, [])
        self.assertSilent()

    def test_removeWhenPinged(self) -> None:
        """Sending a ping may fail and end the client."""
        first, second = self.client(), self.client()

        def ping() -> Callable[[], bool]:
            self.keepalive.remove(second)
            return bool

        first.ping = ping  # type: ignore[method-assign]
        self.runFor(100)
        self.assertEqual(second.pings, [])

    def test_hurry(self) -> None:
        """Who is pinged now is not pinged when it would have been due, nor twice."""
        client = self.client(answers=True)
        self.runFor(INTERVAL - 1)
        self.keepalive.hurry(client)
        self.keepalive.hurry(client)
        self.runFor(INTERVAL)
        self.assertEqual(client.pings, [INTERVAL - 1])
        self.keepalive.remove(client)
        self.keepalive.hurry(client)
        self.assertEqual(client.pings, [INTERVAL - 1])
        self.assertSilent()

    def test_everySecond(self) -> None:
        """An interval of 1 is one."""
        keepalive = Keepalive(self.clock, 1, TIMEOUT)
        client = Client(self.clock)
        keepalive.add(client)
        self.runFor(1)
        self.assertEqual(client.pings, [1])
        keepalive.remove(client)

    def test_off(self) -> None:
        """With an interval of 0 nobody is pinged."""
        keepalive = Keepalive(self.clock, 0, TIMEOUT)
        client = Client(self.clock)
        keepalive.add(client)
        self.assertSilent()
        keepalive.remove(client)

    def test_oneTimer(self) -> None:
        """However many are watched, few timers run."""
        clients = []
        for _ in range(100):
            clients.append(self.client(answers=True))
            self.clock.advance(0.1)
        for _ in range(100):
            self.clock.advance(1)
            self.assertLessEqual(len(self.clock.getDelayedCalls()), 2)
        for client in clients:
            self.keepalive.remove(client)
        self.assertSilent()

    def test_longTurn(self) -> None:
        """When the reactor was busy, all that is overdue is done at once, and time goes on."""
        early = self.client(answers=True)
        self.clock.advance(3)
        late = self.client(answers=True)
        self.clock.advance(500)
        self.assertEqual((early.pings, late.pings), ([503], [503]))
        self.clock.advance(TIMEOUT)
        self.assertEqual((early.timedOut, late.timedOut), ([], []))

    @PROPERTY
    @given(
        st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.booleans()), max_size=8),
        st.integers(0, 100),
    )
    def test_eachAsIfAlone(self, arrivals: list[tuple[int, bool, bool]], after: int) -> None:
        """Every client is pinged exactly when it would be if it were the only one."""

        def lives(members: list[tuple[int, bool, bool]]) -> list[tuple[list[float], list[float]]]:
            clock = Clock()
            keepalive = Keepalive(clock, INTERVAL, TIMEOUT)
            clients = []
            for start, answers, blocked in members:
                client = Client(clock, answers)
                client.blocked = blocked
                clients.append(client)
                clock.callLater(start, keepalive.add, client)
            clock.pump([1] * (40 + after))
            return [(client.pings, client.timedOut) for client in clients]

        together = lives(arrivals)
        self.assertEqual(together, [lives([arrival])[0] for arrival in arrivals])
