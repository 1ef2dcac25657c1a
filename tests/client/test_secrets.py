"""Where the client's token comes from, and what is part of it."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.options import TOKEN_VARIABLE, ClientOptions

UUID = "6c5e0ed2-6a3d-4a3f-8a0e-3d4f3f5b6a01"


class TokenTests(SynchronousTestCase):
    """The token, from a file or from the environment."""

    def token(self, *arguments: str) -> str | None:
        """Return the token that the options amount to."""
        options = ClientOptions()
        options.parseOptions(["--url", "ws://localhost:1", *arguments])
        token: str | None = options["token"]
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

    def test_tunnelProxy(self) -> None:
        """There it is shown if there is one; an empty one is a mistake all the same."""
        published = ("--serve=x", "--forward=127.0.0.1:1")
        for way in (published, ("--server-uuid=x",)):
            for content, expected in ((b"#t\n", "#t"), (b"", None), (b" \n", None)):
                self.setVariable(content)
                self.assertEqual(self.token(*way), expected)
            self.assertEqual(self.token(*way, self.file(b"t\n")), "t")
            self.assertEqual(self.token(*way, "--token=t"), "t")
            for empty in (self.file(b"# none\n"), "--token="):
                error = self.assertRaises(usage.UsageError, self.token, *way, empty)
                self.assertIn("no token: give", str(error))

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


class OpenFileTests(SynchronousTestCase):
    """Files with secrets that every user of the machine may read."""

    def file(self, content: str, mode: int = 0o644) -> str:
        """Return the path of a file with this content and mode."""
        path = Path(self.mktemp())
        path.write_text(content)
        path.chmod(mode)
        return str(path)

    def warnings(self, *arguments: str) -> list[str]:
        """Return what is said at a start with these options."""
        options = ClientOptions()
        options.parseOptions(list(arguments))
        return options.warnings()

    def test_tokenFile(self) -> None:
        url = "--url=ws://localhost:1"
        for mode in 0o604, 0o602, 0o666:
            path = self.file("t\n", mode)
            self.assertEqual(
                self.warnings(url, "--token-file", path),
                [
                    f"the token file {path} is open to every user of this machine; mend that "
                    f"with: chmod o= {path}"
                ],
            )
        self.assertEqual(self.warnings(url, "--token-file", self.file("t\n", 0o660)), [])
        self.assertEqual(self.warnings(url, "--token", "t"), [])

    def test_configuration(self) -> None:
        """Only one with a secret in it, and that is not told."""
        token = self.file("t\n", 0o600)
        url = "url = ws://localhost:1\n"
        for lines, isSecret in (
            ("token = s3cret\n", True),
            (f"token-file = {token}\nproxy = http://anna:s3cret@localhost:1\n", True),
            (f"token-file = {token}\nproxy = http://localhost:1\n", False),
        ):
            path = self.file(url + lines)
            (*found,) = self.warnings("--configuration", path)
            self.assertEqual(len(found), isSecret, lines)
            self.assertNotIn("s3cret", str(found))
            if isSecret:
                self.assertIn(f"the configuration file {path} is open", found[0])
            Path(path).chmod(0o600)
            self.assertEqual(self.warnings("--configuration", path), [])

    def test_both(self) -> None:
        """One line each."""
        token, key = self.file("t\n"), self.file("")
        path = self.file(f"url = ws://localhost:1\ntoken-file = {token}\n")
        served = ("--serve", UUID, "--forward", "localhost:1", "--end-to-end")
        files = ("--end-certificate", self.file(""), "--end-key", key)
        found = self.warnings("--configuration", path, *served, *files)
        self.assertEqual(
            [each.split(" is open")[0] for each in found],
            [f"the token file {token}", f"the certificate key {key}"],
        )
