"""HTTP for the admin endpoint: one question, one answer, and bounds for everything.

Owns what an HTTP client may use of memory. Knows nothing of what is asked, and leaves connections
and time to `seats`, but for how long each step may take.

Twisted's `HTTPChannel` reads requests and writes responses. Why not `Site` and `Resource` as well:
there the time for a request begins anew with every byte, a client that takes no response has
hundreds of them made, bodies are kept and forms in them parsed, no number of fields or of Host
headers is too many, refusals are pages of HTML, every answer names Twisted's version, every request
is a line of log, and 1.3 MiB more are imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as TwistedRequest
from zope.interface import implementer

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.unixpeers import UnixPeer
from nymearemoteproxy.watching.admin.seats import Seat

log = ProxyLogger()

MOST_HEAD = 8 << 10
"""Bytes of a request's head; browsers send about one KiB."""

MOST_HEADERS = 64

MOST_BODY = 1 << 10
"""Bytes of a request's body: those of actions have a hundred at most."""

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


@dataclass(frozen=True)
class Question:
    """What is asked.

    :ivar path: as it was sent, without the query.
    :ivar query: the last value of each field.
    :ivar headers: by lower-case name; the first value of each.
    :ivar host: the client's IP address; empty on a Unix socket.
    :ivar body: what was sent with it.
    :ivar peer: the process that asks by a Unix socket; None if it is none of those.
    :ivar parameters: what stands in the path where its route has a name in braces.
    """

    method: str = "GET"
    path: str = "/"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    host: str = ""
    body: bytes = field(default=b"", repr=False)
    peer: UnixPeer | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)


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

    channel: Any  # None when the connection is lost, and gone when the request is finished
    _waits = False

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of it is there."""
        self.method, self.uri, self.clientproto = command, path, version
        hosts = self.requestHeaders.getRawHeaders(b"Host", ())
        if len(hosts) not in HOSTS.get(version, ()):
            self.channel.refuse(b"400 Bad Request")
            return
        self.channel.transport.works(ANSWER)
        asked = self.channel.factory.ask(self._question())
        self.notifyFinish().addErrback(lambda _lost: asked.cancel())
        asked.addCallback(self._respond).addErrback(self._failed)

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
            body=self._body(),
            peer=self.channel.transport.peer,
        )

    def _body(self) -> bytes:
        if self.content is None:
            return b""
        self.content.seek(0)  # it stands where the last of it was written
        body: bytes = self.content.read()
        return body

    def _respond(self, answer: Answer) -> None:
        if self.channel is None:
            return
        self.channel.transport.waits(TAKE)
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
        self.channel.factory.clock.callLater(0, self._written)

    def _written(self) -> None:
        if not self._waits and self.channel is not None:
            self._finish()

    def _finish(self) -> None:
        self.unregisterProducer()
        self.channel.transport.waits(ARRIVE)
        self.finish()

    def _failed(self, failure: Failure) -> None:
        log.failure("the admin endpoint cannot respond", failure)
        self.channel.transport.abortConnection()

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

    factory: HttpFactory
    transport: Seat
    requestFactory = Request
    totalHeadersSize = MOST_HEAD
    maxHeaders = MOST_HEADERS
    timeOut = None  # the seat limits the time, absolutely

    def connectionMade(self) -> None:
        self.transport.waits(ARRIVE)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        try:
            super().dataReceived(data)
        except ValueError:
            # Twisted converts lengths of any size; Python refuses those of 4300 digits.
            self.transport.abortConnection()

    def allHeadersReceived(self) -> None:
        if self.length is None or self.length > MOST_BODY:
            self.refuse(b"413 Content Too Large")
        else:
            super().allHeadersReceived()

    def refuse(self, status: bytes) -> None:
        """Answer that, look at nothing more, and close."""
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        self.loseConnection()


class HttpFactory(Factory):
    """Answers questions on connections that have seats.

    :param clock: for what is done in a turn of its own.
    :param answer: knows every answer, at once or later; what it raises is logged, and answered with
        status 500.
    """

    noisy = False
    protocol: Any = Channel

    def __init__(
        self, clock: IReactorTime, answer: Callable[[Question], Answer | Deferred[Answer]]
    ) -> None:
        self.clock = clock
        self._answer = answer

    def ask(self, question: Question) -> Deferred[Answer]:
        """Return the answer, whatever happens."""
        asked: Deferred[Answer] = maybeDeferred(self._answer, question)  # type: ignore[call-overload]
        return asked.addErrback(_failed)

    def log(self, request: Request) -> None:
        """Write no line about every request, as Twisted would: an open page would fill the disk."""


def _failed(failure: Failure) -> Answer:
    if not failure.check(CancelledError):  # somebody waits for the answer
        log.failure("the admin endpoint failed", failure)
    return text(500, "internal error; the log says more")
