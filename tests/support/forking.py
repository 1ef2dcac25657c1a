"""Programs of ours without the time that Python needs to import them: 0.7 s of CPU each.

A process that has imported them all forks one each time. Run as a script this is that process.
What the start itself is about has to start a new Python; see `isProgram` and `ForkServer.suits`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]

PROGRAMS = tuple(f"nymearemoteproxy.{room}.cli" for room in ("running", "client", "monitor"))

ALSO = ("nymearemoteproxy.watching.admin.web", "prometheus_client")
"""What the server imports only when it needs it. Nothing here may import the reactor: its
descriptors would be shared."""

AT_START = ("COVERAGE_", "LANG", "LC_", "LD_", "MALLOC_", "OPENSSL_", "PYTHON", "SSL_", "TZ")
"""Begins of variables that are read when a process starts, and not again."""

ENDING = (signal.SIGINT, signal.SIGTERM)
"""Signals that are sent to whole groups of processes."""

_LARGEST = 1 << 20
"""Bytes of a request: a command line with an environment."""

_LONGEST = 120.0
"""Seconds that a command may take that ends by itself."""


# Asking


def isProgram(command: Sequence[str | bytes]) -> bool:
    """Tell whether it is one that can be forked."""
    return tuple(command[:2]) == (sys.executable, "-m") and command[2] in PROGRAMS


class Forked:
    """A forked program, with what `subprocess.Popen` has of it.

    :ivar stdout: reads what it writes there; likewise `stderr`.
    :ivar returncode: as Popen's; None until somebody waited.
    """

    def __init__(
        self, server: ForkServer, pid: int, stdout: IO[bytes] | None, stderr: IO[bytes] | None
    ) -> None:
        self.pid = pid
        self.stdout, self.stderr = stdout, stderr
        self.returncode: int | None = None
        self._server = server
        self._descriptor = os.pidfd_open(pid)
        self._lock = threading.Lock()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return its status.

        :raises subprocess.TimeoutExpired: if it has not, after so many seconds.
        """
        with self._lock:
            if self.returncode is not None:
                return self.returncode
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(f"forked {self.pid}", timeout or 0)
            self.returncode = self._server.reap(self.pid)
            os.close(self._descriptor)
            return self.returncode

    def poll(self) -> int | None:
        """Return its status if it has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The process that forks; see `forkServer`.

    :param environment: its own.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._fixed = _fixed(environment)
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=ROOT,
                env=dict(environment),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # a terminal would not be buffered
            )

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Tell whether a program that is forked here would be as one that is started."""
        return _fixed(environment) == self._fixed

    def start(
        self,
        command: Sequence[str | bytes],
        environment: Mapping[str, str],
        isOneStream: bool = False,
    ) -> Forked:
        """Return a program that runs from now on.

        :param isOneStream: it writes its errors to its output.
        """
        out, toOut = os.pipe()
        err, toErr = (None, os.dup(toOut)) if isOneStream else os.pipe()
        arguments = [os.fsdecode(each) for each in command[2:]]
        try:
            pid = self._ask([arguments, dict(environment)], [toOut, toErr])
        finally:
            os.close(toOut)
            os.close(toErr)
        return Forked(self, pid, open(out, "rb"), None if err is None else open(err, "rb"))

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """Run a program; return its status, negative for a signal, and all that it wrote."""
        process = self.start(command, environment, isOneStream=True)
        assert process.stdout is not None
        timer = threading.Timer(_LONGEST, process.kill)
        timer.start()
        with process.stdout as output:
            told = output.read().decode("utf-8", "replace")
        timer.cancel()
        return process.wait(), told

    def reap(self, pid: int) -> int:
        """Return the status of a program that has ended."""
        return self._ask(pid, [])

    def _ask(self, job: Any, descriptors: Sequence[int]) -> int:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(job).encode("ascii")], descriptors)
            return int(self._socket.recv(_LARGEST))

    def stop(self) -> None:
        """End it, though not its programs."""
        self._socket.close()
        self._process.wait()


def _fixed(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(AT_START)}


# Forking


def _serve(connection: socket.socket) -> None:
    # It ends with whom it serves, which may have programs to end first when Ctrl-C ends it.
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    programs = {name: importlib.import_module(name) for name in PROGRAMS}
    for name in ALSO:
        importlib.import_module(name)
    assert "twisted.internet.reactor" not in sys.modules
    gc.freeze()  # or every child would copy all pages of the parent when it collects garbage
    while True:
        data, descriptors, _flags, _address = socket.recv_fds(connection, _LARGEST, 2)
        if not data:
            return
        job = json.loads(data)
        if isinstance(job, int):
            answer = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
        else:
            answer = os.fork()
            if not answer:
                connection.close()
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                (name, *arguments), environment = job
                _become(programs[name], arguments, environment, descriptors)
        for each in descriptors:
            os.close(each)
        connection.send(str(answer).encode("ascii"))


def _become(
    program: ModuleType, arguments: list[str], environment: dict[str, str], descriptors: list[int]
) -> NoReturn:
    for number, each in enumerate(descriptors, 1):
        os.dup2(each, number)
        os.close(each)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(program.__file__), *arguments]
    sys.exit(program.main())


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
