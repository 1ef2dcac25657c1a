"""Servers whose packets have their length in front: what holds for SLIP, and what is their own."""

from __future__ import annotations

import os
from itertools import starmap
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import gatherResults, inlineCallbacks

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.serverend import PACKETS_A_TURN
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.loglines import logged
from tests.support.packets import cut, prefixed, prefixedPackets
from tests.support.served import OTHER, PLAYED
from tests.support.switchboards import (
    MIB,
    PONG,
    PROPERTY,
    LengthPrefixedLeg,
    ServerLeg,
    SwitchboardCase,
    World,
    calling,
    connected,
    disconnected,
)
from tests.support.switched import Switched, add, digests, pieces, request
from tests.support.wires import Inline
from tests.tunnelproxy import (
    test_calls,
    test_endings,
    test_flowcontrol,
    test_packets,
    test_relaying,
    test_slowclients,
    test_slowservers,
)

PING = calling("TunnelProxy.Ping", {"timestamp": 7})


def raw(leg: ServerLeg, data: bytes) -> None:
    """Have a server send any bytes."""
    assert isinstance(leg, LengthPrefixedLeg)
    leg.receiveRaw(data)


class LengthPrefixedRelayTests(test_packets.RelayTests):
    lengthPrefixed = True

    def test_messages(self) -> None:
        """Packets need not align with WebSocket messages."""
        stream = prefixed(1, b"one") + prefixed(2, b"two")
        self.server.receiveMessages(stream[:4], b"", stream[4:8])
        self.server.receiveMessages(stream[8:])
        self.assertEqual(self.clients[0].take(), b"one")
        self.assertEqual(self.clients[1].take(), b"two")

    def test_piecesForNobody(self) -> None:
        """Of what is dropped the bytes are counted, in however many reads they come."""
        log = logged(self)
        stream = prefixed(9, bytes(100))
        for begin in range(0, len(stream), 10):
            raw(self.server, stream[begin : begin + 10])
        self.server.leave()
        self.assertIn("0 packets invalid, 100 bytes for clients", log[0])

    def test_bytes(self) -> None:
        """What the proxy sends is written like that, too: a client's bytes as they are."""
        self.clients[1].receive(b"\xc0\xdb\xdc")
        self.assertEqual(self.server.take(), b"\x00\x02\x00\x00\x00\x03\xc0\xdb\xdc")
        client = self.world.client(self.server)
        ((address, data),) = prefixedPackets(b"".join(self.server.sent))
        self.assertEqual((address, data[-2:]), (0, b"}\n"))
        self.assertEqual(self.server.heard(), [connected(client)])

    def test_invalidPackets(self) -> None:
        """There are none; the log has nothing to tell of them."""
        log = logged(self)
        raw(self.server, b"\x00\x01\x00\x00\x00\x00" + prefixed(1, b"\xdb\xc0"))
        self.assertEqual(self.clients[0].take(), b"\xdb\xc0")
        self.server.end()
        self.assertEqual(log, [])

    def test_packetTooLarge(self) -> None:
        """Who says that a packet will be, loses its connection; what came before is delivered."""
        for header in (b"\x00\x01\x00\x00\x00\x65", b"\x00\x00\xff\xff\xff\xff"):
            server = self.world.server(7)
            client = self.world.client(server)
            server.say(1, bytes(100))
            raw(server, header[:-1])
            self.assertEqual(client.take(), bytes(100))
            self.assertAlive(server, client)
            raw(server, header[-1:])
            self.assertOver(server, Outcome.PACKET_TOO_LARGE)
            self.assertOver(client, Outcome.PARTNER_LEFT)
        self.assertCounts(1, 3)

    def test_lateLineEnd(self) -> None:
        """The line end of the request may come behind the answer, and belongs to no packet."""
        for number, lineEnd in ((7, b"\n"), (8, b"\r\n")):
            for chunks in ([lineEnd + prefixed(0, PING)], [lineEnd, prefixed(0, PING)]):
                server = self.world.server(number)
                for chunk in chunks:
                    raw(server, chunk)
                self.assertEqual(server.heard(), [PONG])
                server.leave()

    @PROPERTY
    @given(
        st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=30)), max_size=8),
        st.lists(st.integers(0, 10_000), max_size=8),
    )
    def test_anySplit(self, sent: list[tuple[int, bytes]], places: list[int]) -> None:
        """However the server's stream is cut, every client gets its bytes; calls are answered."""
        world = World(Terms(serverTimeout=0), lengthPrefixed=True)
        server = world.server()
        clients = {client.address: client for client in (world.client(server) for _ in range(3))}
        server.heard()
        packets = [(address, data if address else PING) for address, data in sent]
        for chunk in cut(b"".join(starmap(prefixed, packets)), places):
            raw(server, chunk)
            world.clock.advance(0)
        for address, client in clients.items():
            expected = b"".join(data for at, data in sent if at == address)
            self.assertEqual(client.take(), expected)
        self.assertEqual(server.heard(), [PONG for at, _data in sent if not at])
        world.check(self)


class LengthPrefixedLivenessTests(test_endings.LivenessTests):
    lengthPrefixed = True

    def test_anyByte(self) -> None:
        """All that it sends is a sign of life, be it not even a header."""
        for octet in prefixed(0, b""):
            self.clock.advance(59.9)
            raw(self.server, bytes([octet]))
            self.assertAlive(self.server)
        self.clock.advance(60.1)
        self.assertOver(self.server, Outcome.SERVER_SILENT)


class LengthPrefixedTurnTests(test_calls.TurnTests):
    lengthPrefixed = True

    def test_emptyPackets(self) -> None:
        """Empty ones count like others."""
        server = self.servers[0]
        raw(server, prefixed(1, b"") * (2 * PACKETS_A_TURN + 1))
        self.assertFalse(server.reading)
        self.turn(3)
        self.assertTrue(server.reading)


def _again(*cases: type[SwitchboardCase]) -> None:
    """What does not depend on the bytes of a framing holds in this one as well."""
    for case in cases:
        add(globals(), f"LengthPrefixed{case.__name__}", case, lengthPrefixed=True)


_again(
    test_calls.CallTests,
    test_endings.EndingTests,
    test_flowcontrol.FlowControlTests,
    test_flowcontrol.TotalTests,
    test_slowclients.SlowClientTests,
    test_slowservers.SlowServerTests,
)


class ThroughTests(SwitchboardCase):
    """What has arrived of a packet goes on, and nothing waits for the rest of it."""

    lengthPrefixed = True
    terms = Terms(totalBacklog=MIB)

    def setUp(self) -> None:
        super().setUp()
        self.server = self.world.server()
        self.client = self.world.client(self.server)
        self.server.heard()

    def test_clients(self) -> None:
        """The client gets it at once; memory has at most a header."""
        packet = prefixed(1, b"0123456789")
        for end in range(len(packet)):
            raw(self.server, packet[end : end + 1])
            self.assertEqual(self.client.take(), packet[max(6, end) : end + 1])
            self.assertEqual(self.world.backlog, (end + 1) % 6 if end < 6 else 0)

    def test_calls(self) -> None:
        """A call may come in pieces of packets, and what there is of one is counted and bounded."""
        call = PING.rstrip()  # which is whole with its brace
        for octet in prefixed(0, call[:9]) + prefixed(0, call[9:]):
            self.assertEqual(self.server.heard(), [])
            raw(self.server, bytes([octet]))
        self.assertEqual(self.server.heard(), [PONG])
        raw(self.server, prefixed(0, b'{"id":' + b" " * MIB)[:100])
        raw(self.server, b" ")  # what was there before a read is counted then
        self.assertEqual(self.world.backlog, 94)

    def test_endlessCall(self) -> None:
        """It is refused as soon as it is larger than a message may be."""
        raw(self.server, prefixed(0, b'{"id": "' + b"x" * MIB)[: self.terms.messageSize])
        self.assertAlive(self.server)
        raw(self.server, b"x" * 10)
        (refusal,) = self.server.heard()
        self.assertEqual(refusal["status"], "error")  # type: ignore[call-overload]
        self.assertOver(self.server, Outcome.MESSAGE_TOO_LARGE)

    def test_clientLeaves(self) -> None:
        """In the middle of its packet: the rest is for nobody, and the next packet is not."""
        other = self.world.client(self.server)
        self.server.heard()
        raw(self.server, prefixed(1, b"0123456789")[:10])
        self.client.leave()
        raw(self.server, prefixed(1, b"0123456789")[10:] + prefixed(2, b"x"))
        self.assertEqual((self.client.take(), other.take()), (b"0123", b"x"))
        self.assertEqual(self.server.heard(), [disconnected(1)])
        self.assertAlive(self.server, other)

    def test_manyServers(self) -> None:
        """Packets that are begun and not ended cost nobody anything."""
        servers = [self.world.server(number) for number in range(2, 100)]
        for server in servers:
            self.world.client(server)
            raw(server, prefixed(1, bytes(100_000))[:-1])
        self.assertEqual(self.world.backlog, 0)
        self.assertAlive(*servers)


class PrefixedMixin:
    """Such a server over one transport; its clients come over others."""

    transport = ""

    @inlineCallbacks
    def test_bothWays(self) -> Inline:
        """Everything arrives, in order, also calls between; packets are cut anywhere."""
        server = yield self.servePrefixed(self.transport)
        clients = []
        for transport in (self.transport, OTHER[self.transport]):
            wire, address = yield self.visit(transport, server)
            clients.append((wire, address, os.urandom(300_000), os.urandom(300_000)))
        arrived = gatherResults(
            [server.take(address, len(there)) for _wire, address, there, _back in clients]
            + [wire.take(len(back)) for wire, _address, _there, back in clients]
        )
        stream = b""
        for at in range(0, 300_000, 70_000):
            for wire, address, there, back in clients:
                wire.send(there[at : at + 70_000])
                stream += prefixed(address, back[at : at + 70_000])
            stream += prefixed(0, request("Ping", timestamp=at))
        for piece in pieces(stream, (65_537, 3, 1, 100_000, 2)):
            server.wire.send(piece)
        sent = [there for _wire, _address, there, _back in clients]
        sent += [back for _wire, _address, _there, back in clients]
        self.assertEqual(digests(*(yield arrived)), digests(*sent))
        for at in range(0, 300_000, 70_000):
            self.assertEqual((yield server.message())["params"], {"timestamp": at})

    @inlineCallbacks
    def test_disconnects(self) -> Inline:
        """Its clients come and go; the last words of one that is disconnected arrive."""
        server = yield self.servePrefixed(self.transport)
        wire, address = yield self.visit(OTHER[self.transport], server)
        server.send(address, b"last words")
        server.call("TunnelProxy.DisconnectClient", {"socketAddress": address})
        self.assertEqual((yield wire.end()), b"last words")
        wire.leave()
        yield self.ended(Outcome.DISCONNECTED_BY_SERVER)
        self.assertIn("params", (yield server.message()))
        yield self.departed(server, address)
        wire, address = yield self.visit(self.transport, server)
        yield self.works(server, wire, address)

    @inlineCallbacks
    def test_leavesInAPacket(self) -> Inline:
        """What has come of it arrives, and the client is told that its server is gone."""
        server = yield self.servePrefixed(self.transport)
        wire, address = yield self.visit(OTHER[self.transport], server)
        server.wire.send(prefixed(address, b"never whole")[:-1])
        server.wire.leave()
        self.assertEqual((yield wire.end()), b"never whol")
        self.assertClosed(wire, 1000, "tunnel partner disconnected")

    @inlineCallbacks
    def test_tooLarge(self) -> Inline:
        """A length beyond the limit ends the connection, with an outcome of its own."""
        server = yield self.servePrefixed(self.transport)
        wire, address = yield self.visit(OTHER[self.transport], server)
        server.wire.send(address.to_bytes(2, "big") + b"\x80\x00\x00\x00")
        yield self.closed(server.wire, 1009, Outcome.PACKET_TOO_LARGE)
        yield self.left(wire)


class HalfCloseMixin(test_relaying.HalfCloseMixin):
    """The same with a server of this kind, on a stream."""

    servePrefixed: Any

    def serve(self, transport: str) -> Any:
        return self.servePrefixed(transport)


for _transport in PLAYED:
    _name = f"{_transport.capitalize()}Prefixed"
    add(globals(), f"{_name}Tests", PrefixedMixin, Switched, transport=_transport)
    if _transport in ("tcp", "unix"):
        add(globals(), f"{_name}HalfCloseTests", HalfCloseMixin, Switched, transport=_transport)
