"""Owns the checks of what is read of a TLS client's first message."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.clienthello import (
    MOST_BYTES,
    MOST_ENTRIES,
    MOST_RECORDS,
    ClientHello,
    readClientHello,
)

PROPERTY = settings(max_examples=300, deadline=None, database=None)

X25519, P256, ML_KEM = 29, 23, 4588

GREASE = 0x7A7A
"""What clients put everywhere, that servers get used to what they do not know (RFC 8701)."""

NOTHING = ClientHello()


def listed(width: int, content: bytes) -> bytes:
    """Return a vector, whose length has so many bytes (RFC 8446 section 3.4)."""
    return len(content).to_bytes(width, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + listed(2, content)


def supportedGroups(groups: Sequence[int]) -> bytes:
    """RFC 8446 section 4.2.7."""
    return extension(10, listed(2, b"".join(group.to_bytes(2, "big") for group in groups)))


def keyShare(shares: Sequence[tuple[int, int]]) -> bytes:
    """Return one with keys of these sizes (RFC 8446 section 4.2.8)."""
    entries = (group.to_bytes(2, "big") + listed(2, bytes(size)) for group, size in shares)
    return extension(51, listed(2, b"".join(entries)))


def hello(*extensions: bytes) -> bytes:
    """Return a message (RFC 8446 section 4.1.2)."""
    body = b"\x03\x03" + bytes(32) + listed(1, bytes(32)) + listed(2, bytes(8)) + listed(1, b"\0")
    return b"\x01" + listed(3, body + listed(2, b"".join(extensions)))


def records(message: bytes, *cuts: int) -> bytes:
    """Return the records that hold it, cut at these places (RFC 8446 section 5.1)."""
    bounds = [0, *sorted(cuts), len(message)]
    parts = [message[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]
    return b"".join(b"\x16\x03\x01" + listed(2, part) for part in parts if part)


ORDINARY = hello(
    extension(GREASE, b""),
    extension(0, listed(2, b"\0" + listed(2, b"example.org"))),
    supportedGroups([GREASE, ML_KEM, X25519, P256]),
    keyShare([(GREASE, 1), (ML_KEM, 1216), (X25519, 32)]),
    extension(GREASE + 1, b"\0"),
)
"""As a browser sends it."""

OFFERED = ClientHello((GREASE, ML_KEM, X25519), (GREASE, ML_KEM, X25519, P256))

numbers = st.one_of(st.sampled_from([X25519, P256, ML_KEM, GREASE]), st.integers(0, 0xFFFF))
others = st.tuples(
    st.integers(0, 0xFFFF).filter(lambda kind: kind not in (10, 51)), st.binary(max_size=40)
)


class ReadTests(SynchronousTestCase):
    """Messages as they should be."""

    def test_ordinary(self) -> None:
        self.assertEqual(readClientHello(records(ORDINARY)), OFFERED)

    @PROPERTY
    @given(
        st.lists(numbers, max_size=20),
        st.lists(st.tuples(numbers, st.integers(1, 200)), max_size=8),
        st.lists(others, max_size=10),
        st.randoms(),
    )
    def test_any(self, groups, shares, unknown, random) -> None:  # type: ignore[no-untyped-def]
        """Whatever is around them, and in any order."""
        extensions = [supportedGroups(groups), keyShare(shares)]
        extensions += [extension(kind, content) for kind, content in unknown]
        random.shuffle(extensions)
        offered = ClientHello(tuple(group for group, _size in shares), tuple(groups))
        self.assertEqual(readClientHello(records(hello(*extensions))), offered)

    def test_older(self) -> None:
        """A client of TLS 1.2 sends no keys, and needs no extensions at all."""
        older = hello(supportedGroups([X25519, P256]))
        self.assertEqual(readClientHello(records(older)), ClientHello((), (X25519, P256)))
        self.assertEqual(readClientHello(records(hello())), NOTHING)
        body = b"\x03\x03" + bytes(32) + listed(1, b"") + listed(2, bytes(2)) + listed(1, b"\0")
        self.assertEqual(readClientHello(records(b"\x01" + listed(3, body))), NOTHING)

    def test_compressing(self) -> None:
        """Before TLS 1.3 there was more than one way to compress, which is none."""
        body = b"\x03\x03" + bytes(32) + listed(1, b"") + listed(2, bytes(2)) + listed(1, b"\x40\0")
        message = b"\x01" + listed(3, body + listed(2, supportedGroups([P256])))
        self.assertEqual(readClientHello(records(message)), ClientHello((), (P256,)))

    def test_openSsl(self) -> None:
        """A message that was not made here."""
        for name, number in (("X25519", X25519), ("prime256v1", P256)):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            try:
                context.set_ecdh_curve(name)
            except ssl.SSLError:
                continue  # Debian 12's Python cannot
            outgoing = ssl.MemoryBIO()
            client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
            self.assertEqual(readClientHello(outgoing.read()), ClientHello((number,), (number,)))


class ArrivingTests(SynchronousTestCase):
    """Messages that come in pieces."""

    def test_prefixes(self) -> None:
        """More is waited for until the last byte is there."""
        for cuts in ((), (1,), (3, 4, 700), tuple(range(50, 50 * MOST_RECORDS, 50))):
            data = records(ORDINARY, *cuts)
            for end in range(len(data)):
                self.assertIsNone(readClientHello(data[:end]), end)
            self.assertEqual(readClientHello(data), OFFERED)

    @PROPERTY
    @given(st.sets(st.integers(1, len(ORDINARY) - 1), max_size=MOST_RECORDS - 1), st.binary())
    def test_cut(self, cuts: set[int], behind: bytes) -> None:
        """Over however many records, and whatever is behind it."""
        self.assertEqual(readClientHello(records(ORDINARY, *cuts) + behind), OFFERED)
        self.assertEqual(readClientHello(records(ORDINARY + behind, *cuts)), OFFERED)

    def test_tooManyRecords(self) -> None:
        """It is not gone on with for ever."""
        data = records(ORDINARY, *range(1, 2 * MOST_RECORDS))
        self.assertEqual(readClientHello(data), NOTHING)
        sizes = [end for end in range(len(data)) if readClientHello(data[:end]) is None]
        self.assertEqual(max(sizes), MOST_RECORDS * 6 - 1)

    def test_tooLong(self) -> None:
        """What is longer than a record is not waited for."""
        for size, isWaited in (
            (MOST_BYTES - 4, True),
            (MOST_BYTES - 3, False),
            ((1 << 23) + 8, False),
        ):
            data = b"\x16\x03\x01\x40\x00\x01" + size.to_bytes(3, "big")
            self.assertEqual(readClientHello(data), None if isWaited else NOTHING)

    @PROPERTY
    @given(st.sampled_from([b"", records(ORDINARY)[:5], records(ORDINARY, 1, 2, 3)[:20]]))
    def test_bounded(self, begin: bytes) -> None:
        """No client has more waited for than what is written here."""
        for noise in (bytes, lambda size: b"\x16" * size, os.urandom):
            self.assertIsNotNone(readClientHello(begin + noise(2 * MOST_BYTES)))


class StrangeTests(SynchronousTestCase):
    """What is no such message, or a damaged one: nobody is refused here."""

    def test_atOnce(self) -> None:
        """What cannot become one is not waited for."""
        for data in (
            b"G",
            b"\x15\x03\x01\x00\x02",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x00\x20\x02",
            b"\x16\x03\x01\x00\x01\x01\x17",
            b"\x80\x2e\x01\x03\x01",  # SSL 2
        ):
            self.assertEqual(readClientHello(data), NOTHING, data)
        self.assertIsNone(readClientHello(b""))

    @PROPERTY
    @given(st.binary(max_size=300))
    @example(b"")
    def test_noise(self, noise: bytes) -> None:
        """Noise, as such, as a message, and as what is in one."""
        readClientHello(noise)
        self.assertIsNotNone(readClientHello(records(b"\x01" + listed(3, noise))))
        self.assertIsNotNone(readClientHello(records(hello(noise))))
        for kind in (10, 51):
            self.assertIsNotNone(readClientHello(records(hello(extension(kind, noise)))))

    @PROPERTY
    @given(st.integers(9, len(ORDINARY) - 1), st.integers(0, 255))
    def test_damaged(self, place: int, octet: int) -> None:
        """Any byte may be another one."""
        data = bytearray(records(ORDINARY))
        data[5 + place] = octet
        self.assertIsNotNone(readClientHello(bytes(data)))

    def test_cutShort(self) -> None:
        """A message that ends before what it says is in it."""
        for size in range(len(ORDINARY) - 4):
            data = records(b"\x01" + listed(3, ORDINARY[4 : 4 + size]))
            self.assertIsNotNone(readClientHello(data))

    def test_manyEntries(self) -> None:
        """Of a long list only the beginning is looked at."""
        many = range(1000, 1000 + 2 * MOST_ENTRIES)
        read = readClientHello(
            records(hello(supportedGroups(many), keyShare([(group, 1) for group in many])))
        )
        first = tuple(many[:MOST_ENTRIES])
        self.assertEqual(read, ClientHello(first, first))
        extensions = [extension(kind, b"") for kind in many]
        read = readClientHello(records(hello(*extensions, supportedGroups([P256]))))
        self.assertEqual(read, NOTHING)
