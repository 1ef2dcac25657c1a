"""One run of the benchmark: which peers, which workloads, how much of everything.

Owns the order in which things are measured, and what happens when a measurement fails.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.lab import Lab, now
from benchmarks.machine import describe
from benchmarks.names import REGISTERED_WORKLOADS, VISIT_WORKLOADS, isSecure
from benchmarks.peers import Peer, Server
from benchmarks.results import Results
from benchmarks.tunnels import tunnelsTo


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    :ivar rounds: how often each peer's turn comes.
    :ivar longRounds: the same, for what takes long.
    :ivar window: seconds that are measured. The kernel's CPU time is exact to 4 ms.
    :ivar warmUp: seconds before that, for caches, buffers, and the gap that our server leaves
        after its notification.
    :ivar settling: seconds in which a server finishes what it puts off, before its memory is
        looked at.
    :ivar setUp: tunnels that are opened.
    :ivar idle: tunnels that are idle during a ping-pong; as many as the file limit allows.
    :ivar slowBytes: what is offered to the slow reader's sender; more than all buffers of the
        kernel hold.
    :ivar crowd: connections that do not authenticate.
    :ivar flood: connections that send nothing but small work; fewer than one address may have.
    :ivar latencySeconds: how long the latency is watched.
    :ivar siblingSeconds: the same while another client of the server is slow; enough that one which
        has stopped reading is too far behind before it ends.
    :ivar visitors: of one home, that are there at a time.
    :ivar watched: tunnels that are idle while somebody watches the server.
    :ivar watchSeconds: how long it is watched.
    :ivar freshProcesses: what depends on a server's age is measured on a new process.
    """

    rounds: int = 5
    longRounds: int = 3
    window: float = 0.6
    warmUp: float = 0.2
    settling: float = 0.5
    setUp: int = 2000
    idle: tuple[int, ...] = (0, 1000, 10000)
    slowBytes: int = 64 << 20
    crowd: int = 2000
    flood: int = 95
    latencySeconds: float = 2.0
    siblingSeconds: float = 8.0
    visitors: int = 1000
    watched: int = 500
    watchSeconds: float = 4.0
    freshProcesses: bool = True


FULL = Scale()
QUICK = Scale(
    rounds=1,
    longRounds=1,
    window=0.1,
    warmUp=0.05,
    settling=0.05,
    setUp=100,
    idle=(0, 50, 200),
    slowBytes=24 << 20,
    crowd=100,
    flood=10,
    latencySeconds=0.5,
    siblingSeconds=0.5,
    visitors=50,
    watched=20,
    watchSeconds=1.0,
    freshProcesses=False,
)

Competitor = tuple[Peer, Server]


class Workload(Protocol):
    """Something that is measured over one transport."""

    @property
    def name(self) -> str:
        """In results and on the command line."""
        ...

    async def run(self, bench: Bench, transport: str, competitors: Sequence[Competitor]) -> None:
        """Measure all competitors in turn."""
        ...


class Bench:
    """One run.

    :ivar lab: where it happens.
    """

    def __init__(self, lab: Lab, scale: Scale, results: Results) -> None:
        self.lab = lab
        self.scale = scale
        self.results = results

    async def run(
        self, peers: Sequence[Peer], transports: Sequence[str], workloads: Sequence[Workload]
    ) -> None:
        """Measure everything."""
        begin = now()
        self.results.machine = describe(self.lab)
        self.results.judged = [peer.name for peer in peers if peer.isJudged]
        competitors = await self._start(peers)
        for transport in transports:
            for workload in workloads:
                able = [each for each in competitors if _takesPart(each[0], transport, workload)]
                say(f"{transport} {workload.name}: {', '.join(peer.name for peer, _ in able)}")
                await workload.run(self, transport, able)
        self.results.machine["length of the run"] = f"{(now() - begin) / 60:.0f} minutes"

    async def _start(self, peers: Sequence[Peer]) -> list[Competitor]:
        competitors: list[Competitor] = []
        for peer in peers:
            if missing := peer.missing():
                self.results.notes.append(f"{peer.name} was skipped: {missing}")
                say(self.results.notes[-1])
                continue

            if version := peer.version():
                self.results.machine[peer.name] = version

            async def begin(peer: Peer = peer) -> None:
                server = await peer.start(self.lab)
                await self._noteCipher(server)
                competitors.append((peer, server))

            await self.attempt("start", "", peer, begin)
        return competitors

    async def _noteCipher(self, server: Server) -> None:
        """Open one tunnel with TLS, to see what is agreed upon."""
        for transport in filter(isSecure, server.addresses):
            async with tunnelsTo(server, transport, 1) as [tunnel]:
                ciphers = {wire.transport.get_extra_info("cipher")[0] for wire in tunnel}
            self.results.machine[f"TLS of {server.name}"] = ", ".join(sorted(ciphers))

    @contextlib.asynccontextmanager
    async def fresh(self, peer: Peer, running: Server) -> AsyncIterator[Server]:
        """Start a process for one measurement, or take the one that runs."""
        if not self.isFresh(peer):
            yield running
            return
        server = await peer.start(self.lab)
        try:
            yield server
        finally:
            server.stop(self.lab)

    async def onFreshServers(
        self,
        workload: str,
        transport: str,
        competitors: Sequence[Competitor],
        measure: Callable[[Bench, str, Server], Awaitable[None]],
    ) -> None:
        """Measure the competitors in turn, in rounds, each time on a process of its own."""
        for _round in range(self.scale.longRounds):
            for peer, running in competitors:

                async def once(peer: Peer = peer, running: Server = running) -> None:
                    async with self.fresh(peer, running) as server:
                        await measure(self, transport, server)

                await self.attempt(workload, transport, peer, once)

    def isFresh(self, peer: Peer) -> bool:
        """Tell whether a measurement may have a process of its own."""
        return peer.canStart and self.scale.freshProcesses

    async def attempt(
        self, workload: str, transport: str, peer: Peer, measurement: Callable[[], Awaitable[None]]
    ) -> None:
        """Do one measurement; a failure is kept and shown, and the others go on.

        Whatever a server does wrong ends here, so that every kind of error has to be expected.
        """
        try:
            await measurement()
        except Exception as error:
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            reason = f"{type(error).__name__}: {error}"
            self.results.fail(workload, transport, peer.name, reason)
            say(f"FAILED {transport} {workload} {peer.name}: {reason}")
            traceback.print_exc()


def _takesPart(peer: Peer, transport: str, workload: Workload) -> bool:
    isAsked = peer.workloads is None or workload.name in peer.workloads
    isAble = (peer.hasHomes or workload.name not in VISIT_WORKLOADS) and (
        peer.hasTunnelProxy or workload.name not in REGISTERED_WORKLOADS
    )
    return isAsked and isAble and transport in peer.transports


BEGIN = now()


def say(text: str) -> None:
    """Show progress."""
    print(f"{now() - BEGIN:5.0f} s  {text}", file=sys.stderr, flush=True)
