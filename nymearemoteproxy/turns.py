"""Takes turns: whoever has more to do than one turn of the reactor allows stands in one line.

Owns how long all of them together keep everybody else waiting. Knows nothing of what they do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")

TURN = 0.002
"""Seconds of one turn of the reactor that go to those in line. A message takes two turns through
the server and back, so this is what a flood adds to a round trip, twice; and it is forty times what
a turn costs besides."""


class Turns:
    """The line of those who have something left to do.

    What each does at a time should take well below a millisecond, for only between two is looked
    at the clock.
    """

    __slots__ = ("_call", "_clock", "_line")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._line: OrderedDict[Callable[[], object], None] = OrderedDict()
        self._call: IDelayedCall | None = None

    def wait(self, work: Callable[[], object]) -> None:
        """Stand at the end of the line, if not in it: `work` is called once, in a later turn."""
        self._line.setdefault(work)
        if self._call is None:
            self._call = self._clock.callLater(0, self._serve)

    def isWaiting(self, work: Callable[[], object]) -> bool:
        """Tell whether it stands in line."""
        return work in self._line

    def leave(self, work: Callable[[], object]) -> None:
        """Leave the line, if in it."""
        self._line.pop(work, None)
        if not self._line and self._call is not None and self._call.active():
            self._call.cancel()
            self._call = None

    def run(self, work: Generator[None, None, T]) -> Deferred[T]:
        """Do long work piece by piece, from a later turn on.

        :param work: yields after each piece.
        :returns: a Deferred that fires with what `work` returns. Cancelling it gives the work up.
        """

        def step() -> None:
            try:
                next(work)
            except StopIteration as end:
                done.callback(end.value)
            except Exception:
                done.errback()
            else:
                self.wait(step)

        done: Deferred[T] = Deferred(lambda _done: self.leave(step))
        self.wait(step)
        return done

    def begin(self, work: Generator[None, None, T]) -> Deferred[T]:
        """The same, but do the first piece now."""
        try:
            next(work)
        except StopIteration as end:
            return succeed(end.value)
        return self.run(work)

    def _serve(self) -> None:
        end = self._clock.seconds() + TURN
        try:
            while self._line:
                work, _ = self._line.popitem(last=False)
                work()
                if self._clock.seconds() >= end:
                    break
        finally:
            self._call = self._clock.callLater(0, self._serve) if self._line else None
