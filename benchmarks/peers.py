"""The servers that are compared: how each is started, and what it can do.

Owns command lines and configurations. Knows nothing of workloads.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import importlib.util
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.directory import Directory
from benchmarks.helper import hear, start
from benchmarks.lab import ROOT, Child, Lab, cpuTime, memory, now
from benchmarks.meetings import (
    Address,
    ForwardMeeting,
    Meeting,
    SyncthingMeeting,
    TokenMeeting,
    TransitMeeting,
)
from benchmarks.names import (
    BEFORE,
    HAPROXY,
    OWN,
    SNITUN,
    STOCK,
    STRELAYSRV,
    TRANSIT_RELAY,
    TRANSPORTS,
    TUNNEL_WORKLOADS,
    VISIT_WORKLOADS,
)
from benchmarks.visitor import HOME
from benchmarks.wires import serverContext

TOKEN = "benchmark"
STARTING = 15.0
"""Seconds until a server must listen."""
SPARE = 50
"""Tunnels that haproxy can have above the idle ones; with more, it would want more files."""

_HAPROXY_CONFIGURATION = """\
global
    nbthread 1
    maxconn {connections}
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3
defaults
    mode tcp
    timeout connect 1h
    timeout client 1h
    timeout server 1h
listen tcp
    bind 127.0.0.1:{front[tcp]}
    server generator 127.0.0.1:{back[tcp]}
listen tls
    bind 127.0.0.1:{front[tls]} ssl crt {certificate}
    server generator 127.0.0.1:{back[tls]} ssl verify none
"""

_FRONT = """\
[Front]
listeners = tcp:0:interface=127.0.0.1
namesFile = {names}
maxVisitorsPerHome = 0
"""
_FRONT_SCHEME = "https"
"""What a log says instead of a transport where visitors come in."""
_HOME_UUID = "5c6f0e2a-6d0b-4f0e-8d3e-1f2a3b4c5d6e"

HOME_COMES = 30.0
"""Seconds until a home must be there."""
AGAIN = 0.05
"""Seconds between two looks whether a server is ready."""
WHOLE_RUN = "24h"
"""For limits on silence: longer than a run, so that tunnels stay, and nobody is pinged."""
SNITUN_PYTHON = ROOT / ".venv-snitun" / "bin" / "python"
"""Where ``make benchmark`` installs snitun."""

_LISTENING = re.compile(r"listening on (\w+)://127\.0\.0\.1:(\d+)")


class PeerError(Exception):
    """A peer cannot be used; the text says why, in one line."""


@dataclass
class Server:
    """A server that runs.

    :ivar addresses: by transport.
    :ivar child: None when somebody else started it.
    :ivar others: further processes that belong to it.
    :ivar directory: what its processes share, and what is not counted.
    """

    name: str
    pid: int
    addresses: dict[str, Address]
    meeting: Meeting
    child: Child | None = None
    others: tuple[Child, ...] = ()
    directory: Directory | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        """All processes, without their children."""
        return self.pid, *(other.pid for other in self.others)

    def cpuTime(self) -> int:
        """Return the nanoseconds that all its processes have run so far."""
        return sum(map(cpuTime, self.pids))

    def memory(self) -> int:
        """Return the bytes of anonymous memory that all its processes have in use."""
        return sum(map(memory, self.pids))

    def stop(self, lab: Lab) -> None:
        """End all that was started for it."""
        assert self.child is not None
        for child in (self.child, *self.others):
            lab.stop(child)
        if self.directory is not None:
            lab.stop(self.directory.child)


class Peer:
    """A kind of server.

    :ivar name: in the tables.
    :ivar transports: what it speaks.
    :ivar isJudged: it is held to the targets; the others are what it is compared with.
    :ivar canStart: each start makes a new process.
    :ivar hasTunnelProxy: servers can register with it, and clients be connected to them.
    :ivar hasHomes: it has a client that makes a service reachable for visitors.
    :ivar workloads: the names of those that it takes part in; None = all.
    """

    name: str
    transports: tuple[str, ...]
    isJudged = False
    canStart = True
    hasTunnelProxy = False
    hasHomes = False
    workloads: tuple[str, ...] | None = None

    def missing(self) -> str | None:
        """Return what has to be installed first."""
        return None

    def version(self) -> str:
        """Return which one it is, if it is installed; nothing if another row tells."""
        return ""

    async def start(self, lab: Lab) -> Server:
        """Start a process.

        :raises PeerError: it does not listen.
        """
        raise NotImplementedError

    async def startHome(self, lab: Lab, server: Server, service: int) -> Home:
        """Start the client at home.

        :param service: the port of 127.0.0.1 that visitors are to reach.
        :raises PeerError: it does not come.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Home:
    """A client that makes a service reachable.

    :ivar address: where visitors come in.
    """

    address: Address
    child: Child


class Own(Peer):
    """This server, from any checkout, with any Python."""

    transports = TRANSPORTS
    isJudged = True
    hasTunnelProxy = True

    program = ("-c", "from nymearemoteproxy.commands import server; server()")
    """What Python is given."""

    def __init__(
        self, name: str = OWN, path: Path = ROOT, python: str | Path = sys.executable
    ) -> None:
        self.name = name
        self._path = path
        self._python = python
        # Older ones have no front door.
        self.hasHomes = (path / "nymearemoteproxy" / "wires" / "front.py").is_file()

    @property
    def canBeWatched(self) -> bool:
        """Tell whether it has a monitor socket and admin pages."""
        package = self._path / "nymearemoteproxy"
        return any((package / name).is_dir() for name in ("watching", "admin"))

    async def start(self, lab: Lab, *more: str) -> Server:
        log = lab.directory / f"{self.name}-{now()}.log"
        child = lab.start(
            (
                *(self._python, *self.program),
                *("--token", TOKEN, "--certificate", certificate(lab), "--logging", log),
                "--tunnelproxy",
                *("--websocket", "tcp:0:interface=127.0.0.1"),
                *("--websocket", "tls:tcp:0:interface=127.0.0.1"),
                *("--stream", "tcp:0:interface=127.0.0.1"),
                *("--stream", "tls:tcp:0:interface=127.0.0.1"),
                *self._front(lab),
                *more,
            ),
            core=lab.serverCore,
            directory=self._path,
        )
        addresses = await self.begun(child, log)
        return Server(self.name, child.pid, addresses, TokenMeeting(TOKEN), child)

    def _front(self, lab: Lab) -> tuple[str | Path, ...]:
        """Return the options for visitors of one home."""
        if not self.hasHomes:
            return ()
        names, configuration = lab.directory / "names", lab.directory / "front.conf"
        names.write_text(f"{HOME} {_HOME_UUID}\n")
        configuration.write_text(_FRONT.format(names=names))
        return "--configuration", configuration

    async def begun(self, child: Child, log: Path) -> dict[str, Address]:
        """Wait until it serves; return its addresses.

        :param log: what it writes.
        :raises PeerError: it does not.
        """
        front = (_FRONT_SCHEME,) if self.hasHomes else ()
        return await _listening(child, log, (*self.transports, *front))

    async def startHome(self, lab: Lab, server: Server, service: int) -> Home:
        host, port = server.addresses["tcp"]
        child = lab.start(
            (
                *(self._python, "-c", "from nymearemoteproxy.commands import client; client()"),
                *("--url", f"tcp://{host}:{port}", "--serve", _HOME_UUID),
                *("--forward", f"127.0.0.1:{service}"),
            ),
            core=lab.generatorCore,
            directory=self._path,
        )
        deadline = now() + HOME_COMES
        while "registered" not in child.log.read_text():
            await _again(child, deadline)
        return Home(server.addresses[_FRONT_SCHEME], child)


class Before(Own):
    """This server as it was, which is compared with, and not held to any target.

    It takes part where it is told what something costs. Latencies have limits of their own.
    """

    isJudged = False
    workloads = (*TUNNEL_WORKLOADS, "slow-reader", "tunnelproxy", *VISIT_WORKLOADS)

    def __init__(self, path: Path) -> None:
        super().__init__(BEFORE, path)

    def version(self) -> str:
        """Return its commit, or where it is."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return _said("git", "-C", self._path, "describe", "--always", "--dirty")
        return str(self._path)


class Stock(Peer):
    """The relay in `benchmarks.stock`."""

    name = STOCK
    transports = ("ws", "wss")

    async def start(self, lab: Lab) -> Server:
        child = lab.start(
            (sys.executable, "-m", "benchmarks.stock", certificate(lab)), core=lab.serverCore
        )
        addresses = await _listening(child, child.log, self.transports)
        return Server(self.name, child.pid, addresses, TokenMeeting(TOKEN), child)


class Haproxy(Peer):
    """haproxy in tcp mode: what forwarding costs in C, without a rendezvous.

    For a tunnel it accepts one connection and makes the other; with TLS it resumes the sessions of
    those it makes. So its set-up is another thing than that of the others.
    """

    name = HAPROXY
    transports = ("tcp", "tls")

    def missing(self) -> str | None:
        return None if haproxyPath() else "haproxy is not installed (apt-get install haproxy)"

    def version(self) -> str:
        text = _said(haproxyPath(), "-vv")
        version = re.search(r"version (\S+)", text)
        openssl = re.search(r"Running on OpenSSL version : (\S+ \S+)", text)
        return f"{version[1] if version else '?'}, {openssl[1] if openssl else 'no OpenSSL'}"

    async def start(self, lab: Lab) -> Server:
        path = certificate(lab)
        meeting = ForwardMeeting()
        await meeting.listen("tcp", None)
        await meeting.listen("tls", serverContext(path))
        addresses = {transport: ("127.0.0.1", _freePort()) for transport in self.transports}
        configuration = lab.directory / f"haproxy-{now()}.cfg"
        configuration.write_text(
            _HAPROXY_CONFIGURATION.format(
                connections=lab.mostTunnels + SPARE,
                certificate=path,
                front={transport: address[1] for transport, address in addresses.items()},
                back=meeting.ports,
            )
        )
        child = lab.start((haproxyPath(), "-db", "-f", configuration), core=lab.serverCore)
        await _accepting(child, *addresses.values())
        return Server(self.name, child.pid, addresses, meeting, child)


class TransitRelay(Peer):
    """magic-wormhole-transit-relay: a rendezvous relay on Twisted, TCP only."""

    name = TRANSIT_RELAY
    transports = ("tcp",)

    def missing(self) -> str | None:
        if importlib.util.find_spec("wormhole_transit_relay"):
            return None
        return "magic-wormhole-transit-relay is not installed (pip install it)"

    async def start(self, lab: Lab) -> Server:
        address = "127.0.0.1", _freePort()
        child = lab.start(
            (
                *(sys.executable, "-m", "twisted", "transitrelay"),
                *("--port", f"tcp:{address[1]}:interface=127.0.0.1"),
            ),
            core=lab.serverCore,
        )
        await _accepting(child, address)
        return Server(self.name, child.pid, {"tcp": address}, TransitMeeting(), child)


class Strelaysrv(Peer):
    """Syncthing's relay, in Go: TCP only, with rendezvous over TLS.

    For a tunnel it makes a handshake with one of the two, who then asks for a session; so its
    set-up is another thing than that of the others. It counts each tunnel twice towards its own
    limit, four fifths of the open files, so it is not filled to the brim.
    """

    name = STRELAYSRV
    transports = ("tcp",)
    workloads = TUNNEL_WORKLOADS

    def missing(self) -> str | None:
        if shutil.which("strelaysrv"):
            return None
        return "strelaysrv is not installed (see docs/development.rst: Benchmarks)"

    def version(self) -> str:
        return _said("strelaysrv", "-version").partition('"')[0].strip()

    async def start(self, lab: Lab) -> Server:
        address = _host, port = "127.0.0.1", _freePort()
        keys = lab.directory / f"strelaysrv-{now()}"
        keys.mkdir()
        # Its own would be over P-384, which Go computes slowly.
        for name in ("cert.pem", "key.pem"):
            (keys / name).symlink_to(certificate(lab))
        child = lab.start(
            (
                *("strelaysrv", "-keys", keys, "-protocol", "tcp4", "-listen", f"127.0.0.1:{port}"),
                # By default it offers itself to everybody, by a public list of relays.
                *("-pools", "", "-status-srv", ""),
                *("-network-timeout", WHOLE_RUN, "-ping-interval", WHOLE_RUN),
            ),
            core=lab.serverCore,
        )
        await _accepting(child, address)
        meeting = SyncthingMeeting(certificate(lab))
        await meeting.join(address)
        return Server(self.name, child.pid, {"tcp": address}, meeting, child)


class Snitun(Peer):
    """snitun: the tunnel proxy of Home Assistant Cloud, on asyncio.

    :param python: an interpreter that it is installed for.
    """

    name = SNITUN
    transports = ("tcp",)
    hasHomes = True
    workloads = VISIT_WORKLOADS

    def __init__(self, python: str | Path = SNITUN_PYTHON) -> None:
        self._python = python

    def missing(self) -> str | None:
        try:
            self.version()
        except (OSError, subprocess.SubprocessError):
            return f"{self._python} has no snitun (see docs/development.rst: Benchmarks)"
        return None

    def version(self) -> str:
        return _said(self._python, "-m", "benchmarks.snitunpeer", "version")

    def _start(self, lab: Lab, core: int, *arguments: object) -> Child:
        return start(lab, "snitunpeer", *arguments, python=self._python, core=core)

    async def start(self, lab: Lab) -> Server:
        child = self._start(lab, lab.serverCore, "server")
        async with asyncio.timeout(STARTING):
            address = "127.0.0.1", int(await hear(child))
        # Tunnels by token are not there; a visit needs a home.
        return Server(self.name, child.pid, {"tcp": address}, ForwardMeeting(), child)

    async def startHome(self, lab: Lab, server: Server, service: int) -> Home:
        _host, port = address = server.addresses["tcp"]
        child = self._start(lab, lab.generatorCore, "home", port, service)
        async with asyncio.timeout(HOME_COMES):
            await hear(child)
        return Home(address, child)


class Target(Peer):
    """A server that somebody else started, and that speaks API 0.3."""

    isJudged = True
    canStart = False

    def __init__(self, name: str, url: str, pid: int, token: str) -> None:
        parts = urlsplit(url)
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme not in TRANSPORTS or not port or not host.startswith("127."):
            raise PeerError(f"{url} is no ws, wss, tcp or tls URL with a port of this machine")
        if not Path(f"/proc/{pid}/schedstat").exists():
            raise PeerError(f"there is no process {pid}")
        self.name = name
        self.transports = (parts.scheme,)
        addresses = {parts.scheme: (host, port)}
        self._server = Server(name, pid, addresses, TokenMeeting(token))

    async def start(self, lab: Lab) -> Server:
        return self._server


def haproxyPath() -> str:
    """Return where haproxy is, or nothing."""
    # Debian keeps it where only root's PATH leads.
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin") or ""


def _said(*command: str | Path) -> str:
    """Return what a program says, without the end of the last line.

    :raises OSError: it is not there.
    :raises subprocess.CalledProcessError: it fails.
    """
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=STARTING
    )
    return done.stdout.strip()


def _freePort() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def _listening(child: Child, log: Path, transports: tuple[str, ...]) -> dict[str, Address]:
    """Wait until a server's log says where it listens for all transports."""
    deadline = now() + STARTING
    while True:
        text = log.read_text() if log.exists() else ""
        found = {scheme: ("127.0.0.1", int(port)) for scheme, port in _LISTENING.findall(text)}
        if found.keys() >= set(transports):
            return found
        await _again(child, deadline)


async def _accepting(child: Child, *addresses: Address) -> None:
    """Wait until a server accepts connections."""
    deadline = now() + STARTING
    for address in addresses:
        while True:
            try:
                _reader, writer = await asyncio.open_connection(*address)
            except ConnectionError:
                await _again(child, deadline)
            else:
                writer.close()
                break


async def _again(child: Child, deadline: float) -> None:
    if not child.isRunning or now() > deadline:
        raise PeerError(f"does not start: {child.lastWords}")
    await asyncio.sleep(AGAIN)


def certificate(lab: Lab) -> Path:
    """Return the one certificate that all servers use, with its key."""
    path = lab.directory / "certificate.pem"
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        today = datetime.datetime.now(datetime.UTC)
        signed = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - datetime.timedelta(days=1))
            .not_valid_after(today + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path
