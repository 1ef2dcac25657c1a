"""Those who serve together, as who watches the server sees them: workers and members of a cluster.

Owns what is wrong with all of them when something is. Knows nothing of how they work together.
Imported only where a process does not serve alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nymearemoteproxy.cluster.figures import Figures

TICKS = os.sysconf("SC_CLK_TCK")
"""Of the kernel in a second, by which it counts the time of processors."""

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """What a process takes of the machine.

    :ivar memory: bytes.
    :ivar cpu: seconds of a processor.
    """

    memory: int = 0
    cpu: float = 0.0


@dataclass(frozen=True)
class WorkerState:
    """One of several processes on this machine.

    :ivar number: from 1 on, the same for the one that takes its place.
    :ivar serves: it takes connections; not while it starts or ends.
    :ivar connections: how many it has.
    :ivar pid: of its process; None = there is none at the moment.
    """

    number: int
    serves: bool
    connections: int
    pid: int | None = None

    def usage(self) -> Usage:
        """Return what it takes; nothing, if that cannot be told."""
        try:
            # See proc(5). The name of the program, in brackets, may hold anything.
            numbers = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return Usage()
        user, system, pages = (int(numbers[position]) for position in (11, 12, 21))
        return Usage(pages * PAGE, (user + system) / TICKS)


@dataclass(frozen=True)
class Company:
    """What goes on with them.

    :ivar figures: of all members that this server is.
    :ivar workers: none when this process is the only one here.
    :ivar restarts: how often a worker has ended and had to be replaced.
    :ivar isClustered: there are other machines.
    """

    figures: Figures
    workers: Sequence[WorkerState] = ()
    restarts: int = 0
    isClustered: bool = False

    @property
    def serving(self) -> int:
        """How many workers take connections."""
        return sum(worker.serves for worker in self.workers)

    @property
    def trouble(self) -> str:
        """Why the server is degraded; empty when it is not."""
        if self.figures.unanswered:
            return "the directory does not answer"
        return "other members have another secret" if self.figures.mismatched else ""

    @property
    def summary(self) -> str:
        """In a few words, for people."""
        parts = []
        if self.workers:
            parts.append(f"{self.serving} of {len(self.workers)} workers")
        if self.trouble:
            parts.append(f"degraded: {self.trouble}")
        return ", ".join(parts)
