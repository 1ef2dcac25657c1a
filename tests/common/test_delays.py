"""Owns the checks of delays: each ends when it should, with one timer for all of one length."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.delays import DelayQueue, Delays

PROPERTY = settings(max_examples=100, deadline=None, database=None)

LENGTHS = (0.0, 1.0, 2.5)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.sampled_from(LENGTHS)),
        st.tuples(st.just("stop"), st.integers(0, 9)),
        st.tuples(st.just("advance"), st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0])),
    ),
    max_size=40,
)


class DelaysTests(SynchronousTestCase):
    """Many delays, of a few lengths."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.delays = Delays(self.clock)
        self.ended: list[str] = []

    def start(self, seconds: float, name: str) -> Callable[[], None]:
        """Start a delay; return what calls it off."""

        def call() -> None:
            self.ended.append(name)

        delay = self.delays.start(seconds, call)
        return lambda: delay.remove(call)

    @PROPERTY
    @given(steps)
    def test_likeDelayedCalls(self, steps: list[tuple[str, float]]) -> None:
        """Each ends when a delayed call of the reactor would, and those of one length in order."""
        clock = Clock()
        delays = Delays(clock)
        ours: list[tuple[float, int]] = []
        theirs: list[tuple[float, int]] = []
        running: list[tuple[Callable[[], None], Callable[[], None]]] = []

        def begin(seconds: float, number: int) -> None:
            def call() -> None:
                ours.append((clock.seconds(), number))

            delay = delays.start(seconds, call)
            delayed = clock.callLater(seconds, lambda: theirs.append((clock.seconds(), number)))
            running.append(
                (lambda: delay.remove(call), lambda: delayed.active() and delayed.cancel())
            )

        for number, (what, amount) in enumerate(steps):
            if what == "start":
                begin(amount, number)
            elif what == "advance":
                clock.advance(amount)
            elif running:
                for stop in running[int(amount) % len(running)]:
                    stop()
            self.assertLessEqual(
                len([call for call in clock.getDelayedCalls() if call.func.__name__ == "_run"]),
                len(LENGTHS),
            )
        clock.advance(max(LENGTHS))
        self.assertEqual(sorted(ours), sorted(theirs))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_oneTimer(self) -> None:
        stops = [self.start(5, str(number)) for number in range(3)]
        (timer,) = self.clock.getDelayedCalls()
        self.assertEqual(timer.getTime(), 5)
        for stop in stops:
            stop()
            stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_laterOnes(self) -> None:
        """The timer goes on to those who came later."""
        self.start(5, "a")
        self.clock.advance(2)
        self.start(5, "b")
        self.clock.advance(3)
        self.assertEqual(self.ended, ["a"])
        self.clock.advance(2)
        self.assertEqual(self.ended, ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_callsOffAnother(self) -> None:
        """Which is due in the same turn."""
        stops: list[Callable[[], None]] = []
        self.delays.start(1, lambda: stops[0]())
        stops.append(self.start(1, "b"))
        self.start(1, "c")
        self.clock.advance(1)
        self.assertEqual(self.ended, ["c"])

    def test_noneAtOnce(self) -> None:
        """Who starts no delay at all waits for another turn, also from within one."""

        def again() -> None:
            self.ended.append("again")
            self.delays.start(0, again)

        self.delays.start(0, again)
        self.assertEqual(self.ended, [])
        (timer,) = self.clock.getDelayedCalls()
        timer.func()  # and not by the clock, for which the next turn is the same moment
        self.assertEqual(self.ended, ["again"])

    def test_begunAnewMeanwhile(self) -> None:
        """By another one that is due in the same turn: then its time begins anew."""
        queue: DelayQueue[str, int]

        def due(member: str, note: int) -> None:
            self.ended.append(f"{member}{note}")
            if member == "a":
                queue.remove("b")
                queue.add("b", 2)

        queue = DelayQueue(self.clock, 1, due)
        queue.add("a", 1)
        queue.add("b", 1)
        self.clock.advance(1)
        self.assertEqual(self.ended, ["a1"])
        self.assertIn("b", queue)
        self.clock.advance(1)
        self.assertEqual(self.ended, ["a1", "b2"])

    def test_fault(self) -> None:
        """What one raises costs the others nothing."""

        def fail() -> None:
            raise ArithmeticError

        self.delays.start(1, fail)
        self.start(1, "b")
        self.assertRaises(ArithmeticError, self.clock.advance, 1)
        self.clock.advance(0)
        self.assertEqual(self.ended, ["b"])
