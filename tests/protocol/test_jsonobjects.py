"""Owns the checks of where a JSON object ends in a stream of them."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.jsonobjects import Fault, ObjectError, ObjectSplitter
from tests.support.jsonvalues import OBJECTS, cut

PROPERTY = settings(max_examples=150, deadline=None, database=None)

GAPS = st.sampled_from([b"", b"\n", b"\r\n", b" ", b"\t\n ", b"\n\n"])


def takeAll(splitter: ObjectSplitter) -> list[bytes]:
    """Take every object that is complete."""
    taken = []
    while (message := splitter.take()) is not None:
        taken.append(message)
    return taken


class ObjectSplitterTests(SynchronousTestCase):
    """Objects are found in a stream, however it arrives."""

    def assertRefused(self, splitter: ObjectSplitter, fault: Fault) -> None:
        """Behind what is complete comes no object any more, and more bytes change nothing."""
        for _ in range(2):
            self.assertIs(self.assertRaises(ObjectError, takeAll, splitter).fault, fault)
            splitter.feed(b'"}')

    @PROPERTY
    @given(
        st.lists(st.tuples(OBJECTS, GAPS, st.booleans(), st.sampled_from([None, 4])), max_size=5),
        st.lists(st.integers(0, 10_000), max_size=12),
    )
    @example([({'"': "\\"}, b"\n", True, None), ({"\\": '"'}, b"", True, 4)], [])
    def test_anySplitGivesTheSameObjects(
        self, items: list[tuple[dict[str, Any], bytes, bool, int | None]], places: list[int]
    ) -> None:
        """Cutting the stream anywhere, also within characters and escapes, changes nothing.

        Objects on one line as this server sends them, and on many as the C++ server's monitor
        socket does.
        """
        encoded = [
            json.dumps(item, ensure_ascii=isAscii, indent=indent).encode()
            for item, _gap, isAscii, indent in items
        ]
        stream = b"".join(raw + item[1] for raw, item in zip(encoded, items, strict=True))
        splitter = ObjectSplitter(0)
        found = []
        for chunk in cut(stream, places):
            splitter.feed(chunk)
            found += takeAll(splitter)
        self.assertEqual(found, encoded)
        self.assertEqual(splitter.pending, 0)

    def test_byteAtATime(self) -> None:
        """An object is complete exactly when its last brace arrives."""
        first, second = rb'{"a":"}\"}\\","b":{"c":[{}]}}', b'{"\xc3\xa9":"{"}'
        stream = b" " + first + second
        splitter = ObjectSplitter(0)
        completed = {}
        for position in range(len(stream)):
            splitter.feed(stream[position : position + 1])
            for message in takeAll(splitter):
                completed[position] = message
        self.assertEqual(completed, {len(first): first, len(stream) - 1: second})

    def test_stringsWithStructure(self) -> None:
        """Braces in strings do not count; escaped quotes and backslashes end nothing."""
        for text in ("{", "}", '"', "\\", '\\"', "\\\\", '}"{', '\\\\"}', "{{{", "}}}"):
            raw = json.dumps({text: text}).encode()
            splitter = ObjectSplitter(0)
            splitter.feed(raw + b"{}")
            self.assertEqual(takeAll(splitter), [raw, b"{}"], text)

    def test_backslashAtTheEndOfAChunk(self) -> None:
        """What a backslash escapes may come in the next read."""
        splitter = ObjectSplitter(0)
        splitter.feed(b'{"a":"\\')
        self.assertIsNone(splitter.take())
        splitter.feed(b'"}')
        self.assertIsNone(splitter.take())
        splitter.feed(b'"}')
        self.assertEqual(splitter.take(), rb'{"a":"\"}"}')

    def test_controlCharacterInAString(self) -> None:
        """It is refused as soon as it arrives: no later byte makes that valid."""
        for byte in range(0x20):
            for text in (b'{"id":42,"method":"RemoteProx}', b'{"', b'{"\\', rb'{"a":"\"', rb'{"\\'):
                for place in range(len(text) + 1):
                    splitter = ObjectSplitter(0)
                    splitter.feed(text[:place])
                    self.assertIsNone(splitter.take())
                    splitter.feed(text[place:] + bytes([byte]))
                    self.assertRefused(splitter, Fault.CONTROL_CHARACTER)

    def test_controlCharacterInAWholeString(self) -> None:
        """Also where the string goes on and ends in the same read."""
        for byte in range(0x20):
            for before in (b"", b"x", b'\\"'):
                splitter = ObjectSplitter(0)
                splitter.feed(b'{"' + before + bytes([byte]) + b'x":{}}')
                self.assertRefused(splitter, Fault.CONTROL_CHARACTER)

    def test_controlCharacterOutsideAString(self) -> None:
        """White space is allowed there; for the rest the object is looked at when it is whole."""
        for byte in range(0x20):
            raw = b'{"a":' + bytes([byte]) + b"1}"
            splitter = ObjectSplitter(0)
            splitter.feed(raw)
            self.assertEqual(splitter.take(), raw)

    def test_backslashOutsideAString(self) -> None:
        """It escapes nothing there: the object ends where it ends, and is invalid."""
        for raw in (rb"{\}", rb'{"a":\{}}', rb'{"a":1\"b"}'):
            splitter = ObjectSplitter(0)
            splitter.feed(raw)
            self.assertEqual(splitter.take(), raw)

    def test_garbageWhereAnObjectMustStart(self) -> None:
        """Only white space and an opening brace may stand before an object."""
        for garbage in (b"}", b"[", b"null", b'"', b"\0", b"\xef\xbb\xbf{}", b"\x0b{}", b"\xa0"):
            for before in (b"", b" \r\n\t", b'{"a":1}', b"{}\n"):
                splitter = ObjectSplitter(0)
                splitter.feed(before + garbage)
                self.assertRefused(splitter, Fault.NO_BRACE)

    def test_objectsBeforeGarbageAreFound(self) -> None:
        """Garbage does not take away what came before it."""
        splitter = ObjectSplitter(0)
        splitter.feed(b'{"a":1} x')
        self.assertEqual(splitter.take(), b'{"a":1}')
        self.assertRefused(splitter, Fault.NO_BRACE)

    def test_boundOfAWholeObject(self) -> None:
        """An object of exactly the limit passes, one byte more does not."""
        fits = b'{"a":"' + b"x" * 12 + b'"}'
        splitter = ObjectSplitter(len(fits))
        splitter.feed(fits)
        self.assertEqual(splitter.take(), fits)
        splitter.feed(fits.replace(b"x", b"xy", 1))
        self.assertRefused(splitter, Fault.TOO_LARGE)

    def test_boundOfAnUnfinishedObject(self) -> None:
        """More than the limit is refused although the end has not come."""
        splitter = ObjectSplitter(10)
        splitter.feed(b'{"' + b"x" * 8)
        self.assertIsNone(splitter.take())
        splitter.feed(b"x")
        self.assertRefused(splitter, Fault.TOO_LARGE)

    def test_boundIsPerObject(self) -> None:
        """Many small objects and any amount of white space are no large object."""
        splitter = ObjectSplitter(10)
        splitter.feed((b'{"a":1}' + b" " * 50) * 100)
        self.assertEqual(takeAll(splitter), [b'{"a":1}'] * 100)

    def test_noBound(self) -> None:
        """With limit 0 any size passes."""
        raw = b'{"a":"' + b"x" * 200_000 + b'"}'
        splitter = ObjectSplitter(0)
        splitter.feed(raw)
        self.assertEqual(splitter.take(), raw)

    def test_boundBeforeFault(self) -> None:
        """What stands behind the limit is not looked at: the object is too large in any case."""
        for place, fault in ((8, Fault.CONTROL_CHARACTER), (9, Fault.TOO_LARGE)):
            text = b'{"' + b"x" * (place - 1) + b"\n" + b"x" * 20
            for pieces in ([text], cut(text, [place + 2])):
                splitter = ObjectSplitter(10)
                for piece in pieces:
                    splitter.feed(piece)
                self.assertRefused(splitter, fault)

    def test_manyStringsBetweenBraces(self) -> None:
        """More than the patterns count at once, and a limit of megabytes."""
        text = json.dumps({"a": ["x"] * 5000, "b": "\n" * 5000, "c": "ä\n" * 5000}).encode()
        for pieces in ([text], cut(text, list(range(0, len(text), 1000)))):
            splitter = ObjectSplitter(1 << 26)
            for piece in pieces:
                self.assertIsNone(splitter.take())
                splitter.feed(piece)
            self.assertEqual(takeAll(splitter), [text])

    def test_timeIsLinear(self) -> None:
        """Ten times as large must not take a hundred times as long, whatever it is made of."""

        def measured(text: bytes) -> float:
            splitter = ObjectSplitter(0)
            started = time.process_time()
            for start in range(0, len(text), 65536):
                splitter.feed(text[start : start + 65536])
                splitter.take()
            return time.process_time() - started

        # A string without an end, escapes, strings, and a list of many small objects.
        for start, part in ((b'{"', b"x"), (b'{"', b"\\n"), (b"{", b'""'), (b"{", b'{"a":1},')):
            small = min(measured(start + part * (200_000 // len(part))) for _ in range(3))
            large = min(measured(start + part * (2_000_000 // len(part))) for _ in range(3))
            self.assertLess(large, 40 * small + 0.01, part)

    def test_lineEndTogetherOrLate(self) -> None:
        """The line end that belongs to an object may come with it, later, or in two halves."""
        for chunks in ([b"{}\n"], [b"{}", b"\n"], [b"{}\r\n"], [b"{}", b"\r", b"\n"], [b"{} \n"]):
            splitter = ObjectSplitter(0)
            splitter.feed(chunks[0])
            self.assertEqual(splitter.take(), b"{}")
            for chunk in chunks[1:]:
                self.assertTrue(splitter.lineEndDue)
                splitter.feed(chunk)
                splitter.skipWhiteSpace()
            splitter.skipWhiteSpace()
            self.assertFalse(splitter.lineEndDue)
            self.assertEqual(splitter.pending, 0)

    def test_noLineEndBeforeAnObject(self) -> None:
        """A line end that follows no object belongs to nothing."""
        splitter = ObjectSplitter(0)
        splitter.feed(b"\n")
        splitter.skipWhiteSpace()
        self.assertFalse(splitter.lineEndDue)

    def test_onlyWhiteSpaceIsSkipped(self) -> None:
        """What comes behind it is left for whoever looks next."""
        for rest in (b"x", b"{}", b"x\n", b"\x00"):
            splitter = ObjectSplitter(0)
            splitter.feed(b"{}\n \r\n" + rest)
            splitter.take()
            splitter.skipWhiteSpace()
            self.assertEqual(splitter.pending, len(rest))

    def test_whiteSpaceOnTheWayToTheNextObject(self) -> None:
        """It may hold the line end; other white space does not stand for it."""
        for space, due in ((b" ", True), (b"\n", False)):
            splitter = ObjectSplitter(0)
            splitter.feed(b"{}" + space)
            splitter.take()
            self.assertIsNone(splitter.take())
            self.assertEqual(splitter.lineEndDue, due)
            self.assertEqual(splitter.pending, 0)

    def afterObject(self, *chunks: bytes) -> ObjectSplitter:
        """Return a splitter that was fed with an object and these, and whose object was taken."""
        splitter = ObjectSplitter(0)
        splitter.feed(b'{"a":1}')
        if chunks:
            splitter.feed(chunks[0])
        self.assertEqual(splitter.take(), b'{"a":1}')
        for chunk in chunks[1:]:
            splitter.feed(chunk)
        return splitter

    def test_rest(self) -> None:
        """What is behind the object is returned as it is, but for the line end of the object."""
        for tail in (b"", b"\0\1", b"\xc0\xdb", b"{}", b"{", b" {}", b"\t", b" \n", b"\r", b"\rx"):
            for lineEnd in (b"", b"\n", b"\r\n"):
                splitter = self.afterObject(lineEnd + tail)
                self.assertEqual(splitter.rest(), tail, (lineEnd, tail))

    def test_restHasLineEnds(self) -> None:
        """Only one line end is the object's; others, and other white space, are payload."""
        for lineEnd in (b"\n", b"\r\n"):
            for tail in (b"\n", b"\r\n", b"\n\n", b"\r\n\n", b" ", b"\n\0"):
                self.assertEqual(self.afterObject(lineEnd + tail).rest(), tail, (lineEnd, tail))

    def test_lineEndDueAfterRest(self) -> None:
        """It may still come by itself, but not when it was in the rest, or in time before."""
        self.assertTrue(self.afterObject().lineEndDue)
        for tail, due in ((b"", True), (b"\n", False), (b"\r\n", False), (b"\n\xc0", False)):
            splitter = self.afterObject(tail)
            splitter.rest()
            self.assertEqual(splitter.lineEndDue, due, tail)
        splitter = self.afterObject(b"\n")
        splitter.skipWhiteSpace()
        splitter.feed(b"\n\r\n")
        self.assertEqual(splitter.rest(), b"\n\r\n")

    def test_restOfNothing(self) -> None:
        """Where no object was taken there is no line end of it."""
        splitter = ObjectSplitter(0)
        splitter.feed(b"\n\r\nx")
        self.assertEqual(splitter.rest(), b"\n\r\nx")

    @PROPERTY
    @given(
        st.lists(st.tuples(OBJECTS, GAPS), min_size=1, max_size=3),
        st.sampled_from([b"", b"\n", b"\r\n"]),
        st.binary(max_size=12),
        st.lists(st.integers(0, 10_000), max_size=4),
    )
    def test_anyRest(
        self,
        items: list[tuple[dict[str, Any], bytes]],
        lineEnd: bytes,
        payload: bytes,
        places: list[int],
    ) -> None:
        """Payload behind the last object arrives whole, however the stream is cut."""
        if not lineEnd and payload.startswith((b"\n", b"\r\n")):
            lineEnd = b"\n"  # or the first line end would not be payload
        encoded = [json.dumps(item).encode() for item, _gap in items]
        stream = b"".join(raw + gap for raw, (_item, gap) in zip(encoded, items, strict=True))
        stream = stream[: len(stream) - len(items[-1][1])] + lineEnd + payload
        splitter = ObjectSplitter(0)
        found: list[bytes] = []
        for chunk in cut(stream, places):
            splitter.feed(chunk)
            while len(found) < len(encoded) and (message := splitter.take()) is not None:
                found.append(message)
        self.assertEqual(found, encoded)
        self.assertEqual(splitter.rest(), payload)
