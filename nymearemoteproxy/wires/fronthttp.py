"""The front door without TLS: a challenge goes to a home, all else is told that there is https.

Owns what a visitor is told in HTTP, and that nothing behind its request reaches a home. Knows
nothing of how a home is found.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.meeting.wrappers import WrappedLeg
from nymearemoteproxy.protocol.fronthttp import Challenge, readChallenge
from nymearemoteproxy.protocol.httphead import HeadReader, Refusal
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.wires.stream import StreamLeg
from nymearemoteproxy.wires.visiting import UNRECOGNIZED, Visiting


class _Asked(WrappedLeg):
    """A home that was sent its request, and is sent nothing more."""

    def sendBytes(self, data: bytes) -> None:
        """Drop them: another request that nobody has looked at, or content of this one."""


class FrontHttp(Visiting):
    """Reads a visitor's HTTP request.

    :param unixTime: tells the date.
    """

    timeoutOutcome = Outcome.INACTIVE_TIMEOUT

    def __init__(
        self, proxy: Proxy, record: Record, unixTime: Callable[[], float] = time.time
    ) -> None:
        super().__init__(proxy, record)
        self._unixTime = unixTime
        self._head = HeadReader()
        self._challenge: Challenge | None = None
        self._answer = b""  # who never gets as far as a request is told nothing

    def patience(self) -> float:
        return self.proxy.policy.timing.inactive

    def received(self, data: bytes) -> None:
        try:
            read = self._head.receive(data)
            if read is None:
                return
            challenge = self._challenge = readChallenge(read[0])
        except Refusal as refusal:
            self._answer = self._dated(refusal)
            self.turnAway(refusal.outcome or Outcome.HTTP_REQUEST_INVALID)
            return
        self.visit(challenge.host, challenge.request)

    def explain(self, outcome: Outcome) -> bytes:
        challenge = self._challenge
        if challenge is None:
            return self._answer
        isUnknown = outcome in UNRECOGNIZED
        return self._dated(challenge.unknown() if isUnknown else challenge.unreachable())

    def _dated(self, refusal: Refusal) -> bytes:
        return refusal.dated(self._unixTime())

    def sent(self, leg: StreamLeg) -> None:
        leg.partner = _Asked(leg.partner)
