"""Owns the checks of how escapes are undone: every implementation does the same."""

from __future__ import annotations

import sys
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol import unescaping
from nymearemoteproxy.protocol.slip import PacketReader
from nymearemoteproxy.protocol.unescaping import Undo
from tests.support.packets import END, ESC, ESC_END, ESC_ESC, SPECIAL, Reference, cut

PROPERTY = settings(max_examples=300, deadline=None, database=None)

OCTETS = st.sampled_from([*SPECIAL, ESC, 0, 0x41]) | st.integers(0, 255)
ESCAPED = st.lists(OCTETS.filter(lambda octet: octet != END), max_size=30).map(bytes)
PACKETS = st.lists(ESCAPED, min_size=1, max_size=6)


def byteByByte(escaped: bytes) -> bytes | None:
    """RFC 1055, as it is written there; None when that says of an escape that it is a mistake."""
    decoded = bytearray()
    octets = iter(escaped)
    for octet in octets:
        if octet == ESC:
            match next(octets, None):
                case 0xDC:
                    octet = 0xC0
                case 0xDD:
                    octet = 0xDB
                case _:
                    return None
        decoded.append(octet)
    return bytes(decoded)


class AgreementTests(SynchronousTestCase):
    """What is installed does what the RFC says."""

    def setUp(self) -> None:
        self.patch(unescaping, "WORTHWHILE", 0)  # as they are for large ones
        self.undos = unescaping.implementations()

    def check(self, name: str, undo: Undo, packets: list[bytes]) -> None:
        """Have packets decoded, the last one without its END."""
        ends = [sum(map(len, packets[:count])) + count - 1 for count in range(1, len(packets))]
        expected = [byteByByte(packet) for packet in packets]
        decoded, moved, invalid = undo(bytes([END]).join(packets), ends)
        self.assertIsInstance(decoded, bytes, name)
        self.assertEqual(len(moved), len(ends), name)
        begin = 0
        for index, (meant, end) in enumerate(zip(expected, (*moved, len(decoded)), strict=True)):
            self.assertEqual(index in invalid, meant is None, f"{name}: {packets[index]!r}")
            if meant is not None:
                self.assertEqual(decoded[begin:end], meant, name)
            begin = end + 1

    @PROPERTY
    @given(PACKETS)
    @example([b""])
    @example([b"", b"", b""])
    @example([b"\xdb"])
    @example([b"\xdb\xdb"])
    @example([b"\xdb\xdb\xdc"])
    @example([b"\xdb", b"\xdc", b"\xdb\xdc\xdb"])
    @example([b"\xdb\xdd\xdc", b"\xdb\xdd\xdd", b"\xdc\xdd"])
    def test_everyImplementation(self, packets: list[bytes]) -> None:
        """Any packets, with valid escapes and others."""
        for name, undo in self.undos.items():
            self.check(name, undo, packets)

    @PROPERTY
    @given(st.lists(OCTETS, max_size=40).map(bytes), st.lists(st.integers(0, 10_000), max_size=5))
    @example(b"\x00\x01\xdb\xdb\xc0\x00\x02a\xc0", [4])
    @example(b"\x00\x01a\xdb", [])
    def test_reader(self, data: bytes, places: list[int]) -> None:
        """With each a reader finds the same packets, however the stream is cut."""
        for name, undo in self.undos.items():
            reader, reference = PacketReader(0, undo=undo), Reference()
            for chunk in cut(data, places):
                before = len(reference.packets)
                reference.read(chunk)
                self.assertEqual(reader.receive(chunk), reference.packets[before:], name)
                self.assertEqual(reader.dropped, reference.dropped, name)

    def test_large(self) -> None:
        """What is as large as a read, with nothing, some things or everything escaped."""
        size = 100_000
        for packet in (
            bytes(size),
            bytes([ESC, ESC_END, 0x41]) * (size // 3),
            bytes([ESC, ESC_ESC]) * (size // 2),
            bytes([ESC, ESC_END, ESC, ESC_ESC, ESC_ESC]) * (size // 5) + bytes([ESC]),
        ):
            for name, undo in self.undos.items():
                self.check(name, undo, [packet])
                self.check(name, undo, [packet[:70], packet, packet[:-2], packet])


class ChoiceTests(SynchronousTestCase):
    """The fastest that is installed is taken."""

    def test_nothingInstalled(self) -> None:
        """What needs nothing always is there."""
        with mock.patch.dict(sys.modules, numpy=None):
            self.assertEqual(list(unescaping.implementations()), ["parts"])
            self.assertIs(unescaping.fastest(), unescaping.undoByParts)

    def test_cannotRun(self) -> None:
        """Numpy says so as it likes, say of a processor that is too old for it."""

        class Finder:
            """Finds a numpy that fails."""

            def find_spec(self, name: str, path: object, target: object = None) -> None:
                if name == "numpy":
                    raise RuntimeError("your machine doesn't support it")

        self.patch(sys, "meta_path", [Finder(), *sys.meta_path])
        with mock.patch.dict(sys.modules):
            sys.modules.pop("numpy", None)
            self.assertIs(unescaping.fastest(), unescaping.undoByParts)

    def test_fastest(self) -> None:
        """The first one."""
        first = unescaping.undoByParts

        def second(data: bytes, ends: object) -> object:
            raise NotImplementedError

        self.patch(unescaping, "implementations", lambda: {"first": first, "second": second})
        self.assertIs(unescaping.fastest(), first)

    def test_small(self) -> None:
        """Of little numpy is not asked, since it takes longer."""
        undo = unescaping.implementations().get("numpy")
        if undo is None:
            self.skipTest("numpy is not installed")
        asked = []
        parts = unescaping.undoByParts
        self.patch(unescaping, "undoByParts", lambda *given: asked.append(given) or parts(*given))
        for size in (unescaping.WORTHWHILE - 1, unescaping.WORTHWHILE):
            decoded, _moved, _invalid = undo(b"\xdb\xdc" + bytes(size - 2), [])
            self.assertEqual(decoded, b"\xc0" + bytes(size - 2))
        self.assertEqual(len(asked), 1)
