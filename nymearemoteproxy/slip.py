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
_ESC_BYTE, _ESC_END_BYTE, _ESC_ESC_BYTE = ESC[0], ESC_END[0], ESC_ESC[0]
_END_BYTE = END[0]

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


def _decode(packet: bytes) -> bytes | None:
    """Undo `escape`; return None when something else than it made this."""
    position = packet.find(ESC)
    if position < 0:
        return packet
    # All at once, then one by one what the escapes stood for: a search for two bytes is much slower
    # than the search for one, which is the processor's.
    decoded = bytearray(packet.replace(ESC, b""))
    last = len(packet) - 1
    removed = 0
    find = packet.find
    while position >= 0:
        if position == last:
            return None
        escaped = packet[position + 1]
        if escaped == _ESC_END_BYTE:
            decoded[position - removed] = _END_BYTE
        elif escaped == _ESC_ESC_BYTE:
            decoded[position - removed] = _ESC_BYTE
        else:
            return None
        removed += 1
        position = find(ESC, position + 2)
    return bytes(decoded)


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
        decoded = _decode(piece)
        if decoded is None or len(decoded) < _ADDRESS_SIZE:
            self.dropped += 1
        else:
            packets.append((int.from_bytes(decoded[:2], "big"), decoded[2:]))
