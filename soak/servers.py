"""The servers that are tried: one process, workers, or nodes with a Redis.

Owns how they are started, asked and ended. Knows nothing of the load.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.lab import ROOT, Child, Lab, cpuTime
from soak.inside.names import CENSUS, DIRECTORY, PLANTED
from soak.plan import FRONT, LISTENERS
from tests.support.endtoend import STREAM, TLS_STREAM, Certificate, secret
from tests.support.redis import RedisServer

ONE, WORKERS, CLUSTER = SETUPS = ("one", "workers", "cluster")
WORKER_COUNT = 3
"""More than two, so that those which live can be told from the one that is killed."""
NODE_COUNT = 2

STARTING = 60.0
"""Seconds until a server listens, and its workers serve."""
STOPPING = 40.0
"""Seconds until a server has ended: more than it gives its clients."""
ANSWERING = 20.0
"""Seconds until a server has answered, with others that need the processor."""
DOMAIN = "homes.example.org"
"""Below which each registered server has a name."""
LOOK = 0.02
"""Seconds between two looks whether something has happened."""

SETTINGS = {
    "ProxyServer.logFormat": "json",
    # Long enough where others need the processor too, and short enough to be waited for.
    "ProxyServer.aloneTimeout": 10000,
    "ProxyServer.inactiveTimeout": 10000,
    "ProxyServer.tlsHandshakeTimeout": 10000,
    "ProxyServer.webSocketHandshakeTimeout": 10000,
    "ProxyServer.authenticationTimeout": 8000,
    "ProxyServer.pingInterval": 2000,
    "ProxyServer.pingTimeout": 6000,
    "Limits.tunnelIdleTimeout": 10000,
    # A token that is never answered occupies one of these.
    "Authentication.connections": 64,
    "Accounting.statisticsInterval": 1000,
}


ALONE = ("setsid", "setpriv", "--pdeathsig", "KILL")
"""What the Redis is started through: Ctrl-C is not for it, and it ends when this process does."""


class ServerError(Exception):
    """The server does not do what every server has to do."""


class Node:
    """A server: one process, or a parent and its workers.

    :ivar number: of the setup's.
    :ivar addresses: ports and a path, by transport.
    :ivar pids: all its processes; the first is the one that was started.
    """

    def __init__(self, setup: Setup, number: int, arguments: tuple[str, ...]) -> None:
        self.directory = setup.directory / f"node{number}"
        self.directory.mkdir()
        self._setup = setup
        files = {
            "Accounting.tunnelLog": self.accounting,
            "Accounting.statisticsLog": self.statistics,
            "Accounting.totalsFile": self.totals,
        }
        settings = [f"{name}={value}" for name, value in (SETTINGS | files).items()]
        command = (
            *(
                "env",
                f"PYTHONPATH={ROOT / 'soak' / 'inside'}:{ROOT}:{os.environ.get('PYTHONPATH', '')}",
            ),
            *(f"{DIRECTORY}={self.directory}", f"{PLANTED}={setup.planted}"),
            *(f"XDG_STATE_HOME={self.directory}",),
            *(sys.executable, "-m", "nymearemoteproxy.running.cli"),
            *("--token", setup.token, "--server", f"http://127.0.0.1:{setup.backendPort}/"),
            *("--certificate", setup.certificate, "--logging", str(self.log)),
            *("--websocket", STREAM, "--websocket", TLS_STREAM),
            *("--stream", STREAM, "--stream", TLS_STREAM),
            *("--stream", f"unix:{self.directory / 'clients'}", "--tunnelproxy"),
            *("--front", STREAM, "--set", f"Front.domain={DOMAIN}"),
            *("--admin", f"unix:{self._admin}"),
            *(word for each in settings for word in ("--set", each)),
            *arguments,
        )
        self.number = number
        self.child: Child = setup.lab.start(command, core=setup.lab.serverCore)
        self.addresses: dict[str, Any] = {}

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def accounting(self) -> Path:
        return self.directory / "tunnels"

    @property
    def statistics(self) -> Path:
        return self.directory / "statistics"

    @property
    def totals(self) -> Path:
        return self.directory / "totals"

    @property
    def _admin(self) -> Path:
        return self.directory / "admin"

    async def started(self) -> None:
        """Wait until it listens, and all its workers serve."""
        workers = WORKER_COUNT if self._setup.name == WORKERS else 0
        await self.until(lambda: len(self.listening()) == len(LISTENERS), STARTING)
        await self.until(lambda: len(self.pids) == 1 + workers, STARTING)
        await self.until(lambda: self._text().count(" serves, it is process ") >= workers, STARTING)
        self.addresses = self.listening()

    def listening(self) -> dict[str, Any]:
        """Return its addresses, those that the log tells of so far."""
        found = re.findall(r"listening on (\w+)://127\.0\.0\.1:(\d+)", self._text())
        addresses: dict[str, Any] = {
            FRONT if scheme == "https" else scheme: int(port) for scheme, port in found
        }
        if "listening on unix:" in self._text():
            addresses["unix"] = str(self.directory / "clients")
        return addresses

    def _text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    async def until(self, condition: Any, seconds: float) -> None:
        """Wait for something of the server's.

        :raises ServerError: it has ended, or it takes too long.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise ServerError(f"server {self.number} does not come so far in {seconds:.0f} s")
            await asyncio.sleep(LOOK)

    def check(self) -> None:
        """Look whether it is there.

        :raises ServerError: it has ended.
        """
        if not self.child.isRunning:
            status, words = self.child.status, self.child.lastWords
            raise ServerError(f"server {self.number} has ended with status {status}: {words}")

    @property
    def pids(self) -> list[int]:
        pid = self.child.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def cpu(self) -> float:
        """Return the seconds of processor that its processes, those of now, have taken."""
        return cpuTime(self.child.pid) / 1e9

    def resident(self) -> int:
        """Return the bytes of memory of all its processes, as the kernel counts them."""
        total = 0
        for pid in self.pids:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                total += pages * os.sysconf("SC_PAGESIZE")
        return total

    def descriptors(self) -> list[int]:
        """Return how many files each of its processes has open."""
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids]

    def signal(self, number: int) -> None:
        """Send its first process a signal."""
        os.kill(self.child.pid, number)

    async def census(self) -> list[Counter[str]]:
        """Return how many objects of the server's own kinds each process has."""
        counts = []
        for pid in self.pids:
            path = self.directory / f"census-{pid}"
            path.unlink(missing_ok=True)
            os.kill(pid, CENSUS)
            await self.until(path.exists, STOPPING)
            counts.append(Counter(json.loads(path.read_text())))
        return counts

    async def metrics(self) -> dict[str, float]:
        """Return its metrics, by name and labels.

        :raises ServerError: it does not answer.
        """
        try:
            async with asyncio.timeout(ANSWERING):
                text = await self._ask(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        except (TimeoutError, OSError) as error:
            raise ServerError(f"server {self.number} tells no metrics: {error!r}") from error
        found = re.findall(r"^nymea_remoteproxy_(\S+) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}

    async def _ask(self, question: bytes) -> str:
        reader, writer = await asyncio.open_unix_connection(str(self._admin))
        try:
            writer.write(question)
            return (await reader.read()).decode()
        finally:
            writer.close()

    async def stop(self) -> int:
        """Have it end in order; return its status.

        :raises ServerError: it does not end.
        """
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOPPING
        while self.child.isRunning:
            if time.monotonic() > deadline:
                raise ServerError(f"server {self.number} has not ended after {STOPPING:.0f} s")
            await asyncio.sleep(LOOK)
        return self.child.status


class Setup:
    """Servers that are one meeting place.

    :param name: which of `SETUPS`.
    :param planted: a fault to be found, see `soak.inside.planted`; empty = none.
    :ivar nodes: one, but for a cluster.
    :ivar redis: of the cluster.
    """

    def __init__(self, name: str, lab: Lab, backendPort: int, planted: str = "") -> None:
        self.name = name
        self.lab = lab
        self.planted = planted
        self.backendPort = backendPort
        self.token = secret()
        self.directory = lab.directory / name
        self.directory.mkdir()
        self.redis: RedisServer | None = None
        self.nodes: list[Node] = []
        self.certificate = str(self.directory / "certificate.pem")
        self.changeCertificate()

    def changeCertificate(self) -> bytes:
        """Put another certificate in place; return its fingerprint."""
        made = Certificate(str(self.directory / "made"))
        os.chmod(made.both, 0o600)
        os.replace(made.both, self.certificate)
        return made.fingerprint

    async def start(self) -> None:
        """Start everything.

        :raises ServerError: something does not start.
        """
        arguments: tuple[str, ...] = ()
        if self.name == WORKERS:
            arguments = ("--workers", str(WORKER_COUNT))
        elif self.name == CLUSTER:
            try:
                self.redis = RedisServer("--maxmemory-policy", "noeviction", through=ALONE)
            except AssertionError as error:  # as when its port was taken meanwhile
                raise ServerError(f"no Redis: {error}") from error
            arguments = ("--cluster", f"redis://127.0.0.1:{self.redis.port}")
            arguments += ("--set", "Cluster.listen=tcp:0:interface=127.0.0.1")
            arguments += ("--set", "Cluster.directoryTimeout=2000")
            arguments += ("--set", "Cluster.linkTimeout=5000")
        count = NODE_COUNT if self.name == CLUSTER else 1
        self.nodes = [Node(self, number, arguments) for number in range(count)]
        for node in self.nodes:
            await node.started()

    def address(self, member: int, transport: str) -> Any:
        """Return where to connect to."""
        return self.nodes[member % len(self.nodes)].addresses[transport]

    def keepLogs(self, directory: Path) -> None:
        """Copy what the servers have written to where it stays."""
        directory.mkdir(parents=True, exist_ok=True)
        for node in self.nodes:
            for name, path in (("log", node.log), ("stderr", node.child.log)):
                if path.exists():
                    shutil.copy(path, directory / f"{self.name}-{node.number}.{name}")

    def close(self) -> None:
        """End the Redis; the lab ends the rest."""
        if self.redis is not None:
            self.redis.close()
