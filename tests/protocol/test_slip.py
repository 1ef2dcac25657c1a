"""Owns the checks of SLIP, against a reference that goes byte by byte through RFC 1055."""

from __future__ import annotations

import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.packets import HIGHEST_ADDRESS, PROXY, Packet, PacketTooLarge
from nymearemoteproxy.protocol.slip import PacketReader, encode, escape
from tests.support.packets import (
    END,
    ESC,
    ESC_END,
    ESC_ESC,
    SPECIAL,
    Reference,
    cut,
    referenceEncode,
)

PROPERTY = settings(max_examples=200, deadline=None, database=None)

OCTETS = st.sampled_from(list(SPECIAL) * 3 + [0, 1, 0x41, 0xFF]) | st.integers(0, 255)
STREAMS = st.lists(OCTETS, max_size=40).map(bytes)
DATA = st.lists(OCTETS, max_size=20).map(bytes)
ADDRESSES = st.integers(0, 0xFFFF) | st.sampled_from([0xC0C0, 0xDBDB, 0xDBDC, 0xC000, 0x00C0])
PLACES = st.lists(st.integers(0, 10_000), max_size=8)


class EncodeTests(SynchronousTestCase):
    """Packets as they are sent."""

    def test_bytes(self) -> None:
        """The very bytes of RFC 1055: what has a meaning is escaped, and an END ends it."""
        self.assertEqual(encode(0x0001, b"hi"), b"\x00\x01hi\xc0")
        self.assertEqual(encode(PROXY, b"\xc0"), b"\x00\x00\xdb\xdc\xc0")
        self.assertEqual(encode(PROXY, b"\xdb"), b"\x00\x00\xdb\xdd\xc0")
        self.assertEqual(encode(PROXY, b"\xdb\xdc\xdd"), b"\x00\x00\xdb\xdd\xdc\xdd\xc0")
        self.assertEqual(encode(0xC0DB, b""), b"\xdb\xdc\xdb\xdd\xc0")

    def test_everyAddress(self) -> None:
        """All of them, the bytes of some being escaped; FFFF is none a client may have."""
        for address in range(0x10000):
            self.assertEqual(encode(address, b"x"), referenceEncode(address, b"x"))
        self.assertEqual(HIGHEST_ADDRESS, 0xFFFE)

    @PROPERTY
    @given(ADDRESSES, DATA)
    def test_anyData(self, address: int, data: bytes) -> None:
        """As the reference writes it, with one END, at the end."""
        written = encode(address, data)
        self.assertEqual(written, referenceEncode(address, data))
        self.assertEqual(written.index(END), len(written) - 1)
        self.assertEqual(escape(bytes(divmod(address, 256)) + data), written[:-1])


class ReaderTests(SynchronousTestCase):
    """Packets as they arrive."""

    def check(self, chunks: list[bytes], limit: int = 0) -> None:
        """Read the chunks as the reference does, and agree with it after each."""
        reader = PacketReader(limit)
        reference = Reference(limit)
        for chunk in chunks:
            before = len(reference.packets)
            reference.read(chunk)
            if reference.tooLarge:
                self.assertRaises(PacketTooLarge, reader.receive, chunk)
                return
            message = f"{chunks} limit {limit}"
            self.assertEqual(reader.receive(chunk), reference.packets[before:], message)
            self.assertEqual(reader.dropped, reference.dropped, message)

    @PROPERTY
    @given(STREAMS, PLACES, st.integers(1, 3))
    def test_fewAtATime(self, data: bytes, places: list[int], most: int) -> None:
        """So many packets at a time, empty ones included, are the same packets in the end."""
        reader = PacketReader(0, most)
        reference = Reference(0)
        found: list[Packet] = []
        for chunk in cut(data, places):
            reference.read(chunk)
            read = reader.receive(chunk)
            while True:
                self.assertLessEqual(len(read), most)
                found += read
                if not reader.rest:
                    break
                before = len(reader.rest)
                read = reader.receive(b"")
                self.assertLess(len(reader.rest), before)
            self.assertEqual(found, reference.packets)
        self.assertEqual(reader.dropped, reference.dropped)

    def test_everyShortStream(self) -> None:
        """All streams of up to six bytes, of those that matter, whole and byte by byte."""
        for length in range(7):
            for octets in itertools.product((*SPECIAL, 0x00, 0x41), repeat=length):
                data = bytes(octets)
                self.check([data])
                self.check([data[place : place + 1] for place in range(length)])

    def test_everyCut(self) -> None:
        """All streams of five bytes, cut in two anywhere, also within escapes."""
        for octets in itertools.product((*SPECIAL, 0x41), repeat=5):
            data = bytes(octets)
            for place in range(1, 5):
                self.check([data[:place], data[place:]])

    def test_everyLimit(self) -> None:
        """All streams of up to five bytes, with every limit that makes a difference."""
        for length in range(6):
            for octets in itertools.product((*SPECIAL, 0x41), repeat=length):
                data = bytes(octets)
                for limit in range(1, 5):
                    self.check([data], limit)
                    self.check([data[: length // 2], data[length // 2 :]], limit)

    @PROPERTY
    @given(STREAMS, PLACES, st.integers(0, 12))
    @example(b"\x00\x01ab\xdb\xc0\x00\x02cd\xc0", [5], 0)
    def test_anyBytes(self, data: bytes, places: list[int], limit: int) -> None:
        """Whatever arrives, however it is cut."""
        self.check(cut(data, places), limit)

    @PROPERTY
    @given(st.lists(st.tuples(ADDRESSES, DATA), max_size=6), PLACES)
    def test_anyPackets(self, packets: list[Packet], places: list[int]) -> None:
        """What was sent arrives as it was, in order, and nothing is dropped or left."""
        reader = PacketReader(0)
        found: list[Packet] = []
        stream = b"".join(referenceEncode(*packet) for packet in packets)
        for chunk in cut(stream, places):
            found += reader.receive(chunk)
        self.assertEqual(found, packets)
        self.assertEqual(reader.dropped, 0)

    def test_everyAddress(self) -> None:
        """Those with bytes that are escaped no less than the others."""
        stream = b"".join(referenceEncode(address, b"") for address in range(0x10000))
        self.assertEqual(
            PacketReader(0).receive(stream), [(address, b"") for address in range(0x10000)]
        )

    def test_empty(self) -> None:
        """Packets with nothing in them are skipped, and are no fault."""
        reader = PacketReader(0)
        self.assertEqual(reader.receive(b"\xc0\xc0\xc0"), [])
        self.assertEqual(reader.receive(b"\xc0\x00\x01a\xc0\xc0"), [(1, b"a")])
        self.assertEqual(reader.receive(b""), [])
        self.assertEqual(reader.dropped, 0)

    def test_noAddress(self) -> None:
        """A packet of one byte is dropped, be it written as one or as two; the next arrives."""
        for octet in (b"\x00", b"\xff", b"\xdb\xdc", b"\xdb\xdd"):
            reader = PacketReader(0)
            self.assertEqual(reader.receive(octet + b"\xc0\x00\x01a\xc0"), [(1, b"a")])
            self.assertEqual(reader.dropped, 1)

    def test_invalidEscape(self) -> None:
        """It takes its own packet along, wherever it stands, and no other."""
        good = referenceEncode(7, b"\xc0\xdb")
        for octet in {*range(256)} - {END, ESC_END, ESC_ESC}:
            for place in range(5):
                bad = b"\x00\x01ab"[:place] + bytes([ESC, octet]) + b"\x00\x01ab"[place:]
                self.assertDrops(good + bad + b"\xc0" + good, bad)
        self.assertDrops(good + b"\x00\x01ab\xdb\xc0" + good, b"an escape of the end")
        self.assertDrops(good + b"\xdb\xc0" + good, b"nothing but that")

    def assertDrops(self, stream: bytes, message: bytes) -> None:
        """Between two good packets one is dropped, in one read or in many."""
        for chunks in ([stream], [stream[place : place + 1] for place in range(len(stream))]):
            reader = PacketReader(0)
            packets = [packet for chunk in chunks for packet in reader.receive(chunk)]
            self.assertEqual(packets, [(7, b"\xc0\xdb")] * 2, message)
            self.assertEqual(reader.dropped, 1, message)

    def test_droppedAreCounted(self) -> None:
        """All of them, over many reads."""
        reader = PacketReader(0)
        for count in range(1, 6):
            reader.receive(b"\x00\x01\xdb")
            self.assertEqual(reader.dropped, count - 1)
            reader.receive(b"\xc0")
            self.assertEqual(reader.dropped, count)

    def test_limit(self) -> None:
        """It holds for the bytes as they are sent, without the END, finished or not."""
        fits = b"\x00\x01\xdb\xdc\xdb\xdd"
        for chunks in ([fits + b"\xc0"], [fits, b"\xc0"], [fits[:3], fits[3:] + b"\xc0"]):
            reader = PacketReader(len(fits))
            packets = [packet for chunk in chunks for packet in reader.receive(chunk)]
            self.assertEqual(packets, [(1, b"\xc0\xdb")])
        for chunks in ([fits + b"x\xc0"], [fits + b"x"], [fits, b"x"], [fits[:3], fits[3:] + b"x"]):
            reader = PacketReader(len(fits))
            for chunk in chunks[:-1]:
                self.assertEqual(reader.receive(chunk), [])
            self.assertRaises(PacketTooLarge, reader.receive, chunks[-1])

    def test_limitIsPerPacket(self) -> None:
        """Many packets in one read, or empty ones, are no large packet."""
        reader = PacketReader(3)
        self.assertEqual(len(reader.receive(b"\x00\x01a\xc0\xc0" * 1000)), 1000)

    def test_noLimit(self) -> None:
        """With 0 any size passes; it is not there until it is whole."""
        reader = PacketReader(0)
        for _ in range(100):
            self.assertEqual(reader.receive(b"\x00\x01" + b"x" * 99_998), [])
        ((address, data),) = reader.receive(b"\xc0")
        self.assertEqual((address, len(data)), (1, 100 * 100_000 - 2))

    def test_largePackets(self) -> None:
        """Every byte arrives, whether nothing, something or everything is escaped."""
        size = 300_000
        for data in (
            bytes(size),
            bytes(range(256)) * (size // 256),
            bytes([END]) * size,
            bytes([ESC]) * size,
            SPECIAL * (size // 4),
            bytes([ESC_END, ESC_ESC]) * (size // 2),
        ):
            written = referenceEncode(0xDBC0, data)
            self.assertEqual(encode(0xDBC0, data), written)
            for piece in (len(written), 65536, 65535, 4096):
                reader = PacketReader(len(written) - 1)
                found: list[Packet] = []
                for start in range(0, len(written), piece):
                    found += reader.receive(written[start : start + piece])
                self.assertEqual(found, [(0xDBC0, data)])
