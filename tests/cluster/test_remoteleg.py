"""What a link carries between two clients, and what its own end means to them."""

from __future__ import annotations

import itertools
import os
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.far import foreignRecord
from nymearemoteproxy.cluster.links import Links
from nymearemoteproxy.cluster.liveness import HEARTBEAT
from nymearemoteproxy.cluster.remoteleg import RemoteLeg
from nymearemoteproxy.common.tally import INTERVAL
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.frames import FRAMES_AT_ONCE
from nymearemoteproxy.protocol.linkmessages import Far
from nymearemoteproxy.protocol.linkrecords import END, LOST, encodeBytes, encodeNotice
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.wires.direct import READ_SIZE, DirectTransport
from tests.support.clusters import InCluster
from tests.support.inmemory import TIMING
from tests.support.memory import Pipe
from tests.support.memorylinks import WINDOW, LinkPipe
from tests.support.parts import makeProxy
from tests.support.switchboards import FakeLeg
from tests.support.wires import maskedFrame, splitFrame

KINDS = ("WebSocket", "TCP")

PAIRS = tuple(itertools.product(KINDS, KINDS))


def frames(data: bytes) -> list[tuple[int, bool, bytes]]:
    """Return opcode, whether it is the last one of a message, and payload of each frame."""
    found = []
    while split := splitFrame(data):
        opcode, fin, payload, data = split
        found.append((opcode, fin, payload))
    assert not data, data
    return found


def closeOf(data: bytes) -> tuple[int, str] | None:
    """Return code and reason of the close frame at the end, if there is one."""
    opcode, _fin, payload = frames(data)[-1]
    return (int.from_bytes(payload[:2], "big"), payload[2:].decode()) if opcode == 8 else None


class Linked(InCluster):
    """Two clients in two members, and the link between them."""

    def setUp(self) -> None:
        super().setUp()
        self.kinds: dict[Pipe, str] = {}

    def pair(self, first: str, second: str) -> tuple[Pipe, Pipe]:
        """Open a tunnel."""
        one, two = self.join(first, second)
        self.kinds[one], self.kinds[two] = first, second
        return one, two

    def send(self, sender: Pipe, data: bytes) -> None:
        """Let a client send; a WebSocket client one binary message."""
        isWebSocket = self.kinds[sender] == "WebSocket"
        sender.receive(maskedFrame(2, data) if isWebSocket else data)

    def sent(self, data: bytes, receiver: Pipe) -> bytes:
        """Return the payload of what a client was sent."""
        if self.kinds[receiver] == "TCP":
            return data
        return b"".join(payload for opcode, _fin, payload in frames(data) if opcode < 8)

    def ends(self) -> list[LinkPipe]:
        """Return both ends of the links that carry a tunnel."""
        pipes = [pipe for node in self.nodes for pipe in node.pipes if not pipe.lost]
        return [pipe for pipe in pipes if isinstance(pipe.protocol, RemoteLeg)]

    def leg(self, number: int) -> Any:
        """Return the one end of the link that is in this member."""
        (pipe,) = [pipe for pipe in self.ends() if pipe.node is self.nodes[number]]
        return pipe.protocol

    def assertCutOff(self, client: Pipe, outcome: Outcome) -> None:
        """The client cannot take this for the end of what its partner has sent."""
        if self.kinds[client] == "WebSocket":
            self.assertEqual(closeOf(client.take()), (outcome.closeCode, outcome.reason))
            client.lose(ConnectionDone())
        else:
            self.assertTrue(client.lost)
            self.assertFalse(client.halfClosed or client.disconnecting)

    def assertNothingLeft(self) -> None:
        """No link, no tunnel, no place, and nothing that would happen later."""
        self.network.run()
        self.assertEqual(self.ends(), [])
        self.assertEqual(self.rendezvous.tunnels, 0)
        self.assertEqual([node.membership.places.held for node in self.nodes], [0, 0])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class CarryingTests(Linked):
    """What is relayed."""

    def test_bothWaysAndBlocked(self) -> None:
        """Who does not read holds up its partner; nothing grows, and nothing is lost."""
        for first, second in PAIRS:
            for turned in (False, True):
                clients = self.pair(first, second)
                sender, reader = reversed(clients) if turned else clients
                reader.full = True
                data = b""
                while sender.producerState == "producing":
                    more = os.urandom(20_000)
                    data += more
                    self.send(sender, more)
                    self.assertLess(len(data), WINDOW + 4 * READ_SIZE)
                self.assertGreater(len(data), WINDOW / 2)
                self.send(reader, b"the other way is free")
                self.assertIn(b"the other way is free", sender.take())
                reader.drain()
                self.assertEqual(sender.producerState, "producing")
                self.assertEqual(self.sent(reader.take(), reader), data)
                sender.lose(ConnectionDone())
                reader.lose(ConnectionDone())
                self.assertNothingLeft()

    def test_messages(self) -> None:
        """Types and boundaries stay, with fragments, pings between them, and of any size."""
        one, two = self.pair("WebSocket", "WebSocket")
        one.receive(maskedFrame(1, b"a", fin=False) + maskedFrame(9, b"?"))
        one.receive(maskedFrame(0, b"b", fin=False) + maskedFrame(0, b"") + maskedFrame(1, b""))
        self.assertEqual(one.take(), b"\x8a\x01?")
        heard = frames(two.take())
        expected = [(1, False, b"a"), (0, False, b"b"), (0, True, b""), (1, True, b"")]
        self.assertEqual(heard, expected)
        message = os.urandom(5_000_000)
        whole = maskedFrame(2, message)
        heard = []
        for start in range(0, len(whole), READ_SIZE):
            one.receive(whole[start : start + READ_SIZE])
            heard += frames(two.take())
        self.assertEqual([opcode for opcode, _fin, _payload in heard], [2] + [0] * (len(heard) - 1))
        self.assertEqual([fin for _opcode, fin, _payload in heard].index(True), len(heard) - 1)
        self.assertEqual(b"".join(payload for _opcode, _fin, payload in heard), message)

    def test_lastWordsToASlowReader(self) -> None:
        """They are behind what waits on the link, and its end behind them."""
        for first, second in PAIRS:
            one, two = self.pair(first, second)
            two.full = True
            data = os.urandom(WINDOW // 2)
            for start in range(0, len(data), READ_SIZE // 2):
                self.send(one, data[start : start + READ_SIZE // 2])
            if first == "WebSocket":
                one.receive(maskedFrame(8, b"\x03\xe8"))
            one.lose(ConnectionDone())
            self.clock.advance(2 * TIMING.close - 1)
            self.assertFalse(two.lost)
            two.drain()
            heard = two.take()
            self.assertEqual(self.sent(heard, two), data)
            if second == "WebSocket":
                self.assertEqual(closeOf(heard), (1000, "tunnel partner disconnected"))
            else:
                self.assertTrue(two.halfClosed)
            two.lose(ConnectionDone())
            self.assertNothingLeft()

    def test_neverReadsLastWords(self) -> None:
        """It has the time that it would have for them here, and then as long as a look takes."""
        for second in KINDS:
            one, two = self.pair("TCP", second)
            two.full = True
            data = bytes(WINDOW // 2)
            self.send(one, data)
            one.lose(ConnectionDone())
            two.full = True
            self.clock.advance(2 * TIMING.close + HEARTBEAT + 1)
            two.drain()
            if second == "TCP":
                self.assertTrue(two.lost)
            else:
                self.assertEqual(closeOf(two.take()), (1013, Outcome.LINK_LOST.reason))
                two.lose(ConnectionDone())
            self.assertNothingLeft()

    def test_halfClose(self) -> None:
        """Whoever has ended its stream still hears the answer."""
        one, two = self.pair("TCP", "TCP")
        self.send(one, b"question")
        self.network.act(one.protocol.readConnectionLost)
        self.assertEqual((two.take(), two.halfClosed), (b"question", True))
        self.send(two, b"answer")
        self.assertEqual((one.take(), one.halfClosed), (b"answer", False))
        self.network.act(two.protocol.readConnectionLost)
        self.assertTrue(two.disconnecting)
        two.lose(ConnectionDone())
        self.assertTrue(one.disconnecting)
        one.lose(ConnectionDone())
        self.assertNothingLeft()


class AloneTests(SynchronousTestCase):
    """One end of a link, as its tunnel and its transport see it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.closings = 0
        proxy = makeProxy(self.clock)
        self.links = Links(self.clock)
        self.record = foreignRecord(Far(7, "TCP", False, "", "", "", ""), 0.0, isNeighbour=True)
        self.early = encodeBytes(b"early")
        self.leg = RemoteLeg(
            proxy, self.links, b"member", self.record, True, self.early, self.closed
        )
        self.pipe = Pipe(UNIXAddress(None))
        self.pipe.protocol = direct = DirectTransport(self.leg)
        direct.makeConnection(self.pipe)
        self.tunnel = Tunnel(lambda: None)
        self.tunnel.attach(self.leg)

    def closed(self) -> None:
        """Count it."""
        self.closings += 1

    def attach(self) -> FakeLeg:
        """Attach the other side."""
        leg = FakeLeg()
        leg.record = None  # type: ignore[attr-defined]
        self.tunnel.attach(leg)
        return leg

    def test_begins(self) -> None:
        """It is read when there is somebody to pass that on to; then come early words first."""
        self.assertEqual(self.pipe.producerState, "paused")
        self.assertEqual(self.pipe.bufferSize, READ_SIZE)
        partner = self.attach()
        self.assertEqual(self.pipe.producerState, "producing")
        self.pipe.receive(encodeBytes(b" and late"))
        self.assertEqual(partner.take(), b"early and late")

    def test_counts(self) -> None:
        """What has passed on the link, in both directions, and the link itself."""
        partner = self.attach()
        self.assertEqual(self.links.incoming, 1)
        partner.receive(b"data")
        self.assertEqual(self.record.sent, len(self.pipe.take()))
        self.pipe.receive(encodeBytes(b"answer"))
        self.assertEqual(self.record.received, len(self.early + encodeBytes(b"answer")))
        self.pipe.lose(ConnectionLost())
        self.assertEqual((self.links.incoming, self.closings), (0, 1))

    def test_muchInOneRead(self) -> None:
        """The rest of it waits for its turn, and for a partner that takes nothing."""
        partner = self.attach()
        partner.room = 0
        sent = [b"%d" % number for number in range(3 * FRAMES_AT_ONCE)]
        self.pipe.receive(b"".join(map(encodeBytes, sent)))
        self.assertEqual(self.pipe.producerState, "paused")
        self.clock.advance(1)
        self.assertEqual(partner.take(), b"early" + b"".join(sent[:FRAMES_AT_ONCE]))
        partner.drain()
        self.clock.advance(0)
        self.assertEqual(partner.take(), b"".join(sent[FRAMES_AT_ONCE:]))
        self.assertEqual(self.pipe.producerState, "producing")

    def test_partnerLostWhileUnread(self) -> None:
        """It is read again: the other member has something to say, too."""
        partner = self.attach()
        self.leg.pauseReading()
        partner.leave()
        self.assertEqual(self.pipe.producerState, "producing")
        self.assertEqual(self.pipe.take(), encodeNotice(END) + encodeNotice(LOST))
        self.assertFalse(self.pipe.disconnecting)
        self.pipe.receive(encodeNotice(LOST))
        self.assertTrue(self.pipe.disconnecting)

    def test_fault(self) -> None:
        """A fault of ours in a later turn costs this tunnel."""
        partner = self.attach()
        self.pipe.receive(encodeBytes(b"data") * (2 * FRAMES_AT_ONCE))
        self.patch(partner, "sendBytes", lambda _data: 1 // 0)
        self.clock.advance(0)
        self.assertTrue(self.pipe.lost)
        self.assertIs(partner.outcome, Outcome.LINK_LOST)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class CutOffTests(Linked):
    """The link ends before both clients have."""

    def cut(self, how: str) -> None:
        """End the link: it is reset, or what it carries makes no sense."""
        near, far = self.ends()
        if how == "reset":
            near.other.isReset = far.other.isReset = True
            self.network.act(near.other.read)
            self.network.act(far.other.read)
        else:
            self.network.act(near.protocol.transport.write, b"\xff\xff")

    def test_cut(self) -> None:
        """Both clients are told so, whatever they are."""
        for first, second in PAIRS:
            for how in ("reset", "nonsense"):
                one, two = self.pair(first, second)
                self.send(one, b"data")
                self.assertIn(b"data", two.take())
                self.cut(how)
                self.assertCutOff(one, Outcome.LINK_LOST)
                self.assertCutOff(two, Outcome.LINK_LOST)
                if how == "nonsense":
                    self.clock.advance(INTERVAL)
                self.assertNothingLeft()
        count = 2 * len(PAIRS) * 2
        self.assertEqual(self.proxy.registry.counters.outcomes, {Outcome.LINK_LOST: count})

    def test_manyCut(self) -> None:
        """A member that is broken, or of another version, is in few lines of log."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        for _number in range(20):
            self.pair("TCP", "TCP")
            self.network.act(self.leg(0).transport.write, b"\xff\xff")
        self.assertEqual(self.nodes[1].membership.links.faults, 20)
        self.clock.advance(INTERVAL)
        texts = [text for event in events if "link" in (text := formatEvent(event))]
        told = [text for text in texts if "closed" in text]
        self.assertEqual(len(told), 2, told)
        self.assertIn(self.nodes[0].id.hex(), told[0])
        self.assertIn("19 more", told[1])

    def test_killed(self) -> None:
        """The system ends the links of a process that is killed as if all had been said."""
        for kind in KINDS:
            _one, two = self.pair("TCP", kind)
            self.leg(0).transport.lowest.getHandle().vanish()
            self.network.run()
            self.assertCutOff(two, Outcome.LINK_LOST)
            self.nodes[0].proxy.registry.dismissal.abortAll()

    def test_inTheMiddleOfAMessage(self) -> None:
        """What has come of it is not taken for a whole one."""
        one, two = self.pair("WebSocket", "WebSocket")
        one.receive(maskedFrame(2, bytes(1000))[:500])
        self.cut("reset")
        *parts, close = frames(two.take())
        self.assertTrue(all(not fin for _opcode, fin, _payload in parts))
        self.assertEqual(close[2][:2], (1013).to_bytes(2, "big"))

    def test_whileUnread(self) -> None:
        """A member that is gone is noticed within a heartbeat, although the link is not read."""
        for kind in KINDS:
            one, two = self.pair("TCP", kind)
            two.full = True
            self.assertHeldUp(one)
            first, second = self.ends()
            near = first if first.node is self.nodes[0] else second
            near.vanish()
            self.network.run()
            self.assertFalse(two.lost)
            self.clock.advance(HEARTBEAT)
            if kind == "TCP":
                self.assertTrue(two.lost)
            two.drain()
            if kind == "WebSocket":
                self.assertEqual(closeOf(two.take()), (1013, Outcome.LINK_LOST.reason))
            two.lose(ConnectionDone())
            self.assertEqual(
                self.nodes[1].proxy.registry.counters.outcomes.pop(Outcome.LINK_LOST), 1
            )
            self.nodes[0].proxy.registry.dismissal.abortAll()

    def test_behindTheEnd(self) -> None:
        """Who has said all it wanted to is not missed: its partner has it all."""
        one, two = self.pair("TCP", "TCP")
        self.send(one, b"last words")
        self.network.act(one.protocol.readConnectionLost)
        self.assertEqual((two.take(), two.halfClosed), (b"last words", True))
        self.cut("reset")
        self.assertFalse(two.lost)
        two.lose(ConnectionDone())
        self.assertTrue(one.lost, "its partner's answer may be lost in part")
        self.assertOutcomes(Outcome.CLIENT_LEFT, Outcome.PARTNER_LEFT)

    def test_endTwice(self) -> None:
        """A breach of the rules behind an end does not make it undone."""
        _one, two = self.pair("TCP", "TCP")
        self.network.act(self.leg(0).transport.write, encodeNotice(END) * 2)
        self.assertTrue(two.halfClosed)
        self.assertFalse(two.lost)
        logged = [event for event in self.events if "reason" in event and "member" in event]
        self.assertEqual([event["reason"] for event in logged], ["notice given twice"])


class ReasonTests(Linked):
    """Why a client is cut off, at the other end of a link."""

    def test_arrives(self) -> None:
        """With the reason, be it in time or when a slow client reads on."""
        for kind in KINDS:
            for isSlow in (False, True):
                one, two = self.pair("TCP", kind)
                if isSlow:
                    two.full = True
                    self.assertHeldUp(one)
                self.network.act(self.leg(0).cutOff, Outcome.CLIENT_TOO_SLOW)
                if isSlow:
                    self.assertFalse(two.lost)
                    two.drain()
                self.assertCutOff(two, Outcome.CLIENT_TOO_SLOW)
                outcomes = self.nodes[1].proxy.registry.counters.outcomes
                self.assertEqual(outcomes.pop(Outcome.CLIENT_TOO_SLOW), 1)
                one.lose(ConnectionDone())
                self.assertNothingLeft()

    def test_neverRead(self) -> None:
        """One that does not read on is cut off all the same, a little later."""
        for kind in KINDS:
            one, two = self.pair("TCP", kind)
            two.full = True
            self.assertHeldUp(one)
            self.network.act(self.leg(0).cutOff, Outcome.CLIENT_TOO_SLOW)
            one.lose(ConnectionLost())
            self.clock.advance(2 * TIMING.close + HEARTBEAT + 1)
            if kind == "WebSocket":
                self.clock.advance(2 * TIMING.close)
            self.assertTrue(two.lost)
            self.assertNothingLeft()

    def test_standsStill(self) -> None:
        """The time for it is not over because we could not see that it was used."""
        one, two = self.pair("TCP", "TCP")
        self.noticeStandstills()
        two.full = True
        self.assertHeldUp(one)
        self.network.act(self.leg(0).cutOff, Outcome.CLIENT_TOO_SLOW)
        self.standStill(2 * TIMING.close)
        self.assertEqual(len(self.ends()), 2)

    def test_afterTheEnd(self) -> None:
        """What was said to be the end, and is not, can only be cut."""
        one, two = self.pair("TCP", "TCP")
        two.full = True
        self.assertHeldUp(one)
        leg = self.leg(0)
        self.network.act(leg.finish, Outcome.PARTNER_LEFT)
        self.network.act(leg.cutOff, Outcome.INTERNAL_ERROR)
        self.clock.advance(HEARTBEAT + 1)
        self.assertTrue(two.lost)
        self.assertFalse(two.halfClosed)
