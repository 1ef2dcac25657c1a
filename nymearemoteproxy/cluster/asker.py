"""The asking end of one link, until there is an answer.

Owns what is said in which order, and how long each answer may take. Knows nothing of how a link is
made, nor of what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from nymearemoteproxy.cluster.asking import NobodyThere
from nymearemoteproxy.cluster.conversation import Conversation
from nymearemoteproxy.cluster.linking import LinkFailed
from nymearemoteproxy.meeting.place import PlaceRefused
from nymearemoteproxy.protocol.linkmessages import (
    Ask,
    Denied,
    Here,
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


class Asker(Conversation):
    """One link, until there is an answer.

    :param timeout: seconds for each answer.
    :raises LinkFault: what is asked is too long for a line.
    :ivar answered: fires when the member has agreed, and fails with `NobodyThere`, `PlaceRefused`
        or `LinkFailed`.
    :ivar offer: whom the client is to meet.
    :ivar offered: is called before that is agreed to.
    """

    def __init__(
        self,
        clock: IReactorTime,
        timeout: float,
        ask: Ask,
        offered: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(clock)
        self._timeout = timeout
        self._ask = ask
        self._line = ask.encode()
        self.offered = offered
        self.answered: Deferred[None] = Deferred()
        self.offer: Offer | None = None

    @property
    def isOver(self) -> bool:
        return bool(self.answered.called)

    def connectionMade(self) -> None:
        self.setTimer(self._timeout, self._fail, LinkFailed("no answer"))
        self.transport.write(self._line)

    def lineReceived(self, line: bytes) -> None:
        answer = parseAnswer(line)
        match answer:
            case Wait():
                self.prolong(self._timeout)
            case Offer() if self._expectsOffer:
                self.offer = answer
                if self.offered is not None:
                    self.offered()
                self.prolong(self._timeout)
                self.say(Here())
            case Met() if self._expectsMet:
                self._done()
            case Here() if isinstance(self._ask, Look):
                self._done()
            case Denied(outcome):
                self._fail(PlaceRefused(outcome))
            case NotHere():
                self._fail(NobodyThere())
            case _:
                raise LinkFault("word out of turn")

    def faultReceived(self, fault: LinkFault) -> None:
        self._fail(LinkFailed(str(fault)))

    @property
    def _expectsOffer(self) -> bool:
        return isinstance(self._ask, Meet) and self.offer is None

    @property
    def _expectsMet(self) -> bool:
        return isinstance(self._ask, Visit) or self.offer is not None

    def _done(self) -> None:
        self.clearTimer()
        self.answered.callback(None)

    def _fail(self, error: Exception) -> None:
        self.answered.errback(error)
        self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if not self.isOver:
            self.answered.errback(LinkFailed("the link was closed"))
