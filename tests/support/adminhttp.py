"""HTTP connections to the admin endpoint, in memory."""

from __future__ import annotations

import base64
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.delays import Delays
from nymearemoteproxy.common.waking import WakingClock
from nymearemoteproxy.watching.admin.seats import Seats
from nymearemoteproxy.watching.admin.web import Answer, HttpFactory, Question, text
from nymearemoteproxy.wires.direct import DirectTransport
from tests.support.memory import Pipe

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


def basic(user: str, password: str) -> str:
    """Return the header of somebody who gives a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def address(last: int = 1) -> IAddress:
    """Return the address of a client on another host."""
    return IPv4Address("TCP", f"192.0.2.{last}", 1000)


class TurningPipe(Pipe):
    """A pipe after which the reactor has its turn."""

    def __init__(self, peer: IAddress, clock: Clock) -> None:
        super().__init__(peer)
        self._clock = clock

    def receive(self, data: bytes) -> None:
        super().receive(data)
        self._clock.advance(0)

    def drain(self) -> None:
        super().drain()
        self._clock.advance(0)


class WebCase(SynchronousTestCase):
    """Connections in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.waking = WakingClock(self.clock)
        self.asked: list[Question] = []
        self.result: Any = text(200, "ok")
        self.known: set[str | None] = set()
        self.factory = self.seats()

    def seats(self, secure: bool = False) -> Seats:
        """Return the seats of an endpoint."""
        http = HttpFactory(self.clock, self.answer)
        return Seats(http, self.clock, Delays(self.waking), self.known.__contains__, secure)

    def answer(self, question: Question) -> Answer | Deferred[Answer]:
        self.asked.append(question)
        if isinstance(self.result, Exception):
            raise self.result
        result = Deferred() if self.result is Deferred else self.result
        assert isinstance(result, Answer | Deferred)
        return result

    def connect(self, peer: IAddress | None = None) -> Pipe:
        """Return the transport of a new connection."""
        peer = peer or address()
        protocol = self.factory.buildProtocol(peer)
        assert protocol is not None, "refused"
        pipe = TurningPipe(peer, self.clock)
        pipe.protocol = DirectTransport(protocol)
        pipe.protocol.makeConnection(pipe)
        return pipe

    def ask(self, request: bytes) -> bytes:
        """Return what a request is answered on a connection of its own."""
        pipe = self.connect()
        pipe.receive(request)
        return pipe.take()
