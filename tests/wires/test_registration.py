"""Owns the checks of a client that waits for the switchboard's answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from nymearemoteproxy.authentication.backend import Verdict
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import Registration
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.tunnelproxy.ends import End, Origin
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.inmemory import TIMING, InMemory
from tests.support.memory import Pipe
from tests.support.wires import maskedFrame


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

    def test_leavesInTheSameRead(self) -> None:
        """A farewell is behind what the client has sent, and waits for the answer as that does."""
        for isThere in (True, False):
            pipe = self.ask("WebSocket")
            pipe.receive(maskedFrame(2, b"last words") + maskedFrame(9, b"?") + maskedFrame(8, b""))
            self.assertFalse(pipe.disconnecting)
            if isThere:
                released: list[bool] = []
                tunnel = Tunnel(lambda released=released: released.append(True))  # type: ignore[misc]
                far = Far()
                tunnel.attach(far)
                self.asked[-1].callback(Place(tunnel))
                self.assertEqual(far.received, b"last words")
                self.assertEqual((released, far.outcome), ([True], Outcome.PARTNER_LEFT))
                self.assertEqual(pipe.take()[-5:], b"\x8a\x01?\x88\x00")
            else:
                self.asked[-1].errback(PlaceRefused(Outcome.SERVER_NOT_FOUND))
                self.assertIn(b"TunnelProxyErrorServerNotFound", pipe.take())
            self.assertTrue(pipe.disconnecting)

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

    def test_farEndFails(self) -> None:
        """A fault of ours when the tunnel begins: that is how the connection ends."""
        pipe = self.ask("TCP")
        released: list[bool] = []
        tunnel = Tunnel(lambda: released.append(True))
        tunnel.attach(Broken())
        self.asked[-1].callback(Place(tunnel))
        self.assertEqual((pipe.lost, released), (True, [True]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertOutcomes(Outcome.INTERNAL_ERROR)

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


class VerdictTests(InMemory):
    """The backend takes its time before anybody is registered."""

    terms = Terms()

    def setUp(self) -> None:
        super().setUp()
        self.proxy.policy = replace(self.proxy.policy, proven=(Role.SERVER,))
        self.backend.answers = False

    def ask(self, kind: str) -> Pipe:
        """Let a server ask to be registered, and the backend be asked."""
        pipe = self.open(kind)
        params = {"serverName": "", "serverUuid": str(UUID(int=1)), "token": "t"}
        self.call(pipe, "TunnelProxy.RegisterServer", **params)
        self.clock.advance(0)
        return pipe

    def test_notReadMeanwhile(self) -> None:
        """What comes meanwhile is left in the kernel, also when the client reads its answers."""
        for kind in ("TCP", "WebSocket"):
            pipe = self.ask(kind)
            self.assertEqual(pipe.producerState, "paused")
            pipe.stall()
            pipe.drain()
            self.assertEqual(pipe.producerState, "paused")
            self.backend.pending.pop().callback(Verdict(True))
            self.assertEqual(pipe.producerState, "producing")
            self.assertIn(b"TunnelProxyErrorNoError", pipe.take())
            pipe.lose(ConnectionDone())

    def test_refused(self) -> None:
        """It is read again then, until it has left."""
        for kind in ("TCP", "WebSocket"):
            pipe = self.ask(kind)
            self.backend.pending.pop().callback(Verdict(False))
            self.assertIn(b"AuthenticationErrorAuthenticationFailed", pipe.take())
            self.assertEqual(pipe.producerState, "producing")

    def test_late(self) -> None:
        """The time is that of Authenticate, not what is left of another."""
        pipe = self.ask("TCP")
        self.clock.advance(TIMING.authentication - 0.1)
        self.assertEqual(pipe.take(), b"")
        self.clock.advance(0.2)
        self.assertIn(b"AuthenticationErrorTimeout", pipe.take())
        self.assertTrue(self.backend.pending[0].called, "given up")

    def test_leavesMeanwhile(self) -> None:
        """The question is given up."""
        for kind in ("TCP", "WebSocket"):
            pipe = self.ask(kind)
            pipe.lose(ConnectionDone())
            self.assertTrue(self.backend.pending.pop().called, "given up")
            self.assertEqual(self.proxy.switchboard.servers, 0)


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


class Broken(Far):
    """A far end that does not work."""

    def open(self, partner: Any) -> None:
        raise ZeroDivisionError
