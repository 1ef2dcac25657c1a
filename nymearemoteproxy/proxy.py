"""What all connections share, and the record that is kept of each.

Owns the list of connections and the one place where a connection's end is counted and logged.
Knows nothing of framing or of transports.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime
from zope.interface import Interface

from nymearemoteproxy.authentication import IAuthenticator
from nymearemoteproxy.ends import Origin
from nymearemoteproxy.keepalive import Keepalive
from nymearemoteproxy.limits import Gate, Ticket
from nymearemoteproxy.logs import ProxyLogger
from nymearemoteproxy.outcomes import Outcome
from nymearemoteproxy.registration import Registration
from nymearemoteproxy.rendezvous import IRendezvous
from nymearemoteproxy.session import (
    TOKEN_TUNNEL_API,
    TUNNEL_PROXY_API,
    PairingKeys,
    Session,
    makeHello,
)
from nymearemoteproxy.switchboard import ISwitchboard
from nymearemoteproxy.tunnel import Tunnel

log = ProxyLogger()

WEBSOCKET = "WebSocket"
TCP = "TCP"
UNIX = "unix"

ABORT_TIMEOUT = 1.0
"""Seconds for connections to be closed that were aborted, which takes a turn of the reactor."""

REFUSALS_INTERVAL = 10.0
"""Seconds between log lines about refused connections, so that a flood does not fill the disk."""


@dataclass(frozen=True)
class Timing:
    """The time limits of a connection, in seconds; their meaning is in the settings reference."""

    tlsHandshake: float = 5.0
    webSocketHandshake: float = 5.0
    inactive: float = 8.0
    authentication: float = 8.0
    alone: float = 8.0
    notificationGap: float = 0.02
    ping: float = 30.0
    pingAnswer: float = 10.0
    close: float = 10.0


class IClient(Interface):
    """A connection, whatever protocol object stands for it at the moment."""

    def shutDown() -> None:
        """The server is being stopped: say so and close."""

    def abort() -> None:
        """Close at once."""


class Record:
    """What is known of one connection.

    :ivar number: counts the connections of this process.
    :ivar transport: WebSocket, TCP or unix.
    :ivar secure: True when TLS is between the client and this process.
    :ivar peer: the client's address, for people.
    :ivar host: its IP address; empty if it has none.
    :ivar started: when it was accepted, by the reactor's clock.
    :ivar received: bytes the client sent, without TLS.
    :ivar sent: bytes the client was sent, without TLS.
    :ivar outcome: how it ends; the first reason counts.
    :ivar client: the protocol object that stands for it now.
    """

    __slots__ = (
        "number",
        "transport",
        "secure",
        "peer",
        "host",
        "ticket",
        "started",
        "received",
        "sent",
        "name",
        "uuid",
        "subject",
        "tunneled",
        "outcome",
        "client",
    )

    def __init__(
        self,
        number: int,
        transport: str,
        secure: bool,
        peer: str,
        host: str,
        ticket: Ticket,
        started: float,
    ) -> None:
        self.number = number
        self.transport = transport
        self.secure = secure
        self.peer = peer
        self.host = host
        self.ticket = ticket
        self.started = started
        self.received = 0
        self.sent = 0
        self.name = ""
        self.uuid = ""
        self.subject: str | None = None
        self.tunneled = False
        self.outcome: Outcome | None = None
        self.client: Any = None  # an IClient as long as there is a connection

    def endsWith(self, outcome: Outcome) -> None:
        """Note why the connection ends, unless a reason is known already."""
        if self.outcome is None:
            self.outcome = outcome


def describeAddress(address: IAddress) -> tuple[str | None, str]:
    """Return an address's host, None where it has none, and its text for people."""
    host = getattr(address, "host", None)
    if host is None:
        return None, "unix"
    port = getattr(address, "port", 0)
    host = host.removeprefix("::ffff:")  # IPv4 on a socket that takes both
    return host, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Proxy:
    """Everything that the connections of one server share.

    :param name: the configured name, shown to clients.
    :param messageLimit: bytes of one message in the control phase; 0 = no limit.
    :param switchboard: the tunnel proxy; None while it is switched off.
    """

    def __init__(
        self,
        clock: IReactorTime,
        gate: Gate,
        authenticator: IAuthenticator,
        rendezvous: IRendezvous,
        timing: Timing,
        keys: PairingKeys,
        name: str,
        messageLimit: int,
        traceTraffic: bool = False,
        switchboard: ISwitchboard | None = None,
    ) -> None:
        self.clock = clock
        self.gate = gate
        self.authenticator = authenticator
        self.rendezvous = rendezvous
        self.timing = timing
        self.messageLimit = messageLimit
        self.traceTraffic = traceTraffic
        self.keepalive = Keepalive(clock, timing.ping, timing.pingAnswer)
        self.outcomes: Counter[Outcome] = Counter()
        self.switchboard = switchboard
        self._keys = keys
        self._api = TOKEN_TUNNEL_API if switchboard is None else TUNNEL_PROXY_API
        self._hello = makeHello(name, switchboard is not None)
        self._records: dict[int, Record] = {}
        self._number = 0
        self._allGone: Deferred[None] | None = None
        self._refusals: Counter[Outcome] = Counter()

    def newSession(self) -> Session:
        """Return the session of a new connection."""
        return Session(self._api, self._hello, self._keys)

    def register(self, record: Record, registration: Registration) -> Deferred[Tunnel]:
        """Ask the tunnel proxy for a place; see `ISwitchboard.register`."""
        assert self.switchboard is not None  # or there would be no such method to call
        record.name, record.uuid = registration.name, str(registration.uuid)
        origin = Origin(record.number, record.host, record.ticket.source)
        asked: Deferred[Tunnel] = self.switchboard.register(registration, origin)
        return asked

    def admit(self, address: IAddress, transport: str, secure: bool) -> Record | None:
        """A connection arrived: return its record, None when a limit refuses it."""
        host, peer = describeAddress(address)
        ticket = self.gate.enter(host)
        if isinstance(ticket, Outcome):
            self._refused(ticket, peer)
            return None
        self._number += 1
        record = Record(
            self._number, transport, secure, peer, host or "", ticket, self.clock.seconds()
        )
        self._records[record.number] = record
        log.debug(
            "connection {number} from {peer} opened ({transport})",
            number=record.number,
            peer=peer,
            transport=transport,
        )
        return record

    def identified(self, record: Record, address: IAddress) -> Outcome | None:
        """A reverse proxy told the client's address; return the limit that refuses it."""
        host, peer = describeAddress(address)
        if peer == record.peer or host is None:
            return None
        record.peer, record.host = peer, host
        return self.gate.identified(record.ticket, host)

    def ended(self, record: Record) -> None:
        """A connection is closed: count it and write the one line about it."""
        del self._records[record.number]
        self.gate.leave(record.ticket)
        record.client = None
        outcome = record.outcome or Outcome.CONNECTION_LOST
        self.outcomes[outcome] += 1
        log.info(
            "connection {number} from {peer} ended: {outcome} "
            "({transport}, {duration:.1f} s, {received} bytes in, {sent} bytes out)",
            event="connection-ended",
            number=record.number,
            peer=record.peer,
            outcome=outcome.label,
            transport=record.transport,
            secure=record.secure,
            tunneled=record.tunneled,
            duration=self.clock.seconds() - record.started,
            received=record.received,
            sent=record.sent,
        )
        if not self._records:
            self._fireAllGone()

    def shutDown(self) -> Deferred[None]:
        """Say goodbye to every client; the Deferred fires when all of them are gone."""
        if not self._records:
            return succeed(None)
        self._allGone = Deferred()
        for client in [record.client for record in self._records.values()]:
            client.shutDown()
        return self._allGone or succeed(None)

    def _fireAllGone(self) -> None:
        if self._allGone is not None:
            allGone, self._allGone = self._allGone, None
            allGone.callback(None)

    def abortAll(self) -> None:
        """Close every connection that is still there, at once."""
        for client in [record.client for record in self._records.values()]:
            client.abort()
        if self._allGone is not None:
            # Whatever a fault may have left behind, the process must end.
            self.clock.callLater(ABORT_TIMEOUT, self._fireAllGone)

    def _refused(self, outcome: Outcome, peer: str) -> None:
        """Count a refused connection; log the first of its kind, then sums."""
        self.outcomes[outcome] += 1
        if outcome in self._refusals:
            self._refusals[outcome] += 1
            return
        self._refusals[outcome] = 0
        log.warn(
            "connection from {peer} refused: {outcome}",
            event="connection-refused",
            peer=peer,
            outcome=outcome.label,
        )
        self.clock.callLater(REFUSALS_INTERVAL, self._sumUp, outcome)

    def _sumUp(self, outcome: Outcome) -> None:
        count = self._refusals.pop(outcome)
        if count:
            log.warn(
                "{count} more connections refused in the last {interval:.0f} s: {outcome}",
                event="connections-refused",
                count=count,
                interval=REFUSALS_INTERVAL,
                outcome=outcome.label,
            )
