"""Servers of more than one process: their partners are always in different ones.

Owns how they are started, and which partner connects to which process. Knows nothing of workloads.
"""

from __future__ import annotations

import asyncio

from benchmarks.directory import STARTING, Directory, program
from benchmarks.lab import Lab, now
from benchmarks.meetings import TokenMeeting
from benchmarks.names import MACHINES, SOCKETS
from benchmarks.peers import TOKEN, Own, PeerError, Server


class Machines(Own):
    """Two members as if each had a machine of its own: a Redis, and links over TLS."""

    name = MACHINES

    def __init__(self) -> None:
        super().__init__(self.name)

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


class Sockets(Machines):
    """The same, but their links are Unix sockets, as those of workers are."""

    name = SOCKETS
    program = ("-m", "benchmarks.unixmember")
