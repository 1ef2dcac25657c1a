"""Who is registered with the tunnel proxy, and who may be.

Owns the uuids in use and the limits of the tunnel proxy. Knows nothing of transports or of what is
relayed. `Switchboard` keeps everything in this process; whatever shares it between processes later
provides the same interface, which is why it answers through Deferreds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorTime
from zope.interface import Interface, implementer

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.dialogue import Dialogue
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ClientRegistration,
    Registration,
    ServerRegistration,
)
from nymearemoteproxy.protocol.session import TUNNEL_PROXY_API
from nymearemoteproxy.protocol.slip import HIGHEST_ADDRESS
from nymearemoteproxy.tunnelproxy.backlog import Backlog
from nymearemoteproxy.tunnelproxy.clientend import ClientEnd
from nymearemoteproxy.tunnelproxy.ends import Origin
from nymearemoteproxy.tunnelproxy.serverend import ServerEnd


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
    `messageSize` and the numbers of servers and clients.
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


@implementer(ISwitchboard)
class Switchboard:
    """The tunnel proxy of one process; any server may register until `change` says otherwise.

    What is not told here is told of `ISwitchboard.change`.

    :param turns: the line of those who have more to do than one turn of the reactor allows; the
        one in which all other connections stand, too.
    :ivar freed: is called with a uuid that no server and no client has any more.
    """

    def __init__(
        self, clock: IReactorTime, hello: Mapping[str, str], terms: Terms, turns: Turns
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
        self._serversFrom: Counter[str | None] = Counter()
        self._clientsFrom: Counter[str | None] = Counter()

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
            return execute(self._register, registration, origin)
        # It may be this one's own connection of before, which is dead.
        looked = holder.look()
        return looked.addCallback(lambda _isThere: self._register(registration, origin))

    def _register(self, registration: Registration, origin: Origin) -> Place:
        if isinstance(registration, ServerRegistration):
            return self._registerServer(registration, origin)
        return self._registerClient(registration, origin)

    def _registerServer(self, registration: ServerRegistration, origin: Origin) -> Place:
        uuid = registration.uuid
        self._checkUnused(uuid)
        if self._allowed is not None and uuid not in self._allowed:
            raise PlaceRefused(Outcome.SERVER_NOT_ALLOWED)
        terms = self.terms
        _checkRoom(
            self._serversFrom[origin.source],
            terms.serversPerAddress,
            Outcome.TOO_MANY_SERVERS_FROM_ADDRESS,
        )
        dialogue = Dialogue(TUNNEL_PROXY_API, self.hello, terms.messageSize)
        end = ServerEnd(
            self._clock,
            origin,
            dialogue,
            terms.packetSize,
            terms.serverTimeout,
            self._turns,
            self._backlog,
        )
        self._servers[uuid] = end
        release = partial(self._release, self._servers, uuid)
        return _place(end, _counted(self._serversFrom, origin, release))

    def _registerClient(self, registration: ClientRegistration, origin: Origin) -> Place:
        uuid = registration.uuid
        self._checkUnused(uuid)
        if self._allowed is not None and uuid in self._allowed:
            # Otherwise it could keep the server out that the uuid is for.
            raise PlaceRefused(Outcome.UUID_RESERVED)
        server = self._servers.get(registration.serverUuid)
        if server is None:
            raise PlaceRefused(Outcome.SERVER_NOT_FOUND)
        terms = self.terms
        _checkRoom(
            self._clientsFrom[origin.source],
            terms.clientsPerAddress,
            Outcome.TOO_MANY_CLIENTS_FROM_ADDRESS,
        )
        most = min(terms.clientsPerServer or HIGHEST_ADDRESS, HIGHEST_ADDRESS)
        _checkRoom(server.clients, most, Outcome.TOO_MANY_CLIENTS_OF_SERVER)
        if server.isStalled:
            raise PlaceRefused(Outcome.SERVER_STALLED)
        end = ClientEnd(self._clock, origin, registration, server, self._backlog)
        self._clients[uuid] = end
        release = partial(self._release, self._clients, uuid)
        return _place(end, _counted(self._clientsFrom, origin, release))

    def _release(self, ends: dict[UUID, Any], uuid: UUID) -> None:
        del ends[uuid]
        self.freed(uuid)

    def _checkUnused(self, uuid: UUID) -> None:
        if uuid in self._servers or uuid in self._clients:
            raise PlaceRefused(Outcome.ALREADY_REGISTERED)


def _ignore(_uuid: UUID) -> None:
    """Nobody wants to know."""


def _counted(
    counter: Counter[str | None], origin: Origin, release: Callable[[], object]
) -> Callable[[], object]:
    """Count a registration until it is released."""
    source = origin.source
    if source is None:
        return release
    counter[source] += 1

    def releaseCounted() -> None:
        release()
        counter[source] -= 1
        if not counter[source]:
            del counter[source]

    return releaseCounted


def _checkRoom(count: int, limit: int, outcome: Outcome) -> None:
    if 0 < limit <= count:
        raise PlaceRefused(outcome)


def _place(end: ServerEnd | ClientEnd, release: Callable[[], object]) -> Place:
    tunnel = Tunnel(release)
    tunnel.attach(end)
    return Place(tunnel)
