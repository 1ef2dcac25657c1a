"""The workloads about bad company: a slow reader, a crowd that does not authenticate, and floods.

Owns how they are measured. Knows nothing of how the server was started.
"""

from __future__ import annotations

import asyncio
import functools
import statistics
from collections.abc import Sequence

from benchmarks.bench import Bench, Competitor
from benchmarks.helper import ask, hear, start
from benchmarks.lab import now
from benchmarks.names import FLOODS, STREAM_FLOODS, isSecure, isWebSocket
from benchmarks.peers import Peer, Server
from benchmarks.results import Figure
from benchmarks.traffic import ContentError, Flow, ring
from benchmarks.tunnels import tunnelsTo
from benchmarks.wires import Wire

SLOW_MESSAGE = 64 << 10
BITE = 256 << 10
SLOW_RATE = 25_000_000
"""The slow reader takes a bite of at least so many bytes, then pauses until it has read no more
than so many a second."""
SLOW_SECONDS = 60.0
"""Until it must have everything; ten times what it needs."""
GLANCE = 0.02
"""Seconds between two looks at the server's memory."""
MIB = 1 << 20

PACE = 0.005
"""Seconds between two round trips whose latency is taken, so that the server is mostly idle."""
LATENCY_MESSAGE = 256
RATE = 200
"""Connections a second that come and go."""
GATHERING = 30.0
"""Seconds until the crowd must be there."""
STALLED = 30.0
"""Seconds for one round trip: as a latency it would be shown, but a server that stands still must
not hold up the benchmark."""
FEWEST_ROUND_TRIPS = 2
"""What a percentile can be made of."""
MS = 1000


class SlowReader:
    """One sends as much as goes in, the other reads slowly: what does the server hold?"""

    name = "slow-reader"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        await bench.onFreshServers(self.name, transport, competitors, self._measure)

    async def _measure(self, bench: Bench, transport: str, server: Server) -> None:
        offered = bench.scale.slowBytes // SLOW_MESSAGE
        async with tunnelsTo(server, transport, 1) as [(sender, reader)]:
            flow = Flow(ring(SLOW_MESSAGE, 1, isWebSocket(transport)), sender, reader, 0)
            _readSlowly(reader)
            held = peak = server.memory()
            time = server.cpuTime()
            sending = asyncio.create_task(_sendAll(flow, sender, offered))
            try:
                async with asyncio.timeout(SLOW_SECONDS):
                    while flow.arrived < offered:
                        flow.verify()
                        peak = max(peak, server.memory())
                        await asyncio.sleep(GLANCE)
            finally:
                sending.cancel()
            time = server.cpuTime() - time
            flow.verify()
        title = f"slow reader, {bench.scale.slowBytes // MIB} MiB offered"
        for name, what, unit, value in (
            ("slow-memory", f"{title}: memory growth", "MiB at most", (peak - held) / MIB),
            ("slow-cpu", title, "CPU s per GB", time / flow.received),
        ):
            bench.results.add(Figure(name, what, unit), transport, server.name, value)


async def _sendAll(flow: Flow, sender: Wire, count: int) -> None:
    for _ in range(count):
        await sender.canWrite.wait()
        flow.send()
        await asyncio.sleep(0)  # the loop has to run for anything to be noticed


def _readSlowly(reader: Wire) -> None:
    """Let pauses follow bites."""
    loop = asyncio.get_running_loop()
    receive = reader.receive
    bitten = 0

    def bite(data: bytes | memoryview, last: bool | None) -> None:
        nonlocal bitten
        receive(data, last)
        bitten += len(data)
        if bitten >= BITE and reader.transport.is_reading():
            reader.transport.pause_reading()
            loop.call_later(bitten / SLOW_RATE, goOn)
            bitten = 0

    def goOn() -> None:
        if not reader.closed.done():
            reader.transport.resume_reading()

    reader.receive = bite


class Crowd:
    """The latency in one tunnel, in quiet and while a crowd comes, goes and does nothing."""

    name = "crowd"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        if not isSecure(transport):
            return  # a crowd costs most where each connection begins with a TLS handshake
        for _round in range(bench.scale.longRounds):
            for peer, server in competitors:

                async def once(server: Server = server) -> None:
                    await self._measure(bench, transport, server)

                await bench.attempt(self.name, transport, peer, once)

    async def _measure(self, bench: Bench, transport: str, server: Server) -> None:
        seconds = bench.scale.latencySeconds
        place = server.addresses[transport]
        async with tunnelsTo(server, transport, 1) as [(first, second)]:
            content = ring(LATENCY_MESSAGE, 1, isWebSocket(transport))
            there = Flow(content, first, second, 0)
            back = Flow(content, second, first, 1)
            there.whenArrived = back.send
            quiet = await takeLatencies(there, back, seconds)
            crowd = start(bench.lab, "crowd", *place, bench.scale.crowd, RATE)
            try:
                async with asyncio.timeout(GATHERING):
                    await hear(crowd)
                begin, came = now(), int(await ask(crowd))
                crowded = await takeLatencies(there, back, seconds)
                rate = (int(await ask(crowd)) - came) / (now() - begin)
            finally:
                bench.lab.stop(crowd)
        names = {
            "quiet": "no other connections",
            "crowd": f"{bench.scale.crowd:,} silent connections and {RATE} a second",
        }
        for name, latencies in (("quiet", quiet), ("crowd", crowded)):
            addLatencies(bench, transport, server, name, f"latency, {names[name]}", latencies)
        figure = Figure("crowd-rate", "connections that came and went", "per second")
        bench.results.add(figure, transport, server.name, rate)


class Flood:
    """The latency in one tunnel while others make as much work for the server as goes in.

    Each time on a new process: what was sent and waits in the kernel is worked off when those who
    sent it are long gone, which takes minutes.
    """

    name = "flood"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        if isSecure(transport):
            return  # what is flooded with comes in large records, so that TLS makes no difference
        for _round in range(bench.scale.longRounds):
            for sort in FLOODS if isWebSocket(transport) else STREAM_FLOODS:
                for peer, running in competitors:

                    async def once(
                        sort: str = sort, peer: Peer = peer, running: Server = running
                    ) -> None:
                        async with bench.fresh(peer, running) as server:
                            await self._measure(bench, transport, sort, server)

                    await bench.attempt(self.name, transport, peer, once)

    async def _measure(self, bench: Bench, transport: str, sort: str, server: Server) -> None:
        place = transport, *server.addresses[transport], server.meeting
        async with tunnelsTo(server, transport, 1) as [(first, second)]:
            content = ring(LATENCY_MESSAGE, 1, isWebSocket(transport))
            there = Flow(content, first, second, 0)
            back = Flow(content, second, first, 1)
            there.whenArrived = back.send
            flood = start(bench.lab, "flood", sort, *place, bench.scale.flood)
            try:
                async with asyncio.timeout(GATHERING):
                    await hear(flood)
                    await ask(flood)
                latencies = await takeLatencies(there, back, bench.scale.latencySeconds)
                left = int(await ask(flood))
            finally:
                bench.lab.stop(flood)
        if left < bench.scale.flood:
            raise ContentError(f"only {left} connections still flood")
        title = f"latency, {bench.scale.flood} connections flood with {FLOODS[sort]}"
        addLatencies(bench, transport, server, f"flood-{sort}", title, latencies)


def addLatencies(
    bench: Bench, transport: str, server: Server, name: str, title: str, latencies: list[float]
) -> None:
    """Keep what describes a distribution."""
    for kind, value in (
        ("median", statistics.median(latencies)),
        ("p99", statistics.quantiles(latencies, n=100, method="inclusive")[-1]),
        ("max", max(latencies)),
    ):
        figure = Figure(f"{name}-{kind}", f"{title}: {kind}", "ms")
        bench.results.add(figure, transport, server.name, value)


def _setNow(future: asyncio.Future[float]) -> None:
    future.set_result(now())


async def takeLatencies(there: Flow, back: Flow, seconds: float) -> list[float]:
    """Return the ms of each round trip."""
    latencies: list[float] = []
    end = now() + seconds
    while now() < end or len(latencies) < FEWEST_ROUND_TRIPS:
        arrived: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        back.whenArrived = functools.partial(_setNow, arrived)
        begin = now()
        there.send()
        async with asyncio.timeout(STALLED):
            latencies.append((await arrived - begin) * MS)
        there.verify()
        back.verify()
        await asyncio.sleep(PACE)
    return latencies
