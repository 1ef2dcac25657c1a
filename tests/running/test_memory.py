"""When free memory is returned, and what the garbage collector is told."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.running import memory
from nymearemoteproxy.running.memory import FEWER, GC_THRESHOLD, INTERVAL, Memory


class MemoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        # To freeze and to collect for real takes long, among all that the tests have imported.
        self.patch(memory, "gc", self)
        self.thresholds: tuple[int, ...] = (700, 10, 5)
        self.told: list[str] = []
        self.clock = Clock()
        self.connections = 0
        self.returned = 0
        self.memory = Memory(self.clock, lambda: self.connections, self.returnFree)
        self.memory.start()

    def returnFree(self) -> None:
        self.returned += 1

    # What stands for the module gc

    def get_threshold(self) -> tuple[int, ...]:
        return self.thresholds

    def set_threshold(self, *thresholds: int) -> None:
        self.thresholds = thresholds

    def collect(self) -> None:
        self.told.append("collect")

    def freeze(self) -> None:
        self.told.append("freeze")

    def unfreeze(self) -> None:
        self.told.append("unfreeze")

    def after(self, *numbers: int) -> int:
        """Return how often memory was returned while there were so many connections."""
        before = self.returned
        for self.connections in numbers:
            self.clock.advance(INTERVAL)
        return self.returned - before

    def test_manyHaveGone(self) -> None:
        self.assertEqual(self.after(2 * FEWER, 2 * FEWER, FEWER + 1), 0)
        self.assertEqual(self.after(FEWER), 1)
        self.assertEqual(self.after(FEWER, 1), 0, "few have gone since")
        self.assertEqual(self.after(0), 1)

    def test_littleByLittle(self) -> None:
        self.assertEqual(self.after(*range(FEWER, -1, -1)), 1)

    def test_othersCameInTheirPlace(self) -> None:
        self.assertEqual(self.after(*[FEWER, FEWER // 2] * 5), 0)

    def test_noneCame(self) -> None:
        self.assertEqual(self.after(0, 0, 0), 0)

    def test_betweenTwoLooks(self) -> None:
        self.after(FEWER)
        self.connections = 0
        self.clock.advance(INTERVAL / 2)
        self.assertEqual(self.returned, 0)

    def test_stopped(self) -> None:
        self.after(FEWER)
        self.memory.stop()
        self.assertEqual(self.after(0), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_garbageCollector(self) -> None:
        self.assertEqual(self.thresholds, (GC_THRESHOLD, 10, 5))
        self.assertEqual(self.told, ["collect", "freeze"])
        self.memory.stop()
        self.assertEqual(self.thresholds, (700, 10, 5))
        self.assertEqual(self.told, ["collect", "freeze", "unfreeze"])


class ReturnTests(SynchronousTestCase):
    def library(self, **functions: object) -> None:
        self.patch(ctypes, "CDLL", lambda name: SimpleNamespace(**functions))

    def test_glibc(self) -> None:
        padding: list[ctypes.c_size_t] = []
        self.library(malloc_trim=padding.append)
        memory.returnFree()
        self.assertEqual([(type(each), each.value) for each in padding], [(ctypes.c_size_t, 0)])

    def test_others(self) -> None:
        self.library()
        self.assertIsNone(memory.returnFree())
