"""Owns the checks of the deadlines: each phase has one, and what follows on it."""

from __future__ import annotations

import json

from twisted.internet.error import ConnectionDone, ConnectionLost

from nymearemoteproxy.protocol.outcomes import Outcome
from tests.support.inmemory import UPGRADE, InMemory
from tests.support.wires import maskedFrame, splitFrame


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
        self.assertIn("took too long", response["error"])
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
