"""Owns the checks of what is read of a TLS client's first message."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterable, Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from fuzz.corpora import inputs
from nymearemoteproxy.protocol.clienthello import (
    MOST_BYTES,
    MOST_ENTRIES,
    NOTHING,
    RECORD_SIZE,
    Alert,
    ClientHello,
    HelloError,
    HelloReader,
    readOffers,
    readServerName,
)
from nymearemoteproxy.protocol.outcomes import Outcome
from tests.support.hellos import (
    extension,
    hello,
    helloTo,
    listed,
    namesInOpenSsl,
    records,
    serverName,
)

PROPERTY = settings(max_examples=300, deadline=None, database=None)

X25519, P256, ML_KEM = 29, 23, 4588

GREASE = 0x7A7A
"""What clients put everywhere, that servers get used to what they do not know (RFC 8701)."""

ENCRYPTED_CLIENT_HELLO = 0xFE0D
"""RFC 9849 section 5."""

NAME = "house7.example.com"


def supportedGroups(groups: Sequence[int]) -> bytes:
    """RFC 8446 section 4.2.7."""
    return extension(10, listed(2, b"".join(group.to_bytes(2, "big") for group in groups)))


def keyShare(shares: Sequence[tuple[int, int]]) -> bytes:
    """Return one with keys of these sizes (RFC 8446 section 4.2.8)."""
    entries = (group.to_bytes(2, "big") + listed(2, bytes(size)) for group, size in shares)
    return extension(51, listed(2, b"".join(entries)))


FULL = records(bytes(RECORD_SIZE))

ORDINARY = hello(
    extension(GREASE, b""),
    serverName(NAME.encode()),
    supportedGroups([GREASE, ML_KEM, X25519, P256]),
    keyShare([(GREASE, 1), (ML_KEM, 1216), (X25519, 32)]),
    extension(ENCRYPTED_CLIENT_HELLO, bytes(400)),
    extension(GREASE + 1, b"\0"),
)
"""As a browser sends it."""

OFFERED = ClientHello((GREASE, ML_KEM, X25519), (GREASE, ML_KEM, X25519, P256))

CHROMIUM = next(path for path in inputs("clienthello") if path.name == "chromium").read_bytes()
"""What Chromium 156 sent to `NAME`."""

numbers = st.one_of(st.sampled_from([X25519, P256, ML_KEM, GREASE]), st.integers(0, 0xFFFF))
others = st.tuples(
    st.integers(0, 0xFFFF).filter(lambda kind: kind not in (0, 10, 51)), st.binary(max_size=40)
)


def found(parts: Iterable[bytes]) -> bytes | None:
    """Return the message that is found in what arrives in these parts."""
    reader = HelloReader()
    for part in parts:
        if (message := reader.feed(part)) is not None:
            return message
    return None


def offers(data: bytes) -> ClientHello | None:
    """Return what is offered in what arrives; None as long as it is waited for."""
    message = found([data])
    return None if message is None else readOffers(message)


def nameIn(data: bytes) -> str:
    """Return the server's name in what arrives at once."""
    message = found([data])
    assert message is not None
    return readServerName(message)


def octets(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def openSslHello(version: ssl.TLSVersion) -> bytes:
    """Return what OpenSSL sends that knows this version at most."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = version
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=NAME)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def newestHello() -> bytes:
    """Return what the newest OpenSSL sends that is installed, with all that it knows."""
    client = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    client.set_tlsext_host_name(NAME.encode())
    client.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        client.do_handshake()
    return client.bio_read(1 << 16)


class HelloCase(SynchronousTestCase):
    def assertRefused(self, alert: Alert, *parts: bytes) -> None:
        """It is told so by the last one of these parts, and not before; the name is read, too."""
        reader = HelloReader()
        for part in parts[:-1]:
            self.assertIsNone(reader.feed(part))
        with self.assertRaises(HelloError) as caught:
            message = reader.feed(parts[-1])
            assert message is not None, "more is waited for"
            readServerName(message)
        self.assertEqual(caught.exception.alert, alert)
        isNameless = alert is Alert.MISSING_EXTENSION
        outcome = Outcome.NO_SERVER_NAME if isNameless else Outcome.TLS_HANDSHAKE_FAILED
        self.assertEqual(caught.exception.outcome, outcome)


class OffersTests(HelloCase):
    """What TLS of our own goes by."""

    def test_ordinary(self) -> None:
        self.assertEqual(offers(records(ORDINARY)), OFFERED)

    @PROPERTY
    @given(
        st.lists(numbers, max_size=20),
        st.lists(st.tuples(numbers, st.integers(1, 200)), max_size=8),
        st.lists(others, max_size=10),
        st.randoms(),
    )
    def test_any(self, groups, shares, unknown, random) -> None:  # type: ignore[no-untyped-def]
        """Whatever is around them, and in any order."""
        extensions = [supportedGroups(groups), keyShare(shares), serverName(b"n")]
        extensions += [extension(kind, content) for kind, content in unknown]
        random.shuffle(extensions)
        data = records(hello(*extensions))
        offered = ClientHello(tuple(group for group, _size in shares), tuple(groups))
        self.assertEqual((offers(data), nameIn(data)), (offered, "n"))

    def test_older(self) -> None:
        """A client of TLS 1.2 sends no keys, and needs no extensions at all."""
        older = hello(supportedGroups([X25519, P256]))
        self.assertEqual(offers(records(older)), ClientHello((), (X25519, P256)))
        self.assertEqual(offers(records(hello())), NOTHING)
        body = b"\x03\x03" + bytes(32) + listed(1, b"") + listed(2, bytes(2)) + listed(1, b"\0")
        self.assertEqual(offers(records(b"\x01" + listed(3, body))), NOTHING)
        self.assertRefused(Alert.MISSING_EXTENSION, records(b"\x01" + listed(3, body)))

    def test_compressing(self) -> None:
        """Before TLS 1.3 there was more than one way to compress, which is none."""
        body = b"\x03\x03" + bytes(32) + listed(1, b"") + listed(2, bytes(2)) + listed(1, b"\x40\0")
        message = b"\x01" + listed(3, body + listed(2, supportedGroups([P256])))
        self.assertEqual(offers(records(message)), ClientHello((), (P256,)))

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
            self.assertEqual(offers(outgoing.read()), ClientHello((number,), (number,)))

    def test_manyEntries(self) -> None:
        """Of a long list only the beginning is looked at."""
        many = range(1000, 1000 + 2 * MOST_ENTRIES)
        read = offers(records(hello(supportedGroups(many), keyShare([(each, 1) for each in many]))))
        first = tuple(many[:MOST_ENTRIES])
        self.assertEqual(read, ClientHello(first, first))
        extensions = [extension(kind, b"") for kind in many]
        read = offers(records(hello(*extensions, supportedGroups([P256]))))
        self.assertEqual(read, NOTHING)

    @PROPERTY
    @given(st.binary(max_size=300))
    @example(b"")
    def test_noise(self, noise: bytes) -> None:
        """Noise, as a message, and as what is in one: nobody is refused here."""
        self.assertIsNotNone(readOffers(noise))
        self.assertIsNotNone(offers(records(hello(noise))))
        for kind in (10, 51):
            self.assertIsNotNone(offers(records(hello(extension(kind, noise)))))


class ArrivingTests(HelloCase):
    """Messages that come in pieces."""

    def test_prefixes(self) -> None:
        """More is waited for until the last byte is there."""
        for cuts in ((), (1,), (3, 4, 700), tuple(range(1, len(ORDINARY)))):
            data = records(ORDINARY, *cuts)
            reader = HelloReader()
            for octet in octets(data[:-1]):
                self.assertIsNone(reader.feed(octet))
            self.assertEqual(reader.feed(data[-1:]), ORDINARY[4:])

    @PROPERTY
    @given(
        st.sets(st.integers(1, len(ORDINARY) - 1), max_size=40),
        st.lists(st.integers(0, 6 * len(ORDINARY)), max_size=20),
        st.binary(max_size=20),
    )
    def test_cut(self, cuts: set[int], reads: list[int], behind: bytes) -> None:
        """Over however many records and reads, and whatever is behind it, in its record or not."""
        for data in (records(ORDINARY, *cuts) + behind, records(ORDINARY + behind, *cuts)):
            bounds = [0, *sorted(reads), len(data)]
            parts = [data[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]
            self.assertEqual(found(parts), ORDINARY[4:])

    def test_longest(self) -> None:
        """What is as long as a record is taken, and nothing longer is waited for."""
        room = MOST_BYTES - len(hello(extension(GREASE, b"")))
        longest = hello(extension(GREASE, bytes(room)))
        self.assertEqual(len(longest), 16 << 10)
        for data in (records(longest), records(longest, 1, 2, 3, 4, 5)):
            self.assertEqual(found([data]), longest[4:])
        for size in (MOST_BYTES - 3, (1 << 23) + 8):
            head = b"\x01" + size.to_bytes(3, "big")
            for data in (b"\x16\x03\x01\x40\x00" + head, records(head, 1, 2, 3)):
                self.assertRefused(Alert.ILLEGAL_PARAMETER, data[:-1], data[-1:])

    def test_recordSize(self) -> None:
        """RFC 8446 section 5.1: 2^14 bytes, and none with nothing of a handshake."""
        begin = b"\x16\x03\x01"
        self.assertIsNone(found([begin + RECORD_SIZE.to_bytes(2, "big")]))
        self.assertEqual(RECORD_SIZE, 1 << 14)
        for size, alert in (
            (RECORD_SIZE + 1, Alert.RECORD_OVERFLOW),
            (0xFFFF, Alert.RECORD_OVERFLOW),
            (0, Alert.UNEXPECTED_MESSAGE),
        ):
            head = begin + size.to_bytes(2, "big")
            self.assertRefused(alert, head[:4], head[4:])
            self.assertRefused(alert, records(ORDINARY[:9]), head)

    def test_recordVersion(self) -> None:
        """It is to be ignored (RFC 8446 section 5.1)."""
        for version in (b"\x03\x00", b"\x03\x04", b"\0\0", b"\xff\xff"):
            self.assertEqual(nameIn(b"\x16" + version + helloTo(NAME)[3:]), NAME)

    @PROPERTY
    @given(
        st.one_of(
            st.sampled_from([records(ORDINARY)[:5], records(ORDINARY, 1, 2, 3)[:20]]),
            st.integers(0, MOST_BYTES).map(lambda size: records(b"\1" + size.to_bytes(3, "big"))),
            st.binary(max_size=20).map(lambda message: records(b"\1" + message)),
        )
    )
    def test_bounded(self, begin: bytes) -> None:
        """No client has more waited for than what is written here."""
        for more in (bytes(2 * MOST_BYTES), os.urandom(2 * MOST_BYTES), FULL * 2):
            try:
                self.assertIsNotNone(found([begin + more]))
            except HelloError:
                continue

    def test_empty(self) -> None:
        """A message of no bytes is whole, and has not what it must."""
        for sizes in ((), (1,), (1, 2, 3)):
            self.assertRefused(Alert.DECODE_ERROR, records(b"\1\0\0\0", *sizes))

    def test_atOnce(self) -> None:
        """What cannot become a message is refused with the first byte that says so."""
        for data in (
            b"G",  # GET / HTTP/1.1
            b"\x80",  # SSL 2
            b"\x15",
            b"\x17",
            b"\x14",
            b"\x16\x03\x01\x00\x20\x02",
            b"\x16\x03\x01\x00\x20\x00",
            *(records(ORDINARY[:9]) + kind for kind in (b"\x14", b"\x15", b"\x17", b"\x18", b"G")),
        ):
            self.assertRefused(Alert.UNEXPECTED_MESSAGE, data[:-1], data[-1:])
        self.assertIsNone(found([b""]))

    @PROPERTY
    @given(st.binary(max_size=100))
    def test_noise(self, noise: bytes) -> None:
        for data in (noise, b"\x16\x03\x01" + noise, records(noise), records(b"\x01" + noise)):
            with contextlib.suppress(HelloError):
                found([data])


class ServerNameTests(HelloCase):
    """Whom a visitor asks for."""

    def test_real(self) -> None:
        """As others write it: Chromium, with a key of 1,216 bytes; OpenSSL, old and new."""
        versions = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
        for data in (CHROMIUM, newestHello(), *map(openSslHello, versions)):
            self.assertEqual(nameIn(data), NAME)
            self.assertEqual(found(octets(data)), found([data]))
        message = found([CHROMIUM]) or b""
        self.assertGreater(len(message), 1500)
        self.assertIn(ML_KEM, readOffers(message).shares)
        self.assertIn(ENCRYPTED_CLIENT_HELLO.to_bytes(2, "big"), message)

    def test_versions(self) -> None:
        """Every version of TLS has it in the same place."""
        for version in range(0x0300, 0x0305):
            message = ORDINARY[:4] + version.to_bytes(2, "big") + ORDINARY[6:]
            self.assertEqual(nameIn(records(message)), NAME)

    def test_outerName(self) -> None:
        """Of an encrypted ClientHello nothing is read."""
        encrypted = extension(ENCRYPTED_CLIENT_HELLO, b"\0" + serverName(b"inner.example"))
        for message in (
            hello(encrypted, serverName(NAME.encode())),
            hello(serverName(NAME.encode()), encrypted),
        ):
            self.assertEqual(nameIn(records(message)), NAME)
        self.assertRefused(Alert.MISSING_EXTENSION, records(hello(encrypted)))

    def test_asItIsWritten(self) -> None:
        """Nothing is made of it here; what is not ASCII is nothing that a name can have."""
        for written, name in {
            b"HOUSE7.Example.Com.": "HOUSE7.Example.Com.",
            b"192.0.2.1": "192.0.2.1",
            b"2001:db8::1": "2001:db8::1",
            b"xn--mnchen-3ya.example": "xn--mnchen-3ya.example",
            b"a\0b": "a\0b",
            b".": ".",
            b"m\xc3\xbcnchen": "m\ufffd\ufffdnchen",
            b"\xff" * 3: "\ufffd" * 3,
        }.items():
            self.assertEqual(nameIn(records(hello(serverName(written)))), name)

    def test_nameless(self) -> None:
        for message in (hello(), hello(extension(GREASE, b"")), hello(supportedGroups([P256]))):
            self.assertRefused(Alert.MISSING_EXTENSION, records(message))

    def test_twice(self) -> None:
        """RFC 8446 section 4.2: not more than one extension of a type."""
        for second in (serverName(NAME.encode()), serverName(b"b"), extension(0, b"")):
            for message in (
                hello(serverName(NAME.encode()), extension(GREASE, b""), second),
                hello(second, serverName(NAME.encode())),
            ):
                self.assertRefused(Alert.ILLEGAL_PARAMETER, records(message))

    def test_badlyWritten(self) -> None:
        """One name in one list, and lengths that are right."""
        entry = b"\0" + listed(2, NAME.encode())
        for content in (
            b"",
            b"\0",
            listed(2, b""),
            listed(2, b"\0"),
            listed(2, b"\0" + listed(2, b"")),  # an empty name
            listed(2, entry[:-1]),
            listed(2, entry + b"\0"),
            listed(2, entry) + b"\0",
            listed(2, entry)[:-1],
            listed(2, entry + entry),  # RFC 6066 section 3: not two of a type
            listed(2, entry + b"\1" + listed(2, b"b")),  # and there is only one
            listed(2, b"\1" + listed(2, b"b") + entry),
            listed(2, b"\1" + listed(2, NAME.encode())),
            entry,
            listed(1, entry),
            b"\xff\xff" + entry,
        ):
            self.assertRefused(Alert.DECODE_ERROR, records(hello(extension(0, content))))

    def test_wrongLengths(self) -> None:
        """Each length on the way to the name, by one and by more."""
        message = hello(serverName(NAME.encode()))
        body = 4 + 2 + 32
        extensions = len(message) - len(serverName(NAME.encode())) - 2
        for at, size in (
            (body, 1),  # the session's id
            (body + 33, 2),  # ciphers
            (body + 33 + 10, 1),  # ways to compress
            (extensions, 2),
            (extensions + 4, 2),  # the one extension
            (extensions + 6, 2),  # the list
            (extensions + 9, 2),  # the name
        ):
            right = int.from_bytes(message[at : at + size], "big")
            for wrong in (0, right - 1, right + 1, right + 2, (1 << 8 * size) - 1):
                if (right, wrong) == (8, 9):
                    continue  # it leaves no way to compress, which is for the home to refuse
                damaged = message[:at] + wrong.to_bytes(size, "big") + message[at + size :]
                self.assertRefused(Alert.DECODE_ERROR, records(damaged))

    def test_cutShort(self) -> None:
        """A message that ends before what it says is in it."""
        withoutExtensions = ORDINARY.index(GREASE.to_bytes(2, "big")) - 2
        for size in range(4, len(ORDINARY)):
            alert = Alert.DECODE_ERROR
            if size == withoutExtensions:  # before TLS 1.3 this was a whole one
                alert = Alert.MISSING_EXTENSION
            self.assertRefused(alert, records(b"\x01" + listed(3, ORDINARY[4:size])))

    def test_behind(self) -> None:
        """There is nothing behind the extensions."""
        for more in (b"\0", serverName(b"b")):
            message = b"\x01" + listed(3, ORDINARY[4:] + more)
            self.assertRefused(Alert.DECODE_ERROR, records(message))


fields = st.integers(0, 300).map(lambda size: size.to_bytes(2, "big"))
"""Lengths, most of them wrong."""

someNames = st.sampled_from(
    [b"a.example", b"b.example", b"", b"a\0b", b"\xff", b"a" * 255, b"a" * 256]
)

entries = st.one_of(
    someNames.map(lambda name: b"\0" + listed(2, name)),
    someNames.map(lambda name: b"\1" + listed(2, name)),
    st.binary(max_size=8),
    st.builds(lambda length, name: b"\0" + length + name, fields, someNames),
)

lists = st.lists(entries, max_size=3).map(b"".join)

nameExtensions = st.one_of(
    someNames.map(serverName),
    lists.map(lambda content: extension(0, listed(2, content))),
    lists.map(lambda content: extension(0, content)),
    st.builds(lambda length, content: b"\0\0" + length + content, fields, lists),
    st.builds(lambda length, content: extension(0, length + content), fields, lists),
)


class OtherReaderTests(SynchronousTestCase):
    """What OpenSSL makes of the same bytes, as the home will that they are passed on to."""

    def assertAgree(self, message: bytes, *cuts: int) -> None:
        """Either both read the same name, or one of them refuses."""
        data = records(message, *cuts)
        try:
            name: str | None = nameIn(data)
        except HelloError as error:
            if error.alert is not Alert.MISSING_EXTENSION:
                return
            name = None
        for other in namesInOpenSsl(data):
            self.assertEqual(name, other and other.decode("ascii", "replace"))

    @PROPERTY
    @given(st.lists(st.one_of(nameExtensions, others.map(lambda it: extension(*it))), max_size=4))
    def test_anyExtensions(self, extensions: list[bytes]) -> None:
        self.assertAgree(hello(*extensions))

    @PROPERTY
    @given(st.integers(4, 110), st.integers(0, 255), st.sets(st.integers(1, 100), max_size=5))
    def test_damaged(self, place: int, octet: int, cuts: set[int]) -> None:
        """Any byte may be another one."""
        message = bytearray(hello(extension(GREASE, b"\0\0"), serverName(NAME.encode())))
        message[min(place, len(message) - 1)] = octet
        self.assertAgree(bytes(message), *cuts)

    def test_sameNames(self) -> None:
        """It is no question of refusing everything."""
        for data in (CHROMIUM, records(ORDINARY), records(ORDINARY, *range(1, 900))):
            self.assertEqual(namesInOpenSsl(data), [nameIn(data).encode()])
        self.assertEqual(namesInOpenSsl(records(hello())), [None])


class AlertTests(SynchronousTestCase):
    """What a client is told when nothing is encrypted yet."""

    def test_numbers(self) -> None:
        """RFC 8446 section 6.2."""
        self.assertEqual(
            {alert.name: alert.value for alert in Alert},
            {
                "UNEXPECTED_MESSAGE": 10,
                "RECORD_OVERFLOW": 22,
                "ILLEGAL_PARAMETER": 47,
                "DECODE_ERROR": 50,
                "INTERNAL_ERROR": 80,
                "MISSING_EXTENSION": 109,
                "UNRECOGNIZED_NAME": 112,
            },
        )

    def test_understood(self) -> None:
        """OpenSSL tells its user which one came."""
        for alert in Alert:
            incoming = ssl.MemoryBIO()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            client = context.wrap_bio(incoming, ssl.MemoryBIO(), server_hostname=NAME)
            self.assertRaises(ssl.SSLWantReadError, client.do_handshake)
            incoming.write(alert.record())
            error = self.assertRaises(ssl.SSLError, client.do_handshake)
            self.assertIn(alert.name, str(error.reason))
