"""What comes on a link from another member: records.

The promises: what they bring does not depend on how they are cut; frames are whole, and in an order
that a client may get; behind a fault nothing is read; and what is written is read again.
"""

from __future__ import annotations

from itertools import groupby

from fuzz.target import Planted, Target, pieces, taken
from nymearemoteproxy.protocol.frames import BINARY, CONTINUATION, FIN, TEXT, frame, header
from nymearemoteproxy.protocol.linkrecords import (
    CUT,
    END,
    LOST,
    Item,
    Notice,
    RecordReader,
    encodeBytes,
    encodeNotice,
    outcomeOf,
)

Read = tuple[list[object], bool]
"""What came, with all that means the same put together; and whether there was a fault."""


def check(data: bytes) -> None:
    how, data = taken(data)
    whole = _read([data])
    assert whole == _read(pieces(data, how)), "it depends on how it is cut"
    assert whole[1] or not _hasReservedBit(data), "a reserved bit is no fault"
    _checkWritten(how, data)


def _read(parts: list[bytes]) -> Read:
    reader = RecordReader()
    items: list[Item] = []
    for part in parts:
        items += reader.receive(part)
        while reader.hasMore:
            items += reader.receive(b"")
    if reader.error is not None:
        assert reader.receive(encodeBytes(b"more")) == [], "a record is read behind a fault"
    notices = [item.kind for item in items if isinstance(item, Notice)]
    assert len(notices) == len(set(notices)), "a notice comes twice"
    return _together(items), reader.error is not None


def _hasReservedBit(data: bytes) -> bool:
    """Tell whether a record has one, as far as lengths tell where records begin."""
    at = 0
    while at + 1 < len(data):
        if data[at] & 0x70:
            return True
        size = data[at + 1]
        at += 2
        if width := {126: 2, 127: 8}.get(size, 0):
            size = int.from_bytes(data[at : at + width], "big")
        at += width + size
    return False


def _together(items: list[Item]) -> list[object]:
    said: list[object] = []
    isWithin = False  # a message, which only notices may interrupt
    opcode, message = CONTINUATION, b""
    for kind, group in groupby(items, type):
        if kind is Notice:
            said += group
        elif kind is bytes:
            assert not isWithin, "bytes within a message"
            # Where they were cut means nothing, nor does a notice before them.
            said.append(b"".join(group))  # type: ignore[arg-type]
        else:
            for frames in group:
                assert isinstance(frames, list)
                for head, payload in zip(frames[::2], frames[1::2], strict=True):
                    first = head[0] & 0x0F
                    isLast = head[0] >= FIN
                    assert head == header(first, isLast, len(payload)), "no whole frame"
                    assert (first == CONTINUATION) is isWithin, "fragments of other messages"
                    opcode, message = (opcode, message) if isWithin else (first, b"")
                    message += payload
                    isWithin = not isLast
                    if isLast:
                        said.append((opcode, message))
    return said + [(opcode, message)] if isWithin else said


def _checkWritten(how: int, data: bytes) -> None:
    opcode = TEXT if how & 1 else BINARY
    notices = [Notice(END), Notice(LOST), Notice(CUT, outcomeOf("link-lost").label)]
    written = encodeBytes(data) + frame(opcode, data) + frame(opcode, b"")
    for each in notices[how % 3 :]:
        written += encodeNotice(each.kind, each.label)
    expected = [*([data] if data else []), (opcode, data), (opcode, b""), *notices[how % 3 :]]
    assert _read(pieces(written, how)) == (expected, False), "what is written is not read"


TARGET = Target(
    check,
    covers=("protocol.linkrecords",),
    planted=(
        Planted("protocol/linkrecords.py", "if opcode in self._over:", "if False:"),
        Planted(
            "protocol/linkrecords.py",
            "self._opcode = CONTINUATION\n        return position + size",
            "return position + size",
        ),
        Planted("protocol/linkrecords.py", "return size if size >= 1 << 16 else 0", "return size"),
        Planted("protocol/linkrecords.py", "if first & 0x70:", "if first & 0x30:"),
    ),
    words=(b"\x83\x7f" + bytes(7), b"\x81\x7f" + bytes(5) + b"\1" + bytes(2)),
)
