"""``python -m benchmarks.neighbours``: what one visitor of a home notices of another's download.

The home is our own client with ``--serve``, or snitun's, if that is installed. Owns what the
visitors do, and what is measured. Knows nothing of how the home shares its connection.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import signal
import statistics
from collections.abc import Awaitable, Callable

from benchmarks.helper import hear, start
from benchmarks.homeservice import DOWNLOAD, ECHO, SIZE
from benchmarks.lab import Lab, now
from benchmarks.peers import Own, Peer, Snitun
from benchmarks.tables import table
from benchmarks.visitor import clientHello

Visitor = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Visit = Callable[[], Awaitable[Visitor]]

MESSAGE = bytes(256)
GAP = 0.01
"""Seconds between two round trips."""
PIECE = 64 << 10
SLOW = 4e6
"""Bytes a second that a slow visitor reads."""
SETTLED = 0.5
"""Seconds after which a tunnel is as it will be."""
LONGEST = 60.0
"""Seconds that a visitor who lets everything wait needs for all of it in the end, at most."""


async def _home(peer: Peer, lab: Lab, service: int) -> Visit:
    """Start a proxy and its client; return how to visit it."""
    server = await peer.start(lab)
    home = await peer.startHome(lab, server, service)
    hello = clientHello()

    async def visit() -> Visitor:
        reader, writer = await asyncio.open_connection(*home.address, limit=PIECE)
        writer.write(hello)
        return reader, writer

    return visit


async def _ask(visit: Visit, what: bytes) -> Visitor:
    reader, writer = await visit()
    writer.write(what)
    return reader, writer


async def _roundTrips(visitor: Visitor, seconds: float) -> list[float]:
    """Return the milliseconds of each."""
    reader, writer = visitor
    latencies, end = [], now() + seconds
    while now() < end:
        begin = now()
        writer.write(MESSAGE)
        await reader.readexactly(len(MESSAGE))
        latencies.append(1000 * (now() - begin))
        await asyncio.sleep(GAP)
    return latencies


async def _download(visit: Visit, rate: float) -> None:
    """Download again and again, so many bytes a second."""
    while True:
        reader, writer = await _ask(visit, DOWNLOAD)
        begin, taken = now(), 0
        while taken < SIZE:
            data = await reader.read(PIECE)
            if not data:
                raise ConnectionError(f"a download ended after {taken:,} bytes")
            taken += len(data)
            await asyncio.sleep(max(0.0, begin + taken / rate - now()))
        writer.transport.abort()


async def _rest(visitor: Visitor) -> str:
    """Read everything after all; return how much it was, for people."""
    reader, _writer = visitor
    taken = 0
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(LONGEST):
            while taken < SIZE and (data := await reader.read(PIECE)):
                taken += len(data)
    return "all of it" if taken == SIZE else f"{taken:,} of {SIZE:,} bytes"


async def _measure(visit: Visit, rate: float | None, seconds: float) -> list[str]:
    """Return the cells of a row that tell what was found.

    :param rate: bytes a second that the other one reads; None = there is no other one.
    """
    visitor = await _ask(visit, ECHO)
    await _roundTrips(visitor, SETTLED)
    outcome = ""
    if rate is None:
        latencies = await _roundTrips(visitor, seconds)
    elif rate:
        download = asyncio.create_task(_download(visit, rate))
        latencies = await _roundTrips(visitor, seconds)
        if download.done():
            outcome = str(download.exception())
        download.cancel()
    else:
        other = await _ask(visit, DOWNLOAD)
        latencies = await _roundTrips(visitor, seconds)
        outcome = f"got later: {await _rest(other)}"
    return [f"{statistics.median(latencies):.2f} ms", f"{max(latencies):.1f} ms", outcome]


CASES = {
    "there is none": None,
    "reads nothing": 0.0,
    "reads 4 MB/s": SLOW,
    "reads all it can get": math.inf,
}
HEADER = ("", "what the other one does", "median", "worst", "")


def run(rounds: int, seconds: float) -> None:
    """Measure everything that is installed, and print a table."""
    peers = [peer for peer in (Own(), Snitun()) if not peer.missing()]
    rows = []

    async def once(lab: Lab, peer: Peer, rate: float | None) -> list[str]:
        service = int(await hear(start(lab, "homeservice")))
        return await _measure(await _home(peer, lab, service), rate, seconds)

    for _round in range(rounds):
        for case, rate in CASES.items():
            for peer in peers:
                with Lab() as lab:  # so that nobody has another one's burden
                    rows.append([peer.name, case, *asyncio.run(once(lab, peer, rate))])
    print(table(HEADER, sorted(rows)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="[default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=8.0, help="[default: %(default)s]")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run(options.rounds, options.seconds)


if __name__ == "__main__":
    main()
