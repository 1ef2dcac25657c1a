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

_SPACE = b" \t\r\n"

Found = tuple[list[bytes], Fault | None]


def check(data: bytes) -> None:
    how, data = taken(data)
    found, fault = _split(pieces(data, how))
    assert _split([data]) == (found, fault), "it depends on how it is cut"
    position = 0
    for each in found:
        position += len(data[position:]) - len(data[position:].lstrip(_SPACE))
        assert data[position:].startswith(each), "an object is not what was sent"
        _compare(each)
        position += len(each)


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


def _compare(found: bytes) -> None:
    """See that an object ends where it does for Python, if it is one for it."""
    text = found.decode("latin-1")  # where something ends does not depend on the encoding
    try:
        _value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return
    assert end == len(text), "an object ends somewhere else"


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
        Planted("protocol/jsonobjects.py", r'{0,1000}("|\\?[', r'{0,1000}("|\\\\?['),
    ),
    words=(b'{"a":"', b'"}', b'\\"', b"\\u0041", b"\r\n"),
)
