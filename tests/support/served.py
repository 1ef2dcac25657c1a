"""A proxy in this process that listens on every transport, on real sockets."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.trial.unittest import TestCase

from nymearemoteproxy.authentication.backend import BackendError, Verdict
from nymearemoteproxy.common.certificates import selfSigned
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.listening.listeners import BACKLOG
from nymearemoteproxy.listening.tls import loadCertificate
from nymearemoteproxy.meeting.rendezvous import Rendezvous
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import PairingKeys, Role, makeHello
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard, Terms
from nymearemoteproxy.wires.arrival import Arrival, ProxyFactory
from nymearemoteproxy.wires.control import Control
from nymearemoteproxy.wires.direct import DirectFactory, DirectTransport
from nymearemoteproxy.wires.leg import Leg
from nymearemoteproxy.wires.stream import StreamControl
from nymearemoteproxy.wires.tlsserver import TlsFactory
from nymearemoteproxy.wires.tlstransport import TlsTransport
from nymearemoteproxy.wires.upgrade import Judge, Upgrade
from tests.support.endtoend import PATIENCE
from tests.support.parts import makeProxy
from tests.support.wires import Connector, Inline, reactor

TRANSPORTS = ("ws", "wss", "tcp", "tls", "unix")

PLAYED = ("wss", "tcp") if os.environ.get("NYMEA_BRIEF") else TRANSPORTS
"""With which each rule of the tunnel proxy is tried. What is above the transports is the same: two
are enough in the build of the Debian package, beside which the whole suite runs (debian/rules).
"""

OTHER = {"ws": "tcp", "wss": "ws", "tcp": "tls", "tls": "unix", "unix": "wss"}
"""A partner of another kind for each transport."""


class Backend:
    """Accepts what is good, refuses what is bad, breaks on the rest.

    What stands behind a dash in a token is the account it belongs to.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.cancelled = 0

    def authenticate(self, token: str) -> Deferred[Verdict]:
        self.asked += 1
        if token == "slow":
            return Deferred(self._cancel)
        subject = token.partition("-")[2] or None
        answer: Deferred[Verdict] = succeed(Verdict(not token.startswith("bad"), subject))
        if token == "broken":
            return answer.addCallback(self._break)
        return answer

    def _cancel(self, _answer: Deferred[Verdict]) -> None:
        self.cancelled += 1

    def _break(self, _verdict: Verdict) -> Verdict:
        raise BackendError("it answered with HTTP status 500")


class Served(TestCase):
    """A proxy in this process that listens on every transport.

    :ivar terms: of the tunnel proxy; None while it is switched off.
    :ivar proven: who has to show it a token.
    :ivar bySubject: who belongs together is said by the accounts of tokens.
    """

    timeout = 300
    timing = Timing(
        tlsHandshake=PATIENCE,
        webSocketHandshake=PATIENCE,
        inactive=PATIENCE,
        authentication=PATIENCE,
        close=1.0,
    )
    messageLimit = 10240
    terms: Terms | None = None
    proven: Sequence[Role] = ()
    bySubject = False

    def setUp(self) -> None:
        self.backend = Backend()
        self.ports: list[Any] = []
        self._judge = Judge(reactor)
        self._context = loadCertificate(selfSigned(Path(self.mktemp())))
        self.start()

    def start(self) -> None:
        """Make the proxy, and let it listen."""
        self.proxy = self.makeProxy()
        self.rendezvous, self.switchboard = self.proxy.rendezvous, self.proxy.switchboard
        self.connector = Connector(self.listen(self.proxy))

    def makeProxy(self) -> Any:
        """Return a proxy."""
        turns = Turns(reactor)
        switchboard = None
        if self.terms is not None:
            hello = makeHello("test server", True)
            switchboard = Switchboard(reactor, hello, self.terms, turns)
        return makeProxy(
            reactor,
            authenticator=self.backend,
            rendezvous=Rendezvous(),
            switchboard=switchboard,
            name="test server",
            timing=self.timing,
            messageLimit=self.messageLimit,
            turns=turns,
            keys=PairingKeys(self.bySubject),
            proven=self.proven,
        )

    def listen(self, proxy: Any) -> dict[str, Any]:
        """Let a proxy listen; return where, by the name of the transport."""
        addresses: dict[str, Any] = {}
        for name in TRANSPORTS:
            secure = name in ("wss", "tls")
            if name in ("ws", "wss"):
                factory = ProxyFactory(
                    proxy,
                    "WebSocket",
                    secure,
                    False,
                    lambda proxy, record: Upgrade(proxy, record, self._judge),
                )
            else:
                factory = ProxyFactory(proxy, "TCP", secure, False, StreamControl)
            if secure:
                factory = TlsFactory(self._context, factory)
            factory = DirectFactory(factory)
            if name == "unix":
                addresses[name] = os.path.relpath(self.mktemp())
                port = reactor.listenUNIX(addresses[name], factory, BACKLOG)
            else:
                port = reactor.listenTCP(0, factory, BACKLOG, "127.0.0.1")
                addresses[name] = port.getHost().port
            self.ports.append(port)
        return addresses

    def stop(self) -> Any:
        """All clients are gone."""

    @inlineCallbacks
    def tearDown(self) -> Inline:
        for port in self.ports:
            yield port.stopListening()
        yield self.connector.close()
        yield self.proxy.registry.dismissal.dismissAll()
        self.proxy.registry.dismissal.abortAll()
        yield self.stop()
        self.assertEqual(self.proxy.registry.gate.connections, 0)
        self.assertEqual(self.proxy.registry.gate.unauthenticated, 0)
        self.assertEqual((self.rendezvous.waiting, self.rendezvous.tunnels), (0, 0))
        if self.switchboard is not None:
            self.assertEqual((self.switchboard.servers, self.switchboard.clients), (0, 0))

    @inlineCallbacks
    def join(self, transport: str, token: str, opcode: int = 1, **params: str) -> Inline:
        """Connect and authenticate; fires with the wire, accepted."""
        wire = yield self.connector.connect(transport, opcode)
        wire.authenticate(token, **params)
        response = yield wire.message()
        self.assertEqual(response["status"], "success")
        return wire

    @inlineCallbacks
    def tunnel(self, first: str, second: str, opcode: int = 2) -> Inline:
        """Open a tunnel between two clients of the first API; fires with their wires."""
        one = yield self.join(first, "good", opcode)
        two = yield self.join(second, "good", opcode)
        yield one.message()
        yield two.message()
        return one, two

    @inlineCallbacks
    def ended(self, outcome: Outcome, count: int = 1) -> Inline:
        """Wait until `count` connections have ended like this."""
        yield self.eventually(lambda: self.proxy.registry.counters.outcomes[outcome] == count)

    @inlineCallbacks
    def eventually(self, condition: Callable[[], bool]) -> Inline:
        """Let the reactor turn until `condition` holds; the test's timeout is the limit."""
        while not condition():
            turn: Deferred[None] = Deferred()
            reactor.callLater(0.01, turn.callback, None)
            yield turn

    def assertClosed(self, wire: Any, code: int, reason: str) -> None:
        """Check what a WebSocket client was told; a stream client is just closed."""
        if wire.webSocket:
            self.assertEqual(wire.close, (code, reason))


ALIVE = (Arrival, Control, DirectTransport, Leg, Record, TlsTransport, Tunnel, Upgrade)


def existing(*kinds: type) -> list[object]:
    """Return the objects of these kinds."""
    return [each for each in gc.get_objects() if issubclass(type(each), kinds)]


class NoCollectorMixin:
    """The garbage collector is seldom asked: here not at all.

    :ivar watched: what must not be left, by kind.
    """

    watched: tuple[type, ...] = ALIVE

    def setUp(self) -> Any:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.others = existing(*self.watched)  # kept by other tests
        return super().setUp()

    @inlineCallbacks
    def gone(self, *kinds: type) -> Inline:
        """Wait until the objects of these kinds are gone."""
        known = {id(each) for each in self.others}
        yield self.eventually(lambda: all(id(each) in known for each in existing(*kinds)))
