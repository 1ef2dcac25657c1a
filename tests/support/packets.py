"""Packets written and read byte by byte, as RFC 1055 says, or with their length in front."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from nymearemoteproxy.protocol.packets import Packet

END, ESC, ESC_END, ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD
SPECIAL = bytes([END, ESC, ESC_END, ESC_ESC])

_WRITTEN = [bytes([octet]) for octet in range(256)]
_WRITTEN[END] = bytes([ESC, ESC_END])
_WRITTEN[ESC] = bytes([ESC, ESC_ESC])


def referenceEncode(address: int, data: bytes) -> bytes:
    """Write a packet one byte after another."""
    content = bytes(divmod(address, 256)) + data
    return b"".join(_WRITTEN[octet] for octet in content) + bytes([END])


@dataclass
class Reference:
    """Reads packets one byte after another.

    :ivar tooLarge: a packet had more bytes than the limit; nothing was read from there on.
    """

    limit: int = 0
    packets: list[Packet] = field(default_factory=list)
    dropped: int = 0
    tooLarge: bool = False
    size: int = 0
    _content: bytearray = field(default_factory=bytearray)
    _escaped: bool = False
    _invalid: bool = False

    def read(self, data: bytes) -> Reference:
        for octet in data:
            if octet == END:
                self._finish()
                continue
            self.size += 1
            if self.limit and self.size > self.limit:
                self.tooLarge = True
                break
            if self._escaped:
                self._escaped = False
                if octet == ESC_END:
                    self._content.append(END)
                elif octet == ESC_ESC:
                    self._content.append(ESC)
                else:
                    self._invalid = True
            elif octet == ESC:
                self._escaped = True
            else:
                self._content.append(octet)
        return self

    def _finish(self) -> None:
        if self.size:
            if self._escaped or self._invalid or len(self._content) < 2:
                self.dropped += 1
            else:
                address = 256 * self._content[0] + self._content[1]
                self.packets.append((address, bytes(self._content[2:])))
        self.size = 0
        self._content.clear()
        self._escaped = self._invalid = False


def referenceDecode(data: bytes) -> list[Packet]:
    """Return the packets of a stream that has nothing else in it."""
    read = Reference().read(data)
    assert not read.dropped and not read.size, data
    return read.packets


def prefixed(address: int, data: bytes) -> bytes:
    """Write a packet with its length in front."""
    return bytes(divmod(address, 256)) + len(data).to_bytes(4, "big") + data


def prefixedPackets(data: bytes) -> list[Packet]:
    """Return the packets of a stream that has their lengths in front, also one that is not whole.

    A header that is not whole is none.
    """
    packets: list[Packet] = []
    while len(data) >= 6:
        end = 6 + int.from_bytes(data[2:6], "big")
        packets.append((int.from_bytes(data[:2], "big"), data[6:end]))
        data = data[end:]
    return packets


def withoutBoundaries(packets: list[Packet]) -> list[Packet]:
    """Return the same bytes, with all in one packet that follow each other for one address."""
    return [
        (address, b"".join(data for _address, data in group))
        for address, group in groupby(filter(itemgetter(1), packets), key=itemgetter(0))
    ]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut `data` at the given places, wherever they lie."""
    bounds = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *bounds], [*bounds, len(data)], strict=True)]
