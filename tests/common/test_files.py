"""Owns the checks of how named files are read: once, bounded, and without waiting."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common import files
from nymearemoteproxy.common.files import Files, readFile


class FileCase(SynchronousTestCase):
    """Helpers."""

    def setUp(self) -> None:
        self.path = self.mktemp()

    def pipe(self, content: bytes) -> str:
        """Return a path such as the shell's <(...) has."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.write(writing, content)
        os.close(writing)
        return f"/dev/fd/{reading}"

    def assertRefused(self, said: str, path: str, mayWait: bool) -> None:
        """It cannot be read, and this is why."""
        error = self.assertRaises(OSError, readFile, path, mayWait)
        self.assertEqual(error.filename, path)
        self.assertIn(said, error.strerror)


class ReadFileTests(FileCase):
    """One file."""

    def test_content(self) -> None:
        """All of it, whoever may wait."""
        Path(self.path).write_bytes(b"a\r\n\x00\xff")
        for mayWait in (True, False):
            self.assertEqual(readFile(self.path, mayWait), b"a\r\n\x00\xff")

    def test_noSuchFile(self) -> None:
        """The system says why."""
        for mayWait in (True, False):
            self.assertRefused("No such file or directory", self.path, mayWait)
            self.assertRefused("Is a directory", "/", mayWait)

    def test_pipe(self) -> None:
        """At the start it is read to its end."""
        self.assertEqual(readFile(self.pipe(b"secret")), b"secret")

    def test_waits(self) -> None:
        """At the start, for whoever is to write."""
        os.mkfifo(self.path)
        writer = threading.Thread(target=Path(self.path).write_bytes, args=(b"late",))
        writer.start()
        self.assertEqual(readFile(self.path), b"late")
        writer.join()

    def test_doesNotWait(self) -> None:
        """Later a pipe is refused, with and without somebody at its other end."""
        os.mkfifo(self.path)
        self.assertRefused("no regular file", self.path, False)
        writer = os.open(self.path, os.O_RDWR)
        self.addCleanup(os.close, writer)
        self.assertRefused("no regular file", self.path, False)
        self.assertRefused("no regular file", "/dev/null", False)

    def test_endless(self) -> None:
        """It is not read to the end of memory."""
        self.patch(files, "MAX_SIZE", 3 << 20)
        self.assertRefused("larger than 3 MiB", "/dev/zero", True)
        Path(self.path).write_bytes(bytes(3 << 20))
        self.assertEqual(len(readFile(self.path)), 3 << 20)
        Path(self.path).write_bytes(bytes((3 << 20) + 1))
        for mayWait in (True, False):
            self.assertRefused("larger than 3 MiB", self.path, mayWait)


class FilesTests(FileCase):
    """Several of them."""

    def test_once(self) -> None:
        """What is asked for twice is the same, though the file has changed, or was a pipe."""
        path = self.pipe(b"secret")
        read = Files(mayWait=True).read
        self.assertEqual([read(path), read(path)], [b"secret", b"secret"])
        for mayWait in (True, False):
            Path(self.path).write_bytes(b"old")
            read = Files(mayWait).read
            self.assertEqual(read(self.path), b"old")
            Path(self.path).write_bytes(b"new")
            self.assertEqual(read(self.path), b"old")

    def test_doesNotWait(self) -> None:
        """Unless it may."""
        self.assertRaises(OSError, Files(mayWait=False).read, self.pipe(b"secret"))
