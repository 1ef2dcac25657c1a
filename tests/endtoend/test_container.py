"""Owns the checks of what the container's image runs: against a real server, without an engine."""

from __future__ import annotations

import subprocess
import sys

from tests.project.test_container import healthCommand
from tests.support.endtoend import (
    PATIENCE,
    SIGUSR2,
    STREAM,
    EndToEnd,
    inThread,
    secret,
    tunnel,
)
from tests.support.lives import DRAINING


class HealthTests(EndToEnd):
    """The health check of the image."""

    def health(self, port: str) -> int:
        """Return the exit status of the check."""
        python, flag, program = healthCommand()
        self.assertEqual((python, flag), ("python3", "-c"))
        command = [sys.executable, "-c", program.replace(", 9109,", f", {port},")]
        return subprocess.run(
            command, capture_output=True, timeout=PATIENCE, check=False
        ).returncode

    @inThread
    def test_health(self) -> None:
        """A server is well that serves, or drains; one that is gone is not."""
        token = secret()
        server = self.start(
            *("--websocket", STREAM, "--token", token, "--admin", "tcp:0:interface=127.0.0.1")
        )
        port = server.waitFor(r"admin endpoint on http://127\.0\.0\.1:(\d+)/")[1]
        self.assertEqual(self.health(port), 0)
        one, two = tunnel(server.url("ws"), token)
        server.signal(SIGUSR2)
        server.waitFor(DRAINING)
        self.assertEqual(self.health(port), 0)
        one.close()
        two.close()
        self.assertEqual(server.wait(), 0)
        self.assertEqual(self.health(port), 1)
