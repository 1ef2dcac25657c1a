"""Owns the checks of moments and dates."""

from __future__ import annotations

import time
from types import SimpleNamespace

from twisted.internet.base import ReactorBase
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.clocks import JUMP, Calendar, useMonotonicClock


class CalendarTests(SynchronousTestCase):
    """The date of a moment."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(500)
        self.date = 1_700_000_000.0
        self.calendar = Calendar(self.clock, lambda: self.date)

    def pass_(self, seconds: float, date: float | None = None) -> None:
        """Let time pass, for the date another one if that is set."""
        self.clock.advance(seconds)
        self.date += seconds if date is None else date

    def test_moment(self) -> None:
        """Now is the date of now, and earlier moments keep their distance."""
        self.pass_(60)
        self.assertEqual(self.clock.seconds() + self.calendar.epoch, 1_700_000_060)
        self.assertEqual(500 + self.calendar.epoch, 1_700_000_000)

    def test_isSet(self) -> None:
        """From then on all dates are by the new one."""
        for by in (120, -3600, 2 * JUMP):
            self.pass_(10, by)
            self.assertEqual(self.clock.seconds() + self.calendar.epoch, self.date)

    def test_stays(self) -> None:
        """What comes of asking two clocks is not seen."""
        before = self.calendar.epoch
        for more in (1, -2, 1):
            self.pass_(5, 5 + more * JUMP / 3)
            self.assertEqual(self.calendar.epoch, before)


class ReactorTests(SynchronousTestCase):
    """What a reactor takes for the time."""

    def test_attribute(self) -> None:
        reactor = SimpleNamespace(seconds=time.time)
        useMonotonicClock(reactor)
        self.assertIs(reactor.seconds, time.monotonic)

    def test_isAsked(self) -> None:
        """Twisted asks this attribute for everything that it does later."""

        class Reactor(ReactorBase):
            def installWaker(self) -> None:
                """Nothing wakes it."""

        reactor = Reactor()
        now = 1000.0
        reactor.seconds = lambda: now  # type: ignore[method-assign]
        done: list[str] = []
        call = reactor.callLater(10, done.append, "later")
        self.assertEqual(call.getTime(), 1010)
        self.assertEqual(reactor.timeout(), 10)
        now += 9
        reactor.runUntilCurrent()
        self.assertEqual(done, [])
        call.reset(2)
        now += 2
        reactor.runUntilCurrent()
        self.assertEqual(done, ["later"])
