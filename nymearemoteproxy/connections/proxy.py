"""What all connections share.

Owns the list of connections and the one place where a connection's end is counted and logged.
Knows nothing of framing or of transports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, replace
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from zope.interface import Interface

from nymearemoteproxy.authentication import IAuthenticator
from nymearemoteproxy.common.addresses import describeAddress
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.keepalive import Keepalive
from nymearemoteproxy.connections.limits import Gate
from nymearemoteproxy.connections.presence import Presence
from nymearemoteproxy.connections.records import Load, Record, Survey, Totals, slices
from nymearemoteproxy.meeting.rendezvous import IRendezvous
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration, Registration
from nymearemoteproxy.protocol.session import (
    TOKEN_TUNNEL_API,
    TUNNEL_PROXY_API,
    PairingKeys,
    Role,
    Session,
    makeHello,
)
from nymearemoteproxy.tunnelproxy.ends import Origin
from nymearemoteproxy.tunnelproxy.switchboard import ISwitchboard

log = ProxyLogger()

ABORT_TIMEOUT = 1.0
"""Seconds for connections to be closed that were aborted, which takes a turn of the reactor."""

GOODBYES_A_TURN = 50
"""Connections that are told to leave in one turn of the reactor; each takes some fifty
microseconds."""

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


class IObserver(Interface):
    """Wants to know what becomes of connections, beyond what can be counted at any moment."""

    def authenticated(seconds: float) -> None:
        """The authentication backend took so long to judge a token, or to fail."""

    def tunnelEnded(first: Record, second: Record | None) -> None:
        """Both ends of a tunnel are closed; `first` is the one that was closed last.

        :param second: None for a server or a client of the tunnel proxy.
        """


class Proxy:
    """Everything that the connections of one server share.

    :param name: the configured name, shown to clients.
    :param messageLimit: bytes of one message in the control phase; 0 = no limit.
    :param switchboard: the tunnel proxy; None while it is switched off.
    :param privacy: how clients' addresses are written to the log.
    :param turns: the line of those who have more to do than one turn of the reactor allows.
    :ivar outcomes: how often each happened in this process's life.
    :ivar totals: without what open connections have carried so far; `load` adds that.
    :ivar observers: are told what happens.
    :ivar turns: where work on many connections is done, a piece in each turn of the reactor.
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
        privacy: Privacy = Privacy.FULL,
        turns: Turns | None = None,
    ) -> None:
        self.clock = clock
        self.turns = turns or Turns(clock)
        self.gate = gate
        self.authenticator = authenticator
        self.rendezvous = rendezvous
        self.timing = timing
        self.messageLimit = messageLimit
        self.traceTraffic = traceTraffic
        self.keepalive = Keepalive(clock, timing.ping, timing.pingAnswer)
        self.presence = Presence(clock, self.turns)
        self.outcomes: Counter[Outcome] = Counter()
        self.totals = Totals()
        self.observers: list[IObserver] = []
        self.switchboard = switchboard
        self.privacy = privacy
        self._keys = keys
        self._api = TOKEN_TUNNEL_API if switchboard is None else TUNNEL_PROXY_API
        self.hello = makeHello(name, switchboard is not None)
        self._records: dict[int, Record] = {}
        self._number = 0
        self._waitingForAllGone: list[Deferred[None]] = []
        # The servers of the tunnel proxy, and how many clients each has.
        self._hosts: dict[str, Record] = {}
        self._guests: Counter[str] = Counter()
        self._isDraining = False
        self._refusals: Counter[Outcome] = Counter()
        # What connections that are closed have sent and were sent, by transport.
        self._received: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()

    @property
    def records(self) -> Collection[Record]:
        """All connections that are open."""
        return self._records.values()

    def setPrivacy(self, privacy: Privacy) -> None:
        """Write addresses like this from now on, also those of clients that are connected."""
        self.privacy = privacy
        self.turns.begin(self._rewriting())

    def _rewriting(self) -> Generator[None, None, None]:
        for records in slices(list(self.records)):
            for record in records:
                record.peer = self.privacy.write(record.host, record.address)
            yield

    def survey(self) -> Survey:
        """Return a walk over all connections, which counts them."""
        load = Load(replace(self.totals), received=self._received.copy(), sent=self._sent.copy())
        return Survey(load, self.records)

    def load(self) -> Load:
        """Return what goes on now; takes about a microsecond for each connection, all at once."""
        survey = self.survey()
        for _records in survey:
            pass
        return survey.load

    def count(self) -> Deferred[Load]:
        """Return what goes on, counted over as many turns of the reactor as it takes."""
        return self.turns.run(self.counting())

    def counting(self) -> Generator[None, None, Load]:
        """Do that as a part of other work; see `Turns.run`."""
        survey = self.survey()
        for _records in survey:
            yield
        return survey.load

    def countTotals(self) -> Deferred[Totals]:
        """Return the totals with what open connections have carried, likewise.

        That is a tenth of the work of counting everything.
        """
        return self.turns.run(self._countingTotals())

    def _countingTotals(self) -> Generator[None, None, Totals]:
        totals = replace(self.totals)
        for records in slices(list(self.records)):
            totals.carriedSoFar(records)
            yield
        return totals

    def newSession(self) -> Session:
        """Return the session of a new connection."""
        return Session(self._api, self.hello, self._keys)

    def register(self, record: Record, registration: Registration) -> Deferred[Tunnel]:
        """Ask the tunnel proxy for a place; see `ISwitchboard.register`."""
        assert self.switchboard is not None  # or there would be no such method to call
        record.name, record.uuid = registration.name, str(registration.uuid)
        if isinstance(registration, ClientRegistration):
            record.serverUuid = str(registration.serverUuid)
        look = partial(self.presence.look, record)
        origin = Origin(record.number, record.host, record.ticket.source, look)
        asked: Deferred[Tunnel] = self.switchboard.register(registration, origin)
        return asked

    def admit(self, address: IAddress, transport: str, secure: bool) -> Record | None:
        """A connection arrived: return its record, None when a limit refuses it."""
        host, text = describeAddress(address)
        peer = self.privacy.write(host, text)
        ticket = self.gate.enter(host)
        if isinstance(ticket, Outcome):
            self._refused(ticket, peer)
            return None
        self._number += 1
        record = Record(
            self._number, transport, secure, text, peer, host or "", ticket, self.clock.seconds()
        )
        self._records[record.number] = record
        self.totals.connections += 1
        log.debug(
            "connection {number} from {peer} opened ({transport})",
            number=record.number,
            peer=peer,
            transport=transport,
        )
        return record

    def identified(self, record: Record, address: IAddress) -> Outcome | None:
        """A reverse proxy told the client's address; return the limit that refuses it."""
        host, text = describeAddress(address)
        if text == record.address or host is None:
            return None
        record.address, record.host = text, host
        record.peer = self.privacy.write(host, text)
        return self.gate.identified(record.ticket, host)

    def joined(self, record: Record, partner: Record | None) -> None:
        """A connection's tunnel begins.

        :param partner: the other end; None when that is the tunnel proxy's.
        """
        record.joined = self.clock.seconds()
        record.partner = partner
        if record.role is Role.SERVER:
            self._hosts[record.uuid] = record
        elif record.role is Role.CLIENT:
            self._guests[record.serverUuid] += 1
        if partner is None or partner.partner is record:
            self.totals.joined(record.role)

    def ended(self, record: Record) -> None:
        """A connection is closed: count it and write the one line about it."""
        del self._records[record.number]
        self.gate.leave(record.ticket)
        record.client = None
        self.presence.gone(record)
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
            tunneled=record.role is not None,
            duration=self.clock.seconds() - record.started,
            received=record.received,
            sent=record.sent,
        )
        self._count(record)
        if record.joined is not None:
            self._leftTunnel(record)
        if not self._records:
            self._fireAllGone()

    def _count(self, record: Record) -> None:
        """Keep what a closed connection has carried, and tell of its tunnel."""
        self.totals.carried(record)
        self._received[record.transport] += record.received
        self._sent[record.transport] += record.sent
        partner = record.partner
        if record.joined is None or (partner is not None and partner.client is not None):
            return  # the partner, when it is closed too, tells of the tunnel
        self.tell(lambda observer: observer.tunnelEnded(record, partner))
        if partner is not None:
            record.partner = partner.partner = None

    def tell(self, news: Callable[[IObserver], object]) -> None:
        """Tell every observer; what one raises is logged, and harms no connection."""
        for observer in self.observers:
            try:
                news(observer)
            except Exception:
                log.failure("an observer of the server failed")

    def shutDown(self) -> Deferred[None]:
        """Say goodbye to every client; the Deferred fires when all of them are gone."""
        return self._dismiss(lambda _record: True)

    def drain(self) -> Deferred[None]:
        """Say goodbye to every client but those that have a tunnel, now or when it has ended.

        The server of a tunnel proxy, too, as soon as it has no client.

        :returns: a Deferred that fires when all of them are gone.
        """
        self._isDraining = True
        return self._dismiss(self._isIdle)

    def _isIdle(self, record: Record) -> bool:
        """Tell whether nobody would miss a connection."""
        if record.role is Role.SERVER:
            return not self._guests[record.uuid]
        return record.role is None

    def _leftTunnel(self, record: Record) -> None:
        """Forget a server or a client; while draining, dismiss a server with its last client."""
        if record.role is Role.SERVER:
            if self._hosts.get(record.uuid) is record:
                del self._hosts[record.uuid]
        elif record.role is Role.CLIENT:
            uuid = record.serverUuid
            self._guests[uuid] -= 1
            if self._guests[uuid]:
                return
            del self._guests[uuid]
            if self._isDraining and uuid in self._hosts:
                self._sayGoodbye(self._hosts[uuid])

    def _dismiss(self, isMeant: Callable[[Record], bool]) -> Deferred[None]:
        """Say goodbye to some; the Deferred fires when nobody is left at all."""
        gone: Deferred[None] = Deferred()
        self._waitingForAllGone.append(gone)
        self.turns.begin(self._dismissing(isMeant))
        return gone

    def _dismissing(self, isMeant: Callable[[Record], bool]) -> Generator[None, None, None]:
        for number, record in enumerate(list(self.records), 1):
            # It may have left with another one, or have got a tunnel meanwhile.
            if record.client is not None and isMeant(record):
                self._sayGoodbye(record)
            if not number % GOODBYES_A_TURN:
                yield
        if not self._records:
            self._fireAllGone()

    def _sayGoodbye(self, record: Record) -> None:
        try:
            record.client.shutDown()
        except Exception:
            log.failure("connection {number} cannot be told goodbye", number=record.number)
            self._cutOff(record)

    def _cutOff(self, record: Record) -> None:
        try:
            record.client.abort()
        except Exception:
            log.failure("connection {number} cannot be cut off", number=record.number)

    def _fireAllGone(self) -> None:
        waiting, self._waitingForAllGone = self._waitingForAllGone, []
        for gone in waiting:
            gone.callback(None)

    def abortAll(self) -> None:
        """Close every connection that is still there, at once."""
        for record in list(self._records.values()):
            if record.client is not None:  # it may have left with another one
                self._cutOff(record)
        if self._waitingForAllGone:
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
