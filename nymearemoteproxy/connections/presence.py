"""Whether one client is still there, asked at the moment when it matters.

That is when another connection claims to be the same client: after a change of networks the old one
may be dead, and TCP does not know yet. Owns how long it may take to answer. Knows nothing of
framing, nor of who waits for whom.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import Interface

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.records import Record

log = ProxyLogger()

INTERVAL = 0.05
"""Seconds between two looks for the answer, which most clients give within a round trip."""

LOOKS = 60
"""Looks for it, which makes 3 seconds: a phone whose radio sleeps takes two, and who waits for the
answer is waited for by a partner of its own. It is they that are counted, since time also passes
while this process or the whole machine stands still, and an answer is not read then."""


TOLD_A_TURN = 4
"""Connections that are told in one turn of the reactor. Most are refused then, which takes a tenth
of a millisecond each."""


class IPresent(Interface):
    """A client that has a place: it waits for its partner, or is registered."""

    def ask() -> Callable[[], bool]:
        """Have the client show that it is there; what is returned tells whether it has."""

    def pingTimedOut() -> None:
        """It did not show it in time: close."""


class Presence:
    """Asks clients whether they are there, each once at a time.

    :param turns: those who wait for the answer are told in turns, since strangers may be many.
    """

    def __init__(self, clock: IReactorTime, turns: Turns) -> None:
        self._clock = clock
        self._turns = turns
        self._asking: dict[Record, list[Deferred[bool]]] = {}

    def look(self, record: Record) -> Deferred[bool]:
        """Find out whether a client, an `IPresent`, is there; one that is not is closed.

        :returns: a Deferred that fires with True when the client has shown it, and with False when
            its connection is gone, and every place that it had.
        """
        known: Deferred[bool] = Deferred()
        if record.client is None:
            known.callback(False)
        elif record in self._asking:
            self._asking[record].append(known)
        else:
            self._asking[record] = [known]
            try:
                self._wait(record, record.client.ask(), LOOKS)
            except Exception:
                self._failed(record)
        return known

    def gone(self, record: Record) -> None:
        """Its connection is closed."""
        if self._asking:
            self._tell(record, False)

    def _wait(self, record: Record, hasAnswered: Callable[[], bool], looks: int) -> None:
        self._clock.callLater(INTERVAL, self._check, record, hasAnswered, looks - 1)

    def _check(self, record: Record, hasAnswered: Callable[[], bool], looks: int) -> None:
        if record not in self._asking:
            return  # it is gone
        try:
            isThere = hasAnswered()
        except Exception:
            self._failed(record)
            return
        if isThere:
            self._tell(record, True)
        elif looks:
            self._wait(record, hasAnswered, looks)
        else:
            record.client.pingTimedOut()  # `gone` follows

    def _failed(self, record: Record) -> None:
        """A fault of ours lets nobody take another one's place."""
        log.failure("connection {number} cannot be asked", number=record.number)
        self._tell(record, True)

    def _tell(self, record: Record, isThere: bool) -> None:
        waiting = self._asking.pop(record, [])
        self._turns.begin(_telling(waiting, isThere))


def _telling(waiting: list[Deferred[bool]], isThere: bool) -> Generator[None, None, None]:
    for number, known in enumerate(waiting, 1):
        known.callback(isThere)
        if not number % TOLD_A_TURN:
            yield
