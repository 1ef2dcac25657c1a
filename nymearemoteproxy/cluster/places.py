"""The places that this member holds, or wants to: what the directory was told of each, and when.

Owns one small state machine for each place, so that no command overtakes another one about the same
place, and the names under which the directory knows them. Knows nothing of who is at a place, nor
of when all of them are claimed anew.

Theory of operation
-------------------

A place belongs to the member that claimed it first. While the answer is under way, whoever else of
this member comes to the same place waits for the same answer; and where a release is under way, for
that. So the directory is told one thing at a time about a place, and each claim has a number of its
own, so that a command that is late can harm no later one.

The directory failing is not the relay failing. A claim that is not answered in time makes the place
*unlisted*: this member acts as if it were its own, and others cannot know. While the directory is
known not to answer nothing is even asked. When it answers again, all places are claimed anew. Then
it may be found that another member has one of them: two were at one place and did not know. That
member keeps it, as it is in the directory. Whoever is here is told by `lost`, and the place stays
unlisted; from time to time it is looked whether it is free by then (`reclaiming`).

Names of places are made with the cluster's secret, so that who reads the directory learns no uuid
and no key. When the secret changes, all names do.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from nymearemoteproxy.cluster.directory import (
    CLAIMS_AT_ONCE,
    DirectoryError,
    Holder,
    IDirectory,
    unheeded,
)
from nymearemoteproxy.cluster.latencies import Latencies
from nymearemoteproxy.cluster.leftovers import Leftovers

NAME_SIZE = 16
"""Bytes of a name's digest, as many as of the digest that is hidden by it."""

MOST_NAMED = 1000
"""Names that are not made anew: each is needed ten times, most of them while a place is taken."""


class Kind(Enum):
    """What a place is for; a client and a server with one uuid want the same place."""

    KEY = "key"
    UUID = "uuid"


@dataclass(frozen=True)
class PlaceSeat:
    """A place, as this process knows it.

    :ivar digest: of a token and a nonce, or a uuid; the directory is never told.
    """

    kind: Kind
    digest: bytes = field(repr=False)


@lru_cache(MOST_NAMED)
def _nameOf(secret: bytes, seat: PlaceSeat) -> str:
    kind = seat.kind.value
    digest = hmac.digest(secret, kind.encode() + b":" + seat.digest, "sha256")[:NAME_SIZE]
    return f"{kind}:{digest.hex()}"


class _State(Enum):
    CLAIMING = auto()
    HELD = auto()
    UNLISTED = auto()
    RELEASING = auto()


Taken = Deferred[Holder | None]


@dataclass(eq=False)
class _Spot:
    seat: PlaceSeat
    state: _State
    holder: Holder
    waiting: list[Taken] = field(default_factory=list)
    settling: list[Deferred[None]] = field(default_factory=list)
    name: str | None = None  # under which the directory was asked for it
    isContested: bool = False  # another member holds it, too


class Places:
    """What this member holds.

    :param member: its id.
    :param leftovers: get what may stand in the directory although nobody is there any more.
    :param lost: is told of a place that another member holds, although somebody is at it here;
        again and again, as long as that is so.
    :ivar held: how many places are this member's.
    :ivar contested: how many are treated like that, and another member has them.
    :ivar losses: how many places that happened to.
    :ivar latencies: how long the directory took to answer claims.
    """

    def __init__(
        self,
        clock: IReactorTime,
        directory: IDirectory,
        member: bytes,
        leftovers: Leftovers,
        lost: Callable[[PlaceSeat, Holder], object],
    ) -> None:
        self._clock = clock
        self._directory = directory
        self._member = member
        self._lost = lost
        self._claims = 0
        self._spots: dict[PlaceSeat, _Spot] = {}
        self._seats: dict[str, PlaceSeat] = {}
        self._secret: bytes | None = None
        # To be claimed again, those first that were not for the longest time.
        self._unlisted: dict[PlaceSeat, _Spot] = {}
        self._leftovers = leftovers
        self.held = self.contested = self.losses = 0
        self.latencies = Latencies()

    @property
    def unlisted(self) -> int:
        """How many are treated like that, but the directory does not know, or another has them."""
        return len(self._unlisted)

    # Names

    def name(self, seat: PlaceSeat) -> str:
        """Return what the directory and other members call a place."""
        secret = self._directory.secret
        assert secret is not None
        return _nameOf(secret, seat)

    def seat(self, name: str) -> PlaceSeat | None:
        """Return the place of this name, if this member has to do with it."""
        return self._seats.get(name)

    def isOurs(self, holder: Holder) -> bool:
        """Tell whether this member is a holder."""
        return holder.member == self._member

    # Taking and leaving

    def take(self, seat: PlaceSeat) -> Taken:
        """Want a place; fires with who holds it, None when that is this member.

        From then on it has to be left by `leave`.
        """
        return self._take(seat, lambda spot: self._directory.claim(self.name(seat), spot.holder))

    def seize(self, seat: PlaceSeat, old: Holder) -> Taken:
        """Want a place whose holder does not have it any more."""
        return self._take(
            seat, lambda spot: self._directory.replace(self.name(seat), old, spot.holder)
        )

    def _take(self, seat: PlaceSeat, ask: Callable[[_Spot], Deferred[Holder]]) -> Taken:
        taken: Taken = Deferred()
        spot = self._spots.get(seat)
        if spot is None:
            spot = self._spots[seat] = _Spot(seat, _State.CLAIMING, self._nextClaim(), [taken])
            self._claim(spot, ask)
        elif spot.state in (_State.HELD, _State.UNLISTED):
            taken.callback(None)
        else:
            spot.waiting.append(taken)
        return taken

    def isContested(self, seat: PlaceSeat) -> bool:
        """Tell whether somebody is at a place here, and another member holds it."""
        spot = self._spots.get(seat)
        return spot is not None and spot.isContested

    def retake(self, seat: PlaceSeat, old: Holder) -> None:
        """Have a place that is contested, since its holder does not have it any more."""
        spot = self._spots.get(seat)
        if spot is not None and spot.isContested:
            name = spot.name = self.name(seat)
            replaced = self._directory.replace(name, old, spot.holder)
            replaced.addCallbacks(
                partial(self._reclaimed, spot), self._notReclaimed, errbackArgs=([spot],)
            )

    def settled(self, seat: PlaceSeat) -> Deferred[None]:
        """Fire when no claim of a place is under way."""
        spot = self._spots.get(seat)
        if spot is None or spot.state is not _State.CLAIMING:
            return succeed(None)
        return self._settled(spot)

    def _settled(self, spot: _Spot) -> Deferred[None]:
        """Fire when what the directory is asked about a place is answered, or given up."""
        settled: Deferred[None] = Deferred()
        spot.settling.append(settled)
        return settled

    def leave(self, seat: PlaceSeat) -> None:
        """Nobody is at a place any more."""
        spot = self._spots.get(seat)
        if spot is None or spot.state in (_State.CLAIMING, _State.RELEASING):
            return
        if spot.state is _State.UNLISTED:
            isAnothers = spot.isContested and self._directory.isAnswering
            if spot.name is not None and not isAnothers:
                self._leftovers.add(spot.name, spot.holder)
            self._drop(spot)
            return
        self._setState(spot, _State.RELEASING)
        name = spot.name
        assert name is not None
        self._leftovers.free(name, spot.holder).addCallback(self._released, spot)

    @inlineCallbacks
    def leaveAll(self) -> Generator[Deferred[Any], Any, None]:
        """Nobody is at any place any more, nor comes; fires when the directory was told, if it can.

        A claim that is under way may be one of a client that has left meanwhile.
        """
        while self._spots:
            for seat in list(self._spots):
                self.leave(seat)
            yield gatherResults([self._settled(spot) for spot in self._spots.values()])
        yield self._leftovers.clear()

    def _released(self, _none: None, spot: _Spot) -> None:
        self._drop(spot)
        if spot.waiting:
            # They want it anew, all of them together.
            again = self._spots[spot.seat] = _Spot(
                spot.seat, _State.CLAIMING, self._nextClaim(), spot.waiting
            )
            self._claim(again, lambda new: self._directory.claim(self.name(new.seat), new.holder))
        self._tellSettled(spot)

    def _nextClaim(self) -> Holder:
        self._claims += 1
        return Holder(self._member, self._claims)

    def _claim(self, spot: _Spot, ask: Callable[[_Spot], Deferred[Holder]]) -> None:
        if self._directory.secret is not None:
            self._seats[self.name(spot.seat)] = spot.seat
        if not self._directory.isAnswering or self._directory.secret is None:
            self._settle(spot, _State.UNLISTED)
            return
        spot.name = self.name(spot.seat)
        self._await(ask(spot), spot)

    def _await(self, asked: Deferred[Holder], spot: _Spot) -> None:
        asked.addBoth(self._answered, self._clock.seconds())
        asked.addCallbacks(
            self._claimed, self._notClaimed, callbackArgs=(spot,), errbackArgs=(spot,)
        )

    def _answered(self, result: Any, asked: float) -> Any:
        if not isinstance(result, Failure):
            self.latencies.add(self._clock.seconds() - asked)
        return result

    def _claimed(self, holder: Holder, spot: _Spot) -> None:
        name = self.name(spot.seat)
        if name != spot.name:
            # The secret is another one since.
            spot.name = name
            self._await(self._directory.claim(name, spot.holder), spot)
        elif holder == spot.holder:
            self._settle(spot, _State.HELD)
        elif holder.member == self._member:
            # Of a claim that was given up, and was done all the same.
            self._await(self._directory.replace(name, holder, spot.holder), spot)
        else:
            self._drop(spot)
            self._tell(spot, holder)

    def _notClaimed(self, failure: Failure, spot: _Spot) -> None:
        failure.trap(DirectoryError)
        self._settle(spot, _State.UNLISTED)

    def _settle(self, spot: _Spot, state: _State) -> None:
        self._setState(spot, state)
        if state is _State.UNLISTED:
            self._unlisted[spot.seat] = spot
        self._tell(spot, None)

    def _tell(self, spot: _Spot, holder: Holder | None) -> None:
        waiting, spot.waiting = spot.waiting, []
        for taken in waiting:
            if holder is None and spot.state not in (_State.HELD, _State.UNLISTED):
                # Whoever was told before has left again, at once.
                self.take(spot.seat).chainDeferred(taken)
            else:
                taken.callback(holder)
        self._tellSettled(spot)

    def _tellSettled(self, spot: _Spot) -> None:
        settling, spot.settling = spot.settling, []
        for settled in settling:
            settled.callback(None)

    def _drop(self, spot: _Spot) -> None:
        del self._spots[spot.seat]
        self._setState(spot, _State.RELEASING)
        self._setContested(spot, False)
        if self._unlisted.get(spot.seat) is spot:
            del self._unlisted[spot.seat]
        if self._directory.secret is not None:
            self._seats.pop(self.name(spot.seat), None)

    def _setState(self, spot: _Spot, state: _State) -> None:
        self.held += (state is _State.HELD) - (spot.state is _State.HELD)
        spot.state = state

    def _setContested(self, spot: _Spot, isContested: bool) -> None:
        self.contested += isContested - spot.isContested
        spot.isContested = isContested

    # Claiming anew

    def rename(self) -> None:
        """Call all places by the names that they have with the secret of now."""
        self._seats = {self.name(spot.seat): spot.seat for spot in self._spots.values()}

    def reclaim(self) -> Deferred[None]:
        """Claim all places anew.

        :returns: a Deferred that fails with `DirectoryError` when there is no answer.
        """
        return self._reclaim(list(self._spots.values()))

    def reclaimUnlisted(self, most: int | None = None) -> Deferred[None]:
        """Claim anew those that the directory does not know, or that another has.

        :param most: how many, if not all; each time others.
        :returns: as with `reclaim`.
        """
        return self._reclaim(list(islice(self._unlisted.values(), most)))

    @inlineCallbacks
    def _reclaim(self, spots: Sequence[_Spot]) -> Generator[Deferred[Any], Any, None]:
        for start in range(0, len(spots), CLAIMS_AT_ONCE):
            some = [
                spot
                for spot in spots[start : start + CLAIMS_AT_ONCE]
                if spot.state in (_State.HELD, _State.UNLISTED)
            ]
            if not some:
                continue
            for spot in some:
                spot.name = self.name(spot.seat)
            claims = [(str(spot.name), spot.holder) for spot in some]
            try:
                holders = yield self._directory.claimAll(claims)
            except DirectoryError:
                self._notReclaimed(Failure(), some)
                raise
            for spot, holder in zip(some, holders, strict=True):
                self._reclaimed(spot, holder)

    def _notReclaimed(self, failure: Failure, spots: Sequence[_Spot]) -> None:
        """It may be done yet, for nobody."""
        failure.trap(DirectoryError)
        for spot in spots:
            if self._spots.get(spot.seat) is not spot:
                self._leftovers.add(str(spot.name), spot.holder)

    def _reclaimed(self, spot: _Spot, holder: Holder) -> None:
        name = self.name(spot.seat)
        if self._spots.get(spot.seat) is not spot or spot.state is _State.RELEASING:
            # It was left meanwhile; a later claim of ours, though, is somebody's.
            if holder.member == self._member and holder.claim <= spot.holder.claim:
                self._leftovers.free(name, holder)
        elif holder == spot.holder:
            self._setState(spot, _State.HELD)
            self._setContested(spot, False)
            self._unlisted.pop(spot.seat, None)
        elif holder.member == self._member:
            # Of a claim that was given up, and was done all the same.
            replaced = self._directory.replace(name, holder, spot.holder)
            unheeded(replaced.addCallback(partial(self._reclaimed, spot)))
        else:
            self._setState(spot, _State.UNLISTED)
            self._unlisted.pop(spot.seat, None)
            self._unlisted[spot.seat] = spot  # behind the others, so that each has its turn
            if not spot.isContested:
                self._setContested(spot, True)
                self.losses += 1
            self._lost(spot.seat, holder)
