"""Tunnels full of data: both ends send and receive without end, and remember what.

Knows of clients what `endtoend` gives it, and of the server nothing.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import ssl
import threading
from collections.abc import Iterable

from tests.support.endtoend import BINARY, PATIENCE, Stream, WebSocket, frame, until

CHUNK = 1 << 16
"""Bytes; the first one tells whether it is the last chunk."""

LEAST = 64
"""Chunks that everybody sends, in all 4 MiB."""

MORE, LAST = b"\1", b"\0"


class Mover:
    """One end of a tunnel; a thread of its own sends and receives, since TLS wants no two.

    :ivar received: bytes, so far.
    :ivar isReading: cleared, nothing more is taken from the server.
    :ivar isOver: set, no new chunk is begun but the last one.
    """

    def __init__(self, client: Stream) -> None:
        self._client = client
        self.received = 0
        self.isReading = threading.Event()
        self.isReading.set()
        self.isOver = threading.Event()
        self._sentHash, self._receivedHash = hashlib.sha256(), hashlib.sha256()
        self._incoming, client._received = client._received, b""
        self._payload = b""
        self._outgoing = b""
        self._chunks = 0
        self._wasLast = False
        self._sentAll = self._gotAll = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._client.socket.setblocking(False)
        self._thread.start()

    def isStuck(self) -> bool:
        """Tell whether the server takes nothing more."""
        return not select.select([], [self._client.socket], [], 0)[1]

    def finish(self) -> tuple[str, str]:
        """Wait until all is sent and received; return the hashes of the one and the other."""
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise AssertionError(f"it still waits, with {self.received} bytes received")
        if self._failure is not None:
            raise AssertionError("it failed") from self._failure
        self._client.socket.settimeout(PATIENCE)
        return self._sentHash.hexdigest(), self._receivedHash.hexdigest()

    def _run(self) -> None:
        try:
            while not (self._sentAll and self._gotAll):
                self._turn()
        except BaseException as error:
            self._failure = error

    def _turn(self) -> None:
        client = self._client.socket
        reads = [] if self._gotAll or not self.isReading.is_set() else [client]
        writes = [] if self._sentAll else [client]
        # The time limit is for the events, which wake nobody up.
        ready = select.select(reads, writes, [], 0.02)
        if ready[0] or (reads and isinstance(client, ssl.SSLSocket) and client.pending()):
            self._receive(client)
        if ready[1]:
            self._send(client)

    def _receive(self, client: socket.socket) -> None:
        try:
            data = client.recv(CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        if not data:
            raise AssertionError("the server closed")
        self._incoming += data
        self._payload += self._takePayload()
        while len(self._payload) >= CHUNK:
            chunk, self._payload = self._payload[:CHUNK], self._payload[CHUNK:]
            self._receivedHash.update(chunk)
            self.received += CHUNK
            self._gotAll = chunk[:1] == LAST
        assert not (self._gotAll and self._payload), "something came behind the last chunk"

    def _takePayload(self) -> bytes:
        if not isinstance(self._client, WebSocket):
            data, self._incoming = self._incoming, b""
            return data
        payloads = []
        while len(self._incoming) >= 2:
            opcode, size, begin = self._incoming[0] & 15, self._incoming[1], 2
            if size > 125:
                begin = 4 if size == 126 else 10
                size = int.from_bytes(self._incoming[2:begin], "big")
            if len(self._incoming) < begin + size or begin > len(self._incoming):
                break
            if opcode > BINARY:
                raise AssertionError(f"frame {self._incoming!r}")
            payloads.append(self._incoming[begin : begin + size])
            self._incoming = self._incoming[begin + size :]
        return b"".join(payloads)

    def _send(self, client: socket.socket) -> None:
        if not self._outgoing:
            self._chunks += 1
            kind = LAST if self.isOver.is_set() and self._chunks >= LEAST else MORE
            chunk = kind + os.urandom(CHUNK - 1)
            self._sentHash.update(chunk)
            isFramed = isinstance(self._client, WebSocket)
            self._outgoing = frame(BINARY, chunk) if isFramed else chunk
            self._wasLast = kind == LAST
        try:
            sent = client.send(self._outgoing)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        self._outgoing = self._outgoing[sent:]
        self._sentAll = self._wasLast and not self._outgoing


class Traffic:
    """Many tunnels full of data: one end of each is read from all the time, the other is not.

    :param tunnels: the two ends of each.
    """

    def __init__(self, tunnels: Iterable[tuple[Stream, Stream]]) -> None:
        self.pairs = [(Mover(one), Mover(two)) for one, two in tunnels]
        for quick, slow in self.pairs:
            slow.isReading.clear()
            for mover in quick, slow:
                mover.start()
        self.moves()
        until(lambda: all(quick.isStuck() for quick, _slow in self.pairs), "no back pressure")

    def moves(self) -> None:
        """Wait until some more has come through every tunnel."""
        before = [quick.received for quick, _slow in self.pairs]
        for (quick, _slow), had in zip(self.pairs, before, strict=True):
            until(lambda: quick.received > had + CHUNK, "nothing moves")  # noqa: B023 - at once

    def finish(self) -> None:
        """Let everybody read, and end; check that everything has come."""
        for _quick, slow in self.pairs:
            slow.isReading.set()
        for pair in self.pairs:
            for mover in pair:
                mover.isOver.set()
        for one, two in self.pairs:
            (sent, received), (sentBack, receivedBack) = one.finish(), two.finish()
            assert sent == receivedBack and sentBack == received, "something is lost or changed"
