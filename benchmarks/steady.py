"""The workloads that run at a constant pace: ping-pong, small messages, large messages.

Owns how a server's CPU time is set against what went through it. Knows nothing of how the server
was started.

The load generator may be slower than a server. The cost per message stays right, since it is
counted and not derived from the rate; but a server that waits for the generator finds less to do
at once than one which has work all the time. That is why the number of writes under way is fixed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.bench import Bench, Competitor, Scale
from benchmarks.lab import now
from benchmarks.meetings import Tunnel
from benchmarks.names import isWebSocket
from benchmarks.peers import Server
from benchmarks.results import Figure
from benchmarks.traffic import ContentError, Flow, Ring, ring
from benchmarks.tunnels import tunnelsTo

DRAINING = 10.0
"""Seconds in which all that was sent must have arrived."""
LOOKING = 0.005
"""Seconds between two looks, while waiting for what gives no sign."""
STRIDE = 97
"""Writes between the starts of two flows: prime, so that no two flows send the same at a time."""
NS_PER_US = 1000


@dataclass(frozen=True)
class Steady:
    """A workload.

    :ivar name: in results and on the command line.
    :ivar title: for people.
    :ivar tunnels: how many are used at a time.
    :ivar size: bytes in a message.
    :ivar perWrite: messages handed to the kernel in one call; over TLS in one record.
    :ivar underWay: writes of one tunnel that have not arrived yet. One, where the server is to
        read each on its own.
    :ivar isPingPong: each message is answered by one; a unit is a round trip, two messages.
    """

    name: str
    title: str
    tunnels: int
    size: int
    perWrite: int = 1
    underWay: int = 1
    isPingPong: bool = False

    @property
    def isBulk(self) -> bool:
        """Whether bytes are counted, not messages."""
        return self.size > 1 << 14

    @property
    def unit(self) -> str:
        if self.isPingPong:
            return "µs per round trip"
        return "s per GB" if self.isBulk else "µs per message"

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        """Measure the competitors in turn, in rounds."""
        figure = Figure(self.name, self.title, f"CPU {self.unit}")
        for _round in range(bench.scale.rounds):
            for peer, server in competitors:

                async def once(server: Server = server) -> None:
                    cost = await measure(server, transport, self, bench.scale)
                    bench.results.add(figure, transport, server.name, cost)

                await bench.attempt(self.name, transport, peer, once)


PING_PONG = Steady("ping-pong", "ping-pong, 256 B", 1, 256, isPingPong=True)

LARGE = Steady("64KiB", "2 tunnels, 64 KiB", 2, 64 << 10, underWay=4)

STEADY = (
    PING_PONG,
    Steady("256B-x1", "20 tunnels, 256 B, one a write", 20, 256),
    Steady("256B-x32", "20 tunnels, 256 B, 32 a write", 20, 256, perWrite=32),
    LARGE,
    Steady("1MiB", "2 tunnels, 1 MiB", 2, 1 << 20, underWay=2),
)


class Load:
    """One workload in tunnels that are open.

    :param there: what the first one of a tunnel sends.
    :param back: what the second one does, in a ping-pong.
    """

    def __init__(self, workload: Steady, there: Ring, back: Ring, tunnels: list[Tunnel]) -> None:
        self._workload = workload
        self._running = False
        self._flows: list[Flow] = []
        self._beginning: list[Flow] = []
        self._counted: list[Flow] = []
        for index, (first, second) in enumerate(tunnels):
            ping = Flow(there, first, second, index * STRIDE)
            self._flows.append(ping)
            self._beginning.append(ping)
            if workload.isPingPong:
                pong = Flow(back, second, first, (index + len(tunnels)) * STRIDE)
                self._flows.append(pong)
                ping.whenArrived = self._unlessOver(pong)
                pong.whenArrived = self._unlessOver(ping)
                self._counted.append(pong)
            else:
                ping.whenArrived = self._unlessOver(ping)
                self._counted.append(ping)

    def _unlessOver(self, flow: Flow) -> Callable[[], None]:
        def send() -> None:
            if self._running:
                flow.send()

        return send

    def start(self) -> None:
        self._running = True
        for flow in self._beginning:
            for _ in range(self._workload.underWay):
                flow.send()

    @property
    def units(self) -> float:
        """What went through so far, so that nanoseconds per unit are what the unit says."""
        if self._workload.isBulk:
            return sum(flow.received for flow in self._counted)
        return sum(flow.messages for flow in self._counted) * NS_PER_US

    def verify(self) -> None:
        """:raises ContentError: something is wrong so far."""
        for flow in self._flows:
            flow.verify()

    async def stop(self) -> None:
        """Send no more, and wait for the rest.

        :raises ContentError: it does not come.
        """
        self._running = False
        deadline = now() + DRAINING
        while not all(flow.isComplete for flow in self._flows):
            self.verify()
            if now() > deadline:
                raise ContentError("not all that was sent arrived")
            await asyncio.sleep(LOOKING)
        self.verify()


async def measure(server: Server, transport: str, workload: Steady, scale: Scale) -> float:
    """Return the server's CPU time per unit.

    :raises ContentError: what arrived is not what was sent.
    """
    async with tunnelsTo(server, transport, workload.tunnels) as tunnels:
        content = ring(workload.size, workload.perWrite, isWebSocket(transport))
        return await measureLoad(server, Load(workload, content, content, tunnels), scale)


async def measureLoad(server: Server, load: Load, scale: Scale) -> float:
    """Return the server's CPU time per unit of a load, which ends with this.

    :raises ContentError: what arrived is not what was sent.
    """
    load.start()
    with awake():
        await asyncio.sleep(scale.warmUp)
        load.verify()
        unitsBefore, timeBefore = load.units, server.cpuTime()
        await asyncio.sleep(scale.window)
        units, time = load.units - unitsBefore, server.cpuTime() - timeBefore
    await load.stop()
    if not units:
        raise ContentError("nothing went through")
    return time / units


@contextlib.contextmanager
def awake() -> Iterator[None]:
    """Keep the generator's core busy, so that the server need not wake it.

    On a virtual machine that takes up to 25 µs for each message, more than all else that any
    server does about it, and would be counted as the server's.
    """
    loop = asyncio.get_running_loop()
    isOver = False

    def turn() -> None:
        if not isOver:
            loop.call_soon(turn)

    turn()
    try:
        yield
    finally:
        isOver = True
