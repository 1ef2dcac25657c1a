"""Owns the checks of files with one entry per line."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.lists import parseList, parseSecret, parseUsers


class ParseListTests(SynchronousTestCase):
    """What is an entry."""

    def test_entries(self) -> None:
        """In order, each as often as it is there, without the blanks around it."""
        self.assertEqual(
            parseList(b"b\n a\t\r\nb\nwith space\nc#d"), ["b", "a", "b", "with space", "c#d"]
        )

    def test_noEntries(self) -> None:
        """Empty lines and comments do not count; a file may have no entry at all."""
        for content in (
            b"",
            b"\n",
            b" \n\t\n",
            b"\r\n\r\n",
            b"#\n  # comment\n",
            b"\xef\xbb\xbf",
            b"\xef\xbb\xbf# a",
        ):
            self.assertEqual(parseList(content), [], content)

    def test_byteOrderMark(self) -> None:
        """A mark that an editor put at the beginning is no part of the first entry."""
        self.assertEqual(parseList(b"\xef\xbb\xbffirst\nzw\xc3\xb6lf"), ["first", "zwölf"])

    def test_whereLinesEnd(self) -> None:
        """Only at line feeds, whatever else Unicode, Python or an old computer takes for an end."""
        for end in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029":
            entry = f"one{end}two"
            self.assertEqual(parseList(f"{entry}\nthree\r\n".encode()), [entry, "three"])

    def test_whatIsAround(self) -> None:
        """Only blanks and tabs do not belong to an entry."""
        for character in "\x00\x1f\x7f\xa0\u3000":
            entry = f"{character}x{character}"
            self.assertEqual(parseList(f" {entry}\t\n".encode()), [entry])

    def test_notUtf8(self) -> None:
        self.assertRaises(UnicodeDecodeError, parseList, b"caf\xe9\n")

    def test_certificateOrKey(self) -> None:
        """PEM is no list, whatever stands before it: its lines would be taken for secrets."""
        for content in (
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            b"Bag Attributes\r\n  friendlyName: x\r\n-----BEGIN PRIVATE KEY-----\r\nMIIB\r\n",
            b"# mine\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n",
        ):
            for parse in (parseList, parseUsers):
                error = self.assertRaises(ValueError, parse, content)
                self.assertEqual(str(error), "it is a certificate or a key and no list")

    def test_configuration(self) -> None:
        """An INI file is no list, which begins with a section."""
        for content in b"[ProxyServer]\nname = x\n", b"; x\n# y\n[A b]\n":
            error = self.assertRaises(ValueError, parseList, content)
            self.assertEqual(str(error), "it is an INI file and no list")

    def test_likeOtherFiles(self) -> None:
        """What only looks a bit like them is an entry as any other."""
        entries = ["-----BEGIN", "x-----BEGIN A-----", "[a1]", "[]", "[a]b", "[a]"]
        self.assertEqual(parseList("\n".join(entries).encode()), entries)


class ParseSecretTests(SynchronousTestCase):
    """Files with one secret."""

    def test_firstLine(self) -> None:
        """The first one that is not empty, without a mark, blanks around it and its line end."""
        for content in (
            "s:cret €",
            "s:cret €\n",
            "\ufeffs:cret €\r\nnot this\n",
            "\n\r\n \t\n s:cret €\t\n\n",
        ):
            self.assertEqual(parseSecret(content.encode()), "s:cret €", content)

    def test_anyCharacter(self) -> None:
        """It has no comments, so that a password may begin with #; lines end at line feeds only."""
        self.assertEqual(parseSecret(b"#1\x0cx\xe2\x80\xa8\nb"), "#1\x0cx\u2028")

    def test_empty(self) -> None:
        """An empty password is hardly meant."""
        for content in b"", b"\n", b" \r\n\t", b"\xef\xbb\xbf\n":
            self.assertRaisesRegex(ValueError, "it is empty", parseSecret, content)

    def test_notUtf8(self) -> None:
        self.assertRaises(UnicodeDecodeError, parseSecret, b"\xff")


class ParseUsersTests(SynchronousTestCase):
    """Files with passwords. More is in test_admin_access."""

    def test_mistakes(self) -> None:
        """The line is told by its number, and not repeated."""
        for content, said in (
            (b"# a\n\nme:x\nsecret\n", "line 4 is not user:password"),
            (b":secret", "line 1 is not"),
            (b"secret:", "line 1 is not"),
            (b"me:secret\nme:secret2", "line 2 gives somebody a second password"),
            (b"# nobody", "names nobody"),
        ):
            text = str(self.assertRaises(ValueError, parseUsers, content))
            self.assertIn(said, text)
            self.assertNotIn("secret", text)
