"""SLIP (RFC 1055) as the tunnel proxy uses it: one byte stream that carries many.

Owns the bytes of packets and the address in each. Knows nothing of what an address stands for, of
messages or of transports: bytes go in, packets come out, and the other way round.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence, Set

from nymearemoteproxy.protocol.packets import Packet, PacketTooLarge
from nymearemoteproxy.protocol.unescaping import (
    END,
    ESC,
    ESC_END,
    ESC_ESC,
    Undo,
    undoByParts,
)

_ADDRESS_SIZE = 2


def escape(data: bytes) -> bytes:
    """Return `data` with nothing in it that has a meaning in SLIP."""
    return data.replace(ESC, ESC + ESC_ESC).replace(END, ESC + ESC_END)


def encode(address: int, data: bytes) -> bytes:
    """Return a whole packet."""
    return escape(address.to_bytes(_ADDRESS_SIZE, "big") + data) + END


class PacketReader:
    """Finds the packets in a stream, however it is cut.

    What arrives is unescaped at once, so that the end of a large packet makes no more work than any
    other part of it.

    :param limit: the most bytes a packet may have as it is sent, without its end; 0 = no limit.
    :param atOnce: how many packets `receive` reads at a time, empty ones included.
    :param undo: how escapes are undone.
    :ivar rest: more has arrived than that; `receive` goes on with it, given anything or nothing.
    :ivar dropped: packets that were dropped for an invalid escape or for having no address.
    """

    __slots__ = (
        "dropped",
        "rest",
        "_held",
        "_isCut",
        "_isInvalid",
        "_limit",
        "_round",
        "_size",
        "_undo",
    )

    def __init__(self, limit: int, atOnce: int = sys.maxsize, undo: Undo = undoByParts) -> None:
        self.dropped = 0
        self.rest = b""
        self._limit = limit or sys.maxsize
        self._round = range(atOnce)
        self._undo = undo
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
        if self.rest:
            data = self.rest + data
            self.rest = b""
        if self._isCut:
            self._size -= 1
            data = ESC + data
        ends: list[int] = []
        position, size, limit = 0, self._size, self._limit
        for _ in self._round:
            end = data.find(END, position)
            if end < 0:
                break
            if size + end - position > limit:
                raise PacketTooLarge
            ends.append(end)
            position = end + 1
            size = 0
        else:
            self.rest = data[position:]
            data = data[:position]
        self._size = size + len(data) - position
        if self._size > limit:
            raise PacketTooLarge
        self._isCut = data.endswith(ESC)
        return self._read(data[:-1] if self._isCut else data, ends)

    def _read(self, data: bytes, ends: Sequence[int]) -> list[Packet]:
        invalid: Set[int] = frozenset()
        if ESC in data:
            data, ends, invalid = self._undo(data, ends)
        packets: list[Packet] = []
        begin = 0
        for index, end in enumerate(ends):
            if self._held or self._isInvalid:
                self._hold(memoryview(data)[:end], index in invalid)
                self._finish(packets)
            elif index in invalid:
                self.dropped += 1
            elif end - begin >= _ADDRESS_SIZE:
                address = data[begin] << 8 | data[begin + 1]
                packets.append((address, data[begin + _ADDRESS_SIZE : end]))
            elif end > begin:
                self.dropped += 1
            begin = end + 1
        if self._size:  # of a packet whose end has not come
            self._hold(memoryview(data)[begin:], len(ends) in invalid)
        return packets

    def _hold(self, piece: memoryview, isInvalid: bool) -> None:
        """Keep a piece of a packet."""
        if isInvalid or self._isInvalid:
            self._isInvalid = True
            self._held.clear()
        else:
            self._held += piece

    def _finish(self, packets: list[Packet]) -> None:
        """What is held is all of a packet."""
        held = self._held
        if self._isInvalid or len(held) < _ADDRESS_SIZE:
            self.dropped += 1
        else:
            packets.append((held[0] << 8 | held[1], bytes(memoryview(held)[_ADDRESS_SIZE:])))
        self._held = bytearray()
        self._isInvalid = False
