"""Members of a cluster in this process, on real sockets, and links between them."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredQueue, gatherResults
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from nymearemoteproxy.cluster import accepting
from nymearemoteproxy.cluster.accepting import LinkFactory
from nymearemoteproxy.cluster.directory import Member
from nymearemoteproxy.cluster.identity import MemberIdentity
from nymearemoteproxy.cluster.linking import LINK_TIMEOUT, Linker, tcpAddress
from nymearemoteproxy.common.tally import Tally
from tests.support.wires import Wire, reactor

SECRET, OTHER_SECRET = b"one secret of 32 bytes: a member", b"another secret, of 32 bytes: not"

HERE, THERE, ELSEWHERE = b"here" * 4, b"not here" * 2, b"\0" * 16
"""Ids of members."""


@implementer(IPushProducer)
class Sender:
    """Sends something as fast as it may, and ends when it has.

    :ivar pauses: how often it had to wait.
    """

    def __init__(self, transport: Any, content: bytes, size: int = 1 << 16) -> None:
        self._transport = transport
        self._parts = iter([content[at : at + size] for at in range(0, len(content), size)])
        self._isPaused = False
        self.pauses = 0
        transport.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self._isPaused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        self._isPaused = False
        for part in self._parts:
            self._transport.write(part)
            if self._isPaused:
                break

    def stopProducing(self) -> None:
        """The connection is gone."""


class LinkEnd(Wire):
    """One end of a link.

    :ivar connections: how often it was given one.
    :ivar reasons: why they were lost.
    :ivar onConnection: what to do then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connections = 0
        self.reasons: list[Failure] = []
        self.onConnection: Callable[[], object] = lambda: None

    def connectionMade(self) -> None:
        self.connections += 1
        self.onConnection()

    def readConnectionLost(self) -> None:
        """Links end in both directions."""
        super().readConnectionLost()
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reasons.append(reason)
        super().connectionLost(reason)


class KnownFactory(LinkFactory):
    """One that tells whom it refuses.

    :ivar refusals: the reason and the text of each, in turn.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.refusals: DeferredQueue[tuple[str, str]] = DeferredQueue()

    def refuse(self, transport: Any, reason: str, text: str) -> None:
        super().refuse(transport, reason, text)
        self.refusals.put((reason, text))


def shortDirectory(case: SynchronousTestCase) -> str:
    """Return a directory for one test; trial's own have names too long for Unix sockets."""
    place = tempfile.TemporaryDirectory()
    case.addCleanup(place.cleanup)
    return place.name


class LinkCase(TestCase):
    """Members that listen, and one that connects.

    :ivar accepted: the member's id and our end of each link that was taken, in turn.
    """

    timeout = 300

    def setUp(self) -> None:
        self.accepted: DeferredQueue[tuple[bytes | None, LinkEnd]] = DeferredQueue()
        # What is summed up later would keep the reactor busy.
        self.patch(accepting, "Tally", lambda _clock, *formats: Tally(Clock(), *formats))
        self._ends: list[LinkEnd] = []
        self.addCleanup(self._closeEnds)

    def end(self) -> LinkEnd:
        """Return a new end, which is closed after the test."""
        end = LinkEnd()
        self._ends.append(end)
        return end

    def _closeEnds(self) -> Deferred[Any]:
        for end in self._ends:
            if end.connections and not end.lost:
                end.transport.abortConnection()
        return gatherResults([end.gone() for end in self._ends if end.connections])

    def build(self, member: bytes | None) -> LinkEnd:
        end = self.end()
        end.onConnection = lambda: self.accepted.put((member, end))
        return end

    def factory(self, identity: MemberIdentity | None, timeout: float = 20) -> KnownFactory:
        """Return what takes links; its time is so long that it does not matter."""
        return KnownFactory(reactor, self.build, identity, timeout)

    def listen(self, factory: Factory, host: str = "127.0.0.1", id: bytes = THERE) -> Member:
        """Return a member that takes its links by TCP."""
        port = reactor.listenTCP(0, factory, interface=host)
        self.addCleanup(port.stopListening)
        return Member(id, tcpAddress(host, port.getHost().port), 1)

    def linker(
        self, secret: bytes = SECRET, id: bytes = HERE, timeout: float = 10 * LINK_TIMEOUT
    ) -> Linker:
        """Return what makes links; its time is so long that it does not matter."""
        return Linker(reactor, MemberIdentity(secret, id), timeout)


def shaken(
    client: ssl.SSLObject, server: ssl.SSLObject, pipes: Iterable[ssl.MemoryBIO]
) -> tuple[bytes, bytes]:
    """Shake hands in memory; return what the client and the server said.

    :param pipes: the client's and the server's incoming and outgoing ones.
    :raises ssl.SSLError: one side does not want to go on; the other has not heard of it.
    """
    clientIn, clientOut, serverIn, serverOut = pipes
    sides = ((client, clientOut, serverIn), (server, serverOut, clientIn))
    said = {client: b"", server: b""}
    done = set()
    while len(done) < 2:
        for side, outgoing, target in sides:
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
            finally:
                sent = outgoing.read()
                said[side] += sent
                target.write(sent)
    return said[client], said[server]
