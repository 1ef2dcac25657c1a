"""Files with secrets that every user of the machine may read."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
from pathlib import Path

from tests.support.configured import ConfigurationCase, RereadCase

UUID = "00000000-0000-4000-8000-000000000001"


class SecrecyTests(ConfigurationCase):
    """Each is named, with the command that mends it."""

    def warned(self, path: str, *arguments: str, file: str | None = None) -> str:
        """Open a file to everybody; return the warning that comes of it, without the path.

        The command in it is tried, too: then there is none.
        """
        os.chmod(path, 0o604)
        (warning,) = self.configured(*arguments, file=file).warnings
        said, colon, command = warning.partition(": ")
        program, mode, name = shlex.split(command)
        self.assertEqual((program, mode, name), ("chmod", "o=", path))
        os.chmod(path, 0o600)
        self.assertEqual(list(self.configured(*arguments, file=file).warnings), [])
        self.assertIn(path, said)
        return said.replace(path, "").split(" is ")[0]

    def test_everySecret(self) -> None:
        """Tokens, passwords, keys: all that the settings and options name."""
        path, both = self.write("x:" + "y" * 40), self.certificate()
        cluster = ("--token=t", "--cluster=redis://127.0.0.1/0")
        for what, arguments in (
            ("the token file ", ("--token-file", path)),
            ("the token file ", ("--set", f"Authentication.tokenFile={path}")),
            (
                "the client secret ",
                (
                    *("--server=http://127.0.0.1", "--set=Authentication.clientId=me"),
                    f"--set=Authentication.clientSecretFile={path}",
                ),
            ),
            ("the password file ", ("--token=t", f"--set=Admin.passwordFile={path}")),
            ("the cluster's secret ", (*cluster, f"--set=Cluster.secretFile={path}")),
            (
                "the directory's password ",
                (*cluster, f"--set=Cluster.directoryPasswordFile={path}"),
            ),
        ):
            self.assertEqual(self.warned(path, *arguments), what)
        for arguments in (
            ("--certificate", both),
            ("--certificate", self.certificate(), "--certificate-key", both),
            ("--stream", f"ssl:1:privateKey={both}"),
        ):
            if arguments[0] == "--certificate" and len(arguments) > 2:
                Path(arguments[1]).write_bytes(Path(both).read_bytes())
                os.chmod(arguments[1], 0o644)  # its key is elsewhere, so that it is no secret
            self.assertEqual(self.warned(both, "--token=t", *arguments), "the certificate key ")

    def test_whatIsNotOpen(self) -> None:
        """A group may be meant; and what is no secret may be read by everybody."""
        tokens = self.write("t")
        os.chmod(tokens, 0o640)
        uuids, denied = self.write(UUID), self.write("192.0.2.1")
        for path in (uuids, denied):
            os.chmod(path, 0o644)
        configured = self.configured(
            *("--token-file", tokens, "--tunnelproxy"),
            *("--set", f"TunnelProxy.serverUuidFile={uuids}"),
            *("--set", f"Limits.denyFile={denied}"),
        )
        self.assertEqual(list(configured.warnings), [])

    def test_written(self) -> None:
        """Whoever may write it lets himself in."""
        tokens = self.write("t")
        os.chmod(tokens, 0o602)
        self.assertEqual(len(self.configured("--token-file", tokens).warnings), 1)

    def test_nameForTheShell(self) -> None:
        """The command is to be copied."""
        directory = Path(self.mktemp()).absolute() / "my $HOME"
        directory.mkdir(parents=True)
        tokens = directory / "tokens"
        tokens.write_text("t")
        self.warned(str(tokens), "--token-file", str(tokens))

    def test_pipe(self) -> None:
        """The shell's <(...) is nobody else's."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.write(writing, b"t\n")
        os.close(writing)
        configured = self.configured("--token-file", f"/dev/fd/{reading}")
        self.assertEqual(list(configured.warnings), [])

    def test_check(self) -> None:
        """It is told, and is no mistake."""
        tokens = self.write("t")
        os.chmod(tokens, 0o644)
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            end = self.assertRaises(SystemExit, self.configured, "--check", "--token-file", tokens)
        self.assertEqual(end.code, 0)
        self.assertIn(f"chmod o= {tokens}\n", shown.getvalue())


class RereadTests(RereadCase):
    """When it is read anew."""

    def test_again(self) -> None:
        """A file that is open by then is told of."""
        tokens = self.write("t")
        options = self.options("--token-file", tokens)
        self.assertEqual(list(options.configuration.warnings), [])
        os.chmod(tokens, 0o644)
        after, _problems = options.reread()
        self.assertEqual(len(after.warnings), 1)
