"""Packets: what the stream of a registered server carries, in whichever framing.

Owns what has an address, and what a framing is for those who use one. Knows nothing of the bytes
of a framing, nor of what an address stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

PROXY = 0
"""The address of the proxy itself: its packets are JSON-RPC."""
HIGHEST_ADDRESS = 0xFFFE
"""FFFF is never used."""

Packet = tuple[int, bytes]
"""An address, and data."""

Encode = Callable[[int, bytes], bytes]
"""Returns a whole packet as it is sent, given an address and data."""


class PacketTooLarge(Exception):
    """A packet is larger than the limit."""


class Reader(Protocol):
    """Finds the packets in a stream, however it is cut."""

    @property
    def rest(self) -> bytes:
        """More has arrived than is read at a time; `receive` goes on with it."""

    @property
    def held(self) -> int:
        """How many bytes are held of a packet that has not arrived as a whole."""

    @property
    def dropped(self) -> int:
        """How many packets were dropped, since they were invalid."""

    def receive(self, data: bytes) -> list[Packet]:
        """Read what arrived, anything or nothing; return what there is, in order.

        Once it raised, nothing more can be read.

        :raises PacketTooLarge: the packets before it are lost.
        """
