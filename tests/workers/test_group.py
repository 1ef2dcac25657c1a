"""Who gets a connection, and when a worker is started anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.workers import group
from nymearemoteproxy.workers.desk import Desk
from nymearemoteproxy.workers.group import (
    EXTRA,
    FIRST_DELAY,
    LONGEST_DELAY,
    LOOP,
    STEADY,
    Plan,
    WorkerGroup,
)
from nymearemoteproxy.workers.process import SERVES, SILENCE, START_SILENCE, SUSPECT, WorkerProcess
from tests.support.parts import makeProxy

FIRST_MESSAGE = ["first"]


class ScriptedProcess(WorkerProcess):
    """A worker that is no process.

    :ivar sent: what it was told.
    :ivar killed: why, if it was.
    """

    def start(self, messages: Any) -> None:
        self.sent = list(messages)
        self.killed = ""
        self.channel: Any = SimpleNamespace(send=self.sent.append)
        self.handing: Any = SimpleNamespace(isFull=False, close=self.close, hand=self.hand)

    def close(self) -> None:
        """No connection can be handed over any more."""

    def hand(self, handed: Any, descriptor: int) -> bool:
        """Take a connection over, or be found full."""
        return not self.handing.isFull

    def kill(self, reason: str) -> None:
        self.killed = reason
        self.end(reason)

    def say(self, *message: Any) -> None:
        """Say something to the parent."""
        self._heard(message)

    def end(self, how: str) -> None:
        """End, as far as the parent sees it."""
        self.how = how
        self._gone()


class FakeMirror:
    """Counts connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.isLost = False
        self.said: list[Any] = []
        self.handlers = {"fact": self.said.append}

    def take(self, record: Any) -> None:
        """The worker serves one more."""
        self.connections += 1

    def lost(self) -> None:
        """The worker is gone."""
        self.isLost = True


class GroupCase(SynchronousTestCase):
    """A group without processes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.mirrors: list[FakeMirror] = []
        self.lines: list[Any] = []
        globalLogPublisher.addObserver(self.lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.lines.append)
        self.patch(group, "WorkerProcess", ScriptedProcess)

    def make(self, count: int) -> WorkerGroup:
        """Return a group whose workers serve."""
        plan = Plan(count, "module", lambda index: [FIRST_MESSAGE, [index]], self.makeDesk)
        made = WorkerGroup(self.clock, makeProxy(self.clock).registry, plan)
        made.start()
        for seat in made._seats:
            self.process(made, seat.index).say(SERVES)
        return made

    def makeDesk(self, index: int, send: Any) -> Desk:
        """Return the desk of a new worker."""
        mirror: Any = FakeMirror()
        self.mirrors.append(mirror)
        return Desk(mirror)

    def process(self, made: WorkerGroup, index: int) -> Any:
        """Return a worker's process; None if it has none now."""
        return made._seats[index - 1].process

    def hand(self, made: WorkerGroup) -> bool:
        """Have somebody take a connection."""
        record: Any = None
        handed: Any = None
        return made._hand(record, handed, 0)

    def told(self, event: str) -> list[Any]:
        """Return the lines of the log about such an event."""
        return [line for line in self.lines if line.get("event") == event]


class ShareTests(GroupCase):
    """Who gets a connection."""

    @given(st.integers(1, 5), st.integers(0, 30))
    def test_even(self, workers: int, connections: int) -> None:
        """All get as many, the one that has got one longest ago first."""
        self.mirrors = []
        made = self.make(workers)
        for _ in range(connections):
            self.assertTrue(self.hand(made))
        counts = [mirror.connections for mirror in self.mirrors]
        self.assertEqual(sum(counts), connections)
        self.assertLessEqual(max(counts) - min(counts), 1)
        self.assertEqual(counts, sorted(counts, reverse=True))

    def test_fewestFirst(self) -> None:
        """Whatever the order was."""
        made = self.make(3)
        self.mirrors[0].connections = self.mirrors[2].connections = 5
        for _ in range(5):
            self.hand(made)
        self.assertEqual([mirror.connections for mirror in self.mirrors], [5, 5, 5])

    def test_full(self) -> None:
        """One that takes none at the moment is passed over; when none does, it is said so."""
        made = self.make(2)
        hand = self.process(made, 1).handing.hand

        def full(handed: Any, descriptor: int) -> bool:
            self.process(made, 1).handing.isFull = True
            return bool(hand(handed, descriptor))

        self.process(made, 1).handing.hand = full
        self.assertTrue(self.hand(made))
        self.assertTrue(self.hand(made))
        self.assertEqual([mirror.connections for mirror in self.mirrors], [0, 2])
        self.process(made, 2).handing.isFull = True
        self.assertFalse(self.hand(made))

    def test_silent(self) -> None:
        """One that says nothing gets none until it does."""
        made = self.make(2)
        for _ in range(SUSPECT + 1):
            self.clock.advance(1)
            self.process(made, 2).say("alive")
        self.hand(made)
        self.hand(made)
        self.assertEqual([mirror.connections for mirror in self.mirrors], [0, 2])
        self.process(made, 1).say("alive")
        self.hand(made)
        self.assertEqual([mirror.connections for mirror in self.mirrors], [1, 2])


class LifeTests(GroupCase):
    """When a worker is started anew."""

    def test_messages(self) -> None:
        """Each is told what is its own first, and what it says of connections is passed on."""
        made = self.make(2)
        self.assertEqual(self.process(made, 2).sent, [FIRST_MESSAGE, [2]])
        made.tell(["all"])
        self.assertEqual(self.process(made, 1).sent[-1], ["all"])
        self.process(made, 2).say("fact", 7)
        self.assertEqual(self.mirrors[1].said, [7])

    def test_replaced(self) -> None:
        made = self.make(1)
        self.clock.advance(STEADY)
        self.process(made, 1).end("it died")
        self.assertTrue(self.mirrors[0].isLost)
        self.assertIsNone(self.process(made, 1))
        self.assertLessEqual(FIRST_DELAY, 1)
        self.clock.advance(FIRST_DELAY)
        self.assertIsNotNone(self.process(made, 1))

    def test_habit(self) -> None:
        """One that ends again and again waits longer each time, and is told of once."""
        made = self.make(1)
        delays = []
        for _ in range(LOOP + 6):
            self.process(made, 1).end("it died")
            (call,) = (
                one
                for one in self.clock.getDelayedCalls()
                if getattr(one, "func", None) == made._start
            )
            delays.append(call.getTime() - self.clock.seconds())
            self.clock.advance(delays[-1])
        self.assertEqual(delays[:3], [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY])
        self.assertEqual(delays[-1], LONGEST_DELAY)
        self.assertEqual(len(self.told("worker-ended")), LOOP - 1)
        self.assertEqual(len(self.told("worker-does-not-stay")), 1)

    def test_steadyAgain(self) -> None:
        """Then its next end is an accident."""
        made = self.make(1)
        for _ in range(LOOP + 1):
            self.process(made, 1).end("it died")
            self.clock.advance(LONGEST_DELAY)
        self.process(made, 1).say(SERVES)
        for _ in range(int(STEADY)):
            self.clock.advance(1)
            self.process(made, 1).say("alive")
        self.lines.clear()
        self.process(made, 1).end("it died")
        self.assertEqual(len(self.told("worker-ended")), 1)
        self.clock.advance(FIRST_DELAY)
        self.assertIsNotNone(self.process(made, 1))

    def test_cannotBeStarted(self) -> None:
        """Such as when there are too many processes: it is tried again."""
        made = self.make(1)
        start = ScriptedProcess.start

        def refuse(*_details: Any) -> None:
            raise OSError(11, "no more processes")

        self.patch(ScriptedProcess, "start", refuse)
        self.process(made, 1).end("it died")
        self.clock.advance(FIRST_DELAY)
        self.assertIn("no more processes", self.told("worker-ended")[-1]["how"])
        self.patch(ScriptedProcess, "start", start)
        self.clock.advance(2 * FIRST_DELAY)
        self.assertIsNotNone(self.process(made, 1))

    def test_stuck(self) -> None:
        """One that says nothing is killed; before its first word it has more time."""
        self.make(1)
        self.clock.pump([1] * (SILENCE + 1))
        self.assertIn("it was stuck", self.told("worker-ended")[0]["how"])
        self.clock.pump([1] * (START_SILENCE - 1))
        self.assertEqual(len(self.told("worker-ended")), 1)
        self.clock.pump([1] * 3)
        self.assertEqual(len(self.told("worker-ended")), 2)

    def test_weSlept(self) -> None:
        """While the parent does nothing it hears nothing: that is nobody's silence."""
        made = self.make(1)
        self.clock.advance(SILENCE * 10)
        self.assertEqual(self.process(made, 1).killed, "")

    def test_stop(self) -> None:
        """All say goodbye; those who do not in time are killed."""
        made = self.make(2)
        one, two = self.process(made, 1), self.process(made, 2)
        stopped = made.stop(5)
        self.assertEqual([one.sent[-1], two.sent[-1]], [["stop"]] * 2)
        one.end("it ended by itself")
        self.assertNoResult(stopped)
        self.clock.advance(5 + EXTRA)
        self.successResultOf(stopped)
        self.assertTrue(two.killed)
        self.assertEqual(self.told("worker-ended"), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopWhileOneIsAwaited(self) -> None:
        """Nobody is started then."""
        made = self.make(1)
        self.process(made, 1).end("it died")
        self.successResultOf(made.stop(5))
        self.assertEqual(self.clock.getDelayedCalls(), [])
