"""When the places of this member are claimed anew.

Owns the occasions: the directory is back, others may have taken what we hold, some time has passed.
Knows nothing of what becomes of a place then.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.cluster.directory import (
    CLAIMS_AT_ONCE,
    DirectoryError,
    IDirectory,
    unheeded,
)
from nymearemoteproxy.cluster.leftovers import Leftovers
from nymearemoteproxy.cluster.places import Places
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.periodic import Periodic

log = ProxyLogger()

AGAIN = 5.0
"""Seconds after which a place is claimed again that another member holds, too, or that the
directory did not take."""

REFRESH = 8 * 3600.0
"""Seconds after which all places are claimed anew, although they are held: the directory forgets
after a day those of members that are gone without a word."""


class Reclaiming:
    """Claims them, and frees what was left."""

    def __init__(
        self, clock: IReactorTime, directory: IDirectory, places: Places, leftovers: Leftovers
    ) -> None:
        self._clock = clock
        self._directory = directory
        self._places = places
        self._leftovers = leftovers
        self._looking = Periodic(clock, AGAIN, self._look, "places cannot be claimed anew")
        self._nextRefresh = clock.seconds() + REFRESH
        self._awaking: list[Deferred[None]] = []
        self._underWay = 0  # how often all of them are being claimed
        directory.follow(self._returned)

    def start(self) -> None:
        """Look from time to time whether something is to be claimed anew."""
        self._looking.start()

    def stop(self) -> None:
        """Claim nothing anew any more."""
        self._looking.stop()

    def awake(self) -> Deferred[None]:
        """Fire when this member knows what it still holds, should it have slept too long."""
        isUnderWay = self._underWay > 0
        if not self._directory.isAnswering or not (isUnderWay or self._directory.isLeaseOver()):
            return succeed(None)
        awake: Deferred[None] = Deferred()
        self._awaking.append(awake)
        if not isUnderWay:
            self._claimAll(renew=True)
        return awake

    @inlineCallbacks
    def _claimAll(self, renew: bool = False) -> Generator[Deferred[Any], Any, None]:
        """Claim all places; until it is known who has them, nobody new meets anybody there."""
        self._underWay += 1
        try:
            if renew:
                yield self._directory.renew()
            yield self._places.reclaim()
        except DirectoryError:
            pass  # it will answer again, and say so
        except Exception:  # whoever waits for this goes on all the same
            log.failure("places could not be claimed anew")
        self._underWay -= 1
        if not self._underWay:
            awaking, self._awaking = self._awaking, []
            for awake in awaking:
                awake.callback(None)

    @inlineCallbacks
    def _returned(self) -> Generator[Deferred[Any], Any, None]:
        """Claim anew what the directory may not know, perhaps under other names."""
        if self._directory.isLasting:
            yield unheeded(self._places.reclaimUnlisted())
        else:
            self._places.rename()
            yield self._claimAll()
        if self._directory.isAnswering:
            yield unheeded(self._leftovers.clear())

    def _look(self) -> Deferred[Any] | None:
        if not self._directory.isAnswering:
            return None
        now = self._clock.seconds()
        if now >= self._nextRefresh:
            self._nextRefresh = now + REFRESH
            return self._returned()
        return unheeded(self._places.reclaimUnlisted(CLAIMS_AT_ONCE))
