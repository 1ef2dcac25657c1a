"""What the kernel knows of what was sent, over real connections."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import termios
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.wires.transports import lookAfterSent

SMALL = 1 << 14
"""Bytes of a receive buffer, so that much waits at the sender."""

PATIENCE = 60.0
"""Seconds until the kernel must have delivered something on this machine."""


class LookAfterSentTests(SynchronousTestCase):
    def setUp(self) -> None:
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)  # its connections' too
            server.bind(("127.0.0.1", 0))
            server.listen()
            self.ours = socket.create_connection(server.getsockname())
            self.client, _address = server.accept()
        for each in (self.ours, self.client):
            self.addCleanup(each.close)
            each.setblocking(False)

    def follow(self, handle: socket.socket) -> Callable[[], bool]:
        transport: Any = SimpleNamespace(lowest=SimpleNamespace(getHandle=lambda: handle))
        return lookAfterSent(transport)

    def fill(self) -> None:
        """Send all that the kernel takes."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.ours.send(bytes(1 << 16))

    def read(self) -> None:
        """Have the client read some of what has come to it."""
        with contextlib.suppress(BlockingIOError):
            self.client.recv(SMALL)

    def readsUntil(self, isSo: Callable[[], bool]) -> None:
        """Have the client read until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not isSo():
            self.read()
            self.assertLess(time.monotonic(), deadline)

    def isAllThere(self) -> bool:
        return fcntl.ioctl(self.ours, termios.TIOCOUTQ, bytes(4)) == bytes(4)

    def test_onItsWay(self) -> None:
        """Each look tells of what has arrived since the one before."""
        self.fill()
        isArriving = self.follow(self.ours)
        for _ in range(3):
            self.readsUntil(isArriving)

    def test_whatWasSentLater(self) -> None:
        """It does not count."""
        self.ours.send(b"ping")
        isArriving = self.follow(self.ours)
        self.readsUntil(self.isAllThere)
        isArriving()
        self.fill()
        self.readsUntil(self.isAllThere)
        self.assertFalse(isArriving())

    def test_nobodyReads(self) -> None:
        self.fill()
        isArriving = self.follow(self.ours)
        deadline = time.monotonic() + PATIENCE
        while isArriving():  # the last of what its system has taken
            self.assertLess(time.monotonic(), deadline)
        self.assertFalse(isArriving())

    def test_unixSocket(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        ours.send(b"ping")
        isArriving = self.follow(ours)
        theirs.recv(4)
        self.assertFalse(isArriving())
