"""Where the client's token comes from, and what is part of it."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.options import TOKEN_VARIABLE, ClientOptions


class TokenTests(SynchronousTestCase):
    """The token, from a file or from the environment."""

    def token(self, *arguments: str) -> str:
        """Return the token that the options amount to."""
        options = ClientOptions()
        options.parseOptions(["--url", "ws://localhost:1", *arguments])
        token: str = options["token"]
        return token

    def file(self, content: bytes) -> str:
        """Return the option for a file with this content."""
        path = self.mktemp()
        Path(path).write_bytes(content)
        return f"--token-file={path}"

    def setVariable(self, content: bytes) -> None:
        """Have the variable hold this."""
        self.patch(os, "environb", {TOKEN_VARIABLE.encode(): content})

    def test_file(self) -> None:
        """The first entry of a list as the server reads it."""
        for content in (
            b"t\xc3\xb6ken",
            b"\xef\xbb\xbft\xc3\xb6ken\r\n",
            b"\r\n# mine\r\n  t\xc3\xb6ken \r\nanother\n",
        ):
            self.assertEqual(self.token(self.file(content)), "töken")
        token = "a\u2028b\x0cc"
        self.assertEqual(self.token(self.file(token.encode())), token)

    def test_pipe(self) -> None:
        """The shell's <(...) can be read once."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.write(writing, b"t\n")
        os.close(writing)
        self.assertEqual(self.token(f"--token-file=/dev/fd/{reading}"), "t")

    def test_variable(self) -> None:
        """A line feed at the end, or whatever else an editor put around it, is no part of it."""
        for content in b"#t", b"#t\n", b"#t\r\n", b"\xef\xbb\xbf#t", b"\n #t\n":
            self.setVariable(content)
            self.assertEqual(self.token(), "#t")

    def test_mistakes(self) -> None:
        """What holds no token, or cannot be read, is named."""
        for content, said in (
            (b"", "no token: give"),
            (b"\xef\xbb\xbf\r\n# none\n", "no token: give"),
            (b"\xff", "--token-file: not UTF-8"),
            (b"-----BEGIN X-----\n", "--token-file: it is a certificate or a key and no list"),
        ):
            error = self.assertRaises(usage.UsageError, self.token, self.file(content))
            self.assertIn(said, str(error))
        for content, said in (
            (b"", "no token: give"),
            (b" \n", "no token: give"),
            (b"\xff", f"{TOKEN_VARIABLE}: not UTF-8"),
        ):
            self.setVariable(content)
            self.assertIn(said, str(self.assertRaises(usage.UsageError, self.token)))
        error = self.assertRaises(usage.UsageError, self.token, "--token-file=/dev/zero")
        self.assertIn("larger than 16 MiB", str(error))
