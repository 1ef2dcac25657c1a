"""The server that is fuzzed, and what can be seen of it from outside: its log, counts and files.

Owns the process with its settings, and what it promises whatever comes. Knows nothing of what is
sent to it. Its methods block.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from fuzz.network.doors import CLIENT_DOORS, TCP, Door, Kind
from fuzz.network.grammars import MEMBER, SECRET, SECRET_TEXT, TOKEN
from fuzz.network.script import CLAIM, PREFACE, PROOF
from nymearemoteproxy.cluster.identity import MemberIdentity, nameOf
from nymearemoteproxy.protocol.outcomes import Outcome
from tests.support.endtoend import MARK, PATIENCE, SIGTERM, TLS, Server
from tests.support.redis import RedisServer, freePort, reasonToSkip

TIMES = {
    "ProxyServer.tlsHandshakeTimeout": 2000,
    "ProxyServer.webSocketHandshakeTimeout": 2000,
    "ProxyServer.inactiveTimeout": 2000,
    "ProxyServer.aloneTimeout": 2000,
    "ProxyServer.pingInterval": 1000,
    "ProxyServer.pingTimeout": 3000,
    "ProxyServer.closeTimeout": 1000,
    "ProxyServer.shutdownTimeout": 1000,
    "TunnelProxy.serverTimeout": 4000,
    "TunnelProxy.clientPatience": 1000,
    "Limits.tunnelIdleTimeout": 4000,
}
"""Milliseconds: so short that what hangs ends soon, and long enough for honest clients."""

SIZES = {
    "TunnelProxy.clientBacklog": 1 << 18,
    "TunnelProxy.totalBacklog": 1 << 22,
    "TunnelProxy.maxPacketSize": 1 << 17,
}
"""Bytes: so small that a conversation reaches them."""

GRACE = 10.0
"""Seconds from SIGTERM to the end: `shutdownTimeout`, and what a busy machine takes."""

SETTLED = 10.0
"""Seconds in which all is as it was when everybody has gone."""

MOST_GROWTH = 96 << 20
"""Bytes of memory: what the backlogs may hold, with what the allocators keep of it."""

FORBIDDEN = re.compile(
    rf"Traceback|Unhandled|[Ii]nternal.error|\b{MARK}-|^\S+ (error|critical) |^\w+Error\b"
)
"""What no line of log says, whatever a stranger does."""

_OPENED = re.compile(r"connection (\d+) from .+ opened \(")
_ENDED = re.compile(r"connection (\d+) from .+ ended: (\S+) \(")
_METRIC = re.compile(r"nymea_remoteproxy_(\w+)(?:\{(.*)\})? ([0-9.e+]+)")
_GAUGES = ("connections", "tunnels", "tunnel_proxy_servers", "tunnel_proxy_clients")
_OUTCOMES = {outcome.label for outcome in Outcome}
_PLACE = re.compile(rb'"place":"([^"]+)"')

VARIANTS = ("single", "cluster", "workers")
"""How the server runs: as one process, its admin endpoint with TLS; as a member of a cluster, which
has a door for links; as several workers."""

WORKERS = 2


class Target:
    """A server that runs.

    :param variant: one of `VARIANTS`.
    :param planted: the name of a fault that it has; see `planted`.
    :ivar doors: by name.
    """

    def __init__(self, variant: str, planted: str | None = None) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="fuzz-"))  # short, for Unix sockets
        self._redis: RedisServer | None = None
        self._scanned = 0
        try:
            isMember = variant == "cluster" and not reasonToSkip()
            if isMember:
                self._redis = RedisServer()
            through = [sys.executable, "-m", "fuzz.network.planted", planted] if planted else []
            self._server = Server(
                [*self._arguments(variant), *self._cluster()],
                listeners=len(CLIENT_DOORS),
                environment={"COVERAGE_PROCESS_CONFIG": ""},
                stateHome=str(self._directory),
                through=through,
            )
            self.doors = self._find()
            if variant == "workers":
                self._server.waitFor(r"worker \d serves", count=WORKERS)
            self._memory = self._usedMemory()
            self._files = self._openFiles()
        except BaseException:
            self.close()
            raise

    def _arguments(self, variant: str) -> Iterator[str]:
        for name, door in CLIENT_DOORS.items():
            yield "--websocket" if door.kind is Kind.WEBSOCKET else "--stream"
            yield door.listener.replace("PATH", str(self._directory / name))
        yield from ("--token", TOKEN, "--tunnelproxy", "--verbose")
        yield from ("--admin", f"tls:{TCP}" if variant == "single" else TCP)
        yield from ("--workers", str(WORKERS) if variant == "workers" else "1")
        yield from ("--set", f"ProxyServer.monitorSocket={self._directory / 'monitor'}")
        for name, value in (TIMES | SIZES).items():
            yield from ("--set", f"{name}={value}")

    def _cluster(self) -> Iterator[str]:
        if self._redis is None:
            return
        secret = self._directory / "secret"
        secret.touch(0o600)
        secret.write_text(SECRET_TEXT)
        self._linkPort = freePort()
        for name, value in (
            ("directory", f"redis://127.0.0.1:{self._redis.port}"),
            ("secretFile", secret),
            ("listen", f"tcp:{self._linkPort}:interface=127.0.0.1"),
        ):
            yield from ("--set", f"Cluster.{name}={value}")

    def _find(self) -> dict[str, Door]:
        """Return where the doors are, as the log tells."""
        urls = zip(CLIENT_DOORS, self._server.urls, strict=True)
        doors = {name: Door(_addressOf(url)) for name, url in urls}
        url = self._server.waitFor(r"admin endpoint on (\S+)/")[1]
        self._isSecure = url.startswith("https:")
        doors["admin-tls" if self._isSecure else "admin"] = Door(_addressOf(url))
        self._admin = int(_addressOf(url))
        doors["monitor"] = Door(str(self._directory / "monitor"))
        if self._redis is not None:
            member = bytes.fromhex(self._server.waitFor(r"member (\w{32}) of the cluster")[1])
            doors["link"] = self._linkDoor(MemberIdentity(SECRET, MEMBER), member, self._redis)
        return doors

    def _linkDoor(self, identity: MemberIdentity, member: bytes, redis: RedisServer) -> Door:
        def filled(data: bytes) -> bytes:
            if data == PREFACE:
                return identity.prefaceTo(member)
            if CLAIM in data and (place := _PLACE.search(data)):
                holder = redis.do("GET", b"nymea-remoteproxy:place:" + place[1])
                return data.replace(CLAIM, b'"claim":%d' % int(holder.partition("#")[2] or 0))
            return data.replace(PROOF, identity.proofTo(member))

        return Door(self._linkPort, identity.clientContext, nameOf(member), filled)

    # What is seen while there are conversations

    def look(self) -> list[str]:
        """Return what is wrong by now; each line of log is looked at once."""
        problems = self._read()
        if (status := self._server.process.poll()) is not None:
            problems.append(f"the server has ended, status {status}")
        return problems

    def _read(self) -> list[str]:
        lines = self._server.lines
        start, self._scanned = self._scanned, len(lines)
        wrong = [text for _stream, text in lines[start : self._scanned] if FORBIDDEN.search(text)]
        return [f"the log says: {text[:500]}" for text in wrong[:3]]

    # What is seen when all of them are over

    def settle(self) -> list[str]:
        """Wait until the server is as it was; return what is not, or does not add up."""
        deadline = time.monotonic() + SETTLED
        while (problems := self._differences()) and time.monotonic() < deadline:
            if self._server.process.poll() is not None:
                break
            time.sleep(0.05)
        grown = self._usedMemory() - self._memory
        if grown > MOST_GROWTH:
            problems.append(f"it has {grown >> 20} MiB more of memory")
        return problems

    def _differences(self) -> list[str]:
        text = self._server.text()
        opened = Counter(_OPENED.findall(text))
        ends = _ENDED.findall(text)
        ended = Counter(number for number, _outcome in ends)
        outcomes = Counter(outcome for _number, outcome in ends)
        problems = []
        if (files := self._openFiles()) > self._files:
            problems.append(f"{files} files are open, {self._files} at the start")
        try:
            metrics = self._metrics()
        except OSError as error:
            return [f"the admin endpoint does not answer: {error}"]
        problems += [
            f"{metrics[name, '']:.0f} {name} are left" for name in _GAUGES if metrics[name, ""]
        ]
        accepted = int(metrics["connections_accepted_total", ""])
        if opened != ended or accepted != len(ends):
            problems.append(
                f"{accepted} connections were accepted, {len(opened)} opened in the log, "
                f"{len(ends)} ended, such as {list((opened - ended) + (ended - opened))[:3]}"
            )
        for outcome, count in outcomes.items():
            counted = metrics["outcomes_total", f'outcome="{outcome}"']
            if outcome not in _OUTCOMES or counted < count:
                problems.append(f"{counted:.0f} counted of the {count} that ended: {outcome}")
        return problems

    def _metrics(self) -> Counter[tuple[str, str]]:
        """Return what the server counts, by name and labels; the sum of a name without labels.

        :raises OSError: it does not tell.
        """
        kind = http.client.HTTPSConnection if self._isSecure else http.client.HTTPConnection
        more = {"context": TLS} if self._isSecure else {}
        connection = kind("127.0.0.1", self._admin, timeout=PATIENCE, **more)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from None
        finally:
            connection.close()
        values: Counter[tuple[str, str]] = Counter()
        for name, labels, value in _METRIC.findall(text):
            values[name, labels] += float(value)  # type: ignore[assignment]
            if labels:
                values[name, ""] += float(value)  # type: ignore[assignment]
        return values

    def _processes(self) -> list[int]:
        pid = self._server.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            return [pid, *map(int, children.split())]
        return []

    def _openFiles(self) -> int:
        with contextlib.suppress(OSError):
            return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self._processes())
        return 0

    def _usedMemory(self) -> int:
        """Return the bytes of memory that are its own."""
        total = 0
        for pid in self._processes():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(int(size) << 10 for size in re.findall(r"Private_\w+: +(\d+)", text))
        return total

    # The end

    def stop(self) -> list[str]:
        """Have it end while somebody is at each door; return what is wrong."""
        sitters = list(_sitters(self.doors.values()))
        self._server.signal(SIGTERM)
        try:
            status = self._server.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return [f"it does not end in {GRACE:.0f} s after SIGTERM"]
        finally:
            for sitter in sitters:
                sitter.close()
        self._server.wait()  # for the end of its output
        problems = self._read()
        if status:
            problems.append(f"it has ended with status {status}")
        return problems

    def log(self) -> str:
        """Return all that it wrote."""
        return self._server.text()

    def close(self) -> None:
        """End it, whatever it does, and leave nothing."""
        if hasattr(self, "_server"):
            self._server.stop()
        if self._redis is not None:
            self._redis.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def _addressOf(url: str) -> int | str:
    """Return a port, or the path of a Unix socket."""
    scheme, _, rest = url.partition(":")
    return rest if scheme == "unix" else int(rest.rpartition(":")[2])


def _sitters(doors: Iterable[Door]) -> Iterator[socket.socket]:
    for door in doors:
        if isinstance(door.address, int):
            yield socket.create_connection(("127.0.0.1", door.address), PATIENCE)
        else:
            sitter = socket.socket(socket.AF_UNIX)
            sitter.settimeout(PATIENCE)
            sitter.connect(door.address)
            yield sitter
