"""Owns the checks of unmasking: every implementation does the same."""

from __future__ import annotations

import importlib
import sys

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol import masking

PROPERTY = settings(max_examples=100, deadline=None, database=None)


def byteByByte(payload: bytes, mask: bytes) -> bytes:
    """RFC 6455 section 5.3, as it is written there."""
    return bytes(octet ^ mask[place % 4] for place, octet in enumerate(payload))


class AgreementTests(SynchronousTestCase):
    """What is installed does what the RFC says."""

    @PROPERTY
    @given(st.binary(max_size=70), st.binary(min_size=4, max_size=4))
    @example(b"", b"\x01\x02\x03\x04")
    @example(b"\0\0\0\0\0", b"\0\0\0\0")
    @example(bytes(range(256)) * 257, b"\xff\x00\x80\x7f")
    def test_everyImplementation(self, payload: bytes, mask: bytes) -> None:
        """Payloads of every length and alignment, and a large one, masked and unmasked."""
        expected = byteByByte(payload, mask)
        for name, unmask in masking.implementations().items():
            result = unmask(payload, mask)
            self.assertEqual(result, expected, name)
            self.assertIsInstance(result, bytes, name)
            self.assertEqual(unmask(result, mask), payload, name)


class ChoiceTests(SynchronousTestCase):
    """The fastest that is installed is taken."""

    def reload(self) -> None:
        """Make the choice anew, as at the start of the process."""
        importlib.reload(masking)

    def hide(self, *names: str) -> None:
        """Pretend that these modules are not installed."""
        for name in names:
            self.patchModule(name, None)

    def patchModule(self, name: str, module: object) -> None:
        """Replace a module, until the end of the test."""
        missing = object()
        before = sys.modules.get(name, missing)

        def restore() -> None:
            if before is missing:
                del sys.modules[name]
            else:
                sys.modules[name] = before  # type: ignore[assignment]

        sys.modules[name] = module  # type: ignore[assignment]
        self.addCleanup(restore)

    def setUp(self) -> None:
        self.addCleanup(self.reload)  # cleanups run last in, first out

    def test_nothingInstalled(self) -> None:
        """Python's own integers always are there."""
        self.hide("websockets.speedups", "wsaccel.xormask")
        self.reload()
        self.assertEqual(list(masking.implementations()), ["integers"])
        self.assertIs(masking.unmask, masking.unmaskWithIntegers)

    def test_wsaccelOnly(self) -> None:
        """`wsaccel` stands in for `websockets`."""

        class XorMasker:
            def __init__(self, mask: bytes) -> None:
                self.mask = mask

            def process(self, payload: bytes) -> bytes:
                return b"wsaccel " + payload + self.mask

        class Module:
            XorMaskerSimple = XorMasker

        self.hide("websockets.speedups")
        self.patchModule("wsaccel.xormask", Module)
        self.reload()
        self.assertEqual(list(masking.implementations()), ["wsaccel", "integers"])
        self.assertEqual(masking.unmask(b"a", b"mask"), b"wsaccel amask")

    def test_bothInstalled(self) -> None:
        """`websockets` comes first."""

        class Speedups:
            @staticmethod
            def apply_mask(payload: bytes, mask: bytes) -> bytes:
                return b"websockets " + payload + mask

        class Wsaccel:
            XorMaskerSimple = None

        self.patchModule("websockets.speedups", Speedups)
        self.patchModule("wsaccel.xormask", Wsaccel)
        self.reload()
        self.assertEqual(list(masking.implementations()), ["websockets", "wsaccel", "integers"])
        self.assertEqual(masking.unmask(b"a", b"mask"), b"websockets amask")
