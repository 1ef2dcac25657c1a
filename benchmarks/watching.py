"""The workload of being watched: what the monitor socket and the admin pages cost the server.

Owns how it is measured. Knows nothing of what they say.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path

from benchmarks.bench import Bench, Competitor
from benchmarks.lab import now
from benchmarks.peers import Own, Server
from benchmarks.results import Figure
from benchmarks.tunnels import closing, openMany

TRANSPORT = "tcp"
"""What connections speak makes no difference here."""
NS_PER_MS = 1_000_000
HEADERS = "Host: localhost\r\nConnection: close"
LONGEST_LINE = 64 << 20
"""Bytes of what the monitor socket sends at a time."""


class Watching:
    """CPU time of a server whose tunnels are idle, while nobody or somebody watches it."""

    name = "watching"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        if transport != TRANSPORT:
            return
        for peer, _running in competitors:
            if isinstance(peer, Own) and peer.canBeWatched:

                async def once(peer: Own = peer) -> None:
                    await self._measure(bench, peer)

                await bench.attempt(self.name, transport, peer, once)

    async def _measure(self, bench: Bench, peer: Own) -> None:
        monitor, admin = (bench.lab.directory / f"{name}-{now()}" for name in ("monitor", "admin"))
        server = await peer.start(
            bench.lab,
            *("--set", f"ProxyServer.monitorSocket={monitor}", "--admin", f"unix:{admin}"),
        )
        assert server.child is not None
        place = server.meeting, TRANSPORT, server.addresses[TRANSPORT]
        count = min(bench.scale.watched, bench.lab.mostTunnels)
        async with closing(await openMany(*place, count)):
            await asyncio.sleep(bench.scale.settling)
            for _round in range(bench.scale.longRounds):
                for name, title, watch in (
                    ("nobody", "nobody watches", _nobody()),
                    ("monitor", "a monitor listens", _monitor(monitor)),
                    ("metrics", "/metrics once a second", _getting(admin, "/metrics")),
                    ("page", "the page's lists once a second", _getting(admin, "/api/status")),
                ):
                    figure = Figure(
                        f"watching-{name}",
                        f"{2 * count:,} idle connections, {title}",
                        "CPU ms per s",
                    )
                    async with watch:
                        cost = await self._cost(bench, server)
                    bench.results.add(figure, TRANSPORT, server.name, cost)
        bench.lab.stop(server.child)

    async def _cost(self, bench: Bench, server: Server) -> float:
        """Return the milliseconds of CPU time in a second."""
        await asyncio.sleep(1.0)
        begin, before = now(), server.cpuTime()
        await asyncio.sleep(bench.scale.watchSeconds)
        return (server.cpuTime() - before) / NS_PER_MS / (now() - begin)


@contextlib.asynccontextmanager
async def _nobody() -> AsyncIterator[None]:
    yield


@contextlib.asynccontextmanager
async def _monitor(path: Path) -> AsyncIterator[None]:
    """Listen to what the monitor socket says."""

    async def listen() -> None:
        reader, _writer = await asyncio.open_unix_connection(path, limit=LONGEST_LINE)
        while await reader.readline():
            pass

    async with _doing(listen()):
        yield


@contextlib.asynccontextmanager
async def _getting(path: Path, what: str) -> AsyncIterator[None]:
    """Get a page once a second, over a connection of its own, as Prometheus does."""

    async def get() -> None:
        while True:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(f"GET {what} HTTP/1.1\r\n{HEADERS}\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise ConnectionError(answer[:100])
            await asyncio.sleep(1.0)

    async with _doing(get()):
        yield


@contextlib.asynccontextmanager
async def _doing(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Have something done meanwhile."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        if task.done():
            task.result()  # what went wrong
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
