"""Owns the checks of legs that stand before others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from nymearemoteproxy.meeting.tunnel import ILeg
from nymearemoteproxy.meeting.wrappers import MeteredLeg, sizeOf

FRAMES = [b"\x01\x01", b"a", b"\x00\x02", b"bc", b"\x80\x03", b"def"]
"""A message in three fragments, each a header and its payload."""


class MeteredLegTests(SynchronousTestCase):
    """A leg that tells how much is relayed."""

    def setUp(self) -> None:
        self.told: list[Any] = []
        self.leg: Any = SimpleNamespace(record=object())
        for name in ILeg.names():
            if name != "record":
                setattr(self.leg, name, lambda *args, name=name: self.told.append((name, *args)))
        self.metered = MeteredLeg(self.leg, self.told.append)

    def test_payload(self) -> None:
        """It goes to the leg, and is counted then; headers are none."""
        self.metered.sendBytes(b"abc")
        self.metered.sendFrames(FRAMES)
        self.assertEqual(self.told, [("sendBytes", b"abc"), 3, ("sendFrames", FRAMES), 6])
        self.assertEqual(sizeOf([]), 0)

    def test_allElse(self) -> None:
        """It is the leg's own."""
        verifyObject(ILeg, self.metered)
        self.assertIs(self.metered.record, self.leg.record)
        for name in set(ILeg.names()) - {"record", "sendBytes", "sendFrames"}:
            self.assertIs(getattr(self.metered, name), getattr(self.leg, name), name)
