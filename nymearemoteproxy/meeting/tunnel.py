"""A tunnel joins two legs, and ends when one of them ends.

Owns what a leg is to its partner, and the order in which the two are closed. Knows nothing of
transports, framing or pairing keys.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import Attribute, Interface, implementer

from nymearemoteproxy.protocol.frames import Frames
from nymearemoteproxy.protocol.outcomes import Outcome


class ILeg(Interface):
    """One side of a tunnel: what its partner and the tunnel see of a client."""

    record = Attribute("What is known of its connection; None where there is none.")

    def enter(tunnel: Tunnel) -> None:
        """This is the leg's tunnel. Read nothing from the client until `open`."""

    def open(partner: ILeg) -> None:
        """Both sides are there: relay what the client sends to `partner` from now on."""

    def begin() -> None:
        """Both sides are open: let back pressure work, which may pause the partner at once."""

    def sendBytes(data: bytes) -> None:
        """Relay bytes of a stream to the client."""

    def sendFrames(frames: Frames) -> None:
        """Relay parts of WebSocket messages to the client."""

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

    def cutOff(outcome: Outcome) -> None:
        """What the partner sent is lost in part: end so that the client cannot miss it."""


@implementer(ILeg)
class Nobody:
    """Stands in for a partner that can take nothing more."""

    __slots__ = ()
    record = None

    def enter(self, tunnel: Tunnel) -> None:
        """Never part of a tunnel."""

    def open(self, partner: ILeg) -> None:
        """Never part of a tunnel."""

    def begin(self) -> None:
        """Never part of a tunnel."""

    def sendBytes(self, data: bytes) -> None:
        """Drop them."""

    def sendFrames(self, frames: Frames) -> None:
        """Drop them."""

    def pauseReading(self) -> None:
        """Nothing to pause."""

    def resumeReading(self) -> None:
        """Nothing to resume."""

    def finish(self, outcome: Outcome) -> None:
        """Nothing to finish."""

    def partnerLost(self) -> None:
        """Nothing to lose."""

    def cutOff(self, outcome: Outcome) -> None:
        """Nothing to cut off."""


NOBODY = Nobody()


class Tunnel:
    """Joins two legs.

    :param release: called once, when the tunnel is no longer up.
    """

    __slots__ = ("_abandoned", "_ended", "_legs", "_release")

    def __init__(self, release: Callable[[], object]) -> None:
        self._release: Callable[[], object] | None = release
        self._legs: list[ILeg] = []
        self._ended: set[ILeg] = set()
        self._abandoned = False

    def attach(self, leg: ILeg) -> None:
        """Add one side; with the second one relaying begins."""
        self._legs.append(leg)
        leg.enter(self)
        if self._abandoned:
            self._bereave(leg)
        elif len(self._legs) == 2:
            first, second = self._legs
            first.open(second)
            second.open(first)
            first.begin()
            second.begin()

    def ended(self, leg: ILeg) -> None:
        """The client of `leg` will send nothing more."""
        if leg not in self._ended:
            self._ended.add(leg)
            for other in self._others(leg):
                other.finish(Outcome.PARTNER_LEFT)

    def lost(self, leg: ILeg) -> None:
        """The connection of `leg` is closed, or as good as closed."""
        self._giveUpKey()
        hadEnded = leg in self._ended
        self._ended.update(self._legs)  # the leg cannot be told anything more
        self._abandoned = True
        for other in self._others(leg):
            if not hadEnded:
                other.finish(Outcome.PARTNER_LEFT)
            other.partnerLost()

    def abandon(self) -> None:
        """A client is gone before its leg was attached."""
        self._giveUpKey()
        self._abandoned = True
        for leg in self._legs:
            self._bereave(leg)

    def _others(self, leg: ILeg) -> list[ILeg]:
        return [other for other in self._legs if other is not leg]

    def _bereave(self, leg: ILeg) -> None:
        leg.finish(Outcome.PARTNER_LEFT)
        leg.partnerLost()

    def _giveUpKey(self) -> None:
        if self._release is not None:
            release, self._release = self._release, None
            release()
