"""Owns the checks of what stream clients get alone: the notification gap, and the last line end."""

from __future__ import annotations

import json
from uuid import UUID

from twisted.internet.error import ConnectionDone, ConnectionLost

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.wires.stream import LINE_END_TIMEOUT
from tests.support.inmemory import InMemory
from tests.support.memory import Pipe
from tests.support.wires import slip


class GapTests(InMemory):
    """Stream clients of API 0.3 get nothing together with the notification."""

    def test_gap(self) -> None:
        one, two = self.join("TCP", "TCP", uuid="2", name="two")
        self.assertEqual(two.producerState, "producing")
        self.assertGap(one)
        two.stall()
        self.assertHeldUp(one)

    def test_notificationInTheBuffer(self) -> None:
        """The gap begins when the notification has left."""
        one, two = self.open("TCP"), self.open("TCP")
        self.authenticate(one)
        two.full = True
        self.authenticate(two, uuid="2", name="two")
        self.clock.advance(1)
        self.assertHeldUp(one)
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
        self.assertHeldUp(partner)
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
        self.assertHeldUp(client)
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
        self.assertHeldUp(client)

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

    def test_standsStill(self) -> None:
        """It may have come while nobody read it."""
        self.noticeStandstills()
        one, two = self.join("TCP", "TCP")
        self.standStill(60)
        two.receive(b"\n")
        self.assertEqual(one.take(), b"")

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
