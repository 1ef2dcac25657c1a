"""Who waits for whom: clients meet here under their pairing key.

Owns the waiting places and the keys of the tunnels that are up. Knows nothing of messages,
transports or time. `Rendezvous` keeps everything in this process; whatever shares it between
processes later provides the same interface, which is why it answers through Deferreds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from nymearemoteproxy.meeting.place import Look, Place, PlaceRefused
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Identity


class IRendezvous(Interface):
    """Brings together the two clients that have the same key."""

    def join(key: bytes, identity: Identity, look: Look, record: Any = None) -> Deferred[Place]:
        """Wait for the partner.

        :param look: finds out whether this client is still there; asked when another one comes
            with the same uuid, which may be this one's next connection.
        :param record: what is known of its connection, as with `ILeg.record`.
        :returns: a Deferred that fires when the partner is there, and fails with `PlaceRefused`,
            whose outcome is TUNNEL_EXISTS or DUPLICATE_UUID. Cancelling it gives up the place at
            once, and with it a meeting that comes about all the same.
        """


Confirm = Callable[[Identity, Any], Deferred[bool]]
"""Offers a client that is elsewhere its partner, with what is known of that one's connection; fires
with whether it is there and takes it."""


class NobodyWaits(Exception):
    """There is nobody here to meet, and the client that is elsewhere cannot wait here."""


class WaiterLeft(Exception):
    """The one that was offered has left, and others are here: ask again."""


@dataclass(eq=False, slots=True)
class _Waiter:
    key: bytes
    identity: Identity
    look: Look
    met: Deferred[Place]
    record: Any = None
    confirm: Confirm | None = None  # of one that is elsewhere
    isOffered: bool = False  # somebody, who has not been told of it yet


def _ignore(_key: bytes) -> None:
    """Nobody wants to know."""


@implementer(IRendezvous)
class Rendezvous:
    """The meeting place of one process: first come, first served.

    :ivar freed: is called with a key under which nobody waits any more, nor is there a tunnel.
    """

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Waiter] = {}
        # Where it is looked whether one of two is there: those who came since.
        self._behind: dict[bytes, dict[Deferred[Place], _Waiter]] = {}
        self._tunnels: dict[bytes, Tunnel] = {}
        # Of those tunnels with one that is elsewhere: whether it is still there.
        self._looks: dict[bytes, Look] = {}
        self.freed: Callable[[bytes], object] = _ignore

    @property
    def waiting(self) -> int:
        """How many clients wait."""
        return len(self._waiting) + sum(map(len, self._behind.values()))

    @property
    def tunnels(self) -> int:
        """How many tunnels are up."""
        return len(self._tunnels)

    def join(
        self, key: bytes, identity: Identity, look: Look, record: Any = None
    ) -> Deferred[Place]:
        # Cancelling finds the waiter by its Deferred: if each referred to the other, older versions
        # of Twisted, which keep what cancels, would leave both to the garbage collector.
        met: Deferred[Place] = Deferred(partial(self._giveUp, key))
        self._place(_Waiter(key, identity, look, met, record))
        return met

    def visit(
        self, key: bytes, identity: Identity, confirm: Confirm, look: Look
    ) -> Deferred[Place]:
        """Meet the client that waits here, for one that another process holds.

        That one may be gone by now, so the one here is told of nothing until it has confirmed. Here
        it cannot wait: there would be a place without anybody of this process.

        :param look: finds out whether it is still in its tunnel; asked before another one is
            refused for that, since what tells of its end may be on its way.
        :returns: as with `join`; also fails with `NobodyWaits` or, after `confirm` was asked,
            `WaiterLeft`.
        """
        met: Deferred[Place] = Deferred(partial(self._giveUp, key))
        self._place(_Waiter(key, identity, look, met, confirm=confirm))
        return met

    def isInUse(self, key: bytes) -> bool:
        """Tell whether somebody waits under a key, or there is a tunnel."""
        return key in self._waiting or key in self._tunnels or key in self._behind

    def _place(self, waiter: _Waiter) -> None:
        key = waiter.key
        first = self._waiting.get(key)
        if key in self._behind:
            self._behind[key][waiter.met] = waiter
        elif key in self._looks:
            self._behind[key] = {waiter.met: waiter}
            self._looks[key]().addCallback(self._lookedAtTunnel, key, self._tunnels[key])
        elif key in self._tunnels:
            _refuse(waiter, Outcome.TUNNEL_EXISTS)
        elif first is None:
            if waiter.confirm is None:
                self._waiting[key] = waiter
            else:
                waiter.met.errback(NobodyWaits())
        elif _isSame(first.identity.uuid, waiter.identity.uuid):
            self._behind[key] = {waiter.met: waiter}
            first.look().addCallback(self._looked, first, waiter)
        elif waiter.isOffered:
            waiter.met.errback(WaiterLeft())
        elif waiter.confirm is not None:
            waiter.isOffered = True
            self._behind[key] = {waiter.met: waiter}
            waiter.confirm(first.identity, first.record).addCallback(self._confirmed, first, waiter)
        else:
            self._pair(first, waiter)

    def _pair(self, first: _Waiter, second: _Waiter) -> None:
        key = first.key
        del self._waiting[key]
        tunnel = Tunnel(partial(self._release, key))
        self._tunnels[key] = tunnel
        if second.confirm is not None:
            self._looks[key] = second.look
        first.met.callback(Place(tunnel, second.identity))
        second.met.callback(Place(tunnel, first.identity))

    def _release(self, key: bytes) -> None:
        del self._tunnels[key]
        self._looks.pop(key, None)
        self._goOn(key)

    def _lookedAtTunnel(self, isThere: bool, key: bytes, tunnel: Tunnel) -> None:
        """It is known whether the one of the two that is elsewhere is still there."""
        if self._tunnels.get(key) is not tunnel:
            return  # it has ended meanwhile, and who came went on
        if not isThere:
            tunnel.giveUpKey()
            return
        for waiter in self._behind.pop(key).values():
            _refuse(waiter, Outcome.TUNNEL_EXISTS)

    def _looked(self, isThere: bool, first: _Waiter, second: _Waiter) -> None:
        """It is known whether `first` is still there; if not, its place was given up before."""
        key = first.key
        if not isThere or self._waiting.get(key) is not first:
            return
        if self._behind[key].pop(second.met, None) is not None:
            del self._waiting[key]
            _refuse(first, Outcome.DUPLICATE_UUID)
            _refuse(second, Outcome.DUPLICATE_UUID)
        self._goOn(key)

    def _confirmed(self, isThere: bool, first: _Waiter, second: _Waiter) -> None:
        """It is known whether `second`, which is elsewhere, still wants to meet `first`."""
        key = first.key
        if self._waiting.get(key) is not first:
            return  # who came meanwhile went on when it left
        if self._behind[key].pop(second.met, None) is not None:
            if isThere:
                self._pair(first, second)
            else:
                second.met.errback(NobodyWaits())
        self._goOn(key)

    def _giveUp(self, key: bytes, met: Deferred[Place]) -> None:
        first = self._waiting.get(key)
        if first is not None and first.met is met:
            del self._waiting[key]
            self._goOn(key)
        else:
            del self._behind[key][met]

    def _goOn(self, key: bytes) -> None:
        """Let those who came meanwhile in, in their order; but one of this process has to wait."""
        behind = list(self._behind.pop(key, {}).values())
        if not (key in self._waiting or key in self._tunnels):
            first = next((waiter for waiter in behind if waiter.confirm is None), None)
            if first is not None:
                behind.remove(first)
                self._place(first)
        for waiter in behind:
            self._place(waiter)
        self._lookWhetherFree(key)

    def _lookWhetherFree(self, key: bytes) -> None:
        if not self.isInUse(key):
            self.freed(key)


def _refuse(waiter: _Waiter, outcome: Outcome) -> None:
    waiter.met.errback(PlaceRefused(outcome))


def _isSame(one: str | None, other: str | None) -> bool:
    """Compare uuids, with or without the braces that Qt puts around them; None equals nothing."""
    if one is None or other is None:
        return False
    return one.strip("{}").lower() == other.strip("{}").lower()
