"""Finds clients that are gone without a farewell: WebSocket clients by ping.

Owns when a ping is due and when its answer is overdue, for any number of clients with one timer.
Knows nothing of frames.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from zope.interface import Interface

from nymearemoteproxy.common.delays import DelayQueue


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

    def ping() -> Callable[[], bool]:
        """Send a ping.

        :returns: tells whether it has come nearer to the client since that was asked last, behind
            what it was sent before.
        """

    def pingTimedOut() -> None:
        """Nothing came since the ping."""


_Pinged = tuple[int, Callable[[], bool]]
"""The signs of life when a client was pinged, and what tells whether the ping is on its way."""


class Keepalive:
    """Pings its members at an interval and reports those that stay silent.

    A ping is not sent, and silence not counted, while a client does not take what it was sent
    already, or is not read from because its partner is slow. TCP finds out if it is gone, and is
    asked at the same interval. Nor does silence count while the ping is still on its way: over a
    slow line it may wait for longer behind what the kernel has taken.

    :param interval: seconds between pings; 0 = never ping.
    :param timeout: seconds after a ping in which anything must come, or the ping come nearer.
    """

    def __init__(self, clock: IReactorTime, interval: float, timeout: float) -> None:
        self._active = interval > 0
        self._idle = DelayQueue[IWatched, None](clock, interval, self._pingDue)
        self._pinged = DelayQueue[IWatched, _Pinged](clock, timeout, self._answerDue)

    def add(self, member: IWatched) -> None:
        """Watch `member` from now on."""
        if self._active:
            self._idle.add(member, None)

    def hurry(self, member: IWatched) -> None:
        """Ping `member` now, and not when it is due; nothing if it is not watched, or pinged."""
        if member in self._idle:
            self._idle.remove(member)
            self._pingDue(member, None)

    def remove(self, member: IWatched) -> None:
        """Watch `member` no longer."""
        self._idle.remove(member)
        self._pinged.remove(member)

    def _pingDue(self, member: IWatched, _note: None) -> None:
        if member.isDeaf():
            self._idle.add(member, None)
            member.checkTransport()
        else:
            isArriving = member.ping()
            self._pinged.add(member, (member.signsOfLife(), isArriving))

    def _answerDue(self, member: IWatched, pinged: _Pinged) -> None:
        signsAtPing, isArriving = pinged
        if member.signsOfLife() > signsAtPing or member.isDeaf():
            self._idle.add(member, None)
        elif isArriving():
            self._pinged.add(member, pinged)
        else:
            member.pingTimedOut()
