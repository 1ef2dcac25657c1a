"""SLIP (RFC 1055) as the tunnel proxy uses it: one byte stream that carries many.

Owns the bytes of packets and the address in each. Knows nothing of what an address stands for, of
messages or of transports: bytes go in, packets come out, and the other way round.
"""

from __future__ import annotations

import sys

END = b"\xc0"
ESC = b"\xdb"
ESC_END = b"\xdc"
ESC_ESC = b"\xdd"

PROXY = 0
"""The address of the proxy itself: its packets are JSON-RPC."""
HIGHEST_ADDRESS = 0xFFFE
"""FFFF is never used."""

_ADDRESS_SIZE = 2
_ESCAPED = {ESC_END[0]: END[0], ESC_ESC[0]: ESC[0]}
"""What stands behind ESC, and what is meant. The latter never stands there."""

Packet = tuple[int, bytes]
"""An address, and data."""


class PacketTooLarge(Exception):
    """A packet has no end within the limit."""


def escape(data: bytes) -> bytes:
    """Return `data` with nothing in it that has a meaning in SLIP."""
    return data.replace(ESC, ESC + ESC_ESC).replace(END, ESC + ESC_END)


def encode(address: int, data: bytes) -> bytes:
    """Return a whole packet."""
    return escape(address.to_bytes(_ADDRESS_SIZE, "big") + data) + END


def _unescape(packet: bytes) -> bytes | bytearray | None:
    """Undo `escape`; return None when something else than it made this."""
    parts = packet.split(ESC)
    if len(parts) == 1:
        return packet
    # Without any ESC, and then the bytes behind each are changed in place: to search for pairs of
    # bytes, as `bytes.replace` would, takes longer.
    decoded = bytearray().join(parts)
    parts.pop()
    position = 0
    try:
        for part in parts:
            position += len(part)
            decoded[position] = _ESCAPED[decoded[position]]
    except LookupError:
        return None
    return decoded


class PacketReader:
    """Finds the packets in a stream, however it is cut.

    What arrives is unescaped at once, so that the end of a large packet makes no more work than any
    other part of it.

    :param limit: the most bytes a packet may have as it is sent, without its end; 0 = no limit.
    :param atOnce: how many packets `receive` reads at a time, empty ones included.
    :ivar rest: more has arrived than that; `receive` goes on with it, given anything or nothing.
    :ivar dropped: packets that were dropped for an invalid escape or for having no address.
    """

    __slots__ = ("dropped", "rest", "_held", "_isCut", "_isInvalid", "_limit", "_round", "_size")

    def __init__(self, limit: int, atOnce: int = sys.maxsize) -> None:
        self.dropped = 0
        self.rest = b""
        self._limit = limit
        self._round = range(atOnce)
        # Of a packet whose end has not arrived:
        self._size = 0  # how many bytes came
        self._held = bytearray()  # what they are without escapes
        self._isCut = False  # the last one was ESC
        self._isInvalid = False

    @property
    def held(self) -> int:
        """How many bytes are held of a packet whose end has not arrived."""
        return len(self._held)

    def receive(self, data: bytes) -> list[Packet]:
        """Read what arrived; return the packets that it completes, in order.

        Empty packets are skipped. Once it raised, nothing more can be read.

        :raises PacketTooLarge: a packet is larger than the limit, finished or not. The packets
            before it are lost.
        """
        packets: list[Packet] = []
        if self.rest:
            data = self.rest + data
            self.rest = b""
        if self._isCut:
            self._isCut = False
            self._size -= 1
            data = ESC + data
        position = 0
        for _ in self._round:
            end = data.find(END, position)
            if end < 0:
                break
            if self._size:
                self._hold(data[position:end])
                self._take(None if self._isInvalid else self._held, packets)
                self._size = 0
                self._held = bytearray()
                self._isInvalid = False
            elif end > position:
                self._check(end - position)
                self._take(_unescape(data[position:end]), packets)
            position = end + 1
        else:
            self.rest = data[position:]
            return packets
        if position < len(data):
            self._isCut = data.endswith(ESC)
            self._hold(data[position:-1] if self._isCut else data[position:])
            self._size += self._isCut
            self._check(self._size)
        return packets

    def _check(self, size: int) -> None:
        if 0 < self._limit < size:
            raise PacketTooLarge

    def _hold(self, piece: bytes) -> None:
        self._size += len(piece)
        self._check(self._size)
        decoded = _unescape(piece)
        if decoded is None:
            self._isInvalid = True
            self._held.clear()
        elif not self._isInvalid:
            self._held += decoded

    def _take(self, decoded: bytes | bytearray | None, packets: list[Packet]) -> None:
        if decoded is None or len(decoded) < _ADDRESS_SIZE:
            self.dropped += 1
        else:
            address = decoded[0] << 8 | decoded[1]
            packets.append((address, bytes(memoryview(decoded)[_ADDRESS_SIZE:])))
