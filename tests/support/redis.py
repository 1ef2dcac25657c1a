"""A real Redis, and what is none, for tests."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from twisted.internet.protocol import Protocol

from tests.support.endtoend import PATIENCE, until

PROGRAM = shutil.which("redis-server")

FIXED_PORTS = range(20000, 32768)
"""From 32768 on Linux gives ports to whoever wants any (ip_local_port_range)."""


def reasonToSkip() -> str | None:
    """Return why the tests with a Redis cannot be run here."""
    if find_spec("txredisapi") is None:
        return "txredisapi is not installed"
    return None if PROGRAM else "redis-server is not installed"


def freePort() -> int:
    """Return a port on which nobody listens, and which the kernel gives to nobody meanwhile."""
    while True:
        # Not by `random`: with Hypothesis all processes draw the same from it.
        port = FIXED_PORTS.start + secrets.randbelow(len(FIXED_PORTS))
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """A Redis that keeps nothing on a disk.

    :param options: further ones, such as ``--requirepass``.
    :param password: that `do` has to say.
    :param through: a command that becomes the Redis.
    :ivar port: on 127.0.0.1, also after a restart.
    :ivar path: of its Unix socket.
    """

    def __init__(self, *options: str, password: str = "", through: Sequence[str] = ()) -> None:
        self._directory = tempfile.mkdtemp(prefix="redis-")
        self._options = options
        self._through = through
        self._password = password
        self.path = str(Path(self._directory) / "socket")
        self.port = freePort()
        self.start()

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        assert PROGRAM is not None
        with contextlib.suppress(FileNotFoundError):
            Path(self.path).unlink()
        self._process = subprocess.Popen(
            [
                *self._through,
                *(PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--unixsocket", self.path, "--save", "", "--appendonly", "no"),
                *("--dir", self._directory, "--daemonize", "no", *self._options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._isThere, "redis-server does not answer")

    def _isThere(self) -> bool:
        assert self._process.poll() is None, "redis-server has ended"
        try:
            return self.do("PING") == "PONG"
        except OSError:
            return False

    def do(self, *words: str | bytes) -> str:
        """Have a command done, by a connection of its own; return the answer as redis-cli does."""
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(PATIENCE)
            one.connect(self.path)
            with one.makefile("rwb") as stream:
                if self._password:
                    self._say(stream, "AUTH", self._password)
                return self._say(stream, *words)

    def _say(self, stream: object, *words: str | bytes) -> str:
        parts = [word.encode() if isinstance(word, str) else word for word in words]
        stream.write(b"*%d\r\n" % len(parts))  # type: ignore[attr-defined]
        for part in parts:
            stream.write(b"$%d\r\n%b\r\n" % (len(part), part))  # type: ignore[attr-defined]
        stream.flush()  # type: ignore[attr-defined]
        return self._hear(stream)

    def _hear(self, stream: object) -> str:
        line = stream.readline().rstrip(b"\r\n").decode()  # type: ignore[attr-defined]
        if line[:1] == "$":
            size = int(line[1:])
            data = stream.read(size + 2)[:-2] if size >= 0 else b""  # type: ignore[attr-defined]
            return str(data.decode())
        if line[:1] == "*":
            return "\n".join(self._hear(stream) for _part in range(int(line[1:])))
        return str(line[1:])

    def freeze(self) -> None:
        """Let it do nothing, and its kernel still take connections."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it; what it held is lost."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def close(self) -> None:
        """End it, and leave nothing."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)


class FakeRedis(Protocol):
    """Answers whatever it is sent.

    :ivar answer: returns what to answer; nothing, if that is empty.
    """

    answer: Callable[[bytes], bytes] = staticmethod(lambda _data: b"")

    def dataReceived(self, data: bytes) -> None:
        answer = self.answer(data)
        if answer:
            self.transport.write(answer)  # type: ignore[union-attr]
