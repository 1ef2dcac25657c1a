"""Those who serve together, as who watches the server sees them: workers and members of a cluster.

Owns what is wrong with all of them when something is. Knows nothing of how they work together.
Imported only where a process does not serve alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nymearemoteproxy.cluster.figures import Figures


@dataclass(frozen=True)
class WorkerState:
    """One of several processes on this machine.

    :ivar number: from 1 on, the same for the one that takes its place.
    :ivar serves: it takes connections; not while it starts or ends.
    :ivar connections: how many it has.
    """

    number: int
    serves: bool
    connections: int


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
        return "the directory does not answer" if self.figures.unanswered else ""

    @property
    def summary(self) -> str:
        """In a few words, for people."""
        parts = []
        if self.workers:
            parts.append(f"{self.serving} of {len(self.workers)} workers")
        if self.trouble:
            parts.append(f"degraded: {self.trouble}")
        return ", ".join(parts)
