"""Where things wait that are written to what may not take them: a pipe, a terminal, a disk.

Owns the thread that writes them, how much may wait for it, and the counting of what is lost. Knows
nothing of what is written, or to what.

It is no `LineFile`, which has a thread for writing, too: any thread writes here, and without a
running reactor, too; and losses are told where they are missing, as there is no other log for them.
"""

from __future__ import annotations

import atexit
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

MOST_LINES = 5000
"""Lines that wait at most: those of a minute on a busy server. One takes some hundred bytes."""

MOST_BYTES = 1 << 20
"""Bytes that wait at most, as tracebacks are long."""

BATCH = 1 << 16
"""Bytes that are written at once: what a pipe holds."""

PAUSE = 0.05
"""Seconds between two batches: a thread that is woken for every line would slow down the others."""

RETRY = 10.0
"""Seconds until what failed is tried again."""

LAST_WORDS = 1.0
"""Seconds that the end of the process waits for what is still to be written."""

SLOW = "they were not taken in time"
"""Why lines are lost when nothing failed."""

TOO_LONG = "a line may have {most} bytes at most"
"""Why one is lost that would be too much even if nothing else waited."""

Item = TypeVar("Item")


class Sink(Protocol[Item]):
    """What takes the items, in one thread at a time, and for as long as it likes."""

    def write(self, items: Sequence[Item]) -> Sequence[str]:
        """Write what was left over the last time, then these.

        :returns: for each item that is lost the reason.
        :raises OSError: it went wrong, and what is not written is left over.
        :raises Exception: a fault; what was to be written is lost.
        """

    def explain(self, count: int, reason: str) -> Item:
        """Return what is written in the place of so many items that are missing."""


class Spool(Generic[Item]):
    """Takes items from whoever has them, and keeps nobody waiting.

    What is more than may wait is lost; that is counted, and told in the place where it is missing.

    Until `start` there is no thread, for none survives the fork of a daemon, and everything is
    written at once.

    :param failed: is told why, in whatever thread writes, when it does not work any more.
    :ivar lostEver: how many items were lost in the life of this process, by all spools.
    """

    lostEver: ClassVar[int] = 0

    def __init__(
        self, sink: Sink[Item], failed: Callable[[str], object] = lambda _reason: None
    ) -> None:
        self._sink = sink
        self._failed = failed
        self._isFailing = False
        # Reentrant: the garbage collector may have something to log at any moment.
        self._changed = threading.Condition(threading.RLock())
        self._queue: deque[tuple[Item, int]] = deque()
        self._errands: list[Callable[[], object]] = []
        # What waits, with what the sink was given and has not written.
        self._lines = 0
        self._bytes = 0
        self._given: tuple[int, int] | None = None
        self._untold = 0
        self._reason = SLOW
        self._hasThread = False
        self._isBusy = False
        self._isEnding = False

    def put(self, item: Item, size: int) -> None:
        """Have an item of so many bytes written; from any thread."""
        isTooLong = size > MOST_BYTES
        if isTooLong:
            size = 0  # only that it is missing is written
        with self._changed:
            if self._lines >= MOST_LINES or self._bytes + size > MOST_BYTES:
                self._lose(1)
                return
            self._tellLoss()
            if isTooLong:
                Spool.lostEver += 1
                item = self._sink.explain(1, TOO_LONG.format(most=MOST_BYTES))
            self._add(item, size)
            self._proceed()

    def errand(self, do: Callable[[], object]) -> None:
        """Have something done between two writes; what failed is tried again at once then.

        :param do: sees to its own errors.
        """
        with self._changed:
            self._errands.append(do)
            self._proceed()

    def start(self) -> None:
        """From now on a thread writes: somebody could be held up, and nobody will fork any more."""
        self._hasThread = True
        # A daemon: the process can end while it writes.
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self.finish)

    def finish(self, seconds: float = LAST_WORDS) -> None:
        """Wait until all is written, for so many seconds at most."""
        with self._changed:
            self._isEnding = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._hasWork(), seconds)

    def _proceed(self) -> None:
        if self._hasThread:
            if not self._isBusy or self._errands:
                self._changed.notify_all()
        elif not self._isBusy:
            self._isBusy = True
            while self._hasWork():
                self._turn()
                if self._given is not None:
                    break
            self._isBusy = False

    def _add(self, item: Item, size: int) -> None:
        self._queue.append((item, size))
        self._lines += 1
        self._bytes += size

    def _lose(self, count: int) -> None:
        self._untold += count
        Spool.lostEver += count

    def _tellLoss(self) -> None:
        if self._untold:
            self._add(self._sink.explain(self._untold, self._reason), 0)
            self._untold = 0

    def _hasWork(self) -> bool:
        return bool(self._lines or self._errands)

    def _isHurried(self) -> bool:
        return self._isEnding or bool(self._errands)

    # What the thread does, if there is one

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the reactor's
        while True:
            with self._changed:
                self._isBusy = False
                self._changed.wait_for(self._hasWork)
                self._isBusy = True
            worked = self._turn()
            with self._changed:
                if self._isEnding and not worked:
                    self._giveUp()
                self._changed.wait_for(self._isHurried, PAUSE if worked else RETRY)

    def _turn(self) -> bool:
        """Do the errands, have a batch written or what is left of one; tell if nothing failed."""
        with self._changed:
            errands, self._errands = self._errands, []
            items = self._take()
        try:
            for do in errands:
                do()
            reasons = self._sink.write(items)
        except BlockingIOError:
            return True
        except OSError as error:
            self._reason = error.strerror or str(error)
            if not self._isFailing:
                self._isFailing = True
                self._failed(self._reason)
            return False
        except Exception as error:  # without this thread there is no log any more
            assert self._given is not None
            reasons = [repr(error)] * self._given[0]
        self._isFailing = False
        with self._changed:
            self._written(reasons)
            self._changed.notify_all()
        return True

    def _take(self) -> Sequence[Item]:
        """Return the next batch; nothing while the last one is not written."""
        if self._given is not None:
            return ()
        items: list[Item] = []
        total = 0
        while self._queue and total < BATCH:
            item, size = self._queue.popleft()
            items.append(item)
            total += size
        self._given = len(items), total
        return items

    def _written(self, reasons: Sequence[str]) -> None:
        assert self._given is not None
        lines, size = self._given
        self._given = None
        self._lines -= lines
        self._bytes -= size
        if not self._untold:
            self._reason = SLOW
        if reasons:
            self._reason = reasons[-1]
            self._lose(len(reasons))
        elif not self._lines:
            self._tellLoss()

    def _giveUp(self) -> None:
        """The process ends, and has no time to try again."""
        self._queue.clear()
        self._given = None
        self._lines = self._bytes = 0
        self._changed.notify_all()
