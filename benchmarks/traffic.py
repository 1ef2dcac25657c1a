"""What is sent through a tunnel, and the check that it arrives.

Owns messages and their order. Knows nothing of servers, and takes no time.

Everything is made before it is sent: a ring of random messages, each of which begins with its
number, framed and joined into writes. The receiver compares every byte with the ring and counts.
So a byte that is lost, added, changed or out of order is noticed, at the cost of a `memcmp`.
"""

from __future__ import annotations

import functools
from base64 import b64encode
from collections.abc import Callable
from random import Random

from benchmarks.wires import BINARY, TEXT, Wire, frame
from nymearemoteproxy.protocol import slip

RING_BYTES = 4 << 20
"""Larger than the processor's cache per core, as messages of real clients are not warm either."""
MOST_MESSAGES = 4096
FEWEST_MESSAGES = 8
"""More than are under way at a time, or a whole turn of the ring could be lost unnoticed until the
final count."""

NUMBER_BYTES = 8

FIRST_ADDRESS = 1
"""Of the first client of a registered server."""


class ContentError(Exception):
    """What arrived is not what was sent."""


class Ring:
    """Messages of one size, over and over.

    :param framed: they are sent as WebSocket messages.
    :param random: they are any bytes, and binary; otherwise ASCII and text.
    :param packed: they are SLIP packets for the first client of a registered server.
    :ivar plain: their payload, twice, so that a piece from the first half never ends beyond it.
    :ivar writes: the same as it is sent, `perWrite` messages at a time.
    """

    def __init__(self, size: int, perWrite: int, framed: bool, random: bool, packed: bool) -> None:
        count = max(FEWEST_MESSAGES, min(MOST_MESSAGES, RING_BYTES // size))
        content = Random(size)
        messages = []
        for index in range(count):
            payload = content.randbytes(size)
            if not random:
                # ASCII, since what nymea's clients send is JSON in text messages.
                payload = b64encode(payload)
            messages.append(b"%0*d" % (NUMBER_BYTES, index) + payload[: size - NUMBER_BYTES])
        encoded = messages
        if packed:
            encoded = [slip.encode(FIRST_ADDRESS, message) for message in encoded]
        if framed:
            opcode = BINARY if random or packed else TEXT
            encoded = [frame(message, opcode) for message in encoded]
        self.size = size
        self.perWrite = perWrite
        self.length = count * size
        self.plain = b"".join(messages) * 2
        self.writes = [
            b"".join(encoded[index : index + perWrite]) for index in range(0, count, perWrite)
        ]


@functools.cache
def ring(
    size: int, perWrite: int, framed: bool, random: bool = False, packed: bool = False
) -> Ring:
    return Ring(size, perWrite, framed, random, packed)


class Flow:
    """One direction of one tunnel.

    :param start: number of the first write, different for each flow, so that one which arrives in
        the wrong tunnel is noticed.
    :ivar sent: writes.
    :ivar arrived: writes that are there completely.
    :ivar received: bytes of payload.
    :ivar whenArrived: called when a write is there.
    :ivar problem: why the content check failed.
    """

    def __init__(self, ring: Ring, sender: Wire, receiver: Wire, start: int) -> None:
        self._ring = ring
        self._sender = sender
        self._receiver = receiver
        self._next = start % len(ring.writes)
        self._writeBytes = ring.size * ring.perWrite
        self._position = self._next * self._writeBytes
        self.sent = 0
        self.arrived = 0
        self.received = 0
        self.whenArrived: Callable[[], None] = lambda: None
        self.problem: str | None = None
        receiver.receive = self._receive

    @property
    def messages(self) -> int:
        """Messages that are there completely."""
        return self.received // self._ring.size

    @property
    def isComplete(self) -> bool:
        return self.arrived == self.sent

    def send(self) -> None:
        """Send the next write."""
        self._sender.write(self._ring.writes[self._next])
        self._next = (self._next + 1) % len(self._ring.writes)
        self.sent += 1

    def _receive(self, data: bytes | memoryview, last: bool | None) -> None:
        if not self._ring.plain.startswith(data, self._position):
            self._fail(f"wrong content in the {len(data)} bytes after {self.received}")
            return
        self._position = (self._position + len(data)) % self._ring.length
        self.received += len(data)
        if last is not None and last != (self.received % self._ring.size == 0):
            self._fail(f"a message ends in the wrong place, after {self.received} bytes")
            return
        arrived = self.received // self._writeBytes
        if arrived != self.arrived:
            self.arrived = arrived
            self.whenArrived()

    def _fail(self, problem: str) -> None:
        self.problem = problem
        self._receiver.receive = lambda _data, _last: None

    def verify(self) -> None:
        """Check all that can be checked at any time.

        :raises ContentError: what arrived so far is wrong.
        """
        problem = self.problem or self._receiver.problem
        if problem is None and self.received > self.sent * self._writeBytes:
            problem = "more arrived than was sent"
        if problem is None and (self._sender.closed.done() or self._receiver.closed.done()):
            problem = "the server closed the tunnel"
        if problem is not None:
            raise ContentError(problem)
