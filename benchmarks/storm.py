"""``python -m benchmarks.storm``: all registered servers lose their connections and come back.

Owns what is measured meanwhile: how long it takes, what it costs, and what those notice who are
connected already. Knows nothing of how the servers come back.

Servers and probes share a core, so that a latency is never less than what the load generator takes
for itself; compare the numbers of workers, not the milliseconds of one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
from collections.abc import Sequence

import uvloop

from benchmarks.__main__ import count
from benchmarks.helper import ask, hear, start
from benchmarks.lab import RESERVED_FILES, Lab, letRunAnywhere, now
from benchmarks.members import Workers
from benchmarks.names import TRANSPORTS, isWebSocket
from benchmarks.peers import Own, Server
from benchmarks.pressure import LATENCY_MESSAGE, takeLatencies
from benchmarks.report import number, table
from benchmarks.traffic import Flow, ring
from benchmarks.tunnels import tunnelsTo

PROBES = 4
"""Tunnels whose latency is watched; of several workers each has some."""
QUIET_SECONDS = 2.0
GLANCE = 0.5
"""Seconds of latencies that are taken at a time, until the storm is over."""
LONGEST = 300.0
"""Seconds until all servers must be back."""
NS_PER_S = 1_000_000_000

Probe = tuple[Flow, Flow]


def _probes(transport: str, tunnels: Sequence[tuple[object, object]]) -> list[Probe]:
    content = ring(LATENCY_MESSAGE, 1, isWebSocket(transport))
    probes = []
    for first, second in tunnels:
        there, back = Flow(content, first, second, 0), Flow(content, second, first, 1)  # type: ignore[arg-type]
        there.whenArrived = back.send
        probes.append((there, back))
    return probes


async def _watch(probes: Sequence[Probe], seconds: float) -> list[float]:
    found = await asyncio.gather(*(takeLatencies(*probe, seconds) for probe in probes))
    return [latency for each in found for latency in each]


async def storm(lab: Lab, server: Server, transport: str, servers: int) -> list[str]:
    """Return the cells of a row."""
    comeback = start(lab, "comeback", transport, *server.addresses[transport], servers)
    await asyncio.wait_for(hear(comeback), LONGEST)
    async with tunnelsTo(server, transport, PROBES) as tunnels:
        probes = _probes(transport, tunnels)
        await asyncio.sleep(1.0)
        quiet = await _watch(probes, QUIET_SECONDS)
        before, begin = server.cpuTime(), now()
        over = asyncio.create_task(ask(comeback))
        latencies: list[float] = []
        while not over.done() and now() - begin < LONGEST:
            latencies += await _watch(probes, GLANCE)
        answer = json.loads(await asyncio.wait_for(over, 1.0))
        cpu = (server.cpuTime() - before) / NS_PER_S
    lab.stop(comeback)
    return [
        f"{servers:,}",
        f"{answer['seconds']:.1f} s",
        number(servers / answer["seconds"]),
        f"{cpu:.1f} s",
        str(answer["refused"]),
        f"{statistics.median(quiet):.1f} / {max(quiet):.0f} ms",
        f"{statistics.median(latencies):.1f} / {max(latencies):.0f} ms",
    ]


HEADER = (
    "workers",
    "servers",
    "all are back after",
    "per second",
    "CPU of all processes",
    "tried again",
    "round trip before, median / worst",
    "during the storm",
)


async def run(
    lab: Lab, workers: Sequence[int], transport: str, servers: int, anywhere: bool
) -> None:
    """Measure each number of workers, and print a table."""
    rows = []
    for amount in workers:
        peer = Own("one process") if amount == 1 else Workers(amount)
        server = await peer.start(lab)
        if anywhere:
            letRunAnywhere(server.pid)
        rows.append([str(amount), *await storm(lab, server, transport, servers)])
        server.stop(lab)
    print(table(HEADER, rows))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    add = parser.add_argument
    add("--workers", action="append", type=count, help="may be repeated [default: 1 and 2]")
    add("--servers", type=count, default=5000, help="[default: %(default)s]")
    add("--transport", choices=TRANSPORTS, default="wss", help="[default: %(default)s]")
    add(
        "--all-cores",
        action="store_true",
        help="let the processes have the load generator's core, too [default: all on one]",
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Lab() as lab:
        servers = min(options.servers, lab.fileLimit - RESERVED_FILES)
        workers = options.workers or [1, 2]
        uvloop.run(run(lab, workers, options.transport, servers, options.all_cores))


if __name__ == "__main__":
    main()
