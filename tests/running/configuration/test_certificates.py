"""The certificates of the listeners."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from nymearemoteproxy.common.certificates import CertificateFiles, beginning, fingerprint
from nymearemoteproxy.running.options import FAILED
from tests.support.certificates import issue, pem
from tests.support.configured import ConfigurationCase, RereadCase
from tests.support.settings import CPP_SERVER


class BareTests(ConfigurationCase):
    """The command without options."""

    def test_certificate(self) -> None:
        """A self-signed one is made in the state directory, and its fingerprint shown."""
        configured = self.configured()
        (made,) = self.state.iterdir()
        self.assertEqual(configured.fingerprint, fingerprint(CertificateFiles(str(made))))
        self.assertEqual(set(configured.certificates), {None})
        self.assertEqual(self.configured().fingerprint, configured.fingerprint)


class OptionTests(ConfigurationCase):
    """Certificates on the command line."""

    def test_certificate(self) -> None:
        """With a certificate the main listener is on every interface, and nothing is made."""
        both = self.certificate()
        for options in (
            ("--certificate", both),
            ("-c", both, "-k", both),
            ("-c", both, "--certificate-key", both),
        ):
            configured = self.configured(*options)
            self.assertIsNone(configured.fingerprint)
            self.assertEqual(set(configured.certificates), {None})
            self.assertFalse(configured.listeners[0].isLocal)
        self.assertFalse(self.state.exists())
        configured = self.configured("-c", both, "--host", "127.0.0.1")
        self.assertTrue(configured.listeners[0].isLocal)

    def test_certificateOfTheFuture(self) -> None:
        """It may be right soon, or the clock may be wrong; it is told, for each listener's own."""
        certificate, key = issue("test", None, start=timedelta(days=1))
        path = self.write(pem(certificate, key))
        begins = beginning(CertificateFiles(path))
        for arguments in ("-c", path), ("--stream", f"ssl:1:privateKey={path}"):
            (warning,) = self.configured(*arguments).warnings
            self.assertIn(f"the certificate {path} is not valid before {begins:%Y-%m-%d}", warning)
        self.assertEqual(list(self.configured("-c", self.certificate()).warnings), [])

    def test_plainOnly(self) -> None:
        """Without a secure listener no certificate is made."""
        configured = self.configured("--websocket", "tcp:1")
        self.assertIsNone(configured.fingerprint)
        self.assertEqual(configured.certificates, {})
        self.assertFalse(self.state.exists())


class MistakeTests(ConfigurationCase):
    """Whatever the operator does wrong is told in one line."""

    def test_noHome(self) -> None:
        """Without a place for a self-signed certificate one has to be given."""

        def home() -> Path:
            raise RuntimeError("Could not determine home directory.")

        self.patch(os, "environ", {})
        self.patch(Path, "home", home)
        self.assertIn("set STATE_DIRECTORY", self.assertMistake("--token=t", status=FAILED))

    def test_certificateAsConfiguration(self) -> None:
        """The C++ server's -c was its configuration; who writes so is told."""
        for content in (CPP_SERVER, f"\ufeff\r\n; old\n# [not this]\n\n{CPP_SERVER}"):
            path = self.write(content)
            text = self.assertMistake("-c", path)
            self.assertIn(f"{path} is an INI file and no certificate: give it with -C", text)

    def test_longFilesAsCertificate(self) -> None:
        """It takes no time to see that they are no INI files."""
        for content in " " * 100_000, "#\n" * 100_000, " ;\n" * 100_000 + "[":
            self.assertIn("no PEM", self.assertMistake("-c", self.write(content), status=FAILED))

    def test_certificateWithoutKey(self) -> None:
        """It is told as such, for the option and for the setting."""
        path = self.write(pem(*issue("test", None)).partition(b"-----BEGIN PRIVATE")[0])
        for arguments, file in ((("-c", path), None), ((), f"[SSL]\ncertificate={path}\n")):
            text = self.assertMistake(*arguments, file=file, status=FAILED)
            self.assertIn(f"the certificate {path} comes without its private key", text)

    def test_damagedSelfSigned(self) -> None:
        """Nobody has to know that the server made it, and makes another."""
        self.configured()
        (made,) = self.state.iterdir()
        for content in b"", b"nonsense", made.read_bytes()[:-200]:
            made.write_bytes(content)
            text = self.assertMistake(status=FAILED)
            self.assertIn(f"{made}", text)
            self.assertIn("remove it, and a new one is made", text)

    def test_stateDirectory(self) -> None:
        """No place for our own certificate."""
        self.state.write_bytes(b"")
        self.assertIn("--certificate", self.assertMistake(status=FAILED))

    def test_keyWithoutCertificate(self) -> None:
        """It would not be used."""
        self.assertIn("no certificate", self.assertMistake("-k", self.certificate()))


class RereadTests(RereadCase):
    """When it is read anew."""

    def test_certificateOfTheFuture(self) -> None:
        """It is taken, and warned of, when everything is read anew."""
        path = self.write(pem(*issue("old", None)))
        options = self.options("--token", "t", "-c", path)
        self.assertEqual(list(options.configuration.warnings), [])
        Path(path).write_bytes(pem(*issue("new", None, start=timedelta(days=1))))
        configured, problems = options.reread()
        self.assertEqual(problems, [])
        self.assertIn("is not valid before", "".join(configured.warnings))

    def test_brokenThatNobodyNeeds(self) -> None:
        """There was none before, so none is there; no listener speaks TLS."""
        options = self.options("--token", "t", "--websocket", "tcp:1")
        self.file.write_text(f"[SSL]\ncertificate={self.write('broken')}\n")
        after, problems = options.reread()
        self.assertIn("the certificate stays as it was", problems[0])
        self.assertEqual(after.certificates, {})
