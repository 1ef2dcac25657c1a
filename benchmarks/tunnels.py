"""Many tunnels: opened with some concurrency, closed together.

Knows nothing of what is measured meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from benchmarks.meetings import Address, Meeting, Tunnel, pair
from benchmarks.peers import Server

CONCURRENT = 20
"""Tunnels that are being opened at a time: enough that the server always has something to do."""
CLOSING = 30.0
"""Seconds until everything must be closed; more than a server waits for a reluctant client."""


async def openMany(
    meeting: Meeting,
    transport: str,
    address: Address,
    count: int,
    *,
    source: str = "",
    whenOpen: Callable[[int], None] = lambda _count: None,
) -> list[Tunnel]:
    """Open tunnels.

    :param source: the address to connect from.
    :param whenOpen: called with the number of those that stand, after each.
    """
    tunnels: list[Tunnel] = []

    async def once() -> None:
        tunnels.append(await pair(meeting, transport, address, source))
        whenOpen(len(tunnels))

    await _concurrently(count, once)
    return tunnels


async def comeAndGo(meeting: Meeting, transport: str, address: Address, count: int) -> None:
    """Open tunnels, and close each at once, before the next."""

    async def once() -> None:
        await closeAll([await pair(meeting, transport, address)])

    await _concurrently(count, once)


async def _concurrently(count: int, once: Callable[[], Awaitable[None]]) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for _number in numbers:
            await once()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENT):
            group.create_task(work())


@contextlib.asynccontextmanager
async def tunnelsTo(server: Server, transport: str, count: int) -> AsyncIterator[list[Tunnel]]:
    """Open tunnels for one measurement, and close them afterwards."""
    address = server.addresses[transport]
    async with closing(await openMany(server.meeting, transport, address, count)) as tunnels:
        yield tunnels


@contextlib.asynccontextmanager
async def closing(tunnels: list[Tunnel]) -> AsyncIterator[list[Tunnel]]:
    """Close tunnels after one measurement."""
    try:
        yield tunnels
    except BaseException:
        for wire in itertools.chain(*tunnels):
            wire.transport.abort()  # a server that is wrong may not close in order either
        raise
    await closeAll(tunnels)


async def closeAll(tunnels: Sequence[Tunnel]) -> None:
    """Close one end of each, and wait until the server has closed the other."""
    for first, _second in tunnels:
        first.close()
    async with asyncio.timeout(CLOSING):
        for tunnel in tunnels:
            for wire in tunnel:
                await wire.closed
