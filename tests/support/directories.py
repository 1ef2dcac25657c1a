"""Directories that fail when a test wants it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from nymearemoteproxy.cluster.directory import DirectoryError, Member
from tests.support.memorydirectory import LeasedTable, MemoryDirectory

Result = TypeVar("Result")

TIMEOUT = 1.0
"""Seconds until what hangs has failed."""


class MoodyDirectory(MemoryDirectory):
    """A `MemoryDirectory` that can fail and hang, and behaves then as one behind a network does.

    :ivar asked: how many commands there were.
    """

    def __init__(self, table: LeasedTable, me: Member, clock: Clock) -> None:
        super().__init__(table, me, clock, clock.seconds)
        self.asked = 0
        self._clock = clock
        self._isHanging = False
        self._late: list[Callable[[], object]] = []

    def fail(self) -> None:
        """Fail from now on, at once."""
        self.isAnswering = False

    def hang(self) -> None:
        """Answer nothing from now on: what is asked fails after `TIMEOUT`, then all does at once.

        What was asked is done when it answers again: late, but it is.
        """
        self._isHanging = True

    def answer(self) -> None:
        """Answer again."""
        self._isHanging = False
        late, self._late = self._late, []
        for command in late:
            command()
        if not self.isAnswering:
            self.isAnswering = True
            self._tell()

    def _ask(self, command: Callable[[], Result]) -> Deferred[Result]:
        self.asked += 1
        if not self.isAnswering:
            return fail(DirectoryError("it does not answer"))
        if not self._isHanging:
            return super()._ask(command)
        answered: Deferred[Result] = Deferred()
        timer = self._clock.callLater(TIMEOUT, self._timedOut, answered)
        self._late.append(partial(self._do, command, answered, timer))
        return answered

    def _timedOut(self, answered: Deferred[Result]) -> None:
        self.isAnswering = False
        answered.errback(DirectoryError("it did not answer in time"))

    def _do(self, command: Callable[[], Result], answered: Deferred[Result], timer: object) -> None:
        result = command()
        if not answered.called:
            timer.cancel()  # type: ignore[attr-defined]
            answered.callback(result)
