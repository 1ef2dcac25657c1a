"""Takes turns: whoever has more to do than one turn of the reactor allows stands in line.

Owns how long all of them together keep everybody else waiting, and that no stranger stands before
those who relay. Knows nothing of what they do.

Theory of operation
-------------------

One thread serves everybody, so what one connection's bytes cause is what all others wait for. A
read of 96 KiB may hold a hundred calls, thousands of frames, or the last packet before a thousand
clients have to be told something. No bound on bytes helps against that; there has to be a bound on
work.

Whoever knows that its work may be long cuts it into pieces that take well below a millisecond. It
does the first one at once. If that was all, as it nearly always is, nothing of this module is
touched, and a single call or message is answered in the turn that read it. If not, it pauses the
reading of the bytes that cause more of it, and calls `Turns.wait` with what does the next piece. So
the line holds no more entries than there are connections and lists to be made, and each stands in
it at most once.

Each turn of the reactor gives those in line `TURN` seconds together, piece by piece, the first in
line first. One that has still not finished stands at the end again: a long work takes many turns
and a short one gets past it. Only between two pieces is the clock looked at, hence their size. A
turn takes at most `TURN` plus one piece, however many connections ask for how much at once. The
rest of the turn is the reactor's, which reads and writes for everybody.

There are two lines because the ones in the other may be strangers. A thousand connections that have
not shown a token could fill a single line, and a tunnel with a long read would stand behind all of
them. Those who relay are served first, for half of the time, and the others have what is left.

What is in line is not yet done, so its owner has to know what may not overtake it: a leg hands over
what it read before the partner's last words, and a token is not judged before all that came with it
was seen (`isWaiting`). Whoever goes away leaves the line.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from nymearemoteproxy.common.logs import ProxyLogger

log = ProxyLogger()

T = TypeVar("T")

Work = Callable[[], object]
Failed = Callable[[Failure], object]

TURN = 0.002
"""Seconds of one turn of the reactor that go to those in line. A message takes two turns through
the server and back, so this is what a flood adds to a round trip, twice; and it is forty times what
a turn costs besides."""


def _logFailure(failure: Failure) -> None:
    log.failure("internal error", failure)


class Turns:
    """The lines of those who have something left to do.

    What each does at a time should take well below a millisecond, for only between two is looked
    at the clock. Those who relay have a line of their own, and half of the time, as long as they
    need it: whoever comes as a stranger cannot stand before them.
    """

    __slots__ = ("_call", "_clock", "_others", "_relaying")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._relaying: OrderedDict[Work, Failed] = OrderedDict()
        self._others: OrderedDict[Work, Failed] = OrderedDict()
        self._call: IDelayedCall | None = None

    def wait(self, work: Work, failed: Failed = _logFailure, relays: bool = False) -> None:
        """Stand at the end of the line, if not in it: `work` is called once, in a later turn.

        :param failed: is told what `work` raised. Nobody else hears of it, so a connection has to
            be closed then.
        :param relays: it is about what is relayed.
        """
        (self._relaying if relays else self._others).setdefault(work, failed)
        if self._call is None:
            self._call = self._clock.callLater(0, self._serve)

    def isWaiting(self, work: Work) -> bool:
        """Tell whether it stands in line."""
        return work in self._others or work in self._relaying

    def leave(self, work: Work) -> None:
        """Leave the line, if in it."""
        self._relaying.pop(work, None)
        self._others.pop(work, None)
        isEmpty = not (self._relaying or self._others)
        if isEmpty and self._call is not None and self._call.active():
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
        begin = self._clock.seconds()
        self._serveLine(self._relaying, begin + TURN / 2)
        self._serveLine(self._others, begin + TURN)
        self._call = None
        if self._relaying or self._others:
            self._call = self._clock.callLater(0, self._serve)

    def _serveLine(self, line: OrderedDict[Work, Failed], end: float) -> None:
        while line:
            work, failed = line.popitem(last=False)
            try:
                work()
            except Exception:
                failed(Failure())
            if self._clock.seconds() >= end:
                break
