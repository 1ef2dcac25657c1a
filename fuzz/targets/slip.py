"""SLIP: the stream of a registered server, and the packets in it.

The promises: the packets do not depend on how the stream is cut, nor on how many are read at a time
and who undoes the escapes; they are those of a plain reading of RFC 1055; no more is held than the
limit; and what is written is read again.
"""

from __future__ import annotations

from fuzz.target import Planted, Target, pieces, taken
from nymearemoteproxy.protocol.packets import Packet, PacketTooLarge
from nymearemoteproxy.protocol.slip import PacketReader, encode, escape
from nymearemoteproxy.protocol.unescaping import (
    END,
    ESC,
    WORTHWHILE,
    Undone,
    implementations,
    undoByParts,
)
from tests.support.packets import Reference

LIMIT = 300
"""Bytes of a packet as it is sent: few, so that it is reached."""

_IMPLEMENTATIONS = implementations()

_SELDOM = 16
"""One input of so many is made as long as is needed for all implementations, which takes long."""

Read = tuple[list[Packet], int] | None
"""Packets, and how many were dropped; None: one is too large, and those before it are lost."""


def check(data: bytes) -> None:
    how, data = taken(data)
    assert _read([encode(how, data)], limit=0) == ([(how, data)], 0), "what is written is not read"
    expected = _plainly(data)
    for atOnce in (1, 2, 1000):
        assert _read([data], atOnce=atOnce) == expected, "it depends on how many are read at a time"
    assert _read(pieces(data, how)) == expected, "it depends on how it is cut"
    if how % _SELDOM == 0:
        _compareImplementations(data)


def _read(parts: list[bytes], atOnce: int = 1000, limit: int = LIMIT) -> Read:
    reader = PacketReader(limit, atOnce)
    packets: list[Packet] = []
    try:
        for part in parts:
            packets += reader.receive(part)
            while reader.rest:
                packets += reader.receive(b"")
            assert not limit or reader.held <= limit, "more is held than the limit"
    except PacketTooLarge:
        return None
    return packets, reader.dropped


def _plainly(data: bytes) -> Read:
    reference = Reference(LIMIT).read(data)
    return None if reference.tooLarge else (reference.packets, reference.dropped)


def _compareImplementations(data: bytes) -> None:
    """Compare what undoes escapes, with so much that none leaves it to another."""
    if not data:
        return
    long = data * (WORTHWHILE // len(data) + 1)
    if long.endswith(ESC):
        long += b"\0"  # as the reader does, half an escape is not passed on
    ends = [at for at, octet in enumerate(long) if octet == END[0]]
    expected = _cut(undoByParts(long, ends))
    for undo in _IMPLEMENTATIONS.values():
        assert _cut(undo(long, ends)) == expected, "implementations differ"
    assert undoByParts(escape(data), [])[0] == data


def _cut(undone: Undone) -> list[bytes | None]:
    """Return what each packet means, and the beginning of one more; None for what is invalid."""
    meant, ends, invalid = undone
    begins = [0, *(end + 1 for end in ends)]
    return [
        None if number in invalid else meant[begin:end]
        for number, (begin, end) in enumerate(zip(begins, [*ends, len(meant)], strict=True))
    ]


TARGET = Target(
    check,
    covers=("protocol.slip", "protocol.unescaping"),
    planted=(
        Planted("protocol/slip.py", "self._size -= 1\n", "pass\n"),
        Planted(
            "protocol/slip.py",
            "self._hold(memoryview(data)[:end], index in invalid)",
            "self._hold(memoryview(data)[:end], False)",
        ),
        Planted(
            "protocol/slip.py", "if size + end - position > limit:", "if end - position > limit:"
        ),
        Planted("protocol/unescaping.py", "arange(len(escapes))", "0 * escapes"),
        Planted(
            "protocol/slip.py",
            "data.replace(ESC, ESC + ESC_ESC).replace(END, ESC + ESC_END)",
            "data.replace(END, ESC + ESC_END).replace(ESC, ESC + ESC_ESC)",
        ),
    ),
    words=(ESC + b"\xdc", ESC + b"\xdd", ESC + END),
)
