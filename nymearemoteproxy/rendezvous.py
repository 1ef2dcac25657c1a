"""Who waits for whom: clients meet here under their pairing key.

Owns the waiting places and the keys of the tunnels that are up. Knows nothing of messages,
transports or time. `Rendezvous` keeps everything in this process; whatever shares it between
processes later provides the same interface, which is why it answers through Deferreds.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.defer import Deferred, succeed
from zope.interface import Interface, implementer

from nymearemoteproxy.outcomes import Outcome
from nymearemoteproxy.session import Identity
from nymearemoteproxy.tunnel import Tunnel


class PairingRefused(Exception):
    """There is no place for this client.

    :ivar outcome: TUNNEL_EXISTS or DUPLICATE_UUID.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.label)
        self.outcome = outcome


@dataclass(frozen=True)
class Meeting:
    """Two clients found each other.

    :ivar partner: the other one.
    :ivar tunnel: the tunnel both attach their leg to.
    """

    partner: Identity
    tunnel: Tunnel


class IRendezvous(Interface):
    """Brings together the two clients that have the same key."""

    def join(key: bytes, identity: Identity) -> Deferred[Meeting]:
        """Wait for the partner.

        :returns: a Deferred that fires when the partner is there, and fails with
            `PairingRefused`. Cancelling it gives up the place at once, and with it a meeting that
            comes about all the same.
        """


@dataclass
class _Waiter:
    identity: Identity
    met: Deferred[Meeting]


@implementer(IRendezvous)
class Rendezvous:
    """The meeting place of one process: first come, first served."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Waiter] = {}
        self._tunnels: dict[bytes, Tunnel] = {}

    @property
    def waiting(self) -> int:
        """How many clients wait."""
        return len(self._waiting)

    @property
    def tunnels(self) -> int:
        """How many tunnels are up."""
        return len(self._tunnels)

    def join(self, key: bytes, identity: Identity) -> Deferred[Meeting]:
        if key in self._tunnels:
            return _refused(Outcome.TUNNEL_EXISTS)
        first = self._waiting.pop(key, None)
        if first is None:

            def giveUp(_met: Deferred[Meeting]) -> None:
                del self._waiting[key]

            met: Deferred[Meeting] = Deferred(giveUp)
            self._waiting[key] = _Waiter(identity, met)
            return met
        if _isSame(identity.uuid, first.identity.uuid):
            first.met.errback(PairingRefused(Outcome.DUPLICATE_UUID))
            return _refused(Outcome.DUPLICATE_UUID)
        tunnel = Tunnel(lambda: self._tunnels.pop(key))
        self._tunnels[key] = tunnel
        first.met.callback(Meeting(identity, tunnel))
        return succeed(Meeting(first.identity, tunnel))


def _refused(outcome: Outcome) -> Deferred[Meeting]:
    refused: Deferred[Meeting] = Deferred()
    refused.errback(PairingRefused(outcome))
    return refused


def _isSame(one: str | None, other: str | None) -> bool:
    """Compare uuids, with or without the braces that Qt puts around them; None equals nothing."""
    if one is None or other is None:
        return False
    return one.strip("{}").lower() == other.strip("{}").lower()
