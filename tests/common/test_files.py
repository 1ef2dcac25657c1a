"""Owns the checks of how named files are read: once, bounded, and without waiting."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common import files
from nymearemoteproxy.common.files import Files, openToWrite, readFile


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

    def test_nobodyWrites(self) -> None:
        """Who was to write does not come, or does not go on: it is not waited for any longer."""
        self.patch(files, "PATIENCE", 0.01)
        os.mkfifo(self.path)
        self.assertRefused("nothing came from it", self.path, True)
        writer = os.open(self.path, os.O_RDWR)
        self.addCleanup(os.close, writer)
        os.write(writer, b"the beginning")
        self.assertRefused("nothing came from it", self.path, True)

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


class OpenToWriteTests(FileCase):
    """A file that is written to."""

    def test_file(self) -> None:
        """It is made, and appended to."""
        for content in b"one\n", b"two\n":
            descriptor = openToWrite(self.path, os.O_CREAT | os.O_APPEND)
            os.write(descriptor, content)
            os.close(descriptor)
        self.assertEqual(Path(self.path).read_bytes(), b"one\ntwo\n")
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)

    def test_doesNotWait(self) -> None:
        """Neither for a pipe's reader to come, nor for one to read."""
        os.mkfifo(self.path)
        self.assertRaises(OSError, openToWrite, self.path, os.O_APPEND)
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        descriptor = openToWrite(self.path, os.O_APPEND)
        self.addCleanup(os.close, descriptor)
        with self.assertRaises(BlockingIOError):
            while True:
                os.write(descriptor, bytes(1 << 16))


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
