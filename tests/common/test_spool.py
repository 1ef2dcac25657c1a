"""Owns the checks of what waits to be written, and of what is lost."""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common import spool
from nymearemoteproxy.common.spool import Spool

PATIENCE = 30.0
"""Seconds for a thread to do what it does at once."""


class Memory:
    """A sink that keeps the items; may be made to fail, to lose, or to block."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.left: list[str] = []
        self.error: Exception | None = None
        self.loses: set[str] = set()
        self.isOpen = threading.Event()
        self.isOpen.set()
        self.isAsked = threading.Event()

    def write(self, items: Sequence[str]) -> Sequence[str]:
        self.left += items
        self.isAsked.set()
        assert self.isOpen.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        reasons = [f"no {item}" for item in self.left if item in self.loses]
        self.kept += [item for item in self.left if item not in self.loses]
        self.left.clear()
        return reasons

    def explain(self, count: int, reason: str) -> str:
        return f"{count} lost: {reason}"


class Case(SynchronousTestCase):
    """A spool before a sink in memory."""

    def setUp(self) -> None:
        self.sink = Memory()
        self.spool = Spool(self.sink)
        self.patch(Spool, "lostEver", 0)

    def put(self, *items: str) -> None:
        """Put each of them, of one byte."""
        for item in items:
            self.spool.put(item, 1)


class WithoutThreadTests(Case):
    """Before the server runs."""

    def test_atOnce(self) -> None:
        self.put("a")
        self.assertEqual(self.sink.kept, ["a"])

    def test_failureIsTold(self) -> None:
        """Once, and again when it has worked in between."""
        told: list[str] = []
        self.spool = Spool(self.sink, told.append)
        for _ in range(2):
            self.sink.error = OSError(errno.ENOSPC, "full")
            self.put("a", "b")
            self.sink.error = None
            self.put("c")
        self.assertEqual(told, ["full", "full"])

    def test_fails(self) -> None:
        """What failed is kept, and tried again with the next item."""
        self.sink.error = OSError(errno.ENOSPC, "full")
        self.put("a", "b")
        self.assertEqual(self.sink.kept, [])
        self.sink.error = None
        self.put("c")
        self.assertEqual(self.sink.kept, ["a", "b", "c"])
        self.assertEqual(Spool.lostEver, 0)

    def test_wouldBlock(self) -> None:
        """The same for what is not ready."""
        self.sink.error = BlockingIOError()
        self.put("a")
        self.sink.error = None
        self.put("b")
        self.assertEqual(self.sink.kept, ["a", "b"])

    def test_mostLines(self) -> None:
        """The newest are lost, and the place where they are missing says so, and why."""
        self.patch(spool, "MOST_LINES", 3)
        self.sink.error = OSError(errno.ENOSPC, "full")
        self.put(*"abcde")
        self.sink.error = None
        self.spool.errand(lambda: None)
        self.put("f")
        self.assertEqual(self.sink.kept, ["a", "b", "c", "2 lost: full", "f"])
        self.assertEqual(Spool.lostEver, 2)

    def test_mostBytes(self) -> None:
        self.patch(spool, "MOST_BYTES", 10)
        self.sink.error = BlockingIOError()
        self.spool.put("a", 6)
        self.spool.put("b", 5)
        self.spool.put("c", 4)
        self.sink.error = None
        self.spool.errand(lambda: None)
        self.assertEqual(self.sink.kept, ["a", "1 lost: they were not taken in time", "c"])

    def test_tooLong(self) -> None:
        """One that no empty spool has room for says so where it is missing, whatever else waits."""
        self.patch(spool, "MOST_BYTES", 10)
        self.spool.put("a", 11)
        self.assertEqual(self.sink.kept, ["1 lost: a line may have 10 bytes at most"])
        self.sink.kept.clear()
        self.sink.error = BlockingIOError()
        for item, size in (("b", 10), ("c", 1), ("d", 11), ("e", 1)):
            self.spool.put(item, size)
        self.sink.error = None
        self.spool.errand(lambda: None)
        slow, long = "they were not taken in time", "a line may have 10 bytes at most"
        self.assertEqual(
            self.sink.kept, ["b", f"1 lost: {slow}", f"1 lost: {long}", f"1 lost: {slow}"]
        )
        self.assertEqual(Spool.lostEver, 4)

    def test_tooLongAndFull(self) -> None:
        """There is no room to say so: it is one of those that are lost for what is the matter."""
        self.patch(spool, "MOST_LINES", 1)
        self.patch(spool, "MOST_BYTES", 10)
        self.sink.error = OSError(errno.ENOSPC, "full")
        for item, size in (("a", 1), ("b", 11), ("c", 1)):
            self.spool.put(item, size)
        self.sink.error = None
        self.spool.errand(lambda: None)
        self.assertEqual(self.sink.kept, ["a", "2 lost: full"])
        self.assertEqual(Spool.lostEver, 2)

    def test_sinkIsFaulty(self) -> None:
        """What it cannot handle is lost, with the reason, and the next item is written."""
        self.sink.error = ValueError("odd")
        self.put("a")
        self.sink.error = None
        self.sink.left.clear()
        self.put("b")
        self.assertEqual(self.sink.kept, ["1 lost: ValueError('odd')", "b"])
        self.assertEqual(Spool.lostEver, 1)

    def test_errandIsFaulty(self) -> None:
        """It does no harm to those who log."""
        self.spool.errand(lambda: 1 // 0)
        self.put("a")
        self.assertEqual(self.sink.kept, ["a"])

    def test_onlyOnce(self) -> None:
        """The next loss is told with its own number and reason."""
        self.patch(spool, "MOST_LINES", 1)
        for reason, told in (("full", "full"), (None, "they were not taken in time")):
            self.sink.error = OSError(errno.EIO, reason) if reason else BlockingIOError()
            self.put("a", "b")
            self.sink.error = None
            self.spool.errand(lambda: None)
            self.assertEqual(self.sink.kept, ["a", f"1 lost: {told}"])
            self.sink.kept.clear()

    def test_batches(self) -> None:
        """What waits is written in pieces."""
        self.patch(spool, "BATCH", 2)
        self.sink.error = BlockingIOError()
        self.put(*"abcdefg")
        self.sink.error = None
        self.spool.errand(lambda: None)
        self.assertEqual(self.sink.kept, list("abcdefg"))

    def test_sinkLoses(self) -> None:
        """It is told before the next item, not in between, or a broken sink had no end of it."""
        self.sink.loses = {"b"}
        self.put("a", "b")
        self.assertEqual(self.sink.kept, ["a"])
        self.assertEqual(Spool.lostEver, 1)
        self.put("c")
        self.assertEqual(self.sink.kept, ["a", "1 lost: no b", "c"])

    def test_reentered(self) -> None:
        """What is put while the sink writes is written afterwards."""
        write = self.sink.write

        def writeAndPut(items: Sequence[str]) -> Sequence[str]:
            if "a" in items:
                self.put("b")
            return write(items)

        self.sink.write = writeAndPut  # type: ignore[method-assign]
        self.put("a")
        self.assertEqual(self.sink.kept, ["a", "b"])

    def test_errandWhileItFails(self) -> None:
        """It is done, and what failed is tried again at once."""
        self.sink.error = OSError(errno.ENOSPC, "full")
        self.put("a")
        self.spool.errand(lambda: setattr(self.sink, "error", None))
        self.assertEqual(self.sink.kept, ["a"])

    @given(st.lists(st.sampled_from(["put", "block", "fail", "work"]), max_size=40))
    def test_everyItem(self, steps: list[str]) -> None:
        """Each is kept, or counted where it is missing, in order."""
        self.patch(spool, "MOST_LINES", 4)
        sink = Memory()
        made = Spool(sink)
        count = 0
        for step in [*steps, "work"]:
            if step == "put":
                made.put(f"{count}", 1)
                count += 1
            else:
                errors = {"block": BlockingIOError(), "fail": OSError(errno.EIO, "broken")}
                sink.error = errors.get(step)
                made.errand(lambda: None)
        place = 0
        for item in sink.kept:
            if " lost: " in item:
                place += int(item.split()[0])
            else:
                self.assertEqual(item, f"{place}")
                place += 1
        self.assertEqual(place, count)


class ThreadTests(Case):
    """While the server runs."""

    def setUp(self) -> None:
        super().setUp()
        self.atExit: list[Callable[[], None]] = []
        self.patch(spool.atexit, "register", self.atExit.append)
        self.spool.start()

    def test_order(self) -> None:
        items = [str(number) for number in range(1000)]
        self.put(*items)
        self.spool.finish(PATIENCE)
        self.assertEqual(self.sink.kept, items)

    def test_nobodyWaits(self) -> None:
        """A sink that blocks holds up neither who puts nor, for longer than it has to, the end."""
        self.patch(spool, "MOST_LINES", 5)
        self.sink.isOpen.clear()
        self.put("a")
        self.assertTrue(self.sink.isAsked.wait(PATIENCE))
        self.put(*"bcdefg")
        self.spool.finish(0.01)
        self.assertEqual(self.sink.kept, [])
        self.assertEqual(Spool.lostEver, 2)
        self.sink.isOpen.set()
        self.spool.finish(PATIENCE)
        self.assertEqual(self.sink.kept, [*"abcde", "2 lost: they were not taken in time"])

    def test_triesAgain(self) -> None:
        """After a while, without anything new."""
        self.patch(spool, "RETRY", 0.01)
        self.sink.error = OSError(errno.ENOSPC, "full")
        self.put("a")
        for _ in range(2):
            self.assertTrue(self.sink.isAsked.wait(PATIENCE))
            self.sink.isAsked.clear()
        written = threading.Event()
        self.sink.error = None
        self.patch(self.sink, "kept", _Noting(written))
        self.assertTrue(written.wait(PATIENCE))

    def test_errand(self) -> None:
        """It does not wait until the next try."""
        self.sink.error = OSError(errno.ENOSPC, "full")
        self.put("a")
        self.assertTrue(self.sink.isAsked.wait(PATIENCE))
        self.spool.errand(lambda: setattr(self.sink, "error", None))
        self.spool.finish(PATIENCE)
        self.assertEqual(self.sink.kept, ["a"])

    def test_sinkIsFaulty(self) -> None:
        """The thread goes on."""
        self.sink.error = ValueError("odd")
        self.put("a", "b")
        self.spool.finish(PATIENCE)
        self.sink.error = None
        self.sink.left.clear()
        self.put("c")
        self.spool.finish(PATIENCE)
        self.assertEqual(self.sink.kept[-1], "c")
        self.assertEqual(Spool.lostEver, 2)

    def test_endWhileItFails(self) -> None:
        """Nothing is tried twice then, and later lines are tried once."""
        self.sink.error = OSError(errno.ENOSPC, "full")
        self.put("a")
        self.spool.finish(PATIENCE)
        self.sink.error = None
        self.put("b")
        self.spool.finish(PATIENCE)
        self.assertEqual(self.sink.kept, ["a", "b"])

    def test_atExit(self) -> None:
        """The end of the interpreter waits for the last words."""
        self.put("a")
        (finish,) = self.atExit
        finish()
        self.assertEqual(self.sink.kept, ["a"])

    def test_signals(self) -> None:
        """None is handled in the thread: it is the reactor that has to wake up."""
        self.put("a")
        self.spool.finish(PATIENCE)
        threads = [each for each in threading.enumerate() if each.name == "log"]
        self.assertTrue(threads)
        for thread in threads:
            status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
            blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self.assertTrue(blocked >> (number - 1) & 1)


class _Noting(list[str]):
    """Tells when something is added."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self._event = event

    def __iadd__(self, items: object) -> _Noting:  # type: ignore[override, misc]
        self._event.set()
        return self
