"""The workloads about many connections: set-up and close, and idle tunnels.

Owns how they are measured. Knows nothing of how the server was started.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

from benchmarks.bench import Bench, Competitor
from benchmarks.helper import hear, start
from benchmarks.peers import Peer, Server
from benchmarks.results import Figure
from benchmarks.steady import NS_PER_US, PING_PONG, measure
from benchmarks.tunnels import CONCURRENT, closeAll, openMany

PARTS = 10
KIB = 1024
MOST_HELD = 5000
"""Tunnels that one helper holds: 10,000 connections from one address, of 28,000 possible."""

_EACH = "CPU µs per tunnel"
_NAMED = {0: ("set-up-first", "first tenth"), PARTS - 1: ("set-up-last", "last tenth")}
"""The others are points of a curve only."""


Filled = tuple[Peer, Figure, Server]
"""A process with idle tunnels, and what is measured with it."""


class SetUp:
    """Thousands of tunnels are opened one after the other, kept, and closed, on a new process."""

    name = "set-up"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        await bench.onFreshServers(self.name, transport, competitors, self._measure)

    def _each(self, bench: Bench) -> int:
        return min(bench.scale.setUp, bench.lab.mostTunnels - 3 * CONCURRENT) // PARTS

    def opened(self, bench: Bench) -> int:
        """Return how many tunnels are opened in one measurement."""
        return self._each(bench) * PARTS + 3 * CONCURRENT

    async def _measure(self, bench: Bench, transport: str, server: Server) -> None:
        each = self._each(bench)
        count = each * PARTS
        place = server.meeting, transport, server.addresses[transport]
        # The first ones cost more: caches are filled, modules imported.
        warm = await openMany(*place, CONCURRENT)
        await asyncio.sleep(bench.scale.settling)
        held = server.memory()
        times: list[int] = []

        def mark(number: int) -> None:
            # While the first and the last ones are opened, fewer are under way.
            part, rest = divmod(number - CONCURRENT, each)
            if rest == 0 and 0 <= part <= PARTS:
                times.append(server.cpuTime())

        opened = count + 2 * CONCURRENT
        tunnels = await openMany(*place, opened, whenOpen=mark)
        await asyncio.sleep(bench.scale.settling)
        held = server.memory() - held
        start = server.cpuTime()
        await closeAll(tunnels)
        closing = server.cpuTime() - start
        await closeAll(warm)
        costs = [(after - before) / each / NS_PER_US for before, after in pairwise(times)]
        for part, cost in enumerate(costs):
            name, title = _NAMED.get(part, (f"set-up-{part + 1}", ""))
            if title:
                title = f"set-up, {title} of {count:,} tunnels"
            figure = Figure(name, title, _EACH, self.name, CONCURRENT + part * each)
            bench.results.add(figure, transport, server.name, cost)
        for name, title, unit, value in (
            ("set-up", f"set-up of {count:,} tunnels", _EACH, sum(costs) / PARTS),
            ("close", f"close of {count:,} tunnels", _EACH, closing / opened / NS_PER_US),
            ("memory", f"idle memory, {count:,} tunnels", "KiB per tunnel", held / opened / KIB),
        ):
            bench.results.add(Figure(name, title, unit), transport, server.name, value)


class Idle:
    """Ping-pong in one tunnel, while others are open and silent.

    Of those that are judged only: what it is compared with is the same without the others, and
    filling a server takes long.
    """

    name = "idle"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            filled: list[Filled] = []
            for peer, running in competitors:
                if not peer.isJudged:
                    continue

                async def fill(peer: Peer = peer, running: Server = running) -> None:
                    if bench.isFresh(peer):
                        filled.extend(await self._fill(bench, transport, peer, running, stack))
                    else:
                        await self._inTurn(bench, transport, running)

                await bench.attempt(self.name, transport, peer, fill)
            # Stable, so that the servers take turns at each number of tunnels.
            filled.sort(key=lambda each: each[1].amount)
            for _round in range(bench.scale.rounds):
                for peer, figure, server in filled:
                    measured = functools.partial(self._measure, bench, transport, server, figure)
                    await bench.attempt(self.name, transport, peer, measured)

    def _stages(self, bench: Bench) -> list[tuple[Figure, int]]:
        stages = []
        names = ("idle-none", "idle-some", "idle-most")
        for name, wanted in zip(names, bench.scale.idle, strict=True):
            count = min(wanted, bench.lab.mostTunnels)
            title = f"ping-pong, {count:,} idle tunnels"
            figure = Figure(name, title, f"CPU {PING_PONG.unit}", self.name, count)
            stages.append((figure, count))
        return stages

    async def _fill(
        self,
        bench: Bench,
        transport: str,
        peer: Peer,
        running: Server,
        stack: contextlib.AsyncExitStack,
    ) -> list[Filled]:
        """Start a process for each number of tunnels, and fill it."""
        filled = []
        for figure, count in self._stages(bench):
            server = await stack.enter_async_context(bench.fresh(peer, running))
            await stack.enter_async_context(_held(bench, transport, server, count))
            filled.append((peer, figure, server))
        return filled

    async def _inTurn(self, bench: Bench, transport: str, server: Server) -> None:
        """Fill the one process that there is, once with each number."""
        for figure, count in self._stages(bench):
            async with _held(bench, transport, server, count):
                for _round in range(bench.scale.rounds):
                    await self._measure(bench, transport, server, figure)

    async def _measure(self, bench: Bench, transport: str, server: Server, figure: Figure) -> None:
        cost = await measure(server, transport, PING_PONG, bench.scale)
        bench.results.add(figure, transport, server.name, cost)


_holders = itertools.count()


@contextlib.asynccontextmanager
async def _held(bench: Bench, transport: str, server: Server, count: int) -> AsyncIterator[None]:
    """Let helpers hold idle tunnels."""
    host, port = server.addresses[transport]
    holders = []
    for first in range(0, count, MOST_HELD):
        # Each from an address of its own, or there are not enough ports for all servers together.
        number = next(_holders)
        source = f"127.1.{number // 250}.{number % 250 + 1}"
        amount = min(MOST_HELD, count - first)
        holders.append(
            start(bench.lab, "holder", transport, host, port, server.meeting, amount, source)
        )
    try:
        for holder in holders:
            await hear(holder)
        await asyncio.sleep(bench.scale.settling)
        yield
    finally:
        for holder in holders:
            bench.lab.stop(holder)
