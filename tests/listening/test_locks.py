"""Whose lock of a Unix socket counts."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from itertools import product
from pathlib import Path
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from nymearemoteproxy.connections.records import TCP
from nymearemoteproxy.listening import locks
from nymearemoteproxy.listening.handedplace import HandedPlace
from nymearemoteproxy.listening.listeners import ListenerError, close, listen, parseListener
from nymearemoteproxy.listening.locks import NOBODY, disown
from tests.support.left import OWN, leaveSocket

reactor: Any = globalReactor

INIT = "1"
"""There always is a process of this number, and in most tests it may not be sent a signal."""

GONE = str(NOBODY)

PATH = "socket"


def monitor(path: str) -> IListeningPort:
    """Listen for monitors."""
    return listen(path, HandedPlace(reactor, path, 5, 0o600), Factory())


def listener(path: str) -> IListeningPort:
    """Listen for clients."""
    return listen(path, parseListener(f"unix:{path}", TCP).endpoint(reactor), Factory())


PLACES = monitor, listener


class LockTests(TestCase):
    """Real sockets."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)  # the path of a Unix socket must be short

    def serve(self, path: str, holder: str, backlog: int = 5) -> None:
        """Have another server listen, whose lock names this process."""
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(server.close)
        server.bind(path)
        server.listen(backlog)
        os.symlink(holder, f"{path}.lock")
        os.utime(f"{path}.lock", (1, 1), follow_symlinks=False)

    def holder(self, path: str = PATH) -> str:
        """Return whom the lock names."""
        return os.readlink(f"{path}.lock")

    @inlineCallbacks
    def test_left(self) -> Any:
        """A socket that was left is replaced, whoever has the number of its process now."""
        for number, (place, holder) in enumerate(product(PLACES, (OWN, INIT, GONE))):
            path = f"{PATH}{number}"
            leaveSocket(path, holder)
            port = place(path)
            self.assertEqual(self.holder(path), OWN)
            yield close(port)

    def test_living(self) -> None:
        """Whoever answers keeps it, though its lock names us, or nobody: a container's does."""
        for holder in OWN, INIT, GONE:
            path = f"{PATH}{holder}"
            self.serve(path, holder)
            inode = os.stat(path).st_ino
            for place in PLACES:
                error = self.assertRaises(ListenerError, place, path)
                self.assertIn("another server", str(error))
            self.assertEqual((self.holder(path), os.stat(path).st_ino), (holder, inode))

    def test_busy(self) -> None:
        """So does one that has too many to answer."""
        self.serve(PATH, GONE, backlog=0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(PATH)
            self.assertFalse(disown(PATH))
        self.assertEqual(self.holder(), GONE)

    def test_unanswered(self) -> None:
        """Who may not knock, or knocks at another kind of socket, knows of no end of its server."""
        other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(other.close)
        other.bind(PATH)
        os.symlink(OWN, f"{PATH}.lock")
        for _ in 1, 2:
            self.assertFalse(disown(PATH))
            self.assertEqual(self.holder(), OWN)
            self.patch(locks, "_knock", lambda _path: errno.EACCES)  # as root it cannot happen

    def test_together(self) -> None:
        """Of two that find the same lock left, the slower one leaves the quicker one its own."""

        def knock(path: str) -> int:
            os.remove(f"{path}.lock")
            os.symlink(INIT, f"{path}.lock")  # by the other one
            return errno.ECONNREFUSED

        for holder in GONE, OWN:
            leaveSocket(f"{PATH}{holder}", holder)
            self.patch(locks, "_knock", knock)
            disown(f"{PATH}{holder}")
            self.assertEqual(self.holder(f"{PATH}{holder}"), INIT)
        self.assertEqual(len(os.listdir()), 4)

    def test_fresh(self) -> None:
        """One that has its lock, and is about to listen, is let go on."""
        with socket.socket(socket.AF_UNIX) as starting:
            starting.bind(PATH)
            os.symlink(INIT, f"{PATH}.lock")
            disown(PATH)
        self.assertEqual(self.holder(), INIT)

    def test_restarted(self) -> None:
        """Ours is left however fresh: a container was started again, and its socket may be gone."""
        os.symlink(OWN, f"{PATH}.lock")
        disown(PATH)
        self.assertEqual(self.holder(), GONE)

    def test_future(self) -> None:
        """One from the future, since the clock was set back, is not fresh."""
        leaveSocket(PATH, INIT)
        os.utime(f"{PATH}.lock", (1 << 32, 1 << 32), follow_symlinks=False)
        disown(PATH)
        self.assertEqual(self.holder(), GONE)

    def test_unknown(self) -> None:
        """Where nobody can tell whether it is served, a living process keeps it."""
        os.symlink(INIT, f"{PATH}.lock")
        os.utime(f"{PATH}.lock", (1, 1), follow_symlinks=False)
        disown(PATH)
        self.assertEqual(self.holder(), INIT)

    def test_noSocket(self) -> None:
        """What is none stays where it is."""
        for place in PLACES:
            Path(PATH).write_text("no socket")
            os.symlink(INIT, f"{PATH}.lock")
            os.utime(f"{PATH}.lock", (1, 1), follow_symlinks=False)
            self.assertRaises(ListenerError, place, PATH)
            self.assertEqual(Path(PATH).read_text(), "no socket")
            with contextlib.suppress(FileNotFoundError):
                os.remove(f"{PATH}.lock")

    def test_none(self) -> None:
        """Without a lock nobody is asked."""
        self.assertTrue(disown(PATH))
        self.assertEqual(os.listdir(), [])
