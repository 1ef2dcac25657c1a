"""Long work in small pieces, each in a turn of the reactor of its own.

Owns the one queue of all such work, so that there is one piece in a turn, however much work waits.
Knows nothing of what is done.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator

T = TypeVar("T")


class Turns:
    """Takes pieces of all work in hand by turns, beginning with the next turn of the reactor."""

    def __init__(self, clock: IReactorTime) -> None:
        self._cooperator = Cooperator(
            terminationPredicateFactory=lambda: _afterOne,
            scheduler=partial(clock.callLater, 0.0),
        )

    def run(self, work: Generator[None, None, T]) -> Deferred[T]:
        """Do all of it; return a Deferred of what it returns, which can be cancelled.

        :param work: yields after each piece.
        """
        results: list[T] = []

        def collecting() -> Generator[None, None, None]:
            results.append((yield from work))

        task = self._cooperator.cooperate(collecting())
        done: Deferred[T] = Deferred(lambda _done: task.stop())
        task.whenDone().addCallbacks(lambda _task: done.callback(results[0]), done.errback)
        return done

    def begin(self, work: Generator[None, None, T]) -> Deferred[T]:
        """The same, but do the first piece now."""
        try:
            next(work)
        except StopIteration as end:
            return succeed(end.value)
        return self.run(work)


def _afterOne() -> bool:
    return True
