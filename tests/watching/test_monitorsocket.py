"""The monitor socket: what it tells, to whom, and how often."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred

from nymearemoteproxy import __version__
from nymearemoteproxy.common import tally, turns
from nymearemoteproxy.common.clocks import Calendar
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.watching.actions import Action, Result
from nymearemoteproxy.watching.condition import Condition
from nymearemoteproxy.watching.monitorsocket import (
    ANSWER_INTERVAL,
    ITEMS_A_TURN,
    MOST_MONITORS,
    MOST_TEXT,
    REQUEST_LIMIT,
    MonitorFactory,
)
from nymearemoteproxy.watching.pulse import Pulse
from nymearemoteproxy.watching.watched import Watched
from tests.support.acting import ActedOn
from tests.support.inmemory import InMemory
from tests.support.memory import Pipe
from tests.support.nearby import Line

REFRESH = b'{"method":"refresh"}\n'
ALL = b'{"method":"refresh","params":{"printAll":true}}\n'
SERVER = "{5d0c1c50-9b1f-4d0e-8d8c-0a5f9e6a0c01}"
IDLE = "{5d0c1c50-9b1f-4d0e-8d8c-0a5f9e6a0c02}"
CLIENT = "{b7a3f5de-3a86-4c7e-9a39-5f0f7e2f9d02}"
EPOCH = 1_700_000_000


class WatchedCase(InMemory):
    """A proxy that is watched.

    :ivar sockets: of the monitors that came.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(turns, "TURN", 0)  # one piece in a turn
        self.clock.advance(1000)  # its own beginning does not matter
        self.pulse = Pulse(self.clock, self.proxy.registry.counters)
        calendar = Calendar(self.clock, lambda: EPOCH + self.clock.seconds())
        self.server = ActedOn(self.clock, self.proxy.registry)
        watched = Watched(
            self.proxy,
            self.pulse,
            calendar,
            lambda: self.server.condition,
            self.server.actions,
        )
        self.factory = MonitorFactory(self.clock, watched)
        self.pulse.start()
        self.addCleanup(self.pulse.stop)

    def watch(self) -> Line:
        """Let a monitor connect."""
        monitor = self.factory.buildProtocol(UNIXAddress(None))
        assert monitor is not None
        line = Line(monitor)
        monitor.makeConnection(line)
        return line

    def settle(self) -> None:
        """Let everything be done that takes several turns, which takes no time."""
        self.clock.advance(0)

    def turn(self) -> None:
        """Let one call be made that is due, and not those that it leads to."""
        call = self.clock.calls[0]
        if call.getTime() <= self.clock.seconds():
            del self.clock.calls[0]
            call.called = 1
            call.func(*call.args, **call.kw)

    def second(self) -> None:
        """Let a second pass."""
        self.clock.advance(1)
        self.settle()

    def take(self, line: Line) -> list[Any]:
        """Return the lines a monitor got."""
        self.settle()
        data = line.take()
        self.assertTrue(data == b"" or data.endswith(b"}\n"), data[-20:])
        return [json.loads(text) for text in data.splitlines()]

    def ask(self, request: bytes = REFRESH) -> Any:
        """Return the answer to a new monitor."""
        line = self.watch()
        line.protocol.dataReceived(request)
        (answer,) = self.take(line)
        line.lose()
        self.clock.advance(ANSWER_INTERVAL)
        return answer


class ContentTests(WatchedCase):
    """What a line says."""

    def test_nobody(self) -> None:
        """Every member is there although nothing goes on."""
        self.assertEqual(
            self.ask(),
            {
                "serverName": "test",
                "serverVersion": __version__,
                "apiVersion": "0.3",
                "condition": "ready",
                "proxyStatistic": {
                    "clientCount": 0,
                    "tunnelCount": 0,
                    "troughput": 0,
                    "total": {"totalClientCount": 0, "totalTunnelCount": 0, "totalTraffic": 0},
                    "clients": [],
                    "tunnels": [],
                },
                "tunnelProxyStatistic": {
                    "totalClientCount": 0,
                    "serverConnectionsCount": 0,
                    "clientConnectionsCount": 0,
                    "transports": {"WebSocket": 0, "TCP": 0, "unix": 0},
                    "troughput": 0,
                    "tunnelConnections": [],
                },
            },
        )

    def test_stranger(self) -> None:
        """A client that has said nothing yet."""
        self.accept("TCP", host="192.0.2.7")
        self.clock.advance(5)
        (client,) = self.ask()["proxyStatistic"]["clients"]
        self.assertEqual(
            client,
            {
                "id": "1",
                "address": "192.0.2.7:1",
                "timestamp": EPOCH + 1000,
                "authenticated": False,
                "tunnelConnected": False,
                "name": "",
                "userName": "",
                "uuid": "",
                "rxDataCount": 0,
                "txDataCount": 0,
            },
        )

    def test_tunnel(self) -> None:
        """Two clients that are joined, and what they have sent."""
        one = self.accept("TCP")
        two = self.accept("TCP")
        self.authenticate(one, name="core", uuid="{1}")
        waiting = self.ask()["proxyStatistic"]
        self.assertEqual([each["authenticated"] for each in waiting["clients"]], [True, False])
        self.assertEqual((waiting["tunnelCount"], waiting["tunnels"]), (0, []))
        before = self.clock.seconds()
        self.authenticate(two)
        one.receive(b"x" * 500)
        self.clock.advance(3)
        told = self.ask()["proxyStatistic"]
        first, second = told["clients"]
        self.assertEqual(
            (first["name"], first["uuid"], first["tunnelConnected"]), ("core", "{1}", True)
        )
        records = {str(each.number): each for each in self.proxy.registry.records}
        for client in (first, second):
            record = records[client["id"]]
            self.assertEqual(client["rxDataCount"], record.received)
            self.assertEqual(client["txDataCount"], record.sent)
        self.assertGreater(first["rxDataCount"], 500)
        self.assertEqual(
            told["tunnels"],
            [{"clientOne": "1", "clientTwo": "2", "timestamp": EPOCH + round(before)}],
        )
        self.assertEqual(told["tunnelCount"], 1)
        traffic = first["rxDataCount"] + second["rxDataCount"]
        self.assertEqual(
            told["total"],
            {"totalClientCount": 2, "totalTunnelCount": 1, "totalTraffic": traffic},
        )

    def test_afterwards(self) -> None:
        """What is over is in the totals only."""
        one, two = self.join("TCP", "TCP")
        one.receive(b"x" * 500)
        before = self.ask()["proxyStatistic"]["total"]
        one.lose(ConnectionError())
        told = self.ask()["proxyStatistic"]
        self.assertEqual(told["total"], before)
        self.assertEqual(told["clientCount"], 1)
        self.assertEqual([each["clientOne"] for each in told["tunnels"]], ["1"])
        two.lose(ConnectionError())
        told = self.ask()["proxyStatistic"]
        self.assertEqual((told["total"], told["clients"], told["tunnels"]), (before, [], []))

    def test_theFirstIsLeft(self) -> None:
        """Of a tunnel that is ending the first client is still there."""
        _one, two = self.join("TCP", "TCP")
        two.lose(ConnectionError())
        (tunnel,) = self.ask()["proxyStatistic"]["tunnels"]
        self.assertEqual((tunnel["clientOne"], tunnel["clientTwo"]), ("1", "2"))

    def test_throughput(self) -> None:
        """Bytes per second that clients sent, of the last whole second."""
        one, _two = self.join("TCP", "TCP")
        self.second()
        self.second()
        one.receive(b"x" * 700)
        self.assertEqual(self.ask()["proxyStatistic"]["troughput"], 0)
        self.clock.advance(1 - ANSWER_INTERVAL)
        self.assertEqual(self.ask()["proxyStatistic"]["troughput"], 700)
        self.second()
        self.assertEqual(self.ask()["proxyStatistic"]["troughput"], 0)

    def test_subject(self) -> None:
        """The account that the authentication server named."""
        client = self.accept("TCP")
        self.authenticate(client)
        (record,) = self.proxy.registry.records
        record.subject = "somebody"
        (told,) = self.ask()["proxyStatistic"]["clients"]
        self.assertEqual(told["userName"], "somebody")

    def test_noSecret(self) -> None:
        """Neither token nor nonce, before and in a tunnel."""
        self.authenticate(self.accept("TCP"), nonce="a nonce that is secret")
        self.assertNotIn("secret", json.dumps(self.ask()))
        self.authenticate(self.accept("TCP"), nonce="a nonce that is secret")
        self.assertNotIn("secret", json.dumps(self.ask()))

    @given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=20))
    def test_anyName(self, name: str) -> None:
        """A name arrives as it is, and does not break the line."""
        client = self.accept("TCP")
        self.authenticate(client, name=name, uuid=name)
        told = self.ask()["proxyStatistic"]["clients"][-1]
        self.assertEqual((told["name"], told["uuid"]), (name, name))
        client.lose(ConnectionError())

    def test_longNames(self) -> None:
        """They are cut, or strangers could fill the line."""
        self.authenticate(self.accept("TCP"), name="n" * 5000, uuid="u" * 3000)
        (told,) = self.ask()["proxyStatistic"]["clients"]
        self.assertEqual((told["name"], told["uuid"]), ("n" * MOST_TEXT, "u" * MOST_TEXT))

    def test_goneMeanwhile(self) -> None:
        """Connections that are closed while a long line is made."""
        pair = self.join("TCP", "TCP")
        for _number in range(3 * ITEMS_A_TURN):
            self.accept("TCP")
        line = self.watch()
        line.protocol.dataReceived(REFRESH)
        self.turn()
        for pipe in pair:
            pipe.lose(ConnectionError())
        (told,) = self.take(line)
        self.assertEqual(len(told["proxyStatistic"]["clients"]), 3 * ITEMS_A_TURN + 2)
        self.assertEqual(len(told["proxyStatistic"]["tunnels"]), 1)


class TunnelProxyContentTests(WatchedCase):
    """What a line says of the tunnel proxy."""

    terms = Terms()

    def register(self, uuid: str, name: str, kind: str = "TCP") -> Pipe:
        """Let a server register."""
        pipe = self.open(kind)
        self.call(pipe, "TunnelProxy.RegisterServer", serverUuid=uuid, serverName=name)
        return pipe

    def reach(self, server: str, uuid: str, name: str, kind: str = "TCP") -> Pipe:
        """Let a client come."""
        pipe = self.open(kind)
        self.call(
            pipe,
            "TunnelProxy.RegisterClient",
            serverUuid=server,
            clientUuid=uuid,
            clientName=name,
        )
        return pipe

    def test_workers(self) -> None:
        """With several processes each connection says which one serves it, and only then."""
        self.register(SERVER, "core")
        self.reach(SERVER, CLIENT, "app")
        self.join("TCP", "TCP")
        self.assertNotIn("worker", json.dumps(self.ask(ALL)))
        for record in self.proxy.registry.records:
            record.worker = 10 + record.number
        told = self.ask(ALL)
        (server,) = told["tunnelProxyStatistic"]["tunnelConnections"]
        (guest,) = server["clientConnections"]
        clients = told["proxyStatistic"]["clients"]
        self.assertEqual(len(clients), 2)
        for each in (server, guest, *clients):
            self.assertEqual(each["worker"], 10 + int(each["id"]))

    def test_servers(self) -> None:
        """Servers and their clients; without printAll only servers that have some."""
        self.register(SERVER, "core", "WebSocket")
        self.register(IDLE, "idle")
        self.reach(SERVER, CLIENT, "app", "unix")
        stranger = self.accept("TCP")
        told = self.ask()
        self.assertEqual(told["apiVersion"], "5")
        self.assertEqual([each["id"] for each in told["proxyStatistic"]["clients"]], ["4"])
        told = told["tunnelProxyStatistic"]
        self.assertEqual(
            (
                told["totalClientCount"],
                told["serverConnectionsCount"],
                told["clientConnectionsCount"],
            ),
            (3, 2, 1),
        )
        self.assertEqual(told["transports"], {"WebSocket": 1, "TCP": 1, "unix": 1})
        (server,) = told["tunnelConnections"]
        (client,) = server.pop("clientConnections")
        records = {str(each.number): each for each in self.proxy.registry.records}
        for each, name, uuid, address in (
            (server, "core", {"serverUuid": SERVER}, "127.0.0.1:1"),
            (client, "app", {"clientUuid": CLIENT}, "unix"),
        ):
            record = records[each["id"]]
            self.assertEqual(
                each,
                {
                    "id": str(record.number),
                    "address": address,
                    "timestamp": EPOCH + 1000,
                    "name": name,
                    "rxDataCount": record.received,
                    "txDataCount": record.sent,
                    **uuid,
                },
            )
        told = self.ask(ALL)["tunnelProxyStatistic"]
        self.assertEqual(
            [
                (each["name"], [client["name"] for client in each["clientConnections"]])
                for each in told["tunnelConnections"]
            ],
            [("core", ["app"]), ("idle", [])],
        )
        stranger.lose(ConnectionError())

    def test_traffic(self) -> None:
        """It is not counted among that of the token tunnels."""
        server = self.register(SERVER, "core")
        client = self.reach(SERVER, CLIENT, "app")
        self.second()
        total = self.ask()["proxyStatistic"]["total"]["totalTraffic"]
        client.receive(b"x" * 300)
        self.clock.advance(1 - ANSWER_INTERVAL)
        told = self.ask()
        self.assertEqual(told["tunnelProxyStatistic"]["troughput"], 300)
        self.assertEqual(told["proxyStatistic"]["troughput"], 0)
        self.assertEqual(told["proxyStatistic"]["total"]["totalTraffic"], total)
        self.assertEqual(told["proxyStatistic"]["total"]["totalTunnelCount"], 0)
        for pipe in (server, client):
            pipe.lose(ConnectionError())

    def test_turns(self) -> None:
        """Servers with few clients each are described many in a turn."""
        for number in range(ITEMS_A_TURN):
            uuid = str(UUID(int=number + 1))
            self.register(uuid, "core")
            self.reach(uuid, str(UUID(int=number + 1000)), "app")
        line = self.watch()
        line.protocol.dataReceived(ALL)
        turns = 0
        while not line.value():
            self.turn()
            turns += 1
        self.assertLess(turns, 8)
        (told,) = self.take(line)
        self.assertEqual(len(told["tunnelProxyStatistic"]["tunnelConnections"]), ITEMS_A_TURN)

    def test_uuids(self) -> None:
        """They are sent with braces, however they came."""
        self.register(SERVER.strip("{}").upper(), "core")
        (server,) = self.ask(ALL)["tunnelProxyStatistic"]["tunnelConnections"]
        self.assertEqual(UUID(server["serverUuid"]), UUID(SERVER))
        self.assertEqual(server["serverUuid"], SERVER)


class ListeningTests(WatchedCase):
    """Monitors that say nothing."""

    def test_everySecond(self) -> None:
        line = self.watch()
        self.assertEqual(self.take(line), [])
        for _second in range(3):
            self.clock.advance(1)
            self.assertEqual(len(self.take(line)), 1)

    def test_severalMonitors(self) -> None:
        """All get the same; who left gets nothing."""
        lines = [self.watch() for _number in range(3)]
        gone = self.watch()
        gone.lose()
        self.clock.advance(1)
        first, second, third = (self.take(line) for line in lines)
        self.assertEqual(len(first), 1)
        self.assertEqual((first, first), (second, third))
        self.assertEqual(gone.take(), b"")

    def test_leavesMeanwhile(self) -> None:
        """It is gone before the line is made."""
        line = self.watch()
        for _number in range(2 * ITEMS_A_TURN):
            self.accept("TCP")
        self.clock.rightNow += 1
        self.turn()
        self.turn()
        line.lose()
        self.settle()
        self.assertEqual(line.take(), b"")

    def test_slow(self) -> None:
        """What it does not take in time it does not get, so that nothing piles up."""
        line = self.watch()
        line.full = True
        self.second()
        size = len(line.value())
        for _second in range(5):
            self.second()
        self.assertEqual(len(line.value()), size)
        line.drain()
        self.second()
        self.assertEqual(len(self.take(line)), 2)

    def test_slowOne(self) -> None:
        """The others are told all the same."""
        slow, other = self.watch(), self.watch()
        slow.full = True
        self.second()
        slow.take()
        other.take()
        self.second()
        self.assertEqual((self.take(slow), len(self.take(other))), ([], 1))

    def test_slowLine(self) -> None:
        """A line that takes longer than a second to make is not begun twice."""
        line = self.watch()
        for _number in range(5 * ITEMS_A_TURN):
            self.accept("TCP")
        for _second in range(3):
            self.clock.rightNow += 1
            self.turn()
            self.turn()
        self.assertEqual(line.value(), b"")
        self.assertEqual(len(self.take(line)), 1)

    def test_noNewsForNobody(self) -> None:
        """Without anybody who listens no line is made."""
        made: list[object] = []
        describe = self.factory.describe

        def look(printAll: bool) -> Deferred[list[bytes]]:
            made.append(printAll)
            return describe(printAll)

        self.patch(self.factory, "describe", look)
        self.second()
        self.assertEqual(made, [])
        self.watch()
        self.second()
        self.assertEqual(len(made), 1)

    def test_askingEndsListening(self) -> None:
        """Who asks is told nothing else."""
        line = self.watch()
        line.protocol.dataReceived(REFRESH)
        self.assertEqual(len(self.take(line)), 1)
        for _second in range(3):
            self.clock.advance(1)
        self.assertEqual(self.take(line), [])

    def test_onlyReads(self) -> None:
        """A monitor that has closed its sending direction without a word goes on listening."""
        line = self.watch()
        line.protocol.readConnectionLost()
        self.clock.advance(1)
        self.assertEqual(len(self.take(line)), 1)
        self.assertFalse(line.disconnecting)

    def test_asksWhileBlocked(self) -> None:
        """One that does not read is not read from, so that nothing it sends piles up."""
        line = self.watch()
        line.full = True
        self.second()
        self.assertTrue(line.isPaused)
        line.drain()
        self.assertFalse(line.isPaused)

    def test_fault(self) -> None:
        """A line that cannot be made is logged, and the next one is tried."""
        line = self.watch()
        self.proxy.policy.__dict__["hello"] = {}
        self.second()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        del self.proxy.policy.__dict__["hello"]
        self.second()
        self.assertEqual(len(self.take(line)), 1)


class AskingTests(WatchedCase):
    """Monitors that ask."""

    def test_pieces(self) -> None:
        """A request may come in pieces, and without a line end."""
        line = self.watch()
        for byte in ALL.rstrip():
            self.assertEqual(self.take(line), [])
            line.protocol.dataReceived(bytes([byte]))
        self.assertEqual(len(self.take(line)), 1)

    def test_params(self) -> None:
        """Both params and what is in them may be missing; what is unknown does not matter."""
        for request in (
            b'{"method":"refresh","params":{}}\n',
            b'{"id":7,"method":"refresh","params":{"printAll":false,"more":1}}\n',
        ):
            self.assertIn("serverName", self.ask(request))

    def test_nonsense(self) -> None:
        """It is told so, and the connection is closed."""
        for request in (
            b"hello\n",
            b'{"method":"stop"}\n',
            b"{}\n",
            b'{"method":"refresh","params":[]}\n',
            b'{"method":"refresh","params":{"printAll":1}}\n',
            b'{"method":"' + REQUEST_LIMIT * b"x",
        ):
            line = self.watch()
            line.protocol.dataReceived(request)
            (answer,) = self.take(line)
            self.assertEqual(list(answer), ["error"])
            self.assertTrue(line.disconnecting)
            line.lose()

    def test_manyAtOnce(self) -> None:
        """All are answered, ten a second, and it is not read from meanwhile."""
        line = self.watch()
        line.protocol.dataReceived(4 * REFRESH)
        answers = 0
        for _number in range(4):
            answers += len(self.take(line))
            self.assertTrue(line.isPaused)
            self.clock.advance(ANSWER_INTERVAL)
        self.assertEqual(answers, 4)
        self.assertFalse(line.isPaused)
        line.protocol.dataReceived(REFRESH)
        self.assertEqual(len(self.take(line)), 1)

    def test_slow(self) -> None:
        """One that does not read its answers gets no more of them."""
        line = self.watch()
        line.full = True
        line.protocol.dataReceived(2 * REFRESH)
        self.settle()
        size = len(line.value())
        self.clock.advance(10)
        self.settle()
        self.assertEqual(len(line.value()), size)
        line.drain()
        self.assertEqual(len(self.take(line)), 2)

    def test_lastWords(self) -> None:
        """A program that closes its sending direction, such as nc -N, gets its answers."""
        line = self.watch()
        line.protocol.dataReceived(2 * REFRESH)
        line.protocol.readConnectionLost()
        self.assertEqual(len(self.take(line)), 1)
        self.assertFalse(line.disconnecting)
        self.clock.advance(ANSWER_INTERVAL)
        self.assertEqual(len(self.take(line)), 1)
        self.clock.advance(ANSWER_INTERVAL)
        self.assertTrue(line.disconnecting)

    def test_leavesBeforeTheAnswer(self) -> None:
        """An answer to nobody does no harm."""
        line = self.watch()
        line.protocol.dataReceived(REFRESH)
        line.lose()
        self.settle()
        self.clock.advance(ANSWER_INTERVAL)
        self.assertEqual(line.take(), b"")
        self.assertEqual(self.factory.monitors, set())

    def test_slowReader(self) -> None:
        """What is not taken stays in pieces, which the transport never has many of."""
        for _number in range(10 * ITEMS_A_TURN):
            self.accept("TCP")
        line = self.watch()
        line.full = True
        line.protocol.dataReceived(2 * REFRESH)
        self.settle()
        pieces = 0
        while b"}\n" not in line.value():
            pieces += 1
            line.producer.resumeProducing()
        self.assertGreaterEqual(pieces, 10)
        self.clock.advance(ANSWER_INTERVAL)
        line.drain()
        first, second = self.take(line)
        self.assertEqual(first["proxyStatistic"]["clients"], second["proxyStatistic"]["clients"])

    def test_leavesMeanwhile(self) -> None:
        """Then nothing more is made."""
        for _number in range(10 * ITEMS_A_TURN):
            self.accept("TCP")
        line = self.watch()
        line.protocol.dataReceived(REFRESH)
        self.turn()
        line.lose()
        due = [each for each in self.clock.calls if each.getTime() <= self.clock.seconds()]
        self.assertEqual(due, [])

    def test_fault(self) -> None:
        """An answer that cannot be made is logged, and nobody waits for it for ever."""
        line = self.watch()
        self.proxy.policy.__dict__["hello"] = {}
        line.protocol.dataReceived(REFRESH)
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertTrue(line.disconnecting)

    def test_turns(self) -> None:
        """A long line is made in several turns of the reactor."""
        for _number in range(10 * ITEMS_A_TURN):
            self.accept("TCP")
        line = self.watch()
        line.protocol.dataReceived(REFRESH)
        turns = 0
        while not line.value():
            self.turn()
            turns += 1
        self.assertGreater(turns, 10)
        (told,) = self.take(line)
        ids = [each["id"] for each in told["proxyStatistic"]["clients"]]
        self.assertEqual(ids, [str(number) for number in range(1, 10 * ITEMS_A_TURN + 1)])


class BoundTests(WatchedCase):
    """How many there may be, and the end."""

    def test_mostMonitors(self) -> None:
        """Beyond the limit they are refused, which the log tells; who leaves makes room."""
        lines = [self.watch() for _number in range(MOST_MONITORS)]
        self.assertIsNone(self.factory.buildProtocol(UNIXAddress(None)))
        (event,) = [each for each in self.events if "monitor is refused" in each["log_format"]]
        self.assertEqual(event["log_level"].name, "warn")
        lines[0].lose()
        self.watch()

    def test_refusals(self) -> None:
        """However many there are, the log has two lines about them in a while."""
        lines = [self.watch() for _number in range(MOST_MONITORS)]
        for _number in range(100):
            self.assertIsNone(self.factory.buildProtocol(UNIXAddress(None)))
        self.clock.advance(tally.INTERVAL)
        told = [each for each in self.events if "refused" in each["log_format"]]
        self.assertEqual([each.get("count", 1) for each in told], [1, 99])
        self.assertIsNone(self.factory.buildProtocol(UNIXAddress(None)))
        self.clock.advance(tally.INTERVAL)
        told = [each for each in self.events if "refused" in each["log_format"]]
        self.assertEqual(len(told), 3)
        self.assertEqual(len(lines), MOST_MONITORS)

    def test_closeAll(self) -> None:
        lines = [self.watch(), self.watch()]
        self.factory.closeAll()
        self.assertTrue(all(line.disconnecting for line in lines))


class OrderTests(WatchedCase):
    """What a monitor may have done."""

    def order(self, request: bytes, uid: int | None = None) -> Any:
        """Return the answer to a request of this user's, by default the server's own."""
        line = self.watch()
        peer = struct.pack("iII", 4711, os.geteuid() if uid is None else uid, 0)
        line.family = socket.AF_UNIX  # type: ignore[attr-defined]
        line.getsockopt = lambda *_option: peer  # type: ignore[attr-defined]
        line.protocol.dataReceived(request)
        (answer,) = self.take(line)
        line.lose()
        self.clock.advance(ANSWER_INTERVAL)
        return answer

    def test_end(self) -> None:
        """A connection, and a tunnel by either end."""
        for number, method, action in (
            (1, "endConnection", "end-connection"),
            (4, "endTunnel", "end-tunnel"),
        ):
            self.join("WebSocket", "TCP")
            request = {"method": method, "params": {"id": str(number)}}
            answer = self.order(json.dumps(request).encode())
            self.assertEqual(answer, {"result": {"action": action, "id": str(number)}})
        self.accept("TCP")
        self.order(b'{"method":"endConnection","params":{"id":"5"}}')
        outcomes = [each.outcome for each in self.proxy.registry.records]
        self.assertEqual(outcomes, [Outcome.ENDED_BY_OPERATOR] * 5)

    def test_server(self) -> None:
        """Reload and drain."""
        self.server.mistakes = 2
        answer = self.order(b'{"method":"reload"}')
        self.assertEqual(answer, {"result": {"action": "reload", "mistakes": 2}})
        answer = self.order(b'{"method":"drain","params":{}}')
        self.assertEqual(answer, {"result": {"action": "drain"}})
        self.assertEqual((self.server.reloads, self.server.drains), (1, 1))
        self.server.condition = Condition.DRAINING
        self.assertEqual(self.order(b'{"method":"drain"}'), {"error": "the server drains already"})
        self.assertEqual(self.ask()["condition"], "draining")

    def test_nobodyThere(self) -> None:
        for method in "endConnection", "endTunnel":
            request = {"method": method, "params": {"id": "17"}}
            answer = self.order(json.dumps(request).encode())
            self.assertEqual(answer, {"error": "there is no connection 17"})

    def test_who(self) -> None:
        """Root and the server's own user; the group, which may look, may not."""
        self.patch(os, "geteuid", lambda: 998)
        for uid in 0, 998:
            self.assertIn("result", self.order(b'{"method":"reload"}', uid))
        for uid in 1000, 65534, 999:
            answer = self.order(b'{"method":"reload"}', uid)
            words = "only root and the server's own user may have something done"
            self.assertEqual(answer, {"error": words})
        self.assertEqual(self.server.reloads, 2)
        self.assertEqual(self.server.actions.counts[Action.RELOAD, Result.REFUSED], 3)

    def test_unknownUser(self) -> None:
        """If the kernel does not say who it is, nothing is done."""
        line = self.watch()
        line.protocol.dataReceived(b'{"method":"drain"}')
        self.assertIn("error", self.take(line)[0])
        self.assertEqual(self.server.drains, 0)

    def test_refusedMayStillLook(self) -> None:
        """On the same connection, and not faster than others are answered."""
        line = self.watch()
        line.protocol.dataReceived(b'{"method":"drain"}\n' + REFRESH)
        (answer,) = self.take(line)
        self.assertIn("error", answer)
        self.clock.advance(ANSWER_INTERVAL)
        (answer,) = self.take(line)
        self.assertIn("proxyStatistic", answer)

    def test_nonsense(self) -> None:
        """It is told what there is, and nothing is done."""
        for request in (
            b'{"method":"endConnection"}',
            b'{"method":"endConnection","params":{"id":17}}',
            b'{"method":"endConnection","params":{"id":""}}',
            b'{"method":"endConnection","params":{"id":"-1"}}',
            b'{"method":"endConnection","params":{"id":"1.5"}}',
            b'{"method":"endConnection","params":{"id":"\xd9\xa1"}}',
            b'{"method":"endTunnel","params":{"id":"' + b"1" * 19 + b'"}}',
            b'{"method":"reload","params":[]}',
            b'{"method":["reload"]}',
            b'{"method":"Drain"}',
        ):
            self.assertTrue(self.order(request)["error"].startswith("the requests are "), request)
        self.assertEqual((self.server.reloads, self.server.drains), (0, 0))
        self.assertEqual(self.server.actions.counts, {})
