"""Owns the checks of what is relayed between a server and its clients, packet by packet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.loglines import logged
from tests.support.packets import cut
from tests.support.switchboards import (
    PING,
    PONG,
    PROPERTY,
    SwitchboardCase,
    World,
    answer,
    calling,
    disconnected,
    packet,
)


class RelayTests(SwitchboardCase):
    """What passes between a server and its clients."""

    terms = Terms(packetSize=100)

    def setUp(self) -> None:
        super().setUp()
        self.server = self.world.server()
        self.clients = [self.world.client(self.server) for _ in range(3)]
        self.server.heard()

    def test_toServer(self) -> None:
        """Each read is a packet with the client's address; what has a meaning is escaped."""
        first, second, _ = self.clients
        first.receive(b"\xc0\xdb\xdc\xdd")
        second.receive(b"two")
        first.receive(bytes(range(256)))
        self.assertEqual(
            self.server.heard(), [(1, b"\xc0\xdb\xdc\xdd"), (2, b"two"), (1, bytes(range(256)))]
        )

    def test_toClients(self) -> None:
        """Each gets its own, without any trace of SLIP."""
        first, second, third = self.clients
        self.server.say(2, b"\xc0\xdb\xdc\xdd")
        self.server.receive(packet(1, b"on") + packet(3, b"3"))
        self.server.receive(packet(1, b"e"))
        self.assertEqual(first.take(), b"one")
        self.assertEqual(second.take(), b"\xc0\xdb\xdc\xdd")
        self.assertEqual(third.take(), b"3")
        self.assertEqual(self.server.sent, [])

    def test_messages(self) -> None:
        """Packets need not align with WebSocket messages; those of a client are only its bytes."""
        stream = packet(1, b"one") + packet(2, b"two")
        self.server.receiveMessages(stream[:4], b"", stream[4:8])
        self.server.receiveMessages(stream[8:])
        self.assertEqual(self.clients[0].take(), b"one")
        self.assertEqual(self.clients[1].take(), b"two")
        self.clients[0].receiveMessages(b"a", b"", b"b")
        self.clients[0].receiveMessages(b"c")
        received = self.server.heard()
        self.assertEqual([(1, b"ab"), (1, b"c")], received)

    def test_nothing(self) -> None:
        """A client that sends nothing, in a message, sends no packet."""
        self.clients[0].receive(b"")
        self.clients[0].receiveMessages(b"")
        self.assertEqual(self.server.sent, [])

    def test_packetWithoutData(self) -> None:
        """It brings its client nothing, not even an empty message, blocked or not."""
        self.server.say(1, b"")
        self.assertEqual(self.clients[0].sent, [])
        self.clients[0].room = 0
        self.server.say(1, b"x")
        self.server.say(1, b"")
        self.assertEqual(self.clients[0].sent, [b"x"])

    def test_together(self) -> None:
        """What one read brings for a client goes out at once, in a hundred packets or in one."""
        self.server.receive(packet(1, b"ab") * 100 + packet(1, b"c"))
        self.assertEqual(self.clients[0].sent, [b"ab" * 100 + b"c"])
        self.server.receive(packet(1, b"d"))
        self.assertEqual(len(self.clients[0].sent), 2)

    def test_alternating(self) -> None:
        """So it does when there are others' packets, empty ones, and some for nobody between."""
        log = logged(self)
        parts = ((1, b"a"), (4, b"nobody"), (2, b"b"), (1, b""), (3, b""), (1, b"c"))
        self.server.receive(b"".join(packet(*each) for each in parts) * 20)
        self.assertEqual([client.sent for client in self.clients], [[b"ac" * 20], [b"b" * 20], []])
        self.server.leave()
        self.assertIn("120 bytes for clients", log[0])

    def test_callsBetween(self) -> None:
        """Whole calls are carried out after what came before them, and before what follows."""
        call = calling("TunnelProxy.DisconnectClient", {"socketAddress": 2})
        parts = (
            *((1, b"a"), (2, b"b"), (1, b"c"), (0, calling("RemoteProxy.Hello"))),
            *((2, b"d"), (1, b"e"), (0, call[:20]), (2, b"f"), (0, call[20:])),
            *((2, b"too late"), (1, b"g"), (1, b"h")),
        )
        self.server.receive(b"".join(packet(*each) for each in parts))
        self.assertEqual(self.clients[0].sent, [b"ac", b"e", b"gh"])
        self.assertEqual(self.clients[1].sent, [b"b", b"df"])
        self.assertEqual(self.clients[1].late, [])
        self.assertOver(self.clients[1], Outcome.DISCONNECTED_BY_SERVER)
        hello, done, gone = self.server.heard()
        self.assertEqual((done, gone), (answer("NoError"), disconnected(2)))

    @PROPERTY
    @given(
        st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=30)), max_size=8),
        st.lists(st.integers(0, 10_000), max_size=8),
    )
    def test_anySplit(self, sent: list[tuple[int, bytes]], places: list[int]) -> None:
        """However the server's stream is cut, every client gets its bytes; calls are answered."""
        world = World(Terms(serverTimeout=0))
        server = world.server()
        clients = {client.address: client for client in (world.client(server) for _ in range(3))}
        server.heard()
        stream = b"".join(packet(*each) if each[0] else PING for each in sent)
        for chunk in cut(stream, places):
            server.receive(chunk)
            world.clock.advance(0)
        for address, client in clients.items():
            expected = b"".join(data for at, data in sent if at == address)
            self.assertEqual(client.take(), expected)
        self.assertEqual(server.heard(), [PONG for at, _data in sent if not at])
        world.check(self)

    def test_unknownAddresses(self) -> None:
        """Packets for nobody are dropped, and disturb no other."""
        log = logged(self)
        self.clients[1].leave()
        for address in (2, 4, 0x1000, 0xFFFE, 0xFFFF):
            self.server.receive(packet(address, b"x") + packet(1, b"y"))
        self.assertEqual(self.clients[0].take(), b"yyyyy")
        self.assertEqual(self.clients[1].sent + self.clients[2].sent, [])
        self.assertEqual(self.server.heard(), [disconnected(2)])
        self.assertAlive(self.server)
        self.assertEqual(log, [])
        self.server.leave()
        (text,) = log
        self.assertIn("0 packets invalid, 5 bytes for clients", text)

    def test_invalidPackets(self) -> None:
        """They are dropped and counted; the connection, and the next packet, are kept."""
        log = logged(self)
        for invalid in (b"\x00\x01\xdb\xc0", b"\x00\xc0", b"\xc0", b"\x00\x01\xdbx\xc0"):
            self.server.receive(invalid + packet(1, b"y"))
        self.assertEqual(self.clients[0].take(), b"yyyy")
        self.assertAlive(self.server, *self.clients)
        self.server.end()
        (text,) = log
        self.assertIn("3 packets invalid, 0 bytes for clients", text)

    def test_noFaults(self) -> None:
        """A server that makes none is not mentioned."""
        log = logged(self)
        self.server.say(1, b"x")
        self.server.leave()
        self.assertEqual(log, [])

    def test_packetTooLarge(self) -> None:
        """The server is closed for it, and its clients with it, whether it is finished or not."""
        fits = bytes(98)
        for ending in (b"\x00\xc0", b"\x00"):
            server = self.world.server(7)
            client = self.world.client(server)
            server.say(1, fits)
            self.assertEqual(client.take(), fits)
            server.receive(packet(1, fits)[:-1])
            self.assertAlive(server, client)
            server.receive(ending)
            self.assertOver(server, Outcome.PACKET_TOO_LARGE)
            self.assertOver(client, Outcome.PARTNER_LEFT)
            self.assertEqual(client.take(), b"")
        self.assertCounts(1, 3)
        self.assertAlive(self.server, *self.clients)

    def test_lateLineEnd(self) -> None:
        """The line end of the request may come behind the answer, and belongs to no packet."""
        for number, lineEnd in ((7, b"\n"), (8, b"\r\n")):
            for chunks in ([lineEnd + PING], [lineEnd, PING]):
                server = self.world.server(number)
                for chunk in chunks:
                    server.receive(chunk)
                self.assertEqual(server.heard(), [PONG])
                server.leave()

    def test_onlyOneLineEnd(self) -> None:
        """Later they are addresses like others."""
        log = logged(self)
        self.server.receive(PING)
        self.server.receive(b"\n" + PING)
        self.server.receive(b"\r\n" + PING)
        self.assertEqual(self.server.heard(), [PONG])
        self.server.leave()
        self.assertIn(f" {2 * len(PING) - 3} bytes for clients", log[0])

    def test_addressLikeALineEnd(self) -> None:
        """Where a client has such an address, its first packet reaches it."""
        for number, address in ((7, 0x0A00), (8, 0x0AFF), (9, 0x0D0A)):
            server = self.world.server(number)
            for _ in range(address):
                client = self.world.client(server)
            self.assertEqual(client.address, address)
            server.say(address, b"first")
            self.assertEqual(client.take(), b"first")
            server.leave()
