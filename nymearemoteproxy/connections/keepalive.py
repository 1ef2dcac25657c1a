"""Finds clients that are gone without a farewell: WebSocket clients by ping.

Owns when a ping is due and when its answer is overdue, for any number of clients with one timer.
Knows nothing of frames.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import Interface


class IWatched(Interface):
    """A client that is looked after."""

    def signsOfLife() -> int:
        """A number that grows with every byte the client sends.

        It grows too when the client is read from again after a pause, since it was not heard
        meanwhile.
        """

    def isDeaf() -> bool:
        """True while a ping is of no use.

        The client does not take what it was sent already, or is not read from, or its transport
        knows no pings.
        """

    def checkTransport() -> None:
        """Look whether TCP has given the client up: nobody notices while it is not read from."""

    def ping() -> None:
        """Send a ping."""

    def pingTimedOut() -> None:
        """Nothing came since the ping."""


class _Queue:
    """Calls back for each member after the same delay, in the order they were added."""

    def __init__(
        self, clock: IReactorTime, delay: float, due: Callable[[IWatched, int], None]
    ) -> None:
        self._clock = clock
        self._delay = delay
        self._due = due
        self._members: OrderedDict[IWatched, tuple[float, int]] = OrderedDict()
        self._timer: IDelayedCall | None = None

    def __contains__(self, member: IWatched) -> bool:
        return member in self._members

    def add(self, member: IWatched, note: int = 0) -> None:
        self._members[member] = (self._clock.seconds() + self._delay, note)
        if self._timer is None:
            self._timer = self._clock.callLater(self._delay, self._run)

    def remove(self, member: IWatched) -> None:
        self._members.pop(member, None)
        if not self._members and self._timer is not None and self._timer.active():
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        # Those that are added meanwhile find a timer, although it has run: it is set anew below.
        now = self._clock.seconds()
        try:
            while self._members:
                member, (time, note) = next(iter(self._members.items()))
                if time > now:
                    break
                del self._members[member]
                self._due(member, note)
        finally:
            self._timer = None
            if self._members:
                first = next(iter(self._members.values()))[0]
                self._timer = self._clock.callLater(max(0.0, first - now), self._run)


class Keepalive:
    """Pings its members at an interval and reports those that stay silent.

    A ping is not sent, and silence not counted, while a client does not take what it was sent
    already, or is not read from because its partner is slow. TCP finds out if it is gone, and is
    asked at the same interval.

    :param interval: seconds between pings; 0 = never ping.
    :param timeout: seconds after a ping in which anything must come.
    """

    def __init__(self, clock: IReactorTime, interval: float, timeout: float) -> None:
        self._active = interval > 0
        self._idle = _Queue(clock, interval, self._pingDue)
        self._pinged = _Queue(clock, timeout, self._answerDue)

    def add(self, member: IWatched) -> None:
        """Watch `member` from now on."""
        if self._active:
            self._idle.add(member)

    def hurry(self, member: IWatched) -> None:
        """Ping `member` now, and not when it is due; nothing if it is not watched, or pinged."""
        if member in self._idle:
            self._idle.remove(member)
            self._pingDue(member, 0)

    def remove(self, member: IWatched) -> None:
        """Watch `member` no longer."""
        self._idle.remove(member)
        self._pinged.remove(member)

    def _pingDue(self, member: IWatched, _note: int) -> None:
        if member.isDeaf():
            self._idle.add(member)
            member.checkTransport()
        else:
            member.ping()
            self._pinged.add(member, member.signsOfLife())

    def _answerDue(self, member: IWatched, signsAtPing: int) -> None:
        if member.signsOfLife() > signsAtPing or member.isDeaf():
            self._idle.add(member)
        else:
            member.pingTimedOut()
