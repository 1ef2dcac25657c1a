"""WebSocket clients at each place that a proxy has for one, frame by frame.

Knows where a client can be, and what its partner hears of its end; what is checked stands in the
tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from OpenSSL import SSL

from nymearemoteproxy.protocol.frames import BINARY, CLOSE, TEXT
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.wires.arrival import ProxyFactory
from nymearemoteproxy.wires.tlsserver import TlsFactory
from tests.support.endtoend import authenticate, call
from tests.support.inmemory import TIMING, UPGRADE, InMemory
from tests.support.tlssessions import PEER, serverContext
from tests.support.visitors import TlsVisitor, Visitor
from tests.support.wires import maskedFrame, slip, splitFrame

CORE, APP = str(UUID(int=1)), str(UUID(int=2))

WORDS = b"last words"

Frame = tuple[int, bool, bytes]
"""Opcode, whether it is the last of its message, payload."""


def closeBody(code: int, reason: str = "") -> bytes:
    """Return the payload of a close frame (RFC 6455 section 5.5.1)."""
    return code.to_bytes(2, "big") + reason.encode()


PARTNER_LEFT: Frame = (CLOSE, True, closeBody(1000, "tunnel partner disconnected"))
"""All that anybody hears of how its partner ended."""


class Peer:
    """A WebSocket client, upgraded. It sends what it is told to, and answers nothing by itself."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        visitor.send(UPGRADE)
        visitor.take()

    def send(self, *frames: bytes) -> None:
        """Send these bytes, in one read of the server."""
        self.visitor.send(b"".join(frames))

    def say(self, message: bytes) -> None:
        """Send a message."""
        self.send(maskedFrame(TEXT, message))

    def frames(self) -> list[Frame]:
        """Return what has arrived since: whole, not masked, without a reserved bit."""
        data, found = self.visitor.take(), []
        while split := splitFrame(data):
            *frame, data = split
            found.append(tuple(frame))
        assert not data, f"part of a frame: {data!r}"
        return found


@dataclass
class Place:
    """Where a client is.

    :ivar partner: the peer who hears of what it does, if there is one.
    :ivar words: a frame of it for its partner.
    :ivar heard: what the partner is sent when the client sends that and is gone.
    """

    name: str
    client: Peer
    partner: Any = None
    words: bytes = b""
    heard: tuple[Frame, ...] = ()


class PeerCase(InMemory):
    """A proxy in memory, and a client at each place.

    :cvar isSecure: the clients come over TLS.
    """

    terms = Terms()
    isSecure = False

    def visit(self) -> Visitor:
        """Let a client connect."""
        if not self.isSecure:
            return Visitor(self.accept("WebSocket"))
        factory = ProxyFactory(self.proxy, "WebSocket", True, False, self.builders["WebSocket"])
        pipe = self.attach(TlsFactory(serverContext(), factory), PEER)
        return TlsVisitor(pipe, SSL.TLS1_3_VERSION)

    def arrive(self) -> Peer:
        """Let a WebSocket client connect."""
        return Peer(self.visit())

    def fresh(self) -> Place:
        """It has said nothing."""
        return Place("fresh", self.arrive())

    def waiting(self) -> Place:
        """It waits for its partner."""
        client = self.arrive()
        client.say(authenticate("one of its own"))
        self.clock.advance(0)
        client.frames()
        return Place("waiting", client)

    def paired(self) -> Place:
        """It is in a tunnel."""
        self.proxy.registry.dismissal.abortAll()  # who was in a tunnel by the same token
        client, partner = self.arrive(), self.arrive()
        for each in client, partner:
            each.say(authenticate("the same"))
            self.clock.advance(0)
        client.frames()
        partner.frames()
        words = maskedFrame(BINARY, WORDS)
        return Place("paired", client, partner, words, ((BINARY, True, WORDS), PARTNER_LEFT))

    def serving(self) -> Place:
        """It is registered as a server, and has a client."""
        core, app = self._registered()
        words = maskedFrame(BINARY, slip(1, WORDS))
        return Place("serving", core, app, words, ((TEXT, True, WORDS), PARTNER_LEFT))

    def served(self) -> Place:
        """It is the client of a server; that one is told of its end, and stays."""
        core, app = self._registered()
        gone = {
            "id": 2,
            "notification": "TunnelProxy.ClientDisconnected",
            "params": {"socketAddress": 1},
        }
        notice = slip(0, json.dumps(gone, separators=(",", ":")).encode() + b"\n")
        heard = (BINARY, True, slip(1, WORDS)), (BINARY, True, notice)
        return Place("served", app, core, maskedFrame(BINARY, WORDS), heard)

    def places(self) -> Iterator[Place]:
        """Let a client come to each place, one after the other."""
        for place in self.fresh, self.waiting, self.paired, self.serving, self.served:
            yield place()

    def tunnels(self) -> Iterator[Place]:
        """The same for the places where it has a partner."""
        return (place for place in self.places() if place.partner is not None)

    def _registered(self) -> tuple[Peer, Peer]:
        self.proxy.registry.dismissal.abortAll()  # who was registered by the same uuids
        core, app = self.arrive(), self.arrive()
        core.say(call("TunnelProxy.RegisterServer", serverName="", serverUuid=CORE))
        self.clock.advance(TIMING.notificationGap)
        app.say(call("TunnelProxy.RegisterClient", clientName="", clientUuid=APP, serverUuid=CORE))
        core.frames()
        app.frames()
        return core, app

    def ends(self, outcome: Outcome) -> int:
        """Return how many connections have ended like this."""
        return self.proxy.registry.counters.outcomes[outcome]
