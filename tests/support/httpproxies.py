"""An HTTP proxy that knows nothing of the client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

reactor: Any = globalReactor

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 fake\r\n\r\n"


@implementer(IHalfCloseableProtocol)
class _Pipe(Protocol):
    """One side of a connection that is passed on."""

    transport: Any

    def __init__(self) -> None:
        self.other: _Pipe | None = None
        self.lost: Deferred[None] = Deferred()

    def joinTo(self, other: _Pipe) -> None:
        for one, two in ((self, other), (other, self)):
            one.other = two
            one.transport.registerProducer(two.transport, True)

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)

    def readConnectionLost(self) -> None:
        if self.other is None:
            self.transport.loseConnection()
        else:
            self.other.transport.unregisterProducer()
            self.other.transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.other is not None:
            self.other.transport.unregisterProducer()
            self.other.transport.loseConnection()
        self.lost.callback(None)


class _Asked(_Pipe):
    """A client's connection."""

    def __init__(self, fake: FakeHttpProxy) -> None:
        super().__init__()
        self._fake = fake
        self._head = b""

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None:
            super().dataReceived(data)
            return
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            self._fake.heads.append(self._head)
            self._fake.script(self)

    def passOn(self) -> None:
        """Connect to where the client wants to."""
        target = self._head.split()[1].decode()
        host, _, port = target.rpartition(":")
        connecting = TCP4ClientEndpoint(reactor, self._fake.hosts.get(host, host), int(port))
        connecting.connect(Factory.forProtocol(_Pipe)).addCallbacks(self._joined, self._notJoined)

    def _joined(self, pipe: Any) -> None:
        self.transport.write(ESTABLISHED)
        self._fake.pipes.append(pipe)
        if self.lost.called:
            pipe.transport.loseConnection()
        else:
            self.joinTo(pipe)

    def _notJoined(self, failure: Failure) -> None:
        self.transport.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        self.transport.loseConnection()


class FakeHttpProxy:
    """An HTTP proxy on 127.0.0.1.

    :ivar heads: of the requests.
    :ivar script: what is done about one; it is passed on.
    :ivar hosts: the addresses of names that only it knows.
    """

    def __init__(self, test: TestCase) -> None:
        self.heads: list[bytes] = []
        self.hosts: dict[str, str] = {}
        self.pipes: list[_Pipe] = []
        self.script: Callable[[Any], object] = lambda asked: asked.passOn()
        factory = Factory.forProtocol(self._build)
        factory.noisy = False
        self._listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port = self._listening.getHost().port
        test.addCleanup(self.stop)

    def answers(self, data: bytes, close: bool = True) -> None:
        """From now on answer this."""

        def script(asked: Any) -> None:
            asked.transport.write(data)
            if close:
                asked.transport.loseConnection()

        self.script = script

    def stop(self) -> Deferred[None]:
        """Stop listening and break off all connections; fires when that is done."""
        return Deferred.fromCoroutine(self._stop())

    def _build(self) -> _Asked:
        asked = _Asked(self)
        self.pipes.append(asked)
        return asked

    async def _stop(self) -> None:
        # Nothing when it has been stopped already.
        await maybeDeferred(self._listening.stopListening)
        for pipe in self.pipes:
            if not pipe.lost.called:
                pipe.transport.abortConnection()
                await pipe.lost
