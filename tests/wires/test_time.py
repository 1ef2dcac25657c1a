"""Deadlines, keepalive, back pressure and the notification gap, in memory and by a fake clock."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.authentication.backend import Verdict
from nymearemoteproxy.common.logs import setVerbose
from nymearemoteproxy.common.tally import INTERVAL
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.dismissal import ABORT_TIMEOUT
from nymearemoteproxy.connections.limits import Bounds
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.rendezvous import Rendezvous
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import Registration
from nymearemoteproxy.protocol.session import makeHello
from nymearemoteproxy.tunnelproxy.ends import End, Origin
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard, Terms
from nymearemoteproxy.wires.arrival import ProxyFactory
from nymearemoteproxy.wires.direct import DirectFactory
from nymearemoteproxy.wires.stream import LINE_END_TIMEOUT, StreamControl
from nymearemoteproxy.wires.upgrade import Upgrade, makeUpgradeFactory
from nymearemoteproxy.wires.websocket import TEXT_TAIL_TIMEOUT
from tests.support.memory import Pipe
from tests.support.parts import makeProxy
from tests.support.wires import maskedFrame, slip, splitFrame

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

    :ivar pending: the questions that were not answered.
    """

    def __init__(self) -> None:
        self.answers = True
        self.pending: list[Deferred[Verdict]] = []

    def authenticate(self, token: str) -> Deferred[Verdict]:
        if self.answers:
            return succeed(Verdict(True))
        self.pending.append(Deferred())
        return self.pending[-1]


class InMemory(SynchronousTestCase):
    """A proxy on a fake clock."""

    bounds = Bounds()
    traceTraffic = False
    terms: Terms | None = None  # of the tunnel proxy, where there is one

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.backend = Backend()
        self.rendezvous = Rendezvous()
        self.proxy = makeProxy(
            self.clock,
            self.bounds,
            self.backend,
            self.rendezvous,
            self.makeSwitchboard(),
            timing=TIMING,
            messageLimit=10240,
            traceTraffic=self.traceTraffic,
            turns=self.turns,
        )
        upgrade = makeUpgradeFactory(self.clock)
        self.builders: dict[str, Any] = {
            "WebSocket": lambda proxy, record: Upgrade(proxy, record, upgrade),
            "TCP": StreamControl,
        }
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def makeSwitchboard(self) -> Any:
        """Return the tunnel proxy, if there is one."""
        if self.terms is None:
            return None
        return Switchboard(self.clock, makeHello("test", True), self.terms, self.turns)

    def accept(self, kind: str, secure: bool = False, host: str = "127.0.0.1") -> Pipe:
        """Let a client connect."""
        peer: IAddress = UNIXAddress(None) if kind == "unix" else IPv4Address("TCP", host, 1)
        kind = "TCP" if kind == "unix" else kind
        factory = ProxyFactory(self.proxy, kind, secure, False, self.builders[kind])
        direct = DirectFactory(factory).buildProtocol(peer)
        pipe = Pipe(peer)
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
        webSocket = "WebSocket" in type(pipe.protocol).__name__
        pipe.receive(maskedFrame(1, request) if webSocket else request)

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

    def goneAfterAborting(self, pipe: Pipe) -> None:
        """A client that ignores our farewell is closed after one period, aborted after two."""
        self.assertFalse(pipe.lost)
        self.clock.advance(TIMING.close)
        self.assertTrue(pipe.disconnecting)
        self.assertFalse(pipe.lost)
        self.clock.advance(TIMING.close)
        self.assertTrue(pipe.lost)


class DeadlineTests(InMemory):
    """Every phase has an absolute deadline."""

    def test_tlsHandshake(self) -> None:
        pipe = self.accept("TCP", secure=True)
        self.clock.advance(0.9)
        self.assertFalse(pipe.lost)
        self.clock.advance(0.1)
        self.assertTrue(pipe.lost)
        self.assertOutcomes(Outcome.TLS_HANDSHAKE_TIMEOUT)

    def test_tlsHandshakeFails(self) -> None:
        pipe = self.accept("WebSocket", secure=True)
        pipe.lose(ConnectionLost())
        self.assertOutcomes(Outcome.TLS_HANDSHAKE_FAILED)

    def test_webSocketHandshake(self) -> None:
        """Bytes alone do not start the time anew."""
        pipe = self.accept("WebSocket")
        self.clock.advance(1.9)
        pipe.receive(b"GET ")
        self.clock.advance(0.1)
        self.assertTrue(pipe.lost)
        self.assertOutcomes(Outcome.WEBSOCKET_HANDSHAKE_TIMEOUT)

    def test_leavesDuringUpgrade(self) -> None:
        pipe = self.accept("WebSocket")
        pipe.lose(ConnectionDone())
        self.assertOutcomes(Outcome.LEFT_EARLY)

    def test_inactive(self) -> None:
        """A valid call starts the time anew, bytes alone do not."""
        for kind in "WebSocket", "TCP", "unix":
            pipe = self.open(kind)
            self.clock.advance(2.5)
            self.call(pipe, "RemoteProxy.Hello")
            self.clock.advance(2.5)
            self.assertFalse(pipe.disconnecting or pipe.halfClosed)
            pipe.receive(b"\x81" if kind == "WebSocket" else b'{"')
            pipe.clear()
            self.clock.advance(0.5)
            if kind == "WebSocket":
                self.assertEqual(splitFrame(pipe.take())[2], b"\x03\xf0inactive for too long")
            else:
                self.assertTrue(pipe.halfClosed)
            self.goneAfterAborting(pipe)
        self.assertOutcomes(*[Outcome.INACTIVE_TIMEOUT] * 3)

    def test_authentication(self) -> None:
        """Both dialects are told that it is not the token's fault."""
        self.backend.answers = False
        pipe = self.open("TCP")
        self.authenticate(pipe)
        self.clock.advance(4)
        response = json.loads(pipe.take())
        self.assertEqual(response["status"], "error")
        self.assertIn("did not answer in time", response["error"])
        pipe.lose(ConnectionDone())
        pipe = self.open("TCP")
        self.authenticate(pipe, uuid="1", name="n")
        self.clock.advance(4)
        response = json.loads(pipe.take())
        error = {"authenticationError": "AuthenticationErrorTimeout"}
        self.assertEqual(response["params"], error)
        pipe.lose(ConnectionDone())
        self.assertOutcomes(*[Outcome.AUTHENTICATION_TIMEOUT] * 2)
        for pending in self.backend.pending:
            self.assertTrue(pending.called, "it was not cancelled")

    def test_alone(self) -> None:
        pipe = self.upgraded()
        self.authenticate(pipe)
        pipe.clear()
        self.clock.advance(5)
        self.assertEqual(splitFrame(pipe.take())[2], b"\x03\xf5no partner in time")
        self.assertEqual(self.rendezvous.waiting, 0)
        self.goneAfterAborting(pipe)
        self.assertOutcomes(Outcome.ALONE_TIMEOUT)

    def test_noDeadlineInATunnel(self) -> None:
        one, two = self.join("TCP", "unix")
        self.clock.advance(100_000)
        one.receive(b"still here")
        self.assertEqual(two.take(), b"still here")

    def test_partnerIgnoresOurFarewell(self) -> None:
        for kind in "WebSocket", "TCP":
            one, two = self.join("TCP", kind)
            one.lose(ConnectionDone())
            self.goneAfterAborting(two)

    def test_stalledAfterItsOwnFarewell(self) -> None:
        """A client that says goodbye but takes nothing more is cut off in the end."""
        one, two = self.join("WebSocket", "TCP")
        one.receive(maskedFrame(8, b""))
        self.assertTrue(one.disconnecting)
        two.lose(ConnectionDone())
        self.goneAfterAborting(one)

    def test_autobahnCopiesNoSettings(self) -> None:
        """An upgrade reads its settings from the factory: copies cost as much as all else."""
        names = WebSocketServerProtocol.CONFIG_ATTRS
        self.assertIn("maxMessagePayloadSize", names)
        upgrade = self.accept("WebSocket").protocol
        self.assertEqual([name for name in names if name in vars(upgrade)], [])
        self.assertFalse(upgrade.webStatus)
        self.assertRaises(AttributeError, getattr, upgrade, "noSuchThing")

    def test_failedUpgradeIsNotReadFurther(self) -> None:
        pipe = self.accept("WebSocket")
        pipe.receive(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(pipe.take().startswith(b"HTTP/1.1 426 "))
        pipe.receive(UPGRADE)
        self.assertEqual(pipe.take(), b"")
        self.goneAfterAborting(pipe)
        self.assertOutcomes(Outcome.WEBSOCKET_HANDSHAKE_FAILED)

    def test_answerToABadRequestArrives(self) -> None:
        """Sending ends, reading does not: what still comes would reset the connection."""
        pipe = self.accept("WebSocket")
        pipe.receive(UPGRADE.replace(b"Host: x", b"Host : x"))
        answer = pipe.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer)
        self.assertTrue(pipe.halfClosed)
        self.assertFalse(pipe.disconnecting)
        pipe.receive(b"more" * 10_000)
        pipe.lose(ConnectionDone())
        self.assertOutcomes(Outcome.WEBSOCKET_HANDSHAKE_FAILED)

    def test_whatAutobahnRefuses(self) -> None:
        """It has the last word, though it is asked for nothing that it does not take today."""
        pipe = self.accept("WebSocket")
        pipe.protocol.factory.setProtocolOptions(versions=[8])
        pipe.receive(UPGRADE)
        self.assertTrue(pipe.take().startswith(b"HTTP/1.1 400 "))
        pipe.lose(ConnectionDone())
        self.assertOutcomes(Outcome.WEBSOCKET_HANDSHAKE_FAILED)

    def test_dataAfterOurFarewell(self) -> None:
        """It is dropped; the client's close frame then ends the connection."""
        pipe = self.upgraded()
        pipe.receive(maskedFrame(1, b"garbage"))
        pipe.clear()
        pipe.receive(maskedFrame(1, b"more") + maskedFrame(9, b"ping"))
        self.assertEqual(pipe.take(), b"")
        self.assertFalse(pipe.disconnecting)
        pipe.receive(maskedFrame(8, b""))
        self.assertTrue(pipe.disconnecting)
        pipe.lose(ConnectionDone())
        self.assertOutcomes(Outcome.INVALID_JSON)

    def test_breaksTheProtocolAfterOurFarewell(self) -> None:
        """One close frame is enough."""
        one, two = self.join("WebSocket", "TCP")
        two.lose(ConnectionDone())
        one.clear()
        one.receive(b"\xf0")
        one.receive(b"\xf0")
        self.assertEqual(one.take(), b"")
        self.goneAfterAborting(one)

    def test_shutDownInEveryEarlyPhase(self) -> None:
        tls, upgrade = self.accept("TCP", secure=True), self.accept("WebSocket")
        stopped = self.proxy.registry.dismissal.dismissAll()
        self.assertTrue(tls.lost and upgrade.lost)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertOutcomes(*[Outcome.SHUTDOWN_WAITING] * 2)

    def test_abortAll(self) -> None:
        """What is left after the grace is cut off."""
        one, two = self.join("TCP", "WebSocket")
        three, four = self.accept("WebSocket"), self.accept("TCP")
        five = self.accept("WebSocket")
        five.protocol.abort()
        self.assertTrue(five.lost)
        stopped = self.proxy.registry.dismissal.dismissAll()
        self.assertNoResult(stopped)
        self.proxy.registry.dismissal.abortAll()
        self.successResultOf(stopped)
        for pipe in one, two, three, four:
            self.assertTrue(pipe.lost)


class KeepaliveTests(InMemory):
    """Half-open WebSocket clients are found by ping, while they wait and in a tunnel."""

    def test_inATunnel(self) -> None:
        one, two = self.join("WebSocket", "TCP")
        self.clock.advance(30)
        self.assertEqual(one.take(), b"\x89\x00")
        one.receive(maskedFrame(10, b""))
        self.clock.advance(10)
        self.assertFalse(one.lost)
        self.clock.advance(30)
        self.assertEqual(one.take(), b"\x89\x00")
        self.clock.advance(10)
        self.assertTrue(one.lost)
        self.assertTrue(two.halfClosed)
        two.lose(ConnectionDone())
        self.assertOutcomes(Outcome.PING_TIMEOUT, Outcome.PARTNER_LEFT)

    def test_blocked(self) -> None:
        """A client that does not take what it was sent is slow, not gone."""
        one, two = self.join("WebSocket", "TCP")
        one.stall()
        self.assertEqual(two.producerState, "paused")
        self.clock.advance(100)
        self.assertEqual(one.take(), b"")
        self.assertFalse(one.lost)
        one.drain()
        self.clock.advance(30)
        self.assertEqual(one.take(), b"\x89\x00")

    def test_notReadFrom(self) -> None:
        """A client that is not read from, since its partner is slow, cannot be heard."""
        one, two = self.join("WebSocket", "TCP")
        self.clock.advance(20)
        two.stall()
        self.clock.pump([10] * 10)
        self.assertEqual(one.take(), b"")
        two.drain()
        self.clock.pump([10] * 3)
        self.assertEqual(one.take(), b"\x89\x00")
        two.stall()
        self.clock.advance(9)
        two.drain()
        self.clock.advance(1)
        self.assertFalse(one.lost, "its answer may not have been read yet")
        self.clock.pump([10] * 4)
        self.assertTrue(one.lost)

    def test_whileWaiting(self) -> None:
        timing = Timing(alone=100, ping=30, pingAnswer=10)
        self.proxy.policy = replace(self.proxy.policy, timing=timing)
        pipe = self.upgraded()
        self.authenticate(pipe)
        pipe.clear()
        self.clock.advance(30)
        self.assertEqual(pipe.take(), b"\x89\x00")
        pipe.receive(maskedFrame(10, b""))
        self.clock.pump([10] * 5)
        self.assertTrue(pipe.lost)
        self.assertOutcomes(Outcome.PING_TIMEOUT)

    def test_blockedWhileWaiting(self) -> None:
        timing = Timing(alone=100, ping=30, pingAnswer=10)
        self.proxy.policy = replace(self.proxy.policy, timing=timing)
        pipe = self.upgraded()
        self.authenticate(pipe)
        pipe.stall()
        pipe.clear()
        self.clock.advance(50)
        self.assertEqual(pipe.take(), b"")
        self.assertFalse(pipe.lost)


class BackPressureTests(InMemory):
    """Who does not read is not sent to, and in the end not read for."""

    def test_everyPair(self) -> None:
        for first in "WebSocket", "TCP":
            for second in "WebSocket", "TCP":
                one, two = self.join(first, second)
                two.stall()
                self.assertEqual(one.producerState, "paused")
                self.assertEqual(two.producerState, "producing")
                two.drain()
                self.assertEqual(one.producerState, "producing")
                one.lose(ConnectionDone())
                two.lose(ConnectionDone())

    def test_blockedBeforeTheTunnel(self) -> None:
        """Nobody sends to a client that has stopped reading while it waited."""
        for first in "WebSocket", "TCP":
            for second in "WebSocket", "TCP":
                one, two = self.open(first), self.open(second)
                self.authenticate(one)
                one.stall()
                self.authenticate(two)
                self.assertEqual(two.producerState, "paused", (first, second))
                one.drain()
                self.assertEqual(two.producerState, "producing")
                one.lose(ConnectionDone())
                two.lose(ConnectionDone())

    def test_partnerLeavesWhileBlocked(self) -> None:
        """The one that was not read from is read again, so that its farewell is seen."""
        one, two = self.join("WebSocket", "TCP")
        two.stall()
        two.lose(ConnectionLost())
        self.assertEqual(one.producerState, "producing")

    def test_controlPhase(self) -> None:
        """A client that does not read its answers is not read from, and not answered."""
        for kind in "WebSocket", "TCP":
            pipe = self.open(kind)
            pipe.stall()
            self.assertEqual(pipe.producerState, "paused")
            self.call(pipe, "RemoteProxy.Hello")
            self.assertEqual(pipe.take(), b"")
            pipe.drain()
            self.assertIn(b'"success"', pipe.take())

    def test_controlPhaseEndsWhileBlocked(self) -> None:
        pipe = self.open("TCP")
        pipe.stall()
        self.clock.advance(3)
        self.assertEqual(pipe.producerState, "producing")
        self.assertIsNone(pipe.producer)

    def test_pingsWhileBlocked(self) -> None:
        """Only the last of many pings is answered, once the client reads again."""
        one, _two = self.join("WebSocket", "TCP")
        one.stall()
        for number in range(100):
            one.receive(maskedFrame(9, b"%d" % number))
        self.assertEqual(one.take(), b"")
        one.drain()
        self.assertEqual(one.take(), b"\x8a\x0299")

    def test_shutDownWhileBlocked(self) -> None:
        one, two = self.join("WebSocket", "TCP")
        two.stall()
        self.proxy.registry.dismissal.dismissAll()
        self.assertEqual(one.producerState, "producing")
        one.receive(maskedFrame(2, b"late"))
        self.assertNotIn(b"late", two.take())


class TextTailTests(InMemory):
    """The beginning of a character waits for its rest, each for its own time."""

    def setUp(self) -> None:
        super().setUp()
        self.text, self.stream = self.join("WebSocket", "TCP")

    def test_eachForItsOwnTime(self) -> None:
        self.stream.receive(b"\xc3")
        self.clock.advance(0.9 * TEXT_TAIL_TIMEOUT)
        self.stream.receive(b"\xbc\xc3")
        self.assertEqual(self.text.take(), b"\x81\x02\xc3\xbc")
        self.clock.advance(0.9 * TEXT_TAIL_TIMEOUT)
        self.assertEqual(self.text.take(), b"")
        self.clock.advance(0.2 * TEXT_TAIL_TIMEOUT)
        self.assertEqual(self.text.take(), b"\x82\x01\xc3")

    def test_notWhileBlocked(self) -> None:
        """The partner is not read from then, so it is not its fault that the rest is missing."""
        self.stream.receive(b"\xc3")
        self.text.stall()
        self.clock.pump([TEXT_TAIL_TIMEOUT] * 5)
        self.assertEqual(self.text.take(), b"")
        self.text.drain()
        self.stream.receive(b"\xbc")
        self.assertEqual(self.text.take(), b"\x81\x02\xc3\xbc")


class GapTests(InMemory):
    """Stream clients of API 0.3 get nothing together with the notification."""

    def test_gap(self) -> None:
        one, two = self.join("TCP", "TCP", uuid="2", name="two")
        self.assertEqual(two.producerState, "producing")
        self.assertGap(one)
        two.stall()
        self.assertEqual(one.producerState, "paused")

    def test_notificationInTheBuffer(self) -> None:
        """The gap begins when the notification has left."""
        one, two = self.open("TCP"), self.open("TCP")
        self.authenticate(one)
        two.full = True
        self.authenticate(two, uuid="2", name="two")
        self.clock.advance(1)
        self.assertEqual(one.producerState, "paused")
        two.drain()
        self.assertIn(b"TunnelEstablished", two.take())
        self.assertGap(one)

    def test_waiter(self) -> None:
        """The one who waited gets its notification alone, too."""
        one, two = self.open("TCP"), self.open("TCP")
        self.authenticate(one, uuid="1", name="one")
        self.authenticate(two)
        self.assertEqual(one.producerState, "producing")
        self.assertGap(two)

    def assertGap(self, partner: Pipe) -> None:
        """The partner is not read from for a while, beginning now."""
        self.clock.advance(0.015)
        self.assertEqual(partner.producerState, "paused")
        self.clock.advance(0.006)
        self.assertEqual(partner.producerState, "producing")

    def test_notForWebSocket(self) -> None:
        one, _two = self.join("TCP", "WebSocket", uuid="2", name="two")
        self.assertEqual(one.producerState, "producing")

    def test_partnerLostInTheGap(self) -> None:
        one, two = self.join("TCP", "TCP", uuid="2", name="two")
        one.lose(ConnectionLost())
        self.assertTrue(two.halfClosed)
        self.clock.advance(1)
        self.assertIsNone(two.producer)
        two.lose(ConnectionDone())
        self.assertOutcomes(Outcome.CONNECTION_LOST, Outcome.PARTNER_LEFT)

    def test_lostInTheGap(self) -> None:
        one, two = self.join("TCP", "TCP", uuid="2", name="two")
        two.lose(ConnectionLost())
        self.clock.advance(1)
        self.assertEqual(one.producerState, "producing")
        self.assertTrue(one.halfClosed)

    def test_lostBeforeTheGap(self) -> None:
        one, two = self.open("TCP"), self.open("TCP")
        self.authenticate(one)
        two.full = True
        self.authenticate(two, uuid="2", name="two")
        two.lose(ConnectionLost())
        self.assertTrue(one.halfClosed)


class ServerGapTests(InMemory):
    """A registered server on a stream gets nothing together with the answer to RegisterServer."""

    SERVER = str(UUID(int=7))

    terms = Terms()

    def serve(self, kind: str, full: bool = False) -> Pipe:
        """Register a server, whose line end comes with its request."""
        pipe = self.open(kind)
        pipe.full = full
        self.call(pipe, "TunnelProxy.RegisterServer", serverName="core", serverUuid=self.SERVER)
        if not full:
            self.assertIn(b"slipEnabled", pipe.take())
        return pipe

    def visit(self) -> Pipe:
        """Let a client register."""
        pipe = self.open("TCP")
        self.call(
            pipe,
            "TunnelProxy.RegisterClient",
            clientName="app",
            clientUuid=str(UUID(int=8)),
            serverUuid=self.SERVER,
        )
        self.assertIn(b"NoError", pipe.take())
        return pipe

    def ping(self, pipe: Pipe) -> None:
        """Let the server call."""
        call = {"id": 1, "method": "TunnelProxy.Ping", "params": {"timestamp": 5}}
        pipe.receive(slip(0, json.dumps(call).encode()))

    def assertGap(self, server: Pipe, *expected: bytes) -> None:
        """Nothing comes for a while, beginning now; then these, in this order, together."""
        self.clock.advance(0.015)
        self.assertEqual(server.take(), b"")
        self.clock.advance(0.006)
        sent = server.take()
        places = [sent.find(each) for each in expected]
        self.assertNotIn(-1, places)
        self.assertEqual(places, sorted(places))

    def test_clientInTheGap(self) -> None:
        """It is announced behind the gap; what it sends comes then, too."""
        server = self.serve("TCP")
        client = self.visit()
        client.receive(b"hello")
        self.assertEqual(client.producerState, "paused")
        self.assertGap(server, b"ClientConnected", b"hello")
        self.assertEqual(client.producerState, "producing")

    def test_callInTheGap(self) -> None:
        """The answer waits."""
        server = self.serve("TCP")
        self.ping(server)
        self.assertGap(server, b'"timestamp":5')

    def test_responseInTheBuffer(self) -> None:
        """The gap begins when the response has left."""
        server = self.serve("TCP", full=True)
        self.visit()
        self.clock.advance(1)
        server.drain()
        self.assertIn(b"slipEnabled", server.take())
        self.assertGap(server, b"ClientConnected")

    def test_blockedAgain(self) -> None:
        """What was held may be more than the server takes: then its clients are not read from."""
        server = self.serve("TCP")
        client = self.visit()
        client.receive(b"hello")
        server.full = True
        self.clock.advance(0.021)
        self.assertTrue(server.protocol.blocked)
        client.receive(b"more")
        self.assertEqual(client.producerState, "paused")

    def test_onceOnly(self) -> None:
        """Behind the gap everything goes out at once."""
        server = self.serve("TCP")
        self.clock.advance(0.021)
        self.visit()
        self.assertIn(b"ClientConnected", server.take())

    def test_notForWebSocket(self) -> None:
        """A message arrives by itself there."""
        server = self.serve("WebSocket")
        self.visit()
        self.assertIn(b"ClientConnected", server.take())

    def test_stoppedInTheGap(self) -> None:
        """What the server was to be told goes out before the goodbye."""
        server = self.serve("TCP")
        self.visit()
        self.proxy.registry.dismissal.dismissAll()
        self.assertIn(b"ClientConnected", server.take())
        self.assertTrue(server.halfClosed)

    def test_lostInTheGap(self) -> None:
        """Its client is told at once, and nothing is left behind."""
        server = self.serve("TCP")
        client = self.visit()
        server.lose(ConnectionLost())
        self.assertTrue(client.halfClosed)
        client.lose(ConnectionDone())
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LineEndTests(InMemory):
    """The line end of the last request is no payload."""

    def join(self, first: str, second: str, **params: str) -> tuple[Pipe, Pipe]:
        """Open a tunnel; the second client has not sent its line end yet."""
        one, two = self.open(first), self.open(second)
        self.authenticate(one)
        request = {"id": 1, "method": "Authentication.Authenticate"}
        request["params"] = {"token": "secret token"}
        two.receive(json.dumps(request).encode())
        self.clock.advance(0)
        one.clear()
        return one, two

    def test_late(self) -> None:
        for lineEnd in b"\n", b"\r\n":
            one, two = self.join("TCP", "TCP")
            two.receive(lineEnd)
            two.receive(b"payload")
            two.receive(b"\n")
            self.assertEqual(one.take(), b"payload\n")
            one.lose(ConnectionDone())
            two.lose(ConnectionDone())

    def test_never(self) -> None:
        one, two = self.join("TCP", "TCP")
        two.receive(b"\npayload")
        self.assertEqual(one.take(), b"\npayload")

    def test_tooLate(self) -> None:
        """A bare line end after a while is payload."""
        one, two = self.join("TCP", "TCP")
        self.clock.advance(LINE_END_TIMEOUT)
        two.receive(b"\n")
        self.assertEqual(one.take(), b"\n")

    def test_whileWaiting(self) -> None:
        pipe = self.open("TCP")
        pipe.receive(
            b'{"id":1,"method":"Authentication.Authenticate","params":{"token":"secret token"}}'
        )
        self.clock.advance(0)
        for space in b"\r\n", b"\n", b" ":
            pipe.receive(space)
            self.assertEqual(self.rendezvous.waiting, 1)
        pipe.receive(b"x")
        self.assertEqual(self.rendezvous.waiting, 0)
        pipe.lose(ConnectionDone())
        self.assertOutcomes(Outcome.DATA_BEFORE_TUNNEL)


class RefusalTests(InMemory):
    """A flood of refused connections is counted, and logged in sums."""

    bounds = Bounds(connections=1)

    def test_log(self) -> None:
        self.accept("TCP")
        for _ in range(3):
            self.assertIsNone(self.accept("TCP").protocol)
        self.assertOutcomesLogged(["connection-refused"])
        self.clock.advance(INTERVAL)
        self.assertOutcomesLogged(["connection-refused", "connections-refused"])
        self.assertEqual(self.events[-1]["count"], 2)
        self.assertIsNone(self.accept("TCP").protocol)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.proxy.registry.counters.outcomes[Outcome.TOO_MANY_CONNECTIONS], 4)

    def assertOutcomesLogged(self, names: list[str]) -> None:
        """Check the names of the events that were logged about refusals."""
        logged = [event["event"] for event in self.events if "refused" in event.get("event", "")]
        self.assertEqual(logged, names)


class TraceTests(InMemory):
    """Twice verbose shows the shape of the traffic and nothing of its content."""

    traceTraffic = True

    def test_shape(self) -> None:
        setVerbose(True)
        self.addCleanup(setVerbose, False)
        one, two = self.join("WebSocket", "TCP")
        one.receive(maskedFrame(2, b"content"))
        two.receive(b"content")
        shapes = [event["shape"] for event in self.events if "shape" in event]
        self.assertEqual(shapes, ["opcode 2, 7 bytes, last", "7 bytes"])
        for event in self.events:
            self.assertNotIn("secret", str(event))


class RegistrationTests(InMemory):
    """The switchboard takes its time, as one on another machine would."""

    def makeSwitchboard(self) -> Any:
        self.asked: list[Deferred[Place]] = []
        return self

    def register(self, registration: Registration, origin: Origin) -> Deferred[Place]:
        """Keep them waiting."""
        self.asked.append(Deferred())
        return self.asked[-1]

    def ask(self, kind: str) -> Pipe:
        """Let a client ask for a server."""
        pipe = self.open(kind)
        uuid, server = f"{1:032x}", f"{2:032x}"
        params = {
            "clientName": "",
            "clientUuid": str(UUID(uuid)),
            "serverUuid": str(UUID(server)),
        }
        self.call(pipe, "TunnelProxy.RegisterClient", **params)
        return pipe

    def test_notReadMeanwhile(self) -> None:
        """What comes meanwhile is left in the kernel, and what was read is not lost."""
        for kind in ("TCP", "WebSocket"):
            pipe = self.ask(kind)
            self.assertEqual(pipe.producerState, "paused")
            pipe.receive(maskedFrame(2, b"early") if kind == "WebSocket" else b"early")
            tunnel = Tunnel(lambda: None)
            far = Far()
            tunnel.attach(far)
            self.asked[-1].callback(Place(tunnel))
            self.assertEqual(pipe.producerState, "producing")
            self.assertIn(b"TunnelProxyErrorNoError", pipe.take())
            self.assertEqual(far.received, b"early")

    def test_refused(self) -> None:
        pipe = self.ask("TCP")
        self.asked[-1].errback(PlaceRefused(Outcome.SERVER_NOT_FOUND))
        self.assertEqual(pipe.producerState, "producing")
        self.assertIn(b"TunnelProxyErrorServerNotFound", pipe.take())
        self.assertTrue(pipe.halfClosed)

    def change(self, *_terms: object) -> None:
        """Nothing to change."""

    def test_notReadWhenItsAnswersLeave(self) -> None:
        """A client that takes its answers again is not read from for that."""
        pipe = self.ask("TCP")
        pipe.stall()
        pipe.drain()
        self.assertEqual(pipe.producerState, "paused")

    def test_leavesMeanwhile(self) -> None:
        """A place that is found too late is given up."""
        for kind in ("TCP", "WebSocket"):
            pipe = self.ask(kind)
            pipe.lose(ConnectionDone())
            released: list[bool] = []
            tunnel = Tunnel(lambda released=released: released.append(True))  # type: ignore[misc]
            far = Far()
            tunnel.attach(far)
            self.asked[-1].callback(Place(tunnel))
            self.assertEqual((released, far.outcome), ([True], Outcome.PARTNER_LEFT))

    def test_refusedTooLate(self) -> None:
        """Nobody is there to be told."""
        pipe = self.ask("TCP")
        pipe.lose(ConnectionDone())
        self.asked[-1].errback(PlaceRefused(Outcome.SERVER_NOT_FOUND))
        self.assertEqual(pipe.take(), b"")

    def test_failsTooLate(self) -> None:
        """A fault is in the log, although it harms nobody."""
        pipe = self.ask("TCP")
        pipe.lose(ConnectionDone())
        self.asked[-1].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_takesTooLong(self) -> None:
        pipe = self.ask("TCP")
        self.clock.advance(TIMING.inactive + 0.1)
        self.assertEqual(self.proxy.registry.counters.outcomes[Outcome.INACTIVE_TIMEOUT], 0)
        pipe.lose(ConnectionDone())
        self.assertEqual(self.proxy.registry.counters.outcomes[Outcome.INACTIVE_TIMEOUT], 1)


class Far(End):
    """A far end that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(Clock(), Origin(0))
        self.received = b""
        self.outcome: Outcome | None = None

    def sendBytes(self, data: bytes) -> None:
        self.received += data

    def pauseReading(self) -> None:
        """Nothing to pause."""

    def resumeReading(self) -> None:
        """Nothing to resume."""

    def finish(self, outcome: Outcome) -> None:
        self.outcome = outcome


class FaultTests(InMemory):
    """Faults of our own or of a backend end one connection, with a trace in the log."""

    def test_backendRaises(self) -> None:
        """Nobody is let in when the backend fails in a way it should not."""
        self.backend.answers = False
        pipe = self.open("TCP")
        self.authenticate(pipe)
        self.backend.pending[0].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(json.loads(pipe.take())["status"], "error")
        pipe.lose(ConnectionDone())
        self.assertOutcomes(Outcome.AUTHENTICATION_ERROR)

    def test_internalError(self) -> None:
        def broken(*_details: object) -> None:
            raise ZeroDivisionError

        self.rendezvous.join = broken  # type: ignore[method-assign, assignment]
        pipe = self.open("TCP")
        self.authenticate(pipe)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(pipe.lost)
        self.assertOutcomes(Outcome.INTERNAL_ERROR)

    def test_backendRaisesAtOnce(self) -> None:
        def broken(_token: str) -> Deferred[Verdict]:
            raise ZeroDivisionError

        self.backend.authenticate = broken  # type: ignore[method-assign]
        pipe = self.open("TCP")
        self.authenticate(pipe)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(json.loads(pipe.take())["status"], "error")

    def test_legCannotBeMade(self) -> None:
        """The partner is sent away, and the key is free again."""
        one, two = self.open("TCP"), self.open("TCP")
        self.authenticate(one)

        def broken(_needsGap: bool) -> None:
            raise ZeroDivisionError

        two.protocol.makeLeg = broken
        self.authenticate(two)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(two.lost)
        self.assertTrue(one.halfClosed)
        self.assertEqual(self.rendezvous.tunnels, 0)

    def test_metTooLate(self) -> None:
        """A meeting that comes when the client has left sends the partner away."""
        met: Deferred[Any] = Deferred(lambda _met: None)
        met.addErrback(lambda _cancelled: later)
        later: Deferred[Any] = Deferred()
        released: list[None] = []
        tunnel = Tunnel(lambda: released.append(None))
        self.rendezvous.join = lambda *_details: met  # type: ignore[method-assign]
        pipe = self.open("TCP")
        self.authenticate(pipe)
        pipe.lose(ConnectionDone())
        later.callback(Place(tunnel))
        self.assertEqual(len(released), 1)

    def test_partnersFault(self) -> None:
        """A fault on the way out of one client does not keep the other in the books."""
        one, two = self.join("TCP", "TCP")

        def broken() -> None:
            raise ZeroDivisionError

        two.loseWriteConnection = broken  # type: ignore[method-assign, assignment]
        self.assertRaises(ZeroDivisionError, one.lose, ConnectionDone())
        self.assertEqual(self.proxy.registry.gate.connections, 1)

    def test_shutDownInSpiteOfAFault(self) -> None:
        """What a fault left behind does not keep the process alive."""
        self.open("TCP")
        stopped = self.proxy.registry.dismissal.dismissAll()
        self.proxy.registry.gate.connections += 1
        for record in self.proxy.registry._records.values():
            record.client.abort = lambda: None
        self.proxy.registry.dismissal.abortAll()
        self.assertNoResult(stopped)
        self.clock.advance(ABORT_TIMEOUT)
        self.successResultOf(stopped)

    def test_rendezvousFails(self) -> None:
        met: Deferred[Any] = Deferred()
        self.rendezvous.join = lambda *_details: met  # type: ignore[method-assign]
        pipe = self.open("TCP")
        self.authenticate(pipe)
        met.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(pipe.lost)
