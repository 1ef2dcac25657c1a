"""The files that settings and options name."""

from __future__ import annotations

import os
from pathlib import Path

from nymearemoteproxy.common import files
from nymearemoteproxy.running.options import FAILED, ServerOptions
from tests.support.certificates import issue, pem
from tests.support.configured import ConfigurationCase, RereadCase


class FileTests(ConfigurationCase):
    """Each is read, and what is wrong with it is told."""

    def test_filesAreReadOnce(self) -> None:
        """So that each may be a pipe, though more than one part is made of it."""
        certificate, key = issue("test", None)
        reads: list[str] = []
        real = files.readFile

        def readFile(path: str, mayWait: bool = True) -> bytes:
            reads.append(path)
            return real(path, mayWait)

        self.patch(files, "readFile", readFile)
        both = self.write(pem(certificate, key))
        tokens, users, secret, uuids = (
            self.write(each)
            for each in ("t\n", "me:x\n", "x", "00000000-0000-4000-8000-000000000001")
        )
        ini = self.write(
            f"[SSL]\ncertificate={both}\ncertificateKey={both}\n"
            f"[Authentication]\ntokenFile={tokens}\nclientId=me\nclientSecretFile={secret}\n"
            f"server=http://a\n[Admin]\nendpoint=tcp:1:interface=127.0.0.1\n"
            f"passwordFile={users}\n[TunnelProxy]\nserverUuidFile={uuids}\n"
        )
        options = ServerOptions()
        options.parseOptions(["-C", ini, "--tunnelproxy", "--stream", f"ssl:1:privateKey={both}"])
        expected = sorted([both, tokens, users, secret, uuids, ini])
        self.assertEqual(sorted(reads), expected)
        reads.clear()
        self.assertEqual(options.reread()[1], [])
        self.assertEqual(sorted(reads), expected)
        reads.clear()
        Path(ini).write_text("broken")
        self.assertEqual(len(options.reread()[1]), 1)
        self.assertEqual(sorted(reads), expected)
        reads.clear()
        Path(ini).write_text(f"[SSL]\ncertificate={both}\n[Admin]\npasswordFile={users}\n")
        self.assertEqual(len(options.reread()[1]), 1)
        self.assertEqual(sorted(reads), expected)

    def test_files(self) -> None:
        """Files that are missing or hold something else."""
        missing = os.path.abspath(self.mktemp())
        notUtf8 = self.write(b"\xff\n")
        empty = self.write("# nothing\n")
        certificate, ini = self.certificate(), self.write("[ProxyServer]\nname=x\n")
        for arguments, path, word in (
            (("-C", missing), missing, "No such file"),
            (("-C", notUtf8), notUtf8, "UTF-8"),
            (("--token-file", missing), missing, "No such file"),
            (("--token-file", notUtf8), notUtf8, "UTF-8"),
            (("--token-file", empty), empty, "no token"),
            (("--token-file", "/"), "/", "directory"),
            (("--token-file", certificate), certificate, "it is a certificate or a key"),
            (("--token-file", ini), ini, "it is an INI file"),
            (("--set", f"TunnelProxy.serverUuidFile={missing}"), missing, "No such file"),
            (("--set", f"TunnelProxy.serverUuidFile={notUtf8}"), notUtf8, "UTF-8"),
            (("--set", f"TunnelProxy.serverUuidFile={certificate}"), certificate, "and no list"),
            (("-c", missing), missing, "No such file"),
            (("-c", empty), empty, "no PEM certificate"),
            (("-c", certificate, "-k", missing), missing, "No such file"),
            (("--stream", f"ssl:1:privateKey={missing}"), missing, "No such file"),
        ):
            text = self.assertMistake(*arguments, status=FAILED)
            self.assertIn(path, text)
            self.assertIn(word, text)

    def test_nulInAPath(self) -> None:
        """No file can be called so."""
        for name in ("SSL.certificate", "Authentication.tokenFile"):
            section, _, key = name.partition(".")
            self.assertMistake(file=f"[{section}]\n{key}=/a\0b\n")


class RereadTests(RereadCase):
    """When it is read anew."""

    def test_pipes(self) -> None:
        """What was a pipe at the start, or is one now, stays as it was: nobody waits for it."""
        reading, writing = os.pipe()
        os.write(writing, b"[ProxyServer]\nname=piped\n")
        os.close(writing)
        self.addCleanup(os.close, reading)
        tokens = Path(self.write("t"))
        options = ServerOptions()
        options.parseOptions(["-C", f"/dev/fd/{reading}", "--token-file", str(tokens)])
        tokens.unlink()
        os.mkfifo(tokens)
        after, problems = options.reread()
        self.assertEqual(after.settings.proxyServer.name, "piped")
        self.assertEqual(after.acceptedTokens, ["t"])
        self.assertEqual(len(problems), 2)
        for problem in problems:
            self.assertIn("it is no regular file, and nobody is to wait for it", problem)
