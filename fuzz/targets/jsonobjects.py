"""Where JSON objects end in a stream.

The promises: the objects, and what is refused, do not depend on how the stream is cut; each is
found with its last brace; no more is kept than the limit; and where an object is valid, Python's
own decoder sees its end at the same place.
"""

from __future__ import annotations

import json

from fuzz.target import Planted, Target, pieces, taken
from nymearemoteproxy.protocol.jsonobjects import Fault, ObjectError, ObjectSplitter

LIMIT = 100
"""Bytes of an object: few, so that it is reached."""

_SPACE = " \t\r\n"

Found = tuple[list[bytes], Fault | None]


def check(data: bytes) -> None:
    how, data = taken(data)
    found, fault = _split(pieces(data, how))
    assert _split([data]) == (found, fault), "it depends on how it is cut"
    _compare(data, found)


def _split(parts: list[bytes]) -> Found:
    splitter = ObjectSplitter(LIMIT)
    found: list[bytes] = []
    for part in parts:
        splitter.feed(part)
        try:
            while (each := splitter.take()) is not None:
                assert len(each) <= LIMIT, "an object is larger than the limit"
                found.append(each)
        except ObjectError as error:
            return found, error.fault
        assert splitter.pending <= LIMIT, "more is kept than the limit"
    return found, None


def _compare(data: bytes, found: list[bytes]) -> None:
    """See that all objects are found that Python reads, as long as it does."""
    text = data.decode("latin-1")  # where something ends does not depend on the encoding
    rest = iter(found)
    end = 0
    while True:
        begin = len(text) - len(text[end:].lstrip(_SPACE))
        try:
            value, end = json.JSONDecoder().raw_decode(text, begin)
        except (ValueError, RecursionError):
            return
        if not isinstance(value, dict) or end - begin > LIMIT:
            return
        assert next(rest, b"") == data[begin:end], "an object is another one"


TARGET = Target(
    check,
    covers=("protocol.jsonobjects",),
    planted=(
        Planted(
            "protocol/jsonobjects.py",
            "self._scanned = 0\n        self._lineEndDue",
            "self._lineEndDue",
        ),
        Planted("protocol/jsonobjects.py", "if len(buffer) > self._limit:", "if len(buffer) < 0:"),
        Planted("protocol/jsonobjects.py", "self._inString = not self._inString", "pass"),
    ),
    words=(b'{"a":"', b'"}', b'\\"', b"\\u0041", b"\r\n"),
)
