"""Owns the checks of the addresses that stand for a server's clients."""

from __future__ import annotations

from nymearemoteproxy.meeting.place import PlaceRefused
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ClientRegistration,
    TunnelProxyError,
)
from tests.support.switchboards import (
    ADDRESSES,
    ClientLeg,
    SwitchboardCase,
    connected,
    disconnected,
    uuid,
)


class AddressTests(SwitchboardCase):
    """Which address a client gets, and what its server is told of it."""

    def test_first(self) -> None:
        """They begin with 1, for each server anew; all that is asked for is told."""
        for number in (1, 2):
            server = self.world.server(number)
            clients = [self.world.client(server) for _ in range(3)]
            self.assertEqual([client.address for client in clients], [1, 2, 3])
            self.assertEqual(server.heard(), [connected(client) for client in clients])

    def test_beforePayload(self) -> None:
        """The server knows a client before anything of it arrives."""
        server = self.world.server()
        client = self.world.client(server)
        client.receive(b"hello")
        self.assertEqual(server.heard(), [connected(client), (1, b"hello")])

    def test_unusedFirst(self) -> None:
        """The address of a client that is gone is not given while others were never used."""
        server = self.world.server()
        for address in range(1, 50):
            client = self.world.client(server)
            self.assertEqual(client.address, address)
            self.assertEqual(server.heard(), [connected(client)])
            client.leave()
            self.assertEqual(server.heard(), [disconnected(address)])

    def test_all(self) -> None:
        """65,534 clients, each with an address of its own: never 0, never FFFF, no other one.

        Then there is no place, until one leaves: its address is given again, after the server was
        told, and the one that was unused for the longest time goes first.
        """
        server, other = self.world.server(1), self.world.server(2)
        clients: dict[int, ClientLeg] = {}
        for _ in range(ADDRESSES):
            client = self.world.client(server)
            clients[client.address] = client
        self.assertEqual(set(clients), set(range(1, 0xFFFF)))
        announced = server.take()
        self.assertEqual(announced.count(b"TunnelProxy.ClientConnected"), ADDRESSES)
        for _ in range(2):
            self.assertRefused(
                lambda: self.world.client(server, 5),
                TunnelProxyError.INTERNAL_SERVER_ERROR,
                Outcome.TOO_MANY_CLIENTS_OF_SERVER,
            )
        self.assertEqual(server.take(), b"")
        self.assertEqual(self.world.client(other).address, 1)
        leaving = (4711, 1, 0xFFFE, 0xC0DB)
        for address in leaving:
            clients[address].leave()
        self.assertEqual(server.heard(), [disconnected(address) for address in leaving])
        for address in leaving[:-1]:
            client = self.world.client(server)
            self.assertEqual(client.address, address)
            self.assertEqual(server.heard(), [connected(client)])
            client.receive(b"new")
            server.say(address, b"welcome")
            self.assertEqual(client.take(), b"welcome")
            self.assertEqual(server.heard(), [(address, b"new")])
        client.leave()
        self.assertEqual([self.world.client(server).address for _ in range(2)], [0xC0DB, 0xFFFE])
        self.assertRaises(PlaceRefused, self.world.client, server)
        for client in clients.values():
            self.assertEqual(client.sent, [])

    def test_unannounced(self) -> None:
        """Of a client that left before its tunnel was there the server hears nothing."""
        server = self.world.server()
        registration = ClientRegistration("", uuid(7), server.uuid)
        tunnel = self.successResultOf(self.world.register(registration)).tunnel
        tunnel.abandon()
        self.assertEqual(server.heard(), [])
        client = self.world.client(server, 7)
        self.assertEqual(server.heard(), [connected(client)])
