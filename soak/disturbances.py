"""What happens to the servers while the load goes on.

Owns what is done when, for how long connections may suffer by it, and how they may end then. Knows
nothing of the load.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

from soak.ledger import LOST
from soak.servers import CLUSTER, WORKERS, Setup

WORKER_KILLED = "worker killed"
BY_KILL = frozenset({LOST, "link-lost"})
"""Outcomes of those whose worker died, or their partner's."""
BY_OUTAGE = frozenset({"alone-timeout", "directory-unavailable", "place-lost"})
"""Outcomes while the directory is away, see docs/cluster.rst."""
AFTER_KILL = 2.0
"""Seconds after a worker's death in which connections still may be handed to it, or ask it."""
OUTAGE = 1.0
"""Seconds for which the Redis is away."""
AFTER_OUTAGE = 15.0
"""Seconds until everything is as before: ten from when it is noticed that a Redis is empty, in
which a server may not be there yet (docs/cluster.rst); what began meanwhile has its time limits."""
APART = {WORKERS: 12.0, CLUSTER: 32.0}
"""Seconds between two that do harm: half of the time is free of it."""

_Kinds = dict[str, Callable[[], Awaitable[None]]]


class Disturbances:
    """Does one thing after the other.

    :param interval: seconds between two that do no harm.
    :ivar counts: what was done, and how often.
    """

    def __init__(self, setup: Setup, seed: str, interval: float) -> None:
        self._setup = setup
        self._random = Random(f"{seed}:{setup.name}:disturbances")
        self._interval = interval
        self._harm: list[tuple[float, float, frozenset[str]]] = []
        self._over = asyncio.Event()
        self._harmless: _Kinds = {"reload": self._reload, "certificate": self._changeCertificate}
        self._harmful: _Kinds = {}
        if setup.name == WORKERS:
            self._harmful = {WORKER_KILLED: self._killWorker}
        if setup.name == CLUSTER:
            self._harmful = {"Redis killed": self._killRedis, "Redis frozen": self._freezeRedis}
        self.counts = Counter(dict.fromkeys([*self._harmless, *self._harmful], 0))

    async def run(self) -> None:
        """Go on until `stop`; what is begun is brought to its end."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self._harmless, self._interval))
            if self._harmful:
                group.create_task(self._repeat(self._harmful, APART[self._setup.name]))

    def stop(self) -> None:
        """Begin nothing more."""
        self._over.set()

    def outcomes(self, began: float, ended: float) -> frozenset[str]:
        """Return how else connections may have ended, as something was killed meanwhile.

        :param began: a moment of `time.monotonic`, and so is the other.
        """
        meanwhile = [how for begin, end, how in self._harm if began <= end and ended >= begin]
        return frozenset().union(*meanwhile)

    async def _repeat(self, kinds: _Kinds, pause: float) -> None:
        wait = self._interval
        while True:
            for kind in self._random.sample(list(kinds), len(kinds)):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), wait)
                    return
                self.counts[kind] += 1
                await kinds[kind]()
                wait = pause

    def _harms(self, seconds: float, outcomes: frozenset[str]) -> None:
        now = time.monotonic()
        self._harm.append((now, now + seconds, outcomes))

    async def _reload(self) -> None:
        for node in self._setup.nodes:
            node.signal(signal.SIGHUP)

    async def _changeCertificate(self) -> None:
        self._setup.changeCertificate()
        await self._reload()

    async def _killWorker(self) -> None:
        node = self._setup.nodes[0]
        self._harms(AFTER_KILL, BY_KILL)
        os.kill(self._random.choice(node.pids[1:]), signal.SIGKILL)

    async def _killRedis(self) -> None:
        redis = self._setup.redis
        assert redis is not None
        self._harms(OUTAGE + AFTER_OUTAGE, BY_OUTAGE)
        redis.kill()
        await asyncio.sleep(OUTAGE)
        await asyncio.to_thread(redis.start)

    async def _freezeRedis(self) -> None:
        redis = self._setup.redis
        assert redis is not None
        self._harms(OUTAGE + AFTER_OUTAGE, BY_OUTAGE)
        redis.freeze()
        await asyncio.sleep(OUTAGE)
        redis.thaw()
