"""Owns the checks of a link's records, against a reference that reads them the plain way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol import linkrecords as rules
from nymearemoteproxy.protocol.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FRAMES_AT_ONCE,
    PARTS_AT_ONCE,
    PING,
    PONG,
    TEXT,
    frame,
    header,
)
from nymearemoteproxy.protocol.linkrecords import (
    BYTES,
    CUT,
    END,
    LOST,
    LinkFault,
    Notice,
    RecordReader,
    encodeBytes,
    encodeNotice,
    outcomeOf,
)
from nymearemoteproxy.protocol.outcomes import Outcome
from tests.protocol.test_frames import cut, unmaskedFrames

PROPERTY = settings(max_examples=200, deadline=None, database=None)

NOTICES = (END, LOST, CUT)


class Message(NamedTuple):
    """What arrived of a message."""

    opcode: int
    payload: bytes
    isWhole: bool


Said = Message | bytes | Notice
"""What a link said, however it was cut: messages, stretches of bytes, notices."""


class Incomplete(Exception):
    """The reference ran out of data."""


class Listener:
    """Puts together what arrives in pieces; fails when pieces are no message."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self._open: int | None = None  # where in `said` the message is that has no end yet

    def addFrame(self, opcode: int, fin: bool, payload: bytes) -> None:
        """Add a part of a message."""
        if self._open is None:
            assert opcode in (TEXT, BINARY), "a message begins with its type"
            self._open = len(self.said)
            self.said.append(Message(opcode, b"", False))
        else:
            assert opcode == CONTINUATION, "a message has one beginning"
        before = self.said[self._open]
        assert isinstance(before, Message)
        self.said[self._open] = Message(before.opcode, before.payload + payload, fin)
        if fin:
            self._open = None

    def addBytes(self, data: bytes) -> None:
        """Add bytes of a stream."""
        assert type(data) is bytes and data, "there are some"
        assert self._open is None, "a message is one thing"
        if self.said and isinstance(self.said[-1], bytes):
            data = self.said.pop() + data
        self.said.append(data)

    def addNotice(self, notice: Notice) -> None:
        """Add a notice."""
        self.said.append(notice)

    def read(self, reader: RecordReader, data: bytes) -> int:
        """Let the reader read once, and return how many records and parts that were."""
        count = 0
        before: object = None
        for item in reader.receive(data):
            if isinstance(item, list):
                assert item and not isinstance(before, list), "frames are one item"
                for head, payload in zip(item[::2], item[1::2], strict=True):
                    ((opcode, fin, found),) = unmaskedFrames(head + payload)
                    assert found == payload and type(head) is type(payload) is bytes
                    self.addFrame(opcode, fin, payload)
                    count += 1
            elif isinstance(item, bytes):
                self.addBytes(item)
                count += 1
            else:
                self.addNotice(item)
                count += 1
            before = item
        return count


def referenceRecords(data: bytes, listener: Listener) -> Iterator[None]:
    """Read a complete stream one field after another."""
    rest = memoryview(data)

    def take(size: int) -> bytes:
        nonlocal rest
        if len(rest) < size:
            raise Incomplete
        taken, rest = bytes(rest[:size]), rest[size:]
        return taken

    def demand(what: bool) -> None:
        if not what:
            raise LinkFault

    came: set[int] = set()
    inMessage = False
    while rest:
        (first,) = take(1)
        fin, reserved, opcode = bool(first & 128), first & 112, first & 15
        demand(not reserved and opcode in (0, 1, 2, 3, 11, 12, 13))
        demand(fin or opcode < 3)
        if opcode > 8:
            demand(opcode not in came)
        else:
            demand(not came and (opcode == 0) == inMessage)
        (size,) = take(1)
        demand(size < 128 and (opcode < 8 or size < 126))
        if size > 125:
            octets, least = (2, 126) if size == 126 else (8, 65536)
            size = int.from_bytes(take(octets), "big")
            demand(least <= size < 2**63)
        if opcode > 8:
            label = take(size)
            demand(label.isascii())
            demand(opcode == END or (opcode == CUT) == (label != b""))
            came.add(opcode)
            listener.addNotice(Notice(opcode, label.decode("ascii")))
        elif opcode == BYTES:
            demand(size > 0)
            if part := take(min(size, len(rest))):
                listener.addBytes(part)
            if size > len(part):
                raise Incomplete
        else:
            inMessage = not fin
            part = take(min(size, len(rest)))
            if part or not size:
                listener.addFrame(opcode, fin and len(part) == size, part)
            if size > len(part):
                raise Incomplete
        yield


def reference(data: bytes) -> tuple[list[Said], bool]:
    """Return what a stream says, and whether it breaks a rule."""
    listener = Listener()
    try:
        for _ in referenceRecords(data, listener):
            pass
    except Incomplete:
        pass
    except LinkFault:
        return listener.said, True
    return listener.said, False


def readAll(chunks: list[bytes]) -> tuple[list[Said], RecordReader]:
    """Return what the reader makes of a stream, and the reader."""
    reader = RecordReader()
    listener = Listener()
    for chunk in chunks:
        listener.read(reader, chunk)
        while reader.hasMore:
            listener.read(reader, b"")
    return listener.said, reader


def octets(data: bytes) -> list[bytes]:
    """Cut `data` into its bytes."""
    return [data[place : place + 1] for place in range(len(data))]


SMALL = st.binary(max_size=20)
SIZED = st.sampled_from([0, 1, 2, 124, 125, 126, 127, 300]).map(lambda size: b"\xa5" * size)
LABELS = st.sampled_from([outcome.label for outcome in Outcome])
PLACES = st.lists(st.integers(0, 100_000), max_size=8)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A stream of records; now and then with a fault, or cut off."""
    parts: list[bytes] = []
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            parts += map(encodeBytes, draw(st.lists(SMALL | SIZED, max_size=4)))
            continue
        fragments = draw(st.lists(SMALL | SIZED, min_size=1, max_size=4))
        for number, payload in enumerate(fragments):
            opcode = CONTINUATION if number else draw(st.sampled_from([TEXT, BINARY]))
            parts.append(frame(opcode, payload, number == len(fragments) - 1))
    cutAt = draw(st.none() | st.integers(0, len(parts)))
    parts = parts[:cutAt]
    for kind in draw(st.lists(st.sampled_from(NOTICES), max_size=3, unique=True)):
        parts.append(encodeNotice(kind, draw(LABELS) if kind != LOST else ""))
    fault = draw(st.integers(0, 5))
    if fault == 0:
        parts.append(draw(SMALL))
    elif fault == 1:
        parts.append(draw(st.sampled_from([encodeBytes(b"x"), frame(TEXT, b"y"), frame(0, b"")])))
    elif fault == 2 and parts:
        parts.pop(draw(st.integers(0, len(parts) - 1)))
    elif fault == 3:
        notice = frame(draw(st.integers(8, 15)), draw(SMALL | SIZED))
        parts.insert(draw(st.integers(0, len(parts))), notice)
    data = b"".join(parts)
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 4)) == 0 else data


class RecordReaderPropertyTests(SynchronousTestCase):
    """The reader against the reference."""

    def check(self, data: bytes, chunks: list[bytes]) -> None:
        """Compare what the reader makes of the chunks with what the reference makes of it all."""
        expected, isBroken = reference(data)
        said, reader = readAll(chunks)
        self.assertEqual(said, expected)
        self.assertEqual(reader.error is not None, isBroken)

    @PROPERTY
    @given(streams(), PLACES)
    def test_anySplit(self, data: bytes, places: list[int]) -> None:
        """Nothing depends on how the stream is cut."""
        self.check(data, cut(data, places))

    @PROPERTY
    @given(streams())
    def test_byteAtATime(self, data: bytes) -> None:
        """Also in the smallest parts."""
        self.check(data, octets(data))

    @PROPERTY
    @given(streams(), PLACES, st.integers(1, 3))
    def test_littleAtATime(self, data: bytes, places: list[int], most: int) -> None:
        """Also when little is read at a time."""
        self.patch(rules, "_PARTS", range(most))
        self.patch(rules, "_FRAMES", range(most))
        self.patch(rules, "FRAMES_AT_ONCE", most)
        self.check(data, cut(data, places))

    @PROPERTY
    @given(st.lists(st.integers(0, 255), max_size=24).map(bytes), st.integers(0, 23))
    @example(b"\x82\x7e\x00\x7d" + b"x" * 16, 3)
    @example(b"\x83\x7e\x00\x7d" + b"x" * 16, 3)
    @example(b"\x82\x7f" + bytes(7) + b"\x05" + b"x" * 16, 3)
    @example(b"\x83\x7f" + bytes(7) + b"\x05" + b"x" * 16, 3)
    def test_anyBytes(self, data: bytes, place: int) -> None:
        """Whatever arrives, the reader and the reference agree, in one part or in two."""
        self.check(data, [data])
        self.check(data, cut(data, [place]))

    @PROPERTY
    @given(streams(), PLACES)
    def test_nothingWaits(self, data: bytes, places: list[int]) -> None:
        """After each read all that has arrived of a payload was passed on."""
        reader = RecordReader()
        listener = Listener()
        arrived = b""
        for chunk in cut(data, places):
            arrived += chunk
            listener.read(reader, chunk)
            while reader.hasMore:
                listener.read(reader, b"")
            self.assertEqual(listener.said, reference(arrived)[0])

    @PROPERTY
    @given(st.lists(st.tuples(st.booleans(), SMALL | SIZED), max_size=6), PLACES, PLACES)
    def test_overTwoLinks(
        self, messages: list[tuple[bool, bytes]], places: list[int], others: list[int]
    ) -> None:
        """What a reader returns can be sent on as records."""
        data = b"".join(frame(TEXT if isText else BINARY, text) for isText, text in messages)
        reader = RecordReader()
        items = [item for chunk in cut(data, places) for item in reader.receive(chunk)]
        relayed = b"".join(b"".join(item) for item in items if isinstance(item, list))
        self.check(relayed, cut(relayed, others))
        self.assertEqual(readAll([relayed])[0], readAll([data])[0])


class RecordReaderTests(SynchronousTestCase):
    """Single rules of the reader."""

    def test_wholeFramesPassAsTheyAre(self) -> None:
        """Header and payload of each, in one list for all that came together."""
        for size in (0, 3, 125, 126, 65535, 65536):
            frames = [header(TEXT, True, size), b"a" * size, header(BINARY, True, 1), b"b"]
            self.assertEqual(RecordReader().receive(b"".join(frames)), [frames])

    def test_lengthsInParts(self) -> None:
        """The least that each form of the length stands for, of a record that comes in two."""
        for size in (126, 65536):
            data = encodeBytes(b"a" * size)
            said, reader = readAll([data[:20], data[20:]])
            self.assertEqual((said, reader.error), ([b"a" * size], None))

    def test_fragmentsPassAsTheyAre(self) -> None:
        """A message in parts, also with parts that are empty."""
        frames = [b"\x01\x01", b"a", b"\x00\x00", b"", b"\x80\x02", b"bc"]
        reader = RecordReader()
        self.assertEqual(reader.receive(b"".join(frames)), [frames])
        self.assertIsNone(reader.error)

    def test_passedOnAtOnce(self) -> None:
        """What has arrived of a frame is a fragment, the rest continues it."""
        data = frame(TEXT, b"abcdefgh")
        reader = RecordReader()
        self.assertEqual(reader.receive(data[:5]), [[b"\x01\x03", b"abc"]])
        self.assertEqual(reader.receive(data[5:6]), [[b"\x00\x01", b"d"]])
        self.assertEqual(reader.receive(data[6:]), [[b"\x80\x04", b"efgh"]])

    def test_restAndWholeFrames(self) -> None:
        """The rest of one frame and those behind it are one item."""
        reader = RecordReader()
        reader.receive(b"\x81\x02a")
        data = b"b" + frame(BINARY, b"cdef") + b"\x02\x02g"
        self.assertEqual(
            reader.receive(data), [[b"\x80\x01", b"b", b"\x82\x04", b"cdef", b"\x02\x01", b"g"]]
        )

    def test_smallBytesAreJoined(self) -> None:
        """Each further item would cost more than the copy."""
        data = b"".join(encodeBytes(part) for part in (b"ab", b"cd", b"e" * 200))
        self.assertEqual(RecordReader().receive(data), [b"abcd" + b"e" * 200])

    def test_piecesOfOneReadAreJoined(self) -> None:
        """What is left of a record, whole ones and the beginning of another are one item."""
        reader = RecordReader()
        parts = [bytes([65 + at]) * 70_000 for at in range(4)]
        data = b"".join(map(encodeBytes, parts))
        before = reader.receive(data[:50_000])
        behind = reader.receive(data[50_000:-50_000])
        self.assertEqual([len(before), len(behind)], [1, 1])
        rest = reader.receive(data[-50_000:])
        self.assertEqual(b"".join([*before, *behind, *rest]), b"".join(parts))

    def test_payloadIsNotCopied(self) -> None:
        """A read that is nothing but payload is passed on as it is."""
        for opcode in (BYTES, BINARY):
            reader = RecordReader()
            reader.receive(header(opcode, True, 100_000))
            data = b"x" * 50_000
            (item,) = reader.receive(data)
            self.assertIs(item[1] if isinstance(item, list) else item, data)

    def test_hugeRecord(self) -> None:
        """One of almost 2^63 bytes is begun like any other: nothing waits for its end."""
        size = b"\x7f" + (2**63 - 1).to_bytes(8, "big")
        for first, expected in ((b"\x82", [[b"\x02\x03", b"abc"]]), (b"\x83", [b"abc"])):
            reader = RecordReader()
            self.assertEqual(reader.receive(first + size + b"abc"), expected)
            self.assertIsNone(reader.error)

    def test_order(self) -> None:
        """Frames, bytes and notices come as they were sent."""
        data = frame(TEXT, b"abcd") + encodeBytes(b"efgh") + frame(BINARY, b"i")
        data += encodeNotice(END, "client-left") + encodeNotice(LOST)
        self.assertEqual(
            RecordReader().receive(data),
            [
                [b"\x81\x04", b"abcd"],
                b"efgh",
                [b"\x82\x01", b"i"],
                Notice(END, "client-left"),
                Notice(LOST),
            ],
        )

    def test_noticesInsideAMessage(self) -> None:
        """A client may be lost in the middle of one."""
        reader = RecordReader()
        data = frame(TEXT, b"a", fin=False) + encodeNotice(CUT, "ping-timeout") + encodeNotice(END)
        self.assertEqual(
            reader.receive(data), [[b"\x01\x01", b"a"], Notice(CUT, "ping-timeout"), Notice(END)]
        )
        self.assertIsNone(reader.error)

    def test_noticesInAnyOrder(self) -> None:
        """Each of them once."""
        labels = {END: "client-left", LOST: "", CUT: "client-too-slow"}
        for kinds in ((END, LOST), (LOST, END), (CUT, END, LOST), (LOST, CUT), (END, CUT)):
            reader = RecordReader()
            data = b"".join(encodeNotice(kind, labels[kind]) for kind in kinds)
            self.assertEqual(reader.receive(data), [Notice(kind, labels[kind]) for kind in kinds])
            self.assertIsNone(reader.error)

    def assertBounded(self, data: bytes, most: int) -> None:
        """Of a thousand times these records so many are read at a time, at most."""
        reader, listener = RecordReader(), Listener()
        whole = data * 1000
        rounds = 0
        chunk = whole
        while True:
            self.assertLessEqual(listener.read(reader, chunk), most)
            rounds += 1
            if not reader.hasMore:
                break
            chunk = b""
        self.assertIsNone(reader.error)
        self.assertEqual(listener.said, reference(whole)[0])
        self.assertLess(1, rounds)
        self.assertLess(rounds, 1000)

    def test_bounded(self) -> None:
        """Whatever the records are, there is a bound to what is read at a time."""
        for data, most in (
            (frame(TEXT, b"ab"), FRAMES_AT_ONCE),
            (frame(TEXT, b""), FRAMES_AT_ONCE),
            (frame(TEXT, b"", fin=False) + frame(CONTINUATION, b""), PARTS_AT_ONCE),
            (frame(TEXT, b"ab") * 50 + encodeBytes(b"cd"), FRAMES_AT_ONCE + PARTS_AT_ONCE),
            (frame(TEXT, b"ab") * 383 + encodeBytes(b"cd"), 2 * FRAMES_AT_ONCE),
            (encodeBytes(b"ab"), 1),
        ):
            self.assertBounded(data, most)

    def test_boundOfBytes(self) -> None:
        """Bytes that are joined were read one by one."""
        reader = RecordReader()
        self.assertEqual(
            reader.receive(encodeBytes(b"ab") * (FRAMES_AT_ONCE + 1)), [b"ab" * FRAMES_AT_ONCE]
        )
        self.assertTrue(reader.hasMore)
        self.assertEqual(reader.receive(encodeBytes(b"cd")), [b"abcd"])
        self.assertFalse(reader.hasMore)

    def assertBreach(self, data: bytes, words: str, before: bytes = encodeBytes(b"before")) -> None:
        """`data` is refused, as a whole and byte by byte, and nothing is read after it."""
        expected, isBroken = reference(before)
        self.assertFalse(isBroken)
        for chunks in ([before + data], octets(before + data)):
            said, reader = readAll(chunks)
            self.assertEqual(said, expected)
            self.assertIsInstance(reader.error, LinkFault)
            self.assertIn(words, str(reader.error))
            self.assertFalse(reader.hasMore)
            self.assertEqual(reader.receive(encodeBytes(b"after") + encodeNotice(END)), [])

    def test_reservedBits(self) -> None:
        """None has a meaning."""
        for reserved in (0x10, 0x20, 0x40, 0x70):
            for opcode in (TEXT, BYTES, END):
                self.assertBreach(bytes([0x80 | reserved | opcode]), "reserved bit")

    def test_unknown(self) -> None:
        """Of WebSocket's control frames none is relayed."""
        for opcode in (4, 5, 6, 7):
            self.assertBreach(frame(opcode, b"x"), "unknown record")
        for opcode in (CLOSE, PING, PONG, 14, 15):
            self.assertBreach(frame(opcode, b"x"), "unknown notice")

    def test_masked(self) -> None:
        """Whoever masks is no member."""
        for opcode in (TEXT, BYTES, END):
            self.assertBreach(bytes([0x80 | opcode, 0x84]) + b"12345678", "masked")
            self.assertBreach(bytes([0x80 | opcode, 0x80]), "masked")

    def test_length(self) -> None:
        """It is in its shortest form, and less than 2^63."""
        for opcode in (TEXT, BINARY, BYTES):
            first = bytes([0x80 | opcode])
            for size in (0, 1, 125):
                data = first + b"\x7e" + size.to_bytes(2, "big") + b"x" * size
                self.assertBreach(data, "shortest form")
            for size in (0, 126, 65535):
                self.assertBreach(first + b"\x7f" + size.to_bytes(8, "big"), "shortest form")
            for size in (2**63, 2**64 - 1):
                self.assertBreach(first + b"\x7f" + size.to_bytes(8, "big"), "out of range")

    def test_messages(self) -> None:
        """A message is one thing: begun, continued, ended."""
        start = frame(TEXT, b"a", fin=False)
        self.assertBreach(frame(CONTINUATION, b"x"), "nothing to be continued")
        self.assertBreach(frame(BINARY, b"x"), "inside a message", start)
        self.assertBreach(encodeBytes(b"xyz"), "inside a message", start)
        self.assertBreach(frame(CONTINUATION, b"x"), "nothing", start + frame(CONTINUATION, b"b"))

    def test_bytes(self) -> None:
        """They have no parts, and there are some."""
        self.assertBreach(frame(BYTES, b"xy", fin=False), "bytes in parts")
        self.assertBreach(frame(BYTES, b""), "no bytes")
        self.assertBreach(frame(BYTES, b"") + encodeBytes(b"after"), "no bytes")

    def test_notices(self) -> None:
        """They are short, whole, and say what they have to and nothing else."""
        for kind in NOTICES:
            self.assertBreach(frame(kind, b"x" * 126), "too long")
            self.assertBreach(bytes([0x80 | kind, 0x7F]), "too long")
            self.assertBreach(frame(kind, b"x", fin=False), "in parts")
        self.assertBreach(frame(END, b"\xff"), "not ASCII")
        self.assertBreach(frame(CUT, b""), "without a label")
        self.assertBreach(frame(LOST, b"x"), "with a label")
        self.assertIsNone(readAll([frame(CUT, b"x" * 125)])[1].error)

    def test_behindNotices(self) -> None:
        """Behind each of them neither it again nor any data."""
        for kind in NOTICES:
            notice = encodeNotice(kind, "" if kind == LOST else "shutdown")
            self.assertBreach(notice, "given twice", notice)
            others = [
                encodeNotice(other, "x" * (other == CUT)) for other in NOTICES if other != kind
            ]
            self.assertBreach(notice, "given twice", notice + b"".join(others))
            for opcode in (TEXT, BINARY, BYTES, CONTINUATION):
                self.assertBreach(frame(opcode, b"abcd"), "behind the end", notice)
            self.assertBreach(
                frame(CONTINUATION, b""), "behind the end", frame(TEXT, b"a", fin=False) + notice
            )


class EncodingTests(SynchronousTestCase):
    """Records as they are sent."""

    def test_bytes(self) -> None:
        """Each form of the length."""
        for size, head in ((1, b"\x83\x01"), (126, b"\x83\x7e\x00\x7e"), (65536, None)):
            head = head or b"\x83\x7f" + (65536).to_bytes(8, "big")
            self.assertEqual(encodeBytes(b"a" * size), head + b"a" * size)
        self.assertEqual(encodeBytes(b""), b"")

    def test_notices(self) -> None:
        """With a label and without."""
        self.assertEqual(encodeNotice(END), b"\x8b\x00")
        self.assertEqual(encodeNotice(LOST), b"\x8c\x00")
        self.assertEqual(encodeNotice(CUT, "shutdown"), b"\x8d\x08shutdown")

    def test_everyOutcome(self) -> None:
        """What the catalogue has fits a notice, and comes out as what it was."""
        for outcome in Outcome:
            reader = RecordReader()
            (notice,) = reader.receive(encodeNotice(END, outcome.label))
            assert isinstance(notice, Notice)
            self.assertIs(outcomeOf(notice.label), outcome)

    def test_unknownOutcome(self) -> None:
        """One that a newer version may have."""
        self.assertIs(outcomeOf("moon-in-the-way"), Outcome.INTERNAL_ERROR)
        self.assertIs(outcomeOf(""), Outcome.INTERNAL_ERROR)
