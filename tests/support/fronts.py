"""A front door in memory: homes that are registered, and visitors who ask for them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone

from nymearemoteproxy.connections.records import FRONT
from nymearemoteproxy.connections.tunnellimits import TunnelLimits
from nymearemoteproxy.protocol.frontnames import FrontNames
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.wires.arrival import ProxyFactory
from nymearemoteproxy.wires.front import FrontDoor
from nymearemoteproxy.wires.introduction import IntroductionFactory
from tests.support.inmemory import InMemory
from tests.support.memory import Pipe
from tests.support.switchboards import packet, packets

HOME = UUID("c3b5e6ea-8d04-4f5a-9b3c-0e7d0f6a1b2c")

NAMED = "house7.example.com"
"""A name that the list has for it."""

UNNAMED = f"{HOME}.homes.example.org"
"""The one that it has by itself."""

VISITOR_ADDRESS = "192.0.2.7"


class Home:
    """A registered server.

    :ivar calls: what the proxy has told it, not looked at yet.
    """

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.calls: list[dict[str, Any]] = []
        self._payloads: dict[int, bytes] = {}

    def _read(self) -> None:
        for address, payload in packets(self.pipe.take()):
            if address:
                self._payloads[address] = self._payloads.get(address, b"") + payload
            else:
                self.calls += map(json.loads, payload.splitlines())

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what it was told since."""
        self._read()
        calls, self.calls = self.calls, []
        return [(call["notification"].partition(".")[2], call["params"]) for call in calls]

    def got(self, address: int) -> bytes:
        """Return what a client has sent it since."""
        self._read()
        return self._payloads.pop(address, b"")

    def send(self, address: int, data: bytes) -> None:
        """Send a client something."""
        self.pipe.receive(packet(address, data))


class AtTheFront(InMemory):
    """A proxy with a front door.

    :cvar limits: of tunnels.
    """

    terms = Terms()
    limits = TunnelLimits()
    names = FrontNames({NAMED: HOME, "*.example.net": HOME}, "homes.example.org")

    def setUp(self) -> None:
        super().setUp()
        self.builders[FRONT] = FrontDoor
        for proxy in self.allProxies():
            proxy.setPolicy(replace(proxy.policy, names=self.names, tunnels=self.limits))

    def settle(self) -> None:
        """Let what is under way arrive."""

    def register(self, uuid: UUID = HOME, **params: Any) -> Home:
        """Let a home come."""
        pipe = self.open("TCP")
        self.call(
            pipe, "TunnelProxy.RegisterServer", serverName="home", serverUuid=str(uuid), **params
        )
        self.settle()
        answer = pipe.take()
        self.assertIn(b"TunnelProxyErrorNoError", answer)
        pipe.clear()
        self.clock.advance(1)  # nothing follows the answer for a moment
        return Home(pipe)

    def come(self, host: str = VISITOR_ADDRESS) -> Pipe:
        """Let a visitor connect."""
        return self.accept(FRONT, host=host)

    def comeIndirectly(self, host: str = VISITOR_ADDRESS) -> tuple[Pipe, bytes]:
        """Let one come through another proxy; return the PROXY header that tells of it, too."""
        build = self.builders[FRONT]
        factory = IntroductionFactory(ProxyFactory(self.nextProxy(), FRONT, False, True, build))
        header = f"PROXY TCP4 {host} 192.0.2.99 4000 1\r\n".encode()
        return self.attach(factory, IPv4Address("TCP", "127.0.0.1", 1)), header

    def visit(self, data: bytes) -> Pipe:
        """Let one come and send this."""
        pipe = self.come()
        pipe.receive(data)
        self.settle()
        return pipe

    def assertTurnedAway(self, pipe: Pipe, answer: bytes, *outcomes: Outcome) -> None:
        """The visitor is told so, and then its connection is closed in order.

        :param outcomes: of all until now.
        """
        self.assertEqual(pipe.take(), answer)
        self.assertEqual((pipe.halfClosed, pipe.lost), (True, False))
        self.assertEqual(pipe.producerState, "producing")
        pipe.receive(b"what it had sent meanwhile")
        pipe.lose(ConnectionDone())
        self.assertOutcomes(*outcomes)
