"""Who is let in."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

from nymearemoteproxy.running.options import FAILED, ServerOptions
from tests.support.configured import ConfigurationCase, RereadCase


class BareTests(ConfigurationCase):
    """The command without options."""

    def test_token(self) -> None:
        """A random token is made, another one in each run, and it is the one accepted."""
        first, second = self.configured(), self.configured()
        for configured in (first, second):
            assert configured.generatedToken is not None
            self.assertGreaterEqual(len(configured.generatedToken), 32)
            self.assertEqual(configured.acceptedTokens, [configured.generatedToken])
        self.assertNotEqual(first.generatedToken, second.generatedToken)


class OptionTests(ConfigurationCase):
    """Tokens on the command line."""

    def test_tokens(self) -> None:
        """Given tokens and a file's come together."""
        path = self.write("# mine\nthird\n")
        options = ServerOptions()
        options.parseOptions(["--token", "first", "--token", "second", "--token-file", path])
        self.assertEqual(options.configuration.acceptedTokens, ["first", "second", "third"])
        self.assertIsNone(options.configuration.generatedToken)
        Path(path).write_text("fourth\n")
        after, _problems = options.reread()
        self.assertEqual(after.acceptedTokens, ["first", "second", "fourth"])

    def test_tokenFiles(self) -> None:
        """Those of several files come together; what the settings name does not count then."""
        one, two, other = self.write("first\n"), self.write("second\n"), self.write("other\n")
        configured = self.configured(
            *("--token-file", one, "--token-file", two),
            *("--set", f"Authentication.tokenFile={other}"),
        )
        self.assertEqual(configured.acceptedTokens, ["first", "second"])
        empty = self.write("")
        text = self.assertMistake("--token-file", empty, "--token-file", two, status=FAILED)
        self.assertIn(empty, text)

    def test_acceptAnyToken(self) -> None:
        """No token is made then."""
        configured = self.configured("--accept-any-token")
        self.assertTrue(configured.acceptAnyToken)
        self.assertIsNone(configured.generatedToken)
        self.assertIsNone(configured.acceptedTokens)

    def test_notInBackground(self) -> None:
        """Nobody would see a generated token there."""
        options = ServerOptions()
        options.parent = {"nodaemon": False}
        with contextlib.redirect_stderr(io.StringIO()):
            mistake = self.assertRaises(SystemExit, options.parseOptions, [])
        self.assertIn("nobody would see", str(mistake))
        for arguments in (["--token", "x"], ["--server", "http://a"], ["--accept-any-token"]):
            options = ServerOptions()
            options.parent = {"nodaemon": False}
            options.parseOptions(arguments)
        options = ServerOptions()
        options.parent = {"nodaemon": True}
        options.parseOptions([])
        self.assertIsNotNone(options.configuration.generatedToken)

    def test_inBackground(self) -> None:
        """It needs no tokens, so that it may do without; nobody gets in with one then."""
        options = ServerOptions()
        options.parent = {"nodaemon": False}
        options.parseOptions(["--tunnelproxy"])
        configured = options.configuration
        self.assertIsNone(configured.generatedToken)
        self.assertEqual(configured.acceptedTokens, [])
        (warning,) = configured.warnings
        self.assertIn("no authentication", warning)
        options = ServerOptions()
        options.parent = {"nodaemon": False}
        options.parseOptions(["--tunnelproxy", "--token", "x"])
        self.assertEqual(list(options.configuration.warnings), [])
        self.assertIsNotNone(self.configured("--tunnelproxy").generatedToken)

    def test_inBackgroundWithTokens(self) -> None:
        """A tunnel proxy that asks for tokens is of no use without."""
        for proven in ("servers", "everybody"):
            options = ServerOptions()
            options.parent = {"nodaemon": False}
            arguments = ["--tunnelproxy", f"--set=TunnelProxy.authentication={proven}"]
            with contextlib.redirect_stderr(io.StringIO()):
                mistake = self.assertRaises(SystemExit, options.parseOptions, arguments)
            self.assertIn("nobody would see", str(mistake))


class TogetherTests(ConfigurationCase):
    """What goes together, and what does not."""

    def test_credentials(self) -> None:
        """The first line of the file is the password."""
        path = self.write("\ufeff\r\n s:cret €\r\nsecond line\n")
        file = f"[Authentication]\nserver=http://a\nclientId=me\nclientSecretFile={path}\n"
        self.assertEqual(self.configured(file=file).credentials, ("me", "s:cret €"))

    def test_pairingBySubject(self) -> None:
        """Only who names accounts may let in, and only one: two may mean others by a name."""
        option = ("--set", "Authentication.pairing=subject")
        server = ("--server", "http://a")
        self.configured(*option, *server)
        for more in ((), ("--token", "x"), ("--accept-any-token",)):
            self.assertIn("subject", self.assertMistake(*option, *more))
        self.assertIn("subject", self.assertMistake(*option, *server, "--token", "x"))
        keys = ("--set", "Authentication.jwks=https://a/")
        self.configured(*option, *keys)
        for more in (server, ("--token", "x")):
            self.assertIn("subject", self.assertMistake(*option, *keys, *more))

    def test_acceptAnyTokenStandsAlone(self) -> None:
        """It never opens a server for which somebody thought about who may in."""
        tokens = ("--token-file", self.write("token"))
        keys = ("--set", "Authentication.jwks=https://a/")
        for more in (("--server", "http://a"), ("--token", "x"), tokens, keys):
            self.assertIn("everybody", self.assertMistake("--accept-any-token", *more))

    def test_secretsAreNotShown(self) -> None:
        """What is printed of a configuration, by whatever mistake, holds no token."""
        shown = repr(self.configured("--token", "s3cr3t"))
        self.assertNotIn("s3cr3t", shown)
        generated = self.configured()
        assert generated.generatedToken is not None
        self.assertNotIn(generated.generatedToken, repr(generated))


class MistakeTests(ConfigurationCase):
    """Whatever the operator does wrong is told in one line."""

    def test_credentials(self) -> None:
        """User and password go together, and the password must be readable."""
        path = self.write("secret\n")
        missing = os.path.abspath(self.mktemp())
        user, file = "Authentication.clientId", "Authentication.clientSecretFile"
        self.assertIn("needs clientSecretFile, too", self.assertMistake("--set", f"{user}=me"))
        self.assertIn("needs clientId, too", self.assertMistake("--set", f"{file}={path}"))
        for wrong, word in ((missing, "No such file"), (self.write(b"\xff"), "UTF-8")):
            text = self.assertMistake(
                "--set", f"{user}=me", "--set", f"{file}={wrong}", status=FAILED
            )
            self.assertIn(wrong, text)
            self.assertIn(word, text)

    def test_tokenThatIsNoText(self) -> None:
        """An argument that is not UTF-8 (Python marks the bytes) can be no client's token."""
        self.assertMistake("--token", os.fsdecode(b"caf\xe9"))


class RereadTests(RereadCase):
    """Everything is read anew; what is broken stays as it was."""

    def test_fromAListToNothing(self) -> None:
        """The file took away all authentication: that cannot be meant."""
        tokens = self.write("t")
        self.file.write_text(f"[Authentication]\ntokenFile={tokens}\n")
        options = self.options()
        self.file.write_text("")
        for _ in range(2):
            after, problems = options.reread()
            self.assertEqual(
                problems, ["the settings stay as they were: no authentication is given any more"]
            )
            self.assertEqual(after.acceptedTokens, ["t"])

    def test_fromNothingToAList(self) -> None:
        """The token that was made is no longer let in, unless the list is broken."""
        options = self.options()
        made = options.configuration.generatedToken
        self.file.write_text("[Authentication]\ntokenFile=/nonexistent\n")
        after, problems = options.reread()
        self.assertEqual(len(problems), 1)
        self.assertEqual(after.acceptedTokens, [made])
        self.file.write_text(f"[Authentication]\ntokenFile={self.write('t')}\n")
        after, problems = options.reread()
        self.assertEqual((after.acceptedTokens, problems), (["t"], []))

    def test_brokenListBesideServer(self) -> None:
        """A list that was never read lets nobody in."""
        options = self.options("--server", "http://a/")
        self.file.write_text("[Authentication]\ntokenFile=/nonexistent\n")
        after, problems = options.reread()
        self.assertEqual(len(problems), 1)
        self.assertEqual(after.acceptedTokens, [])

    def test_inTheBackground(self) -> None:
        """The tunnel proxy alone needs no tokens, then and now; the warning is told again."""
        options = self.options("--tunnelproxy", parent={"nodaemon": False})
        before = options.configuration
        after, problems = options.reread()
        self.assertEqual((after.acceptedTokens, problems), ([], []))
        self.assertEqual(after.warnings, before.warnings)
        self.assertEqual(len(after.warnings), 1)

    def test_secretForAnotherServer(self) -> None:
        """The old secret is never sent to a server it was not meant for."""
        secret = Path(self.write("secret"))
        head = f"[Authentication]\nclientId=i\nclientSecretFile={secret}\n"
        self.file.write_text(f"{head}server=https://one.example\n")
        options = self.options()
        secret.unlink()
        _after, problems = options.reread()
        self.assertIn("the client secret stays as it was", problems[0])
        self.file.write_text(f"{head}server=https://two.example\n")
        after, problems = options.reread()
        self.assertEqual(after.settings.authentication.server, "https://one.example")
        self.assertEqual(after.credentials, ("i", "secret"))
        self.assertIn("the settings stay as they were: a new authentication server", problems[0])
