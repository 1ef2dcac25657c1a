"""Owns the checks of packets with their length in front, against a plain reading."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.lengthprefixed import PieceReader, encode
from nymearemoteproxy.protocol.packets import Packet, PacketTooLarge
from tests.support.packets import cut, prefixed, prefixedPackets, withoutBoundaries

PROPERTY = settings(max_examples=200, deadline=None, database=None)

ADDRESSES = st.integers(0, 0xFFFF)
PACKETS = st.lists(st.tuples(ADDRESSES, st.binary(max_size=20)), max_size=8)
PLACES = st.lists(st.integers(0, 10_000), max_size=8)


class EncodeTests(SynchronousTestCase):
    """Packets as they are sent."""

    def test_bytes(self) -> None:
        """The very bytes: an address, how many follow, and these as they are."""
        self.assertEqual(encode(0x0102, b"hi"), b"\x01\x02\x00\x00\x00\x02hi")
        self.assertEqual(encode(0xC0DB, b"\xc0\xdb"), b"\xc0\xdb\x00\x00\x00\x02\xc0\xdb")
        self.assertEqual(encode(0xFFFE, b""), b"\xff\xfe\x00\x00\x00\x00")
        self.assertEqual(encode(1, bytes(0x012345))[:6], b"\x00\x01\x00\x01\x23\x45")

    @PROPERTY
    @given(ADDRESSES, st.binary(max_size=300))
    def test_anyData(self, address: int, data: bytes) -> None:
        """As it is written plainly."""
        self.assertEqual(encode(address, data), prefixed(address, data))


class ReaderTests(SynchronousTestCase):
    """Packets as they arrive."""

    def check(self, chunks: list[bytes], atOnce: int) -> None:
        """Read the chunks, and have at any time what a plain reading gives of what has arrived."""
        reader = PieceReader(0, atOnce)
        found: list[Packet] = []
        arrived = b""
        for chunk in chunks:
            arrived += chunk
            read = reader.receive(chunk)
            while True:
                self.assertLessEqual(len(read), atOnce + 1)
                self.assertNotIn(b"", [data for _address, data in read])
                found += read
                if not reader.rest:
                    break
                before = len(reader.rest)
                read = reader.receive(b"")
                self.assertLess(len(reader.rest), before)
            expected = withoutBoundaries(prefixedPackets(arrived))
            self.assertEqual(withoutBoundaries(found), expected, chunks)
            self.assertLess(reader.held, 6)
        self.assertEqual(reader.dropped, 0)

    @PROPERTY
    @given(PACKETS, st.binary(max_size=8), PLACES, st.integers(1, 9))
    @example([(1, b"ab"), (2, b"c")], b"", [7, 8], 1)
    @example([(1, b""), (2, b""), (1, b"a")], b"\x00", [6, 12], 2)
    def test_anyCut(
        self, packets: list[Packet], tail: bytes, places: list[int], atOnce: int
    ) -> None:
        """However the stream is cut, and in the middle of whatever it ends."""
        stream = b"".join(prefixed(*packet) for packet in packets) + tail
        self.check(cut(stream, places), atOnce)

    @PROPERTY
    @given(st.binary(max_size=40), PLACES, st.integers(1, 9))
    def test_anyBytes(self, data: bytes, places: list[int], atOnce: int) -> None:
        """Whatever arrives means something, if only that much is still to come."""
        self.check(cut(data, places), atOnce)

    def test_everyCut(self) -> None:
        """In two anywhere, and byte by byte."""
        packets = ((1, b"abc"), (0, b"{}"), (2, b""), (1, b"d"))
        stream = b"".join(prefixed(*packet) for packet in packets)
        for place in range(len(stream) + 1):
            self.check([stream[:place], stream[place:]], 100)
        self.check([stream[place : place + 1] for place in range(len(stream))], 100)

    def test_throughAtOnce(self) -> None:
        """What has arrived of a packet is handed on, and nothing of it is held."""
        reader = PieceReader(0)
        self.assertEqual(reader.receive(b"\x00\x05\x00\x01\x00\x00" + b"x"), [(5, b"x")])
        for _ in range(3):
            self.assertEqual(reader.receive(b"y" * 1000), [(5, b"y" * 1000)])
            self.assertEqual(reader.held, 0)
        rest = 0x10000 - 3001
        self.assertEqual(reader.receive(bytes(rest) + b"\x00"), [(5, bytes(rest))])
        self.assertEqual(reader.held, 1)

    def test_nothingIsCopied(self) -> None:
        """The middle of a packet is the very read that brought it."""
        reader = PieceReader(0)
        reader.receive(prefixed(1, bytes(100))[:10])
        middle = bytes(50)
        ((_address, data),) = reader.receive(middle)
        self.assertIs(data, middle)

    def test_limit(self) -> None:
        """It holds for the data of a packet; a longer one is refused as soon as it says so."""
        for length in (99, 100):
            self.assertEqual(PieceReader(100).receive(prefixed(1, bytes(length))[:6]), [])
        for length in (101, 1 << 24, 0xFFFFFFFF):
            reader = PieceReader(100)
            header = b"\x00\x01" + length.to_bytes(4, "big")
            self.assertEqual(reader.receive(prefixed(1, bytes(100)) + header[:5])[0][0], 1)
            self.assertRaises(PacketTooLarge, reader.receive, header[5:])

    def test_noLimit(self) -> None:
        """With 0 any length is one."""
        reader = PieceReader(0)
        self.assertEqual(reader.receive(b"\x00\x01\xff\xff\xff\xffx"), [(1, b"x")])
