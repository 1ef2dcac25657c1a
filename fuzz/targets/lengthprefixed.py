"""Packets with their length in front: the stream of a registered server, and the packets in it.

The promises: the bytes for each address do not depend on how the stream is cut, nor on how many
packets are read at a time; they are those of a plain reading, and all that has come of them; no
more than a header is held; and what is written is read again.
"""

from __future__ import annotations

from fuzz.target import Planted, Target, pieces, taken
from nymearemoteproxy.protocol.lengthprefixed import PieceReader, encode
from nymearemoteproxy.protocol.packets import Packet, PacketTooLarge
from tests.support.packets import prefixed, prefixedPackets, withoutBoundaries

LIMIT = 300
"""Bytes of a packet: few, so that it is reached."""

_HEADER_SIZE = 6


def check(data: bytes) -> None:
    how, data = taken(data)
    assert encode(how, data) == prefixed(how, data), "it is written otherwise"
    read = _read([encode(how, data)], limit=0)
    assert read == withoutBoundaries([(how, data)]), "what is written is not read"
    _compare(data, how)
    # Most streams begin with a length that is none.
    _compare(b"".join(prefixed(piece[0] % 3, piece) for piece in pieces(data, how)), how)


def _compare(data: bytes, how: int) -> None:
    expected = _plainly(data)
    for atOnce in (1, 2, 1000):
        assert _read([data], atOnce) == expected, "it depends on how many are read at a time"
    assert _read(pieces(data, how)) == expected, "it depends on how it is cut"


def _read(parts: list[bytes], atOnce: int = 1000, limit: int = LIMIT) -> list[Packet] | None:
    """Return what is read; None: a packet is too large, and what was before it is lost."""
    reader = PieceReader(limit, atOnce)
    found: list[Packet] = []
    try:
        for part in parts:
            found += reader.receive(part)
            while reader.rest:
                found += reader.receive(b"")
            assert reader.held < _HEADER_SIZE, "more is held than a header"
    except PacketTooLarge:
        return None
    return withoutBoundaries(found)


def _plainly(data: bytes) -> list[Packet] | None:
    packets = prefixedPackets(data)
    at = 0
    for _packet in packets:
        size = int.from_bytes(data[at + 2 : at + _HEADER_SIZE], "big")
        if size > LIMIT:
            return None
        at += _HEADER_SIZE + size
    return withoutBoundaries(packets)


TARGET = Target(
    check,
    covers=("protocol.lengthprefixed", "protocol.packets"),
    planted=(
        Planted(
            "protocol/lengthprefixed.py",
            "self._left = max(position - size, 0)",
            "self._left = max(position - size - 1, 0)",
        ),
        Planted("protocol/lengthprefixed.py", "if begin > size:", "if begin >= size:"),
        Planted(
            "protocol/lengthprefixed.py",
            "                self._header = data[position:]\n",
            "",
        ),
        Planted("protocol/lengthprefixed.py", "if length > self._limit:", "if not length + 1:"),
        Planted("protocol/lengthprefixed.py", "self.rest = data[position:]", "pass"),
        Planted("protocol/lengthprefixed.py", 'Struct(">HI")', 'Struct("<HI")'),
    ),
    words=(prefixed(1, b"one"), prefixed(2, b""), b"\x00\x01\x00\x00\x01\x2d", b"\x00\x00\x00\x02"),
)
