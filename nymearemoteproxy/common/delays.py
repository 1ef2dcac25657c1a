"""Delays of many, most of whom do not wait for the end: one timer for all delays of one length.

A reactor makes an object of each delayed call, sorts it in among all others, and finds one that was
cancelled only when its time has come. Delays of one length need no sorting: who began first is due
first. So a connection's deadlines, of which it has four before its tunnel, cost next to nothing.
Owns the order, and when the reactor is asked for its timer. Knows nothing of what is waited for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

M = TypeVar("M", bound=Hashable)
"""Whoever waits."""

N = TypeVar("N")
"""What is noted of it meanwhile."""

Call = Callable[[], object]


class DelayQueue(Generic[M, N]):
    """Calls back for each member after the same delay, in the order they were added.

    :param delay: seconds.
    :param due: is called with a member that is none any more, and what was noted of it. What it
        raises the reactor logs, and the others have their turn all the same.
    """

    __slots__ = ("_clock", "_delay", "_due", "_members", "_timer")

    def __init__(self, clock: IReactorTime, delay: float, due: Callable[[M, N], object]) -> None:
        self._clock = clock
        self._delay = delay
        self._due = due
        self._members: OrderedDict[M, tuple[float, N]] = OrderedDict()
        self._timer: IDelayedCall | None = None

    def __contains__(self, member: M) -> bool:
        return member in self._members

    def add(self, member: M, note: N) -> None:
        """Let the delay begin for one that is no member."""
        self._members[member] = (self._clock.seconds() + self._delay, note)
        if self._timer is None:
            self._timer = self._clock.callLater(self._delay, self._run)

    def remove(self, member: M) -> None:
        """Do not call back for this one, if it is a member."""
        self._members.pop(member, None)
        if not self._members and self._timer is not None and self._timer.active():
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        # Those that are added meanwhile find a timer, although it has run: it is set anew below.
        now = self._clock.seconds()
        try:
            for member in self._dueAt(now):
                if self._isDue(member, now):  # and has not left, or begun anew, meanwhile
                    _time, note = self._members.pop(member)
                    self._due(member, note)
        finally:
            self._timer = None
            if self._members:
                first, _note = next(iter(self._members.values()))
                self._timer = self._clock.callLater(max(0.0, first - now), self._run)

    def _dueAt(self, now: float) -> list[M]:
        """Return who is due, without those who come while they are served."""
        due = []
        for member, (time, _note) in self._members.items():
            if time > now:
                break
            due.append(member)
        return due

    def _isDue(self, member: M, now: float) -> bool:
        return member in self._members and self._members[member][0] <= now


Delay = DelayQueue[Call, None]
"""One that was started, until it is over: `remove` its call to call it off."""


class Delays:
    """Starts delays, of any length.

    It keeps a queue for each length there was. These are few, since settings say them.
    """

    __slots__ = ("_clock", "_queues")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._queues: dict[float, Delay] = {}

    def start(self, seconds: float, call: Call) -> Delay:
        """Have `call` called after so many seconds, and never before this returns.

        :param call: one that does not wait for the same time already.
        """
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = DelayQueue(self._clock, seconds, _call)
        queue.add(call, None)
        return queue


def _call(call: Call, _note: None) -> None:
    call()
