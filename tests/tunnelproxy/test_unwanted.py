"""Owns the checks of clients of which their server wants nothing for now."""

from __future__ import annotations

from nymearemoteproxy.common import turns
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy import serverend
from nymearemoteproxy.tunnelproxy.serverend import SERVER_BACKLOG
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.memory import oneTurn
from tests.support.switchboards import (
    PING,
    PONG,
    ThreeClientsCase,
    answer,
    calling,
    disconnected,
)


class UnwantedTests(ThreeClientsCase):
    """PauseClient and ResumeClient, with which a server need not be held up by one client."""

    terms = Terms(serverTimeout=0)

    def call(self, what: str, address: int, error: str = "NoError") -> None:
        """Call it, and look at the answer."""
        self.server.call(f"TunnelProxy.{what}Client", {"socketAddress": address})
        if not self.server.blocked:
            self.assertEqual(self.server.heard(), [answer(error)])

    def test_pause(self) -> None:
        """That one is not read from until it is wanted again; it may be sent something."""
        self.call("Pause", 2)
        self.assertReading(True, False, True)
        self.server.say(2, b"for who is not read from")
        self.assertEqual(self.clients[1].take(), b"for who is not read from")
        self.clients[0].receive(b"of another")
        self.server.receive(PING)
        self.assertEqual(self.server.heard(), [(1, b"of another"), PONG])
        self.call("Resume", 2)
        self.assertReading(True, True, True)

    def test_again(self) -> None:
        """To say it twice changes nothing, nor to resume who was not paused."""
        for what, isReading in (("Resume", True), ("Pause", False), ("Resume", True)):
            for _ in range(2):
                self.call(what, 2)
                self.assertReading(True, isReading, True)

    def test_nobody(self) -> None:
        """An address that nobody has is told, as with DisconnectClient."""
        for what in ("Pause", "Resume"):
            self.call(what, 4, "UnknownSocketAddress")
            self.call(what, 0, "UnknownSocketAddress")
        self.assertReading(True, True, True)

    def test_slowServer(self) -> None:
        """Who is paused for two reasons is not read from while there is one."""
        self.call("Pause", 2)
        self.server.room = 0
        self.clients[0].receive(bytes(SERVER_BACKLOG + 1))
        self.assertReading(False, False, False)
        self.server.drain()
        self.assertReading(True, False, True)
        self.server.take()
        self.call("Resume", 2)
        self.assertReading(True, True, True)

    def test_inTurn(self) -> None:
        """Who is wanted again while all go on in turn waits for its turn."""
        self.patch(serverend, "PAUSES_A_TURN", 1)
        self.patch(turns, "TURN", 0)
        self.call("Pause", 3)
        self.server.room = 0
        self.clients[0].receive(bytes(SERVER_BACKLOG))
        for _ in self.clients:
            oneTurn(self.clock)
        self.server.take()
        self.server.say(0, calling("TunnelProxy.ResumeClient", {"socketAddress": 3}))
        self.server.drain()
        self.assertEqual(self.server.heard(), [answer("NoError")])
        for expected in ((False, True, False), (False, True, True), (True, True, True)):
            self.assertReading(*expected)
            oneTurn(self.clock)

    def test_leaves(self) -> None:
        """Who leaves meanwhile is gone as others are."""
        for address in (2, 3):
            self.call("Pause", address)
        self.server.call("TunnelProxy.DisconnectClient", {"socketAddress": 2})
        self.assertEqual(self.server.heard(), [answer("NoError"), disconnected(2)])
        self.assertOver(self.clients[1], Outcome.DISCONNECTED_BY_SERVER)
        self.clients[2].leave()
        self.assertEqual(self.server.heard(), [disconnected(3)])
        self.assertReading(True, True, True)

    def test_leavesSlowly(self) -> None:
        """Who has still to take something is read from, as any other whose server is gone."""
        client = self.clients[1]
        client.room = 0
        for _ in range(2):
            self.server.say(2, b"much")
        self.call("Pause", 2)
        self.server.call("TunnelProxy.DisconnectClient", {"socketAddress": 2})
        self.assertTrue(client.reading)
        self.assertAlive(client)
        client.drain()
        self.assertOver(client, Outcome.DISCONNECTED_BY_SERVER)
        self.assertEqual(client.take(), b"muchmuch")

    def test_serverLeaves(self) -> None:
        """Its clients are all read from, to see them go."""
        self.call("Pause", 2)
        self.server.leave()
        self.assertReading(True, True, True)
        self.assertOver(self.clients[1], Outcome.PARTNER_LEFT)
