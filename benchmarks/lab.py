"""The two cores, the child processes, and what the kernel counts about them.

Owns every process that the benchmark starts, and ends it. Knows nothing of servers or workloads.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent

RESERVED_FILES = 300
"""Files of a process that are no tunnels: libraries, listeners, logs, what servers reserve."""
PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>."""


def raiseFileLimit() -> int:
    """Allow as many open files as this process may have; return how many. Children inherit it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _settle(core: int) -> None:
    """In a child, before its program starts: stay on a core, and end when the parent does."""
    os.sched_setaffinity(0, {core})
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """A process that was started here.

    :ivar log: what it writes, except for what goes to a pipe.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self.log = log
        self.pid = process.pid

    @property
    def pipes(self) -> tuple[int, int]:
        """The file descriptors of its standard input and output."""
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin.fileno(), self._process.stdout.fileno()

    @property
    def isRunning(self) -> bool:
        return self._process.poll() is None

    @property
    def status(self) -> int:
        """With which it has ended; negative = by this signal."""
        return self._process.wait()

    @property
    def lastWords(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no output"

    def stop(self) -> None:
        """End it and wait for that.

        At once, for it has nothing to save, and would take long to close thousands of tunnels.
        """
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()


class Lab:
    """Where the benchmark runs. Leaving it ends all children.

    :ivar serverCore: where every server runs.
    :ivar generatorCore: where this process and its helpers run.
    :ivar directory: for certificates, configurations and logs; vanishes with the lab.
    :ivar fileLimit: open files that each process may have.
    """

    def __init__(self) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.serverCore = cores[0]
        self.generatorCore = cores[-1]
        self.fileLimit = raiseFileLimit()
        self._children: list[Child] = []
        self._number = itertools.count()
        self._exit = contextlib.ExitStack()

    @property
    def mostTunnels(self) -> int:
        """Tunnels that one process can have, with two connections each."""
        return (self.fileLimit - RESERVED_FILES) // 2

    @property
    def hasTwoCores(self) -> bool:
        return self.serverCore != self.generatorCore

    def __enter__(self) -> Lab:
        self.directory = Path(
            self._exit.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-"))
        )
        os.sched_setaffinity(0, {self.generatorCore})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.stop()
        self._exit.close()

    def start(
        self,
        arguments: Sequence[str | Path],
        *,
        core: int,
        directory: Path = ROOT,
        piped: bool = False,
    ) -> Child:
        """Start a process on one core.

        :param directory: to run it in.
        :param piped: its standard input and output are pipes to this process.
        """
        log = self.directory / f"{next(self._number)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                arguments,
                cwd=directory,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                preexec_fn=lambda: _settle(core),
                # Ctrl-C reaches this process only, which then ends the children in order.
                start_new_session=True,
            )
        child = Child(process, log)
        self._children.append(child)
        return child

    def stop(self, child: Child) -> None:
        """End one child before the others."""
        child.stop()
        self._children.remove(child)


def letRunAnywhere(pid: int) -> None:
    """Let a process, its threads and its children have all cores, the load generator's too."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.sched_setaffinity(int(task.name), range(os.cpu_count() or 1))
            for child in (task / "children").read_bytes().split():
                letRunAnywhere(int(child))


def cpuTime(pid: int) -> int:
    """Return the nanoseconds that a process, its threads and its children have run so far.

    The kernel brings the figure up to date at least at every tick, which is 4 ms at most.
    """
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            total += int((task / "schedstat").read_bytes().split()[0])
            total += sum(map(cpuTime, map(int, (task / "children").read_bytes().split())))
    return total


def memory(pid: int) -> int:
    """Return the bytes of anonymous memory in use by a process and its children.

    That is their heap, not their program.
    """
    for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
        if line.startswith(b"RssAnon:"):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split()
            return int(line.split()[1]) * 1024 + sum(map(memory, map(int, children)))
    raise ProcessLookupError(pid)


def now() -> float:
    """Return seconds of a clock that never jumps."""
    return time.perf_counter()
