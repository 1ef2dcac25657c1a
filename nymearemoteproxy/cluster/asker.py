"""The asking end of one link, until there is an answer.

Owns what is said in which order, and how long each answer may take. Knows nothing of how a link is
made, nor of what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from nymearemoteproxy.cluster.asking import NobodyThere
from nymearemoteproxy.cluster.linking import LinkFailed
from nymearemoteproxy.meeting.place import PlaceRefused
from nymearemoteproxy.protocol.linkmessages import (
    Answer,
    Ask,
    Denied,
    Here,
    LineReader,
    Look,
    Meet,
    Met,
    NotHere,
    Offer,
    Visit,
    Wait,
    parseAnswer,
)
from nymearemoteproxy.protocol.linkrecords import LinkFault


class Asker(Protocol):
    """One link, until there is an answer.

    :param timeout: seconds for each answer.
    :raises LinkFault: what is asked is too long for a line.
    :ivar answered: fires when the member has agreed, and fails with `NobodyThere`, `PlaceRefused`
        or `LinkFailed`.
    :ivar offer: whom the client is to meet.
    :ivar offered: is called before that is agreed to.
    """

    transport: Any

    def __init__(
        self,
        clock: IReactorTime,
        timeout: float,
        ask: Ask,
        offered: Callable[[], object] | None = None,
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._ask = ask
        self._line = ask.encode()
        self.offered = offered
        self._lines = LineReader()
        self._deadline: IDelayedCall | None = None
        self.answered: Deferred[None] = Deferred()
        self.offer: Offer | None = None

    def connectionMade(self) -> None:
        self._restartDeadline()
        self.transport.write(self._line)

    def _restartDeadline(self) -> None:
        if self._deadline is not None:
            self._deadline.reset(self._timeout)
            return
        self._deadline = self._clock.callLater(self._timeout, self._fail, LinkFailed("no answer"))

    def _clearDeadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def dataReceived(self, data: bytes) -> None:
        self._lines.feed(data)
        try:
            while not self.answered.called and (line := self._lines.take()) is not None:
                self._received(parseAnswer(line))
        except LinkFault as error:
            self._fail(LinkFailed(str(error)))

    def _received(self, answer: Answer) -> None:
        match answer:
            case Wait():
                self._restartDeadline()
            case Offer() if self._expectsOffer:
                self.offer = answer
                if self.offered is not None:
                    self.offered()
                self._restartDeadline()
                self.transport.write(Here().encode())
            case Met() if self._expectsMet:
                self._done()
            case Here() if isinstance(self._ask, Look):
                self._done()
            case Denied(outcome):
                self._fail(PlaceRefused(outcome))
            case NotHere():
                self._fail(NobodyThere())
            case _:
                self._fail(LinkFailed("word out of turn"))

    @property
    def _expectsOffer(self) -> bool:
        return isinstance(self._ask, Meet) and self.offer is None

    @property
    def _expectsMet(self) -> bool:
        return isinstance(self._ask, Visit) or self.offer is not None

    def _done(self) -> None:
        self._clearDeadline()
        self.answered.callback(None)

    def _fail(self, error: Exception) -> None:
        self.answered.errback(error)
        self.abort()

    def abort(self) -> None:
        """There is nothing more to be said."""
        self._clearDeadline()
        if self.transport is not None:
            self.transport.abortConnection()

    def rest(self) -> bytes:
        """Return what has arrived behind the last answer."""
        return self._lines.rest()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._clearDeadline()
        if not self.answered.called:
            self.answered.errback(LinkFailed("the link was closed"))
