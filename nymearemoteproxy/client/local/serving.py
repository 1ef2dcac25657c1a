"""A registered server's connection: one stream that carries all clients of a local service.

Owns which client has which connection to the service, how much may wait for each, and that nobody
holds up all others for long. Knows nothing of how the proxy or the service is reached, nor of what
to do when the connection is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.client.connecting.endtoend import Side
from nymearemoteproxy.client.connecting.heartbeat import Heartbeat
from nymearemoteproxy.client.connecting.reasons import SILENT, whyLost, whyNotConnected
from nymearemoteproxy.client.connecting.retrying import Reports
from nymearemoteproxy.client.local.delivering import Destination
from nymearemoteproxy.client.local.refusals import Refusals
from nymearemoteproxy.client.local.securing import Handshakes, PlainConnection, SecuredConnection
from nymearemoteproxy.client.local.visiting import VisitorConnection
from nymearemoteproxy.client.rules.calling import (
    Calls,
    ClientConnected,
    ClientDisconnected,
    ClientEvent,
    ClientPaused,
)
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.client.rules.proxyheader import proxyHeader
from nymearemoteproxy.protocol import lengthprefixed, slip
from nymearemoteproxy.protocol.packets import PROXY, Encode, PacketTooLarge, Reader

MAX_PAYLOAD = 64 * 1024
"""Bytes of a client's data in one packet, so that no client holds up the others for long, and a
packet fits whatever a proxy accepts."""

MAX_PACKET_SIZE = 16 * 1024 * 1024
"""Bytes. A proxy may put a client's whole WebSocket message into one packet; a larger one than this
is no message but a proxy that lost its way."""

MAX_UNTAKEN = 512 * 1024
"""Bytes that may wait for the proxy when it takes them slowly. Up to then every connection of the
service is read from once more, 64 KiB at most, so that all take turns. Even a very slow link has
taken as much long before it counts as stuck."""

MUCH = 256 * 1024
"""Bytes that wait for one connection of the service, from which on a proxy that can is told to send
nothing more of its client, or of many the share that all may have together: half of `MAX_QUEUES`.
The rest is for what is on its way."""

MAX_QUEUE = 4 * 1024 * 1024
"""Bytes that may wait for one connection of the service. More stops all clients, as the field's
proxies cannot pause a single one: it is large enough for what fast links have on their way."""

MAX_QUEUES = 64 * 1024 * 1024
"""Bytes that may wait for all of them together: the memory that a service which hangs can cost."""

# Seconds in which the service has to take something of a full queue: when others are held up by it,
# and when none are known. Then only those who try to connect meanwhile have to wait, and they do.
STALL = 3.0
LONE_STALL = 30.0

STUCK = 120.0
"""Seconds in which the proxy has to take what was written. It has no reason not to: clients that
are slow are its own to disconnect. A slow link takes some time for what the service sent at
once."""

_log = Logger()


@dataclass(frozen=True)
class LocalService:
    """What is offered to clients.

    :ivar mostClients: how many there may be at a time; those that have left count until the service
        has got what they sent.
    :ivar side: encrypts from end to end; None: clients that want that are turned away.
    :ivar getsHeader: it is told by a PROXY header where each client comes from.
    :ivar http: where visitors of a front door are answered that speak no TLS; None: as all others.
    """

    destination: Destination
    mostClients: int
    side: Side | None = None
    getsHeader: bool = False
    http: Destination | None = None


Connection = PlainConnection | SecuredConnection | VisitorConnection
"""A client's connection to the service."""


@implementer(IPushProducer)
class Serving(Protocol):
    """Gives each client a connection of its own to the service, and takes it away.

    As a producer it lets the proxy be slow: the connections of the service take turns meanwhile. If
    the proxy tells which client is slow, only that one's connection is not read from.

    :param clock: measures time.
    :param service: the local service.
    :param reports: of each place, by its address for people, are told when it cannot be reached.
    :param lost: called with the reason when the connection is lost.
    :param refusals: is told of clients that speak something else than this end.
    """

    transport: Any
    _reader: Reader
    _encode: Encode
    _pausesClients: bool

    def __init__(
        self,
        clock: Any,
        service: LocalService,
        reports: Mapping[str, Reports],
        lost: Callable[[str], None],
        refusals: Refusals,
    ) -> None:
        self._clock = clock
        self._service = service
        self._reports = reports
        self._lost = lost
        self._heartbeat = Heartbeat(clock, self._ping, lambda: self._abort(SILENT))
        self._calls = Calls()
        self._handshakes = Handshakes()
        self._clients: dict[int, Connection] = {}
        # In the order of their turns, while the proxy is slow.
        self._addresses: dict[Connection, int] = {}
        self._held: dict[Connection, None] = {}
        self._slow: set[Connection] = set()  # whose clients have to catch up
        self._refusals = refusals
        self._untaken = 0
        self._leaving: set[Connection] = set()
        self._waiting = 0
        self._full: set[Connection] = set()
        self._unwanted: set[Connection] = set()  # the proxy sends nothing more of their clients
        self._isHeldUp = False
        self._isCrowded = False
        self._isPaused = False
        self._why: str | None = None
        self._stall: Any = None
        self._stuck: Any = None

    # The proxy's side

    def connectionMade(self) -> None:
        if self.transport.partner.isLengthPrefixed:
            self._reader = lengthprefixed.PieceReader(MAX_PACKET_SIZE)
            self._encode = lengthprefixed.encode
        else:
            self._reader, self._encode = slip.PacketReader(MAX_PACKET_SIZE), slip.encode
        self._pausesClients = self.transport.partner.pausesClients
        self.transport.registerProducer(self, True)
        self._heartbeat.start()

    def dataReceived(self, data: bytes) -> None:
        if self._why is not None:
            return
        self._heartbeat.heard()
        try:
            for address, payload in self._reader.receive(data):
                if address == PROXY:
                    for event in self._calls.receive(payload):
                        self._happened(event)
                elif address in self._clients:
                    self._clients[address].deliver(payload)
        except PacketTooLarge:
            self._abort("the proxy sent an endless packet")
        except TunnelError as problem:
            self._abort(str(problem))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._heartbeat.stop()
        self._cancelStall()
        self._cancelStuck()
        why, self._why = self._why or whyLost(reason), ""
        for address in list(self._clients):
            self._leave(address)
        self._lost(why)

    def pauseProducing(self) -> None:
        # Transports say so again with every write.
        if self._isPaused:
            return
        self._isPaused = True
        self._heartbeat.hold("sending")
        self._stuck = self._clock.callLater(STUCK, self._isStuck)

    def resumeProducing(self) -> None:
        self._isPaused = False
        self._heartbeat.release("sending")
        self._cancelStuck()
        self._untaken = 0
        held, self._held = self._held, {}
        for local in held:
            self._release(local)

    def stopProducing(self) -> None:
        """The connection is being lost; `connectionLost` follows."""

    def _happened(self, event: ClientEvent) -> None:
        if not isinstance(event, ClientConnected | ClientDisconnected):
            self._pace(event.address, isSlow=isinstance(event, ClientPaused))
            return
        # A client whose address is given to another one must be gone, too.
        self._leave(event.address)
        if isinstance(event, ClientConnected):
            if len(self._clients) + len(self._leaving) >= self._service.mostClients:
                self._refuse(event.address)
                return
            _log.info("client {address}: {shown}", address=event.address, shown=event.shown)
            local = self._connectionOf(event)
            self._clients[event.address] = local
            self._addresses[local] = event.address
            if self._untaken > MAX_UNTAKEN:
                self._hold(local)
            local.connect(self._service.destination)

    def _connectionOf(self, client: ClientConnected) -> Connection:
        service = self._service
        opening = proxyHeader(client.peer) if service.getsHeader else b""
        if service.side is not None:
            return SecuredConnection(
                self._clock,
                self,
                opening,
                service.side,
                self._handshakes,
                lambda problem: self._refusals.tell(str(problem)),
            )
        if client.isVisitor and service.http is not None:
            return VisitorConnection(self._clock, self, opening, service.http)
        return PlainConnection(self._clock, self, opening, self._refusals.tell)

    def _pace(self, address: int, isSlow: bool) -> None:
        """Read for a client what the service sends, or not for now."""
        local = self._clients.get(address)
        if local is None:
            return  # it has left
        if isSlow:
            self._slow.add(local)
            local.hold()
        else:
            self._slow.discard(local)
            self._release(local)

    def _release(self, local: Connection) -> None:
        """Read from a connection again, unless there is another reason not to."""
        if local not in self._held and local not in self._slow:
            local.release()

    def _refuse(self, address: int) -> None:
        self._tell(self._calls.disconnectClient(address))
        if not self._isCrowded:
            self._isCrowded = True
            self._reports[self._service.destination.where].trouble(
                f"{self._service.mostClients} clients are connected, which is the most that the "
                "limit of open files allows (ulimit -n)"
            )

    def _leave(self, address: int) -> None:
        """The client with this address is gone: deliver what it sent."""
        local = self._clients.pop(address, None)
        if local is not None:
            _log.info("client {address} is gone", address=address)
            del self._addresses[local]
            self._held.pop(local, None)
            self._slow.discard(local)
            self._unwanted.discard(local)
            self._leaving.add(local)
            local.finish()

    def _ping(self) -> None:
        self._tell(self._calls.ping(int(self._clock.seconds())))

    def _tell(self, call: bytes) -> None:
        self.transport.write(self._encode(PROXY, call))

    def _abort(self, why: str) -> None:
        self._why = why
        self.transport.abortConnection()

    def _isStuck(self) -> None:
        self._stuck = None
        self._abort(f"the proxy has taken nothing for {STUCK:g} s")

    def _cancelStuck(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    # The service's side, for LocalConnection

    def sent(self, local: Connection, data: bytes) -> None:
        """Send a client what the service has for it."""
        address = self._addresses.get(local)
        if address is not None:
            for i in range(0, len(data), MAX_PAYLOAD):
                self.transport.write(self._encode(address, data[i : i + MAX_PAYLOAD]))
            if self._isPaused:
                self._takeTurns(local, len(data))

    def _takeTurns(self, local: Connection, size: int) -> None:
        """It was read from while the proxy is slow: let the others be, before it is again.

        If all were stopped at once, the first to go on would fill what the proxy has taken, and no
        other would ever be read from.
        """
        self._addresses[local] = self._addresses.pop(local)
        self._hold(local)
        self._untaken += size
        if self._untaken > MAX_UNTAKEN and len(self._held) < len(self._addresses):
            for each in self._addresses:
                each.hold()
            self._held = dict.fromkeys(self._addresses)

    def _hold(self, local: Connection) -> None:
        local.hold()
        self._held[local] = None

    def gone(self, local: Connection, failure: Failure | None) -> None:
        """The service has closed a client's connection, or there never was one."""
        hasLeft = local in self._leaving  # its client was faster
        self._leaving.discard(local)
        self._held.pop(local, None)
        self._slow.discard(local)
        self._unwanted.discard(local)
        if failure is None:
            self._reports[local.where].over()
        elif not (hasLeft or failure.check(CancelledError)):
            self._reports[local.where].trouble(
                f"cannot connect to the service at {local.where}: {whyNotConnected(failure)}"
            )
        address = self._addresses.pop(local, None)
        if address is not None:
            del self._clients[address]
            self._tell(self._calls.disconnectClient(address))
        if len(self._clients) + len(self._leaving) <= self._service.mostClients // 2:
            self._isCrowded = False

    def waits(self, local: Connection, change: int) -> None:
        """More or less than before waits for the service: hold up the proxy if it is too much."""
        self._waiting += change
        if self._pausesClients:
            self._paceClient(local)
        # What was too much must be halved, or the proxy would be stopped and started all the time.
        if local.queued > MAX_QUEUE:
            self._full.add(local)
        elif local.queued <= MAX_QUEUE // 2:
            self._full.discard(local)
        limit = MAX_QUEUES // 2 if self._isHeldUp else MAX_QUEUES
        isHeldUp = bool(self._full) or self._waiting > limit
        if isHeldUp == self._isHeldUp or self._why is not None:
            return
        self._isHeldUp = isHeldUp
        if isHeldUp:
            self._heartbeat.hold("receiving")
            self.transport.pauseProducing()
            self._stall = self._clock.callLater(STALL, self._checkStalled)
        else:
            self._cancelStall()
            self._heartbeat.release("receiving")
            self.transport.resumeProducing()

    def _paceClient(self, local: Connection) -> None:
        """Have the proxy send nothing more of a client for whom much waits, or again."""
        address = self._addresses.get(local)
        if address is None:
            return  # it has left
        much = min(MUCH, MAX_QUEUES // 2 // len(self._addresses))
        if local in self._unwanted:
            if local.queued <= much // 2:
                self._unwanted.remove(local)
                self._tell(self._calls.resumeClient(address))
        elif local.queued > much:
            self._unwanted.add(local)
            self._tell(self._calls.pauseClient(address))

    def _checkStalled(self) -> None:
        """Cut off who holds up the proxy and takes nothing."""
        self._stall = self._clock.callLater(STALL, self._checkStalled)
        patience = STALL if len(self._clients) > 1 else LONE_STALL
        limit = self._clock.seconds() - patience
        for local in list(self._full or {*self._addresses, *self._leaving}):
            if local.queued and local.since <= limit:
                self._reports[local.where].trouble(
                    f"the service at {local.where} does not read what a client sends"
                )
                local.cut()

    def _cancelStall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
