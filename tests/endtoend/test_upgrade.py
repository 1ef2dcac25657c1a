"""One process takes over from another, with the units that the documentation shows."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.endtoend import (
    BINARY,
    CLOSE,
    PATIENCE,
    ROOT,
    Certificate,
    EndToEnd,
    Program,
    Stream,
    WebSocket,
    frame,
    inThread,
    join,
    secret,
    tunnel,
)

EXAMPLES = ROOT / "docs" / "examples"
SOCKET = EXAMPLES / "nymea-remoteproxy.socket"
SERVICE = EXAMPLES / "nymea-remoteproxy@.service"

AS_SYSTEMD = """
import os, socket, sys
with socket.socket(socket.AF_UNIX) as parent:
    parent.connect(sys.argv[1])
    _data, (descriptor,), _flags, _address = socket.recv_fds(parent, 1, 1)
os.dup2(descriptor, 3)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="it", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "nymearemoteproxy.running.cli", *sys.argv[2:]])
"""
"""Becomes the server, with a socket that it gets on the way, as sd_listen_fds(3) describes it."""


def optionsOfUnit() -> list[str]:
    """Return what the unit starts the server with, without the file, which is another machine's."""
    (line,) = re.findall(r"^ExecStart=(.*)$", SERVICE.read_text(), re.M)
    _program, configuration, _file, *options = shlex.split(line)
    assert configuration == "--configuration"
    return options


class HandOverTests(EndToEnd):
    """Two processes with one socket: the old one drains, the new one takes newcomers."""

    @inThread
    def setUp(self) -> None:
        directory = self.temporary()
        self.path = str(directory / "parent")
        self.token = secret()
        self.arguments = [
            *optionsOfUnit(),
            *("--certificate", Certificate(str(directory)).both, "--token", self.token),
        ]
        self.listening = socket.create_server(("::", 0), family=socket.AF_INET6)
        self.addCleanup(self.listening.close)
        port = self.listening.getsockname()[1]
        self.url = f"wss://[::1]:{port}"

    def activate(self) -> Program:
        """Start a process that is given the socket."""
        with socket.socket(socket.AF_UNIX) as parent:
            parent.bind(self.path)
            parent.listen()
            parent.settimeout(PATIENCE)
            program = Program([sys.executable, "-c", AS_SYSTEMD, self.path, *self.arguments])
            self.addCleanup(self.assertDiscreet, program)
            self.addCleanup(program.stop)
            child, _address = parent.accept()
            with child:
                socket.send_fds(child, [b" "], [self.listening.fileno()])
        Path(self.path).unlink()
        return program

    def start_(self) -> Program:
        """The same, and wait until it runs."""
        program = self.activate()
        program.waitFor("listening on wss:")
        return program

    @inThread
    def testNobodyIsLost(self) -> None:
        """A tunnel lives on in the old process; who comes in between waits for the new one."""
        old = self.start_()
        one, two = tunnel(self.url, self.token)
        waiting = join(self.url, self.token, nonce=secret("nonce"))
        self.keep(one, two, waiting)
        assert isinstance(one, WebSocket) and isinstance(two, WebSocket)
        old.signal(signal.SIGUSR2)
        old.waitFor("draining")
        self.assertEqual(waiting.goodbye(), (b"", 1013))
        # The kernel takes the connection for the socket, nobody accepts it yet.
        newcomer = Stream(self.url, tls=False)
        self.keep(newcomer)
        new = self.start_()
        self.keep(*tunnel(self.url, self.token))
        newcomer.close()
        new.waitFor(rf"from {re.escape(newcomer.peer)} ended: tls-handshake-failed ")
        one.send(frame(BINARY, b"still here"))
        self.assertEqual(two.frame(), (BINARY, b"still here"))
        one.send(frame(CLOSE, (1000).to_bytes(2, "big")))
        self.assertEqual(two.goodbye(), (b"", 1000))
        one.close()
        self.assertEqual(old.wait(), 0)


class UnitTests(EndToEnd):
    """docs/examples/nymea-remoteproxy.socket and nymea-remoteproxy@.service."""

    skip = None if shutil.which("systemd-analyze") else "systemd is not installed"

    @inThread
    def testAreValid(self) -> None:
        """systemd finds nothing to complain about, once the program is there."""
        directory = self.temporary()
        instance = directory / "nymea-remoteproxy@2.0.0.service"
        program, count = re.subn(
            r"^(ExecStart=)\S+", rf"\g<1>{sys.executable}", SERVICE.read_text(), flags=re.M
        )
        self.assertEqual(count, 1)
        instance.write_text(program)
        (directory / SOCKET.name).write_text(SOCKET.read_text())
        (directory / SERVICE.name).write_text(program)
        verified = subprocess.run(
            ["systemd-analyze", "verify", str(directory / SOCKET.name), str(instance)],
            capture_output=True,
            text=True,
        )
        self.assertEqual((verified.returncode, verified.stderr), (0, ""))
