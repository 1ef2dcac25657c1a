"""What happens to the servers while the load goes on.

Owns what is done when, and for how long a connection may suffer by it. Knows nothing of the load.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from random import Random

from soak.servers import CLUSTER, WORKERS, Setup

WORKER_KILLED = "worker killed"
AFTER_KILL = 2.0
"""Seconds after a worker's death in which connections still may be handed to it, or ask it."""
OUTAGE = 1.0
"""Seconds for which the Redis is away."""
AFTER_OUTAGE = 10.0
"""Seconds until everything is as before: what began meanwhile has its time limits
(see `servers`), and 3 are promised for the rest (docs/cluster.rst)."""


class Disturbances:
    """Does one thing after the other.

    :param interval: seconds between two.
    :ivar counts: what was done.
    """

    def __init__(self, setup: Setup, seed: str, interval: float) -> None:
        self.counts: Counter[str] = Counter()
        self._setup = setup
        self._random = Random(f"{seed}:{setup.name}:disturbances")
        self._interval = interval
        self._harm: list[tuple[float, float]] = []
        self._kinds = {"reload": self._reload, "certificate": self._changeCertificate}
        if setup.name == WORKERS:
            self._kinds[WORKER_KILLED] = self._killWorker
        if setup.name == CLUSTER:
            self._kinds["Redis killed"] = self._killRedis
            self._kinds["Redis frozen"] = self._freezeRedis

    async def run(self) -> None:
        """Go on until cancelled; what is begun is brought to its end."""
        while True:
            for kind in self._random.sample(list(self._kinds), len(self._kinds)):
                await asyncio.sleep(self._interval)
                self.counts[kind] += 1
                await asyncio.shield(asyncio.ensure_future(self._kinds[kind]()))

    def mayHaveHarmed(self, began: float, ended: float) -> bool:
        """Tell whether something was killed while a connection was there.

        :param began: a moment of `time.monotonic`, and so is the other.
        """
        return any(began <= end and ended >= begin for begin, end in self._harm)

    def _harms(self, seconds: float) -> None:
        now = time.monotonic()
        self._harm.append((now, now + seconds))

    async def _reload(self) -> None:
        for node in self._setup.nodes:
            node.signal(signal.SIGHUP)

    async def _changeCertificate(self) -> None:
        self._setup.changeCertificate()
        await self._reload()

    async def _killWorker(self) -> None:
        node = self._setup.nodes[0]
        self._harms(AFTER_KILL)
        os.kill(self._random.choice(node.pids[1:]), signal.SIGKILL)

    async def _killRedis(self) -> None:
        redis = self._setup.redis
        assert redis is not None
        self._harms(OUTAGE + AFTER_OUTAGE)
        redis.kill()
        await asyncio.sleep(OUTAGE)
        await asyncio.to_thread(redis.start)

    async def _freezeRedis(self) -> None:
        redis = self._setup.redis
        assert redis is not None
        self._harms(OUTAGE + AFTER_OUTAGE)
        redis.freeze()
        await asyncio.sleep(OUTAGE)
        redis.thaw()
