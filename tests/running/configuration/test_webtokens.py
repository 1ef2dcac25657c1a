"""Whose JSON Web Tokens let in."""

from __future__ import annotations

import os
from pathlib import Path

from nymearemoteproxy.authentication.webtokens import Demands
from nymearemoteproxy.running.options import FAILED
from tests.support.configured import ConfigurationCase, RereadCase
from tests.support.issuers import IssuerKey, keySet

FILE = """\
[Authentication]
jwks = {}
issuer = https://id.example/realms/home
audience = proxy, other
"""


class WebTokenTests(ConfigurationCase):
    """What is demanded, and by which keys."""

    def test_url(self) -> None:
        """The keys are fetched later; no token is made."""
        configured = self.configured(file=FILE.format("https://id.example/keys"))
        made = configured.webTokens
        assert made is not None
        self.assertEqual((made.url, made.keys), ("https://id.example/keys", None))
        self.assertEqual(
            made.demands,
            Demands("https://id.example/realms/home", ("proxy", "other"), "sub", 30.0),
        )
        self.assertIsNone(configured.generatedToken)
        self.assertIsNone(configured.acceptedTokens)
        self.assertEqual(list(configured.warnings), [])

    def test_file(self) -> None:
        """The keys are read at once."""
        path = self.write(keySet([IssuerKey("ES256", "one")]))
        made = self.configured(file=FILE.format(path)).webTokens
        assert made is not None and made.keys is not None
        self.assertEqual(made.url, "")
        self.assertEqual([key.id for key in made.keys.keys], ["one"])

    def test_more(self) -> None:
        """Another claim, another leeway."""
        more = "subjectClaim = cognito:username\nleeway = 0\n"
        made = self.configured(file=FILE.format("https://id.example/keys") + more).webTokens
        assert made is not None
        self.assertEqual(made.demands.subjectClaim, "cognito:username")
        self.assertEqual(made.demands.leeway, 0)

    def test_none(self) -> None:
        """Without keys there is nothing of it."""
        self.assertIsNone(self.configured("--token", "t").webTokens)

    def test_withTokens(self) -> None:
        """Tokens of a list count besides."""
        keys = ("--set", "Authentication.jwks=https://a/")
        configured = self.configured("--token", "t", *keys)
        self.assertEqual(configured.acceptedTokens, ["t"])
        self.assertIsNotNone(configured.webTokens)

    def test_warnings(self) -> None:
        """What lets in more than was meant, perhaps."""
        warnings = self.configured("--set", "Authentication.jwks=https://a/").warnings
        self.assertEqual(len(warnings), 2)
        self.assertIn("issuer is not set", warnings[0])
        self.assertIn("audience is not set", warnings[1])
        (warning,) = self.configured(file=FILE.format("http://id.example/keys")).warnings
        self.assertIn("without TLS", warning)
        for url in ("HTTPS://id.example/", "http://127.0.0.1:8080/", "http://localhost/"):
            self.assertEqual(list(self.configured(file=FILE.format(url)).warnings), [])


class MistakeTests(ConfigurationCase):
    """Whatever the operator does wrong is told in one line."""

    def test_urls(self) -> None:
        """What cannot be asked; nothing of it is repeated."""
        for url in ("ftp://a/secret", "https://secret@a/", "https://a/#secret", "file:///secret"):
            text = self.assertMistake(file=FILE.format(url))
            self.assertIn("[Authentication] jwks cannot be used", text)
            self.assertNotIn("secret", text)

    def test_files(self) -> None:
        """What cannot be read, and what is no key set."""
        for path, word in (
            (os.path.abspath(self.mktemp()), "No such file"),
            (self.write("secret"), "JSON"),
            (self.write(keySet([])), "no key is of use"),
            (self.write(keySet([IssuerKey("RS256", bits=1024)])), "bits"),
        ):
            text = self.assertMistake(file=FILE.format(path), status=FAILED)
            self.assertIn(f"the key set {path}", text)
            self.assertIn(word, text)
            self.assertNotIn("secret", text)

    def test_alone(self) -> None:
        """What is of no use without keys: somebody believes that it protects."""
        for key in ("issuer", "audience"):
            text = self.assertMistake("--token", "t", "--set", f"Authentication.{key}=x")
            self.assertIn(f"{key} is of no use without jwks", text)

    def test_subjectClaim(self) -> None:
        """There is no claim without a name."""
        keys = ("--set", "Authentication.jwks=https://a/")
        text = self.assertMistake(*keys, "--set", "Authentication.subjectClaim=")
        self.assertIn("subjectClaim", text)


class RereadTests(RereadCase):
    """Everything is read anew; what is broken stays as it was."""

    def setUp(self) -> None:
        super().setUp()
        self.keys = Path(self.write(keySet([IssuerKey("ES256", "one")])))
        self.file.write_text(FILE.format(self.keys))

    def test_newKeys(self) -> None:
        """A file with other keys, and one that is broken."""
        options = self.options()
        self.keys.write_bytes(keySet([IssuerKey("ES256", "two")]))
        for content, problem in ((None, None), (b"{", "the keys of tokens stay as they were")):
            if content is not None:
                self.keys.write_bytes(content)
            after, problems = options.reread()
            assert after.webTokens is not None and after.webTokens.keys is not None
            self.assertEqual([key.id for key in after.webTokens.keys.keys], ["two"])
            self.assertEqual(len(problems), 0 if problem is None else 1)
            self.assertIn(problem or "", "".join(problems))

    def test_keysOfSomebodyElse(self) -> None:
        """Old keys are not good for what a new file was to be good for."""
        options = self.options()
        text = FILE.format(os.path.abspath(self.mktemp())).replace("home", "other")
        self.file.write_text(text)
        after, problems = options.reread()
        self.assertIn("the settings stay as they were: [Authentication] jwks is new", problems[0])
        assert after.webTokens is not None
        self.assertEqual(after.webTokens.demands.issuer, "https://id.example/realms/home")
        self.file.write_text(FILE.format("https://id.example/keys"))
        options.reread()
        self.file.write_text(text)
        after, problems = options.reread()
        assert after.webTokens is not None
        self.assertEqual(after.webTokens.url, "https://id.example/keys")

    def test_noKeysAnyMore(self) -> None:
        """The file took away all authentication: that cannot be meant."""
        options = self.options()
        self.file.write_text("")
        after, problems = options.reread()
        self.assertIsNotNone(after.webTokens)
        self.assertIn("no authentication is given any more", problems[0])
