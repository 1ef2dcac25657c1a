"""The tunnel proxy that all members share: a server is found from everywhere, a uuid is unique.

Owns the way of a registration: its uuid is taken first, then a server is registered here, and a
client goes to the member where its server is. Knows nothing of links, nor of the directory but what
`Places` says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from zope.interface import implementer

from nymearemoteproxy.cluster.asking import IAsking, MemberGone, MemberSilent, NobodyThere
from nymearemoteproxy.cluster.directory import DirectoryError, IDirectory
from nymearemoteproxy.cluster.linking import LinkFailed
from nymearemoteproxy.cluster.places import Kind, Places, Seat
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.rendezvous import NobodyWaits
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ClientRegistration,
    Registration,
    ServerRegistration,
)
from nymearemoteproxy.tunnelproxy.ends import Origin
from nymearemoteproxy.tunnelproxy.switchboard import ISwitchboard, Switchboard, Terms


def seatOf(uuid: UUID) -> Seat:
    """Return the place of a uuid."""
    return Seat(Kind.UUID, uuid.bytes)


@implementer(ISwitchboard)
class ClusterSwitchboard:
    """Connects clients with the server they ask for, whichever members they come to.

    :param local: the tunnel proxy of this member.
    :param asking: asks other members.
    """

    def __init__(
        self, local: Switchboard, directory: IDirectory, places: Places, asking: IAsking
    ) -> None:
        self.local = local
        self._directory = directory
        self._places = places
        self._asking = asking
        # Clients of ours whose servers are elsewhere, and registrations that are under way.
        self._away: dict[UUID, Origin] = {}
        local.freed = self._freed

    def change(
        self, hello: Mapping[str, str], terms: Terms, servers: Collection[UUID] | None
    ) -> None:
        self.local.change(hello, terms, servers)

    @inlineCallbacks
    def register(self, registration: Registration, origin: Origin) -> Any:
        uuid = registration.uuid
        yield self._places.awake()
        away = self._away.get(uuid)
        if away is not None:
            # It may be this one's own connection of before, which is dead.
            yield away.look()
            if self._away.get(uuid) is away:
                raise PlaceRefused(Outcome.ALREADY_REGISTERED)
        yield self._take(uuid)
        try:
            if isinstance(registration, ServerRegistration):
                place = yield self.local.register(registration, origin)
            else:
                place = yield self._connect(registration, origin)
        finally:
            self._freed(uuid)
        return place

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
        if self.local.origin(uuid) is None and uuid not in self._away:
            self._places.leave(seatOf(uuid))

    @inlineCallbacks
    def _connect(self, registration: ClientRegistration, origin: Origin) -> Any:
        if self.local.isServer(registration.serverUuid):
            place = yield self.local.register(registration, origin)
            return place
        uuid, seat = registration.uuid, seatOf(registration.serverUuid)
        if self.local.origin(uuid) is not None:
            yield self.local.register(registration, origin)  # which looks, and refuses
        if uuid in self._away:
            raise PlaceRefused(Outcome.ALREADY_REGISTERED)
        self._away[uuid] = origin
        release = partial(self._left, uuid)
        try:
            holder = yield self._findServer(seat)
            name = self._places.name(seat)
            place = yield self._asking.visit(holder, name, registration, origin, release)
        except BaseException as error:
            release()
            if isinstance(error, NobodyThere | MemberGone):
                raise PlaceRefused(Outcome.SERVER_NOT_FOUND) from None
            if isinstance(error, MemberSilent | LinkFailed):
                raise PlaceRefused(Outcome.MEMBER_SILENT) from None
            raise
        return place

    @inlineCallbacks
    def _findServer(self, seat: Seat) -> Any:
        if self._directory.secret is None:
            raise PlaceRefused(Outcome.DIRECTORY_UNAVAILABLE)
        try:
            holder = yield self._directory.find(self._places.name(seat))
        except DirectoryError:
            raise PlaceRefused(Outcome.DIRECTORY_UNAVAILABLE) from None
        if holder is None or self._places.isOurs(holder):
            raise NobodyThere
        return holder

    def _left(self, uuid: UUID) -> None:
        del self._away[uuid]
        self._freed(uuid)

    # The home

    def isServer(self, uuid: UUID) -> bool:
        """Tell whether a server is registered here."""
        return self.local.isServer(uuid)

    def visit(self, registration: ClientRegistration, origin: Origin) -> Deferred[Place]:
        """Connect a client of another member to a server that is registered here.

        :returns: as with `register`; also fails with `NobodyWaits`.
        """
        ready = self._places.awake()
        return ready.addCallback(lambda _awake: self._visit(registration, origin))

    def _visit(self, registration: ClientRegistration, origin: Origin) -> Deferred[Place]:
        if not self.local.isServer(registration.serverUuid):
            raise NobodyWaits
        return self.local.register(registration, origin)

    def look(self, seat: Seat) -> Deferred[bool]:
        """Find out whether a server or a client of ours with this uuid is there."""
        uuid = UUID(bytes=seat.digest)
        origin = self._away.get(uuid) or self.local.origin(uuid)
        return succeed(False) if origin is None else origin.look()

    def lost(self, seat: Seat) -> None:
        """Another member has this uuid, too: a server of ours would not be found."""
        self.local.expel(UUID(bytes=seat.digest), Outcome.PLACE_LOST)
