"""A run of the load against one setup, and the judgement at its end.

Owns what is in flight, and what must be as before when it is over. Knows nothing of what is played.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from soak import strangers, tunnels, visits
from soak.backend import Backend
from soak.disturbances import WORKER_KILLED, Disturbances
from soak.ledger import LOST, Done, Ledger, present
from soak.pace import Pace
from soak.plan import PLAIN, STRANGER, TUNNEL, VISIT, Scenario, scenario
from soak.playing import Stage
from soak.servers import CLUSTER, ServerError, Setup

LONGEST = 60.0
"""Seconds that a scenario may take: its time limits are of 10 at most, what it sends of 4 MiB."""
SETTLING = 45.0
"""Seconds until nobody is there any more: more than twice what a client has for its goodbye."""
LOOK = 0.2
"""Seconds between two looks at what the server has written."""
LOOKS = 10
"""How often the level is looked at, at most."""
WARM_UP = 0.1
"""Part of the load after which it is written down how much of everything there is."""
LEAST_WARM_UP, MOST_WARM_UP = 20, 1000
"""Scenarios at least and at most: some things a process makes when it needs them, and keeps."""
GROWTH = 24 << 20
"""Bytes that the memory of a server may grow behind the warm-up: huge payloads meet by chance, and
the allocator does not give everything back."""

COUNTED = tuple(
    f"nymearemoteproxy.{name}"
    for name in (
        "cluster.remoteleg",
        "connections.records.Record",
        "meeting.tunnel",
        "tunnelproxy.backlog",
        "tunnelproxy.clientend",
        "tunnelproxy.serverend",
        "wires.direct.DirectTransport",
        "wires.stream",
        "wires.tls",
        "wires.upgrade.Upgrade",
        "wires.websocket",
    )
)
"""How the kinds of objects begin of which there are as many as before: those of connections."""
MOST_OF_ONE = 3
"""Tunnels of one kind in a scenario."""
_ESTABLISHED = {
    "token": "tunnels_established_total",
    "servers": "tunnel_proxy_servers_registered_total",
    "clients": "tunnel_proxy_clients_connected_total",
}
_NEW = {
    "newConnections": "connections_accepted_total",
    "newTunnels": "tunnels_established_total",
    "newServers": "tunnel_proxy_servers_registered_total",
    "newClients": "tunnel_proxy_clients_connected_total",
}
_TOTALS = {
    "connections": "connections_accepted_total",
    "tunnels": "tunnels_established_total",
    "servers": "tunnel_proxy_servers_registered_total",
    "clients": "tunnel_proxy_clients_connected_total",
}

_PLAYERS = {TUNNEL: tunnels.play, VISIT: visits.play, STRANGER: strangers.play}


@dataclass(frozen=True)
class Level:
    """How much of everything there is when nobody is connected.

    :ivar resident: bytes of memory, of each server.
    :ivar descriptors: of each process of each server.
    :ivar objects: likewise, by kind.
    """

    resident: list[int]
    descriptors: list[list[int]]
    objects: list[list[Counter[str]]]


def differences(before: Level, after: Level) -> Iterator[str]:
    """Return in what it is not as before."""
    if before.descriptors != after.descriptors:
        yield f"open files: {before.descriptors} before, {after.descriptors} after"
    for old, new in zip(before.objects, after.objects, strict=True):
        for process, (few, many) in enumerate(zip(old, new, strict=False)):
            kinds = [kind for kind in many if kind.startswith(COUNTED) and many[kind] > few[kind]]
            for kind in kinds:
                yield f"{kind} in process {process}: {few[kind]} before, {many[kind]} after"
    for size, other in zip(before.resident, after.resident, strict=True):
        if other > size + GROWTH:
            yield f"memory: {size >> 20} MiB before, {other >> 20} MiB after"


def _leaves(error: Exception) -> Iterator[Exception]:
    """Return the exceptions of a group, and of groups in it; or the one that is none."""
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _described(error: Exception) -> str:
    """Return what a reader needs: of the server the fact, of this program the place."""
    if isinstance(error, ServerError):
        return str(error)
    return "".join(traceback.format_exception(error))


@dataclass
class Result:
    """What came out.

    :ivar played: scenarios, by kind and fault.
    :ivar transports: connections.
    :ivar excused: scenarios that ended otherwise, as something was killed meanwhile: not judged.
    :ivar lenient: those that ended as planned meanwhile, and whose connections may still be said
        to have ended by that.
    :ivar outcomes: of connections, in the words of the server.
    :ivar seconds: that the load took.
    :ivar cpu: seconds of processor that the servers took, but for those that were killed.
    """

    setup: str
    seed: str
    played: Counter[str] = field(default_factory=Counter)
    transports: Counter[str] = field(default_factory=Counter)
    disturbances: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    excused: int = 0
    lenient: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    bytes: int = 0
    before: Level | None = None
    after: Level | None = None
    problems: list[str] = field(default_factory=list)
    problemCount: int = 0

    @property
    def count(self) -> int:
        return self.played.total()

    @property
    def missing(self) -> list[str]:
        """What else has never happened."""
        return [kind for kind, count in self.disturbances.items() if not count]

    def failed(self, text: str) -> None:
        """Something went wrong, which comes first."""
        self.problems.insert(0, text)
        self.problemCount += 1

    def demand(self, least: int) -> None:
        """See that so many scenarios were played, and that everything else has happened."""
        if self.count < least:
            self.failed(f"{self.count} scenarios, not {least}")
        for kind in self.missing:
            self.failed(f"{kind}: never")


class Run:
    """The load against one setup, which is started here.

    :param tell: is told how it goes, in lines.
    :param stopped: is set when nothing more is to begin.
    :ivar result: what came out so far.
    """

    def __init__(
        self,
        setup: Setup,
        backend: Backend,
        seed: str,
        tell: Callable[[str], object],
        stopped: asyncio.Event,
    ) -> None:
        self.result = Result(setup.name, seed)
        self._setup = setup
        self._backend = backend
        self._seed = seed
        self._tell = tell
        self._ledger = Ledger(
            [node.log for node in setup.nodes],
            [node.accounting for node in setup.nodes],
            isApart=setup.name == CLUSTER,
        )
        self._disturbances: Disturbances | None = None
        self._stopped = stopped
        self._pace = Pace()

    async def all(
        self, count: int, least: int, seconds: float, interval: float, every: float
    ) -> Result:
        """Play all scenarios, and judge.

        :param least: scenarios at least, and everything else is to happen once; 0 = no matter.
        :param seconds: after which nothing is begun any more, from the end of the warm-up.
        :param interval: seconds between two disturbances.
        :param every: seconds between two lines of progress.
        """
        first = min(count, max(LEAST_WARM_UP, min(MOST_WARM_UP, int(count * WARM_UP))))

        async def play() -> None:
            await self._play(range(first), lambda: False)
            if not await self._settle():
                self._ledger.problem(f"warm-up: not settled after {SETTLING:.0f} s")
            self.result.before = await self._level()
            disturbances = self._disturbances = Disturbances(self._setup, self._seed, interval)
            self.result.disturbances = disturbances.counts
            deadline = time.monotonic() + seconds

            def isOver() -> bool:
                isEnough = self.result.count >= least and not (least and self.result.missing)
                return isEnough and time.monotonic() > deadline

            async with asyncio.TaskGroup() as group:
                group.create_task(disturbances.run())
                await self._play(range(first, count), isOver)
                disturbances.stop()
            await self._settle()

        return await self._judged(play(), every)

    async def one(self, index: int) -> Result:
        """Play one scenario."""

        async def play() -> None:
            await self._one(index)
            await self._settle()

        return await self._judged(play(), math.inf)

    async def _judged(self, playing: Coroutine[Any, Any, None], every: float) -> Result:
        """Play and judge; whatever goes wrong, what was found until then is not lost."""
        failures: list[str] = []
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(every))
                await playing
                watching.cancel()
            await self._judge()
        except Exception as error:
            failures += map(_described, _leaves(error))
        self._ledger.read()
        self.result.problems = self._ledger.problems
        self.result.problemCount = self._ledger.problemCount
        for failure in failures:
            self.result.failed(failure)
        return self.result

    # Playing

    async def _play(self, indices: Iterable[int], isOver: Callable[[], bool]) -> None:
        began, cpu = time.monotonic(), self._cpu()
        async with asyncio.TaskGroup() as group:
            for index in indices:
                await self._pace.begin()
                if self._stopped.is_set() or isOver():
                    break
                group.create_task(self._one(index)).add_done_callback(lambda _: self._pace.end())
        self.result.seconds += time.monotonic() - began
        self.result.cpu += max(0.0, self._cpu() - cpu)

    def _cpu(self) -> float:
        return sum(node.cpu() for node in self._setup.nodes)

    async def _one(self, index: int) -> None:
        chosen = scenario(self._seed, index)
        stage = Stage(self._seed, chosen, self._setup)
        began = time.monotonic()
        problem, isSure = "", False
        try:
            async with asyncio.timeout(LONGEST):
                await _PLAYERS[chosen.kind](stage)
            isSure = True
            if chosen.fault == PLAIN:
                self._pace.took(time.monotonic() - began)
        except TimeoutError:
            problem = f"it is not over after {LONGEST:.0f} s"
        except Exception as error:
            if self._harm(began):
                self.result.excused += 1
            else:
                problem = f"{type(error).__name__}: {error}"
        for wire in stage.wires:
            wire.reset()
            await wire.lost
        # Whatever is killed, nobody gets what is not his.
        for receiving in stage.receivings:
            problem = problem or receiving.problem or ""
        problem = stage.problem or problem
        if problem:
            self._ledger.problem(f"{self._origin(chosen)}\n  {problem}")
        self._write(stage, isSure, self._harm(began))

    def _harm(self, began: float) -> frozenset[str]:
        """Return how else connections may have ended since."""
        if self._disturbances is None:
            return frozenset()
        return self._disturbances.outcomes(began, time.monotonic())

    def _write(self, stage: Stage, isSure: bool, harm: frozenset[str]) -> None:
        chosen, result = stage.scenario, self.result
        result.played[f"{chosen.kind}: {chosen.fault}"] += 1
        result.lenient += isSure and bool(harm)
        self._ledger.expected.update(stage.counts)
        # A process that was killed may have told a client of a tunnel, and not yet who counts.
        self._ledger.unsure += not isSure or LOST in harm
        for wire in stage.wires:
            result.transports[wire.name] += 1
            result.bytes += wire.sent + wire.received
            outcomes = wire.outcomes | harm if isSure and wire.outcomes is not None else None
            counts, isExact = (wire.sent, wire.received), wire.isExact and isSure
            self._ledger.done(Done(wire.peer, *counts, outcomes, isExact, self._origin(chosen)))

    def _origin(self, chosen: Scenario) -> str:
        again = f"python -m soak --setup {self._setup.name} --seed {self._seed}"
        return f"{chosen.index}: {chosen}\n  again: {again} --only {chosen.index}"

    # Watching

    async def _watch(self, every: float) -> None:
        began = told = time.monotonic()
        while True:
            await asyncio.sleep(LOOK)
            for node in self._setup.nodes:
                node.check()
            self._ledger.read()
            now = time.monotonic()
            if now - told >= every:
                told = now
                for problem in self._ledger.fresh():
                    self._tell(problem)
                self._tell(self._progress(now - began))

    def _progress(self, seconds: float) -> str:
        memory = sum(node.resident() for node in self._setup.nodes) / (1 << 20)
        files = sum(sum(node.descriptors()) for node in self._setup.nodes)
        result = self.result
        return (
            f"{self._setup.name}: {result.count:,} in {seconds:,.0f} s, {memory:.1f} MiB, "
            f"{files} files, {result.excused} not judged, {self._ledger.problemCount} problems"
        )

    # Judging

    async def _settle(self) -> bool:
        """Wait until the server has said everything and nobody is there; return whether so."""
        self._backend.hangUp()
        deadline = time.monotonic() + SETTLING
        while not await self._isSettled():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(LOOK)
        return True

    async def _isSettled(self) -> bool:
        self._ledger.read()
        before, nodes = self.result.before, self._setup.nodes
        if not self._ledger.isSettled:
            return False
        if before is not None and [node.descriptors() for node in nodes] != before.descriptors:
            return False
        return not any([present(await node.metrics()) for node in nodes])

    async def _level(self) -> Level:
        nodes = self._setup.nodes
        objects = [await node.census() for node in nodes]
        return Level(
            [node.resident() for node in nodes], [node.descriptors() for node in nodes], objects
        )

    async def _levelLike(self, before: Level) -> Level:
        """Return the level, as soon as our own last question is forgotten."""
        for _look in range(LOOKS):
            level = await self._level()
            if not any(differences(before, level)):
                break
            await asyncio.sleep(LOOK)
        return level

    async def _judge(self) -> None:
        ledger, result, nodes = self._ledger, self.result, self._setup.nodes
        ledger.read()
        metrics = [await node.metrics() for node in nodes]
        for book, said in zip(ledger.books, metrics, strict=True):
            for problem in book.disagreements(said):
                ledger.problem(problem)
            result.outcomes.update(book.outcomes)
        if result.outcomes[LOST] and not result.disturbances[WORKER_KILLED]:
            ledger.problem(f"{LOST}, and nobody has killed a worker")
        for name, metric in _ESTABLISHED.items():
            self._judgeCount(name, sum(said[metric] for said in metrics))
        if result.before is not None:
            result.after = await self._levelLike(result.before)
            for problem in differences(result.before, result.after):
                ledger.problem(problem)
        for node in nodes:
            if status := await node.stop():
                ledger.problem(f"server {node.number} has ended with status {status}")
            ledger.said(f"standard error of server {node.number}", node.child.log.read_text())
        ledger.close()
        for node, said in zip(nodes, metrics, strict=True):
            # There is none where nobody came.
            totals = node.totals.read_text() if node.totals.exists() else "{}"
            self._judgeTotals(Counter(json.loads(totals)), said)
            self._judgeStatistics(node.statistics.read_text(), said)

    def _judgeCount(self, name: str, count: float) -> None:
        least, unsure = self._ledger.expected[name], self._ledger.unsure
        if abs(count - least) > MOST_OF_ONE * unsure:
            self._ledger.problem(f"{name}: {count:.0f} counted, {least} seen, {unsure} unsure")

    def _judgeTotals(self, totals: Counter[str], metrics: dict[str, float]) -> None:
        for name, metric in _TOTALS.items():
            if totals[name] != metrics[metric]:
                self._ledger.problem(
                    f"totals: {totals[name]} {name}, {metrics[metric]:.0f} counted"
                )

    def _judgeStatistics(self, text: str, metrics: dict[str, float]) -> None:
        lines = list(map(json.loads, text.splitlines()))
        for name, metric in _NEW.items():
            count = sum(line[name] for line in lines)
            if count != metrics[metric]:
                self._ledger.problem(f"statistics: {count} {name}, {metrics[metric]:.0f} counted")
