"""No room on the disk for any file that the real server writes, and room again.

What makes it full is a limit of the process (RLIMIT_FSIZE), which needs no rights and nobody else
feels. In the middle of a line it sets in, as a disk does.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from tests.support.endtoend import (
    CONSOLE,
    SIGHUP,
    SIGTERM,
    EndToEnd,
    Program,
    inThread,
    secret,
    tunnel,
    until,
    untilListening,
)

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

_FULL = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Becomes another program, for which every disk is full."""


class FullDiskTests(EndToEnd):
    """Everything that is written, on one disk."""

    def setUp(self) -> None:
        self.folder = self.temporary()
        self.log = self.folder / "log"
        self.tunnels = self.folder / "tunnels"
        self.statistics = self.folder / "statistics"
        self.totals = self.folder / "totals"
        self.texts = [
            self.folder / f"nymea-remoteproxy-{each}.log" for each in ("tunnels", "statistics")
        ]
        self.url = f"unix:{self.folder}/clients"
        self.token = secret()

    def launch(self) -> Program:
        """Start a server that writes all there is to write."""
        settings = {
            "Accounting.tunnelLog": self.tunnels,
            "Accounting.statisticsLog": self.statistics,
            "Accounting.statisticsInterval": 1000,
            "Accounting.totalsFile": self.totals,
            "Accounting.textDirectory": self.folder,
            "ProxyServer.logEngineEnabled": "yes",
            "ProxyServer.monitorSocket": self.folder / "monitor",
        }
        program = self.launchProgram(
            [
                *(*CONSOLE, "--websocket", "tcp:0:interface=127.0.0.1", "--stream", self.url),
                *("--token", self.token, "--logging", str(self.log)),
                *(f"--set={name}={value}" for name, value in settings.items()),
            ]
        )
        untilListening(self.url.partition(":")[2])
        until(program.handlesSignals, "it does not handle SIGHUP")
        return program

    def relay(self, count: int) -> None:
        """Have so many tunnels, each of them with a byte."""
        for _ in range(count):
            one, two = tunnel(self.url, self.token)
            one.send(b"x")
            self.assertEqual(two.read(1), b"x")
            one.close()
            two.close()

    def says(self, text: str, count: int = 1) -> None:
        """The log says something so many times, and not more."""
        until(lambda: self.log.read_text().count(text) >= count, f"nothing of {text!r} in the log")
        self.assertEqual(self.log.read_text().count(text), count, text)

    @inThread
    def testAllAtOnce(self) -> None:
        """It relays, says it once for each file, and when there is room all of it is there."""
        program = self.launch()
        self.relay(1)
        self.says("ended: ", 2)
        until(self.texts[0].read_bytes, "no line about the tunnel")
        until(self.statistics.read_bytes, "no line about an interval")
        # The log goes on for a little, as its last line is to be cut.
        size = self.log.stat().st_size + 50
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        self.relay(1)
        program.waitFor(r"cannot write the log \S+: File too large; it is tried again")
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        self.relay(10)
        program.signal(SIGHUP)
        self.relay(10)
        self.assertEqual(len(program.lines), 1, program.text())
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, UNLIMITED)
        self.says("ended: ", 2 * 22)
        for path in self.tunnels, self.texts[0]:
            self.says(f"cannot write {path}: File too large; trying again")
            self.says(f"{path} is written again; 0 lines lost")
        self.assertEqual(len(self.entries(self.tunnels)), 22)
        self.assertEqual(len(self.texts[0].read_text().splitlines()), 22)
        self.relay(1)
        self.says("ended: ", 2 * 23)
        program.signal(SIGTERM)
        self.assertEqual(program.wait(), 0)
        self.assertEqual(sum(each["newTunnels"] for each in self.entries(self.statistics)), 23)
        self.assertEqual(json.loads(self.totals.read_text())["tunnels"], 23)
        lines = self.log.read_text().splitlines()
        self.assertEqual([line for line in lines if not line.startswith("20")], [])
        self.assertEqual(len(program.lines), 1, program.text())

    def entries(self, path: Path) -> list[dict[str, Any]]:
        """Return what the whole lines of a file say: what was cut is there once more."""
        lines = path.read_text().splitlines()
        self.assertLessEqual(sum(not line.endswith("}") for line in lines), 1)
        return [json.loads(line) for line in lines if line.endswith("}")]

    @inThread
    def testEndsMeanwhile(self) -> None:
        """What can be written nowhere any more holds up nobody, and is told of on the terminal."""
        program = self.launch()
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        self.relay(1)
        program.waitFor(r"cannot write the log \S+: File too large; it is tried again")
        program.signal(SIGTERM)
        self.assertEqual(program.wait(), 0)
        self.assertEqual(len(program.lines), 1, program.text())

    @inThread
    def testStart(self) -> None:
        """Without room for the certificate that it makes it says so, and leaves nothing."""
        state = self.folder / "state"
        program = self.run_(
            [sys.executable, "-c", _FULL, *CONSOLE, "-p", "0", "--token", self.token],
            XDG_STATE_HOME=str(state),
        )
        self.assertEqual(program.wait(), 1)
        self.assertEqual(len(program.lines), 1, program.text())
        self.assertIn("cannot keep a self-signed certificate in ", program.text())
        self.assertIn("File too large", program.text())
        self.assertEqual([each for each in state.rglob("*") if not each.is_dir()], [])
