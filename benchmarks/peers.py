"""The servers that are compared: how each is started, and what it can do.

Owns command lines and configurations. Knows nothing of workloads.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib.util
import re
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.directory import Directory
from benchmarks.lab import ROOT, Child, Lab, cpuTime, memory, now
from benchmarks.meetings import Address, ForwardMeeting, Meeting, TokenMeeting, TransitMeeting
from benchmarks.names import HAPROXY, OWN, STOCK, TRANSIT_RELAY, TRANSPORTS
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
    """

    name: str
    transports: tuple[str, ...]
    isJudged = False
    canStart = True
    hasTunnelProxy = False

    def missing(self) -> str | None:
        """Return what has to be installed first."""
        return None

    async def start(self, lab: Lab) -> Server:
        """Start a process.

        :raises PeerError: it does not listen.
        """
        raise NotImplementedError


class Own(Peer):
    """This server, from any checkout."""

    transports = TRANSPORTS
    isJudged = True
    hasTunnelProxy = True

    program = ("-c", "from nymearemoteproxy.commands import server; server()")
    """What Python is given."""

    def __init__(self, name: str = OWN, path: Path = ROOT) -> None:
        self.name = name
        self._path = path

    @property
    def canBeWatched(self) -> bool:
        """Tell whether it has a monitor socket and admin pages."""
        package = self._path / "nymearemoteproxy"
        return any((package / name).is_dir() for name in ("watching", "admin"))

    async def start(self, lab: Lab, *more: str) -> Server:
        log = lab.directory / f"{self.name}-{now()}.log"
        child = lab.start(
            (
                *(sys.executable, *self.program),
                *("--token", TOKEN, "--certificate", certificate(lab), "--logging", log),
                "--tunnelproxy",
                *("--websocket", "tcp:0:interface=127.0.0.1"),
                *("--websocket", "tls:tcp:0:interface=127.0.0.1"),
                *("--stream", "tcp:0:interface=127.0.0.1"),
                *("--stream", "tls:tcp:0:interface=127.0.0.1"),
                *more,
            ),
            core=lab.serverCore,
            directory=self._path,
        )
        addresses = await self.begun(child, log)
        return Server(self.name, child.pid, addresses, TokenMeeting(TOKEN), child)

    async def begun(self, child: Child, log: Path) -> dict[str, Address]:
        """Wait until it serves; return its addresses.

        :param log: what it writes.
        :raises PeerError: it does not.
        """
        return await _listening(child, log, self.transports)


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

    async def start(self, lab: Lab) -> Server:
        path = certificate(lab)
        meeting = ForwardMeeting()
        await meeting.listen(serverContext(path))
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
    await asyncio.sleep(0.05)


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
