"""A TCP proxy in front of a port of this machine, which a test can slow down, stop and cut."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable

from tests.support.endtoend import PATIENCE

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which closing is a reset."""

CHUNK = 1 << 16

POLL = 0.05
"""Seconds until one that does not send looks whether it is cut."""


class Gateway:
    """Passes connections on to a port; its own is closed with `close`.

    :param target: the port, on 127.0.0.1.
    :ivar port: ours.
    :ivar delay: seconds that each piece of what the target sends takes.
    :ivar garble: what becomes of each such piece.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        self.garble: Callable[[bytes], bytes] = lambda data: data
        self._stopped = threading.Event()
        self._held = threading.Event()
        self._released = threading.Event()
        self._left: int | None = None
        self._holdable: object = None
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._cut: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                came, _address = self._listener.accept()
            except OSError:
                return
            there = socket.socket()
            try:
                there.connect(("127.0.0.1", self.target))
            except OSError:
                _reset(came)
                continue
            with self._lock:
                self._pairs[came] = there
            threading.Thread(target=self._pass, args=(came, there), daemon=True).start()

    def _pass(self, came: socket.socket, there: socket.socket) -> None:
        with self._lock:
            if self._left is not None and self._holdable is None:
                self._holdable = came
        other = {came: there, there: came}
        with contextlib.suppress(OSError):
            while other and came not in self._cut:
                for one in select.select(list(other), [], [])[0]:
                    data = one.recv(CHUNK)
                    self._holdIfMeant(came)
                    if came in self._cut:
                        break
                    if one is there and data:
                        self._stopped.wait(self.delay)
                        data = self.garble(data)
                    if data:
                        self._send(other[one], data, came)
                    else:
                        other.pop(one).shutdown(socket.SHUT_WR)
        with self._lock:
            del self._pairs[came]
            end = _reset if came in self._cut else socket.socket.close
            self._cut.discard(came)
        end(came)
        end(there)

    def _send(self, to: socket.socket, data: bytes, came: socket.socket) -> None:
        while data and came not in self._cut:
            if select.select([], [to], [], POLL)[1]:
                data = data[to.send(data, socket.MSG_DONTWAIT) :]

    # Holding

    def hold(self, count: int) -> None:
        """Let the next connection pass only so many pieces, and then nothing."""
        self._held.clear()
        self._released.clear()
        with self._lock:
            self._left, self._holdable = count, None

    def _holdIfMeant(self, came: socket.socket) -> None:
        with self._lock:
            if self._holdable is not came or self._left is None:
                return
            self._left -= 1
            if self._left >= 0:
                return
        self._held.set()
        self._released.wait()

    def waitUntilHeld(self, seconds: float = PATIENCE) -> bool:
        """Wait until a piece is held; False if none came so far."""
        return self._held.wait(seconds)

    @property
    def isHolding(self) -> bool:
        """Whether a piece is held."""
        return self._held.is_set()

    def release(self) -> None:
        """Let everything pass again."""
        with self._lock:
            self._left = None
        self._released.set()

    # Ending

    def cut(self) -> int:
        """Reset all connections, in the middle of whatever they carry; return how many."""
        with self._lock:
            pairs = list(self._pairs.items())
            self._cut.update(self._pairs)
            for pair in pairs:
                for one in pair:
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RD)  # wakes up who waits for it, and says nothing
        return len(pairs)

    def close(self) -> None:
        """Refuse new connections, and cut those that are there."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._stopped.set()
        self.cut()
        self.release()


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        one.close()
