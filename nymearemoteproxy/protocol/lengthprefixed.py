"""Packets with their length in front: what takes less time than SLIP, and no memory.

Each is an address of 2 bytes and a length of 4, both in network byte order, and so much data, as it
is. Owns these bytes. Knows nothing of what an address stands for, of messages or of transports.

Nothing has to be looked at or undone, so what has arrived of a packet is handed on at once: one
packet may become several, and none is ever held.
"""

from __future__ import annotations

import sys
from struct import Struct

from nymearemoteproxy.protocol.packets import Packet, PacketTooLarge

_HEADER = Struct(">HI")
_HEADER_SIZE = _HEADER.size

_pack = _HEADER.pack
_unpack = _HEADER.unpack_from


def encode(address: int, data: bytes) -> bytes:
    """Return a whole packet."""
    return _pack(address, len(data)) + data


class PieceReader:
    """Finds the pieces of packets in a stream, however it is cut.

    :param limit: the most bytes of data that a packet may have; 0 = no limit. Nothing depends on
        it but that a stream which is none is noticed.
    :param atOnce: how many packets `receive` reads at a time, empty ones included, besides the one
        that has begun already.
    :ivar rest: more has arrived than that; `receive` goes on with it, given anything or nothing.
    """

    __slots__ = ("rest", "_address", "_header", "_left", "_limit", "_round")

    dropped = 0
    """None is invalid."""

    def __init__(self, limit: int, atOnce: int = sys.maxsize) -> None:
        self.rest = b""
        self._limit = limit or sys.maxsize
        self._round = range(atOnce)
        self._header = b""  # what has arrived of one
        # Of a packet that has begun:
        self._address = 0
        self._left = 0  # how many bytes have not arrived

    @property
    def held(self) -> int:
        """How many bytes are held of a header; nothing else ever is."""
        return len(self._header)

    def receive(self, data: bytes) -> list[Packet]:
        """Read what arrived; return what it has of each packet, in order.

        Nothing is returned of empty packets. Once it raised, nothing more can be read.

        :raises PacketTooLarge: the length of a packet is above the limit. What there was before it
            in `data` is lost.
        """
        if self.rest or self._header:
            data = self.rest + self._header + data  # never both
            self.rest = self._header = b""
        size = len(data)
        position = self._left
        pieces = [(self._address, data[:position])] if position and data else []
        for _ in self._round:
            begin = position + _HEADER_SIZE
            if begin > size:
                self._header = data[position:]
                break
            address, length = _unpack(data, position)
            if length > self._limit:
                raise PacketTooLarge
            position = begin + length
            if piece := data[begin:position]:
                pieces.append((address, piece))
            self._address = address
        else:
            self.rest = data[position:]
        self._left = max(position - size, 0)
        return pieces
