"""Who comes again while its old connection is still there, or seems to be; in memory."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ConnectionLost
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from nymearemoteproxy.common import turns
from nymearemoteproxy.connections.presence import INTERVAL, LOOKS, TOLD_A_TURN
from nymearemoteproxy.protocol.frames import PARTS_AT_ONCE
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.wires.transports import askTcp, tuneTcp
from tests.support.inmemory import TIMING, InMemory
from tests.support.memory import Guest, Pipe, oneTurn
from tests.support.observed import ProxyCase
from tests.support.wires import maskedFrame, reactor

PING = b"\x89\x00"
PONG = maskedFrame(10, b"")


class ClashCase(InMemory):
    """Two connections claim to be the same client."""

    terms = Terms()

    def setUp(self) -> None:
        super().setUp()
        timing = replace(TIMING, inactive=8)
        self.proxy.policy = replace(self.proxy.policy, timing=timing)

    def answer(self, kind: str, pipe: Pipe) -> None:
        """Let the client's side answer what it was asked."""
        if kind == "WebSocket":
            pipe.receive(PONG)
        else:
            pipe.lastAck = 0
        self.clock.advance(0.06)

    def assertAsked(self, kind: str, pipe: Pipe) -> None:
        """A WebSocket client is asked by a ping; of a stream client nobody sees it here."""
        self.assertEqual(pipe.take(), PING if kind == "WebSocket" else b"")
        self.assertFalse(pipe.lost)


class AnswerTests(ProxyCase):
    """What is told to whoever wants to know whether a client is there."""

    def look(self, ask: Callable[[], Any]) -> tuple[Guest, Deferred[bool]]:
        """Ask a client."""
        guest = Guest(self.proxy)
        guest.ask = ask  # type: ignore[attr-defined]
        return guest, self.proxy.registry.presence.look(guest.record)

    def test_gone(self) -> None:
        """It left while it was asked."""
        guest, known = self.look(lambda: lambda: False)
        self.assertNoResult(known)
        guest.leave()
        self.clock.advance(0)
        self.assertIs(self.successResultOf(known), False)

    def test_fault(self) -> None:
        """It counts as there if a fault of ours keeps it from being asked."""
        for ask in (lambda: 1 // 0, lambda: lambda: 1 // 0):
            _guest, known = self.look(ask)
            self.clock.advance(INTERVAL)
            self.assertIs(self.successResultOf(known), True)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class PartnerTests(ClashCase):
    """Clients that wait for their partner."""

    def wait(self, kind: str) -> Pipe:
        """Let the client come, always as the same one."""
        pipe = self.open(kind)
        self.authenticate(pipe, uuid="1", name="one")
        self.assertIn(b"NoError", pipe.take())
        return pipe

    def test_dead(self) -> None:
        """Only the old connection goes; the new one meets the partner."""
        for kind in ("WebSocket", "TCP"):
            old, new = self.wait(kind), self.wait(kind)
            self.assertAsked(kind, old)
            self.clock.pump([INTERVAL] * (LOOKS - 1))
            self.assertFalse(old.lost)
            self.clock.advance(INTERVAL)
            self.assertTrue(old.lost)
            self.assertEqual(self.proxy.registry.counters.outcomes.pop(Outcome.PING_TIMEOUT), 1)
            partner = self.open("TCP")
            self.authenticate(partner, uuid="2", name="two")
            self.assertIn(b"TunnelEstablished", new.take())
            new.lose(ConnectionError())

    def test_standstill(self) -> None:
        """Time that passed while nothing could be read is not the client's."""
        for kind in ("WebSocket", "TCP"):
            old, new = self.wait(kind), self.wait(kind)
            self.clock.advance(4)  # their own time to be inactive is 8
            self.assertFalse(old.lost)
            self.answer(kind, old)
            for pipe in (old, new):
                pipe.lose(ConnectionError())
            self.assertEqual(self.proxy.registry.counters.outcomes.pop(Outcome.DUPLICATE_UUID), 2)

    def test_alive(self) -> None:
        """Both are refused, as soon as it is known."""
        for kind in ("WebSocket", "TCP"):
            old, new = self.wait(kind), self.wait(kind)
            self.assertAsked(kind, old)
            self.answer(kind, old)
            for pipe in (old, new):
                pipe.lose(ConnectionError())
            self.assertEqual(self.proxy.registry.counters.outcomes.pop(Outcome.DUPLICATE_UUID), 2)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unix(self) -> None:
        """There the end of a connection is known at once: it is alive."""
        old, new = self.accept("unix"), self.accept("unix")
        for pipe in (old, new):
            self.authenticate(pipe, uuid="1", name="one")
        self.clock.advance(0.06)
        for pipe in (old, new):
            pipe.lose(ConnectionError())
        self.assertEqual(self.proxy.registry.counters.outcomes[Outcome.DUPLICATE_UUID], 2)

    def test_gone(self) -> None:
        """Of one that has left it is known at once."""
        pipe = self.wait("TCP")
        (record,) = self.proxy.registry.records
        pipe.lose(ConnectionError())
        self.assertIs(self.successResultOf(self.proxy.registry.presence.look(record)), False)

    def test_takesNothing(self) -> None:
        """One that does not take its answers would not get a ping: TCP is asked."""
        old = self.wait("WebSocket")
        old.stall()
        old.lastAck = 0
        new = self.wait("TCP")
        self.clock.advance(0.06)
        self.assertEqual(old.take(), b"")
        self.assertTrue(new.halfClosed)

    def test_leavesMeanwhile(self) -> None:
        """Nothing is left of it."""
        old, new = self.wait("TCP"), self.wait("TCP")
        old.lose(ConnectionError())
        new.lose(ConnectionError())
        self.clock.advance(0.06)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.rendezvous.waiting, 0)


class RegistrationTests(ClashCase):
    """Servers and clients of the tunnel proxy."""

    SERVER, CLIENT = str(UUID(int=7)), str(UUID(int=8))

    def serve(self, kind: str) -> Pipe:
        """Let the server come."""
        pipe = self.open(kind)
        self.call(pipe, "TunnelProxy.RegisterServer", serverName="s", serverUuid=self.SERVER)
        return pipe

    def visit(self, kind: str) -> Pipe:
        """Let the client come."""
        pipe = self.open(kind)
        uuids = {"clientUuid": self.CLIENT, "serverUuid": self.SERVER}
        self.call(pipe, "TunnelProxy.RegisterClient", clientName="c", **uuids)
        return pipe

    def test_deadServer(self) -> None:
        """The new connection is registered, after the old one has gone with its clients."""
        for kind in ("WebSocket", "TCP"):
            old = self.serve(kind)
            client = self.visit("TCP")
            self.clock.advance(1)
            old.take()
            new = self.serve(kind)
            self.assertAsked(kind, old)
            self.assertEqual(new.take(), b"")
            self.clock.pump([INTERVAL] * LOOKS)
            self.assertTrue(old.lost)
            self.assertIn(b"TunnelProxyErrorNoError", new.take())
            self.assertTrue(client.halfClosed)
            client.lose(ConnectionError())
            new.lose(ConnectionError())

    def test_aliveServer(self) -> None:
        """The older one stays, and is looked after as before."""
        for kind in ("WebSocket", "TCP"):
            old = self.serve(kind)
            self.clock.advance(1)
            old.take()
            new = self.serve(kind)
            self.assertAsked(kind, old)
            self.answer(kind, old)
            self.assertIn(b"AlreadyRegistered", new.take())
            self.assertFalse(old.lost)
            new.lose(ConnectionError())
            old.lose(ConnectionError())

    def test_manyAtOnce(self) -> None:
        """One answer is enough for all who want to be the same server; the server is asked once."""
        old = self.serve("WebSocket")
        self.clock.advance(1)
        old.take()
        new = [self.serve("TCP") for _ in range(3)]
        self.assertAsked("WebSocket", old)
        self.answer("WebSocket", old)
        for pipe in new:
            self.assertIn(b"AlreadyRegistered", pipe.take())

    def test_firstOfManyRegisters(self) -> None:
        """When the old one is dead, one of them has its place."""
        self.serve("WebSocket")
        new = [self.serve("TCP") for _ in range(3)]
        self.clock.pump([0.06] * 60)
        answers = [pipe.take() for pipe in new]
        self.assertEqual([b"NoError" in each for each in answers], [True, False, False])

    def test_deadClient(self) -> None:
        """The server sees the old one go, and then the new one come."""
        server = self.serve("WebSocket")
        old = self.visit("TCP")
        server.take()
        new = self.visit("TCP")
        self.clock.pump([0.06] * 60)
        self.assertTrue(old.lost)
        self.assertIn(b"NoError", new.take())
        told = server.take()
        gone, come = told.find(b"ClientDisconnected"), told.find(b"ClientConnected")
        self.assertTrue(0 <= gone < come, told)

    def test_aliveClient(self) -> None:
        """The new one is refused."""
        self.serve("WebSocket")
        old = self.visit("WebSocket")
        new = self.visit("WebSocket")
        self.answer("WebSocket", old)
        self.assertIn(b"AlreadyRegistered", new.take())
        self.assertFalse(old.lost)

    def test_notReadFrom(self) -> None:
        """A client whose server is slow cannot be heard: TCP tells whether it is there."""
        server = self.serve("WebSocket")
        old = self.visit("WebSocket")
        server.stall()
        old.receive(maskedFrame(2, b"payload"))
        self.assertHeldUp(old)
        old.take()
        old.lastAck = 0
        new = self.visit("WebSocket")
        self.assertEqual(old.take(), b"")
        self.clock.advance(0.06)
        self.assertIn(b"AlreadyRegistered", new.take())

    def test_takesNothing(self) -> None:
        """TCP asks such a one seldom; as long as it answered the last time, it is there."""
        for unacked, probes, isThere in ((0, 0, True), (0, 1, True), (0, 2, False), (3, 0, False)):
            old = self.serve("TCP")
            self.clock.advance(1)
            old.stall()
            old.unsent, old.unacked, old.probes = 5000, unacked, probes
            new = self.serve("TCP")
            self.clock.pump([0.06] * 60)
            self.assertEqual(b"AlreadyRegistered" in new.take(), isThere, (unacked, probes))
            self.assertEqual(old.lost, not isThere)
            old.lose(ConnectionError())
            new.lose(ConnectionError())

    def test_noPong(self) -> None:
        """It may wait behind much else: whoever TCP can reach stays, until the ping is overdue."""
        old = self.serve("WebSocket")
        self.clock.advance(1)
        old.take()
        old.lastAck = 0
        new = self.serve("TCP")
        self.assertEqual(old.take(), PING)
        self.clock.advance(0.06)
        self.assertIn(b"AlreadyRegistered", new.take())
        self.assertFalse(old.lost)
        self.clock.advance(TIMING.pingAnswer)
        self.assertEqual(self.proxy.registry.counters.outcomes[Outcome.PING_TIMEOUT], 1)
        self.assertIn(b"NoError", self.serve("TCP").take())

    def test_deadInLine(self) -> None:
        """One that is reset with much unread gives its place up when that is looked at."""
        self.patch(turns, "TURN", 0)
        for goodbye in (b"", b"\xf0\x80\0\0\0\0", maskedFrame(8, b"")):
            old = self.serve("WebSocket")
            old.receive(maskedFrame(9, b"") * (5 * PARTS_AT_ONCE) + goodbye)
            old.lose(ConnectionLost())
            new = self.serve("TCP")
            for _ in range(10):
                oneTurn(self.clock)
            self.clock.advance(0.06)
            self.assertIn(b"NoError", new.take())
            new.lose(ConnectionLost())
            self.assertEqual(list(self.proxy.registry.records), [])

    def test_cannotBeAsked(self) -> None:
        """A fault of ours gives nobody's place away, at the beginning or later."""
        old = self.serve("WebSocket")
        for ask in (lambda: 1 // 0, lambda: lambda: 1 // 0):
            self.patch(old.protocol.__class__, "ask", lambda _leg, ask=ask: ask())
            new = self.serve("TCP")
            self.clock.advance(0.06)
            self.assertIn(b"AlreadyRegistered", new.take())
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_toldInTurns(self) -> None:
        """However many claim to be the same, they are refused a few at a time."""
        old = self.serve("WebSocket")
        self.clock.advance(1)
        new = [self.serve("TCP") for _ in range(3 * TOLD_A_TURN)]
        self.patch(turns, "TURN", 0)
        old.receive(PONG)
        self.clock.rightNow += 0.06
        told = []
        for _ in range(3):
            oneTurn(self.clock)
            told.append(sum(b"AlreadyRegistered" in pipe.take() for pipe in new))
        self.assertEqual(told, [TOLD_A_TURN] * 3)

    def test_goneInTheSameTurn(self) -> None:
        """Whoever comes when the connection has just been closed is let in."""
        self.serve("TCP").lose(ConnectionError())
        self.assertIn(b"NoError", self.serve("WebSocket").take())


class AskTcpTests(TestCase):
    """A real connection."""

    def setUp(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            self.ours, _address = server.accept()
        self.addCleanup(client.close)
        self.addCleanup(self.ours.close)
        self.transport: Any = SimpleNamespace(lowest=SimpleNamespace(getHandle=lambda: self.ours))
        tuneTcp(self.transport, TIMING.ping, TIMING.pingAnswer)

    @inlineCallbacks
    def answer(self) -> Any:
        """Ask, and wait for the answer; trial's time limit is long enough."""
        hasAnswered = askTcp(self.transport, reactor, TIMING.ping, TIMING.pingAnswer)
        while not hasAnswered():
            yield deferLater(reactor, 0.05)
        return self.ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)

    @inlineCallbacks
    def test_alive(self) -> Any:
        """The other end's system answers; afterwards the probes are as rare as before."""
        hasAnswered = askTcp(self.transport, reactor, TIMING.ping, TIMING.pingAnswer)
        self.assertFalse(hasAnswered())
        self.assertEqual((yield self.answer()), TIMING.ping)

    def test_closed(self) -> None:
        """Whoever asked hears of it in another way."""
        hasAnswered = askTcp(self.transport, reactor, TIMING.ping, TIMING.pingAnswer)
        self.ours.close()
        self.assertFalse(hasAnswered())

    @inlineCallbacks
    def test_takesNothing(self) -> Any:
        """A program that does not read is there, although nobody asks its system any more."""
        self.ours.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.ours.send(bytes(1 << 16))
        self.assertEqual((yield self.answer()), TIMING.ping)
