"""A proxy in memory and on a fake clock, with clients of every kind."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.authentication.backend import Verdict
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.limits import Bounds
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.meeting.rendezvous import Rendezvous
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import makeHello
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard, Terms
from nymearemoteproxy.wires.arrival import ProxyFactory
from nymearemoteproxy.wires.direct import DirectFactory
from nymearemoteproxy.wires.stream import StreamControl
from nymearemoteproxy.wires.upgrade import Judge, Upgrade
from tests.support.memory import Pipe
from tests.support.parts import makeProxy
from tests.support.wires import maskedFrame

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TIMING = Timing(
    tlsHandshake=1,
    webSocketHandshake=2,
    inactive=3,
    authentication=4,
    alone=5,
    notificationGap=0.02,
    ping=30,
    pingAnswer=10,
    close=6,
)


class Backend:
    """Accepts everything, at once or never.

    :ivar subject: the account that everything is of.
    :ivar pending: the questions that were not answered.
    """

    def __init__(self) -> None:
        self.answers = True
        self.subject: str | None = None
        self.pending: list[Deferred[Verdict]] = []

    def authenticate(self, token: str) -> Deferred[Verdict]:
        if self.answers:
            return succeed(Verdict(True, self.subject))
        self.pending.append(Deferred())
        return self.pending[-1]


def isWebSocket(pipe: Pipe) -> bool:
    """Tell which kind of client this is."""
    return "WebSocket" in type(pipe.phase).__name__


class InMemory(SynchronousTestCase):
    """A proxy on a fake clock.

    :ivar date: seconds since 1970, as its machine knows it.
    """

    date = 0.0
    bounds = Bounds()
    traceTraffic = False
    terms: Terms | None = None  # of the tunnel proxy, where there is one

    def setUp(self) -> None:
        self.clock = self.makeClock()
        self.turns = Turns(self.clock)
        self.backend = Backend()
        self.makeProxies()
        self.judge = Judge(self.clock)
        self.builders: dict[str, Any] = {
            "WebSocket": lambda proxy, record: Upgrade(
                proxy, record, self.judge, lambda: self.date
            ),
            "TCP": StreamControl,
        }
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def makeProxies(self) -> None:
        """Make the one that clients come to."""
        self.rendezvous = Rendezvous()
        self.proxy = self.makeProxy(self.rendezvous, self.makeSwitchboard())

    def makeClock(self) -> Clock:
        """Return the clock."""
        return Clock()

    def makeProxy(self, rendezvous: Rendezvous, switchboard: Any) -> Proxy:
        """Return a proxy on it."""
        return makeProxy(
            self.clock,
            self.bounds,
            self.backend,
            rendezvous,
            switchboard,
            registry=self.makeRegistry(),
            timing=TIMING,
            messageLimit=10240,
            traceTraffic=self.traceTraffic,
            turns=self.turns,
        )

    def makePipe(self, peer: IAddress) -> Pipe:
        """Return the connection of a client."""
        return Pipe(peer)

    def nextProxy(self) -> Proxy:
        """Return the one that the next client comes to."""
        return self.proxy

    def allProxies(self) -> list[Any]:
        """Return those that clients come to."""
        return [self.proxy]

    def noticeStandstills(self) -> None:
        """Do from now on what a process does that runs."""
        for proxy in self.allProxies():
            proxy.waking.start()
            self.addCleanup(proxy.waking.stop)

    def standStill(self, seconds: float) -> None:
        """Let time pass in which this process does nothing at all."""
        self.clock.rightNow += seconds
        self.clock.advance(0)

    def makeRegistry(self) -> Any:
        """Return another registry than usual, if there is one."""
        return None

    def makeSwitchboard(self) -> Any:
        """Return the tunnel proxy, if there is one."""
        if self.terms is None:
            return None
        return Switchboard(self.clock, makeHello("test", True), self.terms, self.turns)

    def accept(self, kind: str, secure: bool = False, host: str = "127.0.0.1") -> Pipe:
        """Let a client connect."""
        peer: IAddress = UNIXAddress(None) if kind == "unix" else IPv4Address("TCP", host, 1)
        kind = "TCP" if kind == "unix" else kind
        factory = ProxyFactory(self.nextProxy(), kind, secure, False, self.builders[kind])
        return self.attach(factory, peer)

    def attach(self, factory: Any, peer: IAddress) -> Pipe:
        """Let a client connect to whatever listens."""
        direct = DirectFactory(factory).buildProtocol(peer)
        pipe = self.makePipe(peer)
        pipe.protocol = direct
        if direct is not None:
            direct.makeConnection(pipe)
        return pipe

    def upgraded(self) -> Pipe:
        """Let a WebSocket client connect and upgrade."""
        pipe = self.accept("WebSocket")
        pipe.receive(UPGRADE)
        self.assertTrue(pipe.take().startswith(b"HTTP/1.1 101 "))
        return pipe

    def open(self, kind: str) -> Pipe:
        """Let a client connect, ready for its first call."""
        return self.upgraded() if kind == "WebSocket" else self.accept(kind)

    def call(self, pipe: Pipe, method: str, **params: str) -> None:
        """Let the client call."""
        request = json.dumps({"id": 1, "method": method, "params": params}).encode() + b"\n"
        pipe.receive(maskedFrame(1, request) if isWebSocket(pipe) else request)

    def authenticate(self, pipe: Pipe, **params: str) -> None:
        """Let the client authenticate."""
        self.call(pipe, "Authentication.Authenticate", token="secret token", **params)
        self.clock.advance(0)

    def join(self, first: str, second: str, **params: str) -> tuple[Pipe, Pipe]:
        """Open a tunnel, and forget what was said on the way."""
        one, two = self.open(first), self.open(second)
        self.authenticate(one)
        self.authenticate(two, **params)
        one.clear()
        two.clear()
        return one, two

    def assertOutcomes(self, *outcomes: Outcome) -> None:
        """Check how connections have ended so far, and that each has one line in the log."""
        self.assertEqual(
            sorted(self.proxy.registry.counters.outcomes.elements(), key=str),
            sorted(outcomes, key=str),
        )
        logged = [event["outcome"] for event in self.events if "outcome" in event]
        self.assertEqual(sorted(logged), sorted(outcome.label for outcome in outcomes))

    def assertHeldUp(self, sender: Pipe) -> None:
        """A client is not read from, since its partner takes nothing more."""
        self.assertEqual(sender.producerState, "paused")

    def goneAfterAborting(self, pipe: Pipe) -> None:
        """A client that ignores our farewell is closed after one period, aborted after two."""
        self.assertFalse(pipe.lost)
        self.clock.advance(TIMING.close)
        self.assertTrue(pipe.disconnecting)
        self.assertFalse(pipe.lost)
        self.clock.advance(TIMING.close)
        self.assertTrue(pipe.lost)
