"""The PROXY header, as section 2 of haproxy's proxy-protocol.txt says."""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.proxyheader import MOST_HEADER, ProxyHeader, ProxyHeaderError, Source

MAGIC = bytes.fromhex("0d0a0d0a000d0a515549540a")
V4 = struct.pack(">4s4sHH", bytes([192, 0, 2, 7]), bytes([192, 0, 2, 1]), 4711, 443)
V6 = IPv6Address("2001:db8::7").packed + IPv6Address("2001:db8::1").packed + b"\x12\x67\x01\xbb"


def binary(command: int = 0x21, kind: int = 0x11, block: bytes = V4) -> bytes:
    """Return a header of version 2."""
    return MAGIC + bytes([command, kind]) + struct.pack(">H", len(block)) + block


def read(*pieces: bytes) -> tuple[Source | None, bytes] | None:
    """Return source and rest; None when the header is not whole."""
    header = ProxyHeader()
    for number, piece in enumerate(pieces, 1):
        rest = header.feed(piece)
        if rest is not None:
            return header.source, rest + b"".join(pieces[number:])
    return None


def outcome(*pieces: bytes) -> Any:
    """Return what `read` does, or that it is no header."""
    try:
        return read(*pieces)
    except ProxyHeaderError:
        return ProxyHeaderError


class LineTests(SynchronousTestCase):
    """Version 1."""

    def assertSource(self, line: bytes, host: str, port: int) -> None:
        """The line is read, and this is whose the connection is."""
        self.assertEqual(read(line + b"\r\n"), ((host, port), b""))

    def assertNone(self, *lines: bytes) -> None:
        """None of these is a header."""
        for line in lines:
            self.assertIs(outcome(line + b"\r\n"), ProxyHeaderError, line)

    def test_addresses(self) -> None:
        self.assertSource(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443", "192.0.2.7", 4711)
        self.assertSource(b"PROXY TCP4 255.255.255.255 0.0.0.0 0 65535", "255.255.255.255", 0)
        self.assertSource(b"PROXY TCP6 2001:DB8::7 ::1 65535 1", "2001:db8::7", 65535)
        self.assertSource(b"PROXY TCP6 0:0:0:0:0:0:0:1 :: 1 1", "::1", 1)

    def test_mapped(self) -> None:
        """Haproxy and nginx send it from a socket that takes IPv4 too."""
        self.assertSource(b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 1 2", "192.0.2.7", 1)
        self.assertSource(b"PROXY TCP6 ::FFFF:c000:207 ::1 1 2", "192.0.2.7", 1)

    def test_unknown(self) -> None:
        longest = b"PROXY UNKNOWN" + b" ffff" + b":ffff" * 7 + b" ffff" + b":ffff" * 7
        longest += b" 65535 65535"
        self.assertEqual(len(longest), 105)
        for line in (b"PROXY UNKNOWN", b"PROXY UNKNOWN ", b"PROXY UNKNOWN \0\n\r\x1b", longest):
            self.assertEqual(read(line + b"\r\nrest"), (None, b"rest"))

    def test_longest(self) -> None:
        line = b"PROXY TCP6 ffff" + b":ffff" * 7 + b" ffff" + b":ffff" * 7 + b" 65535 65535"
        self.assertSource(line, "ffff" + ":ffff" * 7, 65535)

    def test_tooLong(self) -> None:
        line = b"PROXY UNKNOWN ".ljust(106, b"x")
        self.assertNone(line)
        self.assertIsNone(read(line))
        self.assertIs(outcome(line + b"x"), ProxyHeaderError)
        self.assertIs(outcome(line + b"\r"), ProxyHeaderError)

    def test_badAddresses(self) -> None:
        for bad in (
            *("", "192.0.2", "192.0.2.256", "192.0.2.07", "0x7f.0.0.1", "1.2.3.4.5", "::1"),
            *(
                "192.0.2.7\x1b[2J",
                "192.0.2.7\n",
                "+1.2.3.4",
                "localhost",
                "1٠.0.0.1",
                "192.0.2.7/8",
            ),
        ):
            self.assertNone(f"PROXY TCP4 {bad} 192.0.2.1 1 2".encode())
            self.assertNone(f"PROXY TCP4 192.0.2.1 {bad} 1 2".encode())
        for bad in (
            "1.2.3.4",
            "fe80::1%eth0",
            "[::1]",
            ":::",
            "1::2::3",
            "12345::",
            "1:2:3:4:5:6:7",
        ):
            self.assertNone(f"PROXY TCP6 {bad} ::1 1 2".encode())
            self.assertNone(f"PROXY TCP6 ::1 {bad} 1 2".encode())

    def test_badPorts(self) -> None:
        for bad in ("", "00", "01", "65536", "99999", "123456", "-1", "+1", "1_0", "0x1", "a", "²"):
            self.assertNone(f"PROXY TCP4 192.0.2.7 192.0.2.1 {bad} 1".encode())
            self.assertNone(f"PROXY TCP4 192.0.2.7 192.0.2.1 1 {bad}".encode())

    def test_badForms(self) -> None:
        good = b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2"
        self.assertNone(
            *(b"PROXY ", b"PROXY TCP4", b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2", b"PROXY unknown"),
            *(b"PROXY UNKNOWNX", good + b" ", good + b" 3", good + b"\r", b"PROXY " + good[5:]),
            *(good.replace(b" ", b"\t"), good.replace(b"2.7", b"2.7\0"), b"PROXY UNIX /a /b 1 2"),
        )

    def test_lineEnd(self) -> None:
        """A single CR or LF ends no line."""
        line = b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2"
        for end in (b"\n", b"\r", b"\n\r"):
            self.assertIsNone(read(line + end))
            self.assertIs(outcome(line + end + b"GET / HTTP/1.1\r\n"), ProxyHeaderError)


class BinaryTests(SynchronousTestCase):
    """Version 2."""

    def assertNone(self, data: bytes) -> None:
        """It is no header."""
        self.assertIs(outcome(data), ProxyHeaderError, data)

    def test_addresses(self) -> None:
        self.assertEqual(read(binary()), (("192.0.2.7", 4711), b""))
        self.assertEqual(read(binary(kind=0x21, block=V6)), (("2001:db8::7", 4711), b""))

    def test_mapped(self) -> None:
        block = IPv6Address("::ffff:192.0.2.7").packed * 2 + b"\0\1\0\2"
        self.assertEqual(read(binary(kind=0x21, block=block)), (("192.0.2.7", 1), b""))

    def test_untold(self) -> None:
        """Unspecified, Unix, datagrams: it is whoever the socket says."""
        for kind in (0x00, 0x01, 0x02, 0x10, 0x12, 0x20, 0x22, 0x30, 0x31, 0x32):
            header = binary(kind=kind, block=bytes(216))
            self.assertEqual(read(header + b"rest"), (None, b"rest"), hex(kind))
        self.assertEqual(read(binary(kind=0, block=b"")), (None, b""))

    def test_local(self) -> None:
        """A health check; neither the family nor the addresses say anything."""
        for kind in range(256):
            self.assertEqual(read(binary(0x20, kind, b"") + b"rest"), (None, b"rest"))
            self.assertEqual(read(binary(0x20, kind, V4)), (None, b""))

    def test_more(self) -> None:
        """What follows the addresses is skipped, up to a bound."""
        most = MOST_HEADER - 16 - len(V4)
        header = binary(block=V4 + b"\x04" * most)
        self.assertEqual(read(header + b"rest"), (("192.0.2.7", 4711), b"rest"))
        for command in (0x20, 0x21):
            self.assertNone(binary(command, block=V4 + b"\x04" * (most + 1))[:16])

    def test_badCommand(self) -> None:
        for command in set(range(256)) - {0x20, 0x21}:
            self.assertNone(MAGIC + bytes([command]))

    def test_badKind(self) -> None:
        for kind in range(256):
            if kind >> 4 > 3 or kind & 15 > 2:
                self.assertNone(MAGIC + bytes([0x21, kind]))

    def test_tooShort(self) -> None:
        """The length leaves no room for the addresses."""
        for kind, size in (
            (0x11, 12),
            (0x12, 12),
            (0x21, 36),
            (0x22, 36),
            (0x31, 216),
            (0x32, 216),
        ):
            self.assertNone(binary(kind=kind, block=bytes(size - 1))[:16])
            self.assertIsNotNone(read(binary(kind=kind, block=bytes(size))))


class BothTests(SynchronousTestCase):
    """What holds for either version."""

    def test_otherProtocols(self) -> None:
        """Refused with the first byte that cannot be right."""
        for data in (b"G", b"\x16\x03\x01", b"{", b"\n", b"PROXZ", b"proxy ", b"\r\n\r\n\r", b"\0"):
            self.assertIs(outcome(data), ProxyHeaderError)
        self.assertIsNone(read(b""))

    def test_everyCut(self) -> None:
        """Wherever it is cut it is the same, and nothing is decided before its end."""
        for header in (
            *(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n", b"PROXY UNKNOWN\r\n", binary()),
            *(binary(kind=0x21, block=V6), binary(0x20, 0, b"")),
        ):
            expected = read(header)
            assert expected is not None
            for cut in range(len(header)):
                self.assertIsNone(read(header[:cut]))
                self.assertEqual(read(header[:cut], header[cut:] + b"rest"), (expected[0], b"rest"))
            self.assertEqual(read(*(bytes([each]) for each in header)), expected)


PROPERTY = settings(max_examples=300, deadline=None, database=None)
PORTS = st.integers(0, 65535)
ADDRESSES = st.one_of(
    st.tuples(*[st.ip_addresses(v=4)] * 2), st.tuples(*[st.ip_addresses(v=6)] * 2)
)


def write(
    version: int, source: Any, destination: Any, ports: tuple[int, int], more: bytes
) -> bytes:
    """Return a header, as a reverse proxy writes it."""
    family = source.version
    if version == 1:
        words = ("PROXY", f"TCP{family}", source, destination, *ports)
        return " ".join(map(str, words)).encode() + b"\r\n"
    block = source.packed + destination.packed + struct.pack(">HH", *ports) + more
    return binary(0x21, 0x11 if family == 4 else 0x21, block)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return it in pieces, some of which may be empty."""
    ends = sorted(min(place, len(data)) for place in places)
    return [data[one:two] for one, two in zip([0, *ends], [*ends, len(data)], strict=True)]


NEARLY = st.builds(
    lambda start, rest: start + rest,
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN", MAGIC, MAGIC + b"\x21\x11"]),
    st.binary(max_size=300),
)
CUTS = st.lists(st.integers(0, 300), max_size=8)
KNOWN = re.compile(rb"(?:PROXY |\r\n\r\n\0\r\nQUIT\n)")


class FuzzTests(SynchronousTestCase):
    """Whatever comes, in whichever pieces."""

    @PROPERTY
    @given(
        st.sampled_from([1, 2]), ADDRESSES, st.tuples(PORTS, PORTS), st.binary(max_size=99), CUTS
    )
    def test_roundTrip(
        self, version: int, addresses: Any, ports: Any, more: bytes, cuts: list[int]
    ) -> None:
        source, destination = addresses
        data = write(version, source, destination, ports, more) + b"\r\n\r\nrest"
        host = str(getattr(source, "ipv4_mapped", None) or source)
        self.assertEqual(read(*cut(data, cuts)), ((host, ports[0]), b"\r\n\r\nrest"))

    @PROPERTY
    @given(NEARLY, CUTS)
    def test_cuts(self, data: bytes, cuts: list[int]) -> None:
        """How it is cut makes no difference; what is accepted is exactly what was written."""
        found = outcome(data)
        self.assertEqual(outcome(*cut(data, cuts)), found)
        if isinstance(found, tuple):
            source, rest = found
            self.assertTrue(data.endswith(rest))
            self.assertTrue(KNOWN.match(data))
            if source is not None:
                host, port = source
                address = (IPv6Address if ":" in host else IPv4Address)(host)
                self.assertEqual(str(address), host)
                self.assertIn(port, range(65536))

    @PROPERTY
    @given(NEARLY, st.integers(0, 300))
    def test_noWayBack(self, data: bytes, place: int) -> None:
        """What was no header does not become one, and what was one stays so."""
        before, after = outcome(data[:place]), outcome(data)
        if before is ProxyHeaderError:
            self.assertIs(after, ProxyHeaderError)
        elif before is not None:
            self.assertEqual(after, (before[0], before[1] + data[place:]))
