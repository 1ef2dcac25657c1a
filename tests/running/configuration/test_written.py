"""Files that a start would write: they are found wanting, and not made."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.accounting.bookkeeping import Books
from nymearemoteproxy.running.configuration.books import makeBooks
from nymearemoteproxy.running.configuration.mistakes import Mistakes, SeveralMistakes
from nymearemoteproxy.running.configuration.written import checkSockets, checkWritten
from nymearemoteproxy.running.settings.errors import FileError
from nymearemoteproxy.running.settings.values import Settings


class WrittenTests(SynchronousTestCase):
    """The log file, and those of the accounting."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.books: Books = makeBooks(Settings())

    def mistake(self, path: str) -> str:
        """Return what is said of a log file; empty if nothing is."""
        mistakes = Mistakes()
        checkWritten(self.books, path, mistakes)
        return str(self.assertRaises(FileError, mistakes.refuse)) if mistakes else ""

    def test_none(self) -> None:
        """There need not be any."""
        mistakes = Mistakes()
        checkWritten(self.books, None, mistakes)
        self.assertFalse(mistakes)

    def test_good(self) -> None:
        """One that is there and one that is not stay as they are."""
        there = self.directory / "there"
        there.write_text("before")
        self.assertEqual(self.mistake(str(there)), "")
        self.assertEqual(self.mistake(str(self.directory / "new")), "")
        self.assertEqual([path.name for path in self.directory.iterdir()], ["there"])
        self.assertEqual(there.read_text(), "before")

    def test_bad(self) -> None:
        """No directory, or something else in the place of the file."""
        for path, why in (
            (self.directory / "no" / "file", "No such file or directory"),
            (self.directory, "Is a directory"),
        ):
            self.assertEqual(self.mistake(str(path)), f"cannot write the log file {path}: {why}")

    def test_link(self) -> None:
        """It is the file it leads to that is made."""
        (link := self.directory / "link").symlink_to(self.directory / "new")
        self.assertEqual(self.mistake(str(link)), "")
        (lost := self.directory / "lost").symlink_to(self.directory / "no" / "file")
        self.assertIn(f"log file {lost}: No such file", self.mistake(str(lost)))

    def test_forbidden(self) -> None:
        """A directory in which this user may not make a file."""
        self.patch(os, "access", lambda path, mode: False)
        self.assertIn("this user may not make a file in", self.mistake(str(self.directory / "x")))

    def test_accounting(self) -> None:
        """Each of its files is told."""
        self.books = replace(self.books, tunnelLog="/no/tunnels", statisticsLog="/no/statistics")
        mistakes = Mistakes()
        checkWritten(self.books, "/no/log", mistakes)
        text = str(self.assertRaises(SeveralMistakes, mistakes.refuse))
        for what in "log file /no/log", "tunnel log /no/tunnels", "statistics log /no/statistics":
            self.assertIn(f"cannot write the {what}: ", text)


class SocketTests(SynchronousTestCase):
    """Unix sockets that a start would make."""

    def mistake(self, path: str | None) -> str:
        """Return what is said of one; empty if nothing is."""
        mistakes = Mistakes()
        checkSockets([None, "", path], mistakes)
        return str(self.assertRaises(FileError, mistakes.refuse)) if mistakes else ""

    def test_directory(self) -> None:
        """It has to be there, but for one that systemd makes at the start."""
        directory = Path(self.mktemp()).absolute()
        path = str(directory / "socket")
        self.assertEqual(
            self.mistake(path), f"cannot listen on {path}: there is no directory {directory}"
        )
        directory.mkdir()
        for good in path, "/run/nymea-remoteproxy-is-not-there/socket", "/run/socket":
            self.assertEqual(self.mistake(good), "")
        Path(path).touch()
        self.assertIn("something else already", self.mistake(path))
        Path(path).unlink()
        self.assertIn("no directory", self.mistake("/run/nymea-remoteproxy-is-not-there/a/socket"))
        self.patch(os, "access", lambda path, mode: False)
        self.assertIn("this user may not make a file in", self.mistake(path))
