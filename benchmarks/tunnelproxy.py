"""The workloads of the tunnel proxy: a registered server and its clients.

Owns how they are measured. Knows nothing of how the proxy was started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from benchmarks.bench import Bench, Competitor
from benchmarks.lab import now
from benchmarks.names import isWebSocket
from benchmarks.peers import Server
from benchmarks.pressure import LATENCY_MESSAGE, addLatencies, takeLatencies
from benchmarks.registered import register
from benchmarks.results import Figure
from benchmarks.steady import PING_PONG, Load, Steady, measureLoad
from benchmarks.traffic import Flow, ring
from benchmarks.tunnels import closing
from benchmarks.wires import BINARY, Wire, frame
from nymearemoteproxy import slip

DOWN = Steady("tunnelproxy-down", "", 2, 64 << 10, underWay=4)
UP = Steady("tunnelproxy-up", "", 2, 64 << 10, underWay=4)
TITLES = {
    PING_PONG: "tunnel proxy, ping-pong, 256 B",
    DOWN: "tunnel proxy, 64 KiB, server to client",
    UP: "tunnel proxy, 64 KiB, client to server",
}

STALLED_ADDRESS = 2
"""Of the second client of a registered server."""
BLAST_MESSAGE = 64 << 10


class Relayed:
    """Ping-pong and large messages, of random bytes, between a server and one client each."""

    name = "tunnelproxy"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        for _round in range(bench.scale.rounds):
            for workload, title in TITLES.items():
                for peer, server in competitors:
                    if not peer.hasTunnelProxy:
                        continue

                    async def once(
                        workload: Steady = workload, title: str = title, server: Server = server
                    ) -> None:
                        await self._measure(bench, transport, workload, title, server)

                    await bench.attempt(self.name, transport, peer, once)

    async def _measure(
        self, bench: Bench, transport: str, workload: Steady, title: str, server: Server
    ) -> None:
        address = server.addresses[transport]
        tunnels = []
        for _ in range(workload.tunnels):
            registered = await register(transport, address)
            tunnels.append(await registered.connect(transport, address))
        framed = isWebSocket(transport)
        packed, plain = (
            ring(workload.size, 1, framed, random=True, packed=packed) for packed in (True, False)
        )
        async with closing(tunnels):
            if workload is UP:
                turned = [(client, server) for server, client in tunnels]
                load = Load(workload, plain, packed, turned)
            else:
                load = Load(workload, packed, plain, tunnels)
            cost = await measureLoad(server, load, bench.scale)
        name = workload.name if workload is not PING_PONG else "tunnelproxy-ping-pong"
        bench.results.add(Figure(name, title, f"CPU {workload.unit}"), transport, server.name, cost)


class Siblings:
    """The latency of one client while another one of the same server has stopped reading."""

    name = "siblings"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        for _round in range(bench.scale.longRounds):
            for peer, server in competitors:
                if not peer.hasTunnelProxy:
                    continue

                async def once(server: Server = server) -> None:
                    await self._measure(bench, transport, server)

                await bench.attempt(self.name, transport, peer, once)

    async def _measure(self, bench: Bench, transport: str, server: Server) -> None:
        seconds = bench.scale.latencySeconds
        address = server.addresses[transport]
        registered = await register(transport, address)
        tunnels = [await registered.connect(transport, address) for _ in range(2)]
        (near, sibling), (_near, stalled) = tunnels
        framed = isWebSocket(transport)
        there = Flow(ring(LATENCY_MESSAGE, 1, framed, True, True), near, sibling, 0)
        back = Flow(ring(LATENCY_MESSAGE, 1, framed, True), sibling, near, 1)
        there.whenArrived = back.send
        async with closing(tunnels):
            quiet = await takeLatencies(there, back, seconds)
            stalled.transport.pause_reading()
            sending = asyncio.create_task(_sendSteadily(near, framed, bench.scale.stalledRate))
            try:
                crowded = await takeLatencies(there, back, seconds)
            finally:
                sending.cancel()
                stalled.transport.resume_reading()
        for name, title, latencies in (
            ("siblings-quiet", "tunnel proxy, latency, quiet", quiet),
            ("siblings", "tunnel proxy, latency, another client has stopped reading", crowded),
        ):
            addLatencies(bench, transport, server, name, title, latencies)


async def _sendSteadily(wire: Wire, framed: bool, rate: float) -> None:
    """Send to the stalled client so many bytes a second."""
    packet = slip.encode(STALLED_ADDRESS, bytes(BLAST_MESSAGE))
    write = frame(packet, BINARY) if framed else packet
    begin, sent = now(), 0
    while True:
        await wire.canWrite.wait()
        wire.write(write)
        sent += BLAST_MESSAGE
        await asyncio.sleep(max(0.0, begin + sent / rate - now()))
