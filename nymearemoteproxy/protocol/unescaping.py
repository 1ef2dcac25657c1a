"""Undoing the escapes of SLIP (RFC 1055), by the fastest means that is installed.

Owns what an escape means, and the choice between implementations. Knows nothing of packets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

END = b"\xc0"
ESC = b"\xdb"
ESC_END = b"\xdc"
ESC_ESC = b"\xdd"

Undone = tuple[bytes, Sequence[int], Set[int]]
"""What is meant, where in it the packets end, and which of them have an invalid escape."""

Undo = Callable[[bytes, Sequence[int]], Undone]
"""(packets as they were sent, where each END stands) → the same without escapes, and a byte between
any two. What stands behind the last END is the beginning of one more, which may be invalid too; an
escape that is not whole is.
"""

WORTHWHILE = 8000
"""Bytes from which on numpy is faster, if they are random: it takes 6 µs for anything, and then 0.7
µs for a thousand of them; without it those take 1.4 µs. What both take is spent on single escapes:
the processor cannot foresee how far it is to the next one."""

_MEANT = {ESC_END[0]: END[0], ESC_ESC[0]: ESC[0]}
"""What stands behind ESC, and what is meant. The latter never stands there."""


def _undoOne(packet: bytes | bytearray) -> tuple[bytearray, bool]:
    parts = packet.split(ESC)
    decoded = bytearray().join(parts)
    parts.pop()
    position = 0
    try:
        for part in parts:
            position += len(part)
            decoded[position] = _MEANT[decoded[position]]
    except LookupError:
        return decoded, False
    return decoded, True


def undoByParts(data: bytes, ends: Sequence[int]) -> Undone:
    """Change what stands behind each ESC, one after the other: no dependency.

    To search for pairs of bytes, as `bytes.replace` would, takes longer.
    """
    packets: list[bytes | bytearray] = []
    moved = []
    invalid: set[int] = set()
    begin = size = 0
    hasTail = not ends or ends[-1] + 1 < len(data)
    for end in (*ends, len(data)) if hasTail else ends:
        packet: bytes | bytearray = data[begin:end]
        if ESC in packet:
            packet, isValid = _undoOne(packet)
            if not isValid:
                invalid.add(len(packets))
        packets.append(packet)
        size += len(packet)
        moved.append(size)
        size += 1
        begin = end + 1
    if hasTail:
        moved.pop()  # there is no END
    return END.join(packets), moved, invalid


def implementations() -> dict[str, Undo]:
    """What is installed, fastest first.

    numpy takes 0.1 s to import, 17 MB, and a sleeping thread for each further core, so this is not
    done before somebody asks.
    """
    found: dict[str, Undo] = {}
    try:
        import numpy
    except Exception:  # it is not there, or, as it says itself, not for this processor
        pass
    else:
        found["numpy"] = _makeUndoWithNumpy(numpy)
    found["parts"] = undoByParts
    return found


def _makeUndoWithNumpy(numpy: Any) -> Undo:
    octet, arange, view, search = numpy.uint8, numpy.arange, numpy.frombuffer, numpy.searchsorted
    equal = numpy.equal  # as an operator it would be False, until numpy 1.25, when memory runs out
    escape = ESC[0]
    meant = numpy.zeros(256, octet)  # 0 is what is invalid
    for written, value in _MEANT.items():
        meant[written] = value

    def undoWithNumpy(data: bytes, ends: Sequence[int]) -> Undone:
        if len(data) < WORTHWHILE:
            return undoByParts(data, ends)
        octets = view(data, octet)
        (escapes,) = equal(octets, escape).nonzero()
        # If nothing stands behind the last one, that is looked at itself, and is invalid there.
        values = meant.take(octets.take(escapes + 1, mode="clip"))
        # It needs a place all the same.
        decoded = view(bytearray().join((data.replace(ESC, b""), END)), octet)
        decoded[escapes - arange(len(escapes))] = values
        invalid = set()
        if 0 in values.tobytes():
            invalid.update(search(ends, escapes[equal(values, 0)]).tolist())
        moved = (ends - search(escapes, ends)).tolist()
        return decoded[:-1].tobytes(), moved, invalid

    return undoWithNumpy


def fastest() -> Undo:
    """Return the fastest implementation that is installed."""
    return next(iter(implementations().values()))
