"""The directory with the sockets of links, and those of servers that were killed."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.listening.listeners import ListenerError
from nymearemoteproxy.workers import socketdirectory
from nymearemoteproxy.workers.socketdirectory import PREFIX, SocketDirectory


class DirectoryCase(SynchronousTestCase):
    """A place for them."""

    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="place-"))
        self.addCleanup(shutil.rmtree, self.place)
        self.patch(tempfile, "tempdir", str(self.place))

    def make(self) -> SocketDirectory:
        """Return that of a server that has started."""
        made = SocketDirectory()
        made.make()
        self.addCleanup(made.close)
        return made

    def abandon(self, name: str = f"{PREFIX}1234_abc", *sockets: str) -> Path:
        """Return what a server that was killed has left."""
        path = self.place / name
        path.mkdir(0o700)
        for each in sockets:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path / each))
        return path


class LifeTests(DirectoryCase):
    """What is left when."""

    def test_own(self) -> None:
        """Only we get in; a start of another server leaves it alone; it goes with its own."""
        one = self.make()
        self.assertEqual(os.stat(one.path).st_mode & 0o777, 0o700)
        (Path(one.path) / "socket").touch()
        two = self.make()
        self.assertEqual({str(path) for path in self.place.iterdir()}, {one.path, two.path})
        mine = one.path
        one.close()
        self.assertEqual([str(path) for path in self.place.iterdir()], [two.path])
        one.close()
        self.assertFalse(os.path.exists(mine))

    def test_remove(self) -> None:
        """A socket, if it is there; also when the directory is gone."""
        made = self.make()
        path = Path(made.path, "socket")
        path.touch()
        made.remove("socket")
        self.assertFalse(path.exists())
        made.remove("socket")
        made.close()
        made.remove("socket")

    def test_abandoned(self) -> None:
        """What a server left that was killed is removed by the next one, with its sockets."""
        self.abandon()
        self.abandon(f"{PREFIX}12345678", "one", "two")
        made = self.make()
        self.assertEqual([str(path) for path in self.place.iterdir()], [made.path])

    def test_others(self) -> None:
        """What may be anybody's stays: another name, other files, another user's, no directory."""
        left = {self.abandon(f"{PREFIX}2.0.0"), self.abandon(f"{PREFIX}12345678", "socket")}
        (self.place / f"{PREFIX}12345678" / "notes").touch()
        file, link = (self.place / f"{PREFIX}{suffix}" for suffix in ("0000file", "0000link"))
        file.touch()
        link.symlink_to(self.abandon("elsewhere"))
        left |= {file, link, self.place / "elsewhere"}
        made = self.make()
        self.assertEqual(set(self.place.iterdir()), left | {Path(made.path)})
        self.assertTrue((self.place / f"{PREFIX}12345678" / "socket").exists())
        theirs = self.abandon()
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        self.make()
        self.assertTrue(theirs.exists())

    def test_raced(self) -> None:
        """One that another server removes before it is locked, or has locked: one more is made."""
        lockOf, failures = socketdirectory._lockOf, [shutil.rmtree, self.lock]

        def raced(path: str) -> int | None:
            if failures:
                failures.pop()(path)
            return lockOf(path)

        self.patch(socketdirectory, "_lockOf", raced)
        made = self.make()
        self.assertEqual(failures, [])
        self.assertTrue(os.path.exists(made.path))

    def lock(self, path: Any) -> None:
        """Be another server that has it, while this test runs."""
        descriptor = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def test_removedWhileLocked(self) -> None:
        """The other server may have removed it between our opening it and our lock."""
        flock, isFirst = fcntl.flock, [True]

        def late(descriptor: int, how: int) -> None:
            if isFirst:
                isFirst.clear()
                os.rmdir(os.readlink(f"/proc/self/fd/{descriptor}"))
            flock(descriptor, how)

        self.patch(fcntl, "flock", late)
        made = self.make()
        self.assertEqual([str(path) for path in self.place.iterdir()], [made.path])

    def test_noLocks(self) -> None:
        """A file system without locks is no place for it, and nothing stays open."""

        def refuse(_descriptor: int, _how: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        self.patch(fcntl, "flock", refuse)
        before = os.listdir("/proc/self/fd")
        error = self.assertRaises(ListenerError, SocketDirectory().make)
        self.assertIn("No locks available", str(error))
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_cannotList(self) -> None:
        """Who may not look what is in the place may still make one there."""

        def refuse(_path: str) -> list[str]:
            raise PermissionError(errno.EACCES, "no")

        left = self.abandon()
        patched = self.patch(os, "listdir", refuse)
        made = self.make()
        patched.restore()
        self.assertEqual(set(self.place.iterdir()), {left, Path(made.path)})
