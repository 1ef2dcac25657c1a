"""Helpers of the end-to-end tests: the real processes, and clients that know nothing of its code.

The tests block, in a thread, while the reactor of trial runs in the main one: it serves the fake
authentication server.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import ipaddress
import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests.support.forking import ROOT, Forked, ForkServer, isProgram

reactor: Any = globalReactor

TWISTD = (
    sys.executable,
    "-c",
    "from twisted.scripts.twistd import run; run()",
    "--nodaemon",
    "--pidfile=",
    "nymea-remoteproxy",
)
CONSOLE = (sys.executable, "-m", "nymearemoteproxy.running.cli")
CLIENT = (sys.executable, "-m", "nymearemoteproxy.client.cli")
MONITOR = (sys.executable, "-m", "nymearemoteproxy.monitor.cli")

STREAM = "tcp:0:interface=127.0.0.1"
"""Where a test's server listens: on a port that the kernel chooses."""
TLS_STREAM = f"tls:{STREAM}"

PATIENCE = 60.0
"""Seconds to wait for something that happens at once unless there is a bug."""

SLACK = 10.0
"""Seconds by which a machine with other things to do may miss a time that is promised."""

STARTING = 60.0
"""Seconds to start: it is mostly computing, and tests start several servers together."""

MARK = "s3cr3t"
"""Begins every token and nonce of these tests, so that one search finds a leak of any of them."""

SIGTERM, SIGHUP, SIGINT, SIGUSR2 = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGUSR2,
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
INVALID_TOKEN = "Invalid token. You are not allowed to use this server."
BACKEND_TIMEOUT = "Authentication took too long. Please try again later."
BACKEND_ERROR = "Authentication is not possible at the moment. Please try again later."


def secret(name: str = "token") -> str:
    """Return a new token or nonce."""
    return f"{MARK}-{name}-{secrets.token_hex(4)}"


def inThread(method: Callable[..., None]) -> Callable[..., Deferred[None]]:
    """Make a test of a function that blocks."""

    @wraps(method)
    def test(*arguments: Any) -> Deferred[None]:
        return deferToThread(method, *arguments)

    return test


def until(condition: Callable[[], bool], problem: str) -> None:
    """Wait for what no event tells of."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(problem)
        time.sleep(0.01)


def reservePort(address: str = "127.0.0.1") -> socket.socket:
    """Return a socket on a port that nobody else is given; who asks for it may listen on it."""
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind((address, 0))
    return reservation


def untilListening(path: str) -> None:
    """Wait until somebody listens on a Unix socket, without connecting: its file is there before.

    See proc_net_unix of proc(5); the flag is __SO_ACCEPTCON of linux/net.h.
    """

    def isListening() -> bool:
        rows = map(str.split, Path("/proc/net/unix").read_text().splitlines()[1:])
        return any(row[7:] == [path] and int(row[3], 16) & 0x10000 for row in rows)

    until(isListening, f"nobody listens on {path}")


# Processes


UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}
"""The environment of a program whose lines are not counted."""


def environmentOfPrograms() -> dict[str, str]:
    """Return that of a program of ours which runs in another directory, or with another Python."""
    removed = ("STATE_DIRECTORY", "NYMEA_REMOTEPROXY_TOKEN", "NOTIFY_SOCKET", "WATCHDOG_USEC")
    inherited = {name: value for name, value in os.environ.items() if name not in removed}
    paths = (str(ROOT), inherited.get("PYTHONPATH"))  # txredisapi may be in the second one
    joined = os.pathsep.join(filter(None, paths))
    return {**inherited, "PYTHONPATH": joined, "LC_ALL": "C.UTF-8"}


@cache
def forkServer(isMeasured: bool, /) -> ForkServer:
    """Return the one of this run for programs whose lines are counted, or for the others."""
    made = ForkServer({**environmentOfPrograms(), **({} if isMeasured else UNMEASURED)})
    atexit.register(made.stop)
    atexit.register(_stopShared)  # before that
    return made


def forkServerFor(command: Sequence[str | bytes], environment: dict[str, str]) -> ForkServer | None:
    """Return the one that can fork this program, or None if it has to be started."""
    if not isProgram(command):
        return None
    # The second one is not made before it is needed.
    servers = map(forkServer, (False, True))
    return next((server for server in servers if server.suits(environment)), None)


def runForked(
    command: Sequence[str], arguments: Sequence[str], environment: dict[str, str]
) -> tuple[int, str]:
    """Run a program often, and quickly; return its status and all that it wrote."""
    whole = {**environmentOfPrograms(), **environment}
    return forkServer(True).run([*command, *arguments], whole)


_PASS_SOCKETS = """
import fcntl, json, os, sys
given = json.loads(sys.argv[1])
sockets = [fcntl.fcntl(each, fcntl.F_DUPFD, 100) for each in given]
for each in given:
    os.close(each)
for number, each in enumerate(sockets, 3):
    os.dup2(each, number)
    os.close(each)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)))
os.environ.setdefault("LISTEN_FDNAMES", ":".join(["unknown"] * len(sockets)))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes another program, with sockets as in sd_listen_fds(3)."""


class Program:
    """A process; what it writes is collected line by line.

    :param sockets: passed on to it as systemd does, from file descriptor 3 on.
    :ivar lines: (stream, text) in the order they came; the streams are "out" and "err".
    """

    def __init__(
        self,
        command: Sequence[str | bytes],
        environment: dict[str, str] | None = None,
        stateHome: str = "/dev/null",
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        self.lines: list[tuple[str, str]] = []
        self._changed = threading.Condition(threading.RLock())
        self._open = 2
        whole = {**environmentOfPrograms(), "XDG_STATE_HOME": stateHome, **(environment or {})}
        self.process = self._start(command, whole, [each.fileno() for each in sockets])
        self.pid = self.process.pid
        for name, pipe in (("out", self.process.stdout), ("err", self.process.stderr)):
            threading.Thread(target=self._read, args=(name, pipe), daemon=True).start()

    def _start(
        self, command: Sequence[str | bytes], environment: dict[str, str], sockets: list[int]
    ) -> subprocess.Popen[bytes] | Forked:
        if sockets:  # Twisted looks for them when it is imported
            command = (sys.executable, "-c", _PASS_SOCKETS, json.dumps(sockets), *command)
        elif server := forkServerFor(command, environment):
            return server.start(command, environment)
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            pass_fds=sockets,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _read(self, name: str, pipe: Any) -> None:
        for line in pipe:
            with self._changed:
                self.lines.append((name, line.decode("utf-8", "replace").rstrip("\n")))
                self._changed.notify_all()
        pipe.close()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def text(self, stream: str | None = None, since: int = 0) -> str:
        """Return what it wrote."""
        with self._changed:
            return "\n".join(text for name, text in self.lines[since:] if stream in (None, name))

    def mark(self) -> int:
        """Return a position for `since`."""
        with self._changed:
            return len(self.lines)

    def find(self, pattern: str, since: int = 0) -> list[re.Match[str]]:
        """Return the matches in the lines that are there already."""
        with self._changed:
            found = (re.search(pattern, text) for _name, text in self.lines[since:])
            return [match for match in found if match]

    def waitFor(
        self, pattern: str, since: int = 0, count: int = 1, patience: float = PATIENCE
    ) -> re.Match[str]:
        """Wait until a line matches, or `count` lines do; return the last match."""
        deadline = time.monotonic() + patience
        search = re.compile(pattern).search
        with self._changed:
            while True:
                for position in range(since, len(self.lines)):
                    match = search(self.lines[position][1])
                    count -= match is not None
                    if match and not count:
                        return match
                since = len(self.lines)
                left = deadline - time.monotonic()
                if not self._open or left <= 0:
                    raise AssertionError(
                        f"no line matches {pattern!r}; the process wrote:\n{self.text()}"
                    )
                self._changed.wait(left)

    def signal(self, number: int) -> None:
        """Send a signal to this process."""
        self.process.send_signal(number)

    def handlesSignals(self) -> bool:
        """Tell whether SIGHUP would be handled."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
        return caught is not None and bool(int(caught[1], 16) & 1 << SIGHUP - 1)

    def wait(self) -> int:
        """Wait until it has ended by itself and all its output is here; return its status."""
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end; it wrote:\n{self.text()}") from None
        with self._changed:
            self._changed.wait_for(lambda: not self._open, PATIENCE)
        return status

    def stop(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def openFiles(self) -> int:
        """Return how many files it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Server(Program):
    """The server; ready once constructed.

    :param running: wait for more than the log: until it handles signals, and so runs.
    :param through: a command that becomes the server.
    :ivar urls: of its listeners, in the order of the log.
    :ivar baseline: files open before anybody came.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        twistd: bool = False,
        listeners: int = 1,
        environment: dict[str, str] | None = None,
        stateHome: str = "/dev/null",
        running: bool = True,
        sockets: Sequence[socket.socket] = (),
        through: Sequence[str] = (),
    ) -> None:
        command = TWISTD if twistd else CONSOLE
        super().__init__([*through, *command, *arguments], environment, stateHome, sockets)
        try:
            self.waitFor("listening on ", count=listeners, patience=STARTING)
            if running:
                until(self.handlesSignals, "it does not handle SIGHUP")
        except BaseException:
            self.stop()
            raise
        self.urls = [match[1] for match in self.find(r"listening on (\S+)")]
        self.baseline = self.openFiles()

    def url(self, scheme: str) -> str:
        """Return the URL of the listener with this scheme."""
        return next(url for url in self.urls if url.startswith(f"{scheme}:"))

    def ended(self, client: Stream, since: int = 0) -> str:
        """Wait for the one line about a connection's end; return the outcome's name."""
        pattern = rf"from {re.escape(client.peer)} ended: (\S+) "
        return self.waitFor(pattern, since)[1]

    def settle(self) -> None:
        """Wait until no more files are open than before anybody came."""
        until(
            lambda: self.openFiles() <= self.baseline,
            f"more files are open than {self.baseline} as before",
        )


# Certificates


class Certificate:
    """A self-signed certificate for localhost, in PEM files.

    :ivar both: certificate and key in one file.
    """

    def __init__(self, directory: str, days: int = 30, passphrase: bytes | None = None) -> None:
        folder = Path(directory).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "end-to-end test")])
        now = datetime.datetime.now(datetime.UTC)
        names = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(key, hashes.SHA256())
        )
        protection: Any = (
            serialization.BestAvailableEncryption(passphrase)
            if passphrase
            else serialization.NoEncryption()
        )
        certificatePem = certificate.public_bytes(serialization.Encoding.PEM)
        keyPem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
        )
        self.fingerprint = certificate.fingerprint(hashes.SHA256())
        self.certificate = str(folder / "certificate.pem")
        self.key = str(folder / "key.pem")
        self.both = str(folder / "both.pem")
        Path(self.certificate).write_bytes(certificatePem)
        Path(self.key).write_bytes(keyPem)
        Path(self.both).write_bytes(keyPem + certificatePem)


# Clients

_portsUsed: set[int] = set()


def _boundSocket(address: str) -> socket.socket:
    """Return a socket with a local port that no client had before: logs name clients by it.

    Left to `connect`, two clients of different listeners get the same one now and then.
    """
    while True:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        made.bind((address, 0))
        port = made.getsockname()[1]
        if port not in _portsUsed:
            _portsUsed.add(port)
            return made
        made.close()


class Stream:
    """A client on a plain or TLS byte stream.

    :param header: what is sent first, before TLS.
    :ivar peer: how the server's log calls it.
    """

    def __init__(self, url: str, tls: bool | None = None, header: bytes = b"") -> None:
        scheme, _, rest = url.partition(":")
        if scheme in ("unix", "ws+unix"):
            self.socket: socket.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(rest)
            self.peer = "unix"
        else:
            host, _, port = rest.removeprefix("//").rpartition(":")
            self.host, self.port = host.strip("[]"), int(port)
            isHere = ipaddress.ip_address(self.host).is_loopback
            self.socket = _boundSocket(self.host if isHere else "0.0.0.0")
            self.socket.settimeout(PATIENCE)
            self.socket.connect((self.host, self.port))
            name = self.socket.getsockname()
            self.peer = f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
        self._received = b""
        self.socket.sendall(header)
        if tls if tls is not None else scheme in ("tls", "wss"):
            self.socket = TLS.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, data: bytes) -> None:
        """Send bytes; the server may well have closed meanwhile."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.socket.sendall(data)

    def _more(self) -> bool:
        """Receive more; False at the end of the stream, in whichever way it comes."""
        try:
            data = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        self._received += data
        return data != b""

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end of the stream."""
        chunks = [self._received]
        have = len(self._received)
        while have < size:
            self._received = b""
            if not self._more():
                break
            chunks.append(self._received)
            have += len(self._received)
        data = b"".join(chunks)
        self._received = data[size:]
        return data[:size]

    def readUntil(self, end: bytes) -> bytes:
        """Return everything up to and with `end`."""
        while end not in self._received:
            if not self._more():
                raise AssertionError(f"the stream ended with {self._received!r}")
        head, _, self._received = self._received.partition(end)
        return head + end

    def line(self) -> bytes:
        """Return the next line."""
        return self.readUntil(b"\n")

    def rest(self) -> bytes:
        """Return everything until the server closes."""
        while self._more():
            pass
        data, self._received = self._received, b""
        return data

    def close(self) -> None:
        """Close in the ordinary way."""
        self.socket.close()

    # The same for streams and WebSocket

    def sendMessage(self, message: bytes) -> None:
        """Send one JSON message."""
        self.send(message)

    def message(self) -> bytes:
        """Return the next JSON message."""
        return self.line()

    def goodbye(self) -> tuple[bytes, int | None]:
        """Return the JSON that still came, and the close code; wait until the server closes."""
        data = self.rest()
        self.close()
        return data, None


def _makeTlsContext() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


TLS = _makeTlsContext()
"""Trusts everybody."""


def frame(
    opcode: int, payload: bytes = b"", fin: bool = True, masked: bool = True, reserved: int = 0
) -> bytes:
    """Return one WebSocket frame, also a wrong one."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 65536:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    mask = secrets.token_bytes(4)
    masks = (mask * (size // 4 + 1))[:size]
    hidden = int.from_bytes(payload, "big") ^ int.from_bytes(masks, "big")
    return head + mask + hidden.to_bytes(size, "big")


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class WebSocket(Stream):
    """A WebSocket client, written for these tests so that it can misbehave."""

    def __init__(
        self, url: str, opcode: int = TEXT, tls: bool | None = None, header: bytes = b""
    ) -> None:
        super().__init__(url, tls, header)
        self.opcode = opcode
        self.code: int | None = None
        self.reason = b""
        self.send(UPGRADE)
        head = self.readUntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise AssertionError(f"no WebSocket upgrade: {head!r}")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455 section 1.3

    def frame(self) -> tuple[int, bytes]:
        """Return the next frame: opcode, payload; opcode -1 at the end of the stream."""
        head = self.read(2)
        if len(head) < 2:
            return -1, head
        size = head[1] & 0x7F
        assert not head[1] & 0x80, "the server masked a frame"
        if size > 125:
            size = int.from_bytes(self.read(2 if size == 126 else 8), "big")
        return head[0] & 0x0F, self.read(size)

    def sendMessage(self, message: bytes) -> None:
        self.send(frame(self.opcode, message))

    def message(self) -> bytes:
        opcode, payload = self.frame()
        if opcode == CLOSE:
            raise AssertionError(f"closed: {payload!r}")
        assert opcode == self.opcode, (opcode, payload)
        return payload

    def goodbye(self) -> tuple[bytes, int | None]:
        data = b""
        while True:
            opcode, payload = self.frame()
            if opcode in (TEXT, BINARY):
                data += payload
            elif opcode == CLOSE:
                self.code = int.from_bytes(payload[:2], "big")
                self.reason = payload[2:]
                self.send(frame(CLOSE, payload[:2]))
            elif opcode == -1:
                assert payload == b"", payload
                self.close()
                return data, self.code


def connect(url: str) -> Stream:
    """Return the client that suits the URL."""
    return WebSocket(url) if url.startswith(("ws:", "wss:", "ws+unix:")) else Stream(url)


# Messages

FIRST: dict[str, str] = {}
"""The additional params of Authenticate in the first API."""

SECOND = {"uuid": "{5f0ac2b2-5f4f-4d0c-9e2b-6ac0a7e3d001}", "name": "end-to-end"}
"""The same in API 0.3."""

DIALECTS = (FIRST, SECOND)
ESTABLISHED_FIRST = b'{"id":"1","notification":"Tunnel.Established"}\n'


def call(method: str, id: int = 1, **params: Any) -> bytes:
    """Return one request."""
    message: dict[str, Any] = {"id": id, "method": method}
    if params:
        message["params"] = params
    return json.dumps(message).encode() + b"\n"


def authenticate(token: str, dialect: dict[str, str] = FIRST, id: int = 1, **more: str) -> bytes:
    """Return an Authenticate request."""
    return call("Authentication.Authenticate", id, token=token, **{**dialect, **more})


def accepted(dialect: dict[str, str], id: int = 1) -> bytes:
    """Return the response to an accepted client."""
    if not dialect:
        return b'{"id":%d,"status":"success"}\n' % id
    return (
        b'{"id":%d,"status":"success","params":'
        b'{"authenticationError":"AuthenticationErrorNoError"}}\n' % id
    )


def failed(dialect: dict[str, str], error: str, text: str, id: int = 1) -> bytes:
    """Return the response to a client that is not let in."""
    if not dialect:
        return b'{"id":%d,"status":"error","error":"%s"}\n' % (id, text.encode())
    return (
        b'{"id":%d,"status":"success","params":'
        b'{"authenticationError":"AuthenticationError%s"},"error":"%s"}\n'
        % (id, error.encode(), text.encode())
    )


def refused(dialect: dict[str, str], id: int = 1) -> bytes:
    """Return the response to a client with a wrong token."""
    return failed(dialect, "AuthenticationFailed", INVALID_TOKEN, id)


def join(url: str, token: str, dialect: dict[str, str] = FIRST, **more: str) -> Stream:
    """Return a client that was accepted and waits for its partner."""
    client = connect(url)
    client.sendMessage(authenticate(token, dialect, **more))
    response = client.message()
    if response != accepted(dialect):
        raise AssertionError(response)
    return client


def tunnel(url: str, token: str, other: str | None = None, **more: str) -> tuple[Stream, Stream]:
    """Return two clients of the first API with a tunnel between them."""
    one, two = join(url, token, **more), join(other or url, token, **more)
    for client in (one, two):
        notification = client.message()
        if notification != ESTABLISHED_FIRST:
            raise AssertionError(notification)
    return one, two


# Test cases


class EndToEnd(TestCase):
    """A test that starts processes; all of them end with it, and none of them told a secret.

    :cvar measured: whether the lines they reach are counted: where no test reaches them in its own
        process, as it makes a program half as fast.
    """

    timeout = 300
    measured = False

    def temporary(self) -> Path:
        """Return a new directory with a short name, as Unix sockets need it."""
        path = tempfile.mkdtemp(prefix="e2e-")
        self.addCleanup(shutil.rmtree, path, True)
        return Path(path)

    def environmentWith(self, more: dict[str, str] | None) -> dict[str, str]:
        """Return that of a program of this test."""
        return {**({} if self.measured else UNMEASURED), **(more or {})}

    def file(self, content: str | bytes, name: str = "file") -> str:
        """Return the path of a new file."""
        path = self.temporary() / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def start(
        self,
        *arguments: str,
        twistd: bool = False,
        listeners: int = 1,
        environment: dict[str, str] | None = None,
        running: bool = True,
        sockets: Sequence[socket.socket] = (),
        through: Sequence[str] = (),
    ) -> Server:
        """Start a server that ends with this test."""
        state = str(self.temporary())
        given = self.environmentWith(environment)
        server = Server(arguments, twistd, listeners, given, state, running, sockets, through)
        self.addCleanup(self.assertDiscreet, server)
        self.addCleanup(server.stop)
        return server

    def launchProgram(
        self, command: Sequence[str | bytes], environment: dict[str, str] | None = None
    ) -> Program:
        """Start a program that ends with this test, and need not say that it listens."""
        program = Program(command, self.environmentWith(environment), str(self.temporary()))
        self.addCleanup(self.assertDiscreet, program)
        self.addCleanup(program.stop)
        return program

    def run_(self, command: Sequence[str | bytes], **environment: str) -> Program:
        """Run a program that ends by itself; return it when it has."""
        program = Program(command, self.environmentWith(environment), str(self.temporary()))
        self.addCleanup(program.stop)
        return program

    def keep(self, *clients: Stream) -> None:
        """Close the clients when the test is over."""
        for client in clients:
            self.addCleanup(client.close)

    def assertDiscreet(self, program: Program, since: int = 0, more: Iterable[str] = ()) -> None:
        """Neither a secret nor a traceback in what it wrote."""
        for text in (program.text(since=since), *more):
            self.assertNotIn(MARK, text)
            self.assertNotIn("Traceback", text)
            self.assertNotIn("Unhandled", text)


_shared: dict[type, Server] = {}


def _stopShared() -> None:
    while _shared:
        _shared.popitem()[1].stop()


class SharedServer(EndToEnd):
    """One server for all tests of a class, which ends when another class is tested.

    Every test leaves it as it was: no connection, no traceback, no secret told.
    """

    twistd = False
    listeners = 1

    def arguments(self) -> list[str]:
        """Return the command line."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return more environment variables."""
        return {}

    @inThread
    def setUp(self) -> None:
        running = _shared.get(type(self))
        if running is None or running.process.poll() is not None:
            _stopShared()
            state = tempfile.mkdtemp(prefix="e2e-")
            atexit.register(shutil.rmtree, state, True)
            running = Server(
                self.arguments(),
                self.twistd,
                self.listeners,
                self.environmentWith(self.environment()),
                state,
            )
            _shared[type(self)] = running
        self.server = running
        self.since = running.mark()
        self.addCleanup(deferToThread, self._leave)

    def _leave(self) -> None:
        # Cleanups run in the reverse order: the clients are closed by now.
        self.server.settle()
        self.assertDiscreet(self.server, self.since)
        self.assertIsNone(self.server.process.poll())

    def ended(self, client: Stream) -> str:
        """Wait until the server has done with a client; return the outcome's name."""
        return self.server.ended(client, self.since)

    def linesAbout(self, client: Stream) -> list[str]:
        """Return the log lines that name the client."""
        pattern = rf".*from {re.escape(client.peer)}\b.*"
        return [match[0] for match in self.server.find(pattern, self.since)]


# The fake authentication server

Answer = Callable[[Request], "bytes | int"]


class Asked:
    """One request that the authentication server got."""

    def __init__(self, request: Request, connection: int) -> None:
        self.method = request.method
        self.path = request.path
        self.type = request.getHeader("content-type")
        self.authorization = request.getHeader("authorization")
        assert request.content is not None
        self.body = request.content.read()
        self.connection = connection
        self.gone = threading.Event()
        """Set when the asker closed the connection before it had its answer."""


class Backend:
    """An authentication server on loopback, in this process.

    :ivar port: the same every time it listens.
    :ivar answer: called in the reactor's thread with each request; returns the body.
    :ivar asked: all requests so far.
    """

    def __init__(self) -> None:
        self._reservation = reservePort()
        self.port: int = self._reservation.getsockname()[1]
        self.asked: list[Asked] = []
        self.answer: Answer = lambda request: b'{"isValid": true}'
        self._changed = threading.Condition()
        self._port: Any = None
        self._transports: dict[Any, Any] = {}

    def listen(self, context: Any = None) -> None:
        """Listen; `context` is for TLS."""
        site = Site(_Page(self))
        site.noisy = False
        build = site.buildProtocol

        def buildProtocol(address: Any) -> Any:
            channel: Any = build(address)
            made, lost = channel.makeConnection, channel.connectionLost

            def makeConnection(transport: Any) -> None:
                self._transports[channel] = transport
                made(transport)

            def connectionLost(reason: Any) -> None:
                del self._transports[channel]
                lost(reason)

            channel.makeConnection, channel.connectionLost = makeConnection, connectionLost
            return channel

        site.buildProtocol = buildProtocol  # type: ignore[method-assign]

        def listen() -> Any:
            if context is None:
                return reactor.listenTCP(self.port, site, interface="127.0.0.1")
            return reactor.listenSSL(self.port, site, context, interface="127.0.0.1")

        self._port = blockingCallFromThread(reactor, listen)

    def stop(self) -> None:
        """Close the port and every connection."""
        port, self._port = self._port, None
        if port is None:
            return

        def stop() -> Any:
            for transport in list(self._transports.values()):
                transport.abortConnection()
            return port.stopListening()

        blockingCallFromThread(reactor, stop)
        while self._transports:
            blockingCallFromThread(reactor, time.sleep, 0)

    def waitFor(self, count: int) -> list[Asked]:
        """Wait until so many requests have come."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.asked) >= count, PATIENCE):
                raise AssertionError(f"{len(self.asked)} requests came")
            return list(self.asked)

    def _add(self, asked: Asked) -> None:
        with self._changed:
            self.asked.append(asked)
            self._changed.notify_all()


class _Page(Resource):
    isLeaf = True

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    def render(self, request: Request) -> bytes | int:
        asked = Asked(request, request.getClientAddress().port)
        request.notifyFinish().addErrback(lambda _failure: asked.gone.set())
        request.setHeader("content-type", "application/json")
        answer = self._backend.answer
        self._backend._add(asked)
        return answer(request)


def hang(request: Request) -> int:
    """Never answer."""
    return NOT_DONE_YET
