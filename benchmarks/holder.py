"""A helper process that opens tunnels and keeps them, idle.

A process of its own, since one process cannot have as many files open as all tunnels need.
"""

from __future__ import annotations

import sys

import uvloop

from benchmarks.helper import answer, isAsked
from benchmarks.lab import raiseFileLimit
from benchmarks.meetings import meeting
from benchmarks.tunnels import openMany


async def hold(transport: str, host: str, port: str, how: str, count: str, source: str) -> None:
    """Open tunnels, say so, and wait for the end."""
    place = meeting(how), transport, (host, int(port))
    _tunnels = await openMany(*place, int(count), source=source)
    answer("open")
    while await isAsked():
        pass


if __name__ == "__main__":
    raiseFileLimit()
    uvloop.run(hold(*sys.argv[1:]))
