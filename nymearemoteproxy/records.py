"""What is known of each connection, and what is counted of all of them.

Owns the record of a connection, the lifetime totals, and the reading of both at one moment. Knows
nothing of framing, of transports, or of how a connection is served.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from zope.interface import Attribute, Interface

from nymearemoteproxy.limits import Ticket
from nymearemoteproxy.outcomes import Outcome
from nymearemoteproxy.session import Role

WEBSOCKET = "WebSocket"
TCP = "TCP"
UNIX = "unix"
TRANSPORTS = (WEBSOCKET, TCP, UNIX)

MOST_TEXT = 200
"""Characters of a name, uuid or account that those who watch are told; clients may send
thousands."""

CONNECTING = "connecting"
CLOSING = "closing"
"""States of a connection before and after those that a session has."""


class IClient(Interface):
    """A connection, whatever protocol object stands for it at the moment."""

    state = Attribute("Where it stands: `CONNECTING`, the value of a `State`, or `CLOSING`.")

    def shutDown() -> None:
        """The server is being stopped: say so and close."""

    def abort() -> None:
        """Close at once."""


class Record:
    """What is known of one connection.

    :ivar number: counts the connections of this process.
    :ivar transport: WebSocket, TCP or unix.
    :ivar secure: True when TLS is between the client and this process.
    :ivar address: the client's address and port, for those who watch the server.
    :ivar peer: the client's address as it may be written down.
    :ivar host: its IP address; empty if it has none.
    :ivar started: when it was accepted, by the reactor's clock.
    :ivar received: bytes the client sent, without TLS.
    :ivar sent: bytes the client was sent, without TLS.
    :ivar subject: the account that the authentication backend named.
    :ivar role: what it is in its tunnel; None before.
    :ivar serverUuid: of the server that a client of the tunnel proxy is connected to.
    :ivar joined: when its tunnel began, by the reactor's clock; None before.
    :ivar partner: the other end of its tunnel, until both are gone.
    :ivar outcome: how it ends; the first reason counts.
    :ivar client: the protocol object that stands for it now; None when it is gone.
    """

    __slots__ = (
        "number",
        "transport",
        "secure",
        "address",
        "peer",
        "host",
        "ticket",
        "started",
        "received",
        "sent",
        "name",
        "uuid",
        "subject",
        "role",
        "serverUuid",
        "joined",
        "partner",
        "outcome",
        "client",
    )

    def __init__(
        self,
        number: int,
        transport: str,
        secure: bool,
        address: str,
        peer: str,
        host: str,
        ticket: Ticket,
        started: float,
    ) -> None:
        self.number = number
        self.transport = transport
        self.secure = secure
        self.address = address
        self.peer = peer
        self.host = host
        self.ticket = ticket
        self.started = started
        self.received = 0
        self.sent = 0
        self.name = ""
        self.uuid = ""
        self.subject: str | None = None
        self.role: Role | None = None
        self.serverUuid = ""
        self.joined: float | None = None
        self.partner: Record | None = None
        self.outcome: Outcome | None = None
        self.client: Any = None  # an IClient as long as there is a connection

    def endsWith(self, outcome: Outcome) -> None:
        """Note why the connection ends, unless a reason is known already."""
        if self.outcome is None:
            self.outcome = outcome

    @property
    def isRegistered(self) -> bool:
        """True for a server or a client of the tunnel proxy."""
        return self.role is Role.SERVER or self.role is Role.CLIENT


@dataclass
class Totals:
    """Counts since the very first start of the server; traffic in bytes that clients sent.

    :ivar connections: all that were accepted.
    :ivar tunnels: pairs of clients that were joined by a token.
    :ivar traffic: of all connections but those of the tunnel proxy.
    :ivar servers: registrations of servers with the tunnel proxy.
    :ivar clients: connections of clients to such servers.
    :ivar tunnelProxyTraffic: of both.
    """

    connections: int = 0
    tunnels: int = 0
    traffic: int = 0
    servers: int = 0
    clients: int = 0
    tunnelProxyTraffic: int = 0

    def joined(self, role: Role | None) -> None:
        """A tunnel began; of two partners only one is to be told of."""
        if role is Role.SERVER:
            self.servers += 1
        elif role is Role.CLIENT:
            self.clients += 1
        else:
            self.tunnels += 1

    def carried(self, record: Record) -> None:
        """A connection is over, or counted as if it were."""
        if record.isRegistered:
            self.tunnelProxyTraffic += record.received
        else:
            self.traffic += record.received


@dataclass
class Load:
    """What goes on at one moment.

    :ivar connections: how many there are, by transport and state.
    :ivar tunnels: how many pairs of clients are joined.
    :ivar servers: how many servers are registered with the tunnel proxy.
    :ivar clients: how many clients are connected to them.
    :ivar totals: until this moment.
    :ivar received: bytes that clients have sent in this process's life, by transport.
    :ivar sent: bytes that clients were sent in this process's life, by transport.
    """

    totals: Totals
    connections: Counter[tuple[str, str]] = field(default_factory=Counter)
    tunnels: int = 0
    servers: int = 0
    clients: int = 0
    received: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)

    def add(self, records: Iterable[Record]) -> None:
        """Count connections that are open."""
        partners = alone = 0
        for record in records:
            transport = record.transport
            self.connections[transport, record.client.state] += 1
            self.received[transport] += record.received
            self.sent[transport] += record.sent
            self.totals.carried(record)
            if record.role is Role.SERVER:
                self.servers += 1
            elif record.role is Role.CLIENT:
                self.clients += 1
            elif record.partner is not None:
                if record.partner.client is not None:
                    partners += 1
                else:
                    alone += 1  # its partner is gone already
        self.tunnels += partners // 2 + alone
