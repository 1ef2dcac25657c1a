"""The tunnel proxy that all members share: a server is found from everywhere, a uuid is unique.

Owns the way of a registration: its uuid is taken first, then a server is registered here, and a
client goes to the member where its server is. Knows nothing of links, nor of the directory but what
`Places` says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from zope.interface import implementer

from nymearemoteproxy.cluster.asking import IAsking, MemberGone, MemberSilent, NobodyThere
from nymearemoteproxy.cluster.directory import DirectoryError, IDirectory
from nymearemoteproxy.cluster.places import Kind, Places, PlaceSeat
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.rendezvous import NobodyWaits
from nymearemoteproxy.protocol.linkmessages import Visit
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ClientRegistration,
    Registration,
    ServerRegistration,
)
from nymearemoteproxy.tunnelproxy.ends import Origin
from nymearemoteproxy.tunnelproxy.switchboard import ISwitchboard, Switchboard, Terms


@dataclass(frozen=True)
class FarOrigin(Origin):
    """Where a client comes from that another member holds.

    :ivar ask: with which it was asked for.
    """

    ask: Visit | None = None


def seatOf(uuid: UUID) -> PlaceSeat:
    """Return the place of a uuid."""
    return PlaceSeat(Kind.UUID, uuid.bytes)


@implementer(ISwitchboard)
class ClusterSwitchboard:
    """Connects clients with the server they ask for, whichever members they come to.

    :param local: the tunnel proxy of this member.
    :param asking: asks other members.
    :param awake: see `Reclaiming.awake`.
    """

    def __init__(
        self,
        local: Switchboard,
        directory: IDirectory,
        places: Places,
        asking: IAsking,
        awake: Callable[[], Deferred[None]],
    ) -> None:
        self.local = local
        self._directory = directory
        self._places = places
        self._asking = asking
        self._awake = awake
        # Clients of ours whose servers are elsewhere, and how many registrations are under way.
        self._away: dict[UUID, Origin] = {}
        self._coming: Counter[UUID] = Counter()
        local.freed = self._freed

    def change(
        self, hello: Mapping[str, str], terms: Terms, servers: Collection[UUID] | None
    ) -> None:
        self.local.change(hello, terms, servers)

    @inlineCallbacks
    def register(self, registration: Registration, origin: Origin) -> Any:
        uuid = registration.uuid
        self._coming[uuid] += 1
        try:
            yield self._awake()
            if not origin.isVisitor:  # its uuid is made up for the visit, and nobody else's
                yield self._take(uuid)
            yield self._checkUnused(uuid)
            if isinstance(registration, ServerRegistration):
                place = yield self._registerHere(registration, origin)
            else:
                place = yield self._connect(registration, origin)
        finally:
            self._coming[uuid] -= 1
            if not self._coming[uuid]:
                del self._coming[uuid]
            self._freed(uuid)
        return place

    def _origin(self, uuid: UUID) -> Origin | None:
        """Return where the one with this uuid comes from that is registered by this member."""
        return self._away.get(uuid) or self.local.origin(uuid)

    @inlineCallbacks
    def _checkUnused(self, uuid: UUID) -> Any:
        holder = self._origin(uuid)
        if holder is not None:
            # It may be this one's own connection of before, which is dead.
            yield holder.look()
            if self._origin(uuid) is not None:
                raise PlaceRefused(Outcome.ALREADY_REGISTERED)

    @inlineCallbacks
    def _take(self, uuid: UUID) -> Any:
        """Have the uuid for this member."""
        seat = seatOf(uuid)
        holder = yield self._places.take(seat)
        while holder is not None:
            try:
                yield self._asking.look(holder, self._places.name(seat))
            except (NobodyThere, MemberGone):
                holder = yield self._places.seize(seat, holder)
            except MemberSilent:
                raise PlaceRefused(Outcome.MEMBER_SILENT) from None
            else:
                raise PlaceRefused(Outcome.ALREADY_REGISTERED)

    def _freed(self, uuid: UUID) -> None:
        origin = self._origin(uuid)
        # The place of another member's client, which is at a server of ours, is that member's.
        isOurs = origin is not None and not isinstance(origin, FarOrigin)
        if not (isOurs or uuid in self._coming):
            self._places.leave(seatOf(uuid))

    @inlineCallbacks
    def _registerHere(self, registration: Registration, origin: Origin) -> Any:
        place = yield self.local.register(registration, origin)
        if registration.uuid in self._away:
            # Counting those of its address took its time, and another one went elsewhere.
            place.tunnel.abandon()
            raise PlaceRefused(Outcome.ALREADY_REGISTERED)
        return place

    @inlineCallbacks
    def _connect(self, registration: ClientRegistration, origin: Origin) -> Any:
        if self.local.isServer(registration.serverUuid):
            place = yield self._registerHere(registration, origin)
            return place
        uuid, seat = registration.uuid, seatOf(registration.serverUuid)
        holder = yield self._findServer(seat)
        yield self._checkUnused(uuid)  # another one may have come meanwhile
        self._away[uuid] = origin
        name, release = self._places.name(seat), partial(self._left, uuid)
        try:
            place = yield self._asking.visit(holder, name, registration, origin, release)
        except (NobodyThere, MemberGone):
            raise PlaceRefused(Outcome.SERVER_NOT_FOUND) from None
        except MemberSilent:
            raise PlaceRefused(Outcome.MEMBER_SILENT) from None
        return place

    @inlineCallbacks
    def _findServer(self, seat: PlaceSeat) -> Any:
        if self._directory.secret is None:
            raise PlaceRefused(Outcome.DIRECTORY_UNAVAILABLE)
        try:
            holder = yield self._directory.find(self._places.name(seat))
        except DirectoryError:
            raise PlaceRefused(Outcome.DIRECTORY_UNAVAILABLE) from None
        if holder is None or self._places.isOurs(holder):
            raise PlaceRefused(Outcome.SERVER_NOT_FOUND)
        return holder

    def _left(self, uuid: UUID) -> None:
        del self._away[uuid]
        self._freed(uuid)

    # The home

    def visit(self, registration: ClientRegistration, origin: Origin) -> Deferred[Place]:
        """Connect a client of another member to a server that is registered here.

        :returns: as with `register`; also fails with `NobodyWaits`.
        """
        ready = self._awake()
        return ready.addCallback(lambda _awake: self._visit(registration, origin))

    def _visit(self, registration: ClientRegistration, origin: Origin) -> Deferred[Place]:
        if not self.local.isServer(registration.serverUuid):
            raise NobodyWaits
        return self.local.register(registration, origin)

    def look(self, seat: PlaceSeat) -> Deferred[bool]:
        """Find out whether a server or a client of ours with this uuid is there."""
        uuid = UUID(bytes=seat.digest)
        origin = self._origin(uuid)
        looked = succeed(False) if origin is None else origin.look()
        return looked.addCallback(lambda isThere: isThere or self._isTaken(uuid))

    def _isTaken(self, uuid: UUID) -> bool:
        """Tell whether one is registered, be it since a moment ago, or about to be."""
        return self._origin(uuid) is not None or uuid in self._coming

    def lost(self, seat: PlaceSeat) -> None:
        """Another member has this uuid, too: a server of ours would not be found."""
        self.local.expel(UUID(bytes=seat.digest), Outcome.PLACE_LOST)
