"""SLIP (RFC 1055) as the tunnel proxy uses it: one byte stream that carries many.

Owns the bytes of packets and the address in each. Knows nothing of what an address stands for, of
messages or of transports: bytes go in, packets come out, and the other way round.
"""

from __future__ import annotations

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

    :param limit: the most bytes a packet may have as it is sent, without its end; 0 = no limit.
    :ivar dropped: packets that were dropped for an invalid escape or for having no address.
    """

    __slots__ = ("dropped", "_held", "_limit")

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        self._limit = limit
        self._held = bytearray()  # of a packet whose end has not arrived

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished packet are held."""
        return len(self._held)

    def receive(self, data: bytes) -> list[Packet]:
        """Read what arrived; return the packets that it completes, in order.

        Empty packets are skipped. Once it raised, nothing more can be read.

        :raises PacketTooLarge: a packet is larger than the limit, finished or not. The packets
            before it are lost.
        """
        packets: list[Packet] = []
        position = 0
        end = data.find(END)
        while end >= 0:
            piece = data[position:end]
            if self._held:
                self._held += piece
                piece = bytes(self._held)
                self._held.clear()
            if self._limit and len(piece) > self._limit:
                raise PacketTooLarge
            if piece:
                self._take(piece, packets)
            position = end + 1
            end = data.find(END, position)
        if position < len(data):
            self._held += data[position:]
            if self._limit and len(self._held) > self._limit:
                raise PacketTooLarge
        return packets

    def _take(self, piece: bytes, packets: list[Packet]) -> None:
        decoded = _unescape(piece)
        if decoded is None or len(decoded) < _ADDRESS_SIZE:
            self.dropped += 1
        else:
            address = decoded[0] << 8 | decoded[1]
            packets.append((address, bytes(memoryview(decoded)[_ADDRESS_SIZE:])))
