"""Owns the checks of a registered server's calls, and of what is too much for one turn."""

from __future__ import annotations

from typing import Any

from nymearemoteproxy.common import turns
from nymearemoteproxy.meeting.place import PlaceRefused
from nymearemoteproxy.protocol.jsonrpc import CALLS_A_TURN
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.serverend import (
    CLIENTS_A_TURN,
    PACKETS_A_TURN,
)
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.memory import oneTurn
from tests.support.switchboards import (
    HELLO,
    PING,
    PONG,
    SwitchboardCase,
    ThreeClientsCase,
    answer,
    calling,
    disconnected,
    packet,
    uuid,
)


class CallTests(ThreeClientsCase):
    """What a registered server calls."""

    def disconnect(self, address: int) -> None:
        """Call DisconnectClient."""
        self.server.call("TunnelProxy.DisconnectClient", {"socketAddress": address})

    def test_questions(self) -> None:
        """Hello and Ping are answered at address 0, in order."""
        self.server.call("RemoteProxy.Hello")
        self.server.receive(PING)
        self.assertEqual(self.server.heard(), [{"status": "success", "params": HELLO}, PONG])

    def test_manyPackets(self) -> None:
        """A call may be in several packets, or several in one, with others' packets between."""
        call = calling("TunnelProxy.Ping", {"timestamp": 7})
        for octet in call:
            self.server.say(0, bytes([octet]))
            self.server.say(1, bytes([octet]))
        self.server.say(0, call * 3)
        self.assertEqual(self.server.heard(), [PONG] * 4)
        self.assertEqual(self.clients[0].take(), call)

    def test_disconnectClient(self) -> None:
        """The client is closed, and gone for its server as any other that is gone."""
        self.server.say(2, b"last words")
        self.disconnect(2)
        client = self.clients[1]
        self.assertOver(client, Outcome.DISCONNECTED_BY_SERVER)
        self.assertEqual(client.take(), b"last words")
        self.assertEqual(self.server.heard(), [answer("NoError"), disconnected(2)])
        self.assertCounts(1, 2)
        client.receive(b"too late")
        client.leave()
        self.assertEqual(self.server.heard(), [])
        self.assertAlive(self.server, self.clients[0], self.clients[2])

    def test_disconnectNobody(self) -> None:
        """An address nobody has is told; the connection is kept."""
        self.clients[2].leave()
        self.server.heard()
        for address in (0, 3, 4, 0xFFFE, 0xFFFF, 0x10001, 2**70):
            self.disconnect(address)
            self.assertEqual(self.server.heard(), [answer("UnknownSocketAddress")], address)
        self.assertAlive(self.server, *self.clients[:2])

    def test_disconnectTwice(self) -> None:
        """The second time it is unknown; what follows in the same read reaches nobody."""
        call = calling("TunnelProxy.DisconnectClient", {"socketAddress": 1})
        twice = (packet(0, call) + packet(1, b"x")) * 2
        self.server.receive(twice + packet(2, b"y"))
        self.assertEqual(
            self.server.heard(),
            [answer("NoError"), disconnected(1), answer("UnknownSocketAddress")],
        )
        self.assertEqual(self.clients[0].take(), b"")
        self.assertEqual(self.clients[1].take(), b"y")

    def test_errors(self) -> None:
        """They are answered, and the end for the server and its clients; nothing follows."""
        register = {"serverName": "", "serverUuid": str(uuid(9))}
        cases: tuple[tuple[bytes, Outcome, dict[str, Any]], ...] = (
            (b"x", Outcome.INVALID_JSON, {"status": "error"}),
            (calling("No.Such"), Outcome.INVALID_REQUEST, {"status": "error"}),
            (b"{" * 10_241, Outcome.MESSAGE_TOO_LARGE, {"status": "error"}),
            (
                calling("Authentication.Authenticate", {"token": "t"}),
                Outcome.FORBIDDEN_CALL,
                {"status": "error"},
            ),
            (
                calling("TunnelProxy.RegisterServer", register),
                Outcome.ALREADY_REGISTERED,
                {
                    "status": "success",
                    "params": {
                        "tunnelProxyError": "TunnelProxyErrorAlreadyRegistered",
                        "slipEnabled": False,
                    },
                },
            ),
        )
        for data, outcome, expected in cases:
            server = self.world.server(5)
            client = self.world.client(server)
            server.heard()
            server.receive(PING + packet(0, data) + PING + packet(1, b"x") + PING)
            pong, error = server.heard()
            assert isinstance(error, dict)
            error.pop("error", None)
            self.assertEqual((pong, error), (PONG, expected))
            self.assertOver(server, outcome)
            self.assertOver(client, Outcome.PARTNER_LEFT)
            self.assertEqual(client.take(), b"")
            self.assertCounts(1, 3)
            server.receive(PING)
            self.assertEqual(server.heard(), [])
        self.assertAlive(self.server, *self.clients)

    def test_errorsBeforeTheEnd(self) -> None:
        """What can become no call is one at once, also when no brace is ever closed."""
        cases: tuple[tuple[bytes, int, Outcome], ...] = (
            (b"x", 1, Outcome.INVALID_JSON),
            (b"{" * 10_241, 1, Outcome.MESSAGE_TOO_LARGE),
            (b"{" * 1000, 11, Outcome.MESSAGE_TOO_LARGE),
        )
        for data, times, outcome in cases:
            server = self.world.server(5)
            client = self.world.client(server)
            server.heard()
            for _ in range(times):
                self.assertAlive(server)
                server.receive(packet(1, b".") + packet(0, data))
            self.assertOver(server, outcome)
            self.assertOver(client, Outcome.PARTNER_LEFT)
            self.assertEqual(client.take(), b"." * times)
            self.assertEqual(len(server.heard()), 1)


class TurnTests(SwitchboardCase):
    """One read may hold thousands of packets and calls; here each turn is for one piece of work."""

    terms = Terms(serverTimeout=0)

    def setUp(self) -> None:
        super().setUp()
        self.patch(turns, "TURN", 0)
        self.servers = [self.world.server(number) for number in range(2)]
        self.clients = [self.world.client(server) for server in self.servers]
        for server in self.servers:
            server.heard()

    def turn(self, times: int = 1) -> None:
        """Let so many turns pass."""
        for _ in range(times):
            oneTurn(self.clock)

    def test_callsInOnePacketEach(self) -> None:
        """It makes no difference in how many packets calls are."""
        server = self.servers[0]
        server.receive(PING * (3 * CALLS_A_TURN))
        for _ in range(3):
            self.assertEqual(server.heard(), [PONG] * CALLS_A_TURN)
            self.assertFalse(server.reading)
            self.turn()
        self.assertTrue(server.reading)

    def test_fault(self) -> None:
        """A fault of ours in a later turn costs this server's connection, and nobody else."""
        first, second = self.servers
        first.receive(PING * (2 * CALLS_A_TURN))
        end: Any = first.partner
        end._dialogue = None
        self.turn(3)
        self.assertOver(self.clients[0], Outcome.PARTNER_LEFT)
        self.assertIs(first.outcome, Outcome.INTERNAL_ERROR)
        self.assertAlive(second, self.clients[1])
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_othersFirst(self) -> None:
        """Two servers that flood take turns, and a third one is answered at once."""
        for server in self.servers:
            server.receive(PING * (9 * CALLS_A_TURN))
            server.heard()
        third = self.world.server(3)
        for _ in range(3):
            self.turn(2)
            third.receive(PING)
            self.assertEqual(third.heard(), [PONG])
            for server in self.servers:
                self.assertEqual(server.heard(), [PONG] * CALLS_A_TURN)

    def test_packets(self) -> None:
        """Packets are delivered in turns, in order; meanwhile nothing more is read."""
        server, client = self.servers[0], self.clients[0]
        server.receive(b"".join(packet(1, b"%d," % number) for number in range(1000)))
        due = b"".join(b"%d," % number for number in range(1000))
        atOnce = due.find(b"%d," % PACKETS_A_TURN)
        self.assertEqual(client.take(), due[:atOnce])
        self.assertFalse(server.reading)
        self.turn(20)
        self.assertEqual(client.take(), due[atOnce:])
        self.assertTrue(server.reading)

    def test_emptyPackets(self) -> None:
        """Empty ones count like others."""
        server = self.servers[0]
        server.receive(b"\xc0" * (2 * PACKETS_A_TURN))
        self.assertFalse(server.reading)
        self.turn(3)
        self.assertTrue(server.reading)

    def test_manyClients(self) -> None:
        """Nor can one read make many clients work in one turn."""
        server = self.servers[0]
        clients = [self.world.client(server) for _ in range(2 * PACKETS_A_TURN)]
        server.receive(b"".join(packet(client.address, b"x") for client in clients))
        self.assertEqual(sum(client.sent == [b"x"] for client in clients), PACKETS_A_TURN)
        self.turn(3)
        self.assertEqual(sum(client.sent == [b"x"] for client in clients), len(clients))

    def test_packetsBehindUnreadAnswers(self) -> None:
        """What is for clients is delivered although the server does not take its answers."""
        server, client = self.servers[0], self.clients[0]
        server.room = 0
        server.receive(PING * 3 + packet(1, b"x") * (3 * PACKETS_A_TURN))
        self.turn(9)
        self.assertEqual(len(client.take()), 3 * PACKETS_A_TURN)
        self.assertFalse(server.reading)
        server.drain()
        self.assertEqual(server.heard(), [PONG] * 3)
        self.assertTrue(server.reading)

    def test_lastWords(self) -> None:
        """A server that is gone has delivered what it said before, unread answers or not."""
        for room, server, client in zip((None, 0), self.servers, self.clients, strict=True):
            server.room = room
            server.receive(PING * 2 + packet(1, b"x") * (3 * PACKETS_A_TURN))
            server.leave()
            self.assertRaises(PlaceRefused, self.world.client, server)
            self.assertIsNone(client.outcome)
            client.receive(b"nobody hears that")
            self.turn(9)
            self.assertEqual(len(client.take()), 3 * PACKETS_A_TURN)
            self.assertIs(client.outcome, Outcome.PARTNER_LEFT)

    def test_endOfOneThatReadsNothing(self) -> None:
        """One that has ended its stream and takes no answers is not waited for."""
        server, client = self.servers[0], self.clients[0]
        server.room = 0
        server.receive(PING * 3 + packet(1, b"x") * (2 * PACKETS_A_TURN))
        server.end()
        self.turn(9)
        self.assertEqual(len(client.take()), 2 * PACKETS_A_TURN)
        self.assertIs(client.outcome, Outcome.PARTNER_LEFT)

    def test_faultInLastWords(self) -> None:
        """Then a mistake ends it at once."""
        server, client = self.servers[0], self.clients[0]
        call = packet(0, calling("No.Such"))
        server.receive(packet(1, b"x") * PACKETS_A_TURN + call + packet(1, b"y") * PACKETS_A_TURN)
        server.leave()
        self.turn(9)
        self.assertIs(client.outcome, Outcome.PARTNER_LEFT)

    def test_manyClientsOfOneThatIsGone(self) -> None:
        """They are sent away in turns; what they still say is for nobody."""
        server = self.servers[0]
        clients = [self.world.client(server) for _ in range(3 * CLIENTS_A_TURN)]
        server.say(0, b"no call")
        self.assertIs(server.outcome, Outcome.INVALID_JSON)
        server.heard()
        over = [client for client in clients if client.outcome is Outcome.PARTNER_LEFT]
        self.assertLessEqual(len(over), CLIENTS_A_TURN)
        for client in clients:
            if client not in over:
                client.receive(b"nobody hears that")
        clients[0].leave()
        self.turn(4)
        for client in clients[1:]:
            self.assertIs(client.outcome, Outcome.PARTNER_LEFT)
        self.assertEqual((server.heard(), server.late), ([], []))
