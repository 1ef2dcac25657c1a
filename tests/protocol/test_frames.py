"""Owns the checks of WebSocket frames, against a reference that reads them the plain way."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol import frames as rules
from nymearemoteproxy.protocol.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FRAMES_AT_ONCE,
    INVALID_PAYLOAD,
    PARTS_AT_ONCE,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    FrameError,
    FrameReader,
    StreamFramer,
    checkClose,
    closeFrame,
    frame,
    header,
)
from nymearemoteproxy.protocol.outcomes import Outcome

PROPERTY = settings(max_examples=200, deadline=None, database=None)

MASK = b"\x11\x22\x33\x44"
GOOD_CLOSE_CODES = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}


def masked(
    opcode: int, payload: bytes = b"", fin: bool = True, mask: bytes = MASK, reserved: int = 0
) -> bytes:
    """Return a client's frame, its length in the shortest form."""
    size = len(payload)
    first = opcode | reserved | (0x80 if fin else 0)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = bytes([0xFE]) + size.to_bytes(2, "big")
    else:
        length = bytes([0xFF]) + size.to_bytes(8, "big")
    body = bytes(octet ^ mask[place % 4] for place, octet in enumerate(payload))
    return bytes([first]) + length + mask + body


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut `data` at the given places, wherever they lie."""
    bounds = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *bounds], [*bounds, len(data)], strict=True)]


Item = tuple[int, bytes]
"""What arrived whole, in order: a message or a control frame."""


class Incomplete(Exception):
    """The reference ran out of data."""


class Broken(Exception):
    """The reference found a breach of RFC 6455."""


def referenceFrames(data: bytes) -> Iterator[tuple[bool, int, bytes]]:
    """Read whole frames from a complete stream (RFC 6455 section 5.2), one field after another."""
    rest = memoryview(data)

    def take(size: int) -> bytes:
        nonlocal rest
        if len(rest) < size:
            raise Incomplete
        taken, rest = bytes(rest[:size]), rest[size:]
        return taken

    inMessage = False
    while rest:
        (first,) = take(1)
        fin, opcode = bool(first >> 7), first & 15
        if (first >> 4) & 7 or opcode not in (0, 1, 2, 8, 9, 10) or (opcode >= 8 and not fin):
            raise Broken
        if opcode < 8:
            if (opcode == 0) != inMessage:
                raise Broken
            inMessage = not fin
        (second,) = take(1)
        size = second & 127
        if not second >> 7 or (opcode >= 8 and size > 125):
            raise Broken
        lowest = 0
        if size == 126:
            size, lowest = int.from_bytes(take(2), "big"), 126
        elif size == 127:
            size, lowest = int.from_bytes(take(8), "big"), 65536
        mask = take(4)
        if size < lowest or size >> 63:
            raise Broken
        payload = bytes(octet ^ mask[place & 3] for place, octet in enumerate(take(size)))
        yield fin, opcode, payload


def reference(data: bytes) -> tuple[list[Item], bool]:
    """Return the messages and control frames of a stream, and whether it broke the protocol."""
    items: list[Item] = []
    message: list[bytes] = []
    kind = 0
    try:
        for fin, opcode, payload in referenceFrames(data):
            if opcode == 8:
                if payload:
                    code = int.from_bytes(payload[:2], "big")
                    good = code in GOOD_CLOSE_CODES or 3000 <= code <= 4999
                    if len(payload) < 2 or not good:
                        raise Broken
                    try:
                        payload[2:].decode()
                    except UnicodeDecodeError:
                        raise Broken from None
                items.append((opcode, payload))
                break
            if opcode > 8:
                items.append((opcode, payload))
                continue
            if opcode:
                kind, message = opcode, []
            message.append(payload)
            if fin:
                items.append((kind, b"".join(message)))
    except Incomplete:
        pass
    except Broken:
        return items, True
    return items, False


Piece = tuple[int, bool, bytes]
"""(opcode, last of its message, payload) of one frame."""


def pieces(reader: FrameReader, data: bytes) -> list[Piece]:
    """Let the reader read; return what its frames say, each of which must be whole."""
    frames = reader.receive(data)
    found = [
        unmaskedFrames(head + payload)
        for head, payload in zip(frames[::2], frames[1::2], strict=True)
    ]
    assert all(len(each) == 1 for each in found) and 2 * len(found) == len(frames)
    return [each[0] for each in found]


class Assembler:
    """Puts messages together again from pieces; fails when pieces are no message."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._kind = 0
        self._parts: list[bytes] = []

    def add(self, found: list[Piece]) -> None:
        for opcode, last, payload in found:
            assert (opcode == CONTINUATION) == (self._kind != 0), "opcode at the start only"
            self._kind = self._kind or opcode
            self._parts.append(payload)
            if last:
                self.items.append((self._kind, b"".join(self._parts)))
                self._kind, self._parts = 0, []


def readAll(chunks: list[bytes]) -> tuple[list[Item], list[Item], FrameReader]:
    """Return the messages, the control frames, and the reader."""
    reader = FrameReader()
    assembler = Assembler()
    for chunk in chunks:
        assembler.add(pieces(reader, chunk))
        while reader.hasMore:
            assembler.add(pieces(reader, b""))
    return assembler.items, list(reader.controls), reader


SMALL = st.binary(max_size=20)
SIZED = st.sampled_from([0, 1, 124, 125, 126, 127, 300]).map(lambda size: b"\xa5" * size)
MASKS = st.binary(min_size=4, max_size=4)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A client's stream: messages in fragments, control frames between, now and then a fault."""
    parts: list[bytes] = []

    def control() -> None:
        if draw(st.integers(0, 3)) == 0:
            parts.append(masked(draw(st.sampled_from([PING, PONG])), draw(SMALL), mask=draw(MASKS)))

    for _ in range(draw(st.integers(0, 4))):
        fragments = draw(st.lists(SMALL | SIZED, min_size=1, max_size=4))
        for number, payload in enumerate(fragments):
            control()
            opcode = CONTINUATION if number else draw(st.sampled_from([TEXT, BINARY]))
            parts.append(masked(opcode, payload, number == len(fragments) - 1, draw(MASKS)))
    ending = draw(st.integers(0, 5))
    if ending == 0:
        code = draw(st.integers(990, 1020) | st.integers(0, 65535))
        parts.append(masked(CLOSE, code.to_bytes(2, "big") + draw(SMALL)))
    elif ending == 1:
        parts.append(draw(SMALL))
    elif ending == 2 and parts:
        parts.pop(draw(st.integers(0, len(parts) - 1)))
    data = b"".join(parts)
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 4)) == 0 else data


class ReaderPropertyTests(SynchronousTestCase):
    """The reader against the reference."""

    def check(self, data: bytes, chunks: list[bytes]) -> None:
        """Compare what the reader makes of the chunks with what the reference makes of it all."""
        expected, broken = reference(data)
        messages, controls, reader = readAll(chunks)
        self.assertEqual(messages, [item for item in expected if item[0] < 8])
        self.assertEqual(controls, [item for item in expected if item[0] >= 8])
        self.assertEqual(reader.error is not None, broken)

    @PROPERTY
    @given(streams(), st.lists(st.integers(0, 100_000), max_size=8))
    def test_anySplit(self, data: bytes, places: list[int]) -> None:
        """Messages keep their type, payload and boundaries, however the stream is cut."""
        self.check(data, cut(data, places))

    @PROPERTY
    @given(streams())
    def test_byteAtATime(self, data: bytes) -> None:
        """Also in the smallest parts."""
        self.check(data, [data[place : place + 1] for place in range(len(data))])

    @PROPERTY
    @given(streams(), st.lists(st.integers(0, 100_000), max_size=4), st.integers(1, 3))
    def test_littleAtATime(self, data: bytes, places: list[int], most: int) -> None:
        """Also when little is read at a time."""
        self.patch(rules, "_PARTS", range(most))
        self.patch(rules, "_FRAMES", range(most))
        self.check(data, cut(data, places))

    @PROPERTY
    @given(st.lists(st.integers(0, 255), max_size=24).map(bytes), st.integers(0, 23))
    @example(b"\x81\xfe\x00\x7d" + MASK + b"x" * 16, 3)
    def test_anyBytes(self, data: bytes, place: int) -> None:
        """Whatever arrives, the reader and the reference agree, in one part or in two."""
        self.check(data, [data])
        self.check(data, cut(data, [place]))

    @PROPERTY
    @given(streams(), st.lists(st.integers(0, 100_000), max_size=8))
    def test_orderOfControls(self, data: bytes, places: list[int]) -> None:
        """A control frame is noticed no later than the read that completes it."""
        reader = FrameReader()
        arrived = b""
        for chunk in cut(data, places):
            arrived += chunk
            reader.receive(chunk)
            expected, _ = reference(arrived)
            self.assertEqual(reader.controls, [item for item in expected if item[0] >= 8])

    @PROPERTY
    @given(streams(), st.lists(st.integers(0, 100_000), max_size=8))
    def test_relayed(self, data: bytes, places: list[int]) -> None:
        """Frames encoded for the partner are whole, and hold the same messages."""
        expected, _ = reference(data)
        reader = FrameReader()
        relayed = [b"".join(reader.receive(chunk)) for chunk in cut(data, places)]
        assembler = Assembler()
        for written in relayed:
            assembler.add(unmaskedFrames(written))
        self.assertEqual(assembler.items, [item for item in expected if item[0] < 8])


def unmaskedFrames(data: bytes) -> list[Piece]:
    """Read a server's frames, all of which must be whole."""
    found: list[Piece] = []
    while data:
        first, size = data[0], data[1]
        assert not first & 0x70 and size < 128
        behind = 2
        if size > 125:
            behind = 4 if size == 126 else 10
            size = int.from_bytes(data[2:behind], "big")
        assert len(data) >= behind + size
        found.append((first & 15, bool(first & 0x80), data[behind : behind + size]))
        data = data[behind + size :]
    return found


class ReaderTests(SynchronousTestCase):
    """Single rules of the reader."""

    def assertBounded(self, data: bytes, most: int) -> None:
        """Of a thousand times these frames so many are read at a time, at most."""
        reader = FrameReader()
        read, rounds = 0, 0
        found = pieces(reader, data * 1000)
        while True:
            count = len(found) + len(reader.controls)
            self.assertLessEqual(count, most)
            read, rounds = read + count, rounds + 1
            reader.controls.clear()
            if not reader.hasMore:
                break
            self.assertGreater(count, 0)
            found = pieces(reader, b"")
        self.assertGreaterEqual(read, 1000)
        self.assertLess(rounds, 1000)

    def test_bounded(self) -> None:
        """Whatever the frames are, there is a bound to what is read at a time."""
        for data, most in (
            (masked(TEXT), FRAMES_AT_ONCE),
            (masked(PING), PARTS_AT_ONCE),
            (masked(TEXT, fin=False) + masked(CONTINUATION), PARTS_AT_ONCE),
            (masked(TEXT) * 50 + masked(PING), 2 * FRAMES_AT_ONCE),
        ):
            self.assertBounded(data, most)

    def test_passedOnAtOnce(self) -> None:
        """What has arrived of a frame is a piece, the rest continues it; nothing is collected."""
        data = masked(TEXT, b"abcdefgh")
        reader = FrameReader()
        self.assertEqual(pieces(reader, data[:9]), [(TEXT, False, b"abc")])
        self.assertEqual(pieces(reader, data[9:10]), [(CONTINUATION, False, b"d")])
        self.assertEqual(pieces(reader, data[10:]), [(CONTINUATION, True, b"efgh")])

    def test_controlBetweenFragments(self) -> None:
        """Pings may come inside a message (section 5.4) and leave it as it is."""
        reader = FrameReader()
        data = masked(BINARY, b"a", fin=False) + masked(PING, b"p" * 125) + masked(PONG)
        self.assertEqual(
            pieces(reader, data + masked(CONTINUATION, b"b")),
            [(BINARY, False, b"a"), (CONTINUATION, True, b"b")],
        )
        self.assertEqual(reader.controls, [(PING, b"p" * 125), (PONG, b"")])
        self.assertIsNone(reader.error)

    def test_emptyFrames(self) -> None:
        """Empty messages and empty fragments are messages."""
        reader = FrameReader()
        data = masked(TEXT) + masked(BINARY, fin=False) + masked(CONTINUATION)
        self.assertEqual(
            pieces(reader, data),
            [(TEXT, True, b""), (BINARY, False, b""), (CONTINUATION, True, b"")],
        )
        self.assertEqual(pieces(reader, b""), [])

    def test_lengths(self) -> None:
        """Each form of the length, at its bounds."""
        for size in (0, 125, 126, 65535, 65536):
            payload = bytes(place % 251 for place in range(size))
            self.assertEqual(
                pieces(FrameReader(), masked(BINARY, payload)), [(BINARY, True, payload)]
            )

    def test_hugeFrame(self) -> None:
        """A frame of almost 2^63 bytes is begun like any other: nothing waits for its end."""
        reader = FrameReader()
        start = b"\x82\xff" + (2**63 - 1).to_bytes(8, "big") + b"\0\0\0\0"
        self.assertEqual(pieces(reader, start + b"abc"), [(BINARY, False, b"abc")])
        self.assertEqual(pieces(reader, b"d" * 1000), [(CONTINUATION, False, b"d" * 1000)])
        self.assertIsNone(reader.error)

    def assertBreach(self, data: bytes, words: str, code: int = PROTOCOL_ERROR) -> None:
        """`data` is refused, as a whole and byte by byte, and nothing is read after it."""
        for chunks in ([data], [data[place : place + 1] for place in range(len(data))]):
            messages, controls, reader = readAll([masked(TEXT, b"before"), *chunks])
            self.assertEqual(messages, [(TEXT, b"before")])
            self.assertEqual(controls, [])
            assert reader.error is not None, data
            self.assertEqual(reader.error.code, code)
            self.assertIn(words, reader.error.reason)
            self.assertEqual(str(reader.error), reader.error.reason)
            error = reader.error
            self.assertEqual(pieces(reader, masked(TEXT, b"after") + masked(PING)), [])
            self.assertEqual(reader.controls, [])
            self.assertIs(reader.error, error)

    def test_reservedBits(self) -> None:
        """No extension is negotiated, so none of the bits may be set (section 5.2)."""
        for reserved in (0x10, 0x20, 0x40, 0x70):
            for opcode in (TEXT, PING, CLOSE):
                self.assertBreach(masked(opcode, reserved=reserved), "reserved bit")

    def test_unknownOpcodes(self) -> None:
        """Opcodes without a meaning (section 5.2)."""
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            self.assertBreach(masked(opcode, b"x"), "unknown opcode")

    def test_unmasked(self) -> None:
        """A client must mask (section 5.1), control frames too."""
        for opcode in (TEXT, BINARY, PING, PONG, CLOSE):
            self.assertBreach(frame(opcode, b""), "not masked")
            self.assertBreach(frame(opcode, b"xyz"), "not masked")

    def test_longControl(self) -> None:
        """Control frames have at most 125 bytes (section 5.5)."""
        for opcode in (PING, PONG, CLOSE):
            self.assertBreach(masked(opcode, b"x" * 126), "control frame too long")
            self.assertBreach(masked(opcode, b"x" * 65536)[:14], "control frame too long")

    def test_fragmentedControl(self) -> None:
        """Control frames are not fragmented (section 5.5)."""
        for opcode in (PING, PONG, CLOSE):
            self.assertBreach(masked(opcode, fin=False), "fragmented control")

    def test_continuationWithoutStart(self) -> None:
        """There is nothing to continue (section 5.4)."""
        self.assertBreach(masked(CONTINUATION, b"x"), "nothing to be continued")
        self.assertBreach(masked(CONTINUATION, b"x", fin=False), "nothing to be continued")

    def test_messageInsideAMessage(self) -> None:
        """Fragments of messages are not interleaved (section 5.4)."""
        for fin in (False, True):
            reader = FrameReader()
            found = pieces(reader, masked(TEXT, b"a", fin=False) + masked(BINARY, b"b", fin))
            self.assertEqual(found, [(TEXT, False, b"a")])
            assert reader.error is not None
            self.assertIn("inside a message", reader.error.reason)

    def test_lengthNotMinimal(self) -> None:
        """The shortest form is a must (section 5.2)."""
        for size in (0, 1, 125):
            self.assertBreach(
                b"\x82\xfe" + size.to_bytes(2, "big") + MASK + b"x" * size, "shortest form"
            )
        for size in (0, 125, 126, 65535):
            self.assertBreach(b"\x82\xff" + size.to_bytes(8, "big") + MASK, "shortest form")

    def test_lengthOutOfRange(self) -> None:
        """The most significant bit of a length is 0 (section 5.2)."""
        for size in (1 << 63, (1 << 64) - 1):
            self.assertBreach(b"\x82\xff" + size.to_bytes(8, "big") + MASK, "out of range")

    def test_closeCodes(self) -> None:
        """Only codes that may be sent are taken (section 7.4); all of them."""
        for code in range(65536):
            payload = code.to_bytes(2, "big")
            good = code in GOOD_CLOSE_CODES or 3000 <= code <= 4999
            try:
                self.assertEqual(checkClose(payload), code)
                self.assertTrue(good, code)
            except FrameError as error:
                self.assertFalse(good, code)
                self.assertEqual(error.code, PROTOCOL_ERROR)
        self.assertBreach(masked(CLOSE, (1005).to_bytes(2, "big")), "close code")

    def test_closePayload(self) -> None:
        """One byte is no code; a reason is UTF-8 (section 5.5.1)."""
        self.assertBreach(masked(CLOSE, b"\x03"), "close code")
        self.assertBreach(masked(CLOSE, b"\x03\xe8caf\xe9"), "UTF-8", INVALID_PAYLOAD)
        self.assertEqual(checkClose(b""), 1000)
        self.assertEqual(checkClose("\x0f\xa0é".encode("latin-1")[:2] + "é".encode()), 4000)

    def test_nothingAfterAClose(self) -> None:
        """What follows a close frame is ignored (section 5.5.1), in the same read and later."""
        reader = FrameReader()
        close = (1001).to_bytes(2, "big") + b"bye"
        data = masked(TEXT, b"a") + masked(CLOSE, close) + masked(TEXT, b"b") + b"\xff"
        self.assertEqual(pieces(reader, data), [(TEXT, True, b"a")])
        self.assertEqual(pieces(reader, masked(TEXT, b"c") + masked(PING)), [])
        self.assertEqual(reader.controls, [(CLOSE, close)])
        self.assertIsNone(reader.error)

    def test_piecesBeforeAnError(self) -> None:
        """They arrived in order, so they are passed on."""
        reader = FrameReader()
        data = masked(TEXT, b"a") + masked(PING, b"p") + masked(TEXT, b"b") + frame(TEXT, b"c")
        self.assertEqual(pieces(reader, data), [(TEXT, True, b"a"), (TEXT, True, b"b")])
        self.assertEqual(reader.controls, [(PING, b"p")])
        self.assertIsNotNone(reader.error)

    def test_callerEmptiesControls(self) -> None:
        """Controls are collected until they are taken."""
        reader = FrameReader()
        reader.receive(masked(PING, b"1"))
        reader.controls.clear()
        reader.receive(masked(PING, b"2"))
        self.assertEqual(reader.controls, [(PING, b"2")])


class InMessageTests(SynchronousTestCase):
    """Whether a data message has begun."""

    def states(self, data: bytes) -> list[bool]:
        """Return `inMessage` after each byte."""
        reader = FrameReader()
        states = []
        for place in range(len(data)):
            pieces(reader, data[place : place + 1])
            states.append(reader.inMessage)
        return states

    def test_atTheBeginning(self) -> None:
        """Nothing has arrived."""
        self.assertFalse(FrameReader().inMessage)

    def test_message(self) -> None:
        """From the first byte of the header to the last of the payload."""
        self.assertEqual(self.states(masked(TEXT, b"ab")), [True] * 7 + [False])

    def test_emptyMessage(self) -> None:
        """It is over with its header."""
        self.assertEqual(self.states(masked(TEXT)), [True] * 5 + [False])

    def test_controlFrame(self) -> None:
        """It is no message."""
        self.assertEqual(self.states(masked(PING, b"abc")), [False] * 9)

    def test_betweenFragments(self) -> None:
        """A message goes on between its fragments, also during control frames."""
        data = masked(TEXT, b"a", fin=False) + masked(PING, b"p") + masked(CONTINUATION)
        self.assertEqual(self.states(data), [True] * (len(data) - 1) + [False])


class WritingTests(SynchronousTestCase):
    """Frames as the server writes them."""

    def test_header(self) -> None:
        """Each form of the length, at its bounds, never masked."""
        for size, expected in (
            (0, b"\x00"),
            (125, b"\x7d"),
            (126, b"\x7e\x00\x7e"),
            (65535, b"\x7e\xff\xff"),
            (65536, b"\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
            (2**40, b"\x7f\x00\x00\x01\x00\x00\x00\x00\x00"),
        ):
            self.assertEqual(header(TEXT, True, size), b"\x81" + expected)
            self.assertEqual(header(BINARY, False, size), b"\x02" + expected)

    def test_frame(self) -> None:
        """Header and payload."""
        self.assertEqual(frame(PING, b"abc"), b"\x89\x03abc")
        self.assertEqual(frame(CONTINUATION, b"", False), b"\x00\x00")

    def test_closeFrame(self) -> None:
        """Code and reason."""
        self.assertEqual(closeFrame(1000), b"\x88\x02\x03\xe8")
        self.assertEqual(closeFrame(1008, "no"), b"\x88\x04\x03\xf0no")

    def test_everyReasonFits(self) -> None:
        """What the catalogue of outcomes says fits a close frame."""
        for outcome in Outcome:
            self.assertLessEqual(len(closeFrame(outcome.closeCode, outcome.reason)), 127)


def framerOutput(opcode: int, chunks: list[bytes]) -> list[Piece]:
    """Return the frames for a stream that arrives in `chunks` and then ends."""
    framer = StreamFramer(opcode)
    written = b"".join(framer.encode(chunk) for chunk in chunks if chunk) + framer.flush()
    return unmaskedFrames(written)


class StreamFramerTests(SynchronousTestCase):
    """A stream becomes messages."""

    @PROPERTY
    @given(
        st.lists(st.binary(max_size=12) | st.text(max_size=12).map(str.encode), max_size=6),
        st.lists(st.integers(0, 1000), max_size=8),
        st.sampled_from([TEXT, BINARY]),
    )
    def test_nothingChanged(self, parts: list[bytes], places: list[int], opcode: int) -> None:
        """The payload is the stream; text messages are valid; a binary client gets no text."""
        data = b"".join(parts)
        frames = framerOutput(opcode, cut(data, places))
        self.assertEqual(b"".join(payload for _, _, payload in frames), data)
        for kind, last, payload in frames:
            self.assertTrue(last)
            self.assertTrue(payload, "no empty messages")
            self.assertIn(kind, (opcode, BINARY))
            if kind == TEXT:
                payload.decode("utf-8")

    @PROPERTY
    @given(st.text(max_size=30), st.lists(st.integers(0, 1000), max_size=8))
    def test_textStaysText(self, text: str, places: list[int]) -> None:
        """A stream of UTF-8 goes out as text only, wherever it was cut on its way."""
        frames = framerOutput(TEXT, cut(text.encode(), places))
        self.assertEqual({kind for kind, _, _ in frames} - {TEXT}, set())
        self.assertEqual("".join(payload.decode() for _, _, payload in frames), text)

    def test_binary(self) -> None:
        """A client that speaks binary gets what arrives as it arrives."""
        framer = StreamFramer(BINARY)
        for data in (b"text", b"\xff", "é".encode()[:1]):
            self.assertEqual(framer.encode(data), frame(BINARY, data))
            self.assertFalse(framer.holdsBack)
        self.assertEqual(framer.flush(), b"")

    def test_characterInTwoReads(self) -> None:
        """The beginning of a character waits for its rest."""
        framer = StreamFramer(TEXT)
        euro = "€".encode()
        self.assertFalse(framer.holdsBack)
        self.assertEqual(framer.encode(b"a" + euro[:1]), frame(TEXT, b"a"))
        self.assertTrue(framer.holdsBack)
        self.assertEqual(framer.encode(euro[1:2]), b"")
        self.assertTrue(framer.holdsBack)
        self.assertEqual(framer.encode(euro[2:] + b"b"), frame(TEXT, euro + b"b"))
        self.assertFalse(framer.holdsBack)
        self.assertEqual(framer.flush(), b"")

    def test_invalidBytes(self) -> None:
        """Bytes that are no UTF-8 go out unchanged as binary; text after them is text again."""
        framer = StreamFramer(TEXT)
        for invalid in (b"\xff", b"a\xe9b", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"):
            self.assertEqual(framer.encode(invalid), frame(BINARY, invalid))
            self.assertFalse(framer.holdsBack)
            self.assertEqual(framer.encode("é".encode()), frame(TEXT, "é".encode()))

    def test_characterThatNeverEnds(self) -> None:
        """When the rest of a character does not come, its beginning goes out with what came."""
        framer = StreamFramer(TEXT)
        self.assertEqual(framer.encode(b"\xe2\x82"), b"")
        self.assertEqual(framer.encode(b"x"), frame(BINARY, b"\xe2\x82x"))
        self.assertFalse(framer.holdsBack)

    def test_flush(self) -> None:
        """At the end of the stream, what was held back goes out as binary, once."""
        framer = StreamFramer(TEXT)
        framer.encode(b"\xf0\x9f\x98")
        self.assertEqual(framer.flush(), frame(BINARY, b"\xf0\x9f\x98"))
        self.assertFalse(framer.holdsBack)
        self.assertEqual(framer.flush(), b"")
