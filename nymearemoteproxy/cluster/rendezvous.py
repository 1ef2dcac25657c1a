"""The meeting place that all members share: clients with one key meet, wherever they come in.

Owns the way of a client with a key: to this member's own meeting place if the key is at home here,
else to the member where it is. Knows nothing of links, nor of the directory but what `Places` says.

Theory of operation
-------------------

A key is at home with the member that claimed it. There everything is decided by its `Rendezvous`,
as in a single process: who waits, who meets whom, who is refused. A client that comes elsewhere is
not told so; its process asks the home. If that says that nobody is there, or it is gone, the asker
takes the place, and is the home from then on. If it does not answer, it is asked again until the
client's own time is over.

Asking never leaves anything behind. The one who waits at home is told of nothing before the asker
has said that its client is still there, so an answer that is lost, or late, is as if nothing had
been asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.cluster.asking import IAsking, MemberGone, MemberSilent, NobodyThere
from nymearemoteproxy.cluster.directory import Holder
from nymearemoteproxy.cluster.places import Kind, Places, PlaceSeat
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.meeting.place import Look, Place
from nymearemoteproxy.meeting.rendezvous import Confirm, IRendezvous, NobodyWaits, Rendezvous
from nymearemoteproxy.protocol.session import Identity

log = ProxyLogger()

ASK_AGAIN = 1.0
"""Seconds until a member that did not answer is asked again."""


@dataclass(eq=False)
class _Guest:
    """A client of this member that wants to meet somebody.

    :ivar met: what it waits for; None when that has come.
    """

    seat: PlaceSeat
    identity: Identity
    look: Look
    record: Any
    met: Deferred[Place] | None = None
    under: Callable[[], object] | None = None  # gives up what is under way for it
    isWaiting: bool = False  # at home
    isGone: bool = False

    def tell(self, result: Place | Failure) -> None:
        """Tell it; from then on nothing refers to each other, which older Twisteds would leave."""
        met, self.met = self.met, None
        assert met is not None
        met.callback(result)


@implementer(IRendezvous)
class ClusterRendezvous:
    """Brings clients together that have the same key, whichever members they come to.

    :param local: where those meet whose key is at home here.
    :param asking: asks other members.
    :param awake: see `Reclaiming.awake`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        local: Rendezvous,
        places: Places,
        asking: IAsking,
        awake: Callable[[], Deferred[None]],
    ) -> None:
        self._clock = clock
        self._local = local
        self._places = places
        self._asking = asking
        self._awake = awake
        self._guests: dict[bytes, dict[_Guest, None]] = {}  # that wait at home, by key
        local.freed = self._freed

    # Clients of this member

    def join(
        self, key: bytes, identity: Identity, look: Look, record: Any = None
    ) -> Deferred[Place]:
        guest = _Guest(PlaceSeat(Kind.KEY, key), identity, look, record)
        met: Deferred[Place] = Deferred(lambda _met: self._giveUp(guest))
        guest.met = met
        self._seek(guest)
        return met

    def _giveUp(self, guest: _Guest) -> None:
        guest.isGone = True
        guest.met = None
        if guest.under is not None:
            guest.under()

    def _seek(self, guest: _Guest) -> None:
        """Find out where the key is at home."""
        guest.under = None
        self._await(self._awake(), guest, lambda _awake: self._take(guest))

    def _take(self, guest: _Guest) -> None:
        self._await(self._places.take(guest.seat), guest, lambda holder: self._go(guest, holder))

    def _seize(self, guest: _Guest, old: Holder) -> None:
        taken = self._places.seize(guest.seat, old)
        self._await(taken, guest, lambda holder: self._go(guest, holder))

    def _go(self, guest: _Guest, holder: Holder | None) -> None:
        if holder is not None:
            if not guest.isGone:
                self._ask(guest, holder)
        elif guest.isGone:
            self._freeUnlessUsed(guest.seat)
        else:
            self._wait(guest)

    def _wait(self, guest: _Guest) -> None:
        """The key is at home here."""
        key = guest.seat.digest
        joined = self._local.join(key, guest.identity, guest.look, guest.record)
        guest.isWaiting = True
        guest.under = joined.cancel
        self._guests.setdefault(key, {})[guest] = None
        joined.addBoth(self._waited, guest)

    def _waited(self, result: Place | Failure, guest: _Guest) -> None:
        key = guest.seat.digest
        guests = self._guests[key]
        del guests[guest]
        if not guests:
            del self._guests[key]
        guest.under = None
        if guest.isWaiting:
            guest.isWaiting = False
            self._answer(guest, result)

    def _answer(self, guest: _Guest, result: Place | Failure) -> None:
        if not guest.isGone:
            guest.tell(result)
        elif isinstance(result, Place):
            result.tunnel.abandon()
        else:
            result.trap(CancelledError)

    def _ask(self, guest: _Guest, holder: Holder) -> None:
        """The key is at home elsewhere."""
        name = self._places.name(guest.seat)
        asked = self._asking.meet(holder, name, guest.identity, guest.record)
        guest.under = asked.cancel
        asked.addCallbacks(
            lambda place: self._answer(guest, place),
            lambda failure: self._notMet(failure, guest, holder),
        ).addErrback(self._failed, guest)

    def _notMet(self, failure: Failure, guest: _Guest, holder: Holder) -> None:
        guest.under = None
        if guest.isGone:
            return
        if failure.check(NobodyThere, MemberGone):
            self._seize(guest, holder)
        elif failure.check(MemberSilent):
            again = self._clock.callLater(ASK_AGAIN, self._seek, guest)
            guest.under = again.cancel
        else:
            guest.tell(failure)

    def _await(self, asked: Deferred[Any], guest: _Guest, go: Callable[[Any], None]) -> None:
        asked.addCallback(go).addErrback(self._failed, guest)

    def _failed(self, failure: Failure, guest: _Guest) -> None:
        """A fault of ours: it costs this client's connection."""
        if guest.isGone or guest.met is None:
            log.failure("a client's way to its partner failed", failure)
        else:
            guest.tell(failure)

    # The home

    def _freed(self, key: bytes) -> None:
        self._places.leave(PlaceSeat(Kind.KEY, key))

    def _freeUnlessUsed(self, seat: PlaceSeat) -> None:
        if not self._local.isInUse(seat.digest):
            self._places.leave(seat)

    def isInUse(self, seat: PlaceSeat) -> bool:
        """Tell whether somebody waits here under a key, or there is a tunnel."""
        return self._local.isInUse(seat.digest)

    def visit(
        self, seat: PlaceSeat, identity: Identity, confirm: Confirm, look: Look
    ) -> Deferred[Place]:
        """Have a client of another member meet the one that waits here.

        :returns: as with `Rendezvous.visit`.
        """
        ready = self._awake()
        ready.addCallback(lambda _awake: self._places.settled(seat))
        return ready.addCallback(lambda _settled: self._visit(seat, identity, confirm, look))

    def _visit(
        self, seat: PlaceSeat, identity: Identity, confirm: Confirm, look: Look
    ) -> Deferred[Place]:
        if not self._local.isInUse(seat.digest):
            raise NobodyWaits
        return self._local.visit(seat.digest, identity, confirm, look)

    def lost(self, seat: PlaceSeat, holder: Holder) -> None:
        """Another member has this key, too: whoever waits here goes there."""
        for guest in list(self._guests.get(seat.digest, ())):
            if not guest.isWaiting:
                continue  # it has met one of the others here, who went on when the first one left
            guest.isWaiting = False
            assert guest.under is not None
            guest.under()
            self._ask(guest, holder)
