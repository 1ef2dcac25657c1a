"""The server that is fuzzed: a process that listens in every way there is.

Owns its settings, where its doors are, and its end. Knows nothing of what is sent to it, nor of
what it promises. Its methods block.
"""

from __future__ import annotations

import atexit
import contextlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from fuzz.network.doors import CLIENT_DOORS, FRONT_DOORS, TCP, Door, Kind
from fuzz.network.grammars import DOMAIN, MEMBER, SECRET, SECRET_TEXT, TOKEN
from fuzz.network.promises import Promises
from fuzz.network.script import CLAIM, PREFACE, PROOF
from nymearemoteproxy.cluster.identity import MemberIdentity, nameOf
from tests.support.endtoend import PATIENCE, SIGTERM, UNMEASURED, Server, forkServer, until
from tests.support.redis import RedisServer, freePort, reasonToSkip

TIMES = {
    "ProxyServer.tlsHandshakeTimeout": 5000,
    "ProxyServer.webSocketHandshakeTimeout": 5000,
    "ProxyServer.inactiveTimeout": 5000,
    "ProxyServer.aloneTimeout": 5000,
    "ProxyServer.pingInterval": 1000,
    "ProxyServer.pingTimeout": 3000,
    "ProxyServer.closeTimeout": 1000,
    "ProxyServer.shutdownTimeout": 1000,
    "TunnelProxy.serverTimeout": 4000,
    "TunnelProxy.clientPatience": 1000,
    "Limits.tunnelIdleTimeout": 4000,
}
"""Milliseconds: so short that what hangs ends soon, and long enough for honest clients
on a machine that is busy."""

SIZES = {
    "TunnelProxy.clientBacklog": 1 << 18,
    "TunnelProxy.totalBacklog": 1 << 22,
    "TunnelProxy.maxPacketSize": 1 << 17,
}
"""Bytes: so small that a conversation reaches them."""

PATIENT = 10_000
"""Milliseconds that the directory may take: that it fails is an error, and the machine is busy."""

GRACE = 10.0
"""Seconds from SIGTERM to the end: `shutdownTimeout`, and what a busy machine takes."""

_OPTIONS = {
    Kind.WEBSOCKET: "--websocket",
    Kind.STREAM: "--stream",
    Kind.FRONT: "--front",
    Kind.FRONT_HTTP: "--front-http",
}
"""Each with a description of the listener."""

_NAMED_DOORS = CLIENT_DOORS | FRONT_DOORS
"""Those whose places the log tells, in this order."""

_PLACE = re.compile(rb'"place":"([^"]+)"')

VARIANTS = ("single", "cluster", "workers", "cluster of workers")
"""How the server runs: as one process, its admin endpoint with TLS; as a member of a cluster, which
has a door for links; as several workers; as workers that are members."""

WORKERS = 2


class Target:
    """A server that runs.

    :param variant: one of `VARIANTS`.
    :param planted: the name of a fault that it has; see `planted`.
    :ivar doors: by name.
    :ivar promises: what it has to keep.
    """

    def __init__(self, variant: str, planted: str | None = None) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="fuzz-"))  # short, for Unix sockets
        self._redis: RedisServer | None = None
        forkServer(False)  # which ends what it has forked at exit, in reverse order: after us
        atexit.register(self.close)  # whatever ends this process
        try:
            if variant.startswith("cluster") and not reasonToSkip():
                self._redis = RedisServer()
            through = [sys.executable, "-m", "fuzz.network.planted", planted] if planted else []
            self._server = Server(
                [*self._arguments(variant), *self._cluster()],
                listeners=len(_NAMED_DOORS),
                environment=UNMEASURED,
                stateHome=str(self._directory),
                through=through,
            )
            self.doors = self._find()
            self._waitForAll(variant)
            self.promises = Promises(self._server, self._admin, self._isSecure)
        except BaseException:
            self.close()
            raise

    def _arguments(self, variant: str) -> Iterator[str]:
        for name, door in _NAMED_DOORS.items():
            yield _OPTIONS[door.kind]
            yield door.listener.replace("PATH", str(self._directory / name))
        yield from ("--token", TOKEN, "--tunnelproxy", "--verbose")
        yield from ("--set", f"Front.domain={DOMAIN}")
        yield from ("--admin", f"tls:{TCP}" if variant == "single" else TCP)
        yield from ("--workers", str(WORKERS) if variant.endswith("workers") else "1")
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
            ("directoryTimeout", PATIENT),
            ("listen", f"tcp:{self._linkPort}:interface=127.0.0.1"),
        ):
            yield from ("--set", f"Cluster.{name}={value}")

    def _find(self) -> dict[str, Door]:
        """Return where the doors are, as the log tells."""
        urls = zip(_NAMED_DOORS, self._server.urls, strict=True)
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

    def _waitForAll(self, variant: str) -> None:
        """Wait until all processes serve, and have the files open that they need."""
        processes = 1
        if variant.endswith("workers"):
            processes = WORKERS
            self._server.waitFor(r"worker \d serves", count=processes)
        if (redis := self._redis) is not None:
            until(
                lambda: len(redis.do("KEYS", "*:member:*").split()) == processes,
                "not all are members",
            )

    def _linkDoor(self, identity: MemberIdentity, member: bytes, redis: RedisServer) -> Door:
        def filled(data: bytes) -> bytes:
            if data == PREFACE:
                return identity.prefaceTo(member)
            if CLAIM in data and (place := _PLACE.search(data)):
                holder = redis.do("GET", b"nymea-remoteproxy:place:" + place[1])
                return data.replace(CLAIM, b'"claim":%d' % int(holder.partition("#")[2] or 0))
            return data.replace(PROOF, identity.proofTo(member))

        return Door(self._linkPort, identity.clientContext, nameOf(member), filled)

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
        problems = self.promises.read()
        if status:
            problems.append(f"it has ended with status {status}")
        return problems

    def log(self) -> str:
        """Return all that it wrote."""
        return self._server.text()

    def close(self) -> None:
        """End it, whatever it does, and leave nothing."""
        atexit.unregister(self.close)
        with contextlib.ExitStack() as left:
            left.callback(shutil.rmtree, self._directory, ignore_errors=True)
            if self._redis is not None:
                left.callback(self._redis.close)
            if hasattr(self, "_server"):
                left.callback(self._server.stop)


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
