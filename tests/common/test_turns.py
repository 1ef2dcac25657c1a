"""The line of those who have more to do than one turn allows."""

from __future__ import annotations

from collections.abc import Callable, Generator

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common import turns
from nymearemoteproxy.common.turns import TURN, Turns
from tests.support.memory import oneTurn


class LineTests(SynchronousTestCase):
    """Who has more to do waits, and all take turns."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.done: list[str] = []

    def worker(
        self, name: str, times: int, seconds: float, relays: bool = False
    ) -> Callable[[], None]:
        """Return work that takes some time, so many times."""
        left = times

        def work() -> None:
            nonlocal left
            left -= 1
            self.done.append(name)
            self.clock.rightNow += seconds
            if left:
                self.turns.wait(work, relays=relays)

        return work

    def test_roundRobin(self) -> None:
        """Whoever has more to do goes to the end of the line."""
        for name, times in (("a", 3), ("b", 1), ("c", 2)):
            self.turns.wait(self.worker(name, times, 0))
        self.assertEqual(self.done, [])
        oneTurn(self.clock)
        self.assertEqual("".join(self.done), "abcaca")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_timeIsShared(self) -> None:
        """One turn has so much time for all of them, and goes on where the last one stopped."""
        for name in "abc":
            self.turns.wait(self.worker(name, 4, TURN / 5))
        for done in ("abcab", "cabca", "bc"):
            self.done.clear()
            oneTurn(self.clock)
            self.assertEqual("".join(self.done), done)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_once(self) -> None:
        """Nobody stands in line twice, or loses a place by asking for it again."""
        first, second = self.worker("a", 1, 0), self.worker("b", 1, 0)
        for work in (first, second, first):
            self.turns.wait(work)
        self.assertTrue(self.turns.isWaiting(first))
        oneTurn(self.clock)
        self.assertEqual(self.done, ["a", "b"])
        self.assertFalse(self.turns.isWaiting(first))

    def test_leave(self) -> None:
        """Who left is not called; with the last one nothing is left of the line."""
        first, second = self.worker("a", 1, 0), self.worker("b", 1, 0)
        self.turns.leave(first)
        self.turns.wait(first)
        self.turns.wait(second)
        self.turns.leave(first)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.turns.leave(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.turns.wait(second)
        oneTurn(self.clock)
        self.assertEqual(self.done, ["b"])

    def test_leaveWithin(self) -> None:
        """So it is when it happens within somebody's turn."""
        second = self.worker("b", 1, 0)
        self.turns.wait(lambda: self.turns.leave(second))
        self.turns.wait(second)
        oneTurn(self.clock)
        self.assertEqual(self.done, [])
        self.turns.wait(second)
        oneTurn(self.clock)
        self.assertEqual(self.done, ["b"])

    def test_fault(self) -> None:
        """A fault of one does not stop the others; whoever waited for it is told, or the log is."""

        def fail() -> None:
            raise ValueError

        told: list[Failure] = []
        self.turns.wait(fail, told.append)
        self.turns.wait(self.worker("a", 1, 0))
        oneTurn(self.clock)
        self.assertEqual(self.done, ["a"])
        self.assertEqual([failure.type for failure in told], [ValueError])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.turns.wait(fail)
        oneTurn(self.clock)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_thoseWhoRelay(self) -> None:
        """They do not stand behind strangers, and take no more than half of the time."""
        for _ in range(10):
            self.turns.wait(self.worker("s", 10, TURN / 4))
        self.turns.wait(self.worker("r", 3, TURN / 4, relays=True), relays=True)
        for _ in range(3):
            oneTurn(self.clock)
        self.assertEqual("".join(self.done), "rrss" + "rsss" + "ssss")

    def test_leaveEitherLine(self) -> None:
        """Nothing is left of who left, whichever it was."""
        work = self.worker("a", 1, 0)
        self.turns.wait(work, relays=True)
        self.assertTrue(self.turns.isWaiting(work))
        self.turns.leave(work)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LongWorkTests(SynchronousTestCase):
    """Work in pieces, one a turn."""

    def setUp(self) -> None:
        self.patch(turns, "TURN", 0)
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.done: list[str] = []

    def work(self, name: str, pieces: int) -> Generator[None, None, str]:
        for _ in range(pieces):
            self.done.append(name)
            yield
        return name

    def test_result(self) -> None:
        done = self.turns.run(self.work("a", 3))
        self.assertEqual(self.done, [])
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(done), "a")
        self.assertEqual(self.done, ["a", "a", "a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_onePieceATurn(self) -> None:
        """However much work there is; each gets its share."""
        self.turns.run(self.work("a", 2))
        self.turns.run(self.work("b", 2))
        for count in range(5):
            self.assertEqual(len(self.done), count if count < 5 else 4)
            oneTurn(self.clock)
        self.assertEqual(self.done, ["a", "b", "a", "b"])

    def test_begin(self) -> None:
        """The first piece is done at once, and all of it if there is no other."""
        begun = self.turns.begin(self.work("a", 2))
        self.assertEqual(self.done, ["a"])
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(begun), "a")
        self.assertEqual(self.done, ["a", "a"])
        self.assertEqual(self.successResultOf(self.turns.begin(self.work("b", 0))), "b")

    def test_failure(self) -> None:
        """It is that work's own, the other goes on."""

        def failing() -> Generator[None, None, None]:
            yield
            raise ValueError

        failed: Deferred[None] = self.turns.run(failing())
        other = self.turns.run(self.work("b", 3))
        self.clock.advance(0)
        self.failureResultOf(failed, ValueError)
        self.assertEqual(self.successResultOf(other), "b")

    def test_cancel(self) -> None:
        """Nothing more of it is done."""
        cancelled = self.turns.run(self.work("a", 3))
        other = self.turns.run(self.work("b", 1))
        oneTurn(self.clock)
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.clock.advance(0)
        self.successResultOf(other)
        self.assertEqual(self.done, ["a", "b"])
