"""The units for systemd: a reload checks what a start would read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]

UNITS = (
    "debian/nymea-remoteproxy.service",
    "debian/nymea-remoteproxy@.service",
    "docs/examples/nymea-remoteproxy@.service",
)


def commands(text: str, key: str) -> list[list[str]]:
    """Return the commands of a key of a unit, in their order."""
    lines = re.findall(rf"^{key}=(.+)$", text.replace("\\\n", " "), re.M)
    return [shlex.split(line) for line in lines]


class UnitTests(SynchronousTestCase):
    """Debian's, and the example."""

    def test_reload(self) -> None:
        """First it takes what is right, then it fails if something is not."""
        for unit in UNITS:
            text = (ROOT / unit).read_text()
            (start,) = commands(text, "ExecStart")
            signal, check = commands(text, "ExecReload")
            self.assertIn("-HUP", " ".join(signal), unit)
            self.assertEqual(check, [*start, "--check"], unit)
