"""The Redis that members of a cluster share, and how many commands they give it.

Owns how it is started and asked. Knows nothing of what is kept there.
"""

from __future__ import annotations

import re
import shutil
import socket
import time
from pathlib import Path

from benchmarks.lab import Child, Lab, now

STARTING = 5.0
"""Seconds until it must answer."""
LONGEST = 1 << 16

_CALLS = re.compile(rb"cmdstat_(\w+)\S*:calls=(\d+)")
_WITHIN = (b"get", b"set", b"del", b"expire", b"info", b"keys")
"""Commands that are given by our scripts, or by us."""


def program() -> str | None:
    """Return where Redis is, if it is there."""
    return shutil.which("redis-server")


class Directory:
    """A Redis that keeps nothing on a disk.

    :ivar child: its process.
    :ivar url: for members.
    """

    def __init__(self, lab: Lab) -> None:
        port = _freePort()
        found = program()
        assert found is not None
        self._path = str(Path(lab.directory) / f"redis-{port}")
        self.url = f"redis://127.0.0.1:{port}"
        self.child: Child = lab.start(
            (
                *(found, "--port", str(port), "--bind", "127.0.0.1"),
                *("--unixsocket", self._path, "--save", "", "--appendonly", "no"),
                *("--dir", lab.directory),
            ),
            core=lab.generatorCore,
        )
        deadline = now() + STARTING
        while not self._isThere():
            if now() > deadline or not self.child.isRunning:
                raise ChildProcessError(f"Redis does not start: {self.child.lastWords}")
            time.sleep(0.02)

    def _isThere(self) -> bool:
        try:
            return bool(self._ask(b"INFO"))
        except OSError:
            return False

    def _ask(self, command: bytes) -> bytes:
        """Return an answer, whole; commands without spaces in their words only."""
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(self._path)
            one.sendall(command + b"\r\nQUIT\r\n")
            return b"".join(iter(lambda: one.recv(LONGEST), b""))

    def commands(self) -> int:
        """Return how many commands its clients have given so far."""
        found = _CALLS.findall(self._ask(b"INFO commandstats"))
        return sum(int(calls) for name, calls in found if name not in _WITHIN)

    def members(self) -> int:
        """Return how many members there are."""
        return self._ask(b"KEYS nymea-remoteproxy:member:*").count(b"nymea-remoteproxy:member:")


def _freePort() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
