"""Legs that stand before another one and see what is relayed to it.

Each is chosen when a tunnel begins, so that a tunnel without it pays nothing. Owns what passes
through as it is. Knows nothing of what is done with what is seen.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from nymearemoteproxy.meeting.tunnel import ILeg
from nymearemoteproxy.protocol.frames import Frames


@implementer(ILeg)
class WrappedLeg:
    """Passes everything on; a subclass looks at what is relayed.

    :param leg: the one that it stands before.
    """

    def __init__(self, leg: ILeg) -> None:
        self._leg = leg
        self.record = leg.record
        self.enter = leg.enter
        self.open = leg.open
        self.begin = leg.begin
        self.pauseReading = leg.pauseReading
        self.resumeReading = leg.resumeReading
        self.finish = leg.finish
        self.partnerLost = leg.partnerLost
        self.cutOff = leg.cutOff

    def sendBytes(self, data: bytes) -> None:
        self._leg.sendBytes(data)

    def sendFrames(self, frames: Frames) -> None:
        self._leg.sendFrames(frames)


def sizeOf(frames: Frames) -> int:
    """Return how many bytes of payload there are."""
    return sum(map(len, frames[1::2]))


class MeteredLeg(WrappedLeg):
    """Tells how much was relayed.

    :param relayed: is called with the number of bytes of payload, after each piece.
    """

    def __init__(self, leg: ILeg, relayed: Callable[[int], None]) -> None:
        super().__init__(leg)
        self._relayed = relayed

    def sendBytes(self, data: bytes) -> None:
        super().sendBytes(data)
        self._relayed(len(data))

    def sendFrames(self, frames: Frames) -> None:
        super().sendFrames(frames)
        self._relayed(sizeOf(frames))
