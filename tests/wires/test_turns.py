"""What waits in the line of those who have more to do than one turn allows, on the wires."""

from __future__ import annotations

import json

from twisted.internet.error import ConnectionDone, ConnectionLost

from nymearemoteproxy.common import turns
from nymearemoteproxy.protocol.frames import FRAMES_AT_ONCE, PARTS_AT_ONCE, FrameReader
from nymearemoteproxy.protocol.jsonrpc import CALLS_A_TURN
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import State
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.wires.direct import FIRST_READ_SIZE, READ_SIZE
from tests.support.inmemory import TIMING, InMemory
from tests.support.memory import Pipe, oneTurn
from tests.support.wires import maskedFrame, splitFrame


class Turnwise(InMemory):
    """A proxy, one piece of work a turn."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(turns, "TURN", 0)

    def turn(self, times: int = 1) -> None:
        """Let so many turns pass."""
        for _ in range(times):
            oneTurn(self.clock)

    def settle(self) -> None:
        """All is done that does not have to wait for others."""

    def isRead(self, pipe: Pipe) -> bool:
        """Tell whether more is read from a client."""
        return pipe.producerState == "producing"


def call(method: str, number: int = 1, **params: str) -> bytes:
    """Return a request."""
    return json.dumps({"id": number, "method": method, "params": params}).encode()


def calls(kind: str, count: int) -> bytes:
    """Return so many calls with ids from 0 on, as such a client sends them."""
    made = [call("RemoteProxy.Hello", number) for number in range(count)]
    return b"".join(maskedFrame(1, each) if kind == "WebSocket" else each for each in made)


AUTHENTICATE = call("Authentication.Authenticate", token="secret token")


def payloads(pipe: Pipe) -> list[tuple[int, bytes]]:
    """Return opcode and payload of the frames that a client was sent."""
    data, found = pipe.take(), []
    while split := splitFrame(data):
        opcode, _fin, payload, data = split
        found.append((opcode, payload))
    assert not data, data
    return found


class BeforeTheTunnelTests(Turnwise):
    """One read may hold many calls, pings and frames."""

    def answered(self, kind: str, pipe: Pipe) -> list[int]:
        """Return the ids of the answers a client was sent."""
        if kind == "WebSocket":
            return [json.loads(payload)["id"] for _opcode, payload in payloads(pipe)]
        return [json.loads(line)["id"] for line in pipe.take().split(b"\n")[:-1]]

    def test_smallReads(self) -> None:
        """Before the tunnel little is read at a time."""
        pipe = self.accept("TCP")
        self.assertEqual(pipe.bufferSize, FIRST_READ_SIZE)
        self.assertLess(FIRST_READ_SIZE, 10240)
        one, two = self.join("TCP", "WebSocket")
        self.assertEqual((one.bufferSize, two.bufferSize), (READ_SIZE, READ_SIZE))

    def test_calls(self) -> None:
        """Some are answered at once, others in later turns; meanwhile nothing more is read."""
        for kind in "TCP", "WebSocket":
            pipe = self.open(kind)
            count = 3 * CALLS_A_TURN + 1
            pipe.receive(calls(kind, count))
            answered: list[int] = []
            for due in range(CALLS_A_TURN, count, CALLS_A_TURN):
                answered += self.answered(kind, pipe)
                self.assertEqual(answered, list(range(due)))
                self.assertFalse(self.isRead(pipe))
                self.turn()
            answered += self.answered(kind, pipe)
            self.assertEqual(answered, list(range(count)))
            self.assertTrue(self.isRead(pipe))

    def test_othersFirst(self) -> None:
        """Two floods are answered in turn, and whoever asks little is answered at once."""
        pipes = [self.open("TCP"), self.open("WebSocket")]
        for kind, pipe in zip(("TCP", "WebSocket"), pipes, strict=True):
            pipe.receive(calls(kind, 20 * CALLS_A_TURN))
            self.answered(kind, pipe)
        for _ in range(3):
            self.turn(2)
            modest = self.open("TCP")
            self.call(modest, "RemoteProxy.Hello")
            self.assertEqual(self.answered("TCP", modest), [1])
            for kind, pipe in zip(("TCP", "WebSocket"), pipes, strict=True):
                self.assertEqual(len(self.answered(kind, pipe)), CALLS_A_TURN)

    def test_answersUnread(self) -> None:
        """A client that does not read its answers has no turn until it does."""
        for kind in "TCP", "WebSocket":
            pipe = self.open(kind)
            pipe.receive(calls(kind, 3 * CALLS_A_TURN))
            pipe.clear()
            pipe.stall()
            self.turn(5)
            self.assertFalse(self.isRead(pipe))
            self.assertEqual(pipe.take(), b"")
            pipe.drain()
            self.turn(5)
            self.assertTrue(self.isRead(pipe))
            self.assertEqual(self.answered(kind, pipe), list(range(CALLS_A_TURN, 3 * CALLS_A_TURN)))

    def test_callsBeforeAClose(self) -> None:
        """All are answered, then the end is: a close frame, or one for what broke the protocol."""
        for goodbye, code in ((maskedFrame(8, b"\x03\xe8"), 1000), (b"\x83\x80", 1002)):
            pipe = self.open("WebSocket")
            pipe.receive(calls("WebSocket", 3 * CALLS_A_TURN) + goodbye)
            self.turn(10)
            *answers, (opcode, close) = payloads(pipe)
            numbers = [json.loads(payload)["id"] for _opcode, payload in answers]
            self.assertEqual(numbers, list(range(3 * CALLS_A_TURN)))
            self.assertEqual((opcode, int.from_bytes(close[:2], "big")), (8, code))

    def test_dataOfABlockedClient(self) -> None:
        """It closes the client, also when that does not read what it is sent."""
        pipe = self.open("WebSocket")
        pipe.stall()
        pings = maskedFrame(9, b"") * (3 * PARTS_AT_ONCE)
        pipe.receive(maskedFrame(1, AUTHENTICATE) + pings + maskedFrame(1, b"early"))
        pipe.drain()  # as for that one call; the rest has not been looked at
        pipe.stall()
        self.turn(10)
        self.assertEqual(self.rendezvous.waiting, 0)
        pipe.lose(ConnectionDone())
        self.assertEqual(self.proxy.registry.counters.outcomes[Outcome.DATA_BEFORE_TUNNEL], 1)

    def test_faultInALaterTurn(self) -> None:
        """A fault of ours costs the connection, in whatever turn it happens."""
        for kind in "TCP", "WebSocket":
            pipe = self.open(kind)
            pipe.receive(calls(kind, 2 * CALLS_A_TURN))
            self.patch(pipe.protocol, "take", lambda: 1 // 0)
            self.turn()
            self.assertTrue(pipe.lost)
            self.assertEqual(self.proxy.registry.counters.outcomes.pop(Outcome.INTERNAL_ERROR), 1)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_deadline(self) -> None:
        """A call that has waited for its turn starts the time anew like any other."""
        pipe = self.open("TCP")
        pipe.receive(calls("TCP", CALLS_A_TURN + 1))
        self.clock.rightNow += TIMING.inactive - 0.1
        self.turn(3)
        self.clock.advance(TIMING.inactive - 0.1)
        self.assertFalse(pipe.halfClosed)
        self.clock.advance(0.2)
        self.assertTrue(pipe.halfClosed)

    def test_deadlineInLine(self) -> None:
        """Who is told goodbye while it waits is answered nothing more."""
        for kind in "TCP", "WebSocket":
            pipe = self.open(kind)
            pipe.receive(calls(kind, 3 * CALLS_A_TURN))
            pipe.clear()
            pipe.protocol.deadlinePassed()
            goodbye = pipe.take()
            self.turn(5)
            self.assertTrue(self.isRead(pipe))
            self.assertEqual(pipe.take(), b"")
            self.assertEqual(goodbye[:1], b"\x88" if kind == "WebSocket" else b"")
            pipe.lose(ConnectionDone())

    def test_goneInLine(self) -> None:
        """Nothing is left of one that is gone."""
        for kind in "TCP", "WebSocket":
            pipe = self.open(kind)
            pipe.receive(calls(kind, 3 * CALLS_A_TURN))
            pipe.lose(ConnectionLost())
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_dataBehindManyCalls(self) -> None:
        """Data behind Authenticate closes the client, in whatever turn that is read."""
        for kind in "TCP", "WebSocket":
            data = (
                AUTHENTICATE + b"x"
                if kind == "TCP"
                else maskedFrame(1, AUTHENTICATE) + maskedFrame(1, b"x")
            )
            for count in range(3 * CALLS_A_TURN):
                waiting = self.rendezvous.waiting
                pipe = self.open(kind)
                pipe.receive(calls(kind, count) + data)
                self.turn(10)
                self.assertIs(pipe.phase.record.outcome, Outcome.DATA_BEFORE_TUNNEL)
                self.assertEqual(self.rendezvous.waiting, waiting)

    def test_dataBehindManyPings(self) -> None:
        """So it is behind pings; before all is looked at the token is not checked."""
        self.backend.answers = False
        pings = maskedFrame(9, b"?") * (3 * PARTS_AT_ONCE)
        pipe = self.open("WebSocket")
        pipe.receive(maskedFrame(1, AUTHENTICATE) + pings + maskedFrame(1, b"x"))
        self.assertIs(pipe.protocol.session.state, State.AUTHENTICATING)
        self.turn(10)
        self.assertIs(pipe.phase.record.outcome, Outcome.DATA_BEFORE_TUNNEL)
        self.assertEqual(self.backend.pending, [])
        pipe = self.open("WebSocket")
        pipe.receive(maskedFrame(1, AUTHENTICATE) + pings)
        self.turn(10)
        self.assertEqual(len(self.backend.pending), 1)

    def test_pings(self) -> None:
        """Of the pings that are looked at together the last one is answered."""
        pipe = self.open("WebSocket")
        pings = [b"%d" % number for number in range(2 * PARTS_AT_ONCE + 3)]
        pipe.receive(b"".join(maskedFrame(9, ping) for ping in pings))
        self.assertEqual(payloads(pipe), [(10, pings[PARTS_AT_ONCE - 1])])
        self.assertFalse(self.isRead(pipe))
        self.turn()
        self.assertEqual(payloads(pipe), [(10, pings[2 * PARTS_AT_ONCE - 1])])
        self.turn(2)
        self.assertEqual(payloads(pipe), [(10, pings[-1])])
        self.assertTrue(self.isRead(pipe))

    def test_pingBeforeAFarewell(self) -> None:
        """It is answered although the client says goodbye in the same breath."""
        pipe = self.open("WebSocket")
        pipe.receive(maskedFrame(9, b"a") + maskedFrame(9, b"b") + maskedFrame(8, b""))
        self.assertEqual(payloads(pipe), [(10, b"b"), (8, b"\x03\xe8")])
        self.assertTrue(pipe.disconnecting)

    def test_farewellBehindPings(self) -> None:
        """A close frame behind them is seen when its turn comes."""
        pipe = self.open("WebSocket")
        pipe.receive(maskedFrame(9, b"") * (2 * PARTS_AT_ONCE) + maskedFrame(8, b""))
        self.assertFalse(pipe.disconnecting)
        self.turn(3)
        self.assertTrue(pipe.disconnecting)

    def test_floodAfterOurFarewell(self) -> None:
        """What is dropped is dropped in turns, too, and is not collected."""
        pipe = self.open("WebSocket")
        pipe.receive(maskedFrame(1, b"garbage"))
        flood = maskedFrame(9, b"") * 1000
        for _ in range(3):
            pipe.receive(flood)
            self.assertFalse(self.isRead(pipe))
            self.turn(20)
            self.assertTrue(self.isRead(pipe))
        pipe.receive(flood + maskedFrame(8, b""))
        self.assertFalse(pipe.disconnecting)
        self.turn(20)
        self.assertTrue(pipe.disconnecting)

    def test_floodAfterOurFarewellWhileBlocked(self) -> None:
        """So it is when it had stopped reading before."""
        pipe = self.open("WebSocket")
        pipe.stall()
        pipe.protocol.deadlinePassed()
        for _ in range(3):
            pipe.receive(maskedFrame(9, b"") * 1000)
            self.assertFalse(self.isRead(pipe))
            self.turn(20)
            self.assertTrue(self.isRead(pipe))
            self.assertFalse(pipe.phase.holdsMore())


class InTheTunnelTests(Turnwise):
    """One read may hold thousands of small messages and pings."""

    def assertHeldBack(self, sender: Pipe) -> None:
        """It has sent what its partner does not take, and is not read from."""
        self.assertFalse(self.isRead(sender))

    def messages(self, count: int) -> tuple[bytes, list[bytes]]:
        """Return small messages as a client sends them, and their payloads."""
        sent = [b"%d" % number for number in range(count)]
        return b"".join(maskedFrame(1, each) for each in sent), sent

    def test_messages(self) -> None:
        """They are relayed in turns, in order; meanwhile their sender is not read from."""
        one, two = self.join("WebSocket", "WebSocket")
        flood, sent = self.messages(3 * FRAMES_AT_ONCE)
        one.receive(flood)
        self.assertFalse(self.isRead(one))
        self.assertEqual(payloads(two), [(1, each) for each in sent[:FRAMES_AT_ONCE]])
        two.receive(maskedFrame(1, b"back"))
        self.assertEqual(payloads(one), [(1, b"back")])
        self.turn(4)
        self.assertEqual(payloads(two), [(1, each) for each in sent[FRAMES_AT_ONCE:]])
        self.assertTrue(self.isRead(one))

    def test_usualMessages(self) -> None:
        """What one read brings of messages of 256 bytes goes out at once."""
        one, two = self.join("WebSocket", "TCP")
        one.receive((maskedFrame(1, bytes(256)) * 1000)[:READ_SIZE])
        self.assertTrue(self.isRead(one))

    def test_pings(self) -> None:
        """Only the last one of those that are looked at together is answered."""
        one, _two = self.join("WebSocket", "TCP")
        one.receive(b"".join(maskedFrame(9, b"%d" % number) for number in range(70)))
        self.turn(2)
        self.assertEqual(payloads(one), [(10, b"%d" % (PARTS_AT_ONCE - 1)), (10, b"69")])
        self.assertTrue(self.isRead(one))

    def test_fragments(self) -> None:
        """Parts of a message are as bounded."""
        one, two = self.join("WebSocket", "TCP")
        one.receive(maskedFrame(1, b"a", False) + maskedFrame(0, b"b", False) * 200)
        self.assertEqual(len(two.take()), PARTS_AT_ONCE // 2)
        self.turn(10)
        self.assertTrue(self.isRead(one))

    def test_partnerBlocked(self) -> None:
        """A partner that takes nothing more is spared the rest until it does."""
        one, two = self.join("WebSocket", "WebSocket")
        flood, sent = self.messages(3 * FRAMES_AT_ONCE)
        one.receive(flood)
        two.clear()
        two.stall()
        self.turn(5)
        self.assertEqual(two.take(), b"")
        self.assertHeldBack(one)
        two.drain()
        self.turn(5)
        self.assertEqual(payloads(two), [(1, each) for each in sent[FRAMES_AT_ONCE:]])
        self.assertTrue(self.isRead(one))

    def test_farewell(self) -> None:
        """What came before a close frame is relayed before the partner is told."""
        one, two = self.join("WebSocket", "WebSocket")
        flood, sent = self.messages(2 * FRAMES_AT_ONCE + 1)
        one.receive(flood + maskedFrame(8, b"\x03\xe8"))
        self.turn(5)
        *relayed, close = payloads(two)
        self.assertEqual(relayed, [(1, each) for each in sent])
        self.assertEqual(close[0], 8)

    def test_endOfTls(self) -> None:
        """So it is before the end of TLS or of the connection, blocked partner or not."""
        for isBlocked in False, True:
            for ends in (["clientLeft"], ["connectionLost"], ["clientLeft", "connectionLost"]):
                one, two = self.join("WebSocket", "WebSocket")
                flood, sent = self.messages(2 * FRAMES_AT_ONCE + 1)
                if isBlocked:
                    two.stall()
                one.receive(flood)
                for end in ends:
                    if end == "clientLeft":
                        one.protocol.clientLeft()
                    else:
                        one.lose(ConnectionDone())
                self.turn(5)
                two.drain()
                self.settle()
                *relayed, close = payloads(two)
                self.assertEqual(relayed, [(1, each) for each in sent])
                self.assertEqual(close[0], 8)
                one.lose(ConnectionDone())
                two.lose(ConnectionDone())
        self.assertEqual(len(self.proxy.registry.records), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_tunnelBeginsInLine(self) -> None:
        """What waits for its turn when the tunnel begins belongs to the leg."""
        first, second = self.open("WebSocket"), self.open("TCP")
        self.authenticate(first)
        self.proxy.turns.wait(lambda: None)  # somebody who is first in line
        first.receive(maskedFrame(9, b"") * (3 * PARTS_AT_ONCE))
        second.receive(AUTHENTICATE)
        self.turn()
        self.assertIsNotNone(first.protocol.partner.record)
        first.receive(maskedFrame(1, b"data"))
        self.turn(10)
        self.assertTrue(second.take().endswith(b"data"))

    def test_lostInLine(self) -> None:
        """However its bytes end, one that is lost is gone when they are looked at, and no later."""
        ends = (b"", b"\xf0\x80\0\0\0\0", maskedFrame(8, b""), maskedFrame(1, b"last"))
        for end in ends:
            for reason in (ConnectionLost(), ConnectionDone()):
                one, two = self.join("WebSocket", "TCP")
                one.receive(maskedFrame(9, b"") * (5 * PARTS_AT_ONCE) + end)
                one.lose(reason)
                two.receive(b"to nobody")
                self.turn(10)
                self.assertEqual(two.take(), b"last" if end == ends[-1] else b"")
                self.assertTrue(two.halfClosed)
                two.lose(ConnectionDone())
                self.assertEqual(list(self.proxy.registry.records), [])

    def test_faultInLine(self) -> None:
        """A fault of ours then costs this connection, which is not forgotten."""
        for isLost in (False, True):
            one, two = self.join("WebSocket", "TCP")
            one.receive(maskedFrame(9, b"") * (5 * PARTS_AT_ONCE))
            if isLost:
                one.lose(ConnectionLost())
            broken = self.patch(FrameReader, "receive", lambda *_args: 1 // 0)
            self.turn(10)
            broken.restore()
            self.assertTrue(one.lost)
            self.assertTrue(two.halfClosed)
            two.lose(ConnectionDone())
            self.assertEqual(list(self.proxy.registry.records), [])
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class RegisteredTests(Turnwise):
    """What comes right behind a registration is the far end's."""

    terms = Terms(serverTimeout=0)

    def test_manyMessagesBehindIt(self) -> None:
        """However many they are."""
        server, client = self.open("TCP"), self.open("WebSocket")
        uuid = "{00000000-0000-0000-0000-00000000000%d}"
        server.receive(call("TunnelProxy.RegisterServer", serverName="s", serverUuid=uuid % 1))
        self.clock.advance(TIMING.notificationGap)
        server.clear()
        self.clock.advance(TIMING.notificationGap)
        register = call(
            "TunnelProxy.RegisterClient",
            clientName="c",
            clientUuid=uuid % 2,
            serverUuid=uuid % 1,
        )
        sent = [b"%d" % number for number in range(2 * FRAMES_AT_ONCE)]
        behind = b"".join(maskedFrame(1, each) for each in sent)
        client.receive(
            calls("WebSocket", CALLS_A_TURN)
            + maskedFrame(1, register)
            + maskedFrame(9, b"") * 200
            + behind
        )
        self.turn(20)
        heard = server.take()
        _announcement, *packets = heard.split(b"\xc0")
        self.assertEqual(b"".join(packet[2:] for packet in packets), b"".join(sent))
        self.assertTrue(self.isRead(client))
