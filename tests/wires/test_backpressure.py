"""Owns the checks of what happens while a client does not read, and of what is held for it."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost

from nymearemoteproxy.wires.websocket import TEXT_TAIL_TIMEOUT
from tests.support.inmemory import InMemory
from tests.support.wires import maskedFrame


class BackPressureTests(InMemory):
    """Who does not read is not sent to, and in the end not read for."""

    def test_everyPair(self) -> None:
        for first in "WebSocket", "TCP":
            for second in "WebSocket", "TCP":
                one, two = self.join(first, second)
                two.stall()
                self.assertHeldUp(one)
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
                self.assertHeldUp(two)
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

    def test_standsStill(self) -> None:
        """The rest of it may have come meanwhile."""
        self.noticeStandstills()
        self.stream.receive(b"\xc3")
        self.standStill(60)
        self.stream.receive(b"\xbc")
        self.assertEqual(self.text.take(), b"\x81\x02\xc3\xbc")

    def test_notWhileBlocked(self) -> None:
        """The partner is not read from then, so it is not its fault that the rest is missing."""
        self.stream.receive(b"\xc3")
        self.text.stall()
        self.clock.pump([TEXT_TAIL_TIMEOUT] * 5)
        self.assertEqual(self.text.take(), b"")
        self.text.drain()
        self.stream.receive(b"\xbc")
        self.assertEqual(self.text.take(), b"\x81\x02\xc3\xbc")
