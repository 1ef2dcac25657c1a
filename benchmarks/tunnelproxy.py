"""The workloads of the tunnel proxy: a registered server and its clients.

Owns how they are measured. Knows nothing of how the proxy was started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.bench import Bench, Competitor
from benchmarks.lab import now
from benchmarks.names import isWebSocket
from benchmarks.peers import Server
from benchmarks.pressure import LATENCY_MESSAGE, addLatencies, takeLatencies
from benchmarks.registered import register
from benchmarks.results import Figure
from benchmarks.steady import LARGE, PING_PONG, Load, Steady, measure, measureLoad
from benchmarks.traffic import Flow, ring
from benchmarks.tunnels import closing
from benchmarks.wires import BINARY, Wire, frame
from nymearemoteproxy.protocol import slip

DOWN = replace(LARGE, name="tunnelproxy-down")
UP = replace(LARGE, name="tunnelproxy-up")
TITLES = {
    PING_PONG: "tunnel proxy, ping-pong, 256 B",
    DOWN: "tunnel proxy, 64 KiB, server to client",
    UP: "tunnel proxy, 64 KiB, client to server",
}

PLAIN = Figure("tunnelproxy-plain", "tunnel by token, ping-pong, 256 B", f"CPU {PING_PONG.unit}")
"""What the ping-pong is compared with, measured in the same rounds."""

SLOW_TRANSPORT = "tcp"
"""Who waits for whom is decided above what connections speak, and each transport takes minutes."""
SLOW_ADDRESS = 2
"""Of the second client of a registered server."""
SLOW_MESSAGE = 64 << 10
GLANCE = 0.002
"""Seconds between two reads of a slow client, at least."""


class Relayed:
    """Ping-pong and large messages, of random bytes, between a server and one client each.

    And for comparison the same ping-pong in a tunnel by token.
    """

    name = "tunnelproxy"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        for _round in range(bench.scale.rounds):
            for peer, server in competitors:

                async def once(server: Server = server) -> None:
                    cost = await measure(server, transport, PING_PONG, bench.scale)
                    bench.results.add(PLAIN, transport, server.name, cost)
                    for workload, title in TITLES.items():
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


@dataclass(frozen=True)
class Slow:
    """What another client of the same server does.

    :ivar sent: bytes a second that the server sends to it, if it can.
    :ivar taken: bytes a second that it reads.
    """

    name: str
    title: str
    sent: float
    taken: float


SLOW = (
    Slow("siblings-stalled", "another reads nothing of 5 MB/s", 5e6, 0),
    Slow("siblings-blasted", "another reads nothing of all that goes in", 1e9, 0),
    Slow("siblings-slow", "another reads 4 MB/s of all that goes in", 1e9, 4e6),
)


class Siblings:
    """The latency of one client while another one of the same server is slow."""

    name = "siblings"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        if transport != SLOW_TRANSPORT:
            return
        for _round in range(bench.scale.longRounds):
            for slow in SLOW:
                for peer, server in competitors:

                    async def once(slow: Slow = slow, server: Server = server) -> None:
                        await self._measure(bench, transport, slow, server)

                    await bench.attempt(self.name, transport, peer, once)

    async def _measure(self, bench: Bench, transport: str, slow: Slow, server: Server) -> None:
        address = server.addresses[transport]
        registered = await register(transport, address)
        tunnels = [await registered.connect(transport, address) for _ in range(2)]
        (near, sibling), (_near, other) = tunnels
        framed = isWebSocket(transport)
        there = Flow(ring(LATENCY_MESSAGE, 1, framed, True, True), near, sibling, 0)
        back = Flow(ring(LATENCY_MESSAGE, 1, framed, True), sibling, near, 1)
        there.whenArrived = back.send
        async with closing(tunnels):
            other.transport.pause_reading()
            tasks = [asyncio.create_task(_send(near, framed, slow.sent))]
            if slow.taken:
                tasks.append(asyncio.create_task(_read(other, slow.taken)))
            try:
                latencies = await takeLatencies(there, back, bench.scale.siblingSeconds)
            finally:
                for task in tasks:
                    task.cancel()
            other.receive = lambda _data, _last: None
            if not other.closed.done():
                other.transport.resume_reading()
        title = f"tunnel proxy, latency, {slow.title}"
        addLatencies(bench, transport, server, slow.name, title, latencies)


async def _send(wire: Wire, framed: bool, rate: float) -> None:
    """Send to the slow client so many bytes a second, or as many as go in."""
    packet = slip.encode(SLOW_ADDRESS, bytes(SLOW_MESSAGE))
    write = frame(packet, BINARY) if framed else packet
    begin, sent = now(), 0
    while True:
        await wire.canWrite.wait()
        wire.write(write)
        sent += SLOW_MESSAGE
        await asyncio.sleep(max(0.0, begin + sent / rate - now()))


async def _read(wire: Wire, rate: float) -> None:
    """Read so many bytes a second."""
    begin, taken = now(), 0

    def take(data: bytes | memoryview, _last: bool | None) -> None:
        nonlocal taken
        taken += len(data)
        wire.transport.pause_reading()

    wire.receive = take
    while not wire.closed.done():
        wire.transport.resume_reading()
        await asyncio.sleep(max(GLANCE, begin + taken / rate - now()))
