"""A tunnel joins two legs, and ends when one of them ends.

Owns what a leg is to its partner, and the order in which the two are closed. Knows nothing of
transports, framing or pairing keys.

Theory of operation
-------------------

A *leg* is one side of a tunnel: a client's connection, an end of the tunnel proxy, and whatever
else provides `ILeg`. Once both are attached the tunnel is on the way of no byte: each leg hands
what it reads to its partner, by `sendBytes` or `sendFrames`. The tunnel only knows who is there,
and who has left in which manner.

A tunnel begins in three steps, `enter`, `open`, `begin`, each for both legs before the next one for
either. A leg that has entered reads nothing, since there is nobody to pass it to. One that is open
may be handed data at any moment, and only when both are may either pause the other: a leg that was
blocked from the beginning would otherwise pause a partner that `open` sets going again.

It ends in one of three ways, which differ in what the other client can still expect. *ended*: this
client sends nothing more, but may still read, as after a half-close; the partner delivers what it
has, says goodbye (`finish`), and its client's answers still arrive. *lost*: this client can take
nothing more; the partner reads on and drops what comes (`partnerLost`), because closing a socket
with unread data resets it, and a reset may destroy the last words on their way. *abandoned*: a
client was gone before its leg was attached, so the other one, now or whenever it is attached, hears
both.

The pairing key is free again as soon as one client can take nothing more, not when the last socket
is closed: whoever was cut off wants to come back at once.
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
        """This is the leg's tunnel. Read nothing from the client until `open`.

        With both sides there (`Tunnel.isWhole`) that follows at once, or `finish` does: nothing
        need be done about it.
        """

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
        # Tuples, for there are few of them and many tunnels.
        self._legs: tuple[ILeg, ...] = ()
        self._ended: tuple[ILeg, ...] = ()
        self._abandoned = False

    @property
    def isWhole(self) -> bool:
        """Whether both sides are there."""
        return len(self._legs) == 2

    def attach(self, leg: ILeg) -> None:
        """Add one side; with the second one relaying begins."""
        self._legs += (leg,)
        leg.enter(self)
        if self._abandoned:
            self._bereave(leg)
        elif self.isWhole:
            first, second = self._legs
            first.open(second)
            second.open(first)
            first.begin()
            second.begin()

    def ended(self, leg: ILeg) -> None:
        """The client of `leg` will send nothing more."""
        if leg not in self._ended:
            self._ended += (leg,)
            for other in self._others(leg):
                other.finish(Outcome.PARTNER_LEFT)

    def lost(self, leg: ILeg) -> None:
        """The connection of `leg` is closed, or as good as closed."""
        self.giveUpKey()
        hadEnded = leg in self._ended
        self._ended = self._legs  # the leg cannot be told anything more
        self._abandoned = True
        for other in self._others(leg):
            if not hadEnded:
                other.finish(Outcome.PARTNER_LEFT)
            other.partnerLost()

    def abandon(self) -> None:
        """A client is gone before its leg was attached."""
        self.giveUpKey()
        self._abandoned = True
        for leg in self._legs:
            self._bereave(leg)

    def giveUpKey(self) -> None:
        """It is known that one client can take nothing more, before its leg has heard of it."""
        if self._release is not None:
            release, self._release = self._release, None
            release()

    def _others(self, leg: ILeg) -> list[ILeg]:
        return [other for other in self._legs if other is not leg]

    def _bereave(self, leg: ILeg) -> None:
        leg.finish(Outcome.PARTNER_LEFT)
        leg.partnerLost()
