"""Servers of more than one process, whose partners are in different ones.

Owns how they are started, and which partner connects to which process. Knows nothing of workloads.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from benchmarks.directory import STARTING, Directory, program
from benchmarks.lab import Child, Lab, now
from benchmarks.meetings import Address, TokenMeeting
from benchmarks.names import MACHINES, WORKERS
from benchmarks.peers import TOKEN, Own, PeerError, Server

SERVING = 30.0
"""Seconds until all workers must serve: each imports everything, and they share a core."""

_SERVES = re.compile(r"worker \d+ serves")


class Workers(Own):
    """One machine: a parent, and workers with Unix sockets between them.

    The parent gives a connection to the worker that has the fewest, so partners that connect at the
    same time are in different ones if there are two.

    :param count: of workers.
    """

    def __init__(self, count: int = 2, name: str = WORKERS) -> None:
        super().__init__(name)
        self._count = count

    async def start(self, lab: Lab, *more: str) -> Server:
        return await super().start(lab, "--workers", str(self._count), *more)

    async def begun(self, child: Child, log: Path) -> dict[str, Address]:
        addresses = await super().begun(child, log)
        deadline = now() + SERVING
        while len(_SERVES.findall(log.read_text())) < self._count:
            if now() > deadline:
                raise PeerError("its workers do not all serve")
            await asyncio.sleep(0.02)
        return addresses


class Machines(Own):
    """Two members as if each had a machine of its own: a Redis, and links over TLS."""

    def __init__(self) -> None:
        super().__init__(MACHINES)

    def missing(self) -> str | None:
        return None if program() else "redis-server is not installed (apt-get install redis)"

    async def start(self, lab: Lab, *more: str) -> Server:
        directory = Directory(lab)
        first, second = [
            await super(Machines, self).start(lab, "--cluster", directory.url, *more)
            for _ in range(2)
        ]
        deadline = now() + STARTING
        while directory.members() < 2:
            if now() > deadline:
                raise PeerError("its members do not find each other")
            await asyncio.sleep(0.02)
        assert second.child is not None
        partners = {
            address: second.addresses[transport] for transport, address in first.addresses.items()
        }
        return Server(
            self.name,
            first.pid,
            first.addresses,
            TokenMeeting(TOKEN, partners),
            first.child,
            (second.child,),
            directory,
        )
