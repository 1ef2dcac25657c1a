"""What is known of each connection, and what is counted of all of them.

Owns the record of a connection, the lifetime totals, and the reading of both at one moment. Knows
nothing of framing, of transports, or of how a connection is served.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from zope.interface import Attribute, Interface

from nymearemoteproxy.connections.limits import Ticket
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role, State

T = TypeVar("T")

WEBSOCKET = "WebSocket"
TCP = "TCP"
UNIX = "unix"
FRONT = "front"
FRONT_HTTP = "front-http"
VISITORS = (FRONT, FRONT_HTTP)
"""What the connections of visitors are called, who come by the front door."""

TRANSPORTS = (WEBSOCKET, TCP, UNIX, *VISITORS)
"""What connections are called by what is spoken on them; a stream is named after its address."""

RECORDS_A_TURN = 500
"""Connections that are looked at in one turn of the reactor: well below a millisecond for counting,
about one for all that is done with them besides."""

MOST_TEXT = 200
"""Characters of a name, uuid or account that those who watch are told; clients may send
thousands."""

CONNECTING = "connecting"
CLOSING = "closing"
"""States of a connection before and after those that a session has."""


class IClient(Interface):
    """A connection, whatever protocol object stands for it at the moment."""

    # Not `state`: that is Autobahn's, in the phase that is a protocol of its own.
    stage = Attribute("Where it stands: `CONNECTING`, the value of a `State`, or `CLOSING`.")

    def shutDown() -> None:
        """The server is being stopped: say so and close."""

    def dismiss(outcome: Outcome) -> None:
        """A limit is reached: say so and close, and the same to the partner, if there is one."""

    def abort() -> None:
        """Close at once."""


class Record:
    """What is known of one connection.

    :ivar number: counts the connections of this process, or of those that work together.
    :ivar worker: which of several processes serves it, from 1 on; 0 = there is only one.
    :ivar transport: one of `TRANSPORTS`.
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
    :ivar trusted: when its token was found valid, or the tunnel proxy took it, by the reactor's
        clock; None before.
    :ivar joined: when its tunnel began, by the reactor's clock; None before.
    :ivar partner: the other end of its tunnel, until both are gone. That one's own is this record,
        unless it is in another process which counts the tunnel.
    :ivar outcome: how it ends; the first reason counts.
    :ivar client: the protocol object that stands for it now; None when it is gone.
    """

    __slots__ = (
        "number",
        "worker",
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
        "trusted",
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
        self.worker = 0
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
        self.trusted: float | None = None
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

    @property
    def isPaired(self) -> bool:
        """True as long as it is there, and has a tunnel by token."""
        isPartner = self.role is Role.PARTNER and self.joined is not None
        return isPartner and self.client is not None


@dataclass
class Totals:
    """Counts since the very first start of the server; traffic in bytes that clients sent.

    :ivar connections: all that were accepted.
    :ivar tunnels: pairs of clients that were joined by a token.
    :ivar traffic: of all connections but those of the tunnel proxy; of one that has no tunnel yet,
        when it is over.
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
        """A connection is over."""
        if record.isRegistered:
            self.tunnelProxyTraffic += record.received
        else:
            self.traffic += record.received

    def carriedSoFar(self, records: Iterable[Record]) -> None:
        """Count connections as if they were over, but for those that have no tunnel yet.

        Whether theirs is the tunnel proxy's is not known, and what was counted must not be less
        the next time.
        """
        tunnels = tunnelProxy = 0
        for record in records:
            role = record.role
            if role is Role.PARTNER:
                tunnels += record.received
            elif role is not None:
                tunnelProxy += record.received
        self.traffic += tunnels
        self.tunnelProxyTraffic += tunnelProxy


@dataclass
class Load:
    """What goes on at one moment.

    :ivar connections: how many there are, by transport and state.
    :ivar tunnels: how many pairs of clients are joined.
    :ivar servers: how many servers are registered with the tunnel proxy.
    :ivar clients: how many clients are connected to them.
    :ivar visitors: how many of these came by the front door.
    :ivar registered: those of `connections` whose tunnel is the tunnel proxy's, by transport and
        role.
    :ivar totals: until this moment.
    :ivar received: bytes that clients have sent in this process's life, by transport.
    :ivar sent: bytes that clients were sent in this process's life, by transport.
    """

    totals: Totals
    connections: Counter[tuple[str, str]] = field(default_factory=Counter)
    tunnels: int = 0
    servers: int = 0
    clients: int = 0
    visitors: int = 0
    registered: Counter[tuple[str, Role]] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    # The other ends of tunnels that are counted already.
    _counted: set[int] = field(default_factory=set, init=False, repr=False, compare=False)

    def add(self, records: Sequence[Record]) -> None:
        """Count connections that were open at that moment; some may be closed by now."""
        connections: Counter[tuple[str, str]] = Counter()
        for record in records:
            transport = record.transport
            self.received[transport] += record.received
            self.sent[transport] += record.sent
            if record.client is None:
                continue
            stage = record.client.stage
            connections[transport, stage] += 1
            role = record.role
            if (role is Role.SERVER or role is Role.CLIENT) and stage == State.TUNNELED.value:
                self.registered[transport, role] += 1
            if role is Role.SERVER:
                self.servers += 1
            elif role is Role.CLIENT:
                self.clients += 1
                self.visitors += transport in VISITORS
            elif record.partner is not None and record.partner.partner is record:
                self._addTunnel(record.number, record.partner.number)
        self.connections += connections
        self.totals.carriedSoFar(records)

    def _addTunnel(self, one: int, other: int) -> None:
        """Count a tunnel with the first of its ends, be the other one there or not."""
        if one in self._counted:
            self._counted.remove(one)
        else:
            self.tunnels += 1
            self._counted.add(other)


class Survey:
    """A walk over the connections that are open now, which may take many turns of the reactor.

    Each is met once, also when it is closed meanwhile; those that come meanwhile are not. What a
    closed one has carried is in the totals of this moment or met on the way, never both. So the
    totals of a survey are never less than those of another that was over before it began.

    :param load: of this moment, without the open connections.
    :ivar load: with those that have been met so far.
    """

    def __init__(self, load: Load, records: Iterable[Record]) -> None:
        self.load = load
        self._records = list(records)  # a fifth of a millisecond for 50,000

    def __iter__(self) -> Iterator[list[Record]]:
        """Yield them in slices of `RECORDS_A_TURN`, without those that are closed."""
        for records in slices(self._records):
            self.load.add(records)
            yield [record for record in records if record.client is not None]


def slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield all items, `RECORDS_A_TURN` at a time."""
    for start in range(0, len(items), RECORDS_A_TURN):
        yield items[start : start + RECORDS_A_TURN]
