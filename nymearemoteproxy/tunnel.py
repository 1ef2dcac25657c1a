"""A tunnel joins two legs, and ends when one of them ends.

Owns what a leg is to its partner, and the order in which the two are closed. Knows nothing of
WebSocket, streams or pairing keys.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import Interface

from nymearemoteproxy.frames import Piece
from nymearemoteproxy.outcomes import Outcome


class ILeg(Interface):
    """One side of a tunnel: what its partner and the tunnel see of a client."""

    def open(tunnel: Tunnel, partner: ILeg) -> None:
        """Both sides are there: relay what the client sends to `partner` from now on."""

    def sendBytes(data: bytes) -> None:
        """Relay bytes of a stream to the client."""

    def sendPieces(pieces: list[Piece]) -> None:
        """Relay pieces of WebSocket messages to the client."""

    def pauseReading() -> None:
        """The partner cannot take more for now."""

    def resumeReading() -> None:
        """The partner can take more again."""

    def finish(outcome: Outcome) -> None:
        """Nothing more will come from the partner: deliver what is there, say goodbye.

        What the client still sends goes to the partner until the client has left.
        """

    def partnerLost() -> None:
        """The partner can take nothing more, ever: read and drop what the client still sends."""


class Tunnel:
    """Joins two legs.

    :param release: called once, when the tunnel is no longer up.
    """

    __slots__ = ("_legs", "_release", "_ended")

    def __init__(self, release: Callable[[], object]) -> None:
        self._release: Callable[[], object] | None = release
        self._legs: list[ILeg] = []
        self._ended: set[ILeg] = set()

    def attach(self, leg: ILeg) -> None:
        """Add one side; with the second one, in the same turn of the reactor, relaying begins."""
        self._legs.append(leg)
        if len(self._legs) == 2:
            first, second = self._legs
            first.open(self, second)
            second.open(self, first)

    def ended(self, leg: ILeg, outcome: Outcome = Outcome.PARTNER_LEFT) -> None:
        """The client of `leg` will send nothing more.

        :param outcome: how the other side ends.
        """
        if leg in self._ended:
            return
        self._ended.add(leg)
        self._giveUpKey()
        self._other(leg).finish(outcome)

    def lost(self, leg: ILeg) -> None:
        """The connection of `leg` is closed."""
        self.ended(leg)
        self._other(leg).partnerLost()

    def _other(self, leg: ILeg) -> ILeg:
        first, second = self._legs
        return second if leg is first else first

    def _giveUpKey(self) -> None:
        if self._release is not None:
            release, self._release = self._release, None
            release()
