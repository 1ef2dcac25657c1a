"""Long work, in small pieces."""

from __future__ import annotations

from collections.abc import Generator

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, TaskStopped
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.turns import Turns


class TurnsTests(SynchronousTestCase):
    """On a fake clock, whose every advance is one turn of the reactor at a time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.done: list[str] = []

    def work(self, name: str, pieces: int) -> Generator[None, None, str]:
        for _ in range(pieces):
            self.done.append(name)
            yield
        return name

    def turn(self) -> None:
        """Run what is due, but nothing that is added meanwhile."""
        for call in [each for each in self.clock.getDelayedCalls() if each.getTime() <= 0]:
            self.clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)

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
            self.turn()
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
        self.turn()
        cancelled.cancel()
        self.failureResultOf(cancelled, TaskStopped)
        self.clock.advance(0)
        self.successResultOf(other)
        self.assertEqual(self.done, ["a", "b"])
