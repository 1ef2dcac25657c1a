"""Owns the check of the tunnel proxy against a model: anything may happen, in any order."""

from __future__ import annotations

from collections import defaultdict, deque

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.meeting.place import PlaceRefused
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy import backlog, clientend, serverend, switchboard
from nymearemoteproxy.tunnelproxy.ends import Origin
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.switchboards import (
    PING,
    PROPERTY,
    ClientLeg,
    FakeLeg,
    ServerLeg,
    World,
    answer,
    packet,
    uuid,
)

Step = tuple[int, int, int]


class Story:
    """Anything in any order, with two servers; knows what everybody must have received.

    One of the servers has flow control.

    :param source: where both come from; None = each has a share of its own.
    """

    def __init__(
        self, case: SynchronousTestCase, totalBacklog: int, source: str | None = None
    ) -> None:
        self.case = case
        self._origin = Origin(1, source=source)
        self.world = World(
            Terms(
                clientBacklog=100,
                totalBacklog=totalBacklog,
                clientPatience=5.0,
                clientsPerServer=6,
            )
        )
        self.servers = [self.register(number) for number in range(2)]
        self.paused: set[ClientLeg] = set()
        self.unwanted: set[ClientLeg] = set()  # whom their server has paused
        self.asked: dict[ServerLeg, deque[tuple[str, int]]] = defaultdict(deque)
        self.clients: list[ClientLeg] = []
        self.homes: dict[ClientLeg, ServerLeg] = {}
        self.due: dict[FakeLeg, bytes] = {}  # what a client must get, or must have got
        self.given: dict[ClientLeg, bytes] = {}  # what it sent while it had a server
        self.known: dict[ServerLeg, dict[int, ClientLeg]] = {server: {} for server in self.servers}
        self.received: dict[ClientLeg, bytes] = {}
        self._count = 0

    def register(self, place: int) -> ServerLeg:
        """Let a server register."""
        return self.world.server(place, self._origin, flowControl=bool(place))

    def isKnown(self, client: ClientLeg) -> bool:
        """Whether a client's server knows it, so that they can talk to each other."""
        return client in self.known[self.homes[client]].values()

    def data(self, size: int) -> bytes:
        """Return data unlike any other."""
        self._count += 1
        return (b"%d," % self._count * size)[:size]

    def isThere(self, leg: FakeLeg) -> bool:
        """Whether a connection is up."""
        return leg.outcome is None and not leg.isGone

    def step(self, kind: int, who: int, size: int) -> None:
        """Let one thing happen, if it can."""
        server = self.servers[who % 2]
        client = self.clients[who % len(self.clients)] if self.clients else None
        if kind == 0 or client is None:
            self.come(server)
        elif kind in (1, 2) and self.isKnown(client):
            home = self.homes[client]
            if kind == 1 and home.reading:
                data = self.data(size)
                self.due[client] += data
                home.say(client.address, data)
            elif kind == 2 and client.reading:
                data = self.data(size)
                self.given[client] += data
                client.receive(data)
        elif kind == 3:
            client.room = size
        elif kind == 4:
            client.drain(None if size > 45 else size)
        elif kind == 5:
            server.room = size
        elif kind == 6:
            server.drain(None if size > 45 else size)
        elif kind == 7 and server.reading:
            self.ask(server, "Disconnect", who)
        elif kind == 13 and self.homes[client].reading:
            self.ask(self.homes[client], "Pause" if size > 45 else "Resume", client.address)
        elif kind == 8 and server.reading:
            server.receive(PING)
        elif kind == 9:
            (client.leave if size > 30 else client.end)()
        elif kind == 10 and size > 45:
            (server.leave if size > 70 else server.end)()
        elif kind == 11:
            self.world.clock.advance(size / 30)
        elif kind == 12 and server.reading:
            self.sayAll(server, size)
        self.world.clock.advance(0)
        self.look()

    def ask(self, server: ServerLeg, what: str, address: int) -> None:
        """Let a server call something about a client."""
        self.asked[server].append((what, address))
        server.call(f"TunnelProxy.{what}Client", {"socketAddress": address})

    def sayAll(self, server: ServerLeg, size: int) -> None:
        """Let a server send to all of its clients, in turn and more than once, in one read."""
        stream = b""
        for times in range(3):
            for address, client in self.known[server].items():
                data = self.data(size % 30)
                self.due[client] += data
                stream += packet(address, data) + (PING if times == size % 3 else b"")
        server.receive(stream)

    def come(self, server: ServerLeg) -> None:
        """Let a client come."""
        try:
            client = self.world.client(server)
        except PlaceRefused as refusal:
            if refusal.outcome is Outcome.SERVER_STALLED:
                self.case.assertTrue(server.blocked)
            else:
                self.case.assertIs(refusal.outcome, Outcome.TOO_MANY_CLIENTS_OF_SERVER)
            return
        self.clients.append(client)
        self.homes[client] = server
        self.due[client] = self.given[client] = self.received[client] = b""

    def look(self) -> None:
        """Check what holds at any time."""
        case = self.case
        case.assertLessEqual(self.world.backlog, self.world.switchboard.terms.totalBacklog)
        for place, server in enumerate(self.servers):
            self.hear(server)
            slow = [client for client in self.known[server].values() if client.blocked]
            if self.isThere(server) and not server.reading:
                case.assertTrue(slow or server.blocked, "nothing to wait for")
            if not self.isThere(server):
                self.known[server].clear()
                server.leave()
                self.servers[place] = self.register(place)
                self.known[self.servers[place]] = {}
        for client in list(self.clients):
            got, due = b"".join(client.sent), self.due[client]
            case.assertTrue(due.startswith(got))
            if self.homes[client].outcome is Outcome.TOO_MUCH_UNFINISHED:
                due = got  # what came behind in the same read is not delivered any more
            if not client.blocked and not client.isGone:
                case.assertEqual(got, due)
            if self.isKnown(client) and self.isThere(client):
                if client in self.unwanted:
                    case.assertFalse(client.reading)
                elif not client.reading:
                    case.assertTrue(self.homes[client].blocked, "nothing to wait for")
            if not self.isThere(client):
                if client.outcome is Outcome.CLIENT_TOO_SLOW:
                    case.assertTrue(client.blocked)
                elif not client.isGone:
                    case.assertEqual(got, due)
                case.assertFalse(self.isKnown(client))
                client.leave()
                self.clients.remove(client)
            if not self.isKnown(client):
                case.assertEqual(self.received[client], self.given[client])

    def hear(self, server: ServerLeg) -> None:
        """Read what a server was sent; clients are announced, and then gone, in order."""
        known = self.known[server]
        for each in server.heard():
            if isinstance(each, tuple):
                self.received[known[each[0]]] += each[1]
            elif "tunnelProxyError" in each.get("params", {}):
                what, address = self.asked[server].popleft()
                if each == answer("NoError"):
                    client = known[address]
                    (self.unwanted.add if what == "Pause" else self.unwanted.discard)(client)
            elif "notification" in each:
                params = each["params"]
                address = params["socketAddress"]
                if each["notification"] == "TunnelProxy.ClientConnected":
                    self.case.assertNotIn(address, known)
                    (known[address],) = (
                        client
                        for client in self.homes
                        if f"{{{uuid(client.number)}}}" == params["clientUuid"]
                    )
                elif each["notification"] == "TunnelProxy.ClientDisconnected":
                    client = known.pop(address)
                    self.paused.discard(client)
                    self.unwanted.discard(client)
                elif each["notification"] == "TunnelProxy.ClientPaused":
                    self.case.assertNotIn(known[address], self.paused)
                    self.paused.add(known[address])
                else:
                    self.paused.remove(known[address])

    def end(self) -> None:
        """Everybody reads: all goes on, and all that was sent has arrived."""
        for leg in (*self.servers, *self.clients):
            leg.drain()
        self.world.clock.advance(0)
        self.look()
        for client in self.unwanted.copy():
            self.ask(self.homes[client], "Resume", client.address)
            self.world.clock.advance(0)
        self.look()
        for leg in (*self.servers, *self.clients):
            self.case.assertTrue(leg.reading)
        for client in self.clients:
            self.case.assertTrue(self.isKnown(client), "it has all and should be gone")
            self.case.assertNotIn(client, self.paused)
            self.case.assertEqual(self.received[client], self.given[client])
        self.world.check(self.case)


class AnythingTests(SynchronousTestCase):
    """Whatever happens in whatever order."""

    def setUp(self) -> None:
        self.patch(switchboard, "SLICE_SIZE", 16)
        self.patch(backlog, "CAUGHT_UP", 8)
        self.patch(clientend, "STALLED", 9.0)
        self.patch(serverend, "SERVER_BACKLOG", 300)
        self.patch(switchboard, "PACKETS_A_TURN", 3)
        self.patch(serverend, "CALLS_A_TURN", 1)
        self.patch(serverend, "CLIENTS_A_TURN", 2)

    @PROPERTY
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([*range(14), 0, 1, 1, 1, 2, 2, 3, 11]),
                st.integers(0, 11),
                st.integers(1, 90),
            ),
            max_size=80,
        ),
        st.sampled_from([150, 400, 10_000]),
        st.sampled_from([None, "192.0.2.1"]),
    )
    @example([(0, 1, 1), (0, 1, 1), (5, 1, 1), (0, 1, 1), (12, 1, 1)], 150, None)
    def test_anything(self, steps: list[Step], totalBacklog: int, source: str | None) -> None:
        """Nothing is lost, mixed up or left behind, and nobody waits for nothing."""
        story = Story(self, totalBacklog, source)
        for step in steps:
            story.step(*step)
        story.end()
