"""Owns the checks of files with one entry per line."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.lists import readList


class ReadListTests(SynchronousTestCase):
    """What is an entry."""

    def read(self, content: bytes) -> list[str]:
        """Read a file with this content."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(content)
        return readList(path)

    def test_entries(self) -> None:
        """In order, each as often as it is there, without the white space around it."""
        self.assertEqual(
            self.read(b"b\n a\t\r\nb\nwith space\nc#d"), ["b", "a", "b", "with space", "c#d"]
        )

    def test_noEntries(self) -> None:
        """Empty lines and comments do not count; a file may have no entry at all."""
        for content in (
            b"",
            b"\n",
            b" \n\t\n",
            b"#\n  # comment\n",
            b"\xef\xbb\xbf",
            b"\xef\xbb\xbf# a",
        ):
            self.assertEqual(self.read(content), [], content)

    def test_byteOrderMark(self) -> None:
        """A mark that an editor put at the beginning is no part of the first entry."""
        self.assertEqual(self.read(b"\xef\xbb\xbffirst\nzw\xc3\xb6lf"), ["first", "zwölf"])

    def test_unreadable(self) -> None:
        """What is missing or no UTF-8 is told apart, with the name of the file."""
        path = self.mktemp()
        self.assertEqual(self.assertRaises(OSError, readList, path).filename, path)
        self.assertRaises(UnicodeDecodeError, self.read, b"caf\xe9\n")
