"""Where a JSON object ends in a stream of them.

Owns the one splitter that the server, the client and the monitor use, for small messages of
strangers and for the megabytes of a monitor socket. Objects are told apart by their braces and not
by lines: the field sends some without a line end, and the C++ server's monitor socket sends
indented ones of many lines. Knows nothing of what is in an object, and of nothing else here.
"""

from __future__ import annotations

import enum
import re
import sys

_NO_SPACE = re.compile(rb"[^ \t\r\n]").search
_OPEN, _CLOSE, _QUOTE = b"{", b"}", b'"'

# The next byte that may mean something, outside a string and in one. In most reads of a byte or two
# there is none, and this is the cheapest way to know.
_MARK_OUTSIDE = re.compile(rb'[{}"]').search
_MARK_INSIDE = re.compile(rb'["\\\x00-\x1f]').search

# Everything up to a brace, or to a string that has escapes or does not end here; and everything in
# a string up to its end, or to what must not be in it. Both match always, the empty text too, and
# what ends them is the group. Counted, since the memory of an unbounded repetition grows with the
# text. Not possessive, which would need no memory at all: Python before 3.11.5 goes wrong with it.
_OUTSIDE = re.compile(rb'[^{}"]*(?:"[^"\\\x00-\x1f]*"[^{}"]*){0,1000}([{}"])?').match
_INSIDE = re.compile(
    rb'[^"\\\x00-\x1f]*(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*){0,1000}("|\\?[\x00-\x1f])?'
).match


class Fault(enum.Enum):
    """Why no object can come of what is there, whatever follows."""

    NO_BRACE = "an object must start with a brace"
    CONTROL_CHARACTER = "a control character in a string"
    TOO_LARGE = "an object is too large"


class ObjectError(Exception):
    """These bytes are no JSON objects.

    :ivar fault: why.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class ObjectSplitter:
    """Finds the JSON objects in a byte stream, each complete as soon as its last brace arrives.

    What is found, and when, does not depend on how the stream is cut; the time is linear in its
    size.

    :param limit: the most bytes one object may have; 0 = no limit.
    """

    __slots__ = ("_limit", "_buffer", "_scanned", "_depth", "_inString", "_lineEndDue")

    def __init__(self, limit: int) -> None:
        self._limit = limit or sys.maxsize
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._inString = False
        self._lineEndDue = False

    def feed(self, data: bytes) -> None:
        """Add bytes; `take` then returns what they completed."""
        self._buffer += data

    def take(self) -> bytes | None:
        """Return the next complete object, None when there is none yet.

        :raises ObjectError: no object starts here, it is too large, or a string holds a control
            character as it is, which is never valid (RFC 8259 section 7): a quotation mark is
            missing before it, and no later byte can mend that.
        """
        buffer = self._buffer
        if not self._depth:
            self.skipWhiteSpace()
            if not buffer:
                return None
            if not buffer.startswith(_OPEN):
                raise self.refusal(Fault.NO_BRACE)
        end = self._scan()
        if end is None:
            if len(buffer) > self._limit:
                raise self.refusal(Fault.TOO_LARGE)
            return None
        message = bytes(buffer[:end])
        del buffer[:end]
        self._scanned = 0
        self._lineEndDue = True
        return message

    def refusal(self, fault: Fault) -> Exception:
        """Return what `take` raises; a subclass may have an exception of its own."""
        return ObjectError(fault)

    def skipWhiteSpace(self) -> None:
        """Drop what may stand between objects."""
        buffer = self._buffer
        first = _NO_SPACE(buffer)
        skipped = len(buffer) if first is None else first.start()
        if skipped:
            self._lineEndDue = self._lineEndDue and b"\n" not in buffer[:skipped]
            del buffer[:skipped]

    def _scan(self) -> int | None:
        """Go on to the brace that closes the object; return the position behind it.

        Nothing behind the limit is looked at.
        """
        buffer, limit = self._buffer, self._limit
        if not (_MARK_INSIDE if self._inString else _MARK_OUTSIDE)(buffer, self._scanned, limit):
            self._scanned = len(buffer)
            return None
        while self._scanned < len(buffer):
            found = (_INSIDE if self._inString else _OUTSIDE)(buffer, self._scanned, limit)
            assert found is not None, "both match nothing, too"
            mark = found[1]
            if mark == _QUOTE:
                self._inString = not self._inString
            elif mark == _OPEN:
                self._depth += 1
            elif mark == _CLOSE:
                self._depth -= 1
                if not self._depth:
                    return found.end()
            elif mark:
                raise self.refusal(Fault.CONTROL_CHARACTER)
            elif found.end() == self._scanned:
                return None  # half an escape, or the limit
            self._scanned = found.end()
        return None

    def rest(self) -> bytes:
        """Return what arrived behind the object taken last, without its line end.

        Nothing more can be fed: what follows is no JSON-RPC.
        """
        rest = bytes(self._buffer)
        for lineEnd in (b"\n", b"\r\n"):
            if self._lineEndDue and rest.startswith(lineEnd):
                rest = rest.removeprefix(lineEnd)
                self._lineEndDue = False
        return rest

    @property
    def lineEndDue(self) -> bool:
        """True while the line end of the object taken last has not arrived."""
        return self._lineEndDue

    @property
    def pending(self) -> int:
        """How many bytes are held that no object was made of."""
        return len(self._buffer)
