"""``python -m benchmarks.cluster``: what it costs that two partners are in different processes.

Owns what is measured for that, and the table of ratios. Everything else is that of
``python -m benchmarks``: what is compared is the CPU time of all members together with that of one
process which has both partners.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import signal
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks.__main__ import count, seconds
from benchmarks.bench import FULL, QUICK, Bench, Competitor, Scale, Workload
from benchmarks.connections import SetUp
from benchmarks.lab import Lab, now
from benchmarks.members import Machines, Workers
from benchmarks.names import MACHINES, WORKERS
from benchmarks.peers import Own, Server
from benchmarks.results import Figure, Results, Series
from benchmarks.steady import LARGE, PING_PONG
from benchmarks.tables import number, table
from benchmarks.tunnels import tunnelsTo

ONE = "one process"
TRANSPORTS = ("wss", "ws", "tcp")
NS_PER_MS = 1_000_000

CLUSTER_SCALE = dataclasses.replace(FULL, rounds=9, longRounds=5, setUp=1000, window=1.0)


class ClusterSetUp(SetUp):
    """Set-up, memory, and what the directory hears of it."""

    async def _measure(self, bench: Bench, transport: str, server: Server) -> None:
        await super()._measure(bench, transport, server)
        if server.directory is not None:
            tunnels = self.opened(bench)
            figure = Figure("commands", "commands to the directory", "per tunnel")
            commands = server.directory.commands() / tunnels
            bench.results.add(figure, transport, server.name, commands)


class IdleCost:
    """CPU time of tunnels that do nothing, and what the directory hears of them."""

    name = "idle-cost"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        await bench.onFreshServers(self.name, transport, competitors, self._measure)

    async def _measure(self, bench: Bench, transport: str, server: Server) -> None:
        amount = min(bench.scale.watched, bench.lab.mostTunnels)
        async with tunnelsTo(server, transport, amount):
            await asyncio.sleep(1.0)
            before, begin = server.cpuTime(), now()
            asked = server.directory.commands() if server.directory else 0
            await asyncio.sleep(bench.scale.watchSeconds)
            lasted = now() - begin
            cost = (server.cpuTime() - before) / NS_PER_MS / lasted
            title = f"{amount:,} idle tunnels"
            figure = Figure("idle-cost", title, "CPU ms per s")
            bench.results.add(figure, transport, server.name, cost)
            if server.directory:
                asked = server.directory.commands() - asked
                figure = Figure("idle-commands", f"{title}: commands", "per s")
                bench.results.add(figure, transport, server.name, asked / lasted)


WORKLOADS: tuple[Workload, ...] = (
    LARGE,
    PING_PONG,
    ClusterSetUp(),
    IdleCost(),
)

SHOWN = (
    "64KiB",
    "ping-pong",
    "set-up",
    "close",
    "memory",
    "commands",
    "idle-cost",
    "idle-commands",
)

LIMITS = {
    ("64KiB", "wss"): (1.35, 2.2),
    ("64KiB", "ws"): (2.0, 3.5),
    ("64KiB", "tcp"): (2.0, 3.5),
    ("ping-pong", "wss"): (1.65, 2.2),
    ("set-up", "wss"): (1.3, 1.8),
    ("memory", "wss"): (8, 40),
    ("commands", "wss"): (4, 4),
}
"""Worker to worker, machine to machine: the most that a ratio may be, of memory a difference in
KiB, of commands the figure itself."""


def render(results: Results) -> str:
    """Return the table."""
    peers = (WORKERS, MACHINES)
    rows = []
    for figure, transport, group in results.groups():
        if figure.name not in SHOWN:
            continue
        found = {series.peer: series for series in group}
        one = found.get(ONE)
        row = [figure.title, transport, figure.unit, _values(one)]
        limits = LIMITS.get((figure.name, transport), ("", ""))
        for peer, limit in zip(peers, limits, strict=True):
            row += [_values(found.get(peer)), _compared(figure, found.get(peer), one), str(limit)]
        rows.append(row)
    header = ["what", "transport", "unit", ONE]
    for peer in peers:
        header += [peer, "over one", "at most"]
    return table(header, rows)


def _values(series: Series | None) -> str:
    if series is None:
        return "–"
    low, high = number(min(series.values)), number(max(series.values))
    return f"{number(series.median)} ({low} – {high})"


def _compared(figure: Figure, series: Series | None, one: Series | None) -> str:
    if series is None or one is None:
        return "–"
    if figure.name == "memory":
        return f"{series.median - one.median:+.1f}"
    if not one.median:
        return "–"
    # Of values of the same round, in which the machine's speed was the same.
    ratios = [a / b for a, b in zip(series.values, one.values, strict=False) if b]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else CLUSTER_SCALE
    for name in ("rounds", "longRounds", "window", "setUp"):
        value = getattr(options, name)
        if value is not None:
            scale = dataclasses.replace(scale, **{name: value})
    return scale


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    add = parser.add_argument
    names = [ONE, WORKERS, MACHINES]
    add("--quick", action="store_true", help="everything once and small")
    add("--peer", action="append", choices=names)
    add("--workload", action="append", choices=[each.name for each in WORKLOADS])
    add("--transport", action="append", choices=TRANSPORTS)
    add("--rounds", type=count)
    add("--longRounds", type=count)
    add("--setUp", type=count)
    add("--window", type=seconds)
    add("--output", type=Path, metavar="DIR", help="write the figures there, too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = Results()
    peers = [Own(ONE), Workers(), Machines()]
    with Lab() as lab:
        uvloop.run(
            Bench(lab, _scale(options), results).run(
                [peer for peer in peers if not options.peer or peer.name in options.peer],
                options.transport or TRANSPORTS,
                [w for w in WORKLOADS if not options.workload or w.name in options.workload],
            )
        )
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        results.save(options.output / "cluster.json")
        (options.output / "cluster.rst").write_text(render(results))
    print(render(results))
    for failure in results.failures:
        print(failure)
    sys.exit(bool(results.failures))


if __name__ == "__main__":
    main()
