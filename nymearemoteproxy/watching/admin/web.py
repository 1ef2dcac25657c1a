"""HTTP for the admin endpoint: one question, one answer, and bounds for everything.

Owns what an HTTP client may use of memory, time and connections. Knows nothing of what is asked.
Twisted's `HTTPChannel` reads requests and writes responses; the rest of `twisted.web.server` is not
used: sessions, resources, error pages and the access log would only have to be switched off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as TwistedRequest
from zope.interface import implementer

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.tally import Tally
from nymearemoteproxy.connections.limits import (
    MOST_ADMIN_CONNECTIONS,
    Bounds,
    Bucket,
    Gate,
    sourceOf,
)
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.wires.transports import tuneTcp

log = ProxyLogger()

MOST_FROM_ADDRESS = MOST_ADMIN_CONNECTIONS // 2
"""At a time, so that one host cannot keep the others out; also from loopback, where any user of the
machine may be. Whoever comes beyond that takes the place of another connection."""

HANDSHAKES = 50
"""TLS handshakes a second. One takes two milliseconds, so that these take a tenth of a processor; a
browser needs six at once, Prometheus one for each scrape."""

HANDSHAKES_FROM_ADDRESS = 20
"""The same from one address, so that one host cannot keep the others out."""

MOST_HEAD = 8 << 10
"""Bytes of a request's head; browsers send about one KiB."""

MOST_HEADERS = 64

MOST_BODY = 1 << 10
"""Bytes of a request's body, which are dropped: no request here needs one."""

MOST_FIELDS = 16
"""Fields in a query; the page sends five."""

HOSTS = {b"HTTP/1.1": (1,), b"HTTP/1.0": (0, 1)}
"""How many Host headers a request may have (RFC 9112 section 3.2): who may ask depends on it.
Twisted looks at none, and 22.4 takes any version and repeats it in the status line."""

ARRIVE = 60.0
"""Seconds for a request to arrive whole, from the connection or the last response on. It is an
absolute limit, and longer than browsers and Prometheus (15 s in most set-ups) pause between two."""

ANSWER = 120.0
"""Seconds for us to answer: with the most connections, and everybody asking, a list takes some."""

TAKE = 20.0
"""Seconds for a client to take the response."""

CLOSE = 5.0
"""Seconds for a client to take the last words and close."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    :ivar path: as it was sent, without the query.
    :ivar query: the last value of each field.
    :ivar headers: by lower-case name; the first value of each.
    :ivar host: the client's IP address; empty on a Unix socket.
    """

    method: str = "GET"
    path: str = "/"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    host: str = ""


@dataclass(frozen=True)
class Answer:
    """What is answered, all of it.

    :ivar status: an HTTP status code.
    :ivar headers: further ones, by name.
    """

    status: int
    body: bytes
    contentType: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def text(status: int, words: str, **headers: str) -> Answer:
    """Return an answer in words; an underscore in a header's name stands for a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, words.encode() + b"\n", headers=named)


@implementer(IPushProducer)
class Request(TwistedRequest):
    """One request, which is not finished before its response is taken.

    So whoever sends many at once and reads none makes one response wait and not many.
    """

    channel: Any
    _asked: Deferred[Any] | None = None
    _waits = False
    _isLost = False

    def gotLength(self, length: int | None) -> None:
        """Keep no body."""

    def handleContentChunk(self, data: bytes) -> None:
        """Keep no body."""

    def parseCookies(self) -> None:
        """Nobody here uses cookies."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.method, self.uri, self.clientproto = command, path, version
        connection: Connection = self.channel.transport
        connection.isAsked()
        self._asked = connection.ask(self._question())
        self._asked.addCallback(self._respond).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        log.failure("the admin endpoint cannot respond", failure)
        self.channel.transport.abortConnection()

    def _respond(self, answer: Answer) -> None:
        if self._isLost:
            return
        connection: Connection = self.channel.transport
        connection.waits(TAKE)
        self.setResponseCode(answer.status, HTTPStatus(answer.status).phrase.encode())
        headers = {
            "Content-Type": answer.contentType,
            "Content-Length": str(len(answer.body)),
            **answer.headers,
        }
        for name, value in headers.items():
            self.responseHeaders.setRawHeaders(name, [value])
        self.registerProducer(self, True)
        self.write(answer.body)
        # In a turn of its own, for one read may hold a thousand requests, and the next one is
        # not looked at before this one is finished.
        connection.soon(self._written)

    def _question(self) -> Question:
        path, _, query = self.uri.decode("latin-1").partition("?")
        try:
            fields = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_FIELDS))
        except ValueError:
            fields = {}
        return Question(
            method=self.method.decode("latin-1"),
            path=path,
            query=fields,
            headers={
                name.decode("latin-1").lower(): values[0].decode("latin-1")
                for name, values in self.requestHeaders.getAllRawHeaders()
            },
            host=getattr(self.channel.getPeer(), "host", ""),
        )

    def _written(self) -> None:
        if not (self._waits or self._isLost):
            self._finish()

    def connectionLost(self, reason: Failure) -> None:
        """Nobody takes the response any more."""
        self._isLost = True
        if self._asked is not None:
            self._asked.cancel()
        super().connectionLost(reason)

    def _finish(self) -> None:
        self.unregisterProducer()
        self.channel.transport.waits(ARRIVE)
        self.finish()

    # What the channel tells

    def pauseProducing(self) -> None:
        """The client does not take the response yet: read nothing from it.

        Meanwhile the channel would keep all it sends.
        """
        self._waits = True
        self.channel.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The client has taken the response."""
        self.channel.transport.resumeProducing()
        self._finish()

    def stopProducing(self) -> None:
        """The connection is lost."""


class Channel(HTTPChannel):
    """Reads the requests of one connection."""

    transport: Any
    requestFactory = Request
    totalHeadersSize = MOST_HEAD
    maxHeaders = MOST_HEADERS
    timeOut = None  # the time is limited in `Connection`, absolutely

    def allHeadersReceived(self) -> None:
        if self.length is None or self.length > MOST_BODY:
            self._refuse(b"413 Content Too Large")
        else:
            super().allHeadersReceived()

    def allContentReceived(self) -> None:
        hosts = len(self.requests[-1].requestHeaders.getRawHeaders(b"Host", ()))
        if hosts in HOSTS.get(self._version, ()):
            super().allContentReceived()
        else:
            self._refuse(b"400 Bad Request")

    def _refuse(self, status: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        self.loseConnection()


@implementer(IPushProducer)
class Connection:
    """Between our own transports and Twisted's channel.

    Adds what the channel needs of a transport, and limits the time of everything.

    :ivar disconnecting: nothing more is read, not even what has arrived; the name is Twisted's.
    :ivar source: what the limits count it as; None on a Unix socket.
    :ivar isWaiting: the next step is the client's.
    """

    def __init__(self, factory: WebFactory, source: str | None) -> None:
        self.disconnecting = False
        self.source = source
        self.isWaiting = True
        self._factory = factory
        self._channel = Channel()
        self._timer: IDelayedCall | None = None
        self._transport: Any = None

    def ask(self, question: Question) -> Deferred[Answer]:
        """Return the answer."""
        return self._factory.ask(question)

    def soon(self, act: Callable[[], object]) -> None:
        """Do something in the next turn of the reactor."""
        self._factory.clock.callLater(0, act)

    def isAsked(self) -> None:
        """From now on the client waits for us."""
        self.isWaiting = False
        self._limit(ANSWER)

    def waits(self, seconds: float) -> None:
        """From now on we wait for the client, no longer than that."""
        self.isWaiting = True
        self._factory.advanced(self)
        self._limit(seconds)

    def _limit(self, seconds: float) -> None:
        self._cancel()
        self._timer = self._factory.clock.callLater(seconds, self._expired)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        self._timer = None
        self.abortConnection()

    # The protocol of our transport

    def makeConnection(self, transport: Any) -> None:
        """The client is there."""
        self._transport = transport
        tuneTcp(transport, 0, 0)
        self._factory.entered(self)
        self.waits(ARRIVE)
        self._channel.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        """The client sent something."""
        if not self.disconnecting:
            try:
                self._channel.dataReceived(data)
            except ValueError:
                # Twisted converts lengths of any size; Python refuses those of 4300 digits.
                self.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """The connection is closed."""
        self.disconnecting = True
        self._cancel()
        self._factory.left(self)
        self._channel.connectionLost(reason)

    # The transport of the channel

    def write(self, data: bytes) -> None:
        """Send it, now or later."""
        self._transport.write(data)

    def writeSequence(self, data: list[bytes]) -> None:
        """Send all of it, now or later."""
        self._transport.write(b"".join(data))

    def loseConnection(self) -> None:
        """Send what waits and close, soon."""
        if not self.disconnecting:
            self.waits(CLOSE)
            self.disconnecting = True
            self._transport.loseConnection()

    def abortConnection(self) -> None:
        """Close at once."""
        self.disconnecting = True
        self._transport.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have it paused while the client does not take what is sent."""
        self._transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Pause nobody."""
        self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Read nothing for now."""
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        self._transport.resumeProducing()

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    def getPeer(self) -> IAddress:
        """The client's address."""
        address: IAddress = self._transport.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Our address."""
        address: IAddress = self._transport.getHost()
        return address


class WebFactory(Factory):
    """Answers questions.

    When all places are taken, the connection that has waited longest for its client makes room for
    a new one: so neither those that are idle nor those that send slowly keep others out.

    :param clock: for the time limits.
    :param answer: knows every answer, at once or later; what it raises is logged, and answered with
        status 500.
    :param secure: every connection costs a TLS handshake.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        answer: Callable[[Question], Answer | Deferred[Answer]],
        secure: bool = False,
    ) -> None:
        self.clock = clock
        self._answer = answer
        self._secure = secure
        self._open: dict[Connection, None] = {}  # in the order of their last steps
        self._sources: Counter[str] = Counter()
        bounds = Bounds(attemptsPerSecondPerAddress=HANDSHAKES_FROM_ADDRESS, exempt=())
        self._gate = Gate(clock, bounds)
        self._handshakes = Bucket(clock, HANDSHAKES, HANDSHAKES)
        self._crowd = Tally(
            clock,
            "admin endpoint: too many connections from {source}, idle ones are closed",
            "admin endpoint: {count} more connections closed for others in the last "
            "{interval:.0f} s",
        )
        self._flood = Tally(
            clock,
            "admin endpoint: too many TLS handshakes a second, a connection from {source} is "
            "refused",
            "admin endpoint: {count} more TLS connections refused in the last {interval:.0f} s",
        )

    def logPrefix(self) -> str:
        """In the log."""
        return "admin"

    def buildProtocol(self, addr: IAddress | None) -> Any:
        host = getattr(addr, "host", None)
        source = sourceOf(host, ())
        if self._secure and not self._mayShakeHands(host):
            self._flood.add(source=source or "the Unix socket")
            return None
        if len(self._open) >= MOST_ADMIN_CONNECTIONS:
            # Of those who have most: a crowd from a few addresses does not displace anybody else.
            crowd = Counter(each.source for each in self._open)
            most = max(crowd.values())
            candidates = [each for each in self._open if crowd[each.source] == most]
            self._makeRoom(candidates, "all addresses")
        elif source is not None and self._sources[source] >= MOST_FROM_ADDRESS:
            self._makeRoom([each for each in self._open if each.source == source], source)
        return Connection(self, source)

    def _mayShakeHands(self, host: str | None) -> bool:
        ticket = self._gate.enter(host)
        if isinstance(ticket, Outcome):
            return False
        self._gate.leave(ticket)
        if self._handshakes.isEmpty():
            return False
        self._handshakes.take()
        return True

    def _makeRoom(self, connections: list[Connection], source: str) -> None:
        """Close the one that waits longest for its client, or that we work on longest."""
        self._crowd.add(source=source)
        longest = next((each for each in connections if each.isWaiting), connections[0])
        self.left(longest)
        longest.abortConnection()

    def entered(self, connection: Connection) -> None:
        """A connection is open."""
        self._open[connection] = None
        if connection.source is not None:
            self._sources[connection.source] += 1

    def advanced(self, connection: Connection) -> None:
        """A connection has done a step."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def left(self, connection: Connection) -> None:
        """A connection is closed, or soon will be."""
        if connection not in self._open:
            return
        del self._open[connection]
        source = connection.source
        if source is not None:
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]

    def ask(self, question: Question) -> Deferred[Answer]:
        """Return the answer, whatever happens."""
        asked: Deferred[Answer] = maybeDeferred(self._answer, question)  # type: ignore[call-overload]
        return asked.addErrback(_failed)

    def closeAll(self) -> None:
        """Close every connection, when the client has taken what waits for it."""
        for connection in list(self._open):
            connection.loseConnection()


def _failed(failure: Failure) -> Answer:
    if not failure.check(CancelledError):  # somebody waits for the answer
        log.failure("the admin endpoint failed", failure)
    return text(500, "internal error; the log says more")
