"""Where a JSON object ends in a stream of them.

The server sends an object a line; the C++ server sends indented ones of many lines. So objects are
told apart by their braces. `protocol.jsonrpc` has a splitter too, made for small messages of
strangers: with the megabytes of ten thousand clients it takes three times as long. Owns that the
end is found in time, and how large an object may be. Knows nothing of what is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes of the largest object. A client takes 300, with the longest name and user name 120 KiB."""

_OPEN, _CLOSE, _QUOTE = b'{}"'
_SPACE = re.compile(rb"[ \t\r\n]*")
# Over what is between braces, strings without escapes included; and over what is in a string.
# Counted, since the memory of an unbounded repetition grows with the text. Not possessive, which
# would need no memory at all: Python before 3.11.5 goes wrong with it.
_OUTSIDE = re.compile(rb'(?:[^{}"]+|"[^"\\]*"){0,1000}')
_INSIDE = re.compile(rb'(?:[^"\\]+|\\.){0,1000}', re.DOTALL)


class NonsenseError(Exception):
    """What was received is nothing that a monitor socket sends; ``str()`` is one line."""


class Framing:
    """Cuts a stream into JSON objects, in time linear in its size, however it arrives.

    :param limit: the most bytes of one object.
    """

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._inString = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add `data`; return the objects that it completed, to be taken before there is more.

        :raises NonsenseError: no object begins where one must, or one is too large. Of no further
            use.
        """
        self._buffer += data
        while (end := self._scan()) is not None:
            self._checkSize(end)
            found = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._scanned = 0
            yield found
        self._checkSize(len(self._buffer))

    def _checkSize(self, size: int) -> None:
        if size > self._limit:
            raise NonsenseError(f"a message of more than {self._limit} bytes")

    def _scan(self) -> int | None:
        """Go on to the brace that closes the object; return the position behind it."""
        buffer = self._buffer
        if not self._depth and not self._begin():
            return None
        while True:
            pattern = _INSIDE if self._inString else _OUTSIDE
            match = pattern.match(buffer, self._scanned)
            assert match is not None, "both patterns match nothing too"
            if match.end() > self._scanned:
                self._scanned = match.end()  # and once more, as it may only have counted to its end
                continue
            byte = buffer[self._scanned] if self._scanned < len(buffer) else None
            if byte not in (_OPEN, _CLOSE, _QUOTE):
                return None  # the end, or half an escape
            self._scanned += 1
            if byte == _QUOTE:
                self._inString = not self._inString
            else:
                self._depth += 1 if byte == _OPEN else -1
                if not self._depth:
                    return self._scanned

    def _begin(self) -> bool:
        """Drop white space; tell whether an object begins."""
        match = _SPACE.match(self._buffer)
        assert match is not None, "it matches nothing too"
        del self._buffer[: match.end()]
        if self._buffer and self._buffer[0] != _OPEN:
            raise NonsenseError("no JSON object begins where one must")
        return bool(self._buffer)
