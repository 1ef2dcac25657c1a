"""Owns the checks of the pings that find half-open WebSocket clients."""

from __future__ import annotations

import struct
from dataclasses import replace

from twisted.internet.error import ConnectionDone

from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.wires import transports
from tests.support.inmemory import InMemory
from tests.support.wires import maskedFrame


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
        self.assertHeldUp(two)
        self.clock.advance(100)
        self.assertEqual(one.take(), b"")
        self.assertFalse(one.lost)
        one.drain()
        one.clear()
        self.clock.advance(30)
        self.assertEqual(one.take(), b"\x89\x00")

    def test_slowLine(self) -> None:
        """While what was sent before a ping arrives, the ping cannot be answered."""
        one, _two = self.join("WebSocket", "TCP")
        self.patch(transports.fcntl, "ioctl", lambda *_arguments: struct.pack("i", 3000))
        self.clock.advance(30)
        self.assertEqual(one.take(), b"\x89\x00")
        for one.arrived in (1000, 2000, 3000):
            self.clock.advance(10)
            self.assertFalse(one.lost)
        one.arrived += 1000  # of what was sent later
        self.clock.advance(10)
        self.assertTrue(one.lost)

    def test_notReadFrom(self) -> None:
        """A client that is not read from, since its partner is slow, cannot be heard."""
        one, two = self.join("WebSocket", "TCP")
        self.clock.advance(20)
        two.stall()
        self.assertHeldUp(one)
        self.clock.pump([10] * 10)
        self.assertEqual(one.take(), b"")
        two.drain()
        self.clock.pump([10] * 3)
        self.assertEqual(one.take(), b"\x89\x00")
        two.stall()
        self.assertHeldUp(one)
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
