"""Whether a file with a secret is for its user only."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.secretfiles import warningsOfOpen


class WarningTests(SynchronousTestCase):
    """Real files."""

    def file(self, mode: int, name: str = "secret") -> str:
        """Return the path of a file with this mode."""
        directory = Path(self.mktemp())
        directory.mkdir()
        path = directory / name
        path.write_text("s3cret")
        path.chmod(mode)
        return str(path)

    def told(self, *paths: str) -> list[str]:
        return list(warningsOfOpen(("token file", path) for path in paths))

    def test_modes(self) -> None:
        """What counts is whether others may read it, or write; of a group nobody knows."""
        for mode in 0o600, 0o400, 0o640, 0o660, 0o601:
            self.assertEqual(self.told(self.file(mode)), [], oct(mode))
        for mode in 0o604, 0o602, 0o644, 0o666:
            self.assertEqual(len(self.told(self.file(mode))), 1, oct(mode))

    def test_mended(self) -> None:
        """The command that the line ends with is enough, whatever the file is called."""
        path = self.file(0o646, "it's; a secret")
        (line,) = self.told(path)
        self.assertIn(f"the token file {path} is open", line)
        command = shlex.split(line.rpartition("with: ")[2])
        subprocess.run(command, check=True)
        self.assertEqual(self.told(path), [])
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o640)

    def test_passedOver(self) -> None:
        """What is not set, not there, or no file; and what comes again."""
        directory = os.path.dirname(self.file(0o644))
        os.chmod(directory, 0o777)
        self.assertEqual(self.told("", "/nothing/here", directory, "/dev/null"), [])
        path = self.file(0o644)
        self.assertEqual(len(self.told(path, path)), 1)
