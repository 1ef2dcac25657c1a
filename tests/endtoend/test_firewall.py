"""The firewall that the documentation shows, read by the real nft."""

from __future__ import annotations

import os
import shutil
import subprocess

from twisted.trial.unittest import SynchronousTestCase

from tests.support.endtoend import ROOT

FILE = ROOT / "docs" / "examples" / "nftables.conf"
ALONE = ("unshare", "--net")
"""In a network of its own: nft looks at the rules that are there, and root's are none of ours."""


def _reasonToSkip() -> str | None:
    if shutil.which("nft") is None or shutil.which("unshare") is None:
        return "nftables or unshare is not installed"
    if os.geteuid() or subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        return "a network namespace cannot be made"
    return None


class FirewallTests(SynchronousTestCase):
    """docs/examples/nftables.conf."""

    skip = _reasonToSkip()

    def check(self, text: str) -> subprocess.CompletedProcess[str]:
        """Have nft read it, and do nothing."""
        command = [*ALONE, "nft", "--check", "--file", "-"]
        return subprocess.run(command, input=text, capture_output=True, text=True)

    def test_isValid(self) -> None:
        checked = self.check(FILE.read_text())
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))

    def test_mistakesAreFound(self) -> None:
        """So the other test could fail."""
        text = FILE.read_text()
        self.assertIn("tcp dport $proxy jump proxy", text)
        checked = self.check(text.replace("jump proxy", "jump nowhere"))
        self.assertNotEqual(checked.returncode, 0)
