"""Who is registered with the tunnel proxy, and who may be.

Owns the uuids in use and the limits of the tunnel proxy. Knows nothing of transports or of what is
relayed. `Switchboard` keeps everything in this process; whatever shares it between processes later
provides the same interface, which is why it answers through Deferreds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import Interface, implementer

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol import lengthprefixed, slip
from nymearemoteproxy.protocol.dialogue import Dialogue
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.packets import HIGHEST_ADDRESS, Encode, Reader
from nymearemoteproxy.protocol.registration import (
    ClientRegistration,
    Registration,
    ServerRegistration,
)
from nymearemoteproxy.protocol.session import TUNNEL_PROXY_API, Role
from nymearemoteproxy.protocol.unescaping import fastest
from nymearemoteproxy.tunnelproxy.backlog import Backlog
from nymearemoteproxy.tunnelproxy.clientend import SLICE_SIZE, ClientEnd
from nymearemoteproxy.tunnelproxy.counts import ICounts, Release, SourceCounts
from nymearemoteproxy.tunnelproxy.ends import Origin
from nymearemoteproxy.tunnelproxy.pacedend import PacedClientEnd
from nymearemoteproxy.tunnelproxy.serverend import PACKETS_A_TURN, ServerEnd


class ISwitchboard(Interface):
    """Connects clients with the server they ask for."""

    def register(registration: Registration, origin: Origin) -> Deferred[Place]:
        """Register a connection as a server, or as a client of one.

        :returns: a Deferred that fires with a place, in whose tunnel the far end is already; the
            registration ends with the tunnel. It fails with `PlaceRefused`. It is not cancelled.
        """

    def change(hello: Mapping[str, str], terms: Terms, servers: Collection[UUID] | None) -> None:
        """Go by these from now on; those that are registered stay.

        :param hello: the params of the answer to Hello.
        :param terms: all but the backlogs count for those who register from now on.
        :param servers: that may register; None = any.
        """


@dataclass(frozen=True)
class Terms:
    """What the tunnel proxy demands and allows; sizes in bytes, times in seconds.

    The meaning of each is in the settings reference. 0 = none for `serverTimeout`, `packetSize`,
    `messageSize`, the numbers of servers, clients and visitors, and `clientRate`, the bytes a
    second that a client is sent at most.
    """

    serverTimeout: float = 60.0
    packetSize: int = 4 << 20
    messageSize: int = 10240
    clientBacklog: int = 16 << 20
    totalBacklog: int = 256 << 20
    clientPatience: float = 3.0
    serversPerAddress: int = 0
    clientsPerAddress: int = 0
    clientsPerServer: int = 0
    visitorsPerServer: int = 1000
    clientRate: float = 0.0


@implementer(ISwitchboard)
class Switchboard:
    """The tunnel proxy of one process; any server may register until `change` says otherwise.

    What is not told here is told of `ISwitchboard.change`.

    :param turns: the line of those who have more to do than one turn of the reactor allows; the
        one in which all other connections stand, too.
    :param counts: of those who come from one address; other processes may share it.
    :ivar freed: is called with a uuid that no server and no client has any more.
    """

    def __init__(
        self,
        clock: IReactorTime,
        hello: Mapping[str, str],
        terms: Terms,
        turns: Turns,
        counts: ICounts | None = None,
    ) -> None:
        self._clock = clock
        self._turns = turns
        self.hello = hello
        self.terms = terms
        self._allowed: Collection[UUID] | None = None
        self._backlog = Backlog(terms.clientBacklog, terms.totalBacklog, terms.clientPatience)
        self.freed: Callable[[UUID], object] = _ignore
        self._servers: dict[UUID, ServerEnd] = {}
        self._clients: dict[UUID, ClientEnd] = {}
        self._counts = counts or SourceCounts()
        self._undo = fastest()  # found at the start, since to import it would hold up everybody

    @property
    def servers(self) -> int:
        """How many servers are registered."""
        return len(self._servers)

    @property
    def clients(self) -> int:
        """How many clients are connected to a server."""
        return len(self._clients)

    def isServer(self, uuid: UUID) -> bool:
        """Tell whether a server is registered with a uuid."""
        return uuid in self._servers

    def origin(self, uuid: UUID) -> Origin | None:
        """Return where the server or the client with a uuid comes from."""
        holder = self._servers.get(uuid) or self._clients.get(uuid)
        return None if holder is None else holder.origin

    def expel(self, uuid: UUID, outcome: Outcome) -> None:
        """End a server's connection, if there is one with this uuid."""
        server = self._servers.get(uuid)
        if server is not None:
            server.expel(outcome)

    def drop(self, uuid: UUID) -> None:
        """Give up a client, if there is one with this uuid: it is gone without a word."""
        client = self._clients.get(uuid)
        if client is not None:
            client.giveUp(Outcome.CONNECTION_LOST)

    def change(
        self, hello: Mapping[str, str], terms: Terms, servers: Collection[UUID] | None
    ) -> None:
        self.hello = hello
        self.terms = terms
        self._allowed = servers

    def register(self, registration: Registration, origin: Origin) -> Deferred[Place]:
        holder = self.origin(registration.uuid)
        if holder is None:
            return maybeDeferred(self._register, registration, origin)
        # It may be this one's own connection of before, which is dead.
        looked = holder.look()
        return looked.addCallback(lambda _isThere: self._register(registration, origin))

    def _register(self, registration: Registration, origin: Origin) -> Deferred[Place]:
        self._check(registration, origin)
        if isinstance(registration, ServerRegistration):
            counted = self._counts.take(Role.SERVER, origin.source, self.terms.serversPerAddress)
        else:
            counted = self._counts.take(Role.CLIENT, origin.source, self.terms.clientsPerAddress)
        return counted.addCallback(self._counted, registration, origin)

    def _counted(
        self, release: Release | None, registration: Registration, origin: Origin
    ) -> Place:
        """Register one whose address has room."""
        isServer = isinstance(registration, ServerRegistration)
        if release is None:
            raise PlaceRefused(
                Outcome.TOO_MANY_SERVERS_FROM_ADDRESS
                if isServer
                else Outcome.TOO_MANY_CLIENTS_FROM_ADDRESS
            )
        try:
            self._check(registration, origin)  # again, for the answer may have taken its time
            end = self._enlist(registration, origin)
        except PlaceRefused:
            release()
            raise
        ends: dict[UUID, Any] = self._servers if isServer else self._clients
        ends[registration.uuid] = end

        def releaseAll() -> None:
            del ends[registration.uuid]
            release()
            self.freed(registration.uuid)

        tunnel = Tunnel(releaseAll)
        tunnel.attach(end)
        return Place(tunnel)

    def _check(self, registration: Registration, origin: Origin) -> None:
        """Refuse what may not be registered, wherever it comes from."""
        uuid = registration.uuid
        if uuid in self._servers or uuid in self._clients:
            raise PlaceRefused(Outcome.ALREADY_REGISTERED)
        isReserved = self._allowed is not None and uuid in self._allowed
        if isinstance(registration, ServerRegistration):
            if self._allowed is not None and not isReserved:
                raise PlaceRefused(Outcome.SERVER_NOT_ALLOWED)
        elif isReserved:
            # Otherwise it could keep the server out that the uuid is for.
            raise PlaceRefused(Outcome.UUID_RESERVED)
        else:
            self._checkServer(registration.serverUuid, origin)

    def _checkServer(self, uuid: UUID, origin: Origin) -> None:
        """Refuse a client of a server that is not there, as far as its account can know."""
        server = self._servers.get(uuid)
        if server is None or origin.subject not in (None, server.origin.subject):
            raise PlaceRefused(Outcome.SERVER_NOT_FOUND)
        if not server.isOpenTo(origin):
            raise PlaceRefused(Outcome.VISITORS_NOT_WANTED)

    def _enlist(self, registration: Registration, origin: Origin) -> ServerEnd | ClientEnd:
        if isinstance(registration, ServerRegistration):
            return self._makeServerEnd(registration, origin)
        return self._makeClientEnd(registration, origin)

    def _makeServerEnd(self, registration: ServerRegistration, origin: Origin) -> ServerEnd:
        terms = self.terms
        return ServerEnd(
            self._clock,
            origin,
            Dialogue(TUNNEL_PROXY_API, self.hello, terms.messageSize),
            *self._makeFraming(registration.lengthPrefixed),
            terms.serverTimeout,
            self._turns,
            self._backlog,
            registration.flowControl,
            registration.front,
        )

    def _makeFraming(self, lengthPrefixed: bool) -> tuple[Reader, Encode]:
        limit = self.terms.packetSize
        if lengthPrefixed:
            return lengthprefixed.PieceReader(limit, PACKETS_A_TURN), lengthprefixed.encode
        return slip.PacketReader(limit, PACKETS_A_TURN, self._undo), slip.encode

    def _makeClientEnd(self, registration: ClientRegistration, origin: Origin) -> ClientEnd:
        server = self._servers[registration.serverUuid]
        most = min(self.terms.clientsPerServer or HIGHEST_ADDRESS, HIGHEST_ADDRESS)
        if server.clients >= most:
            raise PlaceRefused(Outcome.TOO_MANY_CLIENTS_OF_SERVER)
        if origin.isVisitor and 0 < self.terms.visitorsPerServer <= server.visitors:
            raise PlaceRefused(Outcome.TOO_MANY_VISITORS)
        if server.isStalled:
            raise PlaceRefused(Outcome.SERVER_STALLED)
        if self.terms.clientRate:
            return PacedClientEnd(
                self.terms.clientRate, self._clock, origin, registration, server, self._backlog
            )
        return ClientEnd(self._clock, origin, registration, server, self._backlog, SLICE_SIZE)


def _ignore(_uuid: UUID) -> None:
    """Nobody wants to know."""
