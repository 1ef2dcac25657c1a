"""The workloads of a home's visitors: what they cost the proxy, beside snitun.

Each proxy has its own client at home, and behind it the same service, which is the load generator.
Owns how they are measured. Knows nothing of how a home is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Sequence

from benchmarks.bench import Bench, Competitor
from benchmarks.connections import KIB
from benchmarks.meetings import HomeMeeting
from benchmarks.peers import Peer, Server
from benchmarks.results import Figure
from benchmarks.steady import LARGE, NS_PER_US, PING_PONG, Load, Steady, measureLoad
from benchmarks.traffic import ring
from benchmarks.tunnels import CONCURRENT, closeAll, comeAndGo, openMany, tunnelsTo

TRANSPORT = "tcp"
"""Over TLS snitun speaks with nobody: its visitors bring their own, which it passes on."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What visitors and the service send to each other: any bytes, as with TLS.

    :ivar isDown: from the service to the visitor.
    """

    name: str
    title: str
    workload: Steady
    isDown: bool = False


KINDS = (
    Kind("visits-ping-pong", "visitor, ping-pong, 256 B", PING_PONG),
    Kind("visits-down", "visitors, download, random bytes", LARGE, isDown=True),
    Kind("visits-up", "visitors, upload, random bytes", LARGE),
)


@contextlib.asynccontextmanager
async def _home(bench: Bench, peer: Peer, running: Server) -> AsyncIterator[Server]:
    """Start a home; return the proxy, whose tunnels lead to it."""
    async with bench.fresh(peer, running) as server:
        meeting = HomeMeeting()
        await meeting.listen(TRANSPORT, None)
        home = await peer.startHome(bench.lab, server, meeting.ports[TRANSPORT])
        try:
            addresses = {TRANSPORT: home.address}
            yield dataclasses.replace(server, addresses=addresses, meeting=meeting)
        finally:
            bench.lab.stop(home.child)


class Visits:
    """Ping-pong and large messages between visitors and the service of one home."""

    name = "visits"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        if transport != TRANSPORT:
            return
        async with contextlib.AsyncExitStack() as stack:
            homes: list[tuple[Peer, Server]] = []
            for peer, running in competitors:

                async def begin(peer: Peer = peer, running: Server = running) -> None:
                    server = await stack.enter_async_context(_home(bench, peer, running))
                    homes.append((peer, server))

                await bench.attempt(self.name, transport, peer, begin)
            for _round in range(bench.scale.rounds):
                for kind in KINDS:
                    for peer, server in homes:
                        once = functools.partial(self._measure, bench, server, kind)
                        await bench.attempt(self.name, transport, peer, once)

    async def _measure(self, bench: Bench, server: Server, kind: Kind) -> None:
        content = ring(kind.workload.size, 1, False, random=True)
        async with tunnelsTo(server, TRANSPORT, kind.workload.tunnels) as tunnels:
            turned = [(home, visitor) for visitor, home in tunnels]
            ends = turned if kind.isDown else tunnels
            load = Load(kind.workload, content, content, ends)
            cost = await measureLoad(server, load, bench.scale)
        figure = Figure(kind.name, kind.title, f"CPU {kind.workload.unit}")
        bench.results.add(figure, TRANSPORT, server.name, cost)


class Visitors:
    """Visitors come, are served once, stay, and go, on a new process; as many go at once."""

    name = "visitors"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        if transport != TRANSPORT:
            return
        for _round in range(bench.scale.longRounds):
            for peer, running in competitors:

                async def once(peer: Peer = peer, running: Server = running) -> None:
                    async with _home(bench, peer, running) as server:
                        await self._measure(bench, server)

                await bench.attempt(self.name, transport, peer, once)

    async def _measure(self, bench: Bench, server: Server) -> None:
        place = server.meeting, TRANSPORT, server.addresses[TRANSPORT]
        warm = await openMany(*place, CONCURRENT)
        await asyncio.sleep(bench.scale.settling)
        held, count = server.memory(), bench.scale.visitors
        start = server.cpuTime()
        visitors = await openMany(*place, count)
        opening = server.cpuTime() - start
        await asyncio.sleep(bench.scale.settling)
        held = server.memory() - held
        start = server.cpuTime()
        await closeAll(visitors)
        closing = server.cpuTime() - start
        await closeAll(warm)
        start = server.cpuTime()
        await comeAndGo(*place, count)
        whole = server.cpuTime() - start
        for name, title, unit, value in (
            ("set-up", "set-up and first echo", "CPU µs per visitor", opening / NS_PER_US),
            ("close", "close", "CPU µs per visitor", closing / NS_PER_US),
            ("whole", "each goes at once", "CPU µs per visitor", whole / NS_PER_US),
            ("memory", "idle memory", "KiB per visitor", held / KIB),
        ):
            figure = Figure(f"visitors-{name}", f"{count:,} visitors, {title}", unit)
            bench.results.add(figure, TRANSPORT, server.name, value / count)
